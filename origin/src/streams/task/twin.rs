//! How a stream's task agrees with the other of two origins before an epoch begins.

use super::Task;
use super::epochs::Beginning;
use crate::clock::unix_ms;
use crate::epoch::{Bitrate, Found, Numbers};
use crate::streams::phase::{ABSENCE_MAX, Phase};
use crate::twin::{Answer, Epoch, Key, Offer, Outcome, Told};
use media::{FrameRate, TrackKind};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// What an epoch begins with once the other origin has said its word, or none.
pub(in crate::streams) struct Agreeing {
    found: Found,
    offer: Offer,
    answer: oneshot::Receiver<Option<Answer>>,
}

impl Task {
    /// Begins an epoch: at once where there is no other origin, and else once both know of it.
    pub(super) async fn start(&mut self, found: Found) {
        self.list_absence(found.zero_unix_ms);
        let numbers = self.numbers(found.zero_unix_ms);
        let Some(twin) = self.context().twin.clone() else {
            return self.begin(Beginning::at_first_key(found, numbers)).await;
        };
        let offer = self.offer(&found, numbers);
        self.stream.pairing.lock().offering(offer.clone());
        let (answered, answer) = oneshot::channel();
        let (stream, asked) = (self.stream.name.clone(), offer.clone());
        tokio::spawn(async move {
            let answer = twin.offer(&stream, &asked).await;
            let answer = answer.inspect_err(|error| tracing::warn!(stream, %error, "the twin origin is silent")).ok();
            // A task that has ended meanwhile needs none.
            let _ = answered.send(answer);
        });
        self.phase = Phase::Agreeing(Box::new(Agreeing { found, offer, answer }));
    }

    /// Nothing runs here, and a publisher may be there.
    pub(super) fn learning(&self) {
        if self.context().twin.is_some() {
            let known = self.stream.next_msn().is_some();
            self.stream.pairing.lock().learning(known.then(|| self.numbers(0)));
        }
    }

    /// When requests are not to wait any longer for what a publisher should be sending: where there is another origin to go
    /// to. Elsewhere they wait, as a part that comes late is better than none.
    pub(super) fn stalls_at(&self) -> Option<Instant> {
        self.context().twin.as_ref().filter(|_| self.items.is_some())?;
        Some(self.pictured? + self.stream.part_target()? + ABSENCE_MAX)
    }

    /// A picture went into the epoch that runs.
    pub(super) fn pictured(&mut self) {
        if self.pictured.replace(Instant::now()).is_none() {
            self.stream.set_abandoned(false);
        }
    }

    pub(super) async fn agreed(&mut self, answer: Option<Answer>) {
        let Phase::Agreeing(agreeing) = &mut self.phase else { return };
        let (offer, found) = (agreeing.offer.clone(), agreeing.found.clone());
        let (epoch, key, frame, outcome) = self.stream.pairing.lock().begin(&offer, answer);
        let (beginning, outcome) = match self.joining(&found, &epoch, (key, frame)) {
            Some(beginning) => (beginning, outcome),
            None => {
                // Each cuts what its players were told; they are two streams.
                self.stream.pairing.lock().run(offer.epoch.clone());
                (Beginning::at_first_key(found, offer.epoch.numbers), Outcome::Other)
            }
        };
        self.context().metrics.twin_agreements.with_label_values(&[outcome.label()]).inc();
        if outcome != Outcome::Together && outcome != Outcome::Alone {
            tracing::warn!(stream = %self.stream.name, ?outcome, "the epoch begins without the twin origin");
        }
        self.begin(beginning).await;
    }

    /// The numbers of an epoch that begins here and is nobody else's.
    fn numbers(&self, zero_unix_ms: i64) -> Numbers {
        let unix_ms = zero_unix_ms.max(0) as u64;
        // The clock may be behind what was given before.
        let given = self.stream.given().next_msn;
        let fresh = || crate::segmenter::Grid::fresh_msn(unix_ms, self.context().config.segment.segment).max(given);
        let first_msn = self.stream.next_msn().unwrap_or_else(fresh);
        let discontinuities = self.stream.discontinuities(first_msn);
        Numbers { id: unix_ms.max(self.last_id + 1), first_msn, discontinuities, zero_unix_ms }
    }

    fn offer(&self, found: &Found, numbers: Numbers) -> Offer {
        let (source, rate) = (&found.known.source, found.known.source.rate);
        let plan = self.plan_of(&found.known);
        let zero_ms = found.frames.first().map_or(0, |first| first.pts);
        let pictures = found.frames.iter().filter(|frame| frame.kind == TrackKind::Video && frame.keyframe);
        let keys = pictures.map(|picture| {
            let since_ms = picture.pts - zero_ms;
            Key::of(picture, rate.index_of_ms(since_ms), found.zero_unix_ms + since_ms)
        });
        let bitrate = (found.known.bitrate.average, found.known.bitrate.peak);
        let (rate, gop, plan) = ((rate.num(), rate.den()), source.gop, Epoch::plan_hash(&plan));
        Offer::new(Epoch { numbers, rate, gop, bitrate, plan }, keys.collect())
    }

    /// How to begin so that what is made is what the other origin makes; `None` if that cannot be.
    fn joining(&self, found: &Found, epoch: &Epoch, (key, frame): (usize, i64)) -> Option<Beginning> {
        let mut found = found.clone();
        let source = &mut found.known.source;
        (source.rate, source.gop) = (FrameRate::new(epoch.rate.0, epoch.rate.1)?, epoch.gop);
        found.known.bitrate = Bitrate { average: epoch.bitrate.0, peak: epoch.bitrate.1 };
        let plan = self.plan_of(&found.known);
        if Epoch::plan_hash(&plan) != epoch.plan {
            return None;
        }
        if !self.told(plan.segment()).allows(&epoch.numbers, frame as u64 / u64::from(plan.segment_frames.max(1))) {
            return None;
        }
        let is_key = |held: &media::Frame| held.kind == TrackKind::Video && held.keyframe;
        let (at, _) = found.frames.iter().enumerate().filter(|(_, held)| is_key(held)).nth(key)?;
        found.frames.drain(..at);
        Some(Beginning { found, numbers: epoch.numbers, frame })
    }
}

impl Task {
    /// What players were told here, in segments of so long.
    fn told(&self, segment: Duration) -> Told {
        let segments = |time: Duration| (time.as_millis() / segment.as_millis().max(1)) as u64;
        let (next_msn, given) = (self.stream.next_msn(), self.stream.given().next_msn);
        let last_id = self.last_id;
        match next_msn {
            Some(next_msn) => Told {
                last_id,
                next_msn,
                least_msn: 0,
                discontinuities: self.stream.discontinuities(0),
                ahead_max: segments(self.stream.window()),
            },
            None => {
                let next_msn = self.numbers(unix_ms()).first_msn;
                Told { last_id, next_msn, least_msn: given, discontinuities: 0, ahead_max: segments(DAY) }
            }
        }
    }
}

/// How far two origins' numbers may be apart, of which one has just begun: each epoch that is cut short uses one early.
const DAY: Duration = Duration::from_secs(86_400);

/// The answer, once there is one; for ever none in any other phase.
pub(super) async fn answer(phase: &mut Phase) -> Option<Answer> {
    match phase {
        Phase::Agreeing(agreeing) => (&mut agreeing.answer).await.ok().flatten(),
        _ => std::future::pending().await,
    }
}
