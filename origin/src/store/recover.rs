//! Reads what an earlier process left on the disk.

use super::kept::Keeping;
use super::life::{Given, file};
use super::metrics::DiskMetrics;
use super::record::{self, Record, VERSION, crc};
use super::regular;
use super::writer::{GIVEN, JOURNAL, forget, write_given};
use crate::archive::Id;
use crate::clock::unix_ms;
use crate::epoch::EpochId;
use std::collections::HashMap;
use std::fs::{self, DirEntry, File};
use std::io;
use std::path::{Path, PathBuf};

/// A life of a stream as its journal tells it.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    pub(crate) records: Vec<Record>,
}

/// The newest life of each stream, and the names that all lives have given. Older lives are removed, or where recordings are
/// kept, become some if they are none yet. A life whose journal cannot be read is put aside.
pub(super) fn recover(
    root: &Path,
    keeping: Option<&Keeping>,
    metrics: &DiskMetrics,
) -> io::Result<(Vec<Recovered>, HashMap<String, Given>)> {
    fs::create_dir_all(root)?;
    let (mut lives, mut all_given) = (Vec::new(), HashMap::new());
    for stream in folders(root)? {
        let Some(name) = stream.file_name().and_then(|name| name.to_str()).filter(|name| config::is_stream_name(name))
        else {
            continue;
        };
        let read = regular::read(&stream.join(GIVEN)).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let mut given: Given = read.filter(Given::is_sane).unwrap_or_default();
        // Another name is no life's, and nothing is done to its folder.
        let started = |folder: &PathBuf| Id::parse(name, folder.file_name()?.to_str()?).map(|id| id.started);
        let mut folders: Vec<(u64, PathBuf)> =
            folders(&stream)?.into_iter().filter_map(|folder| Some((started(&folder)?, folder))).collect();
        folders.sort();
        let (mut newest, last) = (None, folders.last().map(|(started, _)| *started));
        for (started, folder) in folders {
            if keeping.is_some_and(|keeping| is_over(keeping, (name, started), last)) {
                given.started = given.started.max(started);
                continue;
            }
            let records = match read_journal(&folder, name) {
                Ok(records) => records,
                Err(error) => {
                    metrics.unread.inc();
                    set_aside(&folder, &error);
                    given.started = given.started.max(started);
                    continue;
                }
            };
            raise(&mut given, started, &records);
            if let Some(Recovered { folder, .. }) = newest.replace(Recovered { name: name.to_owned(), folder, records })
            {
                match keeping {
                    Some(keeping) => keeping.ledger.left(&folder),
                    None => remove(&folder, given),
                }
            }
        }
        if newest.is_some()
            && keeping.is_some()
            && let Err(error) = write_given(&stream, given)
        {
            tracing::warn!(%error, folder = %stream.display(), "cannot write what was given to streams of a name");
        }
        lives.extend(newest);
        all_given.insert(name.to_owned(), given);
    }
    Ok((lives, all_given))
}

/// Whether a life is a recording, and answered as nothing else.
fn is_over(keeping: &Keeping, (name, started): (&str, u64), newest: Option<u64>) -> bool {
    let recording = keeping.ledger.any(&Id { started, stream: name.to_owned() });
    let window_ms = i64::try_from(keeping.window.as_millis()).unwrap_or(i64::MAX);
    let shown = |ended_unix_ms: i64| newest == Some(started) && unix_ms() - ended_unix_ms < window_ms;
    recording.is_some_and(|one| one.removing || !one.is_whole_here() || !shown(one.ended_unix_ms))
}

pub(super) fn remove(folder: &Path, given: Given) {
    if let Err(error) = forget(folder, given) {
        tracing::warn!(%error, folder = %folder.display(), "cannot remove what is left of a stream");
    }
}

fn folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?;
    // A link to one is none.
    let is_folder = |entry: &DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    Ok(entries.flatten().filter(is_folder).map(|entry| entry.path()).collect())
}

/// Keeps a life that says nothing now, under a name that no start looks at.
fn set_aside(folder: &Path, error: &io::Error) {
    let aside = folder.with_extension(ASIDE);
    let path = if fs::rename(folder, &aside).is_ok() { aside.display() } else { folder.display() };
    tracing::error!(%error, folder = %path, "a journal cannot be read: its stream is not shown, and its folder is kept under this name; look at the disk, then take away the ending and start again, or remove it");
}

/// Of the folder of a life whose journal could not be read.
const ASIDE: &str = "unread";

/// The journal up to where it is whole; what comes after that is cut off, so that it can be written on.
///
/// # Errors
/// It cannot be read, or not be cut, which says nothing of what is in it.
fn read_journal(folder: &Path, name: &str) -> io::Result<Vec<Record>> {
    let path = folder.join(JOURNAL);
    let bytes = match regular::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let (mut records, mut length) = record::read(&bytes);
    if length < bytes.len() {
        tracing::warn!(folder = %folder.display(), torn = bytes.len() - length, "the end of a journal is torn, and cut off");
    }
    // What comes may never reach the disk, and then this line would be wrong.
    let stop = records.last().filter(|last| matches!(last, Record::Stop { .. })).map(Record::line);
    length -= stop.as_ref().map_or(0, String::len);
    if length < bytes.len() {
        regular::open(File::options().write(true), &path).and_then(|file| file.set_len(length as u64))?;
    }
    if !is_ours(&records, name) {
        return Ok(Vec::new());
    }
    drop_unwritten(folder, &mut records);
    Ok(records)
}

/// What the journal of a life that has ended tells; nothing where there is none, `None` where that is one of another release.
///
/// # Errors
/// It cannot be read, which says nothing of what is in it.
pub(crate) fn read_life(folder: &Path, name: &str) -> io::Result<Option<Vec<Record>>> {
    let (mut records, _) = match regular::read(&folder.join(JOURNAL)) {
        Ok(bytes) => record::read(&bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(Vec::new())),
        Err(error) => return Err(error),
    };
    if !is_ours(&records, name) {
        return Ok(None);
    }
    drop_unwritten(folder, &mut records);
    Ok(Some(records))
}

fn is_ours(records: &[Record], name: &str) -> bool {
    matches!(records.first(), Some(Record::Stream { version: VERSION, name: told }) if told == name)
}

/// The file of a segment.
pub(crate) fn segment_file(folder: &Path, segment: &record::Segment) -> PathBuf {
    file(folder, (&segment.rendition, segment.medium), EpochId(segment.epoch), segment.msn)
}

/// After a power cut a line may be there and its segment not. Only the newest can be: the rest has long been written.
fn drop_unwritten(folder: &Path, records: &mut Vec<Record>) {
    let newest = records.iter().filter_map(Record::unix_ms).max().unwrap_or(0);
    records.retain(|record| match record {
        Record::Segment(segment) if segment.unix_ms > newest - UNSURE_MS => {
            regular::read(&segment_file(folder, segment)).is_ok_and(|bytes| {
                segment.ends.last().is_some_and(|&end| end as usize == bytes.len()) && crc(&bytes) == segment.crc
            })
        }
        _ => true,
    });
}

/// Systems write what is dirty within half a minute; this is four times that.
const UNSURE_MS: i64 = 120_000;

fn raise(given: &mut Given, started: u64, records: &[Record]) {
    given.started = given.started.max(started);
    for record in records {
        match record {
            Record::Epoch(epoch) => {
                given.epoch = given.epoch.max(epoch.numbers.id);
                given.next_msn = given.next_msn.max(epoch.numbers.first_msn);
            }
            Record::Segment(segment) => given.next_msn = given.next_msn.max(segment.msn + 1),
            Record::Gap { through, .. } => given.next_msn = given.next_msn.max(through + 1),
            Record::Break { next_msn, .. } | Record::Stop { next_msn, .. } => {
                given.next_msn = given.next_msn.max(*next_msn);
            }
            Record::Stream { .. } | Record::Text(_) | Record::End { .. } => {}
        }
    }
}
