//! What is counted of the disk: what reads and writes came to, and how much lies there.

use super::{Label, Make};
use prometheus::{IntCounter, IntGauge};

/// The disk's metrics.
pub struct Disk {
    reads: Vec<IntCounter>,
    writes: Vec<IntCounter>,
    pub bytes: IntGauge,
    pub files: IntGauge,
    pub listing: IntGauge,
    pub failing: IntGauge,
}

label!(
    /// What looking for an object on disk came to.
    DiskRead { Hit = "hit", Miss = "miss", Gone = "gone", Corrupt = "corrupt", Failed = "failed" }
);
label!(
    /// What became of an object that was to be written.
    DiskWrite { Written = "written", Failed = "failed", Paused = "paused" }
);

impl Disk {
    pub(super) fn new(make: &mut Make<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            reads: make.set::<DiskRead>(
                "vivid_edge_disk_reads_total",
                "Objects looked for on disk, by what was found.",
                "outcome",
            )?,
            writes: make.set::<DiskWrite>(
                "vivid_edge_disk_writes_total",
                "Objects that were to be written to disk, by what became of them.",
                "outcome",
            )?,
            bytes: make.gauge("vivid_edge_disk_bytes", "Bytes of the files on disk that are listed.")?,
            files: make.gauge("vivid_edge_disk_files", "Files on disk that are listed.")?,
            listing: make.gauge(
                "vivid_edge_disk_listing",
                "1 while the files on disk are being listed, or are not this node's yet; nothing is written then.",
            )?,
            failing: make.gauge(
                "vivid_edge_disk_failing",
                "1 if the disk is full, read-only or not there: nothing is written.",
            )?,
        })
    }

    pub fn read(&self, read: DiskRead) {
        self.reads[read.index()].inc();
    }

    pub fn wrote(&self, write: DiskWrite) {
        self.writes[write.index()].inc();
    }
}
