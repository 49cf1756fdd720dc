//! The life of one stream: waits for a publisher, learns its source, runs epochs, lingers, ends.

mod cue;
mod epochs;
mod publisher;
mod slate;
mod source;
mod twin;

pub(crate) use cue::marker_of_cue;
pub(super) use twin::Agreeing;

use super::live::Broken;
use super::phase::{Phase, Reason};
use super::replay::Resumed;
use super::{Context, Directory, Incoming, Stream};
use crate::clock::unix_ms;
use crate::epoch::Known;
use crate::ingest::{Announced, Ending, Ingested, StreamClosed};
use crate::keys::Protection;
use crate::metrics::Share;
use crate::twin::Answer;
use config::Ladder;
use slate::Slated;
use std::future::pending;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use transcode::{Made, Plan};

pub(super) struct Task {
    directory: Directory,
    stream: Arc<Stream>,
    protection: Option<Arc<Protection>>,
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
    /// What an operator wanted of it instead of the configuration's ladder.
    ladder: Option<Arc<Ladder>>,
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
    /// Cue points that were not used.
    cues_refused: u64,
    /// When the last picture went into an epoch; absent while requests are told not to wait for the next.
    pictured: Option<Instant>,
    slated: Slated,
    /// In the gauges of live streams, and of bytes held.
    live: Share,
    bytes: Share,
}

/// What has ended and is in memory alone is in the way of what is live.
const KEPT_IN_MEMORY: Duration = Duration::from_secs(300);

enum Event {
    Stop,
    Publisher(Incoming),
    Item(Ingested),
    PublisherGone,
    Made(Made),
    WorkerGone,
    /// The other of two origins has said its word, or was silent.
    Agreed(Option<Answer>),
    Stalled,
    DiskLost,
    Deadline,
}

impl Task {
    pub(super) fn new(directory: Directory, stream: Arc<Stream>, publishers: mpsc::Receiver<Incoming>) -> Self {
        let metrics = &directory.0.context.metrics;
        let (live, bytes) = (Share::new(&metrics.streams, 1), Share::new(&metrics.window_bytes, 0));
        let until = Instant::now() + directory.0.context.config.ingest.linger;
        let last_id = stream.given().epoch;
        let protection = directory.0.context.keys.protection(&stream).map(Arc::new);
        Self {
            directory,
            stream,
            protection,
            publishers,
            items: None,
            ending: Ending::default(),
            made: None,
            phase: Phase::Lingering { until, holds_until: None, slate_at: None },
            announced: Announced::default(),
            known: None,
            plan: None,
            ladder: None,
            reason: Reason::First,
            last_id,
            failures: 0,
            alone: false,
            ladder_from: Instant::now(),
            cues_refused: 0,
            weighed: Instant::now(),
            pictured: None,
            slated: Slated::No,
            live,
            bytes,
        }
    }

    /// Goes on from what an earlier process left.
    pub(super) fn resume(mut self, resumed: Resumed) -> Self {
        let now = Instant::now();
        self.phase = if resumed.ended {
            self.live.set(0);
            let ago = u64::try_from(unix_ms() - resumed.last_unix_ms).unwrap_or(0);
            Phase::Ended { until: now + self.kept().saturating_sub(Duration::from_millis(ago)) }
        } else {
            // Its source is learnt anew: not all that is known of one is in a journal.
            self.plan = Some(resumed.plan);
            self.lingering(now)
        };
        self
    }

    pub(super) async fn run(mut self) {
        loop {
            let flow = match self.next().await {
                Event::Stop => {
                    // What is open is kept as it is: the stream may go on here.
                    self.end_epoch().await;
                    if let Some(next_msn) = self.stream.next_msn().filter(|_| !self.stream.has_ended()) {
                        self.stream.life().stopped(next_msn, unix_ms());
                    }
                    ControlFlow::Break(())
                }
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
        self.directory.remove(&self.stream);
    }

    async fn next(&mut self) -> Event {
        let deadline = match &self.phase {
            Phase::Lingering { until, holds_until, slate_at } => {
                [Some(*until), *holds_until, *slate_at].into_iter().flatten().min()
            }
            Phase::Ended { until } | Phase::Analysing { until, .. } => Some(*until),
            Phase::Waiting { .. } | Phase::Agreeing(_) | Phase::Live(_) => None,
        };
        let deadline = deadline.into_iter().chain(self.slate_ends_at()).min();
        let stalled = self.stalls_at();
        let agreeing = matches!(self.phase, Phase::Agreeing(_));
        let (stop, stream) = (self.directory.0.stop.clone(), Arc::clone(&self.stream));
        tokio::select! {
            () = stop.cancelled() => Event::Stop,
            Some(incoming) = self.publishers.recv() => Event::Publisher(incoming),
            answer = twin::answer(&mut self.phase) => Event::Agreed(answer),
            item = receive(&mut self.items), if !agreeing => item.map_or(Event::PublisherGone, Event::Item),
            made = receive(&mut self.made) => made.map_or(Event::WorkerGone, Event::Made),
            () = at(stalled) => Event::Stalled,
            () = stream.life().lost() => Event::DiskLost,
            () = at(deadline) => Event::Deadline,
        }
    }

    async fn on(&mut self, event: Event) {
        match event {
            Event::Publisher(incoming) => {
                if self.end_slate().await {
                    tracing::info!(stream = %self.stream.name, "a publisher takes over from the slate");
                } else if self.items.is_some() {
                    tracing::info!(stream = %self.stream.name, "another publisher takes the name over");
                    self.ending.because(StreamClosed::TakenOver);
                    self.dismiss().await;
                }
                self.welcome(incoming);
            }
            Event::Item(item) => self.item(item).await,
            Event::PublisherGone if self.slate_ends_at().is_some() => {
                self.end_epoch().await;
                self.slate_failed();
            }
            Event::PublisherGone => self.publisher_gone().await,
            Event::Made(made) => {
                let Phase::Live(live) = &mut self.phase else { return };
                if let Err(broken) = live.made(&self.directory.0.context, made) {
                    self.broken(&broken).await;
                }
            }
            Event::WorkerGone => self.broken(&Broken::Worker("its output ended".to_owned())).await,
            Event::Agreed(answer) => self.agreed(answer).await,
            Event::Stalled => {
                tracing::warn!(stream = %self.stream.name, "no picture comes; requests are sent to the twin origin");
                self.context().metrics.stalls.inc();
                self.pictured = None;
                self.stream.set_abandoned(true);
            }
            Event::DiskLost if self.stream.has_ended() => self.phase = Phase::Ended { until: Instant::now() },
            Event::DiskLost => self.stream.lose_disk(std::time::Instant::now()),
            Event::Stop | Event::Deadline => {}
        }
    }

    async fn deadline(&mut self) -> ControlFlow<()> {
        if self.slate_ends_at().is_some_and(|until| until <= Instant::now()) {
            self.end_slate().await;
            return ControlFlow::Continue(());
        }
        match &mut self.phase {
            // An analysis counts the time of the source; this is for one that sends more slowly, or nothing of use.
            Phase::Analysing { analysis, .. } => match analysis.decide() {
                Some(found) => self.start(found).await,
                None => {
                    let has_video = analysis.has_video();
                    let reason = if has_video { StreamClosed::NoKeyFrame } else { StreamClosed::NoVideo };
                    tracing::warn!(stream = %self.stream.name, %reason, "the publisher is sent away");
                    self.ending.because(reason);
                    self.publisher_gone().await;
                }
            },
            Phase::Lingering { until, holds_until: holds @ Some(_), .. } if *holds <= Some(*until) => {
                *holds = None;
                self.stream.set_abandoned(true);
            }
            Phase::Lingering { until, slate_at: slate_at @ Some(_), .. } if *slate_at <= Some(*until) => {
                *slate_at = None;
                let until = *until;
                self.begin_slate(until);
            }
            Phase::Lingering { until, .. } => {
                if self.directory.retire(&self.stream) {
                    tracing::info!(stream = %self.stream.name, "stream ended");
                    self.stream.end(std::time::Instant::now(), unix_ms());
                    self.live.set(0);
                    self.phase = Phase::Ended { until: Instant::now() + self.kept() };
                } else {
                    // A publisher is on its way in.
                    *until = Instant::now() + Duration::from_secs(1);
                }
            }
            Phase::Ended { .. } => {
                self.stream.life().forget();
                return ControlFlow::Break(());
            }
            Phase::Waiting { .. } | Phase::Agreeing(_) | Phase::Live(_) => {}
        }
        ControlFlow::Continue(())
    }

    /// Keeps the gauge of held bytes; a second is close enough.
    fn weigh(&mut self) {
        if self.weighed.elapsed() < Duration::from_secs(1) {
            return;
        }
        self.weighed = Instant::now();
        self.bytes.set(i64::try_from(self.stream.bytes()).unwrap_or(i64::MAX));
    }

    /// How long a stream that has ended is answered.
    fn kept(&self) -> Duration {
        let window = self.stream.window();
        if self.stream.life().has_disk() { window } else { window.min(KEPT_IN_MEMORY) }
    }

    fn context(&self) -> &Context {
        &self.directory.0.context
    }
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
