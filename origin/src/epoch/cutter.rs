//! The renditions of one epoch: who is cut from what, and when all of them are there.

use super::analysis::Known;
use crate::keys::Protection;
use crate::segmenter::{Grid, Part, Segmenter, Violation};
use bytes::Bytes;
use media::fmp4::{self, Fmp4Error};
use media::{Frame, TrackConfig};
use std::sync::Arc;
use transcode::{Make, Plan};

/// Cuts every rendition of an epoch. Parts that come before all renditions are set up wait here: players learn of all
/// renditions at once.
pub(crate) struct Cutter {
    grid: Grid,
    /// The first segment of the epoch, and when that begins in Unix milliseconds.
    begin: (u64, i64),
    /// Segments of the epoch that are not cut here.
    joined: u64,
    protection: Option<Arc<Protection>>,
    passthrough: Option<usize>,
    renditions: Vec<Cut>,
    open: bool,
}

/// One rendition; set up once its track is known.
struct Cut {
    /// How many frames of the grid it takes to get one of its pictures.
    every: u32,
    track: Option<Track>,
    waiting: Vec<Part>,
}

struct Track {
    config: TrackConfig,
    init: Bytes,
    segmenter: Segmenter,
}

/// A part and the index of its rendition in the plan.
pub(crate) type Made = (usize, Part);

impl Cutter {
    /// `begin` is the first segment of the epoch, and when that begins in Unix milliseconds; so many of its segments are not
    /// cut here. What is cut is encrypted where there is a `protection`.
    pub(crate) fn new(
        known: &Known,
        plan: &Plan,
        (first_msn, zero_unix_ms, joined): (u64, i64, u64),
        protection: Option<Arc<Protection>>,
    ) -> Result<Self, Fmp4Error> {
        let passthrough = plan.renditions.iter().position(|rendition| rendition.make == Make::Passthrough);
        let mut cutter = Self {
            grid: Grid::new(plan),
            begin: (first_msn, zero_unix_ms),
            joined,
            protection,
            passthrough,
            renditions: plan
                .renditions
                .iter()
                .map(|rendition| Cut { every: rendition.make.every(), track: None, waiting: Vec::new() })
                .collect(),
            open: false,
        };
        if let Some(index) = passthrough {
            let config = known.source.video.clone();
            cutter.track(index, TrackConfig::Avc { config, timescale: plan.rate.timescale() })?;
        }
        Ok(cutter)
    }

    /// A rendition's set-up is known.
    pub(crate) fn track(&mut self, index: usize, config: TrackConfig) -> Result<(), Fmp4Error> {
        let Some(rendition) = self.renditions.get_mut(index) else { return Ok(()) };
        let init = fmp4::init(&config)?;
        let segmenter = Segmenter::new(self.grid, &config, self.begin)
            .every(rendition.every)
            .after(self.joined)
            .protected(&config, self.protection.clone())?;
        rendition.track = Some(Track { config, init, segmenter });
        Ok(())
    }

    /// A video frame of the source, on the grid.
    pub(crate) fn source(&mut self, frame: Frame) -> Result<Vec<Made>, Violation> {
        match self.passthrough {
            Some(index) => self.frame(index, frame),
            None => Ok(Vec::new()),
        }
    }

    /// The next frame of a rendition; the parts that can be published now.
    pub(crate) fn frame(&mut self, index: usize, frame: Frame) -> Result<Vec<Made>, Violation> {
        let Some(rendition) = self.renditions.get_mut(index) else { return Ok(Vec::new()) };
        let Some(track) = &mut rendition.track else { return Ok(Vec::new()) };
        let parts = track.segmenter.push(frame)?;
        if self.open {
            return Ok(parts.into_iter().map(|part| (index, part)).collect());
        }
        rendition.waiting.extend(parts);
        Ok(Vec::new())
    }

    /// From a segment of the epoch on one of `every` frames of the grid is in a rendition; see [`Segmenter::turn`].
    pub(crate) fn turn(&mut self, index: usize, (segment, every): (u64, u32)) -> Result<Vec<Made>, Violation> {
        let Some(rendition) = self.renditions.get_mut(index) else { return Ok(Vec::new()) };
        rendition.every = every.max(1);
        let Some(track) = &mut rendition.track else { return Ok(Vec::new()) };
        let parts = track.segmenter.turn(segment, every)?;
        if self.open {
            return Ok(parts.into_iter().map(|part| (index, part)).collect());
        }
        rendition.waiting.extend(parts);
        Ok(Vec::new())
    }

    /// Once, when every rendition is set up: what each says of itself.
    pub(crate) fn opened(&mut self) -> Option<Vec<(TrackConfig, Bytes)>> {
        if self.open {
            return None;
        }
        let said = |cut: &Cut| cut.track.as_ref().map(|track| (track.config.clone(), track.init.clone()));
        let all: Option<Vec<_>> = self.renditions.iter().map(said).collect();
        self.open = all.is_some();
        all
    }

    /// The parts that waited for [`Cutter::opened`].
    pub(crate) fn take_waiting(&mut self) -> Vec<Made> {
        let cuts = self.renditions.iter_mut().enumerate();
        cuts.flat_map(|(index, cut)| cut.waiting.drain(..).map(move |part| (index, part))).collect()
    }

    /// The end of the epoch: what is open in each rendition, if the epoch ever was.
    pub(crate) fn flush(&mut self) -> Vec<Made> {
        let mut parts = Vec::new();
        for (index, cut) in self.renditions.iter_mut().enumerate() {
            // A part that cannot be written is lost with the epoch.
            if let Some(Ok(Some(part))) = cut.track.as_mut().map(|track| track.segmenter.flush()) {
                parts.push((index, part));
            }
        }
        if self.open { parts } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epoch::analysis::Bitrate;
    use crate::testing::{aac, aac_config, avc_config, plan};
    use media::TrackKind;
    use transcode::Source;

    fn frame(kind: TrackKind, time: i64, keyframe: bool) -> Frame {
        Frame { kind, dts: time, pts: time, keyframe, data: Bytes::from_static(b"x") }
    }

    #[test]
    fn nothing_is_published_before_every_rendition_is_set_up() {
        let plan = plan(30, 60, 10);
        let source = Source { video: avc_config(), audio: Some(aac_config()), rate: plan.rate, gop: Some(60) };
        let known = Known { source, bitrate: Bitrate { average: 1, peak: 1 }, captions: media::Captions::default() };
        let mut cutter = Cutter::new(&known, &plan, (7, 0, 0), None).unwrap();
        for index in 0..25 {
            let made = cutter.source(frame(TrackKind::Video, index * 1000, index == 0)).unwrap();
            assert!(made.is_empty() && cutter.opened().is_none());
        }
        cutter.track(1, aac()).unwrap();
        assert_eq!(cutter.opened().unwrap().len(), 2);
        let waited = cutter.take_waiting();
        assert_eq!(waited.iter().map(|(index, part)| (*index, part.at.part)).collect::<Vec<_>>(), [(0, 0), (0, 1)]);
        assert!(cutter.opened().is_none(), "an epoch opens once");

        let mut now = Vec::new();
        for index in 25..30 {
            now.extend(cutter.source(frame(TrackKind::Video, index * 1000, false)).unwrap());
        }
        now.extend(cutter.frame(1, frame(TrackKind::Audio, 0, true)).unwrap());
        assert_eq!(now.len(), 1);
        assert_eq!(cutter.flush().len(), 1, "audio was open, video was not");
    }
}
