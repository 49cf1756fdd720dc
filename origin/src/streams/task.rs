//! The life of one stream: waits for a publisher, learns its source, runs epochs, lingers, ends.

use super::live::{self, Broken, Live, Zero};
use super::phase::{ABSENCE_MAX, HEALTHY, Phase, Reason, Said, back_off, is_other_gop, verdict};
use super::{Context, Directory, Incoming, Stream};
use crate::epoch::{Analysis, Break, Found, Known, Patience};
use crate::ingest::{Announced, Ending, Ingested, StreamClosed};
use media::{Frame, FrameRate, TrackKind};
use std::future::pending;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};
use transcode::{Made, Plan};

pub(super) struct Task {
    directory: Directory,
    stream: Arc<Stream>,
    publishers: mpsc::Receiver<Incoming>,
    items: Option<mpsc::Receiver<Ingested>>,
    ending: Ending,
    made: Option<mpsc::Receiver<Made>>,
    phase: Phase,
    /// What the publisher says of its stream, once.
    announced: Announced,
    /// What the last epoch was made from: a publisher that comes back usually sends the same.
    known: Option<Known>,
    /// What the last epoch was to be: what players were told in it stays true.
    plan: Option<Plan>,
    /// Why the next epoch begins.
    reason: Reason,
    last_id: u64,
    /// Epochs that failed one after the other.
    failures: u32,
    /// The next epoch is to have no worker.
    alone: bool,
    /// While an epoch runs alone: from when on a worker may be tried again.
    ladder_from: Instant,
    weighed: Instant,
    bytes: i64,
}

enum Event {
    Stop,
    Publisher(Incoming),
    Item(Ingested),
    PublisherGone,
    Made(Made),
    WorkerGone,
    Deadline,
}

/// How long a worker may take over what it still holds, while the source's next frames wait.
const FINISH_MAX: Duration = Duration::from_secs(2);
/// How long a key frame may be away at first, as multiples of the longest analysis: more than any interval that can be
/// cut into segments, even where the publisher began just after one.
const KEY_FRAME_PATIENCE: u32 = 3;
/// How far a rate that was measured over minutes may be off.
const RATE_TOLERANCE: f64 = 0.0002;
/// Key frames that an analysis may hold, as multiples of the largest message.
const ANALYSIS_MESSAGES: usize = 8;

impl Task {
    pub(super) fn new(directory: Directory, stream: Arc<Stream>, publishers: mpsc::Receiver<Incoming>) -> Self {
        directory.0.context.metrics.streams.inc();
        let until = Instant::now() + directory.0.context.config.ingest.linger;
        Self {
            directory,
            stream,
            publishers,
            items: None,
            ending: Ending::default(),
            made: None,
            phase: Phase::Lingering { until, holds_until: None },
            announced: Announced::default(),
            known: None,
            plan: None,
            reason: Reason::First,
            last_id: 0,
            failures: 0,
            alone: false,
            ladder_from: Instant::now(),
            weighed: Instant::now(),
            bytes: 0,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let flow = match self.next().await {
                Event::Stop => ControlFlow::Break(()),
                Event::Deadline => self.deadline().await,
                event => {
                    self.on(event).await;
                    ControlFlow::Continue(())
                }
            };
            self.weigh();
            if flow.is_break() {
                break;
            }
        }
        self.context().metrics.window_bytes.sub(self.bytes);
        if !matches!(self.phase, Phase::Ended { .. }) {
            self.context().metrics.streams.dec();
        }
        self.directory.remove(&self.stream);
    }

    async fn next(&mut self) -> Event {
        let deadline = match &self.phase {
            Phase::Lingering { until, holds_until } => Some(holds_until.map_or(*until, |holds| holds.min(*until))),
            Phase::Ended { until } | Phase::Analysing { until, .. } => Some(*until),
            Phase::Waiting { .. } | Phase::Live(_) => None,
        };
        let stop = self.directory.0.stop.clone();
        tokio::select! {
            () = stop.cancelled() => Event::Stop,
            Some(incoming) = self.publishers.recv(), if self.items.is_none() => Event::Publisher(incoming),
            item = receive(&mut self.items) => item.map_or(Event::PublisherGone, Event::Item),
            made = receive(&mut self.made) => made.map_or(Event::WorkerGone, Event::Made),
            () = at(deadline) => Event::Deadline,
        }
    }

    async fn on(&mut self, event: Event) {
        match event {
            Event::Publisher(incoming) => self.welcome(incoming),
            Event::Item(item) => self.item(item).await,
            Event::PublisherGone => self.publisher_gone().await,
            Event::Made(made) => {
                let Phase::Live(live) = &mut self.phase else { return };
                if let Err(broken) = live.made(&self.directory.0.context, made) {
                    self.broken(&broken).await;
                }
            }
            Event::WorkerGone => self.broken(&Broken::Worker("its output ended".to_owned())).await,
            Event::Stop | Event::Deadline => {}
        }
    }

    fn welcome(&mut self, (items, ending): Incoming) {
        (self.items, self.ending) = (Some(items), ending);
        self.announced = Announced::default();
        self.stream.set_abandoned(false);
        if self.stream.next_msn().is_some() {
            self.reason = Reason::PublisherBack;
        }
        self.phase = match self.known.take() {
            Some(known) => Phase::Waiting { known: Box::new(known), said: Said::default(), not_before: Instant::now() },
            None => self.analysing([]),
        };
    }

    async fn publisher_gone(&mut self) {
        tracing::info!(stream = %self.stream.name, "publisher gone");
        self.items = None;
        self.end_epoch().await;
        if let Phase::Waiting { known, .. } = &self.phase {
            // A source that has left its grid is learnt anew: its encoder may have been set right.
            self.known = Some((**known).clone()).filter(|known| known.source.gop.is_some());
        }
        let now = Instant::now();
        let holds_until = now + self.stream.part_target().unwrap_or_default() + ABSENCE_MAX;
        self.phase =
            Phase::Lingering { until: now + self.context().config.ingest.linger, holds_until: Some(holds_until) };
        self.directory.release(&self.stream);
    }

    async fn item(&mut self, item: Ingested) {
        if let Ingested::Announced(announced) = &item {
            self.announced = announced.clone();
        }
        match &mut self.phase {
            Phase::Analysing { .. } => self.analyse(item).await,
            Phase::Waiting { .. } => self.waiting(item).await,
            Phase::Live(live) if live.is_alone() && is_key(&item) && Instant::now() >= self.ladder_from => {
                self.end_epoch().await;
                self.waiting(item).await;
            }
            Phase::Live(live) => {
                let known = &live.known.source;
                let other = match &item {
                    Ingested::Video(config) => known.video != *config,
                    Ingested::Audio(config) => known.audio.as_ref() != Some(config),
                    Ingested::Announced(_) => false,
                    Ingested::Frame(frame) => {
                        let received = std::time::Instant::now();
                        if let Err(broken) = live.source(&self.directory.0.context, frame, Some(received)) {
                            self.broken(&broken).await;
                            // The frame that broke one epoch may be the key frame of the next.
                            match self.phase {
                                Phase::Analysing { .. } => self.analyse(item).await,
                                _ => self.waiting(item).await,
                            }
                        }
                        return;
                    }
                };
                if other {
                    self.source_changed(item).await;
                }
            }
            Phase::Lingering { .. } | Phase::Ended { .. } => {}
        }
    }

    async fn analyse(&mut self, item: Ingested) {
        let Phase::Analysing { analysis, until } = &mut self.phase else { return };
        let had_begun = analysis.has_begun();
        let found = analysis.push(item, unix_ms());
        if had_begun != analysis.has_begun() {
            *until = analysed_until(&self.directory.0.context, analysis);
        }
        if let Some(found) = found {
            self.start(found).await;
        }
    }

    async fn waiting(&mut self, item: Ingested) {
        let Phase::Waiting { known, said, not_before } = &mut self.phase else { return };
        match &item {
            Ingested::Announced(_) => {}
            Ingested::Video(config) if known.source.video == *config => said.video = true,
            Ingested::Audio(config) if known.source.audio.as_ref() == Some(config) => said.audio = true,
            Ingested::Video(_) | Ingested::Audio(_) => self.source_changed(item).await,
            Ingested::Frame(frame) => {
                let same = said.video && (said.audio || known.source.audio.is_none());
                if !is_key(&item) || Instant::now() < *not_before {
                    self.context().metrics.frames_skipped.inc();
                } else if same {
                    let (known, frame) = ((**known).clone(), frame.clone());
                    self.start(Found { known, frames: vec![frame], zero_unix_ms: unix_ms() }).await;
                } else {
                    // The publisher that came back sends picture only, where there was sound before.
                    let video = Ingested::Video(known.source.video.clone());
                    self.phase = self.analysing([video, item]);
                }
            }
        }
    }

    /// The set-up is not what the epoch was planned for. What stays the same is not sent again.
    async fn source_changed(&mut self, item: Ingested) {
        self.end_epoch().await;
        let Phase::Waiting { known, said, .. } = &self.phase else { return };
        let mut items = vec![Ingested::Video(known.source.video.clone())];
        // A publisher that came back may have left its sound behind.
        items.extend(known.source.audio.clone().filter(|_| said.audio).map(Ingested::Audio));
        items.push(item);
        self.reason = Reason::SourceChanged;
        self.phase = self.analysing(items);
    }

    async fn broken(&mut self, broken: &Broken) {
        let Phase::Live(live) = &self.phase else { return };
        let (ran, passes) = (live.began.elapsed(), live.passes_through());
        tracing::warn!(stream = %self.stream.name, %broken, ?ran, "epoch broken off");
        self.end_epoch().await;
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

    /// One failure is forgiven. After more of them in a row what is passed through does not wait for a worker.
    fn worker_failed(&mut self, delay: Duration) {
        self.alone = self.failures > 0;
        self.ladder_from = Instant::now() + delay;
        self.failures += 1;
    }

    /// Ends the running epoch, if any: what the worker still holds is published, then the stream waits for a key frame.
    async fn end_epoch(&mut self) {
        if !matches!(self.phase, Phase::Live(_)) {
            return;
        }
        let now = Instant::now();
        let Phase::Live(mut live) =
            std::mem::replace(&mut self.phase, Phase::Lingering { until: now, holds_until: None })
        else {
            return;
        };
        if live.began.elapsed() >= HEALTHY && !live.is_alone() {
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
        let said = Said { video: true, audio: true };
        self.phase = Phase::Waiting { known: Box::new(known), said, not_before: now };
    }

    async fn start(&mut self, found: Found) {
        let Found { known, frames, zero_unix_ms } = found;
        let zero = Zero {
            source_ms: frames.first().map_or(0, |frame| frame.pts),
            unix_ms: zero_unix_ms,
            id_min: self.last_id + 1,
            backlog: frames.len(),
            alone: std::mem::take(&mut self.alone) || Instant::now() < self.ladder_from,
        };
        let context = &self.directory.0.context;
        let plan = live::plan(context, &known, self.plan.as_ref());
        let passes = live::passes_through(&plan);
        match Live::start(context, &self.stream, known.clone(), (zero, plan.clone())) {
            Ok((live, made)) => {
                context.metrics.epochs.with_label_values(&[self.reason.label()]).inc();
                let source = &live.known.source;
                let (reason, hz, gop) = (self.reason, source.rate.hz(), source.gop);
                tracing::info!(stream = %self.stream.name, epoch = %live.id(), ?reason, hz, gop, "epoch started");
                self.last_id = live.id().0;
                self.plan = Some(plan);
                self.made = made;
                self.phase = Phase::Live(Box::new(live));
                self.replay(frames).await;
            }
            Err(error) => {
                let delay = back_off(self.failures);
                let not_before = Instant::now() + if passes { Duration::ZERO } else { delay };
                self.worker_failed(delay);
                tracing::error!(stream = %self.stream.name, %error, ?delay, "epoch cannot start; trying again");
                let said = Said { video: true, audio: true };
                self.phase = Phase::Waiting { known: Box::new(known), said, not_before };
            }
        }
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

    async fn deadline(&mut self) -> ControlFlow<()> {
        match &mut self.phase {
            // An analysis counts the time of the source; this is for one that sends more slowly, or nothing of use.
            Phase::Analysing { analysis, .. } => match analysis.decide() {
                Some(found) => self.start(found).await,
                None => {
                    tracing::warn!(stream = %self.stream.name, "no key frame came; the publisher is sent away");
                    self.ending.because(StreamClosed::NoKeyFrame);
                    self.publisher_gone().await;
                }
            },
            Phase::Lingering { until, holds_until: holds @ Some(_) } if *holds <= Some(*until) => {
                *holds = None;
                self.stream.set_abandoned(true);
            }
            Phase::Lingering { until, .. } => {
                if self.directory.retire(&self.stream) {
                    tracing::info!(stream = %self.stream.name, "stream ended");
                    self.stream.end(std::time::Instant::now());
                    self.directory.0.context.metrics.streams.dec();
                    let kept = Duration::from_secs(self.stream.window_s());
                    self.phase = Phase::Ended { until: Instant::now() + kept };
                } else {
                    // A publisher is on its way in.
                    *until = Instant::now() + Duration::from_secs(1);
                }
            }
            Phase::Ended { .. } => return ControlFlow::Break(()),
            Phase::Waiting { .. } | Phase::Live(_) => {}
        }
        ControlFlow::Continue(())
    }

    fn analysing(&self, items: impl IntoIterator<Item = Ingested>) -> Phase {
        let config = &self.context().config;
        let mut analysis = Analysis::new(Patience {
            ms: i64::try_from(config.segment.analysis_max.as_millis()).unwrap_or(i64::MAX),
            bytes: ANALYSIS_MESSAGES * config.ingest.message_bytes_max,
        });
        analysis.push(Ingested::Announced(self.announced.clone()), unix_ms());
        for item in items {
            // A single key frame is never enough to find anything.
            analysis.push(item, unix_ms());
        }
        let until = analysed_until(self.context(), &analysis);
        Phase::Analysing { analysis: Box::new(analysis), until }
    }

    /// Keeps the gauge of held bytes; a second is close enough.
    fn weigh(&mut self) {
        if self.weighed.elapsed() < Duration::from_secs(1) {
            return;
        }
        self.weighed = Instant::now();
        let bytes = i64::try_from(self.stream.bytes()).unwrap_or(i64::MAX);
        self.context().metrics.window_bytes.add(bytes - self.bytes);
        self.bytes = bytes;
    }

    fn context(&self) -> &Context {
        &self.directory.0.context
    }
}

/// By when an analysis ends: with what it has, or with nothing if no key frame has come.
fn analysed_until(context: &Context, analysis: &Analysis) -> Instant {
    let max = context.config.segment.analysis_max;
    Instant::now() + if analysis.has_begun() { max } else { KEY_FRAME_PATIENCE * max }
}

fn is_key(item: &Ingested) -> bool {
    matches!(item, Ingested::Frame(frame) if frame.kind == TrackKind::Video && frame.keyframe)
}

/// The next item, for ever none where there is no channel. A channel that is closed is taken away.
async fn receive<T>(channel: &mut Option<mpsc::Receiver<T>>) -> Option<T> {
    match channel {
        Some(open) => {
            let item = open.recv().await;
            if item.is_none() {
                *channel = None;
            }
            item
        }
        None => pending().await,
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

/// Wall time enters here, once per item that may begin an epoch.
fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
