//! How long held viewers waited for what had come: a small histogram of the recent past, written without a lock.
//!
//! Two halves take turns, so that what is told is between one and two spans old, and memory is fixed. Pure.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// The recent releases of one rendition.
#[derive(Debug)]
pub struct Releases {
    halves: [Half; 2],
    current: AtomicUsize,
    /// When the halves changed places last, in milliseconds.
    turned_ms: AtomicU64,
}

#[derive(Debug)]
struct Half {
    counts: [AtomicU32; BUCKETS],
    max_us: AtomicU64,
}

/// What the recent past was like.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    pub releases: u64,
    /// At most a quarter above the true value.
    pub p50: Duration,
    pub p99: Duration,
    pub max: Duration,
}

/// One half is written for so long.
pub const SPAN: Duration = Duration::from_secs(30);
/// Four to each power of two, from microseconds up to 33 s.
const BUCKETS: usize = 96;

impl Default for Releases {
    fn default() -> Self {
        Self { halves: Default::default(), current: AtomicUsize::new(0), turned_ms: AtomicU64::new(0) }
    }
}

impl Default for Half {
    fn default() -> Self {
        Self { counts: [const { AtomicU32::new(0) }; BUCKETS], max_us: AtomicU64::new(0) }
    }
}

impl Releases {
    /// A viewer has its answer.
    pub fn observe(&self, taken: Duration) {
        let us = u64::try_from(taken.as_micros()).unwrap_or(u64::MAX);
        let half = &self.halves[self.current.load(Ordering::Relaxed) % 2];
        half.counts[bucket(us)].fetch_add(1, Ordering::Relaxed);
        half.max_us.fetch_max(us, Ordering::Relaxed);
    }

    /// Forgets what is old. To be called by one task only; `now` counts from any fixed point.
    pub fn turn(&self, now: Duration) {
        let now_ms = now.as_millis() as u64;
        if now_ms.saturating_sub(self.turned_ms.load(Ordering::Relaxed)) < SPAN.as_millis() as u64 {
            return;
        }
        self.turned_ms.store(now_ms, Ordering::Relaxed);
        let next = (self.current.load(Ordering::Relaxed) + 1) % 2;
        self.halves[next].counts.iter().for_each(|count| count.store(0, Ordering::Relaxed));
        self.halves[next].max_us.store(0, Ordering::Relaxed);
        self.current.store(next, Ordering::Relaxed);
    }

    pub fn summary(&self) -> Summary {
        let count = |at: usize| self.halves.iter().map(|half| u64::from(half.counts[at].load(Ordering::Relaxed))).sum();
        let counts: [u64; BUCKETS] = std::array::from_fn(count);
        let max_us = self.halves.iter().map(|half| half.max_us.load(Ordering::Relaxed)).max().unwrap_or(0);
        let releases: u64 = counts.iter().sum();
        let quantile = |percent: u64| {
            let rank = (releases * percent).div_ceil(100);
            let mut seen = 0;
            let at = counts.iter().position(|count| {
                seen += count;
                seen >= rank
            });
            Duration::from_micros(at.map_or(max_us, upper).min(max_us))
        };
        Summary { releases, p50: quantile(50), p99: quantile(99), max: Duration::from_micros(max_us) }
    }
}

fn bucket(us: u64) -> usize {
    if us < 4 {
        return us as usize;
    }
    let power = us.ilog2() as usize;
    let quarter = (us >> (power - 2)) as usize & 3;
    (4 * (power - 1) + quarter).min(BUCKETS - 1)
}

/// The end of a bucket, in microseconds.
fn upper(bucket: usize) -> u64 {
    match bucket {
        0..4 => bucket as u64 + 1,
        _ => (5 + bucket as u64 % 4) << (bucket / 4 - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_ends_where_the_next_one_begins() {
        for us in (0..5000).chain([1 << 20, (1 << 24) - 1]) {
            let at = bucket(us);
            assert!(upper(at) > us && upper(at) <= (us + 1).max(us + us / 4 + 1), "{us}: {at} ends at {}", upper(at));
            assert!(at == 0 || upper(at - 1) <= us, "{us} is beyond the bucket before");
        }
        assert_eq!((bucket(u64::MAX), bucket((1 << 25) - 1)), (BUCKETS - 1, BUCKETS - 1));
    }

    #[test]
    fn quantiles_are_told_within_a_quarter() {
        let releases = Releases::default();
        assert_eq!(releases.summary(), Summary::default());
        (1..=1000).for_each(|ms| releases.observe(Duration::from_millis(ms)));
        let told = releases.summary();
        let within = |told: Duration, ms: u64| told.as_millis() as u64 >= ms && told.as_millis() as u64 <= ms * 5 / 4;
        assert!(within(told.p50, 500) && within(told.p99, 990), "{told:?}");
        assert_eq!((told.releases, told.max), (1000, Duration::from_secs(1)));
        assert!(told.p99 <= told.max);
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let releases = Releases::default();
        releases.observe(Duration::from_secs(1));
        releases.turn(SPAN - Duration::from_millis(1));
        assert_eq!(releases.summary().releases, 1);
        releases.turn(SPAN);
        releases.observe(Duration::from_millis(1));
        assert_eq!(releases.summary().releases, 2, "the half before is told too");
        releases.turn(2 * SPAN);
        let told = releases.summary();
        assert_eq!((told.releases, told.max), (1, Duration::from_millis(1)));
        releases.turn(3 * SPAN);
        assert_eq!(releases.summary(), Summary::default());
    }
}
