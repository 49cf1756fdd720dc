//! Where a rung gives what is measured of it, without ever waiting.

use super::Sample;
use crate::pausing::Paused;
use crate::quality::Sampling;
use crate::wire::Repair;
use crate::worker::WorkError;
use crate::worker::encoder::Coded;
use crate::worker::output::Output;
use ffmpeg_next::frame::Video;
use media::TrackConfig;
use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, OnceLock};

/// Of one rung.
pub(in crate::worker) struct Tap {
    place: usize,
    sampling: Sampling,
    samples: SyncSender<Sample>,
    track: Arc<OnceLock<TrackConfig>>,
    output: Output,
    /// The segments that are measured, of those whose pictures may still be in the encoder.
    taken: VecDeque<i64>,
}

/// No encoder holds back so many segments.
const TAKEN_MAX: usize = 4;

impl Tap {
    pub(super) fn new(
        (place, sampling): (usize, Sampling),
        samples: SyncSender<Sample>,
        track: Arc<OnceLock<TrackConfig>>,
        output: Output,
    ) -> Self {
        Self { place, sampling, samples, track, output, taken: VecDeque::new() }
    }

    /// What every encoder of the rung gives pictures for.
    pub(in crate::worker) fn track(&self, config: &TrackConfig) {
        // The first is that of all.
        let _ = self.track.set(config.clone());
    }

    /// A segment begins at a picture of the grid, in which the rung is away for want of time, or is not. One that nobody can
    /// tell of without it is always measured.
    pub(in crate::worker) fn turn(&mut self, index: i64, is_shed: bool, paused: Paused) {
        let segment = self.sampling.segment(index);
        let is_needed = paused.away.holds(self.place) || paused.leaned.holds(self.place);
        if !is_shed && (is_needed || self.sampling.takes_segment(segment)) {
            if self.taken.len() == TAKEN_MAX {
                self.taken.pop_front();
            }
            self.taken.push_back(segment);
        }
    }

    /// Whether a picture of the grid is compared.
    pub(in crate::worker) fn wants(&self, index: i64) -> bool {
        self.sampling.takes_picture(index) && self.is_taken(index)
    }

    /// What the rung is given to encode.
    pub(in crate::worker) fn given(&mut self, index: i64, pixels: &Arc<Video>) -> Result<(), WorkError> {
        if !self.wants(index) {
            return Ok(());
        }
        self.give(index, Sample::Given { place: self.place, index, pixels: Arc::clone(pixels) })
    }

    pub(in crate::worker) fn coded(&mut self, coded: &Coded) -> Result<(), WorkError> {
        let Coded { index, key, ref data } = *coded;
        let is_needed = !self.sampling.is_last(index) || self.sampling.takes_picture(index);
        if !is_needed || !self.is_taken(index) {
            return Ok(());
        }
        self.give(index, Sample::Coded { place: self.place, index, key, data: data.clone() })
    }

    fn is_taken(&self, index: i64) -> bool {
        self.taken.contains(&self.sampling.segment(index))
    }

    /// Where there is no room, nothing more of the segment is of use.
    fn give(&mut self, index: i64, sample: Sample) -> Result<(), WorkError> {
        if self.samples.try_send(sample).is_ok() {
            return Ok(());
        }
        let segment = self.sampling.segment(index);
        self.taken.retain(|taken| *taken != segment);
        self.output.repaired(Repair::QualityUnseen, 1)
    }
}
