//! How long an answer of upstream may be kept: its `Cache-Control` where it says so, else a default for its class.

use crate::key::Class;
use http::HeaderMap;
use http::header::{AGE, CACHE_CONTROL, VARY};
use std::time::Duration;

/// 404 and 410 are kept this long whatever they say: long enough to break a herd, too short for a viewer to notice when
/// the stream starts.
pub const NEGATIVE: Duration = Duration::from_millis(500);

/// Nothing is trusted to stay the same for longer.
const YEAR: Duration = Duration::from_secs(31_536_000);

/// How long a 200 may be kept from now on; `None` if it must not be stored.
pub fn lifetime(headers: &HeaderMap, class: Class) -> Option<Duration> {
    if headers.get_all(VARY).iter().any(|value| value.as_bytes() == b"*") {
        return None;
    }
    let said = Said::read(headers);
    if said.never {
        return None;
    }
    let life = said.shared.or(said.max_age).unwrap_or_else(|| default(class)).min(YEAR);
    Some(life.saturating_sub(age(headers))).filter(|life| !life.is_zero())
}

/// How old the answer already was when it came (RFC 9111, 5.1).
pub fn age(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(AGE).and_then(|value| value.to_str().ok()?.trim().parse().ok()).unwrap_or(0);
    Duration::from_secs(seconds).min(YEAR)
}

/// For origins that say nothing: media does not change under its name; of the rest nothing is known.
fn default(class: Class) -> Duration {
    match class {
        Class::Playlist => Duration::from_secs(1),
        Class::Init | Class::Segment | Class::Part => Duration::from_secs(600),
        Class::Other => Duration::from_secs(10),
    }
}

#[derive(Default)]
struct Said {
    never: bool,
    shared: Option<Duration>,
    max_age: Option<Duration>,
}

impl Said {
    fn read(headers: &HeaderMap) -> Self {
        let mut said = Self::default();
        for value in headers.get_all(CACHE_CONTROL) {
            let Ok(text) = value.to_str() else {
                said.never = true;
                continue;
            };
            text.split(',').for_each(|directive| said.directive(directive.trim()));
        }
        said
    }

    fn directive(&mut self, directive: &str) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        // RFC 9111, 4.2.1: a lifetime that cannot be read counts as stale.
        let seconds = || Some(Duration::from_secs(value.trim().trim_matches('"').parse().unwrap_or(0)));
        match name.trim().to_ascii_lowercase().as_str() {
            // What must be revalidated each time is not kept: this node does not revalidate yet.
            "no-store" | "private" | "no-cache" => self.never = true,
            "s-maxage" => self.shared = seconds(),
            "max-age" => self.max_age = seconds(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &[(&'static str, &'static str)], class: Class) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        lifetime(&headers, class).map(|life| life.as_secs())
    }

    #[test]
    fn upstream_decides() {
        for (fields, expected) in [
            (&[("cache-control", "public, max-age=12")][..], Some(12)),
            (&[("cache-control", "max-age=5, S-MaxAge=\"7\"")], Some(7)),
            (&[("cache-control", "max-age=5"), ("age", "3")], Some(2)),
            (&[("cache-control", "max-age=5"), ("age", "5")], None),
            (&[("cache-control", "max-age=5"), ("cache-control", "no-store")], None),
            (&[("cache-control", "private")], None),
            (&[("cache-control", "no-cache")], None),
            (&[("cache-control", "max-age=soon")], None),
            (&[("cache-control", "max-age=-1")], None),
            (&[("vary", "*")], None),
            (&[("cache-control", "max-age=99999999999")], Some(31_536_000)),
        ] {
            assert_eq!(of(fields, Class::Segment), expected, "{fields:?}");
        }
    }

    #[test]
    fn silence_gets_the_default_of_the_class() {
        assert_eq!(of(&[], Class::Playlist), Some(1));
        assert_eq!(of(&[], Class::Part), Some(600));
        assert_eq!(of(&[("cache-control", "public")], Class::Other), Some(10));
    }
}
