//! What waits to be written: bounded in bytes, so that a slow disk costs parts of the window and no part its time.

use super::life::Given;
use super::metrics::DiskMetrics;
use super::record::{Record, Segment};
use crate::window::Window;
use bytes::Bytes;
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

/// The end that is filled. It never waits.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    jobs: Sender<Job>,
    bytes_max: usize,
    metrics: DiskMetrics,
}

/// Something to be done for one life of a stream.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) folder: PathBuf,
    pub(super) work: Work,
}

#[derive(Debug)]
pub(super) enum Work {
    /// An epoch begins; without its record no segment of it is of use.
    Epoch(Record),
    Line(Record),
    Segment {
        file: PathBuf,
        pieces: Vec<Bytes>,
        record: Segment,
        window: Arc<Mutex<Window>>,
    },
    Delete {
        file: PathBuf,
        rendition: String,
        msn: u64,
    },
    Forget(Given),
    /// Everything before it is done once this is sent.
    Flush(tokio::sync::oneshot::Sender<()>),
}

impl Queue {
    pub(super) fn new(bytes_max: usize, metrics: DiskMetrics) -> (Self, Receiver<Job>) {
        let (jobs, received) = channel();
        (Self { jobs, bytes_max, metrics }, received)
    }

    pub(super) fn push(&self, job: Job) {
        let bytes = job.work.bytes();
        if bytes > 0 && self.metrics.queue_bytes.get() as usize + bytes > self.bytes_max {
            self.metrics.segment("refused");
            return;
        }
        self.metrics.queue_bytes.add(bytes as i64);
        // A writer that is gone wrote all it could.
        let _ = self.jobs.send(job);
    }
}

impl Work {
    /// Of media; the rest is little, and comes with it.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Segment { pieces, .. } => pieces.iter().map(Bytes::len).sum(),
            _ => 0,
        }
    }
}
