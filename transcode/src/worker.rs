//! The child process: decodes the source once, scales in a cascade, encodes every rung on one frame grid.
//!
//! The main thread reads, and waits for nobody but the audio; the picture's decoder, each rung and the audio have a thread
//! each. Decoded pictures are large, so the queues between rungs are short, and a slow rung is felt by the decoder. What
//! waits for that is coded and bounded: past it the worker says that it is too slow, and ends. So sound never waits for
//! pictures.

mod audio;
mod backlog;
mod encoder;
mod encoders;
mod ffi;
mod grid;
mod lifeline;
mod output;
mod pace;
mod quality;
mod rung;
mod scaler;
mod source;
mod thumbnails;

use crate::hardware::{Trial, choose};
use crate::keeping::{self, Keeper, Keeping};
use crate::plan::gcd;
use crate::wire::{self, FromWorker, Job, ToWorker, WireError};
use crate::{AUDIO_RATE, Make, Quality};
use audio::{Audio, Wanted};
use backlog::{Backlog, backlog};
use bytes::BytesMut;
use config::Hardware;
use encoder::Settings;
pub use encoders::{MissingEncoder, check_encoders};
use media::{CodecError, Frame, FrameRate, Timescale, TrackKind};
use output::Output;
use pace::Pace;
use quality::{Pauses, Tap, measuring};
use rung::{Below, Rung};
use source::Source;
use std::io::Read;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use thumbnails::Thumbnailer;

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
    #[error("an encoder gave what cannot be read")]
    Bitstream,
    #[error("an encoder gave a header of no use: {0}")]
    Header(#[from] CodecError),
    #[error("picture {index} has a key frame where there must be none, or has none where there must be one")]
    Misplaced { index: i64 },
    #[error("the source jumped over {frames} frames, more than can be filled; it needs a new epoch")]
    Jump { frames: i64 },
    #[error("the job asks for audio, and the source has none")]
    NoAudio,
    #[error("too many frames of the source wait for the encoders; the machine is too slow for the ladder")]
    Overrun,
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    #[error("a thread of the worker panicked")]
    Panicked,
    #[error("the device's encoder {encoder} failed: {source}")]
    Device { encoder: &'static str, source: Box<Self> },
}

impl WorkError {
    /// The same as a fault of the device's encoder that it came from, if any. One that was told so stays.
    fn of_device(self, encoder: Option<&'static str>) -> Self {
        match (encoder, self) {
            (Some(encoder), source) if !matches!(source, Self::Device { .. }) => {
                Self::Device { encoder, source: Box::new(source) }
            }
            (_, error) => error,
        }
    }
}

type Work = JoinHandle<Result<(), WorkError>>;
/// Closed when nothing more is measured.
type Measured = Receiver<()>;

/// How long the last pictures may be looked at when all is encoded.
const LAST_LOOK_MAX: Duration = Duration::from_millis(100);

/// Runs a worker on standard input and output until its input ends. Call it from a program's `main`: it never shares
/// the process with anything else, and may end it. An error has been told to the origin already.
pub fn main() -> Result<(), WorkError> {
    let output = Output::stdout().map_err(WorkError::Output)?;
    lifeline::hold(&output);
    match run(std::io::stdin().lock(), &output) {
        // Whoever closed the pipe knows why; there is nobody to tell.
        Ok(()) | Err(WorkError::OriginGone) => Ok(()),
        Err(error) => {
            say(&error, &output);
            Err(error)
        }
    }
}

/// The last words of a worker that fails.
fn say(error: &WorkError, output: &Output) {
    let last = match error {
        WorkError::Overrun => FromWorker::Overrun,
        WorkError::Device { .. } => FromWorker::DeviceFailed { reason: error.to_string() },
        error => FromWorker::Failed { reason: error.to_string() },
    };
    // An origin that is gone needs no words.
    let _ = output.send(&last);
}

fn run(input: impl Read, output: &Output) -> Result<(), WorkError> {
    ffmpeg_next::init().map_err(|source| WorkError::Codec { what: "start FFmpeg", source })?;
    ffmpeg_next::log::set_level(ffmpeg_next::log::Level::Warning);
    let mut messages = Messages { input, buffer: BytesMut::with_capacity(1 << 16) };
    output.send(&FromWorker::Hello)?;
    let mut trials = Vec::new();
    let (job, limits, hardware) = loop {
        match messages.next()? {
            Some(ToWorker::Hello { job, backlog_max, keeping, hardware, quality }) => {
                break (*job, (backlog_max, keeping, quality), hardware);
            }
            Some(ToWorker::Trials(told)) => trials = told,
            Some(ToWorker::Trial { encoder }) => {
                let fault = encoder::trial(&encoder).err().map(|error| root(&error).to_string());
                return output.send(&FromWorker::Tried { fault });
            }
            Some(_) => return Err(WireError::Invalid("first message: it must be a hello").into()),
            None => return Ok(()),
        }
    };
    let mut pipeline = Pipeline::start(&job, &limits, (hardware, &trials), output)?;
    let fed = pipeline.feed_all(&mut messages);
    if let Err(WorkError::Overrun) = fed {
        // What waits would take longer than anybody waits for it.
        return fed;
    }
    let worked = pipeline.finish();
    // A thread that panicked closes its queue, so the feeding fails too.
    worked.and(fed)
}

/// What is behind it, where the encoder's name says nothing new.
fn root(error: &WorkError) -> &WorkError {
    match error {
        WorkError::Device { source, .. } => source,
        error => error,
    }
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
    video: Option<Backlog>,
    audio: Option<SyncSender<audio::Input>>,
    threads: Vec<Work>,
    measured: Option<Measured>,
}

impl Pipeline {
    fn start(
        job: &Job,
        (backlog_max, keeping, quality): &(u32, Keeping, Quality),
        (hardware, trials): (Hardware, &[Trial]),
        output: &Output,
    ) -> Result<Self, WorkError> {
        let encoded = || job.plan.renditions.iter().filter(|rendition| rendition.make.encoding().is_some());
        let (pace, mut place) =
            (Pace::new(encoded().count(), keeping::bearable(&job.plan, keeping)), encoded().count());
        let mut threads = Vec::new();
        let (mut taps, pauses, measured) = measure((job, quality), output)?;
        let mut next = None;
        if let Some(thumbnails) = &job.plan.thumbnails {
            let (sender, receiver) = sync_channel(rung::PICTURES_MAX);
            let (thumbnails, segment, out) = (thumbnails.clone(), job.plan.segment_frames, output.clone());
            let work = move || Thumbnailer::new(&thumbnails, segment, out).run(&receiver);
            threads.push(spawn("thumbnails", output, work)?);
            next = Some(Below { pictures: sender, every: 1 });
        }
        // From the smallest rung up, since each hands its picture down to the next.
        for (index, rendition) in job.plan.renditions.iter().enumerate().rev() {
            if let Some(settings) = Settings::of(&job.plan, &rendition.make) {
                let (pictures, receiver) = sync_channel(rung::PICTURES_MAX);
                // What no rung from here down has is not scaled.
                let every = next.as_ref().map_or(0, |below| below.every);
                let every = gcd(settings.encoding.every, every);
                place -= 1;
                let choice = choose(hardware, settings.encoding.codec, trials);
                let settings = settings.by(choice.engine);
                let who = (index as u16, place, choice.why);
                let rung = Rung::new(settings, who, next.take(), (output.clone(), pace.clone(), taps.pop()));
                threads.push(spawn(&rendition.name, output, move || rung.run(&receiver))?);
                next = Some(Below { pictures, every });
            }
        }
        let audio = sound(job, output, &mut threads)?;
        let mut video = None;
        if let Some(rungs) = next {
            let keeper = Keeper::new(&job.plan, keeping);
            let source = Source::new(job, rungs, (output.clone(), pace, keeper, pauses))?;
            let (sender, pictures) = backlog(*backlog_max);
            threads.push(spawn("source", output, move || source.run(pictures))?);
            video = Some(sender);
        }
        Ok(Self { rate: job.plan.rate, video, audio, threads, measured })
    }

    fn feed_all(&mut self, messages: &mut Messages<impl Read>) -> Result<(), WorkError> {
        while let Some(message) = messages.next()? {
            match message {
                ToWorker::Frame(frame) => self.feed(frame)?,
                ToWorker::Finish => break,
                ToWorker::Hello { .. } | ToWorker::Trials(_) | ToWorker::Trial { .. } => {
                    return Err(WireError::Invalid("message: a second hello").into());
                }
            }
        }
        Ok(())
    }

    fn feed(&mut self, frame: Frame) -> Result<(), WorkError> {
        if let Some(video) = &mut self.video {
            video.count()?;
        }
        match frame.kind {
            TrackKind::Audio => self.tell_audio(audio::Input::Frame(frame)),
            TrackKind::Video => {
                let index = frame.pts.div_euclid(i64::from(self.rate.frame_ticks())) + 1;
                let reached = self.rate.ticks_of_index(index, Timescale(AUDIO_RATE));
                if let Some(video) = &mut self.video {
                    video.push(frame)?;
                }
                self.tell_audio(audio::Input::VideoReached(reached))
            }
        }
    }

    fn tell_audio(&self, input: audio::Input) -> Result<(), WorkError> {
        match &self.audio {
            Some(audio) => audio.send(input).map_err(|_| WorkError::Panicked),
            None => Ok(()),
        }
    }

    /// Closes every queue, waits until all is encoded, and gives the first cause of failure.
    fn finish(self) -> Result<(), WorkError> {
        let Self { video, audio, threads, measured, .. } = self;
        drop((video, audio));
        let results: Vec<_> =
            threads.into_iter().map(|thread| thread.join().unwrap_or(Err(WorkError::Panicked))).collect();
        if let Some(measured) = measured {
            // What it has to say is of no use to anybody who waits for the end.
            let _ = measured.recv_timeout(LAST_LOOK_MAX);
        }
        results.into_iter().collect()
    }
}

/// One thread that measures what the rungs look like, where that is wanted: where the rungs tell it, what follows for them, and
/// its end.
fn measure(
    (job, quality): (&Job, &Quality),
    output: &Output,
) -> Result<(Vec<Tap>, Pauses, Option<Measured>), WorkError> {
    let Some((taps, measuring)) = measuring(&job.plan, quality, output) else {
        return Ok((Vec::new(), Pauses::default(), None));
    };
    let pauses = measuring.pauses();
    let (over, measured) = channel();
    let work = move || {
        // Rungs go on without it.
        if let Err(error) = measuring.run() {
            eprintln!("quality is not measured any more: {error}");
        }
        drop(over);
    };
    std::thread::Builder::new().name("quality".to_owned()).spawn(work).map_err(WorkError::Thread)?;
    Ok((taps, pauses, Some(measured)))
}

/// One thread for all sound, where there is any.
fn sound(job: &Job, output: &Output, threads: &mut Vec<Work>) -> Result<Option<SyncSender<audio::Input>>, WorkError> {
    let mut wanted = Vec::new();
    let mut most = 0;
    for (index, rendition) in job.plan.renditions.iter().enumerate() {
        if let Make::Audio { codec, bitrate, channels } = rendition.make {
            wanted.push(Wanted { rendition: index as u16, codec, bitrate });
            most = channels;
        }
    }
    if wanted.is_empty() {
        return Ok(None);
    }
    let config = job.source.audio.as_ref().ok_or(WorkError::NoAudio)?;
    let (sender, receiver) = sync_channel(audio::INPUTS_MAX);
    let audio = Audio::new(config, most, &wanted, output.clone())?;
    threads.push(spawn("audio", output, move || audio.run(&receiver))?);
    Ok(Some(sender))
}

/// A thread that fails ends the process: the main thread may be waiting for input that never comes.
fn spawn(
    name: &str,
    output: &Output,
    work: impl FnOnce() -> Result<(), WorkError> + Send + 'static,
) -> Result<Work, WorkError> {
    let output = output.clone();
    let work = move || {
        let result = work();
        match &result {
            // A queue that was closed from the other end: whoever did that says why.
            Ok(()) | Err(WorkError::Panicked) => result,
            // There is nobody to tell, and nobody to work for.
            Err(WorkError::OriginGone) => std::process::exit(0),
            Err(error) => {
                say(error, &output);
                std::process::exit(1)
            }
        }
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(WorkError::Thread)
}
