//! How late pictures leave the rungs and how much of the time those work, for who decides what to leave out.

use crate::keeping::Seen;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// One gauge for each thread that encodes, and one for the decoder. Clones show the same.
#[derive(Clone)]
pub(super) struct Pace {
    gauges: Arc<[Gauge]>,
    cores: f64,
    /// How late a picture may be.
    pub(super) bearable: Duration,
}

/// Of one thread.
#[derive(Default)]
struct Gauge {
    lag_us: AtomicU64,
    busy_us: AtomicU64,
}

impl Pace {
    pub(super) fn new(rungs: usize, bearable: Duration) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { gauges: (0..=rungs).map(|_| Gauge::default()).collect(), cores: cores as f64, bearable }
    }

    pub(super) fn rungs(&self) -> usize {
        self.gauges.len() - 1
    }

    /// The decoder's place.
    pub(super) fn decoder(&self) -> usize {
        self.rungs()
    }

    /// A picture has left so late after its source came. An away rung has no delay.
    pub(super) fn left(&self, place: usize, lag: Duration) {
        self.gauges[place].lag_us.store(lag.as_micros() as u64, Ordering::Relaxed);
    }

    pub(super) fn worked(&self, place: usize, time: Duration) {
        self.gauges[place].busy_us.fetch_add(time.as_micros() as u64, Ordering::Relaxed);
    }

    /// What there was to see since the last look, `took` ago. A picture that is about to be worked on has waited so long.
    pub(super) fn look(&self, waited: Duration, took: Duration) -> Seen {
        let lags = self.gauges.iter().map(|gauge| gauge.lag_us.load(Ordering::Relaxed));
        let lag = Duration::from_micros(lags.max().unwrap_or(0)).max(waited);
        let busy: Vec<f64> =
            self.gauges.iter().map(|gauge| gauge.busy_us.swap(0, Ordering::Relaxed) as f64 / 1e6).collect();
        // One thread that has no time left holds up all, and so does a machine that has none.
        let most = busy.iter().copied().fold(busy.iter().sum::<f64>() / self.cores, f64::max);
        Seen { lag, busy: most / took.as_secs_f64().max(1e-3) }
    }
}

/// Tells the worst delay of a rung, a few times a second.
pub(super) struct Report {
    worst: Duration,
    said: Instant,
}

const EVERY: Duration = Duration::from_millis(500);

impl Report {
    pub(super) fn new() -> Self {
        Self { worst: Duration::ZERO, said: Instant::now() }
    }

    /// Takes note; what there is to be said now.
    pub(super) fn left(&mut self, lag: Duration, now: Instant) -> Option<Duration> {
        self.worst = self.worst.max(lag);
        if now.saturating_duration_since(self.said) < EVERY {
            return None;
        }
        self.said = now;
        Some(std::mem::take(&mut self.worst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_all_threads_counts_and_work_is_counted_once() {
        let pace = Pace { cores: 2.0, ..Pace::new(2, Duration::MAX) };
        let (ms, second) = (Duration::from_millis, Duration::from_secs(1));
        pace.left(0, ms(40));
        pace.left(0, ms(30));
        pace.left(1, ms(20));
        (0..=pace.decoder()).for_each(|place| pace.worked(place, ms(600)));
        let seen = pace.look(ms(10), second);
        assert_eq!(seen.lag, ms(30), "the newest of each");
        assert!((seen.busy - 0.9).abs() < 1e-9, "three threads of 0.6 on two cores: {seen:?}");
        assert_eq!(pace.look(ms(50), second), Seen { lag: ms(50), busy: 0.0 });
    }

    #[test]
    fn the_worst_delay_is_told_now_and_then() {
        let mut report = Report::new();
        let (begun, ms) = (report.said, Duration::from_millis);
        assert_eq!(report.left(ms(30), begun + ms(100)), None);
        assert_eq!(report.left(ms(20), begun + ms(500)), Some(ms(30)));
        assert_eq!(report.left(ms(10), begun + ms(600)), None);
    }
}
