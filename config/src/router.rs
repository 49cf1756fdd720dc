//! `[router]`: which CDNs there are, how they are probed, how viewers are told.

use crate::Problem;
use crate::bounded::{address, base_url, within};
use crate::geo::{self, Geo};
use serde::Deserialize;
use std::net::SocketAddr;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq)]
pub struct Router {
    pub listen: SocketAddr,
    /// How viewers reach this router; steering documents point to it. Absent: the `Host` of the request.
    pub public_url: Option<String>,
    /// Open connections of viewers; one more is closed at once.
    pub connections_max: usize,
    /// Where multivariant playlists are fetched.
    pub origin_url: String,
    /// At least two: with one pathway, players switch off their own failover.
    pub cdns: Vec<Cdn>,
    pub steering: Steering,
    pub manifest: Manifest,
    pub probe: Probe,
    pub geo: Geo,
}

/// A CDN: one pathway of the multivariant playlist.
#[derive(Clone, Debug, PartialEq)]
pub struct Cdn {
    /// PATHWAY-ID: letters, digits, `.`, `-`, `_`.
    pub id: String,
    pub url: String,
    /// Share of viewers while nothing is known that tells CDNs apart; relative to the others' weights.
    pub weight: f64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steering {
    /// How long a player keeps an answer before it asks again.
    pub ttl: Duration,
}

/// Multivariant playlists as the origin has them, before they are written for a viewer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// How long one answer of the origin serves all viewers of the stream.
    pub fresh: Duration,
    /// How long the last good answer serves while the origin fails.
    pub keep: Duration,
    /// A slower origin counts as failing.
    pub timeout: Duration,
    /// A longer playlist is refused.
    pub bytes_max: usize,
    /// Streams held at once; the least recently asked make room.
    pub streams_max: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    pub interval: Duration,
    pub timeout: Duration,
    /// Evidence loses half its weight in this time.
    pub half_life: Duration,
    /// Streams that are probed at once; the most recently asked ones.
    pub streams_max: usize,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Raw {
    listen: String,
    public_url: Option<String>,
    connections_max: usize,
    origin_url: String,
    cdns: Vec<RawCdn>,
    steering: RawSteering,
    manifest: RawManifest,
    probe: RawProbe,
    geo: geo::Raw,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCdn {
    id: String,
    url: String,
    #[serde(default = "one")]
    weight: f64,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawSteering {
    ttl_s: u64,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawManifest {
    fresh_ms: u64,
    keep_ms: u64,
    timeout_ms: u64,
    bytes_max: usize,
    streams_max: u64,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawProbe {
    interval_ms: u64,
    timeout_ms: u64,
    half_life_ms: u64,
    streams_max: usize,
}

impl Default for Raw {
    fn default() -> Self {
        let cdn = |id: &str, url: &str| RawCdn { id: id.to_owned(), url: url.to_owned(), weight: 1.0 };
        Self {
            listen: "0.0.0.0:8080".to_owned(),
            public_url: None,
            connections_max: 65_536,
            origin_url: "http://127.0.0.1:8081".to_owned(),
            cdns: vec![cdn("cdn-a", "http://127.0.0.1:8083"), cdn("cdn-b", "http://127.0.0.1:8084")],
            steering: RawSteering::default(),
            manifest: RawManifest::default(),
            probe: RawProbe::default(),
            geo: geo::Raw::default(),
        }
    }
}

impl Default for RawSteering {
    fn default() -> Self {
        Self { ttl_s: 5 }
    }
}

impl Default for RawManifest {
    fn default() -> Self {
        Self { fresh_ms: 1000, keep_ms: 60_000, timeout_ms: 2000, bytes_max: 1 << 20, streams_max: 1000 }
    }
}

impl Default for RawProbe {
    fn default() -> Self {
        Self { interval_ms: 2000, timeout_ms: 1500, half_life_ms: 10_000, streams_max: 16 }
    }
}

impl Raw {
    pub(crate) fn valid(self, problems: &mut Vec<Problem>) -> Router {
        let cdns: Vec<_> = self.cdns.into_iter().enumerate().map(|(i, cdn)| cdn.valid(i, problems)).collect();
        if cdns.len() < 2 {
            problems.push(Problem::new(
                "router.cdns",
                "needs at least two entries: with one pathway, players switch off their own failover",
            ));
        }
        for (index, cdn) in cdns.iter().enumerate() {
            if cdns[..index].iter().any(|earlier| earlier.id == cdn.id) {
                let key = format!("router.cdns[{index}].id");
                problems.push(Problem::new(key, format!("{:?} is used twice; every CDN needs its own id", cdn.id)));
            }
        }
        if !cdns.iter().any(|cdn| cdn.weight > 0.0) {
            problems.push(Problem::new("router.cdns", "has no weight above 0; give at least one CDN a share"));
        }
        Router {
            listen: address(problems, "router.listen", &self.listen),
            public_url: self.public_url.map(|url| base_url(problems, "router.public_url", &url)),
            connections_max: within(problems, "router.connections_max", self.connections_max, 1..=10_000_000),
            origin_url: base_url(problems, "router.origin_url", &self.origin_url),
            cdns,
            steering: Steering {
                ttl: Duration::from_secs(within(problems, "router.steering.ttl_s", self.steering.ttl_s, 5..=3600)),
            },
            manifest: self.manifest.valid(problems),
            probe: self.probe.valid(problems),
            geo: self.geo.valid(problems, "router.geo"),
        }
    }
}

impl RawCdn {
    fn valid(self, index: usize, problems: &mut Vec<Problem>) -> Cdn {
        let key = |name: &str| format!("router.cdns[{index}].{name}");
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if self.id.is_empty() || self.id.len() > 64 || !self.id.bytes().all(allowed) {
            problems.push(Problem::new(key("id"), "must be 1 to 64 letters, digits, '.', '-' or '_'"));
        }
        Cdn {
            id: self.id,
            url: base_url(problems, &key("url"), &self.url),
            weight: within(problems, &key("weight"), self.weight, 0.0..=1e6),
        }
    }
}

impl RawManifest {
    fn valid(&self, problems: &mut Vec<Problem>) -> Manifest {
        let mut ms = |name: &str, value, range| Duration::from_millis(within(problems, name, value, range));
        let (fresh, keep, timeout) = (
            ms("router.manifest.fresh_ms", self.fresh_ms, 1..=60_000),
            ms("router.manifest.keep_ms", self.keep_ms, 0..=86_400_000),
            ms("router.manifest.timeout_ms", self.timeout_ms, 50..=30_000),
        );
        let bytes_max = within(problems, "router.manifest.bytes_max", self.bytes_max, 1024..=64 << 20);
        let streams_max = within(problems, "router.manifest.streams_max", self.streams_max, 1..=1_000_000);
        Manifest { fresh, keep, timeout, bytes_max, streams_max }
    }
}

impl RawProbe {
    fn valid(&self, problems: &mut Vec<Problem>) -> Probe {
        if self.timeout_ms >= self.interval_ms {
            problems.push(Problem::new(
                "router.probe.timeout_ms",
                "must be below router.probe.interval_ms, or rounds of probes overlap",
            ));
        }
        let mut ms = |name: &str, value, range| Duration::from_millis(within(problems, name, value, range));
        Probe {
            interval: ms("router.probe.interval_ms", self.interval_ms, 200..=60_000),
            timeout: ms("router.probe.timeout_ms", self.timeout_ms, 50..=30_000),
            half_life: ms("router.probe.half_life_ms", self.half_life_ms, 500..=600_000),
            streams_max: within(problems, "router.probe.streams_max", self.streams_max, 1..=1000),
        }
    }
}

fn one() -> f64 {
    1.0
}
