//! What the origin counts of its streams and requests.

use crate::archive::ArchiveMetrics;
use crate::keys::KeyMetrics;
use crate::store::DiskMetrics;
use crate::streams::{MarkError, Marked, Reason};
use crate::twin::Outcome;
use prometheus::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, Result, histogram_opts, opts,
};

/// Registered once per process.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) streams: IntGauge,
    pub(crate) parts: IntCounterVec,
    pub(crate) part_delay: HistogramVec,
    pub(crate) epochs: IntCounterVec,
    pub(crate) frames_skipped: IntCounter,
    pub(crate) twin_agreements: IntCounterVec,
    pub(crate) stalls: IntCounter,
    markers: IntCounterVec,
    pub(crate) texts: IntCounterVec,
    pub(crate) thumbnails_late: IntCounter,
    pub(crate) window_bytes: IntGauge,
    pub(crate) holds: IntGauge,
    pub(crate) holds_ended: IntCounterVec,
    pub(crate) hold_seconds: Histogram,
    pub(crate) requests: IntCounterVec,
    pub(crate) connections: IntGauge,
    pub(crate) connections_refused: IntCounter,
    pub(crate) answers_stalled: IntCounter,
    pub(crate) disk: DiskMetrics,
    pub(crate) archive: ArchiveMetrics,
    pub(crate) keys: KeyMetrics,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self> {
        let metrics = Self {
            streams: gauge("vivid_origin_streams", "streams that have a publisher or wait for it to come back")?,
            parts: IntCounterVec::new(
                opts!("vivid_origin_parts_total", "parts published, by how they are made"),
                &["make"],
            )?,
            part_delay: HistogramVec::new(
                histogram_opts!(
                    "vivid_origin_part_publish_delay_seconds",
                    "from the last source frame of a part being received to the part being visible, by how it is made",
                    // Passing through takes less than a millisecond, encoding some frames; a part target or more is late.
                    vec![0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 1.0, 2.0]
                ),
                &["make"],
            )?,
            epochs: IntCounterVec::new(opts!("vivid_origin_epochs_total", "epochs started, by reason"), &["reason"])?,
            frames_skipped: counter(
                "vivid_origin_frames_skipped_total",
                "source frames not used: they came before a key frame that an epoch could start with",
            )?,
            twin_agreements: IntCounterVec::new(
                opts!(
                    "vivid_origin_twin_agreements_total",
                    "epochs that were to begin together with the twin origin, by what came of it"
                ),
                &["outcome"],
            )?,
            stalls: counter(
                "vivid_origin_stalls_total",
                "publishers with a twin origin that fell silent for longer than a part; requests for more were answered 503",
            )?,
            markers: IntCounterVec::new(
                opts!(
                    "vivid_origin_markers_total",
                    "markers of streams' time, by where they came from and what came of it"
                ),
                &["source", "result"],
            )?,
            texts: IntCounterVec::new(opts!("vivid_origin_texts_total", TEXTS), &["result"])?,
            thumbnails_late: counter(
                "vivid_origin_thumbnails_dropped_total",
                "images of thumbnails that came for a segment that is none of the epoch's next",
            )?,
            window_bytes: gauge("vivid_origin_window_bytes", "bytes of media held for all live windows")?,
            holds: gauge("vivid_origin_holds", "requests that wait for a part or playlist now")?,
            holds_ended: IntCounterVec::new(
                opts!("vivid_origin_holds_ended_total", "requests that waited or were to wait, by how that ended"),
                &["outcome"],
            )?,
            hold_seconds: Histogram::with_opts(histogram_opts!(
                "vivid_origin_hold_seconds",
                "how long requests waited",
                // A request that follows the live edge waits at most a part; more than a few seconds is a stall.
                vec![0.05, 0.1, 0.2, 0.35, 0.5, 1.0, 2.0, 6.0, 12.0]
            ))?,
            requests: IntCounterVec::new(
                opts!("vivid_origin_requests_total", "requests answered, by class of resource and status"),
                &["class", "status"],
            )?,
            connections: gauge("vivid_origin_http_connections", "HTTP connections open now")?,
            connections_refused: counter(
                "vivid_origin_http_connections_refused_total",
                "HTTP connections closed at once because too many were open",
            )?,
            answers_stalled: counter("vivid_origin_answers_stalled_total", "answers of which a client took nothing")?,
            disk: DiskMetrics::register(registry)?,
            archive: ArchiveMetrics::register(registry)?,
            keys: KeyMetrics::register(registry)?,
        };
        metrics.register_all(registry)?;
        Ok(metrics)
    }

    /// A marker came by `source`; one that displaced another counts as both.
    pub(crate) fn marked(&self, source: &str, marked: &std::result::Result<Marked, MarkError>) {
        let count = |result| self.markers.with_label_values(&[source, result]).inc();
        match marked {
            Ok(Marked::Added) => count("added"),
            Ok(Marked::Displaced) => {
                count("added");
                count("displaced");
            }
            Err(MarkError::Full { .. }) => count("full"),
            Err(MarkError::Range(_)) => count("refused"),
        }
    }

    fn register_all(&self, registry: &Registry) -> Result<()> {
        for vec in [&self.parts, &self.epochs, &self.twin_agreements, &self.holds_ended, &self.requests, &self.texts] {
            registry.register(Box::new(vec.clone()))?;
        }
        for gauge in [&self.streams, &self.window_bytes, &self.holds, &self.connections] {
            registry.register(Box::new(gauge.clone()))?;
        }
        registry.register(Box::new(self.part_delay.clone()))?;
        registry.register(Box::new(self.hold_seconds.clone()))?;
        registry.register(Box::new(self.frames_skipped.clone()))?;
        registry.register(Box::new(self.stalls.clone()))?;
        registry.register(Box::new(self.thumbnails_late.clone()))?;
        registry.register(Box::new(self.markers.clone()))?;
        registry.register(Box::new(self.connections_refused.clone()))?;
        registry.register(Box::new(self.answers_stalled.clone()))?;
        // A series that exists from the start can be alerted on before it first moves.
        for outcome in ["answered", "gone", "timeout", "refused", "stopping", "abandoned"] {
            self.holds_ended.with_label_values(&[outcome]);
        }
        for source in ["http", "cue_point"] {
            for result in ["added", "displaced", "full", "refused"] {
                self.markers.with_label_values(&[source, result]);
            }
        }
        for result in ["shown", "early", "bounded"] {
            self.texts.with_label_values(&[result]);
        }
        for outcome in Outcome::ALL {
            self.twin_agreements.with_label_values(&[outcome.label()]);
        }
        for reason in Reason::ALL {
            self.epochs.with_label_values(&[reason.label()]);
        }
        Ok(())
    }
}

const TEXTS: &str = "texts of publishers (onTextData), by what came of them: shown, early (no epoch ran), or bounded";

/// What one of many adds to a gauge. It is taken back however its owner ends, by a panic as well.
#[derive(Debug)]
pub(crate) struct Share {
    gauge: IntGauge,
    held: i64,
}

impl Share {
    pub(crate) fn new(gauge: &IntGauge, held: i64) -> Self {
        gauge.add(held);
        Self { gauge: gauge.clone(), held }
    }

    pub(crate) fn set(&mut self, held: i64) {
        self.gauge.add(held - self.held);
        self.held = held;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.gauge.sub(self.held);
    }
}

fn gauge(name: &str, help: &str) -> Result<IntGauge> {
    IntGauge::with_opts(Opts::new(name, help))
}

fn counter(name: &str, help: &str) -> Result<IntCounter> {
    IntCounter::with_opts(Opts::new(name, help))
}
