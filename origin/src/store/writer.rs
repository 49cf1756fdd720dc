//! The one thread that writes to the disk: a file for each segment, and a line in the journal once that is there.
//!
//! Nothing is forced to the platter: a process that is killed loses nothing that was written, and what a power cut takes is
//! found out by lengths and checksums when the journal is read.

use super::life::{Given, file};
use super::metrics::DiskMetrics;
use super::queue::{Entry, Gone, Job, Next, Shelf, Whole, fold};
use super::record::{self, Record, VERSION, crc};
use super::{Claim, LOCK, claim, regular};
use crate::epoch::EpochId;
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// The journal, in the folder of a life.
pub(super) const JOURNAL: &str = "journal";
/// The highest names that were given, in the folder of a stream.
pub(super) const GIVEN: &str = "given";
/// Lines of segments that are gone, before a journal is written anew without them.
const GONE_MAX: usize = 8192;
/// How often journals are looked after: whether they are there, and whether they lack a line.
const CHECK_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Writer {
    metrics: DiskMetrics,
    retry: Duration,
    /// Of all streams; which file was its lock when it was taken; and its claim, where that was taken again.
    root: PathBuf,
    lock: Option<(u64, u64)>,
    claim: Option<Claim>,
    /// The disk failed, and is not tried again before that.
    retry_at: Option<Instant>,
    lives: HashMap<PathBuf, Life>,
    checked: Instant,
}

struct Life {
    shelf: Arc<Shelf>,
    journal: Option<File>,
    /// There is a journal; if it is not found, it was taken away.
    has_begun: bool,
    /// Of the journal, as far as it is whole.
    length: u64,
    torn: bool,
    /// Lines that the disk has not taken yet. They come before any other.
    owed: VecDeque<Entry>,
    /// The epoch that began last: with it a journal begins that was lost.
    epoch: Option<Record>,
    /// Up to which segment each rendition has left the disk, and how many have.
    gone: HashMap<String, u64>,
    gone_count: usize,
}

impl Writer {
    pub(super) fn new(metrics: DiskMetrics, retry: Duration, root: PathBuf) -> Self {
        let (lock, lives) = (identity(&root.join(LOCK)), HashMap::new());
        Self { metrics, retry, root, lock, claim: None, retry_at: None, lives, checked: Instant::now() }
    }

    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            match jobs.recv_timeout(CHECK_EVERY) {
                Ok(Job::Life(shelf)) => {
                    while let Some(next) = shelf.next() {
                        self.work(&shelf, next);
                    }
                }
                // Whoever waited may have lost its patience.
                Ok(Job::Flush(done)) => _ = done.send(()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.checked.elapsed() >= CHECK_EVERY {
                self.checked = Instant::now();
                self.look_after();
            }
        }
    }

    fn work(&mut self, shelf: &Arc<Shelf>, next: Next) {
        let folder = &shelf.folder;
        match next {
            Next::Entry(Entry::Resume) => self.life(shelf).has_begun = true,
            Next::Entry(Entry::Segment(whole)) => self.segment(shelf, whole),
            Next::Entry(line @ Entry::Line(_)) => {
                fold(&mut self.life(shelf).owed, line);
                self.attempt(|writer| writer.life(shelf).pay());
            }
            Next::Delete(gone) => {
                (gone.first..=gone.last)
                    .for_each(|msn| remove(&file(folder, (&gone.rendition, gone.medium), gone.epoch, msn)));
                let life = self.life(shelf);
                life.note_gone(gone);
                if life.gone_count >= GONE_MAX {
                    self.attempt(|writer| writer.life(shelf).shorten(folder));
                }
            }
            Next::Rest(given) => {
                if self.lives.contains_key(folder) {
                    self.attempt(|writer| writer.life(shelf).pay());
                    self.lives.remove(folder);
                }
                self.attempt(|_| folder.parent().map_or(Ok(()), |stream| write_given(stream, given)));
            }
            Next::Forget(given) => {
                self.lives.remove(folder);
                self.attempt(|_| forget(folder, given));
            }
        }
    }

    fn segment(&mut self, shelf: &Arc<Shelf>, whole: Whole) {
        let bytes = whole.bytes();
        let Whole { file, pieces, mut record, window } = whole;
        let (epoch, msn) = (EpochId(record.epoch), record.msn);
        let written = self.attempt(|writer| {
            let life = writer.life(shelf);
            life.pay()?;
            record.crc = write_file(&file, &pieces)?;
            life.append(&Record::Segment(record))
        });
        self.metrics.segment(if written { "written" } else { "failed" });
        if written {
            window.lock().stored(epoch, msn);
        } else {
            // What is not in the journal is nobody's.
            let _ = fs::remove_file(&file);
        }
        self.metrics.left(bytes);
    }

    fn life(&mut self, shelf: &Arc<Shelf>) -> &mut Life {
        self.lives.entry(shelf.folder.clone()).or_insert_with(|| Life::new(Arc::clone(shelf)))
    }

    /// Writes the lines that are owed, and begins those journals anew that were taken away.
    fn look_after(&mut self) {
        let lost = self.lives.values_mut().filter(|life| life.is_lost()).collect::<Vec<_>>();
        if !lost.is_empty() {
            self.metrics.lost.inc_by(lost.len() as u64);
            self.metrics.failing.set(1);
        }
        for life in lost {
            let folder = life.shelf.folder.display();
            tracing::error!(%folder, "a journal was removed or replaced while the origin runs; what was kept is lost, and what comes is kept anew");
            life.lose();
            life.shelf.lost.notify_one();
        }
        let owing = self.lives.values().filter(|life| !life.owed.is_empty()).map(|life| Arc::clone(&life.shelf));
        for shelf in owing.collect::<Vec<_>>() {
            self.attempt(|writer| writer.life(&shelf).pay());
        }
    }

    /// Takes the folder again where the lock that was taken is not there any more: what is made anew must be one process's too.
    fn keep_claim(&mut self) -> io::Result<()> {
        let path = self.root.join(LOCK);
        if identity(&path) == self.lock {
            return Ok(());
        }
        let taken = |_| io::Error::other("another origin has taken origin.disk.path since it was removed");
        self.claim = claim(Some(&self.root)).map_err(taken)?;
        self.lock = identity(&path);
        Ok(())
    }

    /// Does it unless the disk failed just now; whether it was done.
    fn attempt(&mut self, act: impl FnOnce(&mut Self) -> io::Result<()>) -> bool {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return false;
        }
        match self.keep_claim().and_then(|()| act(self)) {
            Ok(()) => {
                if self.retry_at.take().is_some() {
                    tracing::info!("the disk takes segments again");
                }
                self.metrics.failing.set(0);
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the disk does not take what is to be kept; windows live in memory until it does");
                self.metrics.failing.set(1);
                self.retry_at = Some(Instant::now() + self.retry);
                false
            }
        }
    }
}

/// Which file is there now.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

impl Life {
    fn new(shelf: Arc<Shelf>) -> Self {
        Self {
            shelf,
            journal: None,
            has_begun: false,
            length: 0,
            torn: false,
            owed: VecDeque::new(),
            epoch: None,
            gone: HashMap::new(),
            gone_count: 0,
        }
    }

    /// Writes what is owed.
    fn pay(&mut self) -> io::Result<()> {
        while let Some(Entry::Line(record)) = self.owed.front() {
            let (record, is_epoch) = (record.clone(), matches!(record, Record::Epoch(_)));
            self.append(&record)?;
            self.owed.pop_front();
            if is_epoch {
                self.epoch = Some(record);
            }
        }
        Ok(())
    }

    fn append(&mut self, record: &Record) -> io::Result<()> {
        if self.journal.is_none() {
            self.open()?;
        }
        let (Some(journal), line) = (&mut self.journal, record.line()) else { return Ok(()) };
        if std::mem::replace(&mut self.torn, true) {
            journal.set_len(self.length)?;
        }
        journal.write_all(line.as_bytes())?;
        self.torn = false;
        self.length += line.len() as u64;
        Ok(())
    }

    fn open(&mut self) -> io::Result<()> {
        let folder = self.shelf.folder.clone();
        let mut options = OpenOptions::new();
        options.append(true);
        if !self.has_begun {
            fs::create_dir_all(&folder)?;
            options.create(true);
        }
        let journal = regular::open(&mut options, &folder.join(JOURNAL))?;
        self.length = journal.metadata()?.len();
        (self.journal, self.has_begun) = (Some(journal), true);
        if self.length == 0 {
            let name = folder.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
            self.append(&Record::Stream { version: VERSION, name: name.unwrap_or_default() })?;
        }
        Ok(())
    }

    /// Whether the journal that was begun is not where it was.
    fn is_lost(&self) -> bool {
        if !self.has_begun {
            return false;
        }
        match fs::symlink_metadata(self.shelf.folder.join(JOURNAL)) {
            Ok(found) => {
                let open = self.journal.as_ref().and_then(|journal| journal.metadata().ok());
                !found.is_file() || open.is_some_and(|open| (open.dev(), open.ino()) != (found.dev(), found.ino()))
            }
            // A disk that cannot be asked fails otherwise.
            Err(error) => matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
        }
    }

    /// Begins anew: with the epoch that runs, so that its next segments are of use.
    fn lose(&mut self) {
        let owed = std::mem::take(&mut self.owed);
        let lost = Self::new(Arc::clone(&self.shelf));
        *self = Self { epoch: self.epoch.take(), ..lost };
        for line in self.epoch.clone().map(Entry::Line).into_iter().chain(owed) {
            fold(&mut self.owed, line);
        }
    }

    fn note_gone(&mut self, gone: Gone) {
        self.gone_count += (gone.last - gone.first + 1) as usize;
        let last = self.gone.entry(gone.rendition).or_default();
        *last = gone.last.max(*last);
    }

    /// Writes the journal anew without the segments that are gone, and the epochs that only they were of.
    fn shorten(&mut self, folder: &Path) -> io::Result<()> {
        let (records, _) = record::read(&regular::read(&folder.join(JOURNAL))?);
        let is_gone =
            |segment: &record::Segment| self.gone.get(&segment.rendition).is_some_and(|&gone| segment.msn <= gone);
        let kept = records.iter().filter_map(|record| match record {
            Record::Segment(segment) if !is_gone(segment) => Some(segment.epoch),
            _ => None,
        });
        let newest = records.iter().rev().find_map(|record| match record {
            Record::Epoch(epoch) => Some(epoch.numbers.id),
            _ => None,
        });
        let first = kept.min().or(newest).unwrap_or(0);
        let (mut out, mut begun) = (String::new(), false);
        for record in &records {
            begun |= matches!(record, Record::Epoch(epoch) if epoch.numbers.id >= first);
            let stays = match record {
                Record::Stream { .. } => true,
                Record::Segment(segment) => begun && !is_gone(segment),
                Record::Epoch(_)
                | Record::Text(_)
                | Record::Break { .. }
                | Record::Gap { .. }
                | Record::End { .. }
                | Record::Stop { .. } => begun,
            };
            if stays {
                out.push_str(&record.line());
            }
        }
        let new = folder.join("journal.new");
        regular::write(&new, out.as_bytes())?;
        fs::rename(&new, folder.join(JOURNAL))?;
        (self.journal, self.gone_count, self.torn) = (None, 0, false);
        Ok(())
    }
}

/// Writes a segment; the checksum of its bytes.
fn write_file(file: &Path, pieces: &[Bytes]) -> io::Result<u32> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let whole = pieces.concat();
    regular::write(file, &whole)?;
    Ok(crc(&whole))
}

/// Removes a segment, and the folder of its epoch once that is empty.
fn remove(file: &Path) {
    if let Err(error) = fs::remove_file(file) {
        tracing::debug!(%error, file = %file.display(), "cannot remove a segment");
    }
    if let Some(folder) = file.parent() {
        let _ = fs::remove_dir(folder);
    }
}

/// Says what was given to streams of a name, in their folder.
pub(super) fn write_given(stream: &Path, given: Given) -> io::Result<()> {
    let text = serde_json::to_string(&given).unwrap_or_default();
    fs::create_dir_all(stream)?;
    regular::write(&stream.join("given.new"), text.as_bytes())?;
    fs::rename(stream.join("given.new"), stream.join(GIVEN))
}

/// Removes a life; the names that it gave stay given.
pub(super) fn forget(folder: &Path, given: Given) -> io::Result<()> {
    if let Some(stream) = folder.parent() {
        write_given(stream, given)?;
    }
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
