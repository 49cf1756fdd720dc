//! An epoch as the origin's rules make it, without a socket, a clock or a worker: whoever has it brings those.

use crate::epoch::{Bitrate, Cutter, Known, Placer};
use bytes::Bytes;
use manifest::Position;
use media::{Captions, Frame, TrackConfig};
use transcode::{Plan, Source};

/// Puts a source on its grid, and cuts what is made from it.
pub struct Epoch {
    placer: Placer,
    cutter: Cutter,
    cut: Vec<Cut>,
}

/// A part of one of the plan's renditions.
#[derive(Clone, Debug)]
pub struct Cut {
    pub rendition: usize,
    pub at: Position,
    /// `prft`, `moof` and `mdat`.
    pub bytes: Bytes,
    /// Decoding can begin with it.
    pub independent: bool,
    pub ends_segment: bool,
}

/// Of the first segment. The Unix epoch is zero here: media times of parts count from the first key frame.
const FIRST_MSN: u64 = 0;

impl Epoch {
    /// `key_ms` is the presentation time of the source's first key frame, in its own milliseconds.
    ///
    /// # Errors
    /// The source's set-up cannot be written to MP4.
    pub fn new(source: &Source, plan: &Plan, key_ms: i64) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let (bitrate, captions) = (Bitrate { average: 0, peak: 0 }, Captions::default());
        let known = Known { source: source.clone(), bitrate, captions };
        let cutter = Cutter::new(&known, plan, (FIRST_MSN, 0, 0), None)?;
        Ok(Self { placer: Placer::new(plan.rate, source.gop, (key_ms, 0)), cutter, cut: Vec::new() })
    }

    /// Takes a frame with the source's times, in milliseconds. What a worker is to be given, if the epoch has a place for it.
    ///
    /// # Errors
    /// The epoch cannot go on with it.
    pub fn source(&mut self, frame: &Frame) -> Result<Option<Frame>, Box<dyn std::error::Error + Send + Sync>> {
        let Some(placed) = self.placer.place(frame)? else { return Ok(None) };
        if placed.kind == media::TrackKind::Video {
            let made = self.cutter.source(placed.clone())?;
            self.keep(made);
        }
        Ok(Some(placed))
    }

    /// A worker has set a rendition up.
    ///
    /// # Errors
    /// Its set-up cannot be written to MP4.
    pub fn track(
        &mut self,
        rendition: usize,
        track: TrackConfig,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.cutter.track(rendition, track)?;
        if self.cutter.opened().is_some() {
            let waited = self.cutter.take_waiting();
            self.keep(waited);
        }
        Ok(())
    }

    /// A worker has made a frame of a rendition.
    ///
    /// # Errors
    /// It is not where the grid wants it.
    pub fn made(&mut self, rendition: usize, frame: Frame) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let made = self.cutter.frame(rendition, frame)?;
        self.keep(made);
        Ok(())
    }

    /// What has been cut since this was asked before.
    pub fn take(&mut self) -> Vec<Cut> {
        std::mem::take(&mut self.cut)
    }

    fn keep(&mut self, made: Vec<(usize, crate::segmenter::Part)>) {
        self.cut.extend(made.into_iter().map(|(rendition, part)| Cut {
            rendition,
            at: part.at,
            bytes: part.bytes,
            independent: part.independent,
            ends_segment: part.ends_segment,
        }));
    }
}
