//! Puts the frames of a source, whose times are rounded milliseconds, on the exact grid of an epoch.

use super::pace::Pace;
use media::{Frame, FrameRate, Timescale, TrackKind};

/// Knows where the epoch's zero lies in the source's own time.
#[derive(Debug)]
pub(crate) struct Placer {
    rate: FrameRate,
    /// Key frames come every so many frames. They are held to that, so that clocks which count a little differently do
    /// not move one off its segment boundary.
    gop: Option<u32>,
    zero_ms: i64,
    /// A key frame and its index: what follows is placed by its distance to it.
    anchor: (i64, i64),
    /// How far the source's clock has run ahead of the grid, in milliseconds, without its jitter. Pictures are counted, so
    /// the grid takes the source's pace; sound is put where its picture is.
    ahead_ms: f64,
    pace: Pace,
    last_decode_index: Option<i64>,
    last_ms: Last,
}

/// The last decode times seen, in the source's milliseconds.
#[derive(Debug, Default)]
struct Last {
    video: Option<i64>,
    audio: Option<i64>,
}

/// Why a source's time cannot be followed in this epoch.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub(crate) enum Break {
    #[error("its time stamps jump by {0} ms")]
    Jump(i64),
    #[error("its frames come at {hz:.3} a second, which is not what was measured at first")]
    Rate { hz: f64 },
}

/// A step forward by more than this is another time line: a worker repeats a picture for no longer.
const JUMP_FORWARD_MS: i64 = 5_000;
/// Interleaving and reordering step back by less than this.
const JUMP_BACK_MS: i64 = 1_000;
/// A key frame may be this far from its place, in frames: late by a scheduler's whim, or by the drift of one GOP.
const OFF_FRAMES: f64 = 1.5;
/// A frame that is less late than this, in frames, is the next one: encoders that stamp on arrival are off by half a frame, and
/// so was the key frame that it is measured by. What was left out is whole frames.
const FOLLOWS_FRAMES: f64 = 0.95;
/// So is one that is less early. Nothing is lost by waiting longer here: more frames than there are places come all the time.
const BEHIND_FRAMES: f64 = 1.5;
/// How much of the distance between clocks a key frame tells at once.
const AHEAD_SHARE: f64 = 1.0 / 8.0;

impl Last {
    /// How far this frame goes back from the last of its own medium, or on from what it is to go on from. Sound may be
    /// away for long while the picture goes on: the worker fills in silence meanwhile, so it resumes where the picture
    /// is. Nothing fills in a picture for so long.
    fn step(&mut self, frame: &Frame) -> i64 {
        let (last, picture) = match frame.kind {
            TrackKind::Video => (self.video.replace(frame.dts), None),
            TrackKind::Audio => (self.audio.replace(frame.dts), self.video),
        };
        let last = last.unwrap_or(frame.dts);
        if frame.dts < last {
            return frame.dts - last;
        }
        (frame.dts - picture.map_or(last, |picture| picture.max(last))).max(0)
    }
}

impl Placer {
    /// `key` is a key frame of the epoch, most often its first: presentation time, and index from the epoch's zero.
    pub(crate) fn new(rate: FrameRate, gop: Option<u32>, key: (i64, i64)) -> Self {
        let gop = gop.filter(|&gop| gop > 0);
        let zero_ms = key.0 - rate.ticks_of_index(key.1, Timescale::MILLISECONDS);
        let (anchor, pace) = (key, Pace::new(rate, key));
        Self { rate, gop, zero_ms, anchor, ahead_ms: 0.0, pace, last_decode_index: None, last_ms: Last::default() }
    }

    /// The frame in the epoch's time: video in ticks of the rate's timescale, audio in samples at 48 kHz. `None` for what
    /// is shown before the epoch's zero.
    pub(crate) fn place(&mut self, frame: &Frame) -> Result<Option<Frame>, Break> {
        let step = self.last_ms.step(frame);
        if !(-JUMP_BACK_MS..=JUMP_FORWARD_MS).contains(&step) {
            return Err(Break::Jump(step));
        }
        match frame.kind {
            TrackKind::Video => self.video(frame),
            TrackKind::Audio => Ok(self.audio(frame)),
        }
    }

    /// The index of the picture that is shown at this time of the source.
    pub(crate) fn index_at(&self, ms: i64) -> i64 {
        self.anchor.1 + self.rate.index_of_ms(ms - self.anchor.0)
    }

    fn video(&mut self, frame: &Frame) -> Result<Option<Frame>, Break> {
        if frame.keyframe {
            self.anchor(frame.pts)?;
        }
        let (anchor_ms, anchor_index) = self.anchor;
        let measured = |ms: i64| anchor_index as f64 + (ms - anchor_ms) as f64 * self.rate.hz() / 1000.0;
        // Two frames whose times round to one index are still decoded one after the other.
        let next = self.last_decode_index.map(|last| last + 1);
        let cts = self.rate.index_of_ms(frame.pts - frame.dts);
        let (decode, show) = match next.map(|next| (next, measured(frame.dts) - next as f64)) {
            Some((next, early)) if early > -BEHIND_FRAMES => {
                let missing = (early + 1.0 - FOLLOWS_FRAMES).max(0.0) as i64;
                (next + missing, next + missing + cts)
            }
            // More frames come than there are places.
            Some((next, _)) => (next, anchor_index + self.rate.index_of_ms(frame.pts - anchor_ms)),
            None => {
                let index = |ms: i64| anchor_index + self.rate.index_of_ms(ms - anchor_ms);
                (index(frame.dts), index(frame.pts))
            }
        };
        let is_anchor = frame.keyframe && frame.pts == anchor_ms;
        let show = if is_anchor { anchor_index } else { show };
        // That place is the next key frame's. Whatever comes behind it without one tells that key frames come otherwise now.
        let is_taken = !frame.keyframe && self.gop.is_some_and(|gop| show == anchor_index + i64::from(gop));
        if show < 0 || is_taken {
            return Ok(None);
        }
        self.last_decode_index = Some(decode);
        let ticks = i64::from(self.rate.frame_ticks());
        Ok(Some(Frame { dts: decode * ticks, pts: show * ticks, ..frame.clone() }))
    }

    /// The index of a key frame of this presentation time: where one is expected, if it is near.
    pub(crate) fn key_index_at(&self, pts: i64) -> i64 {
        self.expected(pts).unwrap_or_else(|| self.index_at(pts))
    }

    /// `None` for a key frame out of turn, at a scene cut for example. It is a frame like others.
    fn expected(&self, pts: i64) -> Option<i64> {
        let gop = f64::from(self.gop?);
        let frames_since_zero = self.anchor.1 as f64 + (pts - self.anchor.0) as f64 * self.rate.hz() / 1000.0;
        let expected = (frames_since_zero / gop).round() * gop;
        ((frames_since_zero - expected).abs() <= OFF_FRAMES).then_some(expected as i64)
    }

    /// Counts from this key frame on, if it is where key frames are expected.
    fn anchor(&mut self, pts: i64) -> Result<(), Break> {
        let Some(expected) = self.expected(pts) else { return Ok(()) };
        let ahead_ms = (pts - self.zero_ms) as f64 - expected as f64 * 1000.0 / self.rate.hz();
        self.ahead_ms += (ahead_ms - self.ahead_ms) * AHEAD_SHARE;
        self.anchor = (pts, expected);
        self.pace.key_frame(pts, expected).map_or(Ok(()), |hz| Err(Break::Rate { hz }))
    }

    fn audio(&self, frame: &Frame) -> Option<Frame> {
        let since_zero_ms = |ms: i64| (ms - self.zero_ms) as f64 - self.ahead_ms;
        let samples = |ms: i64| (since_zero_ms(ms) * f64::from(transcode::AUDIO_RATE) / 1000.0).round() as i64;
        (frame.pts >= self.zero_ms).then(|| Frame { dts: samples(frame.dts), pts: samples(frame.pts), ..frame.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn rate() -> FrameRate {
        FrameRate::new(30, 1).unwrap()
    }

    fn video(ms: i64, keyframe: bool) -> Frame {
        Frame { kind: TrackKind::Video, dts: ms, pts: ms, keyframe, data: Bytes::new() }
    }

    /// Indices of a source that sends a key frame every 60 frames, at `hz` instead of 30.
    fn place_all(hz: f64, count: i64) -> Result<Vec<i64>, Break> {
        let mut placer = Placer::new(rate(), Some(60), (7000, 0));
        let ms = |index: i64| 7000 + (index as f64 * 1000.0 / hz).round() as i64;
        (0..count).map(|i| Ok(placer.place(&video(ms(i), i % 60 == 0))?.unwrap().pts / 1000)).collect()
    }

    #[test]
    fn rounded_milliseconds_give_exact_indices() {
        assert_eq!(place_all(30.0, 3000), Ok((0..3000).collect()));
    }

    #[test]
    fn a_key_frame_is_expected_where_it_is_placed() {
        let mut placer = Placer::new(rate(), Some(60), (7000, 0));
        for (pts, index) in [(9040, 60), (11_015, 120), (11_515, 135)] {
            assert_eq!(placer.key_index_at(pts), index);
            if index % 60 == 0 {
                assert_eq!(placer.place(&video(pts, true)).unwrap().unwrap().pts, index * 1000);
            }
        }
    }

    #[test]
    fn any_constant_rate_is_counted_without_a_break() {
        for (num, den, gop) in [
            (25, 2, 25),
            (15, 1, 30),
            (15, 2, 15),
            (10, 1, 20),
            (20, 1, 40),
            (48, 1, 96),
            (120, 1, 240),
            (24000, 1001, 48),
        ] {
            let rate = FrameRate::new(num, den).unwrap();
            let mut placer = Placer::new(rate, Some(gop), (7000, 0));
            for index in 0..20_000 {
                let ms = 7000 + rate.ticks_of_index(index, Timescale::MILLISECONDS);
                let placed = placer.place(&video(ms, index % i64::from(gop) == 0)).unwrap().unwrap();
                assert_eq!(placed.pts, index * i64::from(rate.frame_ticks()), "{num}/{den}");
            }
        }
    }

    /// Two hours whose clock is 200 millionths off: pictures are counted, and sound stays within 5 ms of them.
    #[test]
    fn a_clock_that_drifts_breaks_nothing_and_parts_no_sound_from_its_picture() {
        const BOUND_MS: f64 = 5.0;
        for pace in [1.0 - 200e-6, 1.0, 1.0 + 200e-6] {
            let mut placer = Placer::new(rate(), Some(60), (7000, 0));
            let stamped = |s: f64| 7000 + (s * 1000.0).round() as i64;
            let mut unit = 0;
            for index in 0..2 * 3600 * 30 {
                let taken_s = index as f64 / 30.0 / pace;
                let placed = placer.place(&video(stamped(taken_s), index % 60 == 0)).unwrap().unwrap();
                assert_eq!((placed.pts, placed.dts), (index * 1000, index * 1000));
                while f64::from(unit) * 1024.0 / 48_000.0 <= taken_s {
                    let taken_s = f64::from(unit) * 1024.0 / 48_000.0;
                    let sound = Frame { kind: TrackKind::Audio, ..video(stamped(taken_s), true) };
                    let placed_s = placer.place(&sound).unwrap().unwrap().pts as f64 / 48_000.0;
                    let apart_ms = (placed_s - taken_s * pace) * 1000.0;
                    assert!(apart_ms.abs() <= BOUND_MS, "{apart_ms} ms at {taken_s} s");
                    unit += 1;
                }
            }
        }
    }

    #[test]
    fn a_rate_that_was_taken_for_another_is_told_once_and_then_followed() {
        for hz in [29.97, 29.8] {
            let Err(Break::Rate { hz: told }) = place_all(hz, 5000) else { panic!("{hz} was taken for 30") };
            assert!((told - hz).abs() < 0.003, "{told}");
            let rate = FrameRate::nearest(told, 0.0002);
            let mut placer = Placer::new(rate, Some(60), (0, 0));
            let ms = |index: i64| (index as f64 * 1000.0 / hz).round() as i64;
            assert!((0..50_000).all(|i| placer.place(&video(ms(i), i % 60 == 0)).is_ok()), "{rate:?} for {hz}");
        }
    }

    #[test]
    fn dropped_frames_leave_their_places_empty() {
        let mut placer = Placer::new(rate(), Some(60), (0, 0));
        let kept = [0, 1, 2, 7, 58, 60, 61];
        let ms = |index: i64| (index * 1000 + 15) / 30;
        let placed: Vec<_> =
            kept.iter().map(|&i| placer.place(&video(ms(i), i % 60 == 0)).unwrap().unwrap().pts / 1000).collect();
        assert_eq!(placed, kept);
    }

    /// More than half a frame either way makes holes where none are, and takes no key frame its place.
    #[test]
    fn jitter_of_more_than_a_frame_leaves_key_frames_where_they_are() {
        let rate = FrameRate::new(60, 1).unwrap();
        let mut placer = Placer::new(rate, Some(60), (7000, 0));
        let (mut random, mut last) = (1_u64, -1);
        for index in 0..60_000_i64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let jitter_ms = if index == 0 { 0 } else { ((random >> 40) % 25) as i64 - 12 };
            let ms = 7000 + rate.ticks_of_index(index, Timescale::MILLISECONDS) + jitter_ms;
            let Some(placed) = placer.place(&video(ms, index % 60 == 0)).unwrap() else { continue };
            let (show, decode) =
                (placed.pts / i64::from(rate.frame_ticks()), placed.dts / i64::from(rate.frame_ticks()));
            assert_eq!(show % 60 == 0, index % 60 == 0, "picture {index} is put at {show}");
            assert!(index % 60 > 0 || (show, decode) == (index, index), "key frame {index} is put at {show}, {decode}");
            assert!(decode > last, "picture {index} is decoded at {decode}");
            last = decode;
        }
    }

    /// Early and late by up to 12 ms, key frames too, and one picture of a hundred left out, at 29.97 a second.
    #[test]
    fn jitter_moves_no_key_frame_and_no_picture_by_more_than_one() {
        let rate = FrameRate::new(30_000, 1001).unwrap();
        let mut placer = Placer::new(rate, Some(60), (7000, 0));
        let (mut random, mut last) = (1_u64, -1);
        for index in 0..100_000_i64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (keyframe, chance) = (index % 60 == 0, random >> 40);
            if !keyframe && chance % 100 == 0 {
                continue;
            }
            let jitter_ms = if index == 0 { 0 } else { (chance / 100 % 25) as i64 - 12 };
            let ms = 7000 + rate.ticks_of_index(index, Timescale::MILLISECONDS) + jitter_ms;
            let placed = placer.place(&video(ms, keyframe)).unwrap().unwrap();
            assert_eq!(placed.pts, placed.dts);
            let at = placed.pts / i64::from(rate.frame_ticks());
            let most = if keyframe { 0 } else { 1 };
            assert!((at - index).abs() <= most && at > last, "picture {index} is put at {at}");
            assert!(keyframe || at % 60 != 0, "picture {index} is where a key frame is expected");
            last = at;
        }
    }

    #[test]
    fn a_key_frame_out_of_turn_moves_nothing() {
        let mut placer = Placer::new(rate(), Some(60), (0, 0));
        for (index, keyframe) in [(0, true), (27, true), (28, false), (60, true), (61, false)] {
            let placed = placer.place(&video((index * 1000 + 15) / 30, keyframe)).unwrap().unwrap();
            assert_eq!(placed.pts / 1000, index);
        }
    }

    #[test]
    fn another_time_line_is_told() {
        for (second, told) in
            [(5_000, None), (5_034, Some(Break::Jump(5_034))), (-900, None), (-2_000, Some(Break::Jump(-2_000)))]
        {
            let mut placer = Placer::new(rate(), None, (0, 0));
            placer.place(&video(0, true)).unwrap();
            assert_eq!(placer.place(&video(second, true)).err(), told);
        }
    }

    #[test]
    fn sound_may_come_back_after_a_long_time_if_the_picture_went_on() {
        let mut placer = Placer::new(rate(), None, (0, 0));
        let audio = |ms| Frame { kind: TrackKind::Audio, ..video(ms, true) };
        placer.place(&audio(0)).unwrap();
        for second in 0..=20 {
            placer.place(&video(second * 1000, true)).unwrap();
        }
        assert_eq!(placer.place(&audio(20_011)).unwrap().unwrap().pts, 20_011 * 48);
        // Sound that goes on where both stopped is a jump as ever, and so is sound that goes back.
        assert_eq!(placer.place(&audio(40_000)), Err(Break::Jump(19_989)));
        assert_eq!(placer.place(&audio(38_500)), Err(Break::Jump(-1_500)));
    }

    #[test]
    fn audio_counts_samples_from_the_first_picture() {
        let mut placer = Placer::new(rate(), None, (1000, 0));
        let audio = |ms| Frame { kind: TrackKind::Audio, ..video(ms, true) };
        assert_eq!(placer.place(&audio(990)), Ok(None));
        assert_eq!(placer.place(&audio(1011)).unwrap().unwrap().pts, 528);
    }
}
