//! Where a stream is asked for that went elsewhere, and when its first choice is asked again. Pure: `now` is passed in.

use super::PeerId;
use std::time::{Duration, Instant};

/// Whose answers a stream is shown from.
#[derive(Clone, Copy, Debug)]
pub struct Away {
    shown: PeerId,
    /// When the first choice is asked again, where another one is shown.
    home_at: Instant,
    length: Duration,
}

/// A stream that went elsewhere stays there for this long. Its first choice may be just as late again, which would cost
/// viewers a late part each time.
const LENGTH_MIN: Duration = Duration::from_secs(30);
const LENGTH_MAX: Duration = Duration::from_secs(600);

impl Away {
    pub fn new(shown: PeerId, now: Instant) -> Self {
        Self { shown, home_at: now + LENGTH_MIN, length: LENGTH_MIN }
    }

    pub fn shown(&self) -> PeerId {
        self.shown
    }

    /// Whom to ask next, where `home` is the first choice: whoever is shown, and now and then whether home is as good.
    pub fn next(&mut self, home: PeerId, now: Instant) -> PeerId {
        if home == self.shown || now < self.home_at {
            return self.shown;
        }
        self.length = (self.length * 2).min(LENGTH_MAX);
        self.home_at = now + self.length;
        home
    }

    /// What `source` gave is shown from now on.
    pub fn show(&mut self, source: PeerId, now: Instant) {
        if source != self.shown {
            *self = Self::new(source, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_is_asked_again_ever_less_often_until_it_is_shown() {
        let (home, other) = (PeerId::of(0), PeerId::of(1));
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut away = Away::new(home, start);
        assert_eq!(away.next(home, at(99)), home);
        away.show(other, start);
        for (s, asked) in [(29, other), (30, home), (31, other), (89, other), (90, home), (209, other), (210, home)] {
            assert_eq!(away.next(home, at(s)), asked, "after {s} s");
        }
        away.show(home, at(300));
        away.show(other, at(300));
        assert_eq!((away.next(home, at(329)), away.next(home, at(330))), (other, home));
    }
}
