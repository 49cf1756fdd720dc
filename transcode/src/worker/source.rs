//! The source's video: decoded once, put on the grid, handed to the tallest rung.

use super::backlog::Pictures;
use super::grid::{Grid, Place};
use super::output::Output;
use super::rung::{Below, Picture};
use super::{WorkError, ffi};
use crate::wire::{Job, Repair};
use ffmpeg_next::codec::{Context, Id, threading};
use ffmpeg_next::frame::Video;
use ffmpeg_next::{Error, Packet, decoder};
use media::{Frame, FrameRate};
use std::sync::Arc;

pub(super) struct Source {
    decoder: decoder::Video,
    grid: Grid,
    last: Option<Arc<Video>>,
    rate: FrameRate,
    rungs: Below,
    output: Output,
}

impl Source {
    pub(super) fn new(job: &Job, rungs: Below, output: Output) -> Result<Self, WorkError> {
        let codec = decoder::find(Id::H264).ok_or(WorkError::Missing("H.264 decoder"))?;
        let failed = |source| WorkError::Codec { what: "open the H.264 decoder", source };
        let mut context = Context::new_with_codec(codec);
        ffi::set_extradata(&mut context, &job.source.video.record).map_err(failed)?;
        // Threads on frames would hold back as many frames as there are threads.
        let threads = threading::Config { kind: threading::Type::Slice, count: SLICE_THREADS, ..Default::default() };
        context.set_threading(threads);
        let decoder = context.decoder().video().map_err(failed)?;
        Ok(Self { decoder, grid: Grid::default(), last: None, rate: job.plan.rate, rungs, output })
    }

    /// Decodes until no more comes, then passes on what the decoder held back.
    pub(super) fn run(mut self, mut pictures: Pictures) -> Result<(), WorkError> {
        while let Some(frame) = pictures.next() {
            self.feed(&frame)?;
        }
        self.decoder.send_eof().map_err(|source| WorkError::Codec { what: "finish decoding", source })?;
        self.pass_on()
    }

    fn feed(&mut self, frame: &Frame) -> Result<(), WorkError> {
        let ticks = i64::from(self.rate.frame_ticks());
        let index = frame.pts.div_euclid(ticks);
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
        match self.grid.place(index, gap_max) {
            Place::Drop => self.output.repaired(Repair::VideoDuplicate, 1),
            Place::Jump { frames } => Err(WorkError::Jump { frames }),
            Place::Show { first, repeats } => {
                let before = self.last.replace(Arc::clone(&picture)).unwrap_or_else(|| Arc::clone(&picture));
                if repeats > 0 {
                    self.output.repaired(Repair::VideoGap, repeats)?;
                }
                for missing in first..index {
                    self.hand_down(missing, &before)?;
                }
                self.hand_down(index, &picture)
            }
        }
    }

    fn hand_down(&self, index: i64, pixels: &Arc<Video>) -> Result<(), WorkError> {
        if index % i64::from(self.rungs.every) != 0 {
            return Ok(());
        }
        let picture = Picture { index, pixels: Arc::clone(pixels) };
        self.rungs.pictures.send(picture).map_err(|_| WorkError::Panicked)
    }
}

/// For sources that are cut into slices; others are decoded by one thread, without delay either way.
const SLICE_THREADS: usize = 2;
/// A picture may stand still so long; after that a new epoch is the honest answer.
const GAP_SECONDS_MAX: f64 = 5.0;
