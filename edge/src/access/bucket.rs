//! The generic cell rate algorithm (ITU-T I.371): a token bucket whose whole state is one point in time.

use std::time::Duration;

/// How often something may happen.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two of them, on average.
    price: Duration,
    /// How far they may run ahead of that.
    depth: Duration,
}

/// When all of it so far would be paid for, had it come at the permitted pace. Times are since any fixed start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    paid: Duration,
}

impl Pace {
    /// Neither is 0.
    pub fn new(per_s: u32, burst: u32) -> Self {
        let price = Duration::from_secs(1) / per_s.max(1);
        Self { price, depth: price * burst.saturating_sub(1) }
    }
}

impl Bucket {
    /// Whether one more is within the pace; if not, it costs nothing.
    pub fn take(&mut self, pace: Pace, now: Duration) -> bool {
        let paid = self.paid.max(now);
        let within = paid - now <= pace.depth;
        if within {
            self.paid = paid + pace.price;
        }
        within
    }

    /// Whether it is as good as new.
    pub fn is_full(&self, now: Duration) -> bool {
        self.paid <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_pace() {
        let pace = Pace::new(10, 5);
        let mut bucket = Bucket::default();
        let mut taken = |at_ms| {
            let now = Duration::from_millis(at_ms);
            (0..100).filter(|_| bucket.take(pace, now)).count()
        };
        assert_eq!((taken(0), taken(99), taken(100), taken(400), taken(100_000)), (5, 0, 1, 3, 5));
        assert!(!bucket.is_full(Duration::from_millis(100_499)));
        assert!(bucket.is_full(Duration::from_millis(100_500)));
    }
}
