//! What the origin counts of its disk.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry, Result, opts};

#[derive(Clone, Debug)]
pub(crate) struct DiskMetrics {
    pub(crate) segments: IntCounterVec,
    pub(crate) queue_bytes: IntGauge,
    pub(crate) failing: IntGauge,
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
        registry.register(Box::new(metrics.failing.clone()))?;
        registry.register(Box::new(metrics.reads.clone()))?;
        registry.register(Box::new(metrics.shortened.clone()))?;
        for outcome in ["written", "failed", "refused"] {
            metrics.segments.with_label_values(&[outcome]);
        }
        for outcome in ["found", "missing", "late", "failed"] {
            metrics.reads.with_label_values(&[outcome]);
        }
        Ok(metrics)
    }

    pub(crate) fn segment(&self, outcome: &str) {
        self.segments.with_label_values(&[outcome]).inc();
    }

    pub(crate) fn read(&self, outcome: &str) {
        self.reads.with_label_values(&[outcome]).inc();
    }
}
