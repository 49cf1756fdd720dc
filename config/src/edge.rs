//! `[edge]`: an edge or a shield, which are the same code.

mod access;
mod access_log;
mod admin;
mod cache;
mod disk;
mod fleet;
mod pacing;
mod purge;
mod qoe;
mod slices;
mod tls;

pub use access::{Access, Addresses, CatKey, Countries, Limits, Secret, UnknownCountry, UrlKey, Verifier};
pub use access_log::{AccessLog, LogTarget, LoggedAddresses, SampleBy};
pub use admin::Admin;
pub use cache::Cache;
pub use disk::Disk;
pub use fleet::{Fleet, SteerMode};
pub use pacing::Pacing;
pub use purge::Purge;
pub use qoe::Qoe;
pub use slices::Slices;
pub use tls::{CertificateFiles, Tls, TlsVersion};

use crate::Problem;
use crate::bounded::{address, name, within};
use crate::geo::{self, Geo};
use serde::Deserialize;
use std::net::SocketAddr;
use std::time::Duration;

mod upstream;

pub use upstream::{Shields, Upstream, UpstreamPeer, UpstreamProtocol};

#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    /// How this node names itself in `Cache-Status` and `Via`.
    pub name: String,
    pub listen: SocketAddr,
    pub upstream: Upstream,
    pub admin: Admin,
    pub access_log: AccessLog,
    pub geo: Geo,
    pub access: Access,
    pub fleet: Fleet,
    /// Longest hold of a viewer's request before 503.
    pub hold_max: Duration,
    /// A rendition without a request for this long is no longer followed upstream.
    pub subscription_idle: Duration,
    pub subscriptions_max: usize,
    /// Of these, those of one path that differ in their query alone.
    pub subscriptions_per_path_max: usize,
    /// Requests that may wait at once.
    pub holds_max: usize,
    /// Live parts and segments held, in bytes.
    pub live_bytes_max: u64,
    /// Everything else that is cached, in bytes.
    pub cache_bytes_max: u64,
    /// Largest single object taken from upstream, in bytes.
    pub object_bytes_max: u64,
    /// From the first byte of a request to the end of its header.
    pub header_timeout: Duration,
    /// An idle keep-alive connection is closed after this.
    pub keepalive_timeout: Duration,
    pub cache: Cache,
    pub pacing: Pacing,
    pub purge: Purge,
    pub qoe: Qoe,
    pub slices: Slices,
    pub disk: Disk,
    pub tls: Tls,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Raw {
    name: String,
    listen: String,
    admin: admin::Raw,
    access_log: access_log::Raw,
    geo: geo::Raw,
    access: access::Raw,
    upstreams: Vec<upstream::RawPeer>,
    upstream: upstream::Raw,
    shields: upstream::RawShields,
    fleet: fleet::Raw,
    hold_max_ms: u64,
    subscription_idle_ms: u64,
    subscriptions_max: usize,
    subscriptions_per_path_max: usize,
    holds_max: usize,
    live_bytes_max: u64,
    cache_bytes_max: u64,
    object_bytes_max: u64,
    header_timeout_ms: u64,
    keepalive_timeout_ms: u64,
    cache: cache::Raw,
    pacing: pacing::Raw,
    purge: purge::Raw,
    qoe: qoe::Raw,
    slices: slices::Raw,
    disk: disk::Raw,
    tls: tls::Raw,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            name: "edge".to_owned(),
            listen: "0.0.0.0:8083".to_owned(),
            admin: admin::Raw::default(),
            access_log: access_log::Raw::default(),
            geo: geo::Raw::default(),
            access: access::Raw::default(),
            upstreams: Vec::new(),
            upstream: upstream::Raw::default(),
            shields: upstream::RawShields::default(),
            fleet: fleet::Raw::default(),
            hold_max_ms: 15_000,
            subscription_idle_ms: 10_000,
            subscriptions_max: 10_000,
            subscriptions_per_path_max: 8,
            holds_max: 100_000,
            live_bytes_max: 2 << 30,
            cache_bytes_max: 512 << 20,
            object_bytes_max: 64 << 20,
            header_timeout_ms: 10_000,
            keepalive_timeout_ms: 60_000,
            cache: cache::Raw::default(),
            pacing: pacing::Raw::default(),
            purge: purge::Raw::default(),
            qoe: qoe::Raw::default(),
            slices: slices::Raw::default(),
            disk: disk::Raw::default(),
            tls: tls::Raw::default(),
        }
    }
}

impl Raw {
    pub(crate) fn valid(self, problems: &mut Vec<Problem>) -> Edge {
        let mut ms = |name: &str, value, range| Duration::from_millis(within(problems, name, value, range));
        let hold_max = ms("edge.hold_max_ms", self.hold_max_ms, 1000..=60_000);
        let subscription_idle = ms("edge.subscription_idle_ms", self.subscription_idle_ms, 1000..=600_000);
        let header_timeout = ms("edge.header_timeout_ms", self.header_timeout_ms, 100..=60_000);
        let keepalive_timeout = ms("edge.keepalive_timeout_ms", self.keepalive_timeout_ms, 1000..=600_000);
        let geo = self.geo.valid(problems, "edge.geo");
        if geo.asn_database.is_some() {
            problems.push(Problem::new("edge.geo.asn_database", "is of no use to an edge; leave it out"));
        }
        let access = self.access.valid(problems);
        if access.countries.is_ruled() && geo.country_database.is_none() && geo.city_database.is_none() {
            problems.push(Problem::new(
                "edge.geo.country_database",
                "must name a database, or nobody's country is known to edge.access; write its path",
            ));
        }
        let fleet = self.fleet.valid(problems);
        if fleet.file.is_some() && geo.city_database.is_none() {
            problems
                .push(Problem::new("edge.fleet.file", "needs edge.geo.city_database, which says where viewers are"));
        }
        Edge {
            name: name(problems, "edge.name", self.name),
            listen: address(problems, "edge.listen", &self.listen),
            admin: self.admin.valid(problems),
            access_log: self.access_log.valid(problems),
            access,
            geo,
            upstream: self.upstream.valid(self.upstreams, self.shields, problems),
            fleet,
            hold_max,
            subscription_idle,
            subscriptions_max: within(problems, "edge.subscriptions_max", self.subscriptions_max, 1..=1_000_000),
            subscriptions_per_path_max: within(
                problems,
                "edge.subscriptions_per_path_max",
                self.subscriptions_per_path_max,
                1..=1_000_000,
            ),
            holds_max: within(problems, "edge.holds_max", self.holds_max, 1..=10_000_000),
            live_bytes_max: within(problems, "edge.live_bytes_max", self.live_bytes_max, 1 << 20..=1 << 40),
            cache_bytes_max: within(problems, "edge.cache_bytes_max", self.cache_bytes_max, 1 << 20..=1 << 40),
            object_bytes_max: within(problems, "edge.object_bytes_max", self.object_bytes_max, 1 << 16..=1 << 32),
            header_timeout,
            keepalive_timeout,
            cache: self.cache.valid(problems),
            pacing: self.pacing.valid(problems),
            purge: self.purge.valid(problems),
            qoe: self.qoe.valid(problems),
            slices: self.slices.valid(self.object_bytes_max, problems),
            disk: self.disk.valid(problems),
            tls: self.tls.valid(problems),
        }
    }
}
