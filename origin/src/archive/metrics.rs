//! What the origin counts of its recordings.

use super::rules::Why;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, Result, opts};

#[derive(Clone, Debug)]
pub(crate) struct ArchiveMetrics {
    pub(crate) recordings: IntGauge,
    pub(crate) bytes: IntGaugeVec,
    pub(crate) failing: IntGaugeVec,
    pub(crate) expired: IntCounter,
    moves: IntCounterVec,
    removed: IntCounterVec,
    reads: IntCounterVec,
}

impl ArchiveMetrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self> {
        let metrics = Self {
            recordings: IntGauge::with_opts(opts!(
                "vivid_origin_archive_recordings",
                "recordings that there are, in all tiers"
            ))?,
            bytes: IntGaugeVec::new(opts!("vivid_origin_archive_bytes", "bytes of recordings, by tier"), &["tier"])?,
            failing: IntGaugeVec::new(
                opts!(
                    "vivid_origin_archive_failing",
                    "1 if the store of the tier cannot be read, or does not take what moves there"
                ),
                &["tier"],
            )?,
            expired: IntCounter::with_opts(opts!(
                "vivid_origin_archive_expired_segments_total",
                "segments of live streams that were removed because origin.archive.length_max_s was reached"
            ))?,
            moves: IntCounterVec::new(
                opts!(
                    "vivid_origin_archive_moves_total",
                    "recordings that were to move to another tier, by what came of it"
                ),
                &["outcome"],
            )?,
            removed: IntCounterVec::new(
                opts!("vivid_origin_archive_removed_total", "recordings that were removed, by why"),
                &["reason"],
            )?,
            reads: IntCounterVec::new(
                opts!("vivid_origin_archive_reads_total", "requests for files of recordings, by what was found"),
                &["outcome"],
            )?,
        };
        registry.register(Box::new(metrics.recordings.clone()))?;
        registry.register(Box::new(metrics.expired.clone()))?;
        registry.register(Box::new(metrics.bytes.clone()))?;
        registry.register(Box::new(metrics.failing.clone()))?;
        for vec in [&metrics.moves, &metrics.removed, &metrics.reads] {
            registry.register(Box::new(vec.clone()))?;
        }
        for outcome in ["moved", "failed"] {
            metrics.moves.with_label_values(&[outcome]);
        }
        for why in Why::ALL {
            metrics.removed.with_label_values(&[why.label()]);
        }
        for outcome in ["found", "missing", "late", "failed"] {
            metrics.reads.with_label_values(&[outcome]);
        }
        Ok(metrics)
    }

    pub(crate) fn moved(&self, outcome: &str) {
        self.moves.with_label_values(&[outcome]).inc();
    }

    pub(crate) fn removed(&self, why: Why) {
        self.removed.with_label_values(&[why.label()]).inc();
    }

    pub(crate) fn read(&self, outcome: &str) {
        self.reads.with_label_values(&[outcome]).inc();
    }
}
