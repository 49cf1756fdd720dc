//! The journal of a stream, line by line: what has to be known of it to show its window again. Pure.
//!
//! A line is the CRC-32 of its text in eight hexadecimal digits, a space, the text as JSON, and a line feed. A crash can cut
//! the last line anywhere; whatever does not end or does not add up is the end of the journal.

mod made;

use crate::epoch::{Bitrate, Known, NUMBER_MAX, Numbers, TIME_MAX_MS};
use crate::keys::{KeyAccess, KeyName};
use crate::medium::Medium;
use crate::streams::TextTrack;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use config::EncryptionMethod;
use flate2::Crc;
use made::{Making, Track};
use media::{FrameRate, TrackConfig};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use transcode::{Plan, Rendition, Source, Thumbnails};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub(crate) enum Record {
    /// The first of every journal.
    Stream {
        version: u32,
        name: String,
    },
    Epoch(Box<Epoch>),
    Segment(Segment),
    /// The epoch ended, and gave no number from `next_msn` on.
    Break {
        unix_ms: i64,
        #[serde(default)]
        next_msn: u64,
    },
    /// What should come up to this segment is listed as gaps. Where nobody knows which of them were given, and in what
    /// epochs, `is_unsure` is set.
    Gap {
        through: u64,
        unix_ms: i64,
        #[serde(default)]
        is_unsure: bool,
    },
    /// The origin stopped: as the last line it says that none is missing. It is taken out before the journal goes on.
    Stop {
        unix_ms: i64,
        next_msn: u64,
    },
    /// Subtitles that began in the middle of an epoch.
    Text(TextTrack),
    /// The stream ended.
    End {
        unix_ms: i64,
    },
}

/// What an epoch is opened with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Epoch {
    pub(crate) numbers: Numbers,
    pub(crate) joined: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) encryption: Option<Method>,
    /// What players are told of its keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) keys: Option<KeyAccess>,
    average_bitrate: u64,
    peak_bitrate: u64,
    source_video: Track,
    source_audio: Option<Track>,
    source_rate: (u32, u32),
    gop: Option<u32>,
    rate: (u32, u32),
    segment_frames: u32,
    part_frames: u32,
    target_duration_s: u64,
    part_target_ns: u64,
    renditions: Vec<Planned>,
    #[serde(default, skip_serializing_if = "is_default")]
    thumbnails: Option<Images>,
    /// Subtitles that there were by then.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) texts: Vec<TextTrack>,
}

/// Pictures in an image: size of each, how many, and the quantizer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Images {
    width: u32,
    height: u32,
    columns: u32,
    rows: u32,
    quantizer: u32,
}

/// A whole segment, whose bytes are in a file of their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Segment {
    pub(crate) rendition: String,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) medium: Medium,
    pub(crate) epoch: u64,
    pub(crate) msn: u64,
    pub(crate) duration_s: f64,
    /// Where each part ends, in bytes.
    pub(crate) ends: Vec<u32>,
    pub(crate) crc: u32,
    /// Up to where the first picture goes; `None` for sound.
    pub(crate) picture_end: Option<u64>,
    /// What it is encrypted with: the id and IV of a key, never the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<KeyName>,
    pub(crate) unix_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Planned {
    name: String,
    make: Making,
    track: Track,
    init: String,
}

/// How the segments of an epoch are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Method {
    Cbcs,
    Aes128,
}

/// An epoch as it was opened.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Opened {
    pub(crate) known: Known,
    pub(crate) plan: Plan,
    pub(crate) tracks: Vec<(TrackConfig, Bytes)>,
}

/// No segment is longer.
const DURATION_MAX_S: f64 = 3600.0;
/// Of the records; one that is read differently is another version.
pub(crate) const VERSION: u32 = 1;

impl Record {
    pub(crate) fn line(&self) -> String {
        let text = serde_json::to_string(self).unwrap_or_default();
        format!("{:08x} {text}\n", crc(text.as_bytes()))
    }

    /// When it happened.
    pub(crate) fn unix_ms(&self) -> Option<i64> {
        match self {
            Self::Stream { .. } | Self::Text(_) => None,
            Self::Epoch(epoch) => Some(epoch.numbers.zero_unix_ms),
            Self::Segment(segment) => Some(segment.unix_ms),
            Self::Break { unix_ms, .. }
            | Self::Gap { unix_ms, .. }
            | Self::End { unix_ms }
            | Self::Stop { unix_ms, .. } => Some(*unix_ms),
        }
    }
}

impl Record {
    /// Whether its numbers are such as an origin writes, so that no sum of them overflows.
    fn is_sane(&self) -> bool {
        let time = self.unix_ms().is_none_or(|unix_ms| (0..=TIME_MAX_MS).contains(&unix_ms));
        time && match self {
            Self::Stream { .. } | Self::End { .. } => true,
            Self::Break { next_msn, .. } | Self::Stop { next_msn, .. } => *next_msn < NUMBER_MAX,
            Self::Epoch(epoch) => {
                let images = epoch.thumbnails.as_ref().is_none_or(Images::are_sane);
                let texts = epoch.texts.iter().all(TextTrack::is_sane);
                let keys = epoch.keys.as_ref().is_none_or(KeyAccess::is_sane);
                epoch.numbers.are_sane() && epoch.joined < NUMBER_MAX && images && texts && keys
            }
            Self::Text(track) => track.is_sane(),
            Self::Segment(segment) => segment.is_sane(),
            Self::Gap { through, .. } => *through < NUMBER_MAX,
        }
    }
}

impl Segment {
    fn is_sane(&self) -> bool {
        let length = self.ends.last().copied().unwrap_or_default();
        config::is_stream_name(&self.rendition)
            && self.epoch < NUMBER_MAX
            && self.msn < NUMBER_MAX
            && (0.0..=DURATION_MAX_S).contains(&self.duration_s)
            && self.ends.is_sorted()
            && self.picture_end.is_none_or(|end| end <= u64::from(length))
    }
}

/// The records up to the first that is not whole, and how many bytes they are.
pub(crate) fn read(journal: &[u8]) -> (Vec<Record>, usize) {
    let (mut records, mut at) = (Vec::new(), 0);
    for line in journal.split_inclusive(|&byte| byte == b'\n') {
        let Some(record) = read_line(line) else { break };
        at += line.len();
        records.push(record);
    }
    (records, at)
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn read_line(line: &[u8]) -> Option<Record> {
    let line = line.strip_suffix(b"\n")?;
    let (sum, text) = line.split_at_checked(9)?;
    // One text has one spelling of its sum.
    let right = sum == format!("{:08x} ", crc(text)).as_bytes();
    right.then(|| serde_json::from_slice(text).ok()).flatten().filter(Record::is_sane)
}

pub(crate) fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

impl Epoch {
    pub(crate) fn new(
        (numbers, joined): (Numbers, u64),
        (known, plan, encryption): (&Known, &Plan, Option<EncryptionMethod>),
        tracks: &[(TrackConfig, Bytes)],
    ) -> Self {
        let Source { video, audio, rate, gop } = &known.source;
        let planned = plan.renditions.iter().zip(tracks).map(|(rendition, (track, init))| Planned {
            name: rendition.name.clone(),
            make: Making::of(&rendition.make),
            track: Track::of(track),
            init: STANDARD.encode(init),
        });
        Self {
            numbers,
            joined,
            encryption: encryption.map(Method::of),
            keys: None,
            average_bitrate: known.bitrate.average,
            peak_bitrate: known.bitrate.peak,
            source_video: Track::of(&TrackConfig::Avc { config: video.clone(), timescale: rate.timescale() }),
            source_audio: audio.clone().map(|config| Track::of(&TrackConfig::Aac { config })),
            source_rate: (rate.num(), rate.den()),
            gop: *gop,
            rate: (plan.rate.num(), plan.rate.den()),
            segment_frames: plan.segment_frames,
            part_frames: plan.part_frames,
            target_duration_s: plan.target_duration_s,
            part_target_ns: plan.part_target.as_nanos() as u64,
            renditions: planned.collect(),
            thumbnails: plan.thumbnails.as_ref().map(Images::of),
            texts: Vec::new(),
        }
    }

    /// `None` where a value is none that can be.
    pub(crate) fn opened(&self) -> Option<Opened> {
        let rate = |(num, den): (u32, u32)| FrameRate::new(num, den);
        let TrackConfig::Avc { config: video, .. } = self.source_video.config()? else { return None };
        let audio = match self.source_audio.as_ref().map(Track::config) {
            Some(Some(TrackConfig::Aac { config })) => Some(config),
            Some(_) => return None,
            None => None,
        };
        let source = Source { video, audio, rate: rate(self.source_rate)?, gop: self.gop };
        let bitrate = Bitrate { average: self.average_bitrate, peak: self.peak_bitrate };
        if self.part_frames == 0 || self.segment_frames < self.part_frames || self.target_duration_s == 0 {
            return None;
        }
        let renditions = self.renditions.iter();
        let plan = Plan {
            rate: rate(self.rate)?,
            segment_frames: self.segment_frames,
            part_frames: self.part_frames,
            target_duration_s: self.target_duration_s,
            part_target: Duration::from_nanos(self.part_target_ns),
            thumbnails: self.thumbnails.as_ref().map(Images::planned),
            renditions: renditions
                .clone()
                .map(|planned| Some(Rendition { name: planned.name.clone(), make: planned.make.make()? }))
                .collect::<Option<Vec<_>>>()?,
        };
        let track = |planned: &Planned| Some((planned.track.config()?, STANDARD.decode(&planned.init).ok()?.into()));
        let tracks = renditions.map(track).collect::<Option<Vec<_>>>()?;
        Some(Opened { known: Known { source, bitrate, captions: media::Captions::default() }, plan, tracks })
    }
}

impl Images {
    fn of(thumbnails: &Thumbnails) -> Self {
        let Thumbnails { width, height, columns, rows, quantizer } = *thumbnails;
        Self { width, height, columns, rows, quantizer }
    }

    fn planned(&self) -> Thumbnails {
        let Self { width, height, columns, rows, quantizer } = *self;
        Thumbnails { width, height, columns, rows, quantizer }
    }

    fn are_sane(&self) -> bool {
        let sizes = [self.width, self.height, self.columns, self.rows];
        sizes.iter().all(|size| (1..=4096).contains(size))
    }
}

impl Method {
    fn of(method: EncryptionMethod) -> Self {
        match method {
            EncryptionMethod::Cbcs => Self::Cbcs,
            EncryptionMethod::Aes128 => Self::Aes128,
        }
    }

    pub(crate) fn method(self) -> EncryptionMethod {
        match self {
            Self::Cbcs => EncryptionMethod::Cbcs,
            Self::Aes128 => EncryptionMethod::Aes128,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, aac, aac_config, avc, avc_config, plan};

    fn journal() -> Vec<Record> {
        let mut plan = plan(30, 60, 10);
        let make = crate::testing::rung(160, 90, 300_000);
        plan.renditions.insert(1, Rendition { name: "90p".to_owned(), make });
        let source = Source { video: avc_config(), audio: Some(aac_config()), rate: plan.rate, gop: Some(60) };
        let known = Known { source, bitrate: Bitrate { average: 1, peak: 2 }, captions: media::Captions::default() };
        let init = Bytes::from_static(b"init");
        let ticks = plan.rate.timescale();
        let tracks = [(avc(ticks), init.clone()), (avc(ticks), init.clone()), (aac(), init)];
        let numbers = Numbers { id: 7, first_msn: 100, discontinuities: 3, zero_unix_ms: 1_795_226_400_500 };
        let epoch = Epoch::new((numbers, 0), (&known, &plan, Some(EncryptionMethod::Cbcs)), &tracks);
        assert_eq!(epoch.opened(), Some(Opened { known, plan, tracks: tracks.to_vec() }));
        let segment = |msn| Segment {
            medium: Medium::Fragments,
            rendition: "180p".to_owned(),
            epoch: 7,
            msn,
            duration_s: 2.002,
            ends: vec![10, 20, 30],
            crc: 99,
            picture_end: Some(5),
            key: (msn == 101).then_some(KeyName { id: [0xab; 16], iv: [7; 16] }),
            unix_ms: 1_795_226_402_500,
        };
        vec![
            Record::Stream { version: VERSION, name: "a".to_owned() },
            Record::Epoch(Box::new(epoch)),
            Record::Segment(segment(100)),
            Record::Segment(segment(101)),
            Record::Break { unix_ms: 5, next_msn: 102 },
            Record::Gap { through: 102, unix_ms: 6, is_unsure: true },
            Record::End { unix_ms: 6 },
            Record::Stop { unix_ms: 7, next_msn: 103 },
        ]
    }

    #[test]
    fn a_journal_that_is_cut_anywhere_is_read_up_to_the_last_whole_line() {
        let records = journal();
        let lines: Vec<String> = records.iter().map(Record::line).collect();
        let text = lines.concat();
        for cut in 0..=text.len() {
            let (mut whole, mut end) = (0, 0);
            while whole < lines.len() && end + lines[whole].len() <= cut {
                end += lines[whole].len();
                whole += 1;
            }
            let (read, length) = read(&text.as_bytes()[..cut]);
            assert_eq!((&read[..], length), (&records[..whole], end), "cut at {cut}");
        }
    }

    #[test]
    fn a_journal_with_a_wrong_byte_ends_before_it() {
        let records = journal();
        let text: String = records.iter().map(Record::line).collect();
        let mut rng = Rng::new(5);
        for _ in 0..2000 {
            let mut bytes = text.clone().into_bytes();
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << rng.below(8);
            let (read, length) = read(&bytes);
            assert!(length <= at, "byte {at}");
            assert_eq!(read[..], records[..read.len()]);
        }
    }
}
