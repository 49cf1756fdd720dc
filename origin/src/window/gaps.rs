//! What a window lacks: segments that do not come, and those that a disk has lost. Pure.

use super::rope::Rope;
use super::segment::{Kept, Segment};
use super::{EpochStart, Lookup, Window};
use crate::epoch::EpochId;
use manifest::Position;
use std::sync::Arc;
use std::time::Instant;

/// Numbers that should be segments of every rendition, and are in none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Gaps {
    /// What a rendition lacks before is in others, on the grid of their epoch.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// When the first begins, and how long each is taken to be.
    pub(crate) unix_ms: i64,
    pub(crate) each_s: f64,
    /// Nobody knows of what epochs they are: they are taken for one of their own.
    pub(crate) is_unsure: bool,
}

/// Of every part of a rendition, in seconds, and how many a segment has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PartLength {
    pub(crate) s: f64,
    pub(crate) per_segment: u32,
}

/// Sound ends with an access unit (1024 samples at 48 kHz), which is as far from the grid as whole segments are. Their dates
/// are the grid's, and with that the same at two origins.
const WHOLE_WITHIN_MS: i64 = 22;
/// Within so many segments of an epoch every player of an MPD has seen that the one before it has ended.
const FRESH_SEGMENTS: u64 = 2;

impl Window {
    /// The next segment, which is not here: of the last epoch up to where this one begins. Of epochs that were made
    /// elsewhere and are not here at all, each has one, so that discontinuities are counted alike everywhere.
    pub(super) fn gap(&self, epoch: &Arc<EpochStart>, first_msn: u64) -> Segment {
        let last = self.segments.back().map_or(epoch, |last| &last.epoch);
        let epoch = match epoch.discontinuities.saturating_sub(last.discontinuities) {
            0 | 1 if self.next_msn < first_msn => last,
            0 | 1 => epoch,
            _ => &Arc::new(EpochStart { discontinuities: last.discontinuities + 1, ..EpochStart::clone(epoch) }),
        };
        Segment { discontinuity: self.breaks(epoch), ..Segment::new(self.next_msn, Arc::clone(epoch)) }
    }

    /// Nothing comes from the open segment on, while the epoch goes on in other renditions, or something comes again. Nothing
    /// is promised meanwhile, and [`Window::lack`] says what was missed.
    pub(crate) fn pause(&mut self, paused: bool) {
        self.is_paused = paused;
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.is_paused
    }

    pub(crate) fn has_only_gaps(&self) -> bool {
        self.segments.iter().chain(&self.open).all(Segment::is_gap)
    }

    /// Others have come so far: what is not here is listed as gaps, in segments, and in parts of so many seconds.
    pub(crate) fn lack(&mut self, others: Position, part: PartLength, now: Instant) {
        let is_behind = |open: &mut Segment| open.parts.is_empty() && open.msn < others.msn;
        while let Some(mut open) = self.open.take_if(is_behind) {
            if !open.missed.is_empty() {
                open.missed.resize(part.per_segment as usize, part.s);
            }
            let following = Segment::new(open.msn + 1, Arc::clone(&open.epoch));
            self.append(open, now);
            self.open = Some(following);
        }
        let is_paused = self.is_paused && self.shape.medium.has_parts();
        let open = self.open.iter_mut().filter(|open| is_paused && open.parts.is_empty() && open.msn == others.msn);
        open.for_each(|open| open.missed.resize(others.part as usize, part.s));
    }

    /// Lists what should have come as gaps, after an epoch that has broken off.
    pub(crate) fn gap_through(&mut self, gaps: &Gaps, now: Instant) {
        let is_between = self.open.is_none() && !self.ended && self.next_msn <= gaps.last;
        let Some(last) = self.segments.back().map(|last| Arc::clone(&last.epoch)).filter(|_| is_between) else {
            return;
        };
        let of_epoch = self.vacant.take().map_or(last, |vacant| vacant.epoch);
        let own = Arc::new(EpochStart {
            first_msn: gaps.first,
            zero_unix_ms: gaps.unix_ms,
            segment_s: gaps.each_s,
            discontinuities: of_epoch.discontinuities + u64::from(gaps.is_unsure),
            ..EpochStart::clone(&of_epoch)
        });
        while self.next_msn <= gaps.last {
            let epoch = if self.next_msn < gaps.first { &of_epoch } else { &own };
            let gap = Segment { discontinuity: self.breaks(epoch), ..Segment::new(self.next_msn, Arc::clone(epoch)) };
            self.append(gap, now);
        }
    }

    /// A segment that is not there: [`Lookup::Over`] where players of an MPD may not know yet that there is none.
    pub(super) fn over(&self, epoch: EpochId, msn: u64) -> Lookup {
        let next = self.open.as_ref().map(|open| &open.epoch);
        let is_fresh = next.is_none_or(|next| self.next_msn - next.first_msn < FRESH_SEGMENTS);
        let of_next = |last: &&Segment| next.is_some_and(|next| next.id == last.epoch.id);
        let last = self.segments.iter().rev().skip_while(of_next).find(|last| !last.is_gap());
        let is_behind = last.is_some_and(|last| last.epoch.id == epoch && last.msn < msn);
        if is_behind && is_fresh && !self.ended { Lookup::Over } else { Lookup::Unknown }
    }

    /// Whether the epoch that runs has nothing yet, and there is a gap before it. Where nothing is to come, gaps are all the
    /// news there is.
    pub(crate) fn waits_behind_gap(&self) -> bool {
        let is_empty = self.open.as_ref().is_some_and(|open| open.parts.is_empty());
        is_empty && !self.is_paused && self.segments.back().is_some_and(Segment::is_gap)
    }

    /// When the newest segment ends, in Unix milliseconds; `None` before the first.
    pub(crate) fn end_unix_ms(&self) -> Option<i64> {
        self.segments.back().map(|last| last.unix_ms() + (last.duration_s() * 1000.0).round() as i64)
    }

    /// How much later than on the grid of its epoch the next segment begins. RFC 8216bis, 4.4.4.6: a gap that follows without a
    /// discontinuity goes on in time, also behind a segment that was cut short.
    pub(super) fn late_ms(&self, next: &Segment) -> i64 {
        let ends_ms = self.end_unix_ms().filter(|_| next.is_gap() && !next.discontinuity);
        ends_ms.map(|ends_ms| ends_ms - next.unix_ms()).filter(|late_ms| late_ms.abs() > WHOLE_WITHIN_MS).unwrap_or(0)
    }

    /// What is on disk is not there any more: what memory does not have leaves the playlist, and what came before it.
    pub(crate) fn lose_disk(&mut self, now: Instant) {
        for segment in &mut self.segments {
            if matches!(segment.kept, Kept::Both) {
                segment.kept = Kept::Memory;
            }
        }
        let Some(newest) = self.segments.iter().rposition(|segment| matches!(segment.kept, Kept::Disk(_))) else {
            return;
        };
        // The last one stays, as a gap: what comes is counted from there.
        for _ in 0..(newest + 1).min(self.segments.len() - 1) {
            self.is_short = true;
            self.drop_oldest(now);
        }
        if let Some(mut last) = self.segments.pop_back_if(|last| matches!(last.kept, Kept::Disk(_))) {
            last.kept = Kept::Memory;
            self.listed_s = last.duration_s();
            self.frames.iter_mut().for_each(|frames| *frames = Rope::default());
            self.add_frame(&last);
            self.segments.push_back(last);
        }
    }
}
