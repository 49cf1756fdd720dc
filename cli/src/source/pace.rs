//! Which frame to make next, and when. Pure: times are those since the first frame.

use std::time::Duration;

/// Frames are due by the clock. One that is a little late is still made; of those that are very late some are left out,
/// but never the first of a GOP, so that key frames stay where the receiver expects them.
#[derive(Debug)]
pub(crate) struct Pace {
    fps: u32,
    gop: u64,
    next: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) index: u64,
    /// How long until then; zero if it is late.
    pub(crate) wait: Duration,
    /// Frames left out before it.
    pub(crate) dropped: u64,
}

impl Pace {
    pub(crate) fn new(fps: u32, gop: u64) -> Self {
        Self { fps, gop, next: 0 }
    }

    pub(crate) fn next(&mut self, elapsed: Duration) -> Due {
        let mut index = self.next;
        if elapsed.saturating_sub(self.due(index)) > LATE_MAX {
            let now = (elapsed.as_nanos() * u128::from(self.fps) / 1_000_000_000) as u64;
            let gop_start = index.next_multiple_of(self.gop);
            index = now.min(gop_start);
        }
        let dropped = index - self.next;
        self.next = index + 1;
        Due { index, wait: self.due(index).saturating_sub(elapsed), dropped }
    }

    fn due(&self, index: u64) -> Duration {
        Duration::from_nanos(index * 1_000_000_000 / u64::from(self.fps))
    }
}

/// What a busy machine costs now and then. A receiver that cuts segments of so many frames minds a late frame less than a
/// missing one; making up for fifteen takes a moment.
const LATE_MAX: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn frames_come_by_the_clock() {
        let mut pace = Pace::new(25, 50);
        assert_eq!(pace.next(ms(0)), Due { index: 0, wait: ms(0), dropped: 0 });
        assert_eq!(pace.next(ms(1)), Due { index: 1, wait: ms(39), dropped: 0 });
        assert_eq!(pace.next(ms(90)), Due { index: 2, wait: ms(0), dropped: 0 });
        assert_eq!(pace.next(ms(620)), Due { index: 3, wait: ms(0), dropped: 0 }, "late, but not by much");
        assert_eq!(pace.next(ms(700)), Due { index: 17, wait: ms(0), dropped: 13 });
        assert_eq!(pace.next(ms(701)), Due { index: 18, wait: ms(19), dropped: 0 });
    }

    #[test]
    fn the_first_frame_of_a_gop_is_never_left_out() {
        let mut pace = Pace::new(25, 50);
        pace.next(ms(0));
        let far = ms(60_000);
        let made: Vec<_> = std::iter::repeat_with(|| pace.next(far).index).take_while(|&index| index < 1500).collect();
        for start in (50..1500).step_by(50) {
            assert!(made.contains(&start), "{start} is missing from {made:?}");
        }
        assert!(made.len() < 100, "it catches up without making every frame");
    }
}
