//! Decides, once per epoch, how a source is cut and what is encoded from it. Pure.

mod after;
mod rungs;

pub use after::plan_after;

use config::{AudioCodec, Ladder, Segmenting, VideoCodec};
use media::{AacConfig, AvcConfig, FrameRate, OpusConfig};
use std::time::Duration;

/// What ingest learnt of a source before the first frame goes anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub video: AvcConfig,
    pub audio: Option<AacConfig>,
    pub rate: FrameRate,
    /// Frames from one IDR picture to the next, if that number is the same all along.
    pub gop: Option<u32>,
}

/// The grid that every rendition of an epoch is cut on, and how each of them is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub rate: FrameRate,
    /// Frames of every segment; a multiple of `part_frames`.
    pub segment_frames: u32,
    /// Frames of every part.
    pub part_frames: u32,
    /// No segment is longer, rounded to whole seconds: EXT-X-TARGETDURATION.
    pub target_duration_s: u64,
    /// No part of any rendition is longer; in whole milliseconds: EXT-X-PART-INF's PART-TARGET.
    pub part_target: Duration,
    /// Tallest picture first, audio last.
    pub renditions: Vec<Rendition>,
    /// Only where a rung is encoded: those pictures are there anyway.
    pub thumbnails: Option<Thumbnails>,
}

/// One image for each segment, of small pictures side by side. Sizes in pixels, both even, of each picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thumbnails {
    pub width: u32,
    pub height: u32,
    pub columns: u32,
    pub rows: u32,
    /// Of JPEG, from 2 to 31; less is better.
    pub quantizer: u32,
}

/// A rung of the ladder or the audio track, as players see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendition {
    /// That of the rung, `{height}p`, `audio` or `audio-opus`. The top rendition has the name that it had in the first epoch, whatever it is made from now.
    pub name: String,
    pub make: Make,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Make {
    /// The source's own video, as it is.
    Passthrough,
    Video(Encoding),
    /// At 48 kHz; in bits per second. Of 1, 2 or 6 channels.
    Audio {
        codec: AudioCodec,
        bitrate: u32,
        channels: u16,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoding {
    pub codec: VideoCodec,
    /// In pixels, both even.
    pub width: u32,
    pub height: u32,
    /// One of so many pictures of the grid is encoded; divides the frames of a part.
    pub every: u32,
    /// The target in bits per second, or where a quality is aimed at, the most on average.
    pub bitrate: u32,
    /// The quantizer of the encoder that no picture is finer than.
    pub quality: Option<u8>,
    /// One of the encoder's presets.
    pub preset: String,
}

/// Samples per second of every audio rendition.
pub const AUDIO_RATE: u32 = 48_000;
/// Samples of one AAC-LC access unit, of which sources are.
pub const ACCESS_UNIT_SAMPLES: u32 = AacConfig::UNIT_SAMPLES;

impl Plan {
    /// How long every segment lasts, to the nanosecond.
    pub fn segment(&self) -> Duration {
        lasting(self.rate, self.segment_frames)
    }

    /// Whether there is anything for a worker to do: passing video through needs none.
    pub fn needs_worker(&self) -> bool {
        self.renditions.iter().any(|rendition| rendition.make != Make::Passthrough)
    }
}

impl Thumbnails {
    /// Width and height of the whole image.
    pub fn image_size(&self) -> (u32, u32) {
        (self.width * self.columns, self.height * self.rows)
    }
}

impl Make {
    /// The most an encoder may send in any second, in bits; `None` where the source decides.
    pub fn peak_bitrate(&self) -> Option<u32> {
        match self {
            Self::Passthrough => None,
            // A quarter above the target keeps the peak in the 125 % that Apple's authoring rules allow (1.29).
            Self::Video(Encoding { bitrate, .. }) => Some(bitrate.saturating_add(bitrate / 4)),
            Self::Audio { bitrate, .. } => Some(*bitrate),
        }
    }

    /// How many pictures of the grid it takes to get one.
    pub fn every(&self) -> u32 {
        match self {
            Self::Video(video) => video.every,
            Self::Passthrough | Self::Audio { .. } => 1,
        }
    }

    /// Its frames per second on the grid of an epoch.
    pub fn rate(&self, grid: FrameRate) -> FrameRate {
        let slower = grid.den().checked_mul(self.every()).and_then(|den| FrameRate::new(grid.num(), den));
        slower.unwrap_or(grid)
    }
}

/// Plans the first epoch of a stream: cuts on the source's own IDR pictures where they allow it and viewers can decode
/// them, and else on a grid that suits AAC.
pub fn plan(source: &Source, segmenting: &Segmenting, ladder: &Ladder) -> Plan {
    let on_gops = grid_of_gops(source, segmenting, ladder, |_| true);
    let passthrough = on_gops.is_some();
    let (segment_frames, part_frames) = on_gops.unwrap_or_else(|| free_grid(source.rate, segmenting));
    let renditions = renditions(source, ladder, (passthrough, part_frames));
    Plan {
        rate: source.rate,
        segment_frames,
        part_frames,
        target_duration_s: target_duration_s(source.rate, segment_frames),
        part_target: part_target((source.rate, &units(source, ladder)), part_frames),
        thumbnails: thumbnails(source, ladder, &renditions),
        renditions,
    }
}

/// The whole number of GOPs nearest the target that also divides into parts of a fair length: (segment, part) in frames.
/// Parts that the slower rungs have a whole number of pictures of are preferred.
fn grid_of_gops(
    source: &Source,
    segmenting: &Segmenting,
    ladder: &Ladder,
    suits: impl Fn((u32, u32)) -> bool,
) -> Option<(u32, u32)> {
    let gop = source.gop.filter(|&gop| gop > 0 && source.video.is_widely_decoded())?;
    let target = frames(source.rate, segmenting.segment);
    let part = frames(source.rate, segmenting.part);
    let longest = (target * 2.0) as u32 / gop;
    let mut candidates: Vec<u32> =
        (1..=longest).map(|count| count * gop).filter(|&segment| f64::from(segment) >= target / 2.0).collect();
    candidates.sort_by(|&a, &b| distance(a, target).total_cmp(&distance(b, target)));
    let whole = rungs::pictures_of_all(source, ladder);
    let found = |suits: &dyn Fn((u32, u32)) -> bool| {
        candidates.iter().find_map(|&segment| Some((segment, part_of(segment, part, suits)?)))
    };
    found(&|grid| grid.1.is_multiple_of(whole) && suits(grid)).or_else(|| found(&suits))
}

/// The divisor of `segment` nearest to `part`. Below half of it requests would pile up, above twice of it latency would.
fn part_of(segment: u32, part: f64, suits: impl Fn((u32, u32)) -> bool) -> Option<u32> {
    (1..=segment)
        .filter(|&frames| segment.is_multiple_of(frames) && suits((segment, frames)))
        .min_by(|&a, &b| distance(a, part).total_cmp(&distance(b, part)))
        .filter(|&frames| f64::from(frames) >= part / 2.0 && f64::from(frames) <= part * 2.0)
}

/// A grid for a source whose IDR pictures bind nobody, on which video and AAC boundaries meet where the rate allows it:
/// at 30 fps parts of 8 frames are 12.5 access units and segments of 64 frames are 100.
fn free_grid(rate: FrameRate, segmenting: &Segmenting) -> (u32, u32) {
    let want = frames(rate, segmenting.part);
    let part = nearest_multiple(frames_of_samples(rate, ACCESS_UNIT_SAMPLES / 2), want)
        .filter(|&part| f64::from(part) >= want / 1.5 && f64::from(part) <= want * 1.5)
        .unwrap_or_else(|| (want.round() as u32).max(1));
    let want = frames(rate, segmenting.segment);
    let segment = nearest_multiple(lcm(u64::from(part), frames_of_samples(rate, ACCESS_UNIT_SAMPLES)), want)
        .filter(|&segment| distance(segment, want) <= want * 0.2)
        .or_else(|| nearest_multiple(u64::from(part), want))
        .unwrap_or(part);
    (segment, part)
}

/// 4.4.3.1: durations are rounded to the nearest integer. An audio segment can be longer by an access unit.
fn target_duration_s(rate: FrameRate, segment_frames: u32) -> u64 {
    let longest_s =
        lasting(rate, segment_frames).as_secs_f64() + f64::from(ACCESS_UNIT_SAMPLES) / f64::from(AUDIO_RATE);
    (longest_s.round() as u64).max(1)
}

/// Samples of an access unit of each track of sound; none where the source is silent.
fn units(source: &Source, ladder: &Ladder) -> Vec<u32> {
    let codecs = ladder.audio.codecs.iter().filter(|_| source.audio.is_some());
    codecs.map(|codec| unit_samples(*codec)).collect()
}

fn unit_samples(codec: AudioCodec) -> u32 {
    match codec {
        AudioCodec::Aac => AacConfig::UNIT_SAMPLES,
        AudioCodec::Opus => OpusConfig::UNIT_SAMPLES,
    }
}

fn part_target((rate, units): (FrameRate, &[u32]), part_frames: u32) -> Duration {
    let video = lasting(rate, part_frames);
    // A part holds the access units that start in it: at most its length in them, rounded up.
    let audio = units.iter().map(|&samples| {
        let (part, unit) = samples_of_part((rate, samples), part_frames);
        access_units(part.div_ceil(unit), samples)
    });
    // Playlists round durations; a target rounded up is never below a rounded part.
    let micros = audio.fold(video, Duration::max).as_nanos().div_ceil(1000) as u64;
    Duration::from_millis(micros.div_ceil(1000))
}

/// The shortest of the video's part and, for each kind of access unit, its length in them, rounded down.
fn shortest_part((rate, units): (FrameRate, &[u32]), part_frames: u32) -> Duration {
    let audio = units.iter().map(|&samples| {
        let (part, unit) = samples_of_part((rate, samples), part_frames);
        access_units(part / unit, samples)
    });
    audio.fold(lasting(rate, part_frames), Duration::min)
}

/// Samples of a part, and of an access unit, both times the numerator of the rate.
fn samples_of_part((rate, unit): (FrameRate, u32), part_frames: u32) -> (u64, u64) {
    let samples = u64::from(part_frames) * u64::from(AUDIO_RATE) * u64::from(rate.den());
    (samples, u64::from(rate.num()) * u64::from(unit))
}

fn access_units(count: u64, samples: u32) -> Duration {
    Duration::from_nanos((count * u64::from(samples) * 1_000_000_000).div_ceil(u64::from(AUDIO_RATE)))
}

/// The top is the source or of its size; then the rungs, then the sound.
fn renditions(source: &Source, ladder: &Ladder, (passthrough, part_frames): (bool, u32)) -> Vec<Rendition> {
    let rungs = rungs::fitting(source, ladder, part_frames);
    let top = if passthrough { Make::Passthrough } else { Make::Video(rungs::top(source, ladder, &rungs)) };
    let height = source.video.height;
    let mut renditions = vec![Rendition { name: format!("{height}p"), make: top }];
    // What the top is coded as: the source's own pictures are H.264.
    let codec = renditions[0].make.encoding().map_or(VideoCodec::H264, |top| top.codec);
    for fit in rungs.iter().filter(|fit| !(fit.is_source(source) && fit.rung.coding.codec == codec)) {
        renditions.push(Rendition { name: fit.rung.name.clone(), make: Make::Video(fit.encoding(source)) });
    }
    rungs::tell_apart(&mut renditions);
    renditions.extend(source.audio.iter().flat_map(|audio| sound(audio, ladder)));
    renditions
}

/// The sound of a source, in each codec of the ladder.
fn sound(source: &AacConfig, ladder: &Ladder) -> Vec<Rendition> {
    let channels = channels(source).min(ladder.audio.channels_max);
    // The fifth and sixth channel take little: one is behind, one is deep.
    let bitrate = if channels > 2 { ladder.audio.bitrate / 2 * 5 } else { ladder.audio.bitrate };
    let rendition = |codec: &AudioCodec| {
        let name = match codec {
            AudioCodec::Aac => "audio".to_owned(),
            AudioCodec::Opus => format!("audio-{}", codec.name()),
        };
        Rendition { name, make: Make::Audio { codec: *codec, bitrate, channels } }
    };
    ladder.audio.codecs.iter().map(rendition).collect()
}

/// Channels that the sound of a source has, as one of the layouts that are made here: mono, stereo, 5.1. Parametric stereo is
/// coded as one channel and decoded as two.
pub fn channels(source: &AacConfig) -> u16 {
    match source.channels {
        1 if source.codec() != PARAMETRIC_STEREO => 1,
        ..=2 => 2,
        _ => 6,
    }
}

/// HE-AAC v2 (ISO/IEC 14496-3, table 1.17: object type 29).
const PARAMETRIC_STEREO: &str = "mp4a.40.29";

/// No larger than the pictures that they are made from.
fn thumbnails(source: &Source, ladder: &Ladder, renditions: &[Rendition]) -> Option<Thumbnails> {
    let config::Thumbnails { height, columns, rows, quantizer } = *ladder.thumbnails.as_ref()?;
    let encoded = renditions.iter().filter_map(|rendition| match &rendition.make {
        Make::Video(video) => Some(video.height),
        Make::Passthrough | Make::Audio { .. } => None,
    });
    let height = height.min(encoded.min()?);
    let width = even_width(source.video.width, source.video.height, height);
    Some(Thumbnails { width, height, columns, rows, quantizer })
}

/// 4:2:0 has no odd sizes.
fn even_width(width: u32, height: u32, scaled_height: u32) -> u32 {
    let (scaled, divisor) = (u64::from(width) * u64::from(scaled_height), 2 * u64::from(height));
    (((2 * scaled + divisor) / (2 * divisor)) as u32 * 2).max(2)
}

fn frames(rate: FrameRate, duration: Duration) -> f64 {
    duration.as_secs_f64() * rate.hz()
}

fn lasting(rate: FrameRate, frames: u32) -> Duration {
    let nanos = u128::from(frames) * u128::from(rate.den()) * 1_000_000_000;
    Duration::from_nanos(nanos.div_ceil(u128::from(rate.num())) as u64)
}

fn distance(frames: u32, target: f64) -> f64 {
    (f64::from(frames) - target).abs()
}

/// The least number of frames that lasts a whole number of blocks of `samples` at 48 kHz.
fn frames_of_samples(rate: FrameRate, samples: u32) -> u64 {
    let block = u64::from(rate.num()) * u64::from(samples);
    block / gcd(u64::from(AUDIO_RATE) * u64::from(rate.den()), block)
}

fn nearest_multiple(unit: u64, target: f64) -> Option<u32> {
    let multiple = (target / unit as f64).round() * unit as f64;
    (multiple >= 1.0 && multiple <= f64::from(u32::MAX)).then_some(multiple as u32)
}

fn lcm(a: u64, b: u64) -> u64 {
    a / gcd(a, b) * b
}

pub(crate) fn gcd<T: Copy + Default + PartialEq + std::ops::Rem<Output = T>>(a: T, b: T) -> T {
    if b == T::default() { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests;
