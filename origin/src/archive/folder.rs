//! The folder of a life: made a recording once that has ended, from its journal, with no segment touched.

use super::recording::{FILE, Id, Recording};
use crate::store::{Record, read_life, regular, segment_file};
use crate::streams::{Markers, Recorded, Room, Unreadable};
use config::HOT;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Writes playlists, MPD and init sections beside the segments, and what is known of the recording last. `None` where the
/// journal shows nothing: the folder is then removed.
pub(super) fn finish(folder: &Path, id: &Id, (markers, room): (&Markers, Room)) -> io::Result<Option<Recording>> {
    let Some(mut records) = read_life(folder, &id.stream)? else {
        tracing::warn!(recording = %id, "a folder holds no journal of this release, and is left as it is");
        return Ok(None);
    };
    // What has been removed for the length or by hand is a gap.
    records.retain(|record| match record {
        Record::Segment(segment) => {
            let file = fs::metadata(segment_file(folder, segment));
            file.is_ok_and(|file| segment.ends.last().is_some_and(|&end| u64::from(end) == file.len()))
        }
        _ => true,
    });
    let media: u64 = records
        .iter()
        .filter_map(|record| match record {
            Record::Segment(segment) => segment.ends.last().map(|&end| u64::from(end)),
            _ => None,
        })
        .sum();
    let recorded = match Recorded::of(&id.stream, records, (markers, room)) {
        Ok(Some(recorded)) => recorded,
        Ok(None) => {
            remove(folder)?;
            return Ok(None);
        }
        Err(Unreadable) => {
            tracing::warn!(recording = %id, "the journal in a folder does not say what its segments are; it is left as it is");
            return Ok(None);
        }
    };
    let Recorded { files, ended_unix_ms, duration, keys, only_hls } = recorded;
    let texts: u64 = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    for (file, bytes) in files {
        replace(&folder.join(file), &bytes)?;
    }
    let recording = Recording {
        id: id.clone(),
        ended_unix_ms,
        duration_ms: duration.as_millis() as u64,
        bytes: media + texts,
        tier: HOT.to_owned(),
        keys,
        only_hls,
        former: None,
        removing: false,
    };
    write(folder, &recording)?;
    Ok(Some(recording))
}

/// Says in the folder what is known of the recording. It decides what may be deleted, so it is on the disk when this returns.
pub(super) fn write(folder: &Path, recording: &Recording) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let new = folder.join("recording.new");
    let mut file = regular::open(OpenOptions::new().write(true).create(true).truncate(true), &new)?;
    file.write_all(recording.text().as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, folder.join(FILE))
}

/// Removes all but what is known of the recording.
pub(super) fn clear(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else if entry.file_name() != FILE {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

pub(super) fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let new = path.with_extension("new");
    regular::write(&new, bytes)?;
    fs::rename(&new, path)
}
