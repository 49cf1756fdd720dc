//! What waits to be written: segments within bounds, so that a slow disk costs parts of the window and no part its time. What
//! a journal cannot be without is never refused; what is of no use any more is taken out instead.

use super::life::Given;
use super::metrics::DiskMetrics;
use super::record::{Record, Segment};
use crate::epoch::EpochId;
use crate::medium::Medium;
use crate::window::Window;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use tokio::sync::{Notify, oneshot};

/// The end that is filled. It never waits.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    jobs: SyncSender<Job>,
    bytes_max: usize,
    segments_max: usize,
    metrics: DiskMetrics,
}

#[derive(Debug)]
pub(super) enum Job {
    /// Something waits for this life of a stream. There is one of these for each at a time.
    Life(Arc<Shelf>),
    /// Everything before it is done once this is sent.
    Flush(oneshot::Sender<()>),
}

/// One life of a stream, between those who fill its journal and the one who writes it.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) folder: PathBuf,
    waiting: Mutex<Waiting>,
    /// What was on disk is not there any more.
    pub(super) lost: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// A job for it is on its way.
    is_told: bool,
    entries: VecDeque<Entry>,
    gone: Vec<Gone>,
    rest: Option<Given>,
    forget: Option<Given>,
}

/// What is written, in this order.
#[derive(Debug)]
pub(super) enum Entry {
    /// The journal is there, and is to be written on.
    Resume,
    Line(Record),
    Segment(Whole),
}

#[derive(Debug)]
pub(super) struct Whole {
    pub(super) file: PathBuf,
    pub(super) pieces: Vec<Bytes>,
    pub(super) record: Segment,
    pub(super) window: Arc<Mutex<Window>>,
}

/// Segments of a rendition that are to be deleted: these, and those between.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone {
    pub(super) rendition: String,
    pub(super) medium: Medium,
    pub(super) epoch: EpochId,
    pub(super) first: u64,
    pub(super) last: u64,
}

/// What is to be done for a life.
#[derive(Debug)]
pub(super) enum Next {
    Entry(Entry),
    Delete(Gone),
    /// The life is over, and its folder stays.
    Rest(Given),
    Forget(Given),
}

/// Lives of streams that wait at once. One more waits until it has more to say.
const LIVES_MAX: usize = 4096;

impl Queue {
    pub(super) fn new(config: &config::OriginDisk, metrics: DiskMetrics) -> (Self, Receiver<Job>) {
        let (jobs, received) = sync_channel(LIVES_MAX);
        (Self { jobs, bytes_max: config.queue_bytes_max, segments_max: config.queue_segments_max, metrics }, received)
    }

    pub(super) fn push(&self, shelf: &Arc<Shelf>, entry: Entry) {
        if let Entry::Segment(whole) = &entry {
            let (bytes, segments) = (&self.metrics.queue_bytes, &self.metrics.queue_segments);
            let is_full = bytes.get() as usize + whole.bytes() > self.bytes_max;
            if is_full || segments.get() as usize >= self.segments_max {
                self.metrics.segment("refused");
                return;
            }
            bytes.add(whole.bytes() as i64);
            segments.inc();
        }
        self.add(shelf, |waiting| fold(&mut waiting.entries, entry));
    }

    pub(super) fn delete(&self, shelf: &Arc<Shelf>, (rendition, medium): (&str, Medium), (epoch, msn): (EpochId, u64)) {
        self.add(shelf, |waiting| {
            let mut of_rendition = waiting.gone.iter_mut().rev().filter(|gone| gone.rendition == rendition);
            match of_rendition.next().filter(|gone| gone.epoch == epoch && gone.last + 1 == msn) {
                Some(gone) => gone.last = msn,
                None => {
                    let rendition = rendition.to_owned();
                    waiting.gone.push(Gone { rendition, medium, epoch, first: msn, last: msn });
                }
            }
        });
    }

    /// Nothing will be written after what waits.
    pub(super) fn rest(&self, shelf: &Arc<Shelf>, given: Given) {
        self.add(shelf, |waiting| waiting.rest = Some(given));
    }

    /// Nothing that waits is to be written any more.
    pub(super) fn forget(&self, shelf: &Arc<Shelf>, given: Given) {
        self.add(shelf, |waiting| {
            self.metrics.leave(waiting.entries.drain(..));
            waiting.gone.clear();
            waiting.forget = Some(given);
        });
    }

    /// False if there is nobody who would do it.
    pub(super) fn flush(&self, done: oneshot::Sender<()>) -> bool {
        self.jobs.try_send(Job::Flush(done)).is_ok()
    }

    fn add(&self, shelf: &Arc<Shelf>, add: impl FnOnce(&mut Waiting)) {
        let mut waiting = shelf.waiting.lock();
        add(&mut waiting);
        if waiting.is_told {
            return;
        }
        match self.jobs.try_send(Job::Life(Arc::clone(shelf))) {
            Ok(()) => waiting.is_told = true,
            Err(TrySendError::Full(_)) => self.metrics.lives_late.inc(),
            // There is no writer: nothing will ever be taken out.
            Err(TrySendError::Disconnected(_)) => {
                self.metrics.leave(waiting.entries.drain(..));
                *waiting = Waiting::default();
            }
        }
    }
}

impl Shelf {
    pub(super) fn new(folder: PathBuf) -> Arc<Self> {
        Arc::new(Self { folder, waiting: Mutex::default(), lost: Notify::new() })
    }

    /// What is to be done next; `None` once another job comes for what is added.
    pub(super) fn next(&self) -> Option<Next> {
        let mut waiting = self.waiting.lock();
        let entry = waiting.entries.pop_front().map(Next::Entry);
        let next = entry
            .or_else(|| waiting.gone.pop().map(Next::Delete))
            .or_else(|| waiting.rest.take().map(Next::Rest))
            .or_else(|| waiting.forget.take().map(Next::Forget));
        waiting.is_told = next.is_some();
        next
    }
}

impl Whole {
    /// Of media; the rest is little, and comes with it.
    pub(super) fn bytes(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }
}

/// Adds what is to be written, and takes out what it makes useless: of gaps that follow each other the last tells all, and
/// an epoch without a segment is in no playlist once there is another. So lines are never many more than segments.
pub(super) fn fold(entries: &mut VecDeque<Entry>, entry: Entry) {
    match (&entry, entries.back_mut()) {
        (
            Entry::Line(Record::Gap { through, unix_ms, is_unsure: false }),
            Some(Entry::Line(Record::Gap { through: known_through, unix_ms: known_unix_ms, .. })),
        ) => {
            (*known_through, *known_unix_ms) = (*through, *unix_ms);
            return;
        }
        (Entry::Line(Record::Epoch(_)), _) => {
            let began = entries.iter().rposition(|known| matches!(known, Entry::Line(Record::Epoch(_))));
            let is_line = |known: &Entry| matches!(known, Entry::Line(_));
            if let Some(began) = began.filter(|&began| entries.range(began..).all(is_line)) {
                entries.truncate(began);
            }
        }
        _ => {}
    }
    entries.push_back(entry);
}
