//! What is said of a stream that has ended, as files: playlists of video on demand, the MPD, and its init sections.

use super::{Markers, Measured, Room, Stream};
use crate::epoch::EpochId;
use crate::store::{EpochRecord, Record};
use crate::window::{Memory, Text};
use manifest::vod;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Made from a journal through the calls that made the live window, so that it says of each segment what that said.
#[derive(Debug)]
pub(crate) struct Recorded {
    /// Paths in the recording's folder, with `/` between their steps.
    pub(crate) files: Vec<(String, Vec<u8>)>,
    pub(crate) ended_unix_ms: i64,
    pub(crate) duration: Duration,
}

/// A journal that an origin of this release has not written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unreadable;

/// Longer than any: nothing leaves the playlists.
const FOR_EVER: Duration = Duration::from_secs(1 << 40);

impl Recorded {
    /// `None` where there is nothing to show: a stream without a whole segment in each rendition.
    ///
    /// # Errors
    /// There are segments, and the journal does not say of what.
    pub(crate) fn of(name: &str, records: Vec<Record>, told: (&Markers, &Memory)) -> Result<Option<Self>, Unreadable> {
        let has_segment = records.iter().any(|record| matches!(record, Record::Segment(_)));
        let Some(ended_unix_ms) = records.iter().filter_map(Record::unix_ms).max().filter(|_| has_segment) else {
            return Ok(None);
        };
        Self::read(name, (records, ended_unix_ms), told)
    }

    fn read(
        name: &str,
        (mut records, ended_unix_ms): (Vec<Record>, i64),
        (markers, memory): (&Markers, &Memory),
    ) -> Result<Option<Self>, Unreadable> {
        close(&mut records, ended_unix_ms);
        let (length, in_memory, memory) = (FOR_EVER, Duration::ZERO, memory.apart());
        let room = Room { length, in_memory, memory, life: Arc::default(), told: None };
        let stream = Stream::new(name.to_owned(), room);
        *stream.markers.lock() = markers.clone();
        stream.replay(&records, Instant::now(), ended_unix_ms).ok_or(Unreadable)?;
        *stream.measured.lock() = measured(&records);
        stream.tell();
        let renditions: Vec<_> = stream.shelf.read().all().cloned().collect();
        let Some((multivariant, mpd)) = stream.multivariant().zip(stream.mpd(ended_unix_ms)) else { return Ok(None) };
        let mut files = vec![("index.m3u8".to_owned(), bytes(&multivariant)), ("index.mpd".to_owned(), bytes(&mpd))];
        let mut duration_s: f64 = 0.0;
        for rendition in renditions {
            let mut add = |file: &str, text: &Text| {
                let text = vod::of(&String::from_utf8_lossy(&bytes(text)));
                files.push((format!("{}/{file}", rendition.name), text.into_bytes()));
            };
            add("index.m3u8", &stream.playlist(&rendition, false));
            if let Some(frames) = stream.iframes(&rendition) {
                add("iframes.m3u8", &frames);
            }
            if let Some(sprites) = rendition.sprites() {
                files.push((format!("{}/index.vtt", rendition.name), bytes(&sprites)));
            }
            duration_s = duration_s.max(rendition.listed_s());
        }
        for record in &records {
            if let Record::Epoch(epoch) = record {
                files.extend(inits(epoch));
            }
        }
        let duration = Duration::try_from_secs_f64(duration_s).unwrap_or_default();
        Ok(Some(Self { files, ended_unix_ms, duration }))
    }
}

/// The journal of a life that is over, whatever ended it: no gaps behind its last segment, and an end to its last epoch.
fn close(records: &mut Vec<Record>, unix_ms: i64) {
    let mut broke_off = unix_ms;
    while let Some(Record::Gap { .. } | Record::End { .. } | Record::Stop { .. } | Record::Break { .. }) =
        records.last()
    {
        if let Some(Record::Break { unix_ms, .. }) = records.pop() {
            broke_off = unix_ms;
        }
    }
    // Whatever else there was, the disk has not taken.
    records.push(Record::Break { unix_ms: broke_off, next_msn: 0 });
    records.push(Record::End { unix_ms });
}

/// Over all epochs: no segment of the recording is larger than what is said.
fn measured(records: &[Record]) -> Measured {
    let (mut measured, mut target_s) = (Measured::default(), 0.0);
    for record in records {
        match record {
            Record::Epoch(epoch) => {
                target_s = epoch.opened().map_or(target_s, |opened| opened.plan.target_duration_s as f64)
            }
            Record::Segment(segment) => {
                let bytes = segment.ends.last().map_or(0, |&end| u64::from(end));
                measured.segment(&segment.rendition, (segment.duration_s, bytes), target_s);
            }
            _ => {}
        }
    }
    measured
}

fn inits(epoch: &EpochRecord) -> Vec<(String, Vec<u8>)> {
    let Some(opened) = epoch.opened() else { return Vec::new() };
    let id = EpochId(epoch.numbers.id);
    let planned = opened.plan.renditions.iter().zip(&opened.tracks);
    let there = planned.filter(|(_, (_, init))| !init.is_empty());
    there.map(|(rendition, (_, init))| (format!("{}/{id}/init.mp4", rendition.name), init.to_vec())).collect()
}

fn bytes(text: &Text) -> Vec<u8> {
    text.plain().concat()
}
