//! Learns a source from its first frames: set-up, frame rate, distance of key frames, bit rate. Pure.

use crate::ingest::{Announced, Ingested};
use media::{AacConfig, AvcConfig, Captions, Frame, FrameRate, TrackKind};
use transcode::Source;

/// How much may be looked at before something must be decided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Of media time after the first key frame, in milliseconds.
    pub(crate) ms: i64,
    /// Of frames held.
    pub(crate) bytes: usize,
}

/// Holds the frames from the first key frame on, until it knows enough.
#[derive(Debug)]
pub(crate) struct Analysis {
    patience: Patience,
    announced: Announced,
    video: Option<AvcConfig>,
    audio: Option<AacConfig>,
    frames: Vec<Frame>,
    bytes: usize,
    zero_unix_ms: i64,
}

/// What is known of a source.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Known {
    pub(crate) source: Source,
    pub(crate) bitrate: Bitrate,
    /// Seen in its pictures. What a stream brings back from disk does not say.
    pub(crate) captions: Captions,
}

/// Of the source's video, in bits per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bitrate {
    pub(crate) average: u64,
    pub(crate) peak: u64,
}

/// The result: what is known, and the frames from the first key frame on.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) known: Known,
    pub(crate) frames: Vec<Frame>,
    /// When the first key frame came, in Unix milliseconds.
    pub(crate) zero_unix_ms: i64,
}

/// What it costs to hold a frame, above its data.
const FRAME_BYTES: usize = 256;
/// Less than this says too little of a frame rate in whole milliseconds.
const SPAN_MIN_MS: i64 = 700;

impl Analysis {
    pub(crate) fn new(patience: Patience) -> Self {
        Self {
            patience,
            announced: Announced::default(),
            video: None,
            audio: None,
            frames: Vec::new(),
            bytes: 0,
            zero_unix_ms: 0,
        }
    }

    /// Takes what the publisher sent at `unix_ms`.
    pub(crate) fn push(&mut self, item: Ingested, unix_ms: i64) -> Option<Found> {
        match item {
            Ingested::Announced(announced) => self.announced = announced,
            Ingested::Video(config) => {
                if self.video.as_ref() != Some(&config) {
                    // What came before cannot be decoded with what comes now.
                    self.forget();
                    self.video = Some(config);
                }
            }
            Ingested::Audio(config) => {
                if self.audio.replace(config).is_some_and(|before| self.audio.as_ref() != Some(&before)) {
                    self.frames.retain(|frame| frame.kind == TrackKind::Video);
                }
            }
            Ingested::Frame(frame) => return self.frame(frame, unix_ms),
            Ingested::Cue(_) | Ingested::Text(_) => {}
        }
        None
    }

    /// Whether a key frame has come, from which on time counts.
    pub(crate) fn has_begun(&self) -> bool {
        !self.frames.is_empty()
    }

    /// Whether the publisher has said what its pictures are.
    pub(crate) fn has_video(&self) -> bool {
        self.video.is_some()
    }

    /// No more can be waited for: what is known now.
    pub(crate) fn decide(&mut self) -> Option<Found> {
        let video = self.video.clone().filter(|_| self.has_begun())?;
        let frames = std::mem::take(&mut self.frames);
        let decoded: Vec<_> = frames.iter().filter(|frame| frame.kind == TrackKind::Video).collect();
        let (rate, regular) = frame_rate(&decoded, &self.announced);
        let gop = regular.then(|| gop(&decoded, rate)).flatten();
        let source = Source { video, audio: self.audio.clone(), rate, gop };
        let bitrate = bitrate(&decoded, rate, &self.announced);
        let mut captions = Captions::default();
        decoded.iter().for_each(|picture| captions.see(&picture.data));
        self.bytes = 0;
        Some(Found { known: Known { source, bitrate, captions }, frames, zero_unix_ms: self.zero_unix_ms })
    }

    fn frame(&mut self, frame: Frame, unix_ms: i64) -> Option<Found> {
        self.video.as_ref()?;
        let video = frame.kind == TrackKind::Video;
        if !self.has_begun() {
            if !(video && frame.keyframe) {
                return None;
            }
            self.zero_unix_ms = unix_ms;
        }
        let jump = video && self.frames.first().is_some_and(|first| frame.dts < first.dts);
        if jump {
            self.forget();
            return self.frame(frame, unix_ms);
        }
        let span_ms = self.frames.first().map_or(0, |first| frame.dts - first.dts);
        let key_in_time = video && frame.keyframe && span_ms >= SPAN_MIN_MS;
        self.bytes += frame.data.len() + FRAME_BYTES;
        self.frames.push(frame);
        let enough =
            (key_in_time && self.is_gop_settled()) || span_ms >= self.patience.ms || self.bytes > self.patience.bytes;
        if enough { self.decide() } else { None }
    }

    /// Whether another key frame would say nothing new.
    fn is_gop_settled(&self) -> bool {
        let decoded: Vec<_> = self.frames.iter().filter(|frame| frame.kind == TrackKind::Video).collect();
        let (rate, regular) = frame_rate(&decoded, &self.announced);
        !regular || !matches!(distances(&decoded, rate)[..], [one] if !is_usual(one, rate))
    }

    fn forget(&mut self) {
        self.frames.clear();
        self.bytes = 0;
    }
}

/// The frame rate, and whether the frames really come at it.
fn frame_rate(frames: &[&Frame], announced: &Announced) -> (FrameRate, bool) {
    let announced = announced.frame_rate_hz.filter(|hz| RATES_HZ.contains(hz));
    let Some(Measured { hz, precision, mean_hz }) = measure(frames) else {
        return (announced.map_or(FrameRate::USUAL, exact), false);
    };
    let near = |other: f64| (other - hz).abs() <= precision * hz;
    let rate = announced.filter(|&hz| near(hz)).map_or_else(|| FrameRate::nearest(hz, precision), exact);
    let single = frames.windows(2).filter(|pair| rate.index_of_ms(pair[1].dts - pair[0].dts) == 1).count();
    // Some lost frames are forgiven; a variable frame rate is not.
    if single * 10 >= (frames.len() - 1) * 9 {
        (rate, true)
    } else {
        (FrameRate::nearest(mean_hz, PRECISION_MIN), false)
    }
}

/// Frames per second, and how far that may be from the truth, as a share of it.
struct Measured {
    hz: f64,
    precision: f64,
    /// What that is without the frames that are missing.
    mean_hz: f64,
}

/// Counts frames, those that were lost on the way included, over the time they took.
fn measure(frames: &[&Frame]) -> Option<Measured> {
    let mut steps_ms: Vec<i64> = frames.windows(2).map(|pair| pair[1].dts - pair[0].dts).collect();
    let (first, last) = (frames.first()?.dts, frames.last()?.dts);
    let span_ms = (last - first) as f64;
    steps_ms.sort_unstable();
    // Half of all frames are no further apart: a frame that is missing here and there does not count.
    let usual_ms = (*steps_ms.get(steps_ms.len() / 2)?).max(1) as f64;
    let mut count = 0.0;
    let counted: Vec<(f64, f64)> = std::iter::once((0.0, 0.0))
        .chain(frames.windows(2).map(|pair| {
            count += ((pair[1].dts - pair[0].dts) as f64 / usual_ms).round();
            (count, (pair[1].dts - first) as f64)
        }))
        .collect();
    if count < 1.0 || span_ms <= 0.0 {
        return None;
    }
    let per_second = |count: f64| (count * 1000.0 / span_ms).clamp(*RATES_HZ.start(), *RATES_HZ.end());
    // Whole milliseconds are off by one at most, stamps made on arrival by more.
    let off_ms = counted.iter().map(|(index, ms)| (ms - index * span_ms / count).abs()).fold(0.0, f64::max);
    let precision = ((1.0 + off_ms) / span_ms).min(PRECISION_MIN);
    Some(Measured { hz: per_second(count), precision, mean_hz: per_second(steps_ms.len() as f64) })
}

const RATES_HZ: std::ops::RangeInclusive<f64> = 1.0..=240.0;
/// The announced rate, or a usual one, that is nearer to the measured one than this is meant, however stamps jitter.
const PRECISION_MIN: f64 = 0.01;

/// A rate as encoders write it: 29.97 means 30000/1001.
fn exact(hz: f64) -> FrameRate {
    FrameRate::nearest(hz, 0.0004)
}

/// Frames from key frame to key frame, if that is one number. A single distance is believed only if it is one that
/// people set: an encoder without a fixed interval also sends a key frame where the scene changes.
fn gop(frames: &[&Frame], rate: FrameRate) -> Option<u32> {
    let distances = distances(frames, rate);
    let first = *distances.first()?;
    let same = first > 0 && distances.iter().all(|&distance| distance == first);
    let believed = distances.len() > 1 || is_usual(first, rate);
    (same && believed).then(|| u32::try_from(first).ok()).flatten()
}

/// In frames, from each key frame to the next.
fn distances(frames: &[&Frame], rate: FrameRate) -> Vec<i64> {
    let keys: Vec<i64> = frames.iter().filter(|frame| frame.keyframe).map(|frame| frame.pts).collect();
    keys.windows(2).map(|pair| rate.index_of_ms(pair[1] - pair[0])).collect()
}

/// A whole number of seconds, give or take a frame: 29.97 fps has GOPs of 60.
fn is_usual(distance: i64, rate: FrameRate) -> bool {
    let seconds = (distance as f64 / rate.hz()).round();
    seconds >= 1.0 && (distance as f64 - seconds * rate.hz()).abs() <= 1.0
}

fn bitrate(frames: &[&Frame], rate: FrameRate, announced: &Announced) -> Bitrate {
    let bits: u64 = frames.iter().map(|frame| 8 * frame.data.len() as u64).sum();
    let measured = (bits as f64 * rate.hz() / frames.len().max(1) as f64).ceil() as u64;
    // The first GOP is little to judge by: many a stream begins with a still picture. Who says that it sends more will
    // do so. Encoders in constant bit rate stay within a third above.
    let average = measured.max(announced.video_bitrate.unwrap_or(0));
    Bitrate { average, peak: average + average / 3 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{aac_config, avc_config};
    use bytes::Bytes;

    const PATIENCE: Patience = Patience { ms: 4000, bytes: 1 << 20 };

    fn video(ms: i64, keyframe: bool) -> Ingested {
        let data = Bytes::from_static(&[0; 1000]);
        Ingested::Frame(Frame { kind: TrackKind::Video, dts: ms, pts: ms + 66, keyframe, data })
    }

    fn begun(frame_rate_hz: Option<f64>) -> Analysis {
        let mut analysis = Analysis::new(PATIENCE);
        analysis.push(Ingested::Announced(Announced { frame_rate_hz, ..Announced::default() }), 0);
        analysis.push(Ingested::Video(avc_config()), 0);
        analysis.push(Ingested::Audio(aac_config()), 0);
        analysis
    }

    /// Sends frames at `hz` with a key frame every `gop`, until something is found.
    fn found(mut analysis: Analysis, hz: f64, gop: i64) -> Found {
        let ms = |index: i64| 5000 + (index as f64 * 1000.0 / hz).round() as i64;
        let mut frames = (0..2000).map(|index| (index, video(ms(index), index % gop == 0)));
        frames.find_map(|(index, frame)| analysis.push(frame, 90_000 + index)).expect("nothing found")
    }

    #[test]
    fn two_key_frames_tell_rate_and_gop() {
        for (hz, num, den, gop) in [(30.0, 30, 1, 60), (25.0, 25, 1, 50), (60.0, 60, 1, 120), (24.0, 24, 1, 48)] {
            let found = found(begun(None), hz, gop);
            assert_eq!(found.known.source.rate, FrameRate::new(num, den).unwrap());
            assert_eq!(found.known.source.gop, Some(gop as u32));
            assert_eq!(found.frames.len() as i64, gop + 1);
            assert_eq!(found.known.source.audio, Some(aac_config()));
            assert_eq!(found.zero_unix_ms, 90_000);
        }
    }

    #[test]
    fn rates_that_nobody_lists_are_learnt() {
        for (hz, num, den, gop) in [
            (12.5, 25, 2, 25),
            (7.5, 15, 2, 15),
            (15.0, 15, 1, 30),
            (10.0, 10, 1, 20),
            (18.0, 18, 1, 36),
            (100.0 / 3.0, 100, 3, 66),
            (48.0, 48, 1, 96),
            (120.0, 120, 1, 240),
        ] {
            let found = found(begun(None), hz, gop);
            assert_eq!(found.known.source.rate, FrameRate::new(num, den).unwrap(), "{hz}");
            assert_eq!(found.known.source.gop, Some(gop as u32), "{hz}");
        }
    }

    #[test]
    fn frames_lost_on_the_way_do_not_slow_the_rate() {
        let mut analysis = begun(None);
        let lost = |index: &i64| index % 20 == 7;
        let mut frames = (0..200).filter(|index| !lost(index)).map(|i| video(i * 1000 / 30, i % 60 == 0));
        let found = frames.find_map(|frame| analysis.push(frame, 0)).unwrap();
        assert_eq!((found.known.source.rate, found.known.source.gop), (FrameRate::USUAL, Some(60)));
    }

    #[test]
    fn what_is_announced_decides_between_neighbours() {
        let rate = |announced| found(begun(announced), 29.985, 60).known.source.rate;
        assert_eq!(rate(Some(30.0)), FrameRate::new(30, 1).unwrap());
        assert_eq!(rate(Some(29.97)), FrameRate::new(30_000, 1001).unwrap());
        assert_eq!(rate(Some(29.97003)), FrameRate::new(30_000, 1001).unwrap());
        let lie = found(begun(Some(60.0)), 30.0, 60).known.source.rate;
        assert_eq!(lie, FrameRate::new(30, 1).unwrap());
    }

    #[test]
    fn a_still_picture_at_first_does_not_hide_the_announced_bit_rate() {
        let average = |video_bitrate| {
            let mut analysis = begun(None);
            analysis.push(Ingested::Announced(Announced { video_bitrate, ..Announced::default() }), 0);
            let Bitrate { average, peak } = found(analysis, 30.0, 60).known.bitrate;
            assert_eq!(peak, average + average / 3);
            average
        };
        assert_eq!(average(None), 240_000);
        assert_eq!(average(Some(6_000_000)), 6_000_000);
        assert_eq!(average(Some(100_000)), 240_000, "frames count for more than words");
    }

    #[test]
    fn without_a_second_key_frame_there_is_no_gop() {
        let found = found(begun(None), 30.0, 10_000);
        assert_eq!(found.known.source.gop, None);
        assert!(found.frames.len() <= 122);
    }

    #[test]
    fn an_odd_distance_is_believed_once_it_comes_again() {
        let twice = found(begun(None), 30.0, 45);
        assert_eq!((twice.known.source.gop, twice.frames.len()), (Some(45), 91));
        // No third key frame within the patience: nobody knows.
        assert_eq!(found(begun(None), 30.0, 75).known.source.gop, None);
        // Every two seconds, but the encoder began to count again where the scene changed.
        let mut analysis = begun(None);
        let key = |index: i64| index == 0 || (index >= 37 && (index - 37) % 60 == 0);
        let cut = (0..200).find_map(|index| analysis.push(video(index * 1000 / 30, key(index)), 0)).unwrap();
        assert_eq!(cut.known.source.gop, None);
    }

    #[test]
    fn all_key_frames_are_a_gop_of_one() {
        assert_eq!(found(begun(None), 30.0, 1).known.source.gop, Some(1));
    }

    #[test]
    fn a_variable_frame_rate_has_no_gop() {
        let mut analysis = begun(None);
        let mut ms = 0;
        let found = (0..500).find_map(|index| {
            ms += if index % 3 == 0 { 90 } else { 10 };
            analysis.push(video(ms, index % 60 == 0), 0)
        });
        assert_eq!(found.unwrap().known.source.gop, None);
    }

    #[test]
    fn frames_before_the_set_up_or_the_key_frame_are_not_kept() {
        let mut analysis = Analysis::new(PATIENCE);
        assert!(analysis.push(video(0, true), 0).is_none() && !analysis.has_begun());
        analysis.push(Ingested::Video(avc_config()), 0);
        assert!(analysis.push(video(33, false), 0).is_none() && !analysis.has_begun());
        assert!(analysis.decide().is_none());
        assert!(analysis.push(video(66, true), 0).is_none() && analysis.has_begun());
        assert!(analysis.decide().is_some());
    }

    #[test]
    fn memory_is_bounded() {
        let mut analysis = begun(None);
        let big = Bytes::from(vec![0; 300_000]);
        let frame = |ms, keyframe| {
            Ingested::Frame(Frame { kind: TrackKind::Video, dts: ms, pts: ms, keyframe, data: big.clone() })
        };
        let kept = (0..10).find_map(|index| analysis.push(frame(index * 33, index == 0), 0)).unwrap();
        assert_eq!(kept.frames.len(), 4);

        // Frames of no size, at a time that stands still.
        let nothing =
            || Ingested::Frame(Frame { kind: TrackKind::Audio, dts: 0, pts: 0, keyframe: true, data: Bytes::new() });
        let mut analysis = begun(None);
        analysis.push(video(0, true), 0);
        let kept = (0..10_000).find_map(|_| analysis.push(nothing(), 0)).unwrap();
        assert!(kept.frames.len() <= (1 << 20) / 256, "{}", kept.frames.len());
    }

    #[test]
    fn another_set_up_begins_again() {
        let mut analysis = begun(None);
        analysis.push(video(0, true), 0);
        let other = AvcConfig { width: 640, height: 360, ..avc_config() };
        analysis.push(Ingested::Video(other.clone()), 0);
        assert!(!analysis.has_begun());
        assert_eq!(found(analysis, 30.0, 60).known.source.video, other);
    }
}
