//! What is said of a stream that has ended, as files: playlists of video on demand, the MPD, and its init sections.

use super::{Markers, Measured, Room, Stream, TextTrack};
use crate::archive::KeyIds;
use crate::epoch::EpochId;
use crate::keys::{KeyName, hex};
use crate::store::{EpochRecord, Method, Record};
use crate::window::Text;
use manifest::vod;
use media::fmp4::protected_init;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Made from a journal through the calls that made the live window, so that it says of each segment what that said.
#[derive(Debug)]
pub(crate) struct Recorded {
    /// Paths in the recording's folder, with `/` between their steps.
    pub(crate) files: Vec<(String, Vec<u8>)>,
    pub(crate) ended_unix_ms: i64,
    pub(crate) duration: Duration,
    /// What its segments are encrypted with.
    pub(crate) keys: KeyIds,
    /// There is no MPD: DASH does not know segments that are encrypted as a whole.
    pub(crate) only_hls: bool,
}

/// A journal that an origin of this release has not written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unreadable;

impl Recorded {
    /// `None` where there is nothing to show: a stream without a whole segment in each rendition.
    ///
    /// # Errors
    /// There are segments, and the journal does not say of what.
    pub(crate) fn of(name: &str, records: Vec<Record>, with: (&Markers, Room)) -> Result<Option<Self>, Unreadable> {
        let has_segment = records.iter().any(|record| matches!(record, Record::Segment(_)));
        let Some(ended_unix_ms) = records.iter().filter_map(Record::unix_ms).max().filter(|_| has_segment) else {
            return Ok(None);
        };
        Self::read(name, (records, ended_unix_ms), with)
    }

    fn read(
        name: &str,
        (mut records, ended_unix_ms): (Vec<Record>, i64),
        (markers, room): (&Markers, Room),
    ) -> Result<Option<Self>, Unreadable> {
        close(&mut records, ended_unix_ms);
        let stream = Stream::new(name.to_owned(), room);
        *stream.markers.lock() = markers.clone();
        stream.replay(&records, Instant::now(), ended_unix_ms).ok_or(Unreadable)?;
        *stream.measured.lock() = measured(&records);
        stream.tell();
        let renditions: Vec<_> = stream.shelf.read().all().cloned().collect();
        let Some((multivariant, mpd)) = stream.multivariant().zip(stream.mpd(ended_unix_ms)) else { return Ok(None) };
        let only_hls = records.iter().any(is_encrypted_whole);
        let mut files = vec![("index.m3u8".to_owned(), bytes(&multivariant))];
        if !only_hls {
            files.push(("index.mpd".to_owned(), bytes(&mpd)));
        }
        let mut duration_s: f64 = 0.0;
        for rendition in renditions {
            let mut add = |file: &str, text: &Text| {
                let text = vod::of(&String::from_utf8_lossy(&bytes(text)));
                files.push((format!("{}/{file}", rendition.name), text.into_bytes()));
            };
            add("index.m3u8", &stream.playlist(&rendition, manifest::Skip::Nothing));
            if let Some(frames) = stream.iframes(&rendition) {
                add("iframes.m3u8", &frames);
            }
            if let Some(sprites) = rendition.sprites() {
                files.push((format!("{}/index.vtt", rendition.name), bytes(&sprites)));
            }
            duration_s = duration_s.max(rendition.listed_s());
        }
        let keys = keys(&records);
        let texts = stream.texts();
        for record in &records {
            if let Record::Epoch(epoch) = record {
                files.extend(inits(epoch, &keys));
                files.extend(text_inits(epoch, &texts));
            }
        }
        let duration = Duration::try_from_secs_f64(duration_s).unwrap_or_default();
        let keys = keys.into_values().flatten().map(|name| name.id).collect();
        Ok(Some(Self { files, ended_unix_ms, duration, keys, only_hls }))
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
    measured.end();
    measured
}

/// The keys of each epoch.
fn keys(records: &[Record]) -> BTreeMap<u64, Vec<KeyName>> {
    let mut keys: BTreeMap<u64, Vec<KeyName>> = BTreeMap::new();
    for record in records {
        let Record::Segment(segment) = record else { continue };
        let Some(name) = segment.key else { continue };
        let of = keys.entry(segment.epoch).or_default();
        // Renditions take turns.
        if !of.iter().rev().take(2).any(|before| *before == name) {
            of.push(name);
        }
    }
    keys
}

fn is_encrypted_whole(record: &Record) -> bool {
    matches!(record, Record::Epoch(epoch) if epoch.encryption == Some(Method::Aes128))
}

/// The init sections of an epoch: in the clear, and under each key of its samples.
fn inits(epoch: &EpochRecord, keys: &BTreeMap<u64, Vec<KeyName>>) -> Vec<(String, Vec<u8>)> {
    let Some(opened) = epoch.opened() else { return Vec::new() };
    let (id, mut files) = (EpochId(epoch.numbers.id), Vec::new());
    let names = keys.get(&epoch.numbers.id).filter(|_| epoch.encryption == Some(Method::Cbcs));
    for (rendition, (_, init)) in opened.plan.renditions.iter().zip(&opened.tracks) {
        if init.is_empty() {
            continue;
        }
        let folder = format!("{}/{id}", rendition.name);
        files.push((format!("{folder}/init.mp4"), init.to_vec()));
        for name in names.into_iter().flatten() {
            let protected = protected_init(init, name.id, name.iv);
            files.extend(protected.ok().map(|init| (format!("{folder}/init.{}.mp4", hex(&name.id)), init.to_vec())));
        }
    }
    files
}

/// Those of subtitles in MP4, whether they were said in this epoch or not.
fn text_inits(epoch: &EpochRecord, texts: &[TextTrack]) -> Vec<(String, Vec<u8>)> {
    let (id, timescale) = (EpochId(epoch.numbers.id), epoch.opened().map(|opened| opened.plan.rate.timescale()));
    let of = |track: &TextTrack| {
        let init = track.init(timescale?);
        Some((format!("{}/{id}/init.mp4", track.fragments()?), init.to_vec()))
    };
    texts.iter().filter_map(of).collect()
}

fn bytes(text: &Text) -> Vec<u8> {
    text.plain().concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epoch::{Bitrate, Known, Numbers};
    use crate::medium::Medium;
    use crate::store::SegmentRecord;
    use crate::testing::{aac, aac_config, avc, avc_config, plan, rung};
    use bytes::Bytes;
    use transcode::Source;

    const ZERO_MS: i64 = 1_795_226_400_000;

    /// Ten seconds of 400 and 100 kbit/s, of a source that promised far more.
    fn short() -> Vec<Record> {
        let plan = plan(30, 60, 10);
        let source = Source { video: avc_config(), audio: Some(aac_config()), rate: plan.rate, gop: Some(60) };
        let bitrate = Bitrate { average: 9_000_000, peak: 9_000_000 };
        let known = Known { source, bitrate, captions: media::Captions::default() };
        let tracks = [(avc(plan.rate.timescale()), Bytes::new()), (aac(), Bytes::new())];
        let numbers = Numbers { id: 7, first_msn: 100, discontinuities: 0, zero_unix_ms: ZERO_MS };
        let epoch = EpochRecord::new((numbers, 0), (&known, &plan, None), &tracks);
        let segment = |rendition: &str, msn: u64, bytes: u32| {
            Record::Segment(SegmentRecord {
                rendition: rendition.to_owned(),
                medium: Medium::Fragments,
                epoch: 7,
                msn,
                duration_s: 2.0,
                ends: vec![bytes],
                crc: 0,
                picture_end: Some(5).filter(|_| rendition != "audio"),
                unix_ms: ZERO_MS + 2000 * (msn as i64 - 99),
                key: None,
            })
        };
        let segments = (100..105).flat_map(|msn| [segment("180p", msn, 100_000), segment("audio", msn, 25_000)]);
        std::iter::once(Record::Epoch(Box::new(epoch))).chain(segments).collect()
    }

    /// Five segments, in which there may be no sound.
    fn epoch(index: u64, has_sound: bool) -> Vec<Record> {
        let (id, first_msn) = (7 + index, 100 + 5 * index);
        let mut records = short();
        records.retain(|record| has_sound || !matches!(record, Record::Segment(one) if one.rendition == "audio"));
        for record in &mut records {
            match record {
                Record::Segment(segment) => {
                    (segment.epoch, segment.msn) = (id, segment.msn + 5 * index);
                    segment.unix_ms += 10_000 * index as i64;
                }
                record => {
                    let mut plan = plan(30, 60, 10);
                    plan.renditions.retain(|rendition| has_sound || rendition.name != "audio");
                    let audio = has_sound.then(aac_config);
                    let source = Source { video: avc_config(), audio, rate: plan.rate, gop: Some(60) };
                    let bitrate = Bitrate { average: 1, peak: 2 };
                    let known = Known { source, bitrate, captions: media::Captions::default() };
                    let tracks = [(avc(plan.rate.timescale()), Bytes::new()), (aac(), Bytes::new())];
                    let zero_unix_ms = ZERO_MS + 10_000 * index as i64;
                    let numbers = Numbers { id, first_msn, discontinuities: index, zero_unix_ms };
                    let epoch = EpochRecord::new((numbers, 0), (&known, &plan, None), &tracks);
                    *record = Record::Epoch(Box::new(epoch));
                }
            }
        }
        let end = Record::Break { unix_ms: ZERO_MS + 10_000 * (index as i64 + 1), next_msn: first_msn + 5 };
        records.into_iter().chain([end]).collect()
    }

    #[test]
    fn a_rendition_that_leaves_and_comes_back_is_recorded_whole() {
        let records = [epoch(0, true), epoch(1, false), epoch(2, true)].concat();
        let room = Room::for_tests(Duration::from_secs(300));
        let recorded = Recorded::of("a", records, (&Markers::default(), room)).unwrap().unwrap();
        let text = |name: &str| {
            let (_, bytes) = recorded.files.iter().find(|(known, _)| known == name).unwrap();
            String::from_utf8_lossy(bytes)
        };
        for (rendition, gaps) in [("180p", 0), ("audio", 5)] {
            let text = text(&format!("{rendition}/index.m3u8"));
            assert_eq!((text.matches("#EXTINF:").count(), text.matches("#EXT-X-GAP").count()), (15, gaps), "{text}");
            assert!(text.contains("#EXT-X-MEDIA-SEQUENCE:100\n"), "{text}");
        }
        assert_eq!(text("index.mpd").matches("<Period ").count(), 3);
    }

    #[test]
    fn an_mpd_names_no_segment_that_a_rung_lacks() {
        let mut records = short();
        let Record::Epoch(first) = &mut records[0] else { unreachable!() };
        let mut plan = plan(30, 60, 10);
        plan.renditions.insert(1, transcode::Rendition { name: "90p".to_owned(), make: rung(160, 90, 100_000) });
        let opened = first.opened().unwrap();
        let picture = (avc(plan.rate.timescale()), Bytes::new());
        let tracks = [picture.clone(), picture, (aac(), Bytes::new())];
        let numbers = first.numbers;
        **first = EpochRecord::new((numbers, 0), (&opened.known, &plan, None), &tracks);
        let rungs = records.clone().into_iter().filter_map(|record| match record {
            Record::Segment(segment) if segment.rendition == "180p" && ![102, 103].contains(&segment.msn) => {
                Some(Record::Segment(SegmentRecord { rendition: "90p".to_owned(), ..segment }))
            }
            _ => None,
        });
        let rungs: Vec<Record> = rungs.collect();
        records.extend(rungs);
        let room = Room::for_tests(Duration::from_secs(300));
        let recorded = Recorded::of("a", records, (&Markers::default(), room)).unwrap().unwrap();
        let (_, bytes) = recorded.files.iter().find(|(name, _)| name == "index.mpd").unwrap();
        let text = String::from_utf8_lossy(bytes);
        let of_period = |period: &str| (period.contains("startNumber=\"102\""), period.contains("id=\"90p\""));
        let periods: Vec<_> = text.split("<Period ").skip(1).map(of_period).collect();
        assert_eq!(periods, [(false, true), (true, false), (false, true)], "{text}");
    }

    #[test]
    fn a_short_recording_tells_what_it_takes_and_not_what_was_promised() {
        let room = Room::for_tests(Duration::from_secs(300));
        let recorded = Recorded::of("a", short(), (&Markers::default(), room)).unwrap().unwrap();
        let text = recorded.files.iter().find(|(name, _)| name == "index.m3u8").unwrap();
        let text = String::from_utf8_lossy(&text.1);
        assert!(text.contains("#EXT-X-STREAM-INF:BANDWIDTH=500000,AVERAGE-BANDWIDTH=500000,"), "{text}");
    }
}
