//! What the origin counts of its disk.

use super::queue::Entry;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry, Result, opts};

#[derive(Clone, Debug)]
pub(crate) struct DiskMetrics {
    pub(crate) segments: IntCounterVec,
    pub(crate) queue_bytes: IntGauge,
    pub(crate) queue_segments: IntGauge,
    pub(crate) lives_late: IntCounter,
    pub(crate) failing: IntGauge,
    pub(crate) lost: IntCounter,
    pub(crate) unread: IntCounter,
    pub(crate) reads: IntCounterVec,
    pub(crate) shortened: IntCounter,
}

impl DiskMetrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self> {
        let metrics = Self {
            segments: IntCounterVec::new(
                opts!(
                    "vivid_origin_disk_segments_total",
                    "whole segments that were to be written, by what became of them"
                ),
                &["outcome"],
            )?,
            queue_bytes: IntGauge::with_opts(Opts::new(
                "vivid_origin_disk_queue_bytes",
                "bytes of segments that wait to be written",
            ))?,
            queue_segments: IntGauge::with_opts(Opts::new(
                "vivid_origin_disk_queue_segments",
                "segments that wait to be written",
            ))?,
            lives_late: IntCounter::new(
                "vivid_origin_disk_lives_late_total",
                "times that a stream was not told to the thread that writes, as 4096 others waited for it; it is once it has more",
            )?,
            lost: IntCounter::new(
                "vivid_origin_disk_lost_total",
                "journals that were removed or replaced while the origin ran",
            )?,
            unread: IntCounter::new(
                "vivid_origin_disk_unread_total",
                "journals that could not be read when the origin started, and whose folders are kept aside",
            )?,
            failing: IntGauge::with_opts(Opts::new(
                "vivid_origin_disk_failing",
                "1 if the disk is full, read-only or not there: windows live in memory",
            ))?,
            reads: IntCounterVec::new(
                opts!("vivid_origin_disk_reads_total", "requests for what is on disk alone, by what was found"),
                &["outcome"],
            )?,
            shortened: IntCounter::new(
                "vivid_origin_window_shortened_total",
                "segments that left a window early because origin.window.memory_bytes_max was reached",
            )?,
        };
        registry.register(Box::new(metrics.segments.clone()))?;
        registry.register(Box::new(metrics.queue_bytes.clone()))?;
        registry.register(Box::new(metrics.queue_segments.clone()))?;
        registry.register(Box::new(metrics.lives_late.clone()))?;
        registry.register(Box::new(metrics.lost.clone()))?;
        registry.register(Box::new(metrics.unread.clone()))?;
        registry.register(Box::new(metrics.failing.clone()))?;
        registry.register(Box::new(metrics.reads.clone()))?;
        registry.register(Box::new(metrics.shortened.clone()))?;
        for outcome in ["written", "failed", "refused"] {
            metrics.segments.with_label_values(&[outcome]);
        }
        for outcome in ["found", "missing", "late", "crowded", "failed"] {
            metrics.reads.with_label_values(&[outcome]);
        }
        Ok(metrics)
    }

    pub(crate) fn segment(&self, outcome: &str) {
        self.segments.with_label_values(&[outcome]).inc();
    }

    /// A segment of so many bytes waits no more.
    pub(super) fn left(&self, bytes: usize) {
        self.queue_bytes.sub(bytes as i64);
        self.queue_segments.dec();
    }

    /// What waited is not to be written.
    pub(super) fn leave(&self, entries: impl Iterator<Item = Entry>) {
        for entry in entries {
            if let Entry::Segment(whole) = entry {
                self.left(whole.bytes());
            }
        }
    }

    pub(crate) fn read(&self, outcome: &str) {
        self.reads.with_label_values(&[outcome]).inc();
    }
}
