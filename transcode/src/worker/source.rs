//! The source's video: decoded once, put on the grid, handed to the tallest rung. Where a segment begins it is decided here
//! what to leave out of that.

use super::backlog::Pictures;
use super::grid::{Grid, Place};
use super::output::Output;
use super::pace::Pace;
use super::quality::Pauses;
use super::rung::{Below, Picture};
use super::{WorkError, ffi};
use crate::keeping::{Keeper, Shed};
use crate::pausing::Paused;
use crate::wire::{FromWorker, Job, Repair};
use ffmpeg_next::codec::{Context, Id, threading};
use ffmpeg_next::frame::Video;
use ffmpeg_next::{Error, Packet, decoder};
use media::{AvcConfig, Frame, FrameRate};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) struct Source {
    decoder: decoder::Video,
    grid: Grid,
    last: Option<Arc<Video>>,
    rate: FrameRate,
    segment_frames: i64,
    /// When the frames came that are in the decoder, by their index.
    came: VecDeque<(i64, Instant)>,
    keeper: Keeper,
    pace: Pace,
    begun: Instant,
    looked: Instant,
    shed: Shed,
    /// Of those that measure, and what of it is in force.
    pauses: Pauses,
    paused: Paused,
    /// How long it has waited for rungs to take pictures.
    blocked: Duration,
    rungs: Below,
    output: Output,
}

impl Source {
    pub(super) fn new(
        job: &Job,
        rungs: Below,
        (output, pace, keeper, pauses): (Output, Pace, Keeper, Pauses),
    ) -> Result<Self, WorkError> {
        let codec = decoder::find(Id::H264).ok_or(WorkError::Missing("H.264 decoder"))?;
        let failed = |source| WorkError::Codec { what: "open the H.264 decoder", source };
        let mut context = Context::new_with_codec(codec);
        ffi::set_extradata(&mut context, &job.source.video.record).map_err(failed)?;
        ffi::set_pixels_max(&mut context, AvcConfig::PIXELS_MAX);
        // Threads on frames would hold back as many frames as there are threads.
        let threads = threading::Config { kind: threading::Type::Slice, count: SLICE_THREADS, ..Default::default() };
        context.set_threading(threads);
        let decoder = context.decoder().video().map_err(failed)?;
        let now = Instant::now();
        Ok(Self {
            decoder,
            grid: Grid::default(),
            last: None,
            rate: job.plan.rate,
            segment_frames: i64::from(job.plan.segment_frames),
            came: VecDeque::new(),
            shed: keeper.shed(),
            keeper,
            pace,
            begun: now,
            looked: now,
            pauses,
            paused: Paused::default(),
            blocked: Duration::ZERO,
            rungs,
            output,
        })
    }

    /// Decodes until no more comes, then passes on what the decoder held back.
    pub(super) fn run(mut self, mut pictures: Pictures) -> Result<(), WorkError> {
        while let Some((came, frame)) = pictures.next() {
            let begun = Instant::now();
            self.feed(&frame, came)?;
            let blocked = std::mem::take(&mut self.blocked);
            self.pace.worked(self.pace.decoder(), begun.elapsed().saturating_sub(blocked));
        }
        self.decoder.send_eof().map_err(|source| WorkError::Codec { what: "finish decoding", source })?;
        self.pass_on()
    }

    fn feed(&mut self, frame: &Frame, came: Instant) -> Result<(), WorkError> {
        let ticks = i64::from(self.rate.frame_ticks());
        let index = frame.pts.div_euclid(ticks);
        if self.came.len() == HELD_MAX {
            self.came.pop_front();
        }
        self.came.push_back((index, came));
        let mut packet = Packet::copy(&frame.data);
        packet.set_pts(Some(index));
        packet.set_dts(Some(frame.dts.div_euclid(ticks)));
        if let Err(error) = self.decoder.send_packet(&packet) {
            eprintln!("the source's frame {index} cannot be decoded: {error}");
            self.output.repaired(Repair::VideoUndecodable, 1)?;
        }
        self.pass_on()
    }

    fn pass_on(&mut self) -> Result<(), WorkError> {
        loop {
            let mut picture = Video::empty();
            match self.decoder.receive_frame(&mut picture) {
                Ok(()) => self.show(picture)?,
                Err(Error::Other { errno: libc::EAGAIN } | Error::Eof) => return Ok(()),
                Err(error) => {
                    eprintln!("a frame of the source cannot be decoded: {error}");
                    self.output.repaired(Repair::VideoUndecodable, 1)?;
                }
            }
        }
    }

    fn show(&mut self, picture: Video) -> Result<(), WorkError> {
        // Its own time, not FFmpeg's guess of it: that takes decode times where many pictures share one index.
        let Some(index) = picture.pts() else { return Ok(()) };
        let gap_max = (self.rate.hz() * GAP_SECONDS_MAX) as u32;
        let picture = Arc::new(picture);
        let came = self.came(index);
        match self.grid.place(index, gap_max) {
            Place::Drop => self.output.repaired(Repair::VideoDuplicate, 1),
            Place::Jump { frames } => Err(WorkError::Jump { frames }),
            Place::Show { first, repeats } => {
                let before = self.last.replace(Arc::clone(&picture)).unwrap_or_else(|| Arc::clone(&picture));
                if repeats > 0 {
                    self.output.repaired(Repair::VideoGap, repeats)?;
                }
                for missing in first..index {
                    self.hand_down(missing, &before, came)?;
                }
                self.hand_down(index, &picture, came)
            }
        }
    }

    /// When the frame came that this picture is. Pictures leave the decoder in their order.
    fn came(&mut self, index: i64) -> Instant {
        let came = self.came.iter().find(|(of, _)| *of == index).map(|(_, came)| *came);
        self.came.retain(|(of, _)| *of > index);
        came.unwrap_or_else(Instant::now)
    }

    fn hand_down(&mut self, index: i64, pixels: &Arc<Video>, came: Instant) -> Result<(), WorkError> {
        if index % i64::from(self.rungs.every) != 0 {
            return Ok(());
        }
        if index % self.segment_frames == 0 {
            self.decide(came)?;
        }
        let picture = Picture { index, pixels: Arc::clone(pixels), came, shed: self.shed, paused: self.paused };
        let begun = Instant::now();
        self.rungs.pictures.send(picture).map_err(|_| WorkError::Panicked)?;
        self.blocked += begun.elapsed();
        Ok(())
    }

    /// A segment begins, with a frame that came so long ago.
    fn decide(&mut self, came: Instant) -> Result<(), WorkError> {
        self.paused = self.pauses.now();
        let now = Instant::now();
        let took = now.duration_since(std::mem::replace(&mut self.looked, now));
        let seen = self.pace.look(now.duration_since(came), took);
        let shed = self.keeper.at_boundary(seen, now.duration_since(self.begun));
        if std::mem::replace(&mut self.shed, shed) == shed {
            return Ok(());
        }
        self.output.send(&FromWorker::Shed { shed, lag: seen.lag })
    }
}

/// For sources that are cut into slices; others are decoded by one thread, without delay either way.
const SLICE_THREADS: usize = 2;
/// A picture may stand still so long; after that a new epoch is the honest answer.
const GAP_SECONDS_MAX: f64 = 5.0;
/// More frames than a decoder holds back (H.264, A.3.1: MaxDpbFrames is at most 16).
const HELD_MAX: usize = 64;
