//! Epochs of a stream: how one begins, and what becomes of one that breaks off.

use super::Task;
use crate::epoch::{Break, Found, Known, Numbers};
use crate::ingest::Ingested;
use crate::streams::live::{self, Broken, Live, StartError, Zero};
use crate::streams::phase::{HEALTHY, HEALTHY_WORKER, Phase, Reason, Said, back_off, is_other_gop, verdict};
use media::{Frame, FrameRate};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use transcode::Plan;

/// How long a worker may take over what it still holds, while the source's next frames wait.
const FINISH_MAX: Duration = Duration::from_secs(2);
/// How far a rate that was measured over minutes may be off.
const RATE_TOLERANCE: f64 = 0.0002;

/// An epoch that is to begin: with which frames, and as which of its frames the first of them, a key frame.
pub(super) struct Beginning {
    pub(super) found: Found,
    pub(super) numbers: Numbers,
    pub(super) frame: i64,
}

impl Beginning {
    pub(super) fn at_first_key(found: Found, numbers: Numbers) -> Self {
        Self { found, numbers, frame: 0 }
    }
}

impl Task {
    pub(super) async fn broken(&mut self, broken: &Broken) {
        let Phase::Live(live) = &self.phase else { return };
        let (ran, passes) = (live.began.elapsed(), live.passes_through());
        if matches!(broken, Broken::Worker(_)) && self.slate_ends_at().is_none() && self.lose_worker(broken) {
            return;
        }
        tracing::warn!(stream = %self.stream.name, %broken, ?ran, "epoch broken off");
        self.end_epoch().await;
        if self.slate_failed() {
            return;
        }
        let Phase::Waiting { known, not_before, .. } = &mut self.phase else { return };
        let (reason, keep_passthrough) = verdict(broken, ran);
        if std::mem::replace(&mut self.reason, reason) == Reason::PublisherBack && is_other_gop(broken) {
            // It was taken for what it had been: its encoder was set anew meanwhile, and can be learnt like any other.
            let source = known.source.clone();
            let items = [Some(Ingested::Video(source.video)), source.audio.map(Ingested::Audio)];
            self.phase = self.analysing(items.into_iter().flatten());
            return;
        }
        if let Broken::Time(Break::Rate { hz }) = broken {
            // Minutes measure better than the first seconds did: they tell 29.97 from 30.
            known.source.rate = FrameRate::nearest(*hz, RATE_TOLERANCE);
        }
        if !keep_passthrough {
            known.source.gop = None;
        }
        if reason == Reason::WorkerEnded {
            let delay = back_off(self.failures);
            *not_before = Instant::now() + if passes { Duration::ZERO } else { delay };
            self.worker_failed(delay);
        }
    }

    /// A key frame is where the next epoch can begin; up to there nothing of what is passed through is given away.
    fn lose_worker(&mut self, broken: &Broken) -> bool {
        let Phase::Live(live) = &mut self.phase else { return false };
        let (ran, is_alone) = (live.began.elapsed(), live.is_alone());
        if !live.lose_worker() {
            return false;
        }
        tracing::warn!(stream = %self.stream.name, %broken, ?ran, "what is passed through goes on without the ladder");
        self.made = None;
        if ran >= HEALTHY_WORKER && !is_alone {
            self.failures = 0;
        }
        self.reason = Reason::WorkerEnded;
        self.worker_failed(back_off(self.failures));
        true
    }

    /// One failure is forgiven. After more of them in a row what is passed through does not wait for a worker.
    fn worker_failed(&mut self, delay: Duration) {
        self.alone = self.failures > 0;
        self.ladder_from = Instant::now() + delay;
        self.failures += 1;
    }

    /// Ends the running epoch, if any: what the worker still holds is published, then the stream waits for a key frame.
    pub(super) async fn end_epoch(&mut self) {
        if !matches!(self.phase, Phase::Live(_)) {
            return;
        }
        let now = Instant::now();
        let Phase::Live(mut live) =
            std::mem::replace(&mut self.phase, Phase::Lingering { until: now, holds_until: None, slate_at: None })
        else {
            return;
        };
        if live.began.elapsed() >= HEALTHY && !live.is_alone() && !live.has_lost_worker() {
            self.failures = 0;
        }
        live.finish();
        if let Some(mut made) = self.made.take() {
            let stop = self.directory.0.stop.clone();
            let drain = async {
                while let Ok(Some(made)) = timeout_at(now + FINISH_MAX, made.recv()).await {
                    if live.made(&self.directory.0.context, made).is_err() {
                        break;
                    }
                }
            };
            tokio::select! {
                () = drain => {}
                () = stop.cancelled() => {}
            }
        }
        let known = live.known.clone();
        live.close(&self.directory.0.context);
        self.learning();
        let said = Said { video: true, audio: true };
        self.phase = Phase::Waiting { known: Box::new(known), said, not_before: now };
    }

    pub(super) async fn begin(&mut self, beginning: Beginning) {
        let Beginning { found: Found { known, frames, .. }, numbers, frame } = beginning;
        let zero = Zero {
            numbers,
            key: (frames.first().map_or(0, |first| first.pts), frame),
            backlog: frames.len(),
            alone: std::mem::take(&mut self.alone) || Instant::now() < self.ladder_from,
            here: self.failures > 1,
        };
        let context = &self.directory.0.context;
        // Asked for before the plan: an edit that comes meanwhile is one more change.
        self.ladder = self.stream.edited_ladder();
        let plan = self.plan_of(&known);
        let passes = live::passes_through(&plan);
        match Live::start(context, &self.stream, known.clone(), (zero, plan.clone(), self.protection.clone())) {
            Ok((live, made)) => {
                self.stream.set_keyless(false);
                context.metrics.epochs.with_label_values(&[self.reason.label()]).inc();
                let source = &live.known.source;
                let (reason, hz, gop) = (self.reason, source.rate.hz(), source.gop);
                tracing::info!(stream = %self.stream.name, epoch = %live.id(), ?reason, hz, gop, "epoch started");
                self.last_id = self.last_id.max(live.id().0);
                self.plan = Some(plan);
                self.made = made;
                self.phase = Phase::Live(Box::new(live));
                self.replay(frames).await;
            }
            Err(StartError::NoKey) => {
                tracing::warn!(stream = %self.stream.name, "no key has come yet; nothing is published until one has");
                self.stream.set_keyless(true);
                let said = Said { video: true, audio: true };
                self.phase = Phase::Waiting { known: Box::new(known), said, not_before: Instant::now() };
                self.learning();
            }
            Err(error) => {
                let delay = back_off(self.failures);
                let not_before = Instant::now() + if passes { Duration::ZERO } else { delay };
                self.worker_failed(delay);
                tracing::error!(stream = %self.stream.name, %error, ?delay, "epoch cannot start; trying again");
                if self.slate_failed() {
                    return;
                }
                let said = Said { video: true, audio: true };
                self.phase = Phase::Waiting { known: Box::new(known), said, not_before };
                self.learning();
            }
        }
    }

    /// What is to be made of this source, behind what was made before.
    pub(super) fn plan_of(&self, known: &Known) -> Plan {
        let ladder = self.directory.ladder(&self.stream);
        live::plan(self.context(), (&self.stream.name, &ladder), (known, self.plan.as_ref()))
    }

    /// The frames that were held while the source was learnt.
    async fn replay(&mut self, frames: Vec<Frame>) {
        let live_frame = frames.len() == 1;
        for frame in frames {
            let Phase::Live(live) = &mut self.phase else { return };
            let received = live_frame.then(std::time::Instant::now);
            if let Err(broken) = live.source(&self.directory.0.context, &frame, received) {
                self.broken(&broken).await;
            }
        }
    }
}
