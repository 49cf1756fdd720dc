//! Two pages: `/_vivid/streams`, what this node follows, and `/_vivid/streams/{stream}`, how one stream stands.

use super::Node;
use crate::key::epoch;
use crate::playlists::Rendition;
use crate::refusal::Refusal;
use crate::releases::{SPAN, Summary};
use crate::reply::Body;
use crate::subscription::{Standing, Viewers};
use crate::upstream::rendezvous;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

#[derive(Serialize)]
struct List<'a> {
    streams: Vec<Row<'a>>,
    /// All that are followed, listed here or not.
    total: usize,
    /// The page with those that come next.
    next: Option<String>,
}

#[derive(Serialize)]
struct Row<'a> {
    stream: &'a str,
    page: String,
    renditions: usize,
    viewers_held: usize,
    failing: usize,
}

#[derive(Serialize)]
struct Page<'a> {
    stream: &'a str,
    renditions: Vec<Told<'a>>,
    /// Renditions beyond those told here.
    left_out: usize,
}

#[derive(Serialize)]
struct Told<'a> {
    playlist: &'a str,
    state: &'static str,
    upstream: &'a str,
    last_error: Option<Wrong<'a>>,
    viewers_held: usize,
    asked_ms_ago: u128,
    /// The position that comes next.
    next_msn: u64,
    next_part: u32,
    epoch: Option<&'a str>,
    target_duration_s: u64,
    part_target_s: Option<f64>,
    version_age_ms: u128,
    publish_to_release: Released,
    playlist_versions: u64,
    playlist_requests: u64,
    playlist_requests_per_version: Option<f64>,
    objects_named: u64,
    objects_kept: u64,
    bytes_kept: u64,
    media_requests: u64,
    media_requests_per_object: Option<f64>,
}

#[derive(Serialize)]
struct Wrong<'a> {
    text: String,
    upstream: &'a str,
    ms_ago: u128,
}

#[derive(Serialize)]
struct Released {
    /// At most this far back.
    window_s: u64,
    releases: u64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

/// Streams of one page, unless its `limit` says otherwise.
const ROWS: usize = 100;
const ROWS_MAX: usize = 1000;
const RENDITIONS_MAX: usize = 100;

impl Node {
    pub(super) fn streams_page(&self, query: &str) -> Body {
        let all = self.playlists.all();
        let mut streams = BTreeMap::<&str, Vec<&Rendition>>::new();
        for rendition in &all {
            streams.entry(rendezvous::stream(&rendition.key)).or_default().push(rendition);
        }
        let number = |name: &str, silent: usize| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let value = pairs.find_map(|(known, value)| (known == name).then_some(value));
            value.map_or(Some(silent), |value| value.parse().ok())
        };
        let (from, limit) = (number("from", 0), number("limit", ROWS).filter(|limit| (1..=ROWS_MAX).contains(limit)));
        let (Some(from), Some(limit)) = (from, limit) else { return Body::Refusal(Refusal::Page) };
        let rows = streams.iter().skip(from).take(limit).map(|(stream, renditions)| Row {
            stream,
            page: format!("/_vivid/streams{stream}"),
            renditions: renditions.len(),
            viewers_held: renditions.iter().map(|rendition| rendition.viewers().held).sum(),
            failing: renditions.iter().filter(|rendition| rendition.look().standing.is_failing()).count(),
        });
        let end = from.saturating_add(limit);
        let next = (end < streams.len()).then(|| format!("/_vivid/streams?from={end}&limit={limit}"));
        json(&List { streams: rows.collect(), total: streams.len(), next })
    }

    /// `name` is a stream's path, or what stands behind `/live/` in it.
    pub(super) fn stream_page(&self, name: &str, now: Instant) -> Body {
        let all = self.playlists.all();
        let of = |stream: &str| -> Vec<&Arc<Rendition>> {
            all.iter().filter(|rendition| rendezvous::stream(&rendition.key) == stream).collect()
        };
        let name = name.trim_end_matches('/');
        let mut stream = format!("/{name}");
        let mut renditions = of(&stream);
        if renditions.is_empty() {
            stream = format!("/live/{name}");
            renditions = of(&stream);
        }
        if renditions.is_empty() {
            return Body::Refusal(Refusal::NoSuchStream);
        }
        renditions.sort_by(|one, other| one.key.cmp(&other.key));
        let left_out = renditions.len().saturating_sub(RENDITIONS_MAX);
        let facts: Vec<_> = renditions.iter().map(|rendition| rendition.account.facts.lock().clone()).collect();
        let told = renditions.iter().zip(&facts).take(RENDITIONS_MAX).map(|(rendition, facts)| {
            let (shown, account) = (rendition.look(), &rendition.account);
            let standing = shown.standing;
            let versions = account.versions.load(Ordering::Relaxed);
            let requests = account.requests.load(Ordering::Relaxed);
            let census = self.store.live.census(&account.names.lock());
            let url = |source| self.store.upstreams.url(source);
            Told {
                playlist: &rendition.key,
                state: state(standing, rendition.viewers(), now),
                upstream: url(facts.source),
                last_error: facts.trouble.map(|trouble| Wrong {
                    text: trouble.what.to_string(),
                    upstream: url(trouble.source),
                    ms_ago: now.saturating_duration_since(trouble.at).as_millis(),
                }),
                viewers_held: rendition.viewers().held,
                asked_ms_ago: now.saturating_duration_since(rendition.viewers().last_asked).as_millis(),
                next_msn: standing.head.next.msn,
                next_part: standing.head.next.part,
                epoch: facts.newest.as_deref().and_then(epoch),
                target_duration_s: standing.target.as_secs(),
                part_target_s: facts.part_target_s,
                version_age_ms: now.saturating_duration_since(shown.version.arrived).as_millis(),
                publish_to_release: account.releases.summary().into(),
                playlist_versions: versions,
                playlist_requests: requests,
                playlist_requests_per_version: ratio(requests, versions),
                objects_named: census.named,
                objects_kept: census.kept,
                bytes_kept: census.kept_bytes,
                media_requests: census.requests,
                media_requests_per_object: ratio(census.requests, census.fetched),
            }
        });
        json(&Page { stream: &stream, renditions: told.collect(), left_out })
    }
}

impl From<Summary> for Released {
    fn from(summary: Summary) -> Self {
        let ms = |span: Duration| span.as_micros() as f64 / 1000.0;
        Self {
            window_s: 2 * SPAN.as_secs(),
            releases: summary.releases,
            p50_ms: ms(summary.p50),
            p99_ms: ms(summary.p99),
            max_ms: ms(summary.max),
        }
    }
}

/// Nobody who follows a live playlist asks less often than once in two target durations.
fn state(standing: Standing, viewers: Viewers, now: Instant) -> &'static str {
    let idle = viewers.held == 0 && now.saturating_duration_since(viewers.last_asked) > standing.target * 2;
    match (standing.is_failing(), idle, standing.blocks) {
        (true, ..) => "failing",
        (_, true, _) => "idle",
        (.., true) => "following",
        (.., false) => "polling",
    }
}

/// Rounded to what can be read.
fn ratio(count: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| (100.0 * count as f64 / of as f64).round() / 100.0)
}

fn json(page: &impl Serialize) -> Body {
    // Numbers, booleans and texts are always JSON.
    let text = serde_json::to_string_pretty(page).unwrap_or_default();
    Body::Text("application/json", text + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscription::{Ask, Heard, Subscription};
    use crate::upstream::PeerId;
    use manifest::follow::{Followed, Media, read};

    fn media(control: &str) -> Media {
        let text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n{control}#EXTINF:2,\n7.m4s\n");
        let Ok(Followed::Media(media)) = read(&text) else { panic!("no media playlist") };
        media
    }

    #[test]
    fn what_fails_is_told_before_who_asks() {
        let now = Instant::now();
        let blocking = media("#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES\n");
        let idle = Duration::from_secs(10);
        let rules = |media: &Media| Subscription::new(media, None, PeerId::default(), idle, now);
        let told = |rules: &Subscription, held, ago| {
            let viewers = Viewers { last_asked: now, held };
            state(rules.standing(), viewers, now + Duration::from_secs(ago))
        };
        let (mut following, polling) = (rules(&blocking), rules(&media("")));
        assert_eq!(
            (told(&following, 0, 4), told(&following, 0, 5), told(&following, 1, 5)),
            ("following", "idle", "following")
        );
        assert_eq!((told(&polling, 0, 4), told(&polling, 0, 5)), ("polling", "idle"));
        following.heard(Ask::default(), Heard::Failed { retry_after: None }, now);
        assert_eq!((told(&following, 0, 5), told(&following, 1, 0)), ("failing", "failing"));
    }
}
