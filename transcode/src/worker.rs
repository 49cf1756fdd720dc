//! The child process: decodes the source once, scales in a cascade, encodes every rung on one frame grid.
//!
//! The main thread reads and decodes; each rung and the audio have a thread that encodes and writes. All queues are
//! short, so a slow encoder is felt at standard input, where the origin sees it and decides.

mod annexb;
mod audio;
mod ffi;
mod grid;
mod lifeline;
mod output;
mod rung;
mod scaler;
mod source;
mod x264;

use crate::wire::{self, FromWorker, Job, ToWorker, WireError};
use crate::{AUDIO_RATE, Make, Rendition};
use audio::Audio;
use bytes::BytesMut;
use media::{Frame, FrameRate, Timescale, TrackKind};
use output::Output;
use rung::{Picture, Rung};
use source::Source;
use std::io::Read;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use x264::Settings;

/// Why a worker ends before its work is done. Each is one sentence for the origin's log.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    #[error("the origin does not listen any more")]
    OriginGone,
    #[error("cannot use standard output: {0}")]
    Output(std::io::Error),
    #[error("cannot read from the origin: {0}")]
    Input(std::io::Error),
    #[error("the origin broke the protocol: {0}")]
    Protocol(#[from] WireError),
    #[error("this build of FFmpeg has no {0}; install Debian's libavcodec59")]
    Missing(&'static str),
    #[error("cannot {what}: {source}")]
    Codec { what: &'static str, source: ffmpeg_next::Error },
    #[error("the encoder {encoder} does not know the option {option}")]
    Option { encoder: &'static str, option: String },
    #[error("the encoder gave a bitstream without parameter sets")]
    Bitstream,
    #[error("the source jumped over {frames} frames, more than can be filled; it needs a new epoch")]
    Jump { frames: i64 },
    #[error("the job asks for audio, and the source has none")]
    NoAudio,
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    #[error("a thread of the worker panicked")]
    Panicked,
}

type Work = JoinHandle<Result<(), WorkError>>;

/// Runs a worker on standard input and output until its input ends. Call it from a program's `main`: it never shares
/// the process with anything else, and may end it. An error has been told to the origin already.
pub fn main() -> Result<(), WorkError> {
    let output = Output::stdout().map_err(WorkError::Output)?;
    lifeline::hold();
    match run(std::io::stdin().lock(), &output) {
        // Whoever closed the pipe knows why; there is nobody to tell.
        Ok(()) | Err(WorkError::OriginGone) => Ok(()),
        Err(error) => {
            let _ = output.send(&FromWorker::Failed { reason: error.to_string() });
            Err(error)
        }
    }
}

fn run(input: impl Read, output: &Output) -> Result<(), WorkError> {
    ffmpeg_next::init().map_err(|source| WorkError::Codec { what: "start FFmpeg", source })?;
    ffmpeg_next::log::set_level(ffmpeg_next::log::Level::Warning);
    let mut messages = Messages { input, buffer: BytesMut::with_capacity(1 << 16) };
    output.send(&FromWorker::Hello)?;
    let job = match messages.next()? {
        Some(ToWorker::Hello(job)) => *job,
        Some(_) => return Err(WireError::Invalid("first message: it must be a hello").into()),
        None => return Ok(()),
    };
    let mut pipeline = Pipeline::start(&job, output)?;
    let fed = pipeline.feed_all(&mut messages);
    let worked = pipeline.finish();
    // A thread that failed closes its queue, so the feeding fails too; the cause is the thread's.
    worked.and(fed)
}

/// Messages from the origin, until it finishes or closes the pipe.
struct Messages<R> {
    input: R,
    buffer: BytesMut,
}

impl<R: Read> Messages<R> {
    fn next(&mut self) -> Result<Option<ToWorker>, WorkError> {
        let mut chunk = [0; 1 << 16];
        loop {
            if let Some(message) = wire::decode(&mut self.buffer)? {
                return Ok(Some(message));
            }
            match self.input.read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => (),
                Err(error) => return Err(WorkError::Input(error)),
            }
        }
    }
}

struct Pipeline {
    rate: FrameRate,
    source: Option<Source>,
    audio: Option<SyncSender<audio::Input>>,
    threads: Vec<Work>,
}

impl Pipeline {
    fn start(job: &Job, output: &Output) -> Result<Self, WorkError> {
        let mut threads = Vec::new();
        let (mut next, mut audio) = (None, None);
        // From the smallest rung up, since each hands its picture down to the next.
        for (index, rendition) in job.plan.renditions.iter().enumerate().rev() {
            if let Some(settings) = Settings::of(&job.plan, &rendition.make) {
                let (sender, receiver) = sync_channel(rung::PICTURES_MAX);
                let rung = Rung::new(settings, index as u16, next.take(), output.clone());
                threads.push(spawn(rendition, move || rung.run(&receiver))?);
                next = Some(sender);
            }
            if let Make::Audio { bitrate } = rendition.make {
                let config = job.source.audio.as_ref().ok_or(WorkError::NoAudio)?;
                let (sender, receiver) = sync_channel(audio::INPUTS_MAX);
                let track = Audio::new(config, bitrate, index as u16, output.clone())?;
                threads.push(spawn(rendition, move || track.run(&receiver))?);
                audio = Some(sender);
            }
        }
        let source = next.map(|rungs: SyncSender<Picture>| Source::new(job, rungs, output.clone())).transpose()?;
        Ok(Self { rate: job.source.rate, source, audio, threads })
    }

    fn feed_all(&mut self, messages: &mut Messages<impl Read>) -> Result<(), WorkError> {
        while let Some(message) = messages.next()? {
            match message {
                ToWorker::Frame(frame) => self.feed(frame)?,
                ToWorker::Finish => break,
                ToWorker::Hello(_) => return Err(WireError::Invalid("message: a second hello").into()),
            }
        }
        match &mut self.source {
            Some(source) => source.finish(),
            None => Ok(()),
        }
    }

    fn feed(&mut self, frame: Frame) -> Result<(), WorkError> {
        let input = match frame.kind {
            TrackKind::Audio => audio::Input::Frame(frame),
            TrackKind::Video => {
                let index = match &mut self.source {
                    Some(source) => source.feed(&frame)?,
                    None => frame.pts.div_euclid(i64::from(self.rate.frame_ticks())),
                };
                audio::Input::VideoReached(self.rate.ticks_of_index(index, Timescale(AUDIO_RATE)))
            }
        };
        match &self.audio {
            Some(audio) => audio.send(input).map_err(|_| WorkError::Panicked),
            None => Ok(()),
        }
    }

    /// Closes every queue, waits until all is encoded, and gives the first cause of failure.
    fn finish(self) -> Result<(), WorkError> {
        let Self { source, audio, threads, .. } = self;
        drop((source, audio));
        let results: Vec<_> =
            threads.into_iter().map(|thread| thread.join().unwrap_or(Err(WorkError::Panicked))).collect();
        results.into_iter().collect()
    }
}

fn spawn(
    rendition: &Rendition,
    work: impl FnOnce() -> Result<(), WorkError> + Send + 'static,
) -> Result<Work, WorkError> {
    std::thread::Builder::new().name(rendition.name.clone()).spawn(work).map_err(WorkError::Thread)
}
