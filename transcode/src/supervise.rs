//! Runs one worker per epoch, here or elsewhere: feeds it, reads it, ends it when it hangs or is no longer wanted.

pub(crate) mod diary;
mod encoders;
mod link;
mod progress;
mod quality;
mod shedding;

use crate::hardware::{Engine, choose};
use crate::metrics::RungHistogram;
use crate::wire::{self, FromWorker, Job, ToWorker, WireError};
use crate::{Keeping, Metrics, Plan, Quality, Trial};
use bytes::{Bytes, BytesMut};
use config::Hardware;
use encoders::Encoders;
pub(crate) use link::command;
use link::{Far, Link};
use media::{Frame, TrackConfig};
use progress::Progress;
use prometheus::IntCounter;
use quality::Seen;
use shedding::Shedding;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Instrument;

/// The command that runs [`crate::worker::main`]: in production `vivid transcode-worker`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerProgram {
    pub path: PathBuf,
    pub args: Vec<OsString>,
}

/// How far a worker may fall behind, and what it may encode on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Source frames that wait for the worker or, in it, for its encoders. One that is so far behind live does not catch up
    /// any more.
    pub queue: usize,
    /// A worker that is fed but makes nothing for so long is killed; also the time it has to end.
    pub hang: Duration,
    /// What it leaves out before it falls behind by that much.
    pub keeping: Keeping,
    /// Which devices may encode.
    pub hardware: Hardware,
    /// What trials of them on this machine came to. Other machines have their own.
    pub trials: Vec<Trial>,
    /// What it measures beside its work.
    pub quality: Quality,
}

impl Default for Limits {
    /// Those of the reference configuration, with nothing that is measured.
    fn default() -> Self {
        // At 30 fps and 47 access units a second the queue holds some six seconds.
        let keeping = Keeping {
            behind: Duration::from_millis(300),
            recover: Duration::from_secs(20),
            preset_steps: 2,
            fps_min: 12,
        };
        let (hang, hardware, quality) = (Duration::from_secs(5), Hardware::Auto, Quality::default());
        Self { queue: 512, hang, keeping, hardware, trials: Vec::new(), quality }
    }
}

impl From<&config::Worker> for Limits {
    fn from(worker: &config::Worker) -> Self {
        let config::Worker { queue_frames, hang, behind, recover, preset_steps, fps_min, hardware } = *worker;
        let keeping = Keeping { behind, recover, preset_steps, fps_min };
        Self { queue: queue_frames, hang, keeping, hardware, trials: Vec::new(), quality: Quality::default() }
    }
}

/// What a worker is given. Times count from the epoch's zero, the presentation time of the first IDR picture: video in
/// ticks of `rate.timescale()` on the frame grid, audio in samples at 48 kHz.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    Video(Frame),
    Audio(Frame),
    /// No more comes: what is held is encoded, then the worker ends.
    Finish,
}

/// What a worker gives back. `rendition` indexes the plan's renditions; times as in [`Input`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// Before the first frame of the rendition, once.
    Track { rendition: usize, config: TrackConfig },
    /// Video: on every index of the grid from 0, in order, an IDR picture exactly at the start of each segment; of those
    /// that [`Made::Turn`] says.
    /// Audio: contiguous access units from 0, of as many samples as its codec has in each.
    Frame { rendition: usize, frame: Frame },
    /// The image of a segment of the epoch, counted from 0, that has so many frames: a JPEG. In order; some may be missing.
    Thumbnails { segment: u64, frames: u32, data: Bytes },
    /// From a segment of the epoch on, counted from 0, one of so many pictures of the grid is in a rendition: with 0 it is
    /// away until the next such message. Comes before the segment's first frame.
    Turn { rendition: usize, segment: u64, every: u32 },
    /// The last message.
    Ended { reason: EndReason },
}

/// Why a worker's process is no more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndReason {
    #[error("it finished its job")]
    Finished,
    /// The worker's own words.
    #[error("{0}")]
    Failed(String),
    #[error("it died with {0}")]
    Died(String),
    /// The encoder of a device failed, or is suspected: it was in use when the worker died or hung.
    #[error("{0}; the next one does without devices")]
    Device(String),
    #[error("it was fed but made nothing for {0:?}; the machine may be too slow for the ladder")]
    Hung(Duration),
    #[error("more than {0} frames waited for it; the machine is too slow for the ladder")]
    Overrun(usize),
    #[error("it broke the protocol: {0}")]
    Protocol(WireError),
    #[error("nobody wanted its frames any more")]
    Abandoned,
}

/// Why a worker could not be started, or did not take a frame.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error("cannot start the transcoding worker {path}: {source}", path = path.display())]
    Start { path: PathBuf, source: std::io::Error },
    #[error("the job does not fit the worker protocol: {0}")]
    Job(WireError),
    #[error("the worker's queue is full; it is being ended")]
    Full,
    #[error("the worker has ended")]
    Ended,
}

/// Starts workers.
#[derive(Debug)]
pub struct Worker;

/// Feeds one worker. When it is dropped, the worker finishes what it has and ends.
#[derive(Debug)]
pub struct WorkerInput {
    pid: Option<u32>,
    queue: mpsc::Sender<Input>,
    progress: Arc<Progress>,
    metrics: Metrics,
}

impl Worker {
    /// Starts a process for one epoch; must be called in a tokio runtime. **Dropping the receiver kills the process.**
    ///
    /// What the worker logs appears in the caller's `tracing` span, so open one with the stream's name.
    ///
    /// # Errors
    /// The program cannot be started, or the job is too long for the protocol.
    pub fn start(
        program: &WorkerProgram,
        job: &Job,
        limits: &Limits,
        metrics: &Metrics,
    ) -> Result<(WorkerInput, mpsc::Receiver<Made>), WorkerError> {
        let mut words = BytesMut::new();
        wire::encode(&ToWorker::Trials(limits.trials.clone()), &mut words).map_err(WorkerError::Job)?;
        words.unsplit(hello(job, limits)?);
        Ok(run(Link::process(program, metrics)?, words, (job, limits, metrics)))
    }

    /// The same by a worker of another machine that waits at the other end of a connection; see [`crate::Remote`].
    ///
    /// # Errors
    /// The job is too long for the protocol.
    pub fn start_elsewhere(
        call: TcpStream,
        job: &Job,
        limits: &Limits,
        metrics: &Metrics,
    ) -> Result<(WorkerInput, mpsc::Receiver<Made>), WorkerError> {
        let hello = hello(job, limits)?;
        let machine = call.peer_addr().map_or_else(|_| "of no address".to_owned(), |addr| addr.to_string());
        tracing::info!(machine, "the job goes to a worker of another machine");
        Ok(run(Link::elsewhere(call), hello, (job, limits, metrics)))
    }
}

fn hello(job: &Job, limits: &Limits) -> Result<BytesMut, WorkerError> {
    let mut hello = BytesMut::new();
    let backlog_max = u32::try_from(limits.queue).unwrap_or(u32::MAX);
    let (keeping, hardware, quality) = (limits.keeping.clone(), limits.hardware, limits.quality.clone());
    let greeting = ToWorker::Hello { job: Box::new(job.clone()), backlog_max, keeping, hardware, quality };
    wire::encode(&greeting, &mut hello).map_err(WorkerError::Job)?;
    Ok(hello)
}

fn run(
    Link { input, output, far }: Link,
    hello: BytesMut,
    (job, limits, metrics): (&Job, &Limits, &Metrics),
) -> (WorkerInput, mpsc::Receiver<Made>) {
    let (queue, fed) = mpsc::channel(limits.queue);
    let (made, received) = mpsc::channel(MADE_QUEUE);
    let progress = Arc::new(Progress::new(&job.plan));
    metrics.started.inc();
    metrics.running.inc();
    let (pid, over) = (far.pid(), CancellationToken::new());
    let feeding = feed(input, hello, fed, Arc::clone(&progress));
    tokio::spawn(over.clone().run_until_cancelled_owned(feeding).in_current_span());
    let watch = Watch::new(job, limits, metrics, &progress);
    tokio::spawn(watch.over((far, output), made, over.drop_guard()).in_current_span());
    (WorkerInput { pid, queue, progress, metrics: metrics.clone() }, received)
}

impl WorkerInput {
    /// For live frames: never waits. A full queue means that the worker has fallen seconds behind; it is then ended,
    /// with [`EndReason::Overrun`].
    pub fn try_send(&self, input: Input) -> Result<(), WorkerError> {
        let permit = self.queue.try_reserve().map_err(|error| match error {
            mpsc::error::TrySendError::Full(()) => {
                self.metrics.refused.inc();
                self.progress.overrun();
                WorkerError::Full
            }
            mpsc::error::TrySendError::Closed(()) => WorkerError::Ended,
        })?;
        self.note(&input);
        permit.send(input);
        Ok(())
    }

    /// For frames that are not live: waits until the worker has room, or has ended.
    pub async fn send(&self, input: Input) -> Result<(), WorkerError> {
        let permit = self.queue.reserve().await.map_err(|_| WorkerError::Ended)?;
        self.note(&input);
        permit.send(input);
        Ok(())
    }

    /// The process, for logs and for people who want to see it; it may have ended.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    fn note(&self, input: &Input) {
        match input {
            Input::Video(frame) => {
                self.progress.fed_video(frame.pts);
                self.metrics.frames_in.with_label_values(&["video"]).inc();
            }
            Input::Audio(_) => {
                self.progress.fed_audio();
                self.metrics.frames_in.with_label_values(&["audio"]).inc();
            }
            Input::Finish => (),
        }
    }
}

/// Writes to the worker until there is no more, or it does not read any more.
async fn feed(
    mut worker: impl AsyncWrite + Unpin,
    hello: BytesMut,
    mut queue: mpsc::Receiver<Input>,
    progress: Arc<Progress>,
) {
    let mut buffer = hello;
    let mut finished = false;
    while worker.write_all(&buffer).await.is_ok() {
        if finished {
            return progress.finishing();
        }
        buffer.clear();
        let message = match queue.recv().await {
            Some(Input::Video(frame) | Input::Audio(frame)) => ToWorker::Frame(frame),
            Some(Input::Finish) | None => ToWorker::Finish,
        };
        finished = message == ToWorker::Finish;
        if let Err(error) = wire::encode(&message, &mut buffer) {
            tracing::warn!(%error, "source frame not given to the worker");
        }
    }
}

/// What the supervising task needs besides the process itself.
struct Watch {
    part_frames: u32,
    renditions: Vec<IntCounter>,
    /// Of those that are encoded pictures.
    lags: Vec<Option<RungHistogram>>,
    /// What the worker leaves out, in the gauges of those that do.
    shed: Shedding,
    encoders: Encoders,
    /// What its rungs look like, and those that are left out for it.
    seen: Seen,
    limits: Limits,
    metrics: Metrics,
    progress: Arc<Progress>,
}

impl Watch {
    fn new(job: &Job, limits: &Limits, metrics: &Metrics, progress: &Arc<Progress>) -> Self {
        let Plan { renditions, .. } = &job.plan;
        Self {
            part_frames: job.plan.part_frames,
            renditions: renditions.iter().map(|rendition| metrics.frames_out_of(&rendition.make)).collect(),
            lags: (0..renditions.len()).map(|index| metrics.lag_of(&job.plan, index)).collect(),
            shed: Shedding::new(metrics),
            encoders: Encoders::new(&job.plan, metrics, |codec| {
                choose(limits.hardware, codec, &limits.trials).engine != Engine::Software
            }),
            seen: Seen::new(&job.plan, metrics),
            limits: limits.clone(),
            metrics: metrics.clone(),
            progress: Arc::clone(progress),
        }
    }

    /// `_over` closes the worker's input, which may have no room for ever, once this returns.
    async fn over(
        mut self,
        (mut far, output): (Far, impl AsyncRead + Unpin),
        made: mpsc::Sender<Made>,
        _over: DropGuard,
    ) {
        let (hang, queue, progress) = (self.limits.hang, self.limits.queue, Arc::clone(&self.progress));
        let verdict = tokio::select! {
            verdict = self.read(output, &made) => verdict,
            () = progress.hung(hang) => Some(EndReason::Hung(hang)),
            () = progress.overran() => Some(EndReason::Overrun(queue)),
            () = made.closed() => Some(EndReason::Abandoned),
        };
        let is_here = far.pid().is_some();
        let reason = self.encoders.blamed(far.end(verdict, (hang, progress.is_finishing())).await, is_here);
        self.shed.end();
        self.encoders.end();
        self.seen.end();
        self.metrics.running.dec();
        self.metrics.ended.with_label_values(&[reason.label()]).inc();
        match &reason {
            EndReason::Finished | EndReason::Abandoned => tracing::debug!(%reason, "transcoding worker ended"),
            _ => tracing::warn!(%reason, "transcoding worker ended"),
        }
        // The receiver may be gone, which is one of the reasons.
        let _ = made.send(Made::Ended { reason }).await;
    }

    /// Passes on what the worker makes, until its output ends; what it said of its end.
    async fn read(&mut self, mut output: impl AsyncRead + Unpin, made: &mpsc::Sender<Made>) -> Option<EndReason> {
        let mut buffer = BytesMut::with_capacity(1 << 16);
        loop {
            match output.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => (),
            }
            loop {
                match wire::decode(&mut buffer) {
                    Ok(None) => break,
                    Ok(Some(FromWorker::Failed { reason })) => return Some(EndReason::Failed(reason)),
                    Ok(Some(FromWorker::DeviceFailed { reason })) => return Some(EndReason::Device(reason)),
                    Ok(Some(FromWorker::Overrun)) => {
                        self.metrics.refused.inc();
                        return Some(EndReason::Overrun(self.limits.queue));
                    }
                    Ok(Some(message)) => match self.take(message) {
                        Ok(Some(out)) => made.send(out).await.ok()?,
                        Ok(None) => (),
                        Err(error) => return Some(EndReason::Protocol(error)),
                    },
                    Err(error) => return Some(EndReason::Protocol(error)),
                }
            }
        }
    }

    fn take(&mut self, message: FromWorker) -> Result<Option<Made>, WireError> {
        match message {
            FromWorker::Hello | FromWorker::Failed { .. } | FromWorker::DeviceFailed { .. } | FromWorker::Overrun => {
                Ok(None)
            }
            FromWorker::Tried { .. } => Err(WireError::Invalid("message: no trial was asked for")),
            FromWorker::Encoder { rendition, encoder, why } => {
                self.encoders.begin(usize::from(rendition), &encoder, &why)?;
                Ok(None)
            }
            FromWorker::Repaired { repair, count } => {
                self.metrics.repaired(repair, count);
                Ok(None)
            }
            FromWorker::Thumbnails { segment, frames, data } => {
                self.metrics.thumbnails.inc();
                Ok(Some(Made::Thumbnails { segment, frames, data }))
            }
            FromWorker::Lag { rendition, worst } => {
                let lag = self.lags.get(usize::from(rendition)).and_then(Option::as_ref);
                lag.ok_or(WireError::Invalid("rendition"))?.observe(worst.as_secs_f64());
                Ok(None)
            }
            FromWorker::Shed { shed, lag } => {
                self.shed.change(shed, lag);
                Ok(None)
            }
            FromWorker::Turn { rendition, segment, every } => {
                self.counter(rendition)?;
                let fits = every == 0 || self.part_frames.is_multiple_of(every);
                if !fits || segment > SEGMENTS_MAX {
                    return Err(WireError::Invalid("turn"));
                }
                Ok(Some(Made::Turn { rendition: usize::from(rendition), segment, every }))
            }
            FromWorker::TurnRefused { rendition } => {
                tracing::warn!(rendition, "a faster preset would need another track; the rung keeps its own");
                self.metrics.presets_refused.inc();
                Ok(None)
            }
            FromWorker::Quality { rendition, ssim_ppm, psnr_mdb } => {
                let told = self.seen.measured(rendition, (ssim_ppm, psnr_mdb));
                told.map(|()| None).ok_or(WireError::Invalid("rendition"))
            }
            FromWorker::Paused { rendition, paused, ssim_ppm } => {
                let told = self.seen.turned(rendition, paused, ssim_ppm);
                told.map(|()| None).ok_or(WireError::Invalid("rendition"))
            }
            FromWorker::Track { rendition, config } => {
                self.counter(rendition)?;
                Ok(Some(Made::Track { rendition: usize::from(rendition), config }))
            }
            FromWorker::Frame { rendition, frame } => {
                self.counter(rendition)?.inc();
                if let Some(lag) = self.progress.made(&frame) {
                    self.metrics.lag.observe(lag.as_secs_f64());
                }
                Ok(Some(Made::Frame { rendition: usize::from(rendition), frame }))
            }
        }
    }

    fn counter(&self, rendition: u16) -> Result<&IntCounter, WireError> {
        self.renditions.get(usize::from(rendition)).ok_or(WireError::Invalid("rendition"))
    }
}

impl EndReason {
    pub(crate) const LABELS: [&str; 8] =
        ["finished", "failed", "died", "device", "hung", "overrun", "protocol", "abandoned"];

    fn label(&self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Failed(_) => "failed",
            Self::Died(_) => "died",
            Self::Device(_) => "device",
            Self::Hung(_) => "hung",
            Self::Overrun(_) => "overrun",
            Self::Protocol(_) => "protocol",
            Self::Abandoned => "abandoned",
        }
    }

    fn of_status(status: ExitStatus) -> Self {
        if status.success() { Self::Finished } else { Self::Died(status.to_string()) }
    }
}

/// More than any epoch has.
const SEGMENTS_MAX: u64 = 1 << 32;
/// Frames that wait for the packager, which only copies them: more is never needed, less would stall the worker.
const MADE_QUEUE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_limits_are_those_of_the_reference_configuration() {
        let config = config::Config::parse(config::REFERENCE, []).unwrap();
        assert_eq!(Limits::from(&config.origin.unwrap().worker), Limits::default());
    }
}
