//! Reads what an earlier process left on the disk.

use super::life::{Given, file};
use super::record::{self, Record, VERSION, crc};
use super::regular;
use super::writer::{GIVEN, JOURNAL, forget};
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

/// The newest life of each stream, and the names that all lives have given. Older lives are removed.
pub(super) fn recover(root: &Path) -> io::Result<(Vec<Recovered>, HashMap<String, Given>)> {
    fs::create_dir_all(root)?;
    let (mut lives, mut all_given) = (Vec::new(), HashMap::new());
    for stream in folders(root)? {
        let Some(name) = stream.file_name().and_then(|name| name.to_str()).filter(|name| config::is_stream_name(name))
        else {
            continue;
        };
        let read = regular::read(&stream.join(GIVEN)).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let mut given: Given = read.unwrap_or_default();
        let started = |folder: &PathBuf| folder.file_name()?.to_str()?.parse::<u64>().ok();
        let mut folders: Vec<(u64, PathBuf)> =
            folders(&stream)?.into_iter().filter_map(|folder| Some((started(&folder)?, folder))).collect();
        folders.sort();
        let mut newest = None;
        for (started, folder) in folders {
            let records = read_journal(&folder, name);
            raise(&mut given, started, &records);
            if let Some(Recovered { folder, .. }) = newest.replace(Recovered { name: name.to_owned(), folder, records })
            {
                remove(&folder, given);
            }
        }
        lives.extend(newest);
        all_given.insert(name.to_owned(), given);
    }
    Ok((lives, all_given))
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

/// The journal up to where it is whole; what comes after that is cut off, so that it can be written on.
fn read_journal(folder: &Path, name: &str) -> Vec<Record> {
    let path = folder.join(JOURNAL);
    let bytes = match regular::read(&path) {
        Ok(bytes) => bytes,
        Err(error) => {
            tracing::warn!(%error, folder = %folder.display(), "a journal cannot be read");
            return Vec::new();
        }
    };
    let (mut records, mut length) = record::read(&bytes);
    if length < bytes.len() {
        tracing::warn!(folder = %folder.display(), torn = bytes.len() - length, "the end of a journal is torn, and cut off");
    }
    // What comes may never reach the disk, and then this line would be wrong.
    let stop = records.last().filter(|last| matches!(last, Record::Stop { .. })).map(Record::line);
    length -= stop.as_ref().map_or(0, String::len);
    if length < bytes.len() {
        let cut = regular::open(File::options().write(true), &path).and_then(|file| file.set_len(length as u64));
        if let Err(error) = cut {
            tracing::warn!(%error, "a journal cannot be cut");
            return Vec::new();
        }
    }
    let ours = matches!(records.first(), Some(Record::Stream { version: VERSION, name: told }) if told == name);
    if !ours {
        return Vec::new();
    }
    drop_unwritten(folder, &mut records);
    records
}

/// After a power cut a line may be there and its segment not. Only the newest can be: the rest has long been written.
fn drop_unwritten(folder: &Path, records: &mut Vec<Record>) {
    let newest = records.iter().filter_map(Record::unix_ms).max().unwrap_or(0);
    records.retain(|record| match record {
        Record::Segment(segment) if segment.unix_ms > newest - UNSURE_MS => {
            let file = file(folder, (&segment.rendition, segment.medium), EpochId(segment.epoch), segment.msn);
            regular::read(&file).is_ok_and(|bytes| {
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
