//! One life of a stream, from its first publisher to its end, as the disk knows it.

use super::queue::{Job, Queue, Work};
use super::record::{Epoch, Record, Segment};
use crate::clock::unix_ms;
use crate::epoch::EpochId;
use crate::medium::Medium;
use crate::window::{News, Window};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shared by all renditions of the stream. Without a disk it only knows the names that were given.
#[derive(Debug, Default)]
pub(crate) struct Life {
    /// Its folder, and who writes there.
    disk: Option<(PathBuf, Queue)>,
    given: Arc<Mutex<Given>>,
    /// What is read from the journal is not written to it again.
    is_read: AtomicBool,
}

/// The highest that any life of a stream's name has used: what comes is above, even where the clock goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Given {
    pub(crate) epoch: u64,
    pub(crate) next_msn: u64,
    /// When the last life began, in Unix milliseconds: the name of its folder.
    pub(crate) started: u64,
}

impl Life {
    pub(super) fn new(disk: Option<(PathBuf, Queue)>, given: Arc<Mutex<Given>>) -> Self {
        Self { disk, given, is_read: AtomicBool::new(false) }
    }

    pub(crate) fn given(&self) -> Given {
        *self.given.lock()
    }

    pub(crate) fn has_disk(&self) -> bool {
        self.disk.is_some()
    }

    /// Where a segment is, if there is a disk.
    pub(crate) fn file(&self, rendition: (&str, Medium), epoch: EpochId, msn: u64) -> Option<PathBuf> {
        self.disk.as_ref().map(|(folder, _)| file(folder, rendition, epoch, msn))
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
        self.write(Work::Epoch(Record::Epoch(Box::new(epoch))));
    }

    pub(crate) fn broke_off(&self, unix_ms: i64) {
        self.write(Work::Line(Record::Break { unix_ms }));
    }

    pub(crate) fn gapped(&self, through: u64, unix_ms: i64) {
        {
            let mut given = self.given.lock();
            given.next_msn = given.next_msn.max(through + 1);
        }
        self.write(Work::Line(Record::Gap { through, unix_ms }));
    }

    pub(crate) fn ended(&self, unix_ms: i64) {
        self.write(Work::Line(Record::End { unix_ms }));
    }

    /// Nothing of it is asked for any more.
    pub(crate) fn forget(&self) {
        self.write(Work::Forget(self.given()));
    }

    /// What became whole, and what is of no use any more, in the window of a rendition.
    pub(crate) fn take(&self, (rendition, medium): (&str, Medium), window: &Arc<Mutex<Window>>, news: Vec<News>) {
        for news in news {
            match news {
                News::Whole { epoch, msn, pieces, duration_s, picture_end } => {
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
                        unix_ms: unix_ms(),
                    };
                    self.write(Work::Segment { file, pieces, record, window: window.clone() });
                }
                News::Gone { epoch, msn } => {
                    let Some(file) = self.file((rendition, medium), epoch, msn) else { continue };
                    self.write(Work::Delete { file, rendition: rendition.to_owned(), msn });
                }
            }
        }
    }

    fn write(&self, work: Work) {
        let Some((folder, queue)) = &self.disk else { return };
        if !self.is_read.load(Ordering::Relaxed) {
            queue.push(Job { folder: folder.clone(), work });
        }
    }
}

pub(super) fn file(folder: &Path, (rendition, medium): (&str, Medium), epoch: EpochId, msn: u64) -> PathBuf {
    folder.join(rendition).join(epoch.to_string()).join(format!("{msn}.{}", medium.extension()))
}
