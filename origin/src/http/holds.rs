//! Requests that wait: how many, how long, and how each wait ended.

use super::refusal::Refusal;
use crate::metrics::Metrics;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// Admits requests to wait, up to a bound.
pub(super) struct Holds {
    max: usize,
    places: Semaphore,
    metrics: Metrics,
    stop: CancellationToken,
}

/// One waiting request. However it ends, also by its client going away, it is counted.
struct Hold<'a> {
    metrics: &'a Metrics,
    began: Instant,
    outcome: &'static str,
}

impl Holds {
    pub(super) fn new(max: usize, metrics: Metrics, stop: CancellationToken) -> Self {
        Self { max, places: Semaphore::new(max.min(Semaphore::MAX_PERMITS)), metrics, stop }
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// Waits for `moved`, which tells whether what was waited for is still there, no longer than `patience`, and not once
    /// the stream is `abandoned`.
    pub(super) async fn wait(
        &self,
        patience: Duration,
        abandoned: impl Future<Output = ()>,
        moved: impl Future<Output = bool>,
    ) -> Result<(), Refusal> {
        let Ok(_place) = self.places.try_acquire() else {
            self.metrics.holds_ended.with_label_values(&["refused"]).inc();
            return Err(Refusal::TooManyHolds);
        };
        self.metrics.holds.inc();
        let mut hold = Hold { metrics: &self.metrics, began: Instant::now(), outcome: "abandoned" };
        let (outcome, result) = tokio::select! {
            biased;
            moved = timeout(patience, moved) => match moved {
                Ok(true) => ("answered", Ok(())),
                Ok(false) => ("gone", Err(Refusal::NoSuchObject)),
                Err(_) => ("timeout", Err(Refusal::Late)),
            },
            () = abandoned => ("no_publisher", Err(Refusal::NoPublisher)),
            () = self.stop.cancelled() => ("stopping", Err(Refusal::Stopping)),
        };
        hold.outcome = outcome;
        result
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.metrics.holds.dec();
        self.metrics.holds_ended.with_label_values(&[self.outcome]).inc();
        self.metrics.hold_seconds.observe(self.began.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::Registry;
    use std::future::{pending, ready};

    fn holds(max: usize) -> (Holds, CancellationToken) {
        let stop = CancellationToken::new();
        (Holds::new(max, Metrics::register(&Registry::new()).unwrap(), stop.clone()), stop)
    }

    fn ended(holds: &Holds, outcome: &str) -> u64 {
        holds.metrics.holds_ended.with_label_values(&[outcome]).get()
    }

    #[tokio::test(start_paused = true)]
    async fn every_wait_ends_in_one_counted_way() {
        let (holds, stop) = holds(1);
        assert!(holds.wait(Duration::from_secs(6), pending(), ready(true)).await.is_ok());
        assert!(matches!(
            holds.wait(Duration::from_secs(6), pending(), ready(false)).await,
            Err(Refusal::NoSuchObject)
        ));

        let began = Instant::now();
        assert!(matches!(holds.wait(Duration::from_secs(6), pending(), pending()).await, Err(Refusal::Late)));
        assert_eq!(began.elapsed(), Duration::from_secs(6));

        let abandoned = holds.wait(Duration::from_secs(6), ready(()), pending());
        assert!(matches!(abandoned.await, Err(Refusal::NoPublisher)));
        let came = holds.wait(Duration::from_secs(6), ready(()), ready(true));
        assert!(came.await.is_ok(), "what is there is given, whoever publishes");

        let waiting = holds.wait(Duration::from_secs(6), pending(), pending());
        tokio::pin!(waiting);
        assert!(timeout(Duration::from_secs(1), &mut waiting).await.is_err());
        assert_eq!(holds.metrics.holds.get(), 1);
        assert!(matches!(holds.wait(Duration::from_secs(6), pending(), ready(true)).await, Err(Refusal::TooManyHolds)));
        stop.cancel();
        assert!(matches!(waiting.await, Err(Refusal::Stopping)));

        assert_eq!(holds.metrics.holds.get(), 0);
        assert_eq!(ended(&holds, "answered"), 2);
        for outcome in ["gone", "timeout", "no_publisher", "refused", "stopping"] {
            assert_eq!(ended(&holds, outcome), 1, "{outcome}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_goes_away_frees_its_place() {
        let (holds, _stop) = holds(1);
        assert!(
            timeout(Duration::from_secs(1), holds.wait(Duration::from_secs(6), pending(), pending())).await.is_err()
        );
        assert_eq!((holds.metrics.holds.get(), ended(&holds, "abandoned")), (0, 1));
        assert!(holds.wait(Duration::from_secs(6), pending(), ready(true)).await.is_ok());
    }
}
