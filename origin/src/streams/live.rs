//! A running epoch: source frames go in and to the worker, what comes back is cut and published.

use super::Context;
use super::arrivals::Arrivals;
use super::stream::{Encrypted, Opening, Stream, THUMBNAILS, Whole};
use super::subtitles::{Cut, Span, Subtitles, Taken};
use crate::clock::unix_ms;
use crate::epoch::{Break, Cutter, EpochId, Known, Numbers, Placer};
use crate::ingest::Said;
use crate::keys::Protection;
use crate::segmenter::{Grid, Part, Violation};
use crate::twin::Key;
use crate::window::PartLength;
use config::{AudioCodec, EncryptionMethod, Hardware, Ladder};
use manifest::Position;
use media::fmp4::Fmp4Error;
use media::{Frame, Timescale, TrackKind};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use transcode::{EndReason, Input, Job, Limits, Made, Make, Plan, Quality, Remote, Worker, WorkerError, WorkerInput};

pub(super) struct Live {
    pub(super) known: Known,
    pub(super) began: Instant,
    numbers: Numbers,
    plan: Plan,
    alone: bool,
    /// Its worker has ended, and what is passed through goes on to the next key frame.
    lost: bool,
    encryption: Option<EncryptionMethod>,
    grid: Grid,
    joined: Joined,
    cutter: Cutter,
    placer: Placer,
    worker: Option<WorkerInput>,
    arrivals: Arrivals,
    subtitles: Subtitles,
    /// Thumbnails that came before players know of the epoch; `None` from then on.
    early: Option<Vec<Whole>>,
    /// The rendition that always has pictures: what is passed through, or the smallest. Whether others are away.
    lead: usize,
    away: Vec<bool>,
    /// Sound that came before the picture which it goes with, as it came.
    ahead: VecDeque<Frame>,
    /// Segments from this one on are not of this epoch.
    ends_before: Option<u64>,
    /// The open segment of the lead, and how much of it there is, in seconds; and what comes next there.
    open: (u64, f64),
    next: Position,
    stream: Arc<Stream>,
}

/// Access units: a second's.
const AHEAD_MAX: usize = 47;

/// Where and when an epoch begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Zero {
    pub(super) numbers: Numbers,
    /// A key frame of the epoch: its presentation time on the source's clock, and its index from the epoch's zero.
    pub(super) key: (i64, i64),
    /// Frames that are held already and come at once.
    pub(super) backlog: usize,
    /// Without a worker: what is passed through and nothing else. Counts only where something is.
    pub(super) alone: bool,
    /// Whatever has a worker has one of this machine: those of others have failed.
    pub(super) here: bool,
}

/// Where this origin begins in an epoch that another one has begun: at its zero, if it has begun it itself.
#[derive(Clone, Copy, Debug, Default)]
struct Joined {
    segments: u64,
    /// Ticks of video, and samples, from the epoch's zero. The worker's time begins there, and its access units are those
    /// that would be there if it had begun at zero.
    video: i64,
    audio: i64,
}

/// Why an epoch could not begin.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("it is to be encrypted, and no key has come")]
    NoKey,
    #[error(transparent)]
    Config(#[from] Fmp4Error),
    #[error(transparent)]
    Worker(#[from] WorkerError),
}

/// Why an epoch cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The source does not do what it did during the analysis.
    #[error("the source left its grid: {0}")]
    OffGrid(Violation),
    #[error("the source cannot be followed: {0}")]
    Time(#[from] Break),
    #[error("the transcoding worker ended: {0}")]
    Worker(String),
}

impl Live {
    /// Begins an epoch for a known source; its frames come after.
    pub(super) fn start(
        context: &Context,
        stream: &Arc<Stream>,
        known: Known,
        (zero, plan, protection): (Zero, Plan, Option<Arc<Protection>>),
    ) -> Result<(Self, Option<mpsc::Receiver<Made>>), StartError> {
        let alone = zero.alone && passes_through(&plan);
        let plan = if alone { only_passed_through(plan) } else { plan };
        let grid = Grid::new(&plan);
        let Numbers { first_msn, zero_unix_ms, .. } = zero.numbers;
        let behind = stream.next_msn().map_or(0, |next| next.saturating_sub(first_msn));
        let joined = Joined::new(&grid, zero.key.1, (behind, makes_opus(&plan)));
        let first_here = first_msn + joined.segments;
        if protection.as_ref().is_some_and(|protection| protection.ring.lock().key(first_here).is_none()) {
            return Err(StartError::NoKey);
        }
        let encryption = protection.as_ref().map(|protection| protection.method);
        say_mixed_down(&stream.name, &known, &plan);
        let cutter = Cutter::new(&known, &plan, (first_msn, zero_unix_ms, joined.segments), protection)?;
        let (worker, made) = if plan.needs_worker() {
            let limits = Limits::from(&context.config.worker);
            let hardware = if stream.does_without_devices() { Hardware::Off } else { limits.hardware };
            let trials = context.trials.get().cloned().unwrap_or_default();
            let quality = Quality::of(&context.config.quality, &stream.name);
            let limits = Limits { queue: limits.queue + zero.backlog, hardware, trials, quality, ..limits };
            let job = Job { source: known.source.clone(), plan: plan.clone() };
            let metrics = &context.transcode_metrics;
            // What the worker logs, and what is logged of it, is of this stream.
            let started = tracing::info_span!("worker", stream = %stream.name).in_scope(|| {
                match context.remote.as_ref().filter(|_| !zero.here).and_then(Remote::take) {
                    Some(call) => Worker::start_elsewhere(call, &job, &limits, metrics),
                    None => Worker::start(&context.program, &job, &limits, metrics),
                }
            });
            let (input, made) = started?;
            (Some(input), Some(made))
        } else {
            (None, None)
        };
        let gop = known.source.gop.filter(|_| passes_through(&plan));
        let mut subtitles = Subtitles::new(
            &context.config.subtitles,
            (&stream.name, &stream.texts()),
            (zero_unix_ms, plan.rate.timescale()),
        );
        subtitles.join(Duration::from_secs_f64(grid.segment_s() * joined.segments as f64));
        let mut live = Self {
            subtitles,
            early: Some(Vec::new()),
            lead: lead(&plan),
            away: vec![false; plan.renditions.len()],
            ahead: VecDeque::new(),
            ends_before: None,
            open: (first_msn, 0.0),
            next: Position { msn: first_here, part: 0 },
            began: Instant::now(),
            numbers: zero.numbers,
            placer: Placer::new(plan.rate, gop, zero.key),
            stream: Arc::clone(stream),
            arrivals: Arrivals::default(),
            known,
            plan,
            alone,
            lost: false,
            encryption,
            grid,
            joined,
            cutter,
            worker,
        };
        live.open(context);
        Ok((live, made))
    }

    /// Whether it has nothing that a worker makes, for want of a worker that lives.
    pub(super) fn is_alone(&self) -> bool {
        self.alone
    }

    /// Its worker has ended. Whether it goes on all the same up to the next key frame, for what is passed through.
    pub(super) fn lose_worker(&mut self) -> bool {
        // Before all renditions are set up players know of none.
        if self.early.is_none() && self.passes_through() {
            (self.worker, self.lost) = (None, true);
        }
        self.lost
    }

    pub(super) fn has_lost_worker(&self) -> bool {
        self.lost
    }

    /// Whether the epoch can end before a key frame with this presentation time, on the source's clock: where a segment
    /// begins. Those of a source that is encoded anew need not be there, and any will do.
    pub(super) fn can_end_before(&self, pts_ms: i64) -> bool {
        !self.passes_through() || self.placer.key_index_at(pts_ms) % i64::from(self.plan.segment_frames) == 0
    }

    /// The epoch is to have nothing behind this key frame. What came of sound that is: it belongs to the next.
    pub(super) fn end_before(&mut self, pts_ms: i64) -> Vec<Frame> {
        if self.passes_through() {
            let segments = self.grid.segments_before(self.placer.key_index_at(pts_ms).max(0) as u64);
            self.ends_before = Some(self.numbers.first_msn + segments);
        }
        self.ahead.drain(..).filter(|sound| sound.pts >= pts_ms).collect()
    }

    pub(super) fn passes_through(&self) -> bool {
        passes_through(&self.plan)
    }

    pub(super) fn id(&self) -> EpochId {
        EpochId(self.numbers.id)
    }

    /// The date of a time of the source. It is that of a picture, so that two origins of one source say the same.
    pub(super) fn unix_ms(&self, source_ms: i64) -> i64 {
        let index = self.placer.index_at(source_ms);
        self.numbers.zero_unix_ms + self.plan.rate.ticks_of_index(index, Timescale::MILLISECONDS)
    }

    /// Takes a frame of the source; `received` unless it was held before the epoch began.
    pub(super) fn source(&mut self, context: &Context, frame: &Frame, received: Option<Instant>) -> Result<(), Broken> {
        let Some(placed) = self.placer.place(frame)? else { return Ok(()) };
        self.keep_ahead(frame);
        if context.config.twin.is_some() && placed.kind == TrackKind::Video && placed.keyframe {
            let index = placed.pts / i64::from(self.plan.rate.frame_ticks());
            self.stream.pairing.lock().saw(Key::of(&placed, index, unix_ms()));
        }
        let own = self.joined.shift(&placed, -1);
        if self.joined.leaves_out(&own) {
            return Ok(());
        }
        let (ticks, rate) = match placed.kind {
            TrackKind::Video => (placed.pts + i64::from(self.plan.rate.frame_ticks()), self.plan.rate.timescale().0),
            TrackKind::Audio => (placed.pts + i64::from(transcode::ACCESS_UNIT_SAMPLES), transcode::AUDIO_RATE),
        };
        self.arrivals.note(&placed, ticks as f64 / f64::from(rate), received);
        let input = match placed.kind {
            TrackKind::Video => Input::Video(own),
            TrackKind::Audio => Input::Audio(own),
        };
        if let Some(worker) = &self.worker {
            // A worker that does not take it has ended or is being ended, and says so itself.
            let _ = worker.try_send(input);
        }
        if placed.kind == TrackKind::Video {
            let parts = self.cutter.source(placed).map_err(Broken::OffGrid)?;
            self.publish(context, parts);
        }
        Ok(())
    }

    /// What comes in a second at the most: sources interleave more closely.
    fn keep_ahead(&mut self, frame: &Frame) {
        match frame.kind {
            TrackKind::Video => self.ahead.retain(|sound| sound.pts >= frame.dts),
            TrackKind::Audio => {
                self.ahead.push_back(frame.clone());
                if self.ahead.len() > AHEAD_MAX {
                    self.ahead.pop_front();
                }
            }
        }
    }

    /// Takes what the worker made.
    pub(super) fn made(&mut self, context: &Context, made: Made) -> Result<(), Broken> {
        // A worker that leaves the grid is as good as dead.
        let fault = |fault: &dyn std::fmt::Display| Broken::Worker(fault.to_string());
        match made {
            Made::Track { rendition, config } => {
                self.cutter.track(rendition, config).map_err(|error| fault(&error))?;
                self.open(context);
            }
            Made::Frame { rendition, frame } => {
                let parts = self
                    .cutter
                    .frame(rendition, self.joined.shift(&frame, 1))
                    .map_err(|violation| fault(&violation))?;
                self.publish(context, parts);
            }
            Made::Thumbnails { segment, frames, data } => {
                let duration_s = if frames == self.plan.segment_frames {
                    self.grid.segment_s()
                } else {
                    f64::from(frames) / self.plan.rate.hz()
                };
                let msn = self.numbers.first_msn + self.joined.segments + segment;
                self.thumbnails(context, Whole { msn, bytes: data, duration_s });
            }
            Made::Turn { rendition, segment, every } => self.turn(context, rendition, (segment, every))?,
            Made::Ended { reason } => {
                if let EndReason::Device(_) = reason {
                    self.stream.leave_devices();
                }
                return Err(fault(&reason));
            }
        }
        Ok(())
    }

    /// The source sends no more: the worker is to finish what it has.
    pub(super) fn finish(&mut self) {
        if let Some(worker) = self.worker.take() {
            // Dropping the sender says the same, where the queue is full.
            let _ = worker.try_send(Input::Finish);
        }
    }

    /// The end: what is open is published as it is. Where another origin may go on with the epoch, it stays open: what was
    /// cut short here would be other bytes under one name.
    pub(super) fn close(mut self, context: &Context) {
        if context.config.twin.is_some() {
            return;
        }
        let mut parts = self.cutter.flush();
        // Sound behind the last picture would be a segment that no other rendition has: encoders fill up what they hold.
        let (msn, open_s) = self.open;
        let last_msn = if open_s > 0.0 { msn } else { msn.saturating_sub(1) };
        let pictures = parts.iter().filter(|(index, _)| *index == self.lead).map(|(_, part)| part.at.msn);
        let last_msn = pictures.chain([last_msn]).max().unwrap_or(last_msn);
        parts.retain(|(_, part)| part.at.msn <= last_msn);
        self.publish(context, parts);
        let (msn, open_s) = self.open;
        if open_s > 0.0 {
            self.publish_texts(msn, open_s);
        }
        self.stream.break_off(Instant::now(), unix_ms());
    }

    /// A rendition goes, comes back, or has other pictures, from a segment on that is counted as the worker does.
    fn turn(&mut self, context: &Context, index: usize, (segment, every): (u64, u32)) -> Result<(), Broken> {
        let Some(was) = self.away.get_mut(index).map(|away| std::mem::replace(away, every == 0)) else { return Ok(()) };
        let first_msn = self.numbers.first_msn;
        let mut msn = first_msn + self.joined.segments + segment;
        if was && every > 0 && self.early.is_none() {
            // What has been listed as a gap stays one.
            msn = msn.max(self.stream.untold_msn(index).unwrap_or(0));
        }
        let turned = self.cutter.turn(index, (msn - first_msn, every));
        let parts = turned.map_err(|violation| Broken::Worker(violation.to_string()))?;
        self.publish(context, parts);
        if was == (every == 0) {
            return Ok(());
        }
        if self.early.is_none() {
            self.stream.set_away(index, (msn, every == 0));
            if every > 0 {
                // It may come back within a segment of the lead, of which it has listed a part as missing.
                self.stream.miss(index, Position { msn, part: 0 }, self.part_length(), Instant::now());
            }
            self.lack();
        }
        Ok(())
    }

    fn part_length(&self) -> PartLength {
        let per_segment = self.grid.parts_per_segment();
        PartLength { s: self.grid.segment_s() / f64::from(per_segment), per_segment }
    }

    /// What the lead has and others lack, because they are away or of another plan, is listed as gaps.
    fn lack(&self) {
        if self.early.is_none() {
            self.stream.miss_away(self.next, self.part_length(), Instant::now());
        }
    }

    fn open(&mut self, context: &Context) {
        let Some(tracks) = self.cutter.opened() else { return };
        let Self { numbers, joined: Joined { segments: joined, .. }, known, plan, encryption, .. } = &*self;
        let (numbers, joined, encryption) = (*numbers, *joined, *encryption);
        let encryption = encryption.map(Encrypted::by);
        let texts = self.subtitles.tracks().cloned().collect();
        self.stream.open(Opening { numbers, joined, known, plan, encryption, tracks, texts }, Instant::now());
        let (epoch, first_msn) = (self.id(), numbers.first_msn + joined);
        tracing::info!(stream = %self.stream.name, %epoch, first_msn, "epoch opened");
        let early = self.early.take();
        for (index, _) in self.away.iter().enumerate().filter(|(_, away)| **away) {
            self.stream.set_away(index, (first_msn, true));
        }
        let waiting = self.cutter.take_waiting();
        self.publish(context, waiting);
        for whole in early.unwrap_or_default() {
            self.thumbnails(context, whole);
        }
    }

    /// Takes a text of the publisher; what came of it, as metrics name it.
    pub(super) fn text(&mut self, said: &Said) -> &'static str {
        let index = self.placer.index_at(said.at_ms);
        match self.subtitles.said(said, self.plan.rate.ticks_of_index(index, Timescale::MILLISECONDS)) {
            Taken::Known => "shown",
            Taken::New(track) => {
                if self.early.is_none() {
                    self.stream.add_text(track, Instant::now());
                }
                "shown"
            }
            Taken::TooMany => "bounded",
        }
    }

    fn thumbnails(&mut self, context: &Context, whole: Whole) {
        if let Some(early) = &mut self.early {
            early.push(whole);
        } else if !self.stream.publish_beside(THUMBNAILS, whole, Instant::now()) {
            context.metrics.thumbnails_late.inc();
        }
    }

    /// The text of a segment of the lead, which lasts so many seconds.
    fn publish_texts(&mut self, msn: u64, duration_s: f64) {
        let rate = self.plan.rate;
        let segment = u64::from(self.plan.segment_frames) * u64::from(rate.frame_ticks());
        let begin = msn.saturating_sub(self.numbers.first_msn) * segment;
        let ticks = (duration_s * f64::from(rate.timescale().0)).round() as u64;
        for Cut { track, file, fragment } in self.subtitles.segment(&Span { msn, ticks: begin..begin + ticks }) {
            let fragments = track.fragments().zip(fragment);
            for (name, bytes) in std::iter::once((track.name, file.into())).chain(fragments) {
                // A track that began a moment ago may not have this segment.
                self.stream.publish_beside(&name, Whole { msn, bytes, duration_s }, Instant::now());
            }
        }
    }

    fn publish(&mut self, context: &Context, parts: Vec<(usize, Part)>) {
        let ends_before = self.ends_before;
        for (index, part) in parts.into_iter().filter(|(_, part)| ends_before.is_none_or(|end| part.at.msn < end)) {
            let Some(rendition) = self.plan.renditions.get(index) else { continue };
            let (make, kind) = match rendition.make {
                Make::Passthrough => ("passthrough", TrackKind::Video),
                Make::Video(_) => ("encoded", TrackKind::Video),
                Make::Audio { .. } => ("audio", TrackKind::Audio),
            };
            let at = part.at;
            // One that is a whole segment ends with it.
            let last = if part.ends_segment { self.grid.parts_per_segment() - 1 } else { at.part };
            let end_s = self.grid.part_end_s(self.numbers.first_msn, Position { part: last, ..at });
            let (duration_s, ends_segment) = (part.duration_s, part.ends_segment);
            if !self.stream.publish(index, part, Instant::now()) {
                tracing::error!(stream = %self.stream.name, rendition = %rendition.name, %at, "part out of turn");
                continue;
            }
            context.metrics.parts.with_label_values(&[make]).inc();
            if let Some(received) = self.arrivals.complete(kind, end_s) {
                let delay = received.elapsed();
                context.metrics.part_delay.with_label_values(&[make]).observe(delay.as_secs_f64());
                if delay > self.plan.part_target {
                    // The histogram tells operators; a line for each would flood where a machine is too slow.
                    tracing::debug!(stream = %self.stream.name, rendition = %rendition.name, %at, ?delay, "part late");
                }
            }
            if index == self.lead {
                self.open = (at.msn, self.open.1 + duration_s);
                self.next = Position { part: at.part + 1, ..at };
                if ends_segment {
                    let (msn, duration_s) = std::mem::replace(&mut self.open, (at.msn + 1, 0.0));
                    self.next = Position { msn: at.msn + 1, part: 0 };
                    self.publish_texts(msn, duration_s);
                }
                self.lack();
            }
        }
    }
}

impl Joined {
    /// `index` is a key frame that is here; what is joined begins with a whole segment, and not before the segment `behind`
    /// of the epoch.
    fn new(grid: &Grid, index: i64, (behind, makes_opus): (u64, bool)) -> Self {
        let segments = grid.segments_before(index.max(0) as u64).max(behind);
        let part = segments * u64::from(grid.parts_per_segment());
        let samples = grid.part_start(part, transcode::AUDIO_RATE);
        let audio = if makes_opus {
            // What is made before the segment begins is left out again.
            samples.div_euclid(COMMON) * COMMON
        } else {
            (samples + UNIT - 1).div_euclid(UNIT) * UNIT
        };
        Self { segments, video: grid.part_start(part, grid.rate.timescale().0), audio }
    }

    /// Whether this frame, in the worker's time, is of a segment that another origin has made.
    fn leaves_out(&self, own: &Frame) -> bool {
        let length = if own.kind == TrackKind::Audio { i64::from(transcode::ACCESS_UNIT_SAMPLES) } else { 1 };
        self.segments > 0 && own.pts + length <= 0
    }

    /// The frame in the epoch's time, out of the worker's; `sign` is -1 for the other way.
    fn shift(&self, frame: &Frame, sign: i64) -> Frame {
        let ticks = sign * if frame.kind == TrackKind::Video { self.video } else { self.audio };
        Frame { dts: frame.dts + ticks, pts: frame.pts + ticks, ..frame.clone() }
    }
}

fn makes_opus(plan: &Plan) -> bool {
    plan.renditions.iter().any(|rendition| matches!(rendition.make, Make::Audio { codec: AudioCodec::Opus, .. }))
}

/// Nobody is to wonder where channels have gone.
fn say_mixed_down(stream: &str, known: &Known, plan: &Plan) {
    let from = known.source.audio.as_ref().map(transcode::channels);
    let to = plan.renditions.iter().find_map(|rendition| match rendition.make {
        Make::Audio { channels, .. } => Some(channels),
        Make::Passthrough | Make::Video(_) => None,
    });
    if let (Some(from), Some(to)) = (from, to)
        && to < from
    {
        tracing::info!(stream, from, to, "sound is mixed down, as origin.ladder.audio_channels_max says");
    }
}

const UNIT: i64 = transcode::ACCESS_UNIT_SAMPLES as i64;
/// Access units of AAC and packets of Opus begin together every 0.32 s: the least common multiple of 1024 and 960.
const COMMON: i64 = 15_360;

/// The plan of an epoch that comes after those which were made by the plan `before`.
pub(super) fn plan(
    context: &Context,
    (stream, ladder): (&str, &Ladder),
    (known, before): (&Known, Option<&Plan>),
) -> Plan {
    let segmenting = context.config.segmenting(stream);
    match before {
        Some(before) => transcode::plan_after(before, &known.source, &segmenting, ladder),
        None => transcode::plan(&known.source, &segmenting, ladder),
    }
}

/// Which rendition of a plan a worker that is behind never leaves out.
fn lead(plan: &Plan) -> usize {
    let passed = plan.renditions.iter().position(|rendition| rendition.make == Make::Passthrough);
    let smallest = || plan.renditions.iter().rposition(|rendition| rendition.make.encoding().is_some());
    passed.or_else(smallest).unwrap_or(0)
}

pub(super) fn passes_through(plan: &Plan) -> bool {
    plan.renditions.iter().any(|rendition| rendition.make == Make::Passthrough)
}

/// On the same grid, so that the rest can join in a later epoch.
fn only_passed_through(mut plan: Plan) -> Plan {
    plan.renditions.retain(|rendition| rendition.make == Make::Passthrough);
    plan.thumbnails = None;
    plan
}
