//! A slate in the place of a publisher that is away: its frames come as that one's would, in real time.

use super::Task;
use crate::ingest::{Ingested, Publisher};
use crate::slate::Slate;
use crate::streams::PUBLISHER_QUEUE;
use crate::streams::phase::{Phase, Reason, Said};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use transcode::{Make, Plan};

/// Where a stream stands with its slate.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Slated {
    #[default]
    No,
    /// It is shown; at the latest then the stream ends.
    Until(Instant),
    /// It broke off, and is not tried again before a publisher was there.
    Failed,
}

impl Task {
    /// Shows the slate, if there is one that can be.
    pub(super) fn begin_slate(&mut self, until: Instant) {
        let Some(slate) = self.context().slate.clone().filter(|_| self.slated != Slated::Failed) else { return };
        let has_sound = self.plan.as_ref().is_none_or(has_sound);
        let mut known = slate.known.clone();
        known.source.audio = known.source.audio.filter(|_| has_sound);
        let (publisher, items) = Publisher::channel(PUBLISHER_QUEUE);
        tokio::spawn(play(slate, has_sound, publisher));
        tracing::info!(stream = %self.stream.name, "the slate is shown");
        (self.items, self.slated, self.reason) = (Some(items), Slated::Until(until), Reason::Slate);
        let said = Said { video: true, audio: true };
        self.phase = Phase::Waiting { known: Box::new(known), said, not_before: Instant::now() };
    }

    /// When the slate has been shown for long enough.
    pub(super) fn slate_ends_at(&self) -> Option<Instant> {
        if let Slated::Until(until) = self.slated { Some(until) } else { None }
    }

    /// Ends the slate, if it is shown; whether it was.
    pub(super) async fn end_slate(&mut self) -> bool {
        let Some(until) = self.slate_ends_at() else { return false };
        (self.slated, self.items) = (Slated::No, None);
        self.end_epoch().await;
        self.phase = Phase::Lingering { until, holds_until: None, slate_at: None };
        true
    }

    /// The slate cannot be shown any more: there are gaps instead, once a publisher comes. False if it was not shown.
    pub(super) fn slate_failed(&mut self) -> bool {
        let Some(until) = self.slate_ends_at() else { return false };
        tracing::error!(stream = %self.stream.name, "the slate cannot be shown; there are gaps instead until a publisher comes");
        (self.slated, self.items) = (Slated::Failed, None);
        self.phase = Phase::Lingering { until, holds_until: None, slate_at: None };
        true
    }
}

fn has_sound(plan: &Plan) -> bool {
    plan.renditions.iter().any(|rendition| matches!(rendition.make, Make::Audio { .. }))
}

/// Sends the slate over and over, each frame when it is due, for as long as it is taken.
async fn play(slate: Arc<Slate>, has_sound: bool, publisher: Publisher) {
    let began = Instant::now();
    let frames = slate.repeated().filter(|frame| has_sound || frame.kind == media::TrackKind::Video);
    for frame in frames {
        let due = Duration::from_millis(u64::try_from(frame.dts).unwrap_or(0));
        sleep_until(began + due).await;
        if publisher.send(Ingested::Frame(frame)).await.is_err() {
            return;
        }
    }
}
