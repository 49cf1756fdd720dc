//! Publishers of a stream: they come, they go, and one takes over from another.

use super::Task;
use super::slate::Slated;
use crate::ingest::Announced;
use crate::streams::Incoming;
use crate::streams::phase::{ABSENCE_MAX, Phase, Reason, Said};
use config::WhileAway;
use tokio::time::Instant;

impl Task {
    pub(super) fn welcome(&mut self, (items, ending): Incoming) {
        (self.items, self.ending, self.slated) = (Some(items), ending, Slated::No);
        self.announced = Announced::default();
        self.stream.set_abandoned(false);
        self.pictured = Some(Instant::now());
        if self.stream.next_msn().is_some() {
            self.reason = Reason::PublisherBack;
        }
        self.learning();
        self.phase = match self.known.take() {
            Some(known) => Phase::Waiting { known: Box::new(known), said: Said::default(), not_before: Instant::now() },
            None => self.analysing([]),
        };
    }

    pub(super) async fn publisher_gone(&mut self) {
        tracing::info!(stream = %self.stream.name, "publisher gone");
        self.dismiss().await;
        self.stream.pairing.lock().absent();
        self.phase = self.lingering(Instant::now());
        self.directory.release(&self.stream);
    }

    /// Nobody publishes from now on.
    pub(super) fn lingering(&self, now: Instant) -> Phase {
        let ingest = &self.context().config.ingest;
        let until = now + ingest.linger;
        let holds_until = now + self.stream.part_target().unwrap_or_default() + ABSENCE_MAX;
        // At once: with a jump of dates before the slate Shaka fails, and hls.js stands for ever where a gap is there instead.
        let slate_at = self.plan.as_ref().filter(|_| ingest.while_away == WhileAway::Slate).map(|_| now);
        // Who waits is answered with the slate, or with the gaps and what is behind them; or in time, where there is nowhere else
        // to go: players do not heed Retry-After, and Shaka asks for each playlist ten times a second.
        let has_twin = self.context().twin.is_some();
        let holds_until = Some(holds_until).filter(|_| ingest.while_away == WhileAway::Wait && has_twin);
        Phase::Lingering { until, holds_until, slate_at }
    }

    /// Lists what did not come while the publisher was away, up to the beginning of what comes now. Not before.
    pub(super) fn list_absence(&self, until_unix_ms: i64) {
        let wanted = self.context().config.ingest.while_away != WhileAway::Wait;
        let was_away = self.reason == Reason::PublisherBack;
        if let Some(plan) = self.plan.as_ref().filter(|_| wanted && was_away) {
            self.stream.list_absence((plan.segment(), until_unix_ms), std::time::Instant::now());
        }
    }

    /// Ends what the publisher began, and remembers what it sent.
    pub(super) async fn dismiss(&mut self) {
        self.items = None;
        self.end_epoch().await;
        if let Phase::Waiting { known, .. } = &self.phase {
            // A source that has left its grid is learnt anew: its encoder may have been set right.
            self.known = Some((**known).clone()).filter(|known| known.source.gop.is_some());
        }
    }
}
