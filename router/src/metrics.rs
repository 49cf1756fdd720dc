//! What the router counts. Labels are bounded: CDNs come from the configuration, all else from fixed words.

use geo::State;
use prometheus::{Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};
use std::time::UNIX_EPOCH;

pub(crate) struct Metrics {
    /// By first CDN, reason and what it was said in (`playlist`, `steering`).
    pub(crate) decisions: IntCounterVec,
    /// By what the answer meant for the pathway that the player reports (`stays`, `moves`, `unreported`).
    pub(crate) steering_requests: IntCounterVec,
    /// By CDN, as players report it.
    pub(crate) reported_throughput: HistogramVec,
    pub(crate) rewrite: Histogram,
    /// By CDN and outcome.
    pub(crate) probes: IntCounterVec,
    pub(crate) probe_duration: HistogramVec,
    pub(crate) loss: GaugeVec,
    pub(crate) snapshot_age: Gauge,
    pub(crate) watched_streams: Gauge,
    pub(crate) origin_fetches: IntCounterVec,
    /// By database and outcome.
    pub(crate) geo_lookups: IntCounterVec,
    geo_loaded: GaugeVec,
    geo_stale: GaugeVec,
    geo_built: GaugeVec,
    pub(crate) connections: Gauge,
    pub(crate) refused_connections: IntCounter,
    pub(crate) refused_samples: IntCounter,
}

impl Metrics {
    /// Registers all of them. Fails when a name is taken, which means a second router in one registry.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let new = Register(registry);
        Ok(Self {
            decisions: new.counters(
                "vivid_router_decisions_total",
                "Answers by first CDN, why it is first, and where it was said",
                &["cdn", "reason", "said_in"],
            )?,
            steering_requests: new.counters(
                "vivid_router_steering_requests_total",
                "Steering answers by what they meant for the pathway that the player reported",
                &["effect"],
            )?,
            reported_throughput: new.histograms(
                "vivid_router_reported_throughput_bits_per_second",
                "What players say a CDN delivers to them",
                // The rungs of common ladders, and beyond the highest.
                (vec![0.5e6, 1e6, 2e6, 4e6, 8e6, 16e6, 32e6, 64e6], &["cdn"]),
            )?,
            rewrite: new.keep(Histogram::with_opts(
                HistogramOpts::new("vivid_router_rewrite_seconds", "Time to write a playlist for one viewer")
                    // From a playlist of a few hundred bytes to one of a megabyte.
                    .buckets(vec![1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 1e-3, 1e-2]),
            )?)?,
            probes: new.counters("vivid_router_probes_total", "Probes by CDN and outcome", &["cdn", "outcome"])?,
            probe_duration: new.histograms(
                "vivid_router_probe_seconds",
                "Time of a probe: both playlists of a stream through a CDN",
                // Loopback to the longest timeout; 0.2 s and 2 s bound what a slow answer costs in the loss.
                (vec![0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 30.0], &["cdn"]),
            )?,
            loss: new.gauges(
                "vivid_router_loss_ratio",
                "Expected share of watch time lost on a CDN; NaN while unknown",
                &["cdn"],
            )?,
            snapshot_age: new.gauge("vivid_router_snapshot_age_seconds", "Age of the facts that decisions rest on")?,
            watched_streams: new
                .gauge("vivid_router_watched_streams", "Streams that are probed because viewers ask for them")?,
            origin_fetches: new.counters(
                "vivid_router_origin_fetches_total",
                "Multivariant playlists fetched, by outcome",
                &["outcome"],
            )?,
            geo_lookups: new.counters(
                "vivid_router_geo_lookups_total",
                "Look-ups of viewers' addresses",
                &["database", "outcome"],
            )?,
            geo_loaded: new.gauges(
                "vivid_router_geo_database_loaded",
                "1 if the configured database is in use",
                &["database"],
            )?,
            geo_stale: new.gauges(
                "vivid_router_geo_database_stale",
                "1 if its file is missing or broken and the last good one is in use",
                &["database"],
            )?,
            geo_built: new.gauges(
                "vivid_router_geo_database_built_seconds",
                "Unix time at which the database in use was made; 0 without one",
                &["database"],
            )?,
            connections: new.gauge("vivid_router_connections", "Open connections of viewers")?,
            refused_connections: new
                .counter("vivid_router_refused_connections_total", "Connections closed at once: too many are open")?,
            refused_samples: new.counter(
                "vivid_router_refused_samples_total",
                "Samples dropped: too many cells, or no sensible weight",
            )?,
        })
    }
}

impl Metrics {
    pub(crate) fn geo(&self, standings: [geo::Standing; 3]) {
        for standing in standings {
            let database = &[standing.database];
            let built = standing.built.and_then(|built| built.duration_since(UNIX_EPOCH).ok());
            let is = |state| f64::from(u8::from(standing.state == state));
            self.geo_loaded.with_label_values(database).set(is(State::Current) + is(State::Stale));
            self.geo_stale.with_label_values(database).set(is(State::Stale));
            self.geo_built.with_label_values(database).set(built.map_or(0.0, |built| built.as_secs_f64()));
        }
    }
}

/// Makes and registers.
struct Register<'a>(&'a Registry);

impl Register<'_> {
    fn keep<C: prometheus::core::Collector + Clone + 'static>(&self, metric: C) -> Result<C, prometheus::Error> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.keep(IntCounter::new(name, help)?)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
        self.keep(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<Gauge, prometheus::Error> {
        self.keep(Gauge::new(name, help)?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec, prometheus::Error> {
        self.keep(GaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        (buckets, labels): (Vec<f64>, &[&str]),
    ) -> Result<HistogramVec, prometheus::Error> {
        let options = HistogramOpts::new(name, help).buckets(buckets);
        self.keep(HistogramVec::new(options, labels)?)
    }
}
