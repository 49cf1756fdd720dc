//! Puts the frames of a source, whose times are rounded milliseconds, on the exact grid of an epoch.

use media::{Frame, FrameRate, TrackKind};

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
    Drift { hz: f64 },
}

/// A step forward by more than this is another time line: a worker repeats a picture for no longer.
const JUMP_FORWARD_MS: i64 = 5_000;
/// Interleaving and reordering step back by less than this.
const JUMP_BACK_MS: i64 = 1_000;
/// A key frame may be this far from its place, in frames: at 30 fps within 50 ms, which no one sees between sound and
/// picture.
const DRIFT_FRAMES: f64 = 1.5;

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
    /// `zero_ms` is the presentation time of the epoch's first key frame.
    pub(crate) fn new(rate: FrameRate, gop: Option<u32>, zero_ms: i64) -> Self {
        let gop = gop.filter(|&gop| gop > 0);
        Self { rate, gop, zero_ms, anchor: (zero_ms, 0), last_decode_index: None, last_ms: Last::default() }
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

    fn video(&mut self, frame: &Frame) -> Result<Option<Frame>, Break> {
        if frame.keyframe {
            self.anchor(frame.pts)?;
        }
        let (anchor_ms, anchor_index) = self.anchor;
        let show = anchor_index + self.rate.index_of_ms(frame.pts - anchor_ms);
        if show < 0 {
            return Ok(None);
        }
        // Two frames whose times round to one index are still decoded one after the other.
        let decode = anchor_index + self.rate.index_of_ms(frame.dts - anchor_ms);
        let decode = self.last_decode_index.map_or(decode, |last| decode.max(last + 1));
        self.last_decode_index = Some(decode);
        let ticks = i64::from(self.rate.frame_ticks());
        Ok(Some(Frame { dts: decode * ticks, pts: show * ticks, ..frame.clone() }))
    }

    /// Counts from this key frame on, if it is where key frames are expected.
    fn anchor(&mut self, pts: i64) -> Result<(), Break> {
        let Some(gop) = self.gop else { return Ok(()) };
        let frames_since_zero = self.anchor.1 as f64 + (pts - self.anchor.0) as f64 * self.rate.hz() / 1000.0;
        let expected = (frames_since_zero / f64::from(gop)).round() * f64::from(gop);
        // How far the source's clock has gone from the grid's since zero shows against the first anchor only.
        let drift = (pts - self.zero_ms) as f64 * self.rate.hz() / 1000.0 - expected;
        let off = frames_since_zero - expected;
        if off.abs() > DRIFT_FRAMES {
            // A key frame out of turn, at a scene cut for example. It is a frame like others.
            return Ok(());
        }
        if drift.abs() > DRIFT_FRAMES {
            return Err(Break::Drift { hz: expected * 1000.0 / (pts - self.zero_ms) as f64 });
        }
        self.anchor = (pts, expected as i64);
        Ok(())
    }

    fn audio(&self, frame: &Frame) -> Option<Frame> {
        let samples = |ms: i64| (ms - self.zero_ms) * i64::from(transcode::AUDIO_RATE / 1000);
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
        let mut placer = Placer::new(rate(), Some(60), 7000);
        let ms = |index: i64| 7000 + (index as f64 * 1000.0 / hz).round() as i64;
        (0..count).map(|i| Ok(placer.place(&video(ms(i), i % 60 == 0))?.unwrap().pts / 1000)).collect()
    }

    #[test]
    fn rounded_milliseconds_give_exact_indices() {
        assert_eq!(place_all(30.0, 3000), Ok((0..3000).collect()));
    }

    #[test]
    fn a_clock_that_is_a_little_off_keeps_key_frames_on_the_grid() {
        for hz in [29.9985, 30.0015] {
            let indices = place_all(hz, 20_000).unwrap();
            assert!(indices.iter().step_by(60).enumerate().all(|(gop, &index)| index == 60 * gop as i64));
        }
    }

    #[test]
    fn sound_and_picture_never_part_by_more_than_a_frame_and_a_half() {
        for hz in [29.97, 30.03] {
            let Err(Break::Drift { hz: told }) = place_all(hz, 2000) else { panic!("{hz} was taken for 30") };
            assert!((told - hz).abs() < 0.001, "{told}");
        }
    }

    #[test]
    fn dropped_frames_leave_their_places_empty() {
        let mut placer = Placer::new(rate(), Some(60), 0);
        let kept = [0, 1, 2, 7, 58, 60, 61];
        let ms = |index: i64| (index * 1000 + 15) / 30;
        let placed: Vec<_> =
            kept.iter().map(|&i| placer.place(&video(ms(i), i % 60 == 0)).unwrap().unwrap().pts / 1000).collect();
        assert_eq!(placed, kept);
    }

    #[test]
    fn a_key_frame_out_of_turn_moves_nothing() {
        let mut placer = Placer::new(rate(), Some(60), 0);
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
            let mut placer = Placer::new(rate(), None, 0);
            placer.place(&video(0, true)).unwrap();
            assert_eq!(placer.place(&video(second, true)).err(), told);
        }
    }

    #[test]
    fn sound_may_come_back_after_a_long_time_if_the_picture_went_on() {
        let mut placer = Placer::new(rate(), None, 0);
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
        let mut placer = Placer::new(rate(), None, 1000);
        let audio = |ms| Frame { kind: TrackKind::Audio, ..video(ms, true) };
        assert_eq!(placer.place(&audio(990)), Ok(None));
        assert_eq!(placer.place(&audio(1011)).unwrap().unwrap().pts, 528);
    }
}
