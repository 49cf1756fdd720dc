//! When an answer is late, and how often a second upstream may be asked for it. Pure: `now` is passed in.

use std::time::{Duration, Instant};

/// The rhythm of one rendition's news, as it arrives here.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    last: Instant,
    /// Smoothed interval and its mean deviation, as RFC 6298, 2, keeps them of round trips.
    learnt: Option<(Duration, Duration)>,
    /// Intervals taken in, as far as that matters.
    taken: u32,
}

/// Tokens: each request adds a share of one, each second request takes one.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    percent: u32,
    /// Hundredths of a token.
    left: u32,
}

/// So many intervals tell a rhythm.
const TAKEN_MIN: u32 = 8;
/// Until then: an origin may publish several parts at a time.
const UNLEARNT: Duration = Duration::from_secs(3);
/// So many renditions may be late at once, as all of one origin are, and all go elsewhere at once.
const TOKENS_MAX: u32 = 100;

impl Rhythm {
    pub fn new(now: Instant) -> Self {
        Self { last: now, learnt: None, taken: 0 }
    }

    /// Something new came at `now`. `regular`: by the ordinary way, so that it tells how long that takes.
    pub fn came(&mut self, now: Instant, regular: bool) {
        let interval = now.saturating_duration_since(self.last);
        self.last = now;
        if !regular {
            return;
        }
        self.taken = self.taken.saturating_add(1);
        self.learnt = Some(match self.learnt {
            None => (interval, interval / 2),
            Some((smoothed, deviation)) => {
                let off = smoothed.abs_diff(interval);
                (smoothed * 7 / 8 + interval / 8, deviation * 3 / 4 + off / 4)
            }
        });
    }

    /// The answer to what was asked for at `asked` came: where upstream holds nothing back, that is the rhythm.
    pub fn answered(&mut self, asked: Instant, now: Instant, regular: bool) {
        self.last = asked;
        self.came(now, regular);
    }

    /// How long an answer may take, from when it was due, before it is later than the rhythm explains.
    pub fn patience(&self, step: Duration) -> Duration {
        let (due, margin) = self.expected(step);
        due + margin
    }

    /// From when on the next news, asked for at `asked`, is later than the rhythm explains. `step` is the promised
    /// distance of news: the part target, or the target duration.
    ///
    /// It is never less than a whole step after the news was due, so that a healthy upstream is never asked twice.
    pub fn late(&self, step: Duration, asked: Instant) -> Instant {
        let (due, margin) = self.expected(step);
        // News that is overdue already has had its time; the request has not.
        (self.last + due + margin).max(asked + margin)
    }

    /// Whether there should have been news, had it been asked for.
    pub fn is_overdue(&self, step: Duration, now: Instant) -> bool {
        now >= self.last + self.patience(step)
    }

    /// How long after the last news the next is due, and how much longer it may take.
    fn expected(&self, step: Duration) -> (Duration, Duration) {
        match self.learnt.filter(|_| self.taken >= TAKEN_MIN) {
            Some((smoothed, deviation)) => (smoothed.max(step), (deviation * 4).max(step)),
            None => (step, step.max(UNLEARNT)),
        }
    }
}

impl Budget {
    /// Full at first.
    pub fn new(percent: u32) -> Self {
        Self { percent, left: if percent == 0 { 0 } else { TOKENS_MAX * 100 } }
    }

    /// A request was made.
    pub fn earn(&mut self) {
        self.left = (self.left + self.percent).min(TOKENS_MAX * 100);
    }

    /// Whether one more may be asked elsewhere; then it is paid for.
    pub fn spend(&mut self) -> bool {
        let left = self.left.checked_sub(100);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(250);

    /// A rhythm after intervals in milliseconds, and the time of the last.
    fn after(intervals: impl IntoIterator<Item = u64>) -> (Rhythm, Instant) {
        let mut now = Instant::now();
        let mut rhythm = Rhythm::new(now);
        for interval in intervals {
            now += Duration::from_millis(interval);
            rhythm.came(now, true);
        }
        (rhythm, now)
    }

    fn patience(rhythm: Rhythm, now: Instant) -> u128 {
        (rhythm.late(STEP, now) - now).as_millis()
    }

    #[test]
    fn a_steady_stream_is_late_after_two_steps() {
        let (rhythm, now) = after([250; 50]);
        assert_eq!(patience(rhythm, now), 500);
    }

    #[test]
    fn an_unsteady_stream_gets_the_time_it_usually_takes() {
        // Four parts come at once, every second: between bursts there is nothing to be alarmed about.
        let bursts = || (0..200).map(|number| if number % 4 == 0 { 940 } else { 20 });
        let (rhythm, now) = after(bursts());
        assert!(patience(rhythm, now) > 940, "{}", patience(rhythm, now));
        let (mut rhythm, mut now) = after(bursts());
        for interval in bursts() {
            assert!(rhythm.late(STEP, now) > now + Duration::from_millis(interval), "a healthy stream is never late");
            now += Duration::from_millis(interval);
            rhythm.came(now, true);
        }
    }

    #[test]
    fn before_anything_is_learnt_it_waits_long() {
        let (rhythm, now) = after([250; 3]);
        assert_eq!(patience(rhythm, now), 3250);
    }

    #[test]
    fn news_from_elsewhere_is_no_lesson() {
        let (mut rhythm, now) = after([250; 50]);
        let later = now + Duration::from_secs(5);
        rhythm.came(later, false);
        assert_eq!(patience(rhythm, later), 500);
    }

    #[test]
    fn answers_tell_how_long_they_take_and_not_how_often_they_are_asked_for() {
        let mut now = Instant::now();
        let mut rhythm = Rhythm::new(now);
        for pause_s in [1, 60, 1, 3, 1, 1, 20, 1, 1] {
            assert_eq!(rhythm.patience(STEP).as_millis(), if rhythm.taken < TAKEN_MIN { 3250 } else { 500 });
            now += Duration::from_secs(pause_s);
            rhythm.answered(now, now + Duration::from_millis(40), true);
        }
        for _ in 0..50 {
            rhythm.answered(now, now + Duration::from_millis(900), true);
        }
        assert!(rhythm.patience(STEP) > Duration::from_millis(1100), "{:?}", rhythm.patience(STEP));
    }

    #[test]
    fn a_request_made_late_has_time_of_its_own() {
        let (rhythm, now) = after([250; 50]);
        let asked = now + Duration::from_secs(9);
        assert_eq!(rhythm.late(STEP, asked) - asked, STEP);
    }

    #[test]
    fn second_requests_are_a_share_of_all() {
        let mut budget = Budget::new(10);
        let burst = std::iter::repeat_with(|| budget.spend()).take_while(|paid| *paid).take(1000).count();
        assert_eq!(burst, TOKENS_MAX as usize);
        let mut paid = 0;
        for _ in 0..1000 {
            budget.earn();
            paid += usize::from(budget.spend());
        }
        assert_eq!(paid, 100);
        let mut none = Budget::new(0);
        none.earn();
        assert!(!none.spend());
    }
}
