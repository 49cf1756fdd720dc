//! A stream that was on disk when the origin started: shown again, through the calls that made it.

use super::stream::{Opening, Stream};
use crate::epoch::EpochId;
use crate::store::Record;
use crate::window::OnDisk;
use std::time::Instant;
use transcode::Plan;

/// What its task goes on from.
#[derive(Debug)]
pub(crate) struct Resumed {
    pub(crate) plan: Plan,
    pub(crate) last_unix_ms: i64,
    /// Nobody publishes it any more.
    pub(crate) ended: bool,
}

/// Segments that may have been served and are in no journal, besides those that time allows: the open one, and one that
/// was on its way to the disk.
const UNWRITTEN: u64 = 2;
/// More than there are segments in the longest window.
const GAPS_MAX: u64 = 1 << 18;

impl Stream {
    /// Takes in a journal; `None` where it shows nothing.
    ///
    /// A stream that was cut off in an epoch goes on behind all that can have been served: what was is listed as gaps, so
    /// that no number is given twice and no playlist goes backwards.
    pub(crate) fn replay(&self, records: &[Record], now: Instant, now_unix_ms: i64) -> Option<Resumed> {
        self.life().set_read(true);
        let resumed = self.read(records, now, now_unix_ms);
        self.life().set_read(false);
        resumed
    }

    fn read(&self, records: &[Record], now: Instant, now_unix_ms: i64) -> Option<Resumed> {
        let (mut last, mut cut_off, mut ended) = (None, false, false);
        for record in records {
            match record {
                Record::Stream { .. } => {}
                Record::Epoch(epoch) => {
                    let opened = epoch.opened()?;
                    let opening = Opening {
                        numbers: epoch.numbers,
                        joined: epoch.joined,
                        known: &opened.known,
                        plan: &opened.plan,
                        alone: epoch.alone,
                        tracks: opened.tracks,
                    };
                    self.open(opening, now);
                    (last, cut_off) = (Some(opened.plan), true);
                }
                Record::Segment(segment) => {
                    let ends = segment.ends.clone().into_boxed_slice();
                    let (duration_s, picture_end) = (segment.duration_s, segment.picture_end);
                    let name = (EpochId(segment.epoch), segment.msn);
                    self.restore(&segment.rendition, name, OnDisk { ends, duration_s, picture_end }, now);
                }
                Record::Break { unix_ms } => {
                    self.break_off(now, *unix_ms);
                    cut_off = false;
                }
                Record::Gap { through, unix_ms } => {
                    let gaps = through.saturating_sub(self.next_msn().unwrap_or(*through));
                    (gaps <= GAPS_MAX).then_some(())?;
                    self.gap_through(*through, now, *unix_ms);
                }
                Record::End { .. } => ended = true,
            }
        }
        let plan = last?;
        let last_unix_ms = records.iter().filter_map(Record::unix_ms).max()?;
        if cut_off {
            // This is new, and for the next one who reads.
            self.life().set_read(false);
            self.break_off(now, last_unix_ms);
        }
        let next = self.next_msn()?;
        let silent_ms = u64::try_from(now_unix_ms - last_unix_ms).unwrap_or(0);
        // After a whole window nothing of it is shown, and the list of what was lost could be long.
        if cut_off && silent_ms < self.window().as_millis() as u64 {
            let segment_ms = (plan.segment().as_millis() as u64).max(1);
            let lost = UNWRITTEN + silent_ms.div_ceil(segment_ms);
            self.gap_through(next + lost - 1, now, now_unix_ms);
        }
        if ended {
            self.set_ended();
            self.end(now, last_unix_ms);
        }
        Some(Resumed { plan, last_unix_ms, ended })
    }
}
