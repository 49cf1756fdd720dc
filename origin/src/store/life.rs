//! One life of a stream, from its first publisher to its end, as the disk knows it.

use super::kept::Kept;
use super::queue::{Entry, Queue, Shelf, Whole};
use super::record::{Epoch, Record, Segment};
use crate::clock::unix_ms;
use crate::epoch::{EpochId, NUMBER_MAX, TIME_MAX_MS};
use crate::medium::Medium;
use crate::streams::{Markers, TextTrack};
use crate::window::{News, Window};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shared by all renditions of the stream. Without a disk it only knows the names that were given.
#[derive(Debug, Default)]
pub(crate) struct Life {
    /// What waits to be written to its folder, and where that is told.
    disk: Option<(Arc<Shelf>, Queue)>,
    given: Arc<Mutex<Given>>,
    /// What is read from the journal is not written to it again.
    is_read: AtomicBool,
    /// It is to become a recording.
    kept: Option<Kept>,
}

/// The highest that any life of a stream's name has used: what comes is above, even where the clock goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Given {
    pub(crate) epoch: u64,
    pub(crate) next_msn: u64,
    /// When the last life began, in Unix milliseconds: the name of its folder.
    pub(crate) started: u64,
}

impl Given {
    /// Whether there is room above.
    pub(super) fn is_sane(&self) -> bool {
        self.epoch < NUMBER_MAX && self.next_msn < NUMBER_MAX && self.started < TIME_MAX_MS as u64
    }
}

impl Life {
    pub(super) fn new(disk: Option<(PathBuf, Queue)>, given: Arc<Mutex<Given>>, kept: Option<Kept>) -> Self {
        let disk = disk.map(|(folder, queue)| (Shelf::new(folder), queue));
        Self { disk, given, is_read: AtomicBool::new(false), kept }
    }

    /// Goes on with the journal that is there.
    pub(super) fn resumed(self) -> Self {
        self.write(Entry::Resume);
        self
    }

    pub(crate) fn given(&self) -> Given {
        *self.given.lock()
    }

    pub(crate) fn has_disk(&self) -> bool {
        self.disk.is_some()
    }

    /// Where a segment is, if there is a disk.
    pub(crate) fn file(&self, rendition: (&str, Medium), epoch: EpochId, msn: u64) -> Option<PathBuf> {
        self.disk.as_ref().map(|(shelf, _)| file(&shelf.folder, rendition, epoch, msn))
    }

    /// Returns once what was on disk is found not to be there any more.
    pub(crate) async fn lost(&self) {
        match &self.disk {
            Some((shelf, _)) => shelf.lost.notified().await,
            None => pending().await,
        }
    }

    /// While the journal is read.
    pub(crate) fn set_read(&self, is_read: bool) {
        self.is_read.store(is_read, Ordering::Relaxed);
    }

    pub(crate) fn opened(&self, epoch: Epoch) {
        {
            let mut given = self.given.lock();
            given.epoch = given.epoch.max(epoch.numbers.id);
            given.next_msn = given.next_msn.max(epoch.numbers.first_msn);
        }
        self.line(Record::Epoch(Box::new(epoch)));
    }

    pub(crate) fn text(&self, track: TextTrack) {
        self.line(Record::Text(track));
    }

    /// `next_msn` is above all numbers of the epoch.
    pub(crate) fn broke_off(&self, next_msn: u64, unix_ms: i64) {
        self.line(Record::Break { unix_ms, next_msn });
    }

    /// `is_unsure` where nobody knows which of them were given.
    pub(crate) fn gapped(&self, (through, is_unsure): (u64, bool), unix_ms: i64) {
        {
            let mut given = self.given.lock();
            given.next_msn = given.next_msn.max(through + 1);
        }
        self.line(Record::Gap { through, unix_ms, is_unsure });
    }

    /// The stream ended; `markers` is what was said of its time.
    pub(crate) fn ended(&self, unix_ms: i64, markers: &Markers) {
        self.line(Record::End { unix_ms });
        if let Some(kept) = &self.kept {
            self.over();
            kept.ended(markers);
        }
    }

    /// The origin stops: nothing is given from here on, and the journal lacks nothing.
    pub(crate) fn stopped(&self, next_msn: u64, unix_ms: i64) {
        self.line(Record::Stop { unix_ms, next_msn });
    }

    /// Nothing of it is asked for any more.
    pub(crate) fn forget(&self) {
        if self.kept.is_some() {
            self.over();
        } else if let Some((shelf, queue)) = &self.disk {
            queue.forget(shelf, self.given());
        }
    }

    /// Its journal does not grow any more, and stays.
    fn over(&self) {
        if let Some((shelf, queue)) = &self.disk {
            queue.rest(shelf, self.given());
        }
    }

    /// What became whole, and what is of no use any more, in the window of a rendition.
    pub(crate) fn take(&self, (rendition, medium): (&str, Medium), window: &Arc<Mutex<Window>>, news: Vec<News>) {
        for news in news {
            match news {
                News::Whole { epoch, msn, pieces, duration_s, picture_end, key } => {
                    {
                        let mut given = self.given.lock();
                        given.next_msn = given.next_msn.max(msn + 1);
                    }
                    let Some(file) = self.file((rendition, medium), epoch, msn) else { continue };
                    let mut end = 0;
                    let ends = pieces.iter().map(|piece| {
                        end += piece.len() as u32;
                        end
                    });
                    let record = Segment {
                        rendition: rendition.to_owned(),
                        medium,
                        epoch: epoch.0,
                        msn,
                        duration_s,
                        ends: ends.collect(),
                        crc: 0,
                        picture_end,
                        key,
                        unix_ms: unix_ms(),
                    };
                    self.write(Entry::Segment(Whole { file, pieces, record, window: window.clone() }));
                }
                News::Gone { epoch, msn, unix_ms: began } => self.gone((rendition, medium), (epoch, msn, began)),
            }
        }
    }

    /// A segment has left the window. Where it is kept, others may be too old by now.
    fn gone(&self, rendition: (&str, Medium), (epoch, msn, began): (EpochId, u64, i64)) {
        let reads = self.is_read.load(Ordering::Relaxed);
        let Some((shelf, queue)) = &self.disk else { return };
        let Some(kept) = &self.kept else {
            if !reads {
                queue.delete(shelf, rendition, (epoch, msn));
            }
            return;
        };
        kept.gone(rendition.0, (epoch, msn, began));
        // What is read again and too old goes with the first segment that leaves after it.
        while !reads && let Some(gone) = kept.expired(rendition.0, unix_ms()) {
            queue.delete(shelf, rendition, gone);
        }
    }

    fn line(&self, record: Record) {
        self.write(Entry::Line(record));
    }

    fn write(&self, entry: Entry) {
        let Some((shelf, queue)) = &self.disk else { return };
        if !self.is_read.load(Ordering::Relaxed) {
            queue.push(shelf, entry);
        }
    }
}

pub(super) fn file(folder: &Path, (rendition, medium): (&str, Medium), epoch: EpochId, msn: u64) -> PathBuf {
    folder.join(rendition).join(epoch.to_string()).join(format!("{msn}.{}", medium.extension()))
}
