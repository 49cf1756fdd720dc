//! How upstream writes the names of its objects: with tokens of its own, which must go back to it as they are.

use crate::key::{Target, normalized, resolve, speaks_for};
use moka::sync::Cache;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The playlists that multivariant playlists name otherwise than by their keys.
pub(super) struct Written {
    /// `None`: upstream tells playlists apart by what otherwise tells who asks.
    urls: Cache<Arc<str>, Option<Arc<str>>>,
    any_apart: AtomicBool,
}

/// A player reads a multivariant playlist once and its media playlists for hours.
const KEPT_IDLE: Duration = Duration::from_secs(86_400);

impl Written {
    pub(super) fn new(playlists_max: usize) -> Self {
        let urls = Cache::builder().max_capacity(playlists_max as u64).time_to_idle(KEPT_IDLE).build();
        Self { urls, any_apart: AtomicBool::new(false) }
    }

    /// Takes in what the multivariant playlist at `base` names. One that is `for_one` speaks of that one's tokens: with them
    /// nobody else is asked for.
    pub(super) fn learn(&self, base: &str, playlists: &[String], for_one: bool) {
        for (key, url) in uris(base, playlists.iter().map(String::as_str)).into_values() {
            let live = Target::read(&url).map(|target| Arc::<str>::from(target.live_key()));
            match live {
                Ok(live) if live != key || (for_one && url != key) => {
                    self.any_apart.store(true, Ordering::Relaxed);
                    self.urls.insert(live, None);
                }
                _ if url != key => self.urls.insert(key, Some(url)),
                _ => self.urls.invalidate(&key),
            }
        }
    }

    pub(super) fn url(&self, key: &str) -> Option<Arc<str>> {
        self.urls.get(key).flatten()
    }

    pub(super) fn are_apart(&self, key: &str) -> bool {
        self.any_apart.load(Ordering::Relaxed) && self.urls.get(key) == Some(None)
    }
}

/// The key and the URL upstream of every reference that the manifest at `base` speaks for. References that differ only by
/// what tells who asks have keys of their own: they are different objects, or upstream would not write them both.
pub(super) fn uris<'r>(
    base: &str,
    references: impl Iterator<Item = &'r str>,
) -> HashMap<&'r str, (Arc<str>, Arc<str>)> {
    let mut uris = HashMap::new();
    let mut by_key: HashMap<Arc<str>, (Arc<str>, bool)> = HashMap::new();
    for reference in references {
        if uris.contains_key(reference) {
            continue;
        }
        let Some(url) = resolve(base, reference) else { continue };
        let url = Arc::<str>::from(normalized(&url));
        if !speaks_for(base, &url) {
            continue;
        }
        let Ok(target) = Target::read(&url) else { continue };
        let key = Arc::<str>::from(target.live_key());
        let known = by_key.entry(key.clone()).or_insert_with(|| (url.clone(), false));
        known.1 |= known.0 != url;
        uris.insert(reference, (key, url));
    }
    for (key, url) in uris.values_mut() {
        if by_key.get(key).is_some_and(|(_, several)| *several)
            && let Ok(target) = Target::read(url)
        {
            *key = target.whole_key().into();
        }
    }
    uris
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_upstream_are_kept_and_make_no_key() {
        let references =
            ["a.m4s?token=1", "b.m4s?x=1&token=1", "c.m4s", "http://other/d.m4s", "e.m4s?sid=1", "/live/e.m4s?sid=2"];
        let uris = uris("/live/x.m3u8?token=0", references.into_iter());
        let of = |reference: &str| uris.get(reference).map(|(key, url)| (&**key, &**url));
        assert_eq!(of("a.m4s?token=1"), Some(("/live/a.m4s", "/live/a.m4s?token=1")));
        assert_eq!(of("b.m4s?x=1&token=1"), Some(("/live/b.m4s?x=1", "/live/b.m4s?x=1&token=1")));
        assert_eq!(of("c.m4s"), Some(("/live/c.m4s", "/live/c.m4s")));
        assert_eq!(of("http://other/d.m4s"), None);
        assert_eq!(of("e.m4s?sid=1"), Some(("/live/e.m4s?sid=1", "/live/e.m4s?sid=1")), "another object than the next");
        assert_eq!(of("/live/e.m4s?sid=2"), Some(("/live/e.m4s?sid=2", "/live/e.m4s?sid=2")));
    }

    #[test]
    fn what_lies_outside_of_the_folder_is_not_spoken_for() {
        let references = ["../f.m4s", "/other/g.m4s", "%2e%2e/h.m4s", "x/../../i.m4s", "a/../b.m4s", "c/d.m4s"];
        let mut uris: Vec<_> = uris("/live/v/x.m3u8", references.into_iter()).into_keys().collect();
        uris.sort_unstable();
        assert_eq!(uris, ["a/../b.m4s", "c/d.m4s"]);
    }

    #[test]
    fn a_multivariant_playlist_for_one_lends_its_tokens_to_nobody() {
        let written = Written::new(10);
        written.learn("/m.m3u8", &["v.m3u8?token=1".to_owned(), "w.m3u8".to_owned()], true);
        assert_eq!(written.url("/v.m3u8"), None);
        assert!(written.are_apart("/v.m3u8") && !written.are_apart("/w.m3u8"));
    }

    #[test]
    fn playlists_are_asked_for_as_upstream_wrote_them_last() {
        let written = Written::new(10);
        let learn = |playlists: &[&str]| {
            let playlists: Vec<String> = playlists.iter().map(|text| (*text).to_owned()).collect();
            written.learn("/m.m3u8", &playlists, false);
        };
        learn(&["v.m3u8?token=1"]);
        learn(&["v.m3u8?token=2", "s.m3u8?user=1", "s.m3u8?user=2"]);
        assert_eq!(written.url("/v.m3u8").as_deref(), Some("/v.m3u8?token=2"));
        assert!(written.are_apart("/s.m3u8") && !written.are_apart("/v.m3u8"));
        learn(&["v.m3u8"]);
        assert_eq!(written.url("/v.m3u8"), None);
    }
}
