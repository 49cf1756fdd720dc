//! What the edge counts. Labels are fixed sets; their children are looked up once, not per request.

use crate::access::denial::Denial;
use crate::key::Class;
use geo::State;
use http::StatusCode;
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    core::Collector, exponential_buckets,
};
use std::time::UNIX_EPOCH;

/// The edge's metrics, registered once per node.
pub struct Metrics {
    requests: Vec<IntCounter>,
    lookups: Vec<IntCounter>,
    upstream: Vec<IntCounter>,
    holds_ended: Vec<IntCounter>,
    fills: Vec<IntCounter>,
    bounds: Vec<IntCounter>,
    unstored: Vec<IntCounter>,
    purges: Vec<IntCounter>,
    pub purged: IntCounter,
    playlists: Vec<IntCounter>,
    handshakes: Vec<IntCounter>,
    reloads: Vec<IntCounter>,
    pub log_lines: LogLines,
    /// Days until each certificate expires, by its file.
    pub certificate_days: GaugeVec,
    pub peers: Peers,
    pub reports: Reports,
    pub databases: Databases,
    denied: Vec<IntCounter>,
    verified: Vec<IntCounter>,
    pub fleet: Fleet,
    pub disk: Disk,
    pub holds: IntGauge,
    pub subscriptions: IntGauge,
    pub connections: IntGauge,
    pub cache_bytes: IntGauge,
    pub live_bytes: IntGauge,
    pub release: Histogram,
    pub last_release: Histogram,
}

/// A closed set of label values.
pub trait Label: Copy + 'static {
    const VALUES: &'static [(Self, &'static str)];
    fn index(self) -> usize;
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($variant),+ }
        impl Label for $name {
            const VALUES: &'static [(Self, &'static str)] = &[$((Self::$variant, $text)),+];
            fn index(self) -> usize { self as usize }
        }
    };
}

mod cmcd;
mod disk;
mod fleet;
mod log;

pub use self::cmcd::{Mode, Rate, Reports};
pub use disk::{Disk, DiskRead, DiskWrite};
pub use fleet::{Fleet, Polled, Steered};
pub use log::{LogLine, LogLines};

/// The word of a value in a label.
pub fn word<L: Label + PartialEq>(label: L) -> &'static str {
    L::VALUES.iter().find(|(value, _)| *value == label).map_or("", |(_, word)| word)
}

label!(
    /// Where an answer came from.
    Lookup {
        Hit = "hit", Disk = "disk", Stale = "stale", Expired = "expired", Miss = "miss", Collapsed = "collapsed",
    }
);
label!(
    /// How a request upstream ended.
    Asked {
        Ok = "ok", Missing = "missing", Refused = "refused", Failed = "failed",
        Timeout = "timeout", Unreachable = "unreachable", Broken = "broken", Cancelled = "cancelled",
    }
);
label!(
    /// How a hold ended.
    HoldEnd { Released = "released", Late = "late", Left = "left", Refused = "refused", Drained = "drained" }
);
label!(
    /// How a fill ended.
    FillEnd {
        Whole = "whole", Pieces = "pieces", Disk = "disk", Confirmed = "confirmed", Negative = "negative", Stale = "stale", Refused = "refused",
        Aborted = "aborted",
    }
);
label!(
    /// Which bound bit.
    Bound {
        Holds = "holds_max", Subscriptions = "subscriptions_max", Variants = "subscriptions_per_path_max", LiveBytes = "live_bytes_max",
        ObjectBytes = "object_bytes_max", Fills = "fills_max", HeaderBytes = "header_bytes_max",
        HeaderTimeout = "header_timeout", PlaylistBytes = "playlist_bytes_max",
        Drain = "drain", Handshakes = "handshakes_max", HandshakeTimeout = "handshake_timeout",
        VerifiedTokens = "verified_tokens_max", ClientConnections = "client_connections_max",
        ClientHolds = "client_holds_max", ClientRequests = "client_requests_per_s", Clients = "clients_max",
        SendRate = "min_send_bytes_per_s", Http2Resets = "h2_resets_per_s", Http2Rules = "h2_rules",
        AccessLogLines = "queue_lines_max",
        RetryBudget = "retry_percent", HedgeBudget = "hedge_percent", LookBudget = "look_percent", Looks = "looks_per_s", Resumes = "resumes_max",
        CmsdBefore = "cmsd_before_bytes_max", Pacing = "pacing",
        DiskQueue = "disk_queue_bytes_max", DiskReads = "disk_reads_max", DiskReadTimeout = "disk_read_timeout",
        DiskPurges = "disk_purges_max", ForOne = "for_one_max", Found = "found_max",
    }
);
label!(
    /// How a TLS handshake ended.
    Handshake { Full = "full", Resumed = "resumed", Failed = "failed" }
);
label!(
    /// What came of a certificate file that changed.
    Reload { Loaded = "loaded", Failed = "failed" }
);
label!(
    /// Whether a token with a right signature had to be verified.
    Verified { Known = "known", Now = "now" }
);
label!(
    /// What a followed playlist brought.
    PlaylistNews {
        Newer = "newer", Same = "same", Backwards = "backwards", OtherCut = "other_cut", Unreadable = "unreadable",
    }
);

label!(
    /// How a request to purge ended.
    PurgeEnd { Done = "done", Unauthorized = "unauthorized", Malformed = "malformed" }
);
label!(
    /// Why an answer is not stored: upstream forbids it, means it for one requester, sets a cookie without saying that
    /// it may be shared, gives it no time to be used, varies it by request fields that are not passed on, gives it a
    /// status that says nothing of how long it may be used; or a purge came while it was fetched.
    Unstored {
        NoStore = "no_store", Private = "private", Cookie = "cookie", Useless = "useless", Vary = "vary", Status = "status",
        Purged = "purged",
    }
);

mod peers;

pub use peers::{HedgeEnd, PeerMetrics, Peers, Second};

const STATUSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

impl Metrics {
    /// # Errors
    /// If the registry already has metrics of these names: one edge per registry.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let mut make = Make { registry };
        // One core writes some tens of thousands of answers a second, so thousands of viewers take 10 to 500 ms; beyond
        // a second viewers start to stall. Factor 2 from 0.5 ms to 4 s tells these apart.
        let release_buckets = exponential_buckets(0.0005, 2.0, 14)?;
        Ok(Self {
            requests: make.classes("vivid_edge_requests_total", "Answers to viewers.", "status", &STATUSES)?,
            lookups: make.by_class::<Lookup>("vivid_edge_lookups_total", "Where answers came from.", "result")?,
            upstream: make.by_class::<Asked>("vivid_edge_upstream_requests_total", "Requests upstream.", "outcome")?,
            holds_ended: make.set::<HoldEnd>("vivid_edge_holds_ended_total", "Holds by how they ended.", "outcome")?,
            fills: make.set::<FillEnd>("vivid_edge_fills_total", "Fills by how they ended.", "outcome")?,
            bounds: make.set::<Bound>("vivid_edge_bounds_total", "How often a bound bit.", "bound")?,
            unstored: make.set::<Unstored>("vivid_edge_unstored_total", "Answers not stored, by reason.", "reason")?,
            purges: make.set::<PurgeEnd>(
                "vivid_edge_purges_total",
                "Requests to purge by how they ended.",
                "outcome",
            )?,
            purged: make.register(IntCounter::new("vivid_edge_purged_objects_total", "Objects purged.")?)?,
            playlists: make.set::<PlaylistNews>(
                "vivid_edge_followed_playlists_total",
                "Answers to followed playlists by what they brought.",
                "news",
            )?,
            handshakes: make.set::<Handshake>(
                "vivid_edge_handshakes_total",
                "TLS handshakes of viewers by how they ended.",
                "outcome",
            )?,
            reloads: make.set::<Reload>(
                "vivid_edge_certificate_reloads_total",
                "Certificates whose files changed, by what came of it.",
                "outcome",
            )?,
            log_lines: LogLines::new(&mut make)?,
            certificate_days: make.register(GaugeVec::new(
                Opts::new("vivid_edge_certificate_days", "Days until the certificate that serves expires."),
                &["certificate"],
            )?)?,
            peers: Peers::new(&mut make)?,
            reports: Reports::new(&mut make)?,
            databases: Databases::new(&mut make)?,
            denied: make.set::<Denial>(
                "vivid_edge_denied_total",
                "Requests turned away by a rule of edge.access.",
                "reason",
            )?,
            verified: make.set::<Verified>(
                "vivid_edge_tokens_total",
                "Tokens with a right signature, by whether they were known already.",
                "verified",
            )?,
            fleet: Fleet::new(&mut make)?,
            disk: Disk::new(&mut make)?,
            holds: make.gauge("vivid_edge_holds", "Requests that wait now.")?,
            subscriptions: make.gauge("vivid_edge_subscriptions", "Renditions followed upstream now.")?,
            connections: make.gauge("vivid_edge_connections", "Connections of viewers now.")?,
            cache_bytes: make.gauge("vivid_edge_cache_bytes", "Bytes in the evicting cache.")?,
            live_bytes: make.gauge("vivid_edge_live_bytes", "Bytes in the live window.")?,
            release: make.histogram(
                "vivid_edge_release_seconds",
                "From the arrival of a playlist version to its answer written, per held viewer.",
                &release_buckets,
            )?,
            last_release: make.histogram(
                "vivid_edge_last_release_seconds",
                "From the arrival of a playlist version to the answer of its last held viewer written.",
                &release_buckets,
            )?,
        })
    }

    pub fn answered(&self, class: Class, status: StatusCode) {
        let status = usize::from(status.as_u16() / 100).clamp(1, STATUSES.len()) - 1;
        self.requests[class as usize * STATUSES.len() + status].inc();
    }

    pub fn looked_up(&self, class: Class, lookup: Lookup) {
        self.lookups[class as usize * Lookup::VALUES.len() + lookup.index()].inc();
    }

    pub fn asked(&self, class: Class, asked: Asked) {
        self.upstream[class as usize * Asked::VALUES.len() + asked.index()].inc();
    }

    pub fn hold_ended(&self, end: HoldEnd) {
        self.holds_ended[end.index()].inc();
    }

    pub fn filled(&self, end: FillEnd) {
        self.fills[end.index()].inc();
    }

    pub fn bit(&self, bound: Bound) {
        self.bounds[bound.index()].inc();
    }

    pub fn unstored(&self, why: Unstored) {
        self.unstored[why.index()].inc();
    }

    pub fn purge_ended(&self, end: PurgeEnd) {
        self.purges[end.index()].inc();
    }

    pub fn shook(&self, end: Handshake) {
        self.handshakes[end.index()].inc();
    }

    pub fn reloaded(&self, reload: Reload) {
        self.reloads[reload.index()].inc();
    }

    pub fn followed(&self, news: PlaylistNews) {
        self.playlists[news.index()].inc();
    }

    pub fn denied(&self, denial: Denial) {
        self.denied[denial.index()].inc();
    }

    pub fn verified(&self, verified: Verified) {
        self.verified[verified.index()].inc();
    }
}

/// How the databases of places stand.
pub struct Databases {
    loaded: IntGaugeVec,
    stale: IntGaugeVec,
    built: IntGaugeVec,
}

impl Databases {
    fn new(make: &mut Make<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            loaded: make.gauges(
                "vivid_edge_geo_database_loaded",
                "1 if the configured database is in use.",
                "database",
            )?,
            stale: make.gauges(
                "vivid_edge_geo_database_stale",
                "1 if its file is missing or broken and the last good one is in use.",
                "database",
            )?,
            built: make.gauges(
                "vivid_edge_geo_database_built_seconds",
                "Unix time at which the database in use was made; 0 without one.",
                "database",
            )?,
        })
    }

    pub fn show(&self, standings: [geo::Standing; 3]) {
        for standing in standings {
            let database = &[standing.database];
            let built = standing.built.and_then(|built| built.duration_since(UNIX_EPOCH).ok());
            let loaded = matches!(standing.state, State::Current | State::Stale);
            self.loaded.with_label_values(database).set(loaded.into());
            self.stale.with_label_values(database).set((standing.state == State::Stale).into());
            self.built.with_label_values(database).set(built.map_or(0, |built| built.as_secs() as i64));
        }
    }
}

#[cfg(test)]
impl Metrics {
    pub(crate) fn verified_count(&self, verified: Verified) -> u64 {
        self.verified[verified.index()].get()
    }

    pub(crate) fn bound_count(&self, bound: Bound) -> u64 {
        self.bounds[bound.index()].get()
    }
}

struct Make<'a> {
    registry: &'a Registry,
}

impl Make<'_> {
    fn register<T: Collector + Clone + 'static>(&mut self, metric: T) -> prometheus::Result<T> {
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn gauge(&mut self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.register(IntGauge::new(name, help)?)
    }

    fn gauges(&mut self, name: &str, help: &str, label: &str) -> prometheus::Result<IntGaugeVec> {
        self.register(IntGaugeVec::new(Opts::new(name, help), &[label])?)
    }

    fn histogram(&mut self, name: &str, help: &str, buckets: &[f64]) -> prometheus::Result<Histogram> {
        self.register(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?)
    }

    fn set<L: Label>(&mut self, name: &str, help: &str, label: &str) -> prometheus::Result<Vec<IntCounter>> {
        let counters = self.register(IntCounterVec::new(Opts::new(name, help), &[label])?)?;
        Ok(L::VALUES.iter().map(|(_, value)| counters.with_label_values(&[value])).collect())
    }

    fn by_class<L: Label>(&mut self, name: &str, help: &str, label: &str) -> prometheus::Result<Vec<IntCounter>> {
        let values: Vec<&str> = L::VALUES.iter().map(|(_, value)| *value).collect();
        self.classes(name, help, label, &values)
    }

    fn classes(&mut self, name: &str, help: &str, label: &str, values: &[&str]) -> prometheus::Result<Vec<IntCounter>> {
        let counters = self.register(IntCounterVec::new(Opts::new(name, help), &["class", label])?)?;
        let pairs = Class::ALL.iter().flat_map(|class| values.iter().map(|value| (class.label(), *value)));
        Ok(pairs.map(|(class, value)| counters.with_label_values(&[class, value])).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_stands_where_its_index_says() {
        for (at, (denial, name)) in Denial::VALUES.iter().enumerate() {
            assert_eq!(denial.index(), at, "{name}");
        }
    }

    #[test]
    fn every_label_counts_under_its_own_name() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        metrics.answered(Class::Other, StatusCode::GATEWAY_TIMEOUT);
        metrics.asked(Class::Part, Asked::Cancelled);
        metrics.bit(Bound::PlaylistBytes);
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            "vivid_edge_requests_total{class=\"other\",status=\"5xx\"} 1",
            "vivid_edge_upstream_requests_total{class=\"part\",outcome=\"cancelled\"} 1",
            "vivid_edge_bounds_total{bound=\"playlist_bytes_max\"} 1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(Metrics::new(&registry).is_err(), "one edge per registry");
    }
}
