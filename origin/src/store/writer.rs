//! The one thread that writes to the disk: a file for each segment, and a line in the journal once that is there.
//!
//! Nothing is forced to the platter: a process that is killed loses nothing that was written, and what a power cut takes is
//! found out by lengths and checksums when the journal is read.

use super::life::Given;
use super::metrics::DiskMetrics;
use super::queue::{Job, Work};
use super::record::{self, Record, VERSION, crc};
use bytes::Bytes;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// The journal, in the folder of a life.
pub(super) const JOURNAL: &str = "journal";
/// The highest names that were given, in the folder of a stream.
pub(super) const GIVEN: &str = "given";
/// Lines of segments that are gone, before a journal is written anew without them.
const GONE_MAX: usize = 8192;

pub(super) struct Writer {
    metrics: DiskMetrics,
    retry: Duration,
    /// The disk failed, and is not tried again before that.
    retry_at: Option<Instant>,
    lives: HashMap<PathBuf, Life>,
}

#[derive(Default)]
struct Life {
    journal: Option<File>,
    /// Of the journal, as far as it is whole.
    length: u64,
    torn: bool,
    /// The epoch that is not in the journal yet.
    epoch: Option<Record>,
    /// Up to which segment each rendition has left the disk, and how many have.
    gone: HashMap<String, u64>,
    gone_count: usize,
}

impl Writer {
    pub(super) fn new(metrics: DiskMetrics, retry: Duration) -> Self {
        Self { metrics, retry, retry_at: None, lives: HashMap::new() }
    }

    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            let bytes = job.work.bytes();
            self.work(job);
            self.metrics.queue_bytes.sub(bytes as i64);
        }
    }

    fn work(&mut self, Job { folder, work }: Job) {
        match work {
            Work::Epoch(record) => {
                self.life(&folder).epoch = Some(record);
                self.attempt(|writer| writer.life(&folder).write_epoch(&folder));
            }
            Work::Line(record) => {
                self.attempt(|writer| writer.life(&folder).append(&folder, &record));
            }
            Work::Segment { file, pieces, mut record, window } => {
                let (epoch, msn) = (crate::epoch::EpochId(record.epoch), record.msn);
                let written = self.attempt(|writer| {
                    let life = writer.life(&folder);
                    life.write_epoch(&folder)?;
                    record.crc = write_file(&file, &pieces)?;
                    life.append(&folder, &Record::Segment(record))
                });
                self.metrics.segment(if written { "written" } else { "failed" });
                if written {
                    window.lock().stored(epoch, msn);
                } else {
                    // What is not in the journal is nobody's.
                    let _ = fs::remove_file(&file);
                }
            }
            Work::Delete { file, rendition, msn } => {
                remove(&file);
                let life = self.life(&folder);
                life.gone.insert(rendition, msn);
                life.gone_count += 1;
                if life.gone_count >= GONE_MAX {
                    self.attempt(|writer| writer.life(&folder).shorten(&folder));
                }
            }
            Work::Forget(given) => {
                self.lives.remove(&folder);
                self.attempt(|_| forget(&folder, given));
            }
            Work::Flush(done) => {
                // Whoever waited may have lost its patience.
                let _ = done.send(());
            }
        }
    }

    fn life(&mut self, folder: &Path) -> &mut Life {
        self.lives.entry(folder.to_owned()).or_default()
    }

    /// Does it unless the disk failed just now; whether it was done.
    fn attempt(&mut self, act: impl FnOnce(&mut Self) -> io::Result<()>) -> bool {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return false;
        }
        match act(self) {
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

impl Life {
    fn write_epoch(&mut self, folder: &Path) -> io::Result<()> {
        if let Some(record) = self.epoch.take()
            && let Err(error) = self.append(folder, &record)
        {
            self.epoch = Some(record);
            return Err(error);
        }
        Ok(())
    }

    fn append(&mut self, folder: &Path, record: &Record) -> io::Result<()> {
        if self.journal.is_none() {
            self.open(folder)?;
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

    fn open(&mut self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let journal = OpenOptions::new().create(true).append(true).open(folder.join(JOURNAL))?;
        self.length = journal.metadata()?.len();
        self.journal = Some(journal);
        if self.length == 0 {
            let name = folder.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
            self.append(folder, &Record::Stream { version: VERSION, name: name.unwrap_or_default() })?;
        }
        Ok(())
    }

    /// Writes the journal anew without the segments that are gone, and the epochs that only they were of.
    fn shorten(&mut self, folder: &Path) -> io::Result<()> {
        let (records, _) = record::read(&fs::read(folder.join(JOURNAL))?);
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
                Record::Epoch(_) | Record::Break { .. } | Record::Gap { .. } | Record::End { .. } => begun,
            };
            if stays {
                out.push_str(&record.line());
            }
        }
        let new = folder.join("journal.new");
        fs::write(&new, &out)?;
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
    fs::write(file, &whole)?;
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

/// Removes a life; the names that it gave stay given.
pub(super) fn forget(folder: &Path, given: Given) -> io::Result<()> {
    if let Some(stream) = folder.parent() {
        let text = serde_json::to_string(&given).unwrap_or_default();
        fs::create_dir_all(stream)?;
        fs::write(stream.join("given.new"), text)?;
        fs::rename(stream.join("given.new"), stream.join(GIVEN))?;
    }
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
