//! Whether a viewer takes what waits for it fast enough to be worth the memory that it holds.

use std::time::{Duration, Instant};

/// The least that a viewer must take while bytes wait for it.
#[derive(Clone, Copy, Debug)]
pub struct SendRate {
    /// 0: any byte in a window will do.
    pub min_bytes_per_s: u32,
    pub window: Duration,
}

/// A viewer for whom bytes wait, looked at twice in a window.
///
/// What counts is what its machine acknowledges, not what the kernel takes here: the kernel takes megabytes at once, and
/// then none for minutes from a viewer that is slow but watches.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    rate: SendRate,
    next_look: Instant,
    /// Bytes acknowledged at the last look.
    seen: Option<u64>,
}

impl SendRate {
    pub fn new(limits: &config::Limits) -> Self {
        Self { min_bytes_per_s: limits.min_send_bytes_per_s, window: limits.send_window }
    }

    /// Begins when bytes begin to wait.
    pub fn watch(self, now: Instant) -> Watch {
        Watch { rate: self, next_look: now + self.window / 2, seen: None }
    }
}

impl Watch {
    pub fn next_look(&self) -> Instant {
        self.next_look
    }

    /// Takes a look: `acknowledged` is a count of bytes that never goes back. The first look only remembers it.
    pub fn keeps_up(&mut self, acknowledged: u64, now: Instant) -> bool {
        let pause = self.rate.window / 2;
        let least = (f64::from(self.rate.min_bytes_per_s) * pause.as_secs_f64()) as u64;
        let before = self.seen.replace(acknowledged);
        self.next_look = now + pause;
        before.is_none_or(|before| acknowledged.saturating_sub(before) >= least.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(20);

    /// After how many seconds a viewer is cut that takes so many bytes in each.
    fn lasts(min_bytes_per_s: u32, taken: impl Fn(u64) -> u64) -> Option<u64> {
        let start = Instant::now();
        let mut watch = SendRate { min_bytes_per_s, window: WINDOW }.watch(start);
        let mut all = 5_000_000;
        (1..1000).find(|&second| {
            all += taken(second);
            let now = start + Duration::from_secs(second);
            now >= watch.next_look() && !watch.keeps_up(all, now)
        })
    }

    #[test]
    fn a_viewer_that_keeps_the_pace_stays_and_a_slower_one_goes() {
        assert_eq!(lasts(1000, |_| 0), Some(20), "none at all");
        assert_eq!(lasts(1000, |_| 999), Some(20));
        assert_eq!(lasts(1000, |_| 1000), None);
        assert_eq!(lasts(1000, |second| u64::from(second % 8 == 0) * 10_000), None, "in gulps");
        assert_eq!(lasts(1000, |second| if second <= 60 { 1000 } else { 1 }), Some(70), "slower later");
    }

    #[test]
    fn without_a_rate_any_byte_will_do() {
        assert_eq!(lasts(0, |second| u64::from(second % 10 == 0)), None);
        assert_eq!(lasts(0, |_| 0), Some(20));
    }
}
