//! Decides where decoded audio goes on the line of samples: as it comes, stretched a little, after silence, cut, or not at
//! all. Pure.
//!
//! All numbers are samples at 48 kHz.

/// Sources stamp in milliseconds, and some jitter by a frame or two: so much apart is still the same place.
pub(super) const DRIFT_MAX: i64 = 1920;
/// The share of a drift that one access unit tells: with some 64 of them jitter cancels out.
const LEAN_SHARE: f64 = 1.0 / 64.0;
/// 5 ms are mended: over two seconds that changes the pitch by a quarter of a per cent, and keeps up with clocks that differ
/// ten times more than quartz does.
const LEAN_MAX: f64 = 240.0;
pub(super) const STRETCH_OVER: i64 = 96_000;

#[derive(Debug)]
pub(super) struct Timeline {
    started: bool,
    /// How far audio may lag behind video before silence takes its place.
    patience: i64,
    /// Whether the line ends with silence for audio that was not there in time.
    filled: bool,
    /// How far audio lies beyond the end of the line, without its jitter.
    lean: f64,
    /// While what leant is being stretched: how much of it is to come.
    stretching: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Right at the end of the line.
    Follow,
    /// There as well; from here on, [`STRETCH_OVER`] samples become so many more, or fewer.
    Stretch { by: i64 },
    /// After so much silence.
    After { silence: i64 },
    /// At the end, without its first samples.
    Cut { skip: i64 },
    /// Nowhere.
    Drop,
}

impl Default for Timeline {
    fn default() -> Self {
        Self { started: false, patience: PATIENCE, filled: false, lean: 0.0, stretching: 0 }
    }
}

impl Timeline {
    /// The place of `length` samples that belong at `at`, where the line has reached `end`.
    pub(super) fn place(&mut self, at: i64, length: i64, end: i64) -> Place {
        let drift = at.saturating_sub(end);
        // The first samples decide how far audio and picture are apart, so they are placed exactly.
        let tolerated = if self.started { DRIFT_MAX } else { 0 };
        let filled = std::mem::take(&mut self.filled);
        if drift < -tolerated && filled {
            // It was not lost, it comes late: from now on wait for it.
            self.patience = self.patience.saturating_sub(drift).min(PATIENCE_MAX);
        }
        let place = match drift {
            _ if drift.unsigned_abs() <= tolerated.unsigned_abs() => self.follow(drift, length),
            _ if drift > SILENCE_MAX => Place::Drop,
            1.. => Place::After { silence: drift },
            _ if drift.saturating_add(length) <= 0 => Place::Drop,
            _ => Place::Cut { skip: -drift },
        };
        self.started |= place != Place::Drop;
        if !matches!(place, Place::Follow | Place::Stretch { .. }) {
            (self.lean, self.stretching) = (0.0, 0);
        }
        place
    }

    /// Clocks that differ by parts in a million move audio off its place so slowly that it can be brought back unheard.
    fn follow(&mut self, drift: i64, length: i64) -> Place {
        if self.stretching > 0 {
            self.stretching -= length;
            return Place::Follow;
        }
        self.lean += (drift as f64 - self.lean) * LEAN_SHARE;
        if self.lean.abs() < LEAN_MAX {
            return Place::Follow;
        }
        self.stretching = STRETCH_OVER;
        Place::Stretch { by: std::mem::take(&mut self.lean).round() as i64 }
    }

    /// How much silence to add now that the video has reached `video`.
    pub(super) fn missing(&mut self, video: i64, end: i64) -> i64 {
        let missing = video.saturating_sub(end).saturating_sub(self.patience);
        if missing <= 0 || missing > SILENCE_MAX {
            return 0;
        }
        self.filled = true;
        missing
    }
}

/// Encoders interleave media within a few hundred milliseconds.
const PATIENCE: i64 = 48_000;
const PATIENCE_MAX: i64 = 5 * 48_000;
/// More than the longest gap in the video that is filled; beyond that clocks have jumped.
const SILENCE_MAX: i64 = 10 * 48_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn started() -> Timeline {
        Timeline { started: true, ..Timeline::default() }
    }

    #[test]
    fn the_first_samples_are_placed_exactly() {
        assert_eq!(Timeline::default().place(0, 1024, 0), Place::Follow);
        assert_eq!(Timeline::default().place(7, 1024, 0), Place::After { silence: 7 });
        assert_eq!(Timeline::default().place(-7, 1024, 0), Place::Cut { skip: 7 });
        let mut timeline = Timeline::default();
        assert_eq!(timeline.place(-1024, 1024, 0), Place::Drop, "wholly before the first picture");
        assert_eq!(timeline.place(-3, 1024, 0), Place::Cut { skip: 3 }, "still the first");
        assert_eq!(timeline.place(1020, 1024, 1021), Place::Follow);
    }

    #[test]
    fn jitter_is_let_be_and_drift_is_mended() {
        for (at, place) in [
            (10_000, Place::Follow),
            (10_000 + DRIFT_MAX, Place::Follow),
            (10_000 - DRIFT_MAX, Place::Follow),
            (10_001 + DRIFT_MAX, Place::After { silence: DRIFT_MAX + 1 }),
            (9_999 - DRIFT_MAX, Place::Drop),
            (10_000 + SILENCE_MAX, Place::After { silence: SILENCE_MAX }),
            (10_001 + SILENCE_MAX, Place::Drop),
            (i64::MAX, Place::Drop),
            (i64::MIN, Place::Drop),
        ] {
            assert_eq!(started().place(at, 1024, 10_000), place, "{at}");
        }
        assert_eq!(started().place(9_999 - DRIFT_MAX, 2048, 10_000), Place::Cut { skip: DRIFT_MAX + 1 });
    }

    /// Two hours of a source whose sound is 200 millionths too slow or too fast for its picture.
    #[test]
    fn slow_drift_is_stretched_and_never_cut_or_filled() {
        const BOUND: i64 = 480;
        for ppm in [-200.0, -20.0, 200.0] {
            let (mut timeline, mut end, mut rest) = (Timeline::default(), 0.0, 0.0);
            for unit in 0..2 * 3600 * 48_000 / 1024 {
                // In whole milliseconds, as RTMP has it.
                let at = (f64::from(unit) * 1024.0 * (1.0 + ppm / 1e6) / 48.0).round() as i64 * 48;
                match timeline.place(at, 1024, end as i64) {
                    Place::Follow => {}
                    Place::Stretch { by } => rest = by as f64,
                    other => panic!("{other:?} at unit {unit} with {ppm}"),
                }
                let share = rest * 1024.0 / STRETCH_OVER as f64;
                end += 1024.0 + if timeline.stretching > 0 { share } else { 0.0 };
                let apart = at + 1024 - end as i64;
                assert!(apart.abs() <= BOUND, "{apart} samples at unit {unit} with {ppm}");
            }
        }
    }

    #[test]
    fn silence_follows_the_video_at_a_distance() {
        let mut timeline = started();
        assert_eq!(timeline.missing(PATIENCE, 0), 0);
        assert_eq!(timeline.missing(PATIENCE + 1600, 0), 1600);
        assert_eq!(timeline.missing(PATIENCE + 1600, 1600), 0);
        assert_eq!(timeline.missing(i64::MAX, 0), 0, "a jump is no lag");
    }

    #[test]
    fn audio_that_comes_late_is_waited_for_after_the_first_time() {
        let mut timeline = started();
        let video = 2 * PATIENCE;
        let end = timeline.missing(video, 0);
        assert_eq!(timeline.place(0, 1024, end), Place::Drop);
        assert_eq!(timeline.missing(video, end), 0);
        assert_eq!(timeline.missing(video + end, end), 0, "as late as that is now known");
        assert_eq!(timeline.place(end, 1024, end), Place::Follow);
    }
}
