//! A segment of a window: in memory, on disk, or both. Pure.

use super::{EpochStart, Lookup};
use crate::epoch::EpochId;
use crate::keys::KeyName;
use crate::segmenter::Part;
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) msn: u64,
    pub(super) epoch: Arc<EpochStart>,
    /// The first of its epoch, and not the first of the rendition.
    pub(super) discontinuity: bool,
    /// How much later than on the grid of its epoch it begins: a gap does where what was cut short before it ended.
    pub(super) moved_ms: i64,
    /// Its lines say which init section holds: the one before it has another.
    pub(super) says_init: bool,
    /// What it is encrypted with; of the segment before, for a gap.
    pub(super) key: Option<KeyName>,
    /// One before it was encrypted: players are told where that ends.
    pub(super) follows_key: bool,
    /// Those in memory. Empty for a gap, and for what is on disk alone.
    pub(super) parts: Vec<Part>,
    /// How long each of the parts would have been, in seconds, that a gap is told as while it lasts.
    pub(super) missed: Vec<f64>,
    pub(super) kept: Kept,
}

/// Where the bytes of a segment are.
#[derive(Debug)]
pub(super) enum Kept {
    Memory,
    Both,
    Disk(OnDisk),
}

/// What is known of a segment that is on disk alone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OnDisk {
    /// Where each part ends, in bytes of the segment.
    pub(crate) ends: Box<[u32]>,
    pub(crate) duration_s: f64,
    /// Up to where the first picture goes; `None` for sound.
    pub(crate) picture_end: Option<u64>,
}

impl Segment {
    pub(super) fn new(msn: u64, epoch: Arc<EpochStart>) -> Self {
        Self {
            msn,
            epoch,
            discontinuity: false,
            moved_ms: 0,
            says_init: false,
            key: None,
            follows_key: false,
            parts: Vec::new(),
            missed: Vec::new(),
            kept: Kept::Memory,
        }
    }

    pub(super) fn is(&self, epoch: EpochId, msn: u64) -> bool {
        self.msn == msn && self.epoch.id == epoch
    }

    /// There is no media, though other renditions may have some.
    pub(super) fn is_gap(&self) -> bool {
        self.parts.is_empty() && !matches!(self.kept, Kept::Disk(_))
    }

    pub(super) fn bytes(&self) -> Vec<Bytes> {
        self.parts.iter().map(|part| part.bytes.clone()).collect()
    }

    /// In bytes of memory.
    pub(super) fn weight(&self) -> usize {
        self.parts.iter().map(|part| part.bytes.len()).sum()
    }

    /// How many parts it has.
    pub(super) fn count(&self) -> u32 {
        match &self.kept {
            Kept::Disk(disk) => disk.ends.len() as u32,
            Kept::Memory | Kept::Both => (self.parts.len() + self.missed.len()) as u32,
        }
    }

    pub(super) fn duration_s(&self) -> f64 {
        match &self.kept {
            Kept::Disk(disk) => disk.duration_s,
            // A gap stands for a whole segment that others have.
            _ if self.parts.is_empty() => self.epoch.segment_s,
            _ => self.parts.iter().map(|part| part.duration_s).sum(),
        }
    }

    /// Up to where its first picture goes; `None` for sound.
    pub(super) fn picture_end(&self) -> Option<u64> {
        match &self.kept {
            Kept::Disk(disk) => disk.picture_end,
            Kept::Memory | Kept::Both => self.parts.first()?.first_picture_end,
        }
    }

    pub(super) fn unix_ms(&self) -> i64 {
        let since_zero = self.msn.saturating_sub(self.epoch.first_msn) as f64 * self.epoch.segment_s;
        self.epoch.zero_unix_ms + (since_zero * 1000.0).round() as i64 + self.moved_ms
    }

    /// Lets the bytes go that are on disk; how many those were.
    pub(super) fn leave_memory(&mut self) -> usize {
        if !matches!(self.kept, Kept::Both) {
            return 0;
        }
        let mut end = 0;
        let ends = self.parts.iter().map(|part| {
            end += part.bytes.len() as u32;
            end
        });
        let (ends, duration_s, picture_end) = (ends.collect(), self.duration_s(), self.picture_end());
        self.parts = Vec::new();
        self.kept = Kept::Disk(OnDisk { ends, duration_s, picture_end });
        end as usize
    }
}

impl OnDisk {
    /// Where a part is in the segment's file.
    pub(super) fn part(&self, index: u32) -> Option<Range<u64>> {
        let end = u64::from(*self.ends.get(index as usize)?);
        let start = index.checked_sub(1).map_or(0, |before| u64::from(self.ends[before as usize]));
        Some(start..end)
    }

    pub(super) fn found(&self, msn: u64, range: Range<u64>) -> Lookup {
        Lookup::OnDisk { msn, range, parts: self.ends.len() }
    }

    pub(super) fn length(&self) -> u64 {
        self.ends.last().map_or(0, |&end| u64::from(end))
    }
}
