//! Cuts the frames of one rendition into parts and segments, on the frame grid that all renditions of an epoch share.
//!
//! Pure. A part is closed by its own last frame, never by the one after it: on the grid its end is known on arrival.

mod grid;
mod protect;

pub(crate) use grid::Grid;

use crate::keys::{KeyName, Protection};
use bytes::Bytes;
use manifest::Position;
use media::fmp4::{Fmp4Error, Reference, Sample};
use media::{Frame, Timescale, TrackConfig, TrackKind};
use protect::Protect;
use std::sync::Arc;

/// Cuts one rendition of one epoch. Times are in ticks of the track, from the epoch's zero.
pub(crate) struct Segmenter {
    grid: Grid,
    kind: TrackKind,
    timescale: u32,
    /// How long a frame lasts where nothing else says so.
    frame_ticks: i64,
    first_msn: u64,
    /// The epoch's zero in the media's own time: the wall clock there, so that players of either format find media times,
    /// dates and periods in agreement.
    base: i64,
    /// Presentation minus decode time of the last key frame: constant but for reordering that changes mid-stream.
    delay: i64,
    /// Where the first part begins that is cut here; what comes before belongs to nobody.
    begin: i64,
    /// The open part, counted from the epoch's zero.
    part: u64,
    open: Vec<Placed>,
    /// Where the last frame began; the next one begins later.
    last_start: Option<i64>,
    protect: Protect,
}

/// A part, written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    pub(crate) at: Position,
    pub(crate) bytes: Bytes,
    pub(crate) duration_s: f64,
    /// Its first frame is one that decoding can start with.
    pub(crate) independent: bool,
    /// Up to where its first picture goes, counted from its own first byte; `None` for sound.
    pub(crate) first_picture_end: Option<u64>,
    /// The segment is whole with this part.
    pub(crate) ends_segment: bool,
    /// What it is encrypted with.
    pub(crate) key: Option<KeyName>,
}

/// Why frames do not fit on the grid. The epoch cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Violation {
    #[error("segment {msn} does not begin with a key frame")]
    NoKeyFrame { msn: u64 },
    #[error("frames are missing for longer than a part before {at}")]
    Gap { at: Position },
    #[error("frames are out of order in {at}")]
    Order { at: Position },
    #[error("segment {msn} is to be encrypted, and there is no key")]
    NoKey { msn: u64 },
    #[error(transparent)]
    Unwritable(#[from] Fmp4Error),
}

/// A frame with its place in decode order.
struct Placed {
    /// Where its decode time falls on the presentation grid: decode time plus `delay`.
    start: i64,
    frame: Frame,
    delay: i64,
}

impl Segmenter {
    /// `track` must count video in ticks of the grid's rate, as [`Grid`] cuts in whole frames of it.
    /// The epoch begins with the segment `first_msn`, at `zero_unix_ms`.
    pub(crate) fn new(grid: Grid, track: &TrackConfig, (first_msn, zero_unix_ms): (u64, i64)) -> Self {
        let timescale = track.timescale();
        let kind = track.kind();
        Self {
            grid,
            kind,
            timescale: timescale.0,
            frame_ticks: i64::from(track.unit_samples().unwrap_or_else(|| grid.rate.frame_ticks())),
            first_msn,
            base: timescale.ticks_of_ms(zero_unix_ms),
            delay: 0,
            begin: 0,
            part: 0,
            open: Vec::new(),
            last_start: None,
            protect: Protect::default(),
        }
    }

    /// Encrypts what it cuts of the track, where there is a `protection`.
    pub(crate) fn protected(
        mut self,
        track: &TrackConfig,
        protection: Option<Arc<Protection>>,
    ) -> Result<Self, Fmp4Error> {
        if let Some(protection) = protection {
            self.protect = Protect::new(track, protection)?;
        }
        Ok(self)
    }

    /// One of `every` frames of the grid is there.
    pub(crate) fn every(mut self, every: u32) -> Self {
        if self.kind == TrackKind::Video {
            self.frame_ticks = i64::from(self.grid.rate.frame_ticks()) * i64::from(every);
        }
        self
    }

    /// Leaves out so many segments: another origin cuts those, and this one joins it.
    pub(crate) fn after(mut self, segments: u64) -> Self {
        self.part = segments * u64::from(self.grid.parts_per_segment());
        self.begin = self.grid.part_start(self.part, self.timescale);
        self
    }

    /// Takes the next frame in decode order; gives the parts that are whole with it, at most two.
    pub(crate) fn push(&mut self, frame: Frame) -> Result<Vec<Part>, Violation> {
        // A closed GOP is decoded in as many frame times as it is shown in, so a key frame's place is its presentation
        // time, and what follows keeps the distance to it.
        if frame.keyframe {
            self.delay = frame.pts - frame.dts;
        }
        let start = frame.dts + self.delay;
        if start < self.begin {
            return Ok(Vec::new());
        }
        let part = self.grid.part_of(start, self.timescale);
        if part < self.part || self.last_start.is_some_and(|last| start <= last) {
            return Err(Violation::Order { at: self.position(self.part) });
        }
        let mut whole = Vec::new();
        if part > self.part {
            whole.extend(self.close(Some(self.grid.part_start(self.part + 1, self.timescale)))?);
        }
        self.admit(part, &frame, start)?;
        self.last_start = Some(start);
        self.open.push(Placed { start, frame, delay: self.delay });
        if start + self.frame_ticks >= self.grid.part_start(part + 1, self.timescale) {
            whole.extend(self.close(None)?);
        }
        self.protect.publishable(whole)
    }

    /// From a segment on, counted from the epoch's zero, one of `every` frames of the grid comes: with 0 none, until it is said
    /// again. What is open lasts to its end, though its last frames may have been left out.
    pub(crate) fn turn(&mut self, segment: u64, every: u32) -> Result<Vec<Part>, Violation> {
        let whole = self.close(Some(self.grid.part_start(self.part + 1, self.timescale)))?;
        if every > 0 {
            self.frame_ticks = i64::from(self.grid.rate.frame_ticks()) * i64::from(every);
            let first = segment * u64::from(self.grid.parts_per_segment());
            if first > self.part {
                self.part = first;
                self.begin = self.grid.part_start(first, self.timescale);
            }
        }
        self.protect.publishable(whole.into_iter().collect())
    }

    /// The end of the epoch: what is open becomes a part, whatever its length.
    pub(crate) fn flush(&mut self) -> Result<Option<Part>, Violation> {
        let last = self.close(None)?;
        self.protect.last(last)
    }

    /// Whether the part that the frame opens may begin with it.
    fn admit(&self, part: u64, frame: &Frame, start: i64) -> Result<(), Violation> {
        if !self.open.is_empty() {
            return Ok(());
        }
        let at = self.position(part);
        if part > self.part {
            return Err(Violation::Gap { at });
        }
        let must_be_key = at.part == 0 && self.kind == TrackKind::Video;
        let is_first = start == self.grid.part_start(part, self.timescale);
        if must_be_key && !(frame.keyframe && is_first) {
            return Err(Violation::NoKeyFrame { msn: at.msn });
        }
        Ok(())
    }

    /// Writes the open part, if it holds anything. Its last frame lasts until `end`, or as long as any.
    fn close(&mut self, end: Option<i64>) -> Result<Option<Part>, Violation> {
        let open = std::mem::take(&mut self.open);
        let Some(first) = open.first() else { return Ok(None) };
        // Video that begins late in its part was preceded by dropped frames. Its decode time is pulled to where the
        // part begins, so that decode times stay without holes; it is still shown when it should be.
        let begin = match self.kind {
            TrackKind::Video => self.grid.part_start(self.part, self.timescale),
            TrackKind::Audio => first.start,
        };
        let decode_base = self.base + begin - first.delay;
        let last_end =
            open.last().map_or(begin, |last| end.unwrap_or(last.start + self.frame_ticks).max(last.start + 1));
        let mut starts: Vec<i64> = open.iter().map(|placed| placed.start).collect();
        starts[0] = begin;
        starts.push(last_end);

        let delay = first.delay;
        let samples: Vec<Sample> =
            open.iter().zip(starts.windows(2)).map(|(placed, span)| sample(&placed.frame, span, delay)).collect();
        let at = self.position(self.part);
        // 8.8.5.1: fragments count upwards; the count is bound to the position, not to what was sent before.
        let sequence = (self.part as u32).wrapping_add(1);
        let shown = decode_base + i64::from(samples[0].composition_offset);
        let reference = Reference::unix(shown.max(0) as u64, Timescale(self.timescale));
        let (bytes, key) = self.protect.fragment(at.msn, (sequence, decode_base.max(0) as u64), reference, &samples)?;
        self.part += 1;
        let after_first: usize = samples[1..].iter().map(|sample| sample.data.len()).sum();
        let first_picture_end = (bytes.len() - after_first) as u64;
        Ok(Some(Part {
            at,
            bytes,
            first_picture_end: (self.kind == TrackKind::Video).then_some(first_picture_end),
            duration_s: (last_end - begin) as f64 / f64::from(self.timescale),
            independent: open[0].frame.keyframe,
            ends_segment: self.position(self.part).part == 0,
            key,
        }))
    }

    fn position(&self, part: u64) -> Position {
        let per_segment = u64::from(self.grid.parts_per_segment());
        Position { msn: self.first_msn + part / per_segment, part: (part % per_segment) as u32 }
    }
}

/// A frame whose place is `span`, in a part whose decode times lag its places by `delay`.
fn sample(frame: &Frame, span: &[i64], delay: i64) -> Sample {
    Sample {
        duration: (span[1] - span[0]) as u32,
        composition_offset: (frame.pts - (span[0] - delay)) as i32,
        keyframe: frame.keyframe,
        data: frame.data.clone(),
    }
}

#[cfg(test)]
mod tests;
