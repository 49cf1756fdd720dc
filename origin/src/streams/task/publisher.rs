//! Publishers of a stream: they come, they go, and one takes over from another.

use super::Task;
use super::slate::Slated;
use crate::ingest::Announced;
use crate::streams::Incoming;
use crate::streams::phase::{ABSENCE_MAX, Phase, Reason, Said};
use config::WhileAway;
use tokio::time::Instant;
use transcode::Plan;

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
        let segment = self.plan.as_ref().filter(|_| ingest.while_away != WhileAway::Wait).map(Plan::segment);
        match segment {
            // Who waits is answered with a gap, or the slate.
            Some(segment) => Phase::Lingering { until, holds_until: None, gap_at: Some(now + segment) },
            None => Phase::Lingering { until, holds_until: Some(holds_until), gap_at: None },
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
