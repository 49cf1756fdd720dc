//! The grid of an epoch: how many frames a part and a segment hold, and where each begins in any timescale.

use manifest::Position;
use media::FrameRate;
use std::time::Duration;
use transcode::Plan;

/// Cuts every rendition at the same video frames. Exact: nothing is rounded but the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) rate: FrameRate,
    segment_frames: u32,
    part_frames: u32,
}

impl Grid {
    pub(crate) fn new(plan: &Plan) -> Self {
        let part_frames = plan.part_frames.max(1);
        let segment_frames = plan.segment_frames.max(part_frames);
        Self { rate: plan.rate, part_frames, segment_frames }
    }

    pub(crate) fn parts_per_segment(&self) -> u32 {
        self.segment_frames / self.part_frames
    }

    pub(crate) fn segment_s(&self) -> f64 {
        f64::from(self.segment_frames) / self.rate.hz()
    }

    /// Segments that begin before this frame of the epoch.
    pub(crate) fn segments_before(&self, index: u64) -> u64 {
        index.div_ceil(u64::from(self.segment_frames))
    }

    /// The number of the first segment of a stream that begins now; `target` is the configured length of segments. It
    /// is counted in half targets, the shortest segment that a plan has, whatever the plan of this stream: a process
    /// cannot use numbers up faster than that, so the one after it begins above them even if its segments are longer.
    pub(crate) fn fresh_msn(unix_ms: u64, target: Duration) -> u64 {
        let unit_ms = (target / 2).as_millis().max(1);
        // Two ahead: an origin that was restarted within a segment does not name two of them alike.
        (u128::from(unix_ms) / unit_ms) as u64 + 2
    }

    /// The first tick that belongs to the part `part`, counted from zero. A boundary between two ticks is rounded up:
    /// what starts before it belongs to the part before.
    pub(crate) fn part_start(&self, part: u64, timescale: u32) -> i64 {
        let num = i128::from(part) * self.part_num(timescale);
        let den = i128::from(self.rate.num());
        (num + den - 1).div_euclid(den) as i64
    }

    /// Where the part at a position ends, in seconds from the start of the segment `first_msn`.
    pub(crate) fn part_end_s(&self, first_msn: u64, at: Position) -> f64 {
        let segments = at.msn.saturating_sub(first_msn) as f64;
        let parts = f64::from(at.part + 1) * f64::from(self.part_frames) / self.rate.hz();
        segments * self.segment_s() + parts
    }

    /// The part in which a frame that starts at `start`, not before zero, belongs.
    pub(crate) fn part_of(&self, start: i64, timescale: u32) -> u64 {
        (i128::from(start) * i128::from(self.rate.num())).div_euclid(self.part_num(timescale)).max(0) as u64
    }

    /// Ticks of a part, times the numerator of the rate.
    fn part_num(&self, timescale: u32) -> i128 {
        i128::from(self.part_frames) * i128::from(self.rate.den()) * i128::from(timescale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_and_membership_agree_at_every_boundary() {
        for rate in FrameRate::STANDARD {
            let grid = Grid { rate, segment_frames: 64, part_frames: 8 };
            for timescale in [rate.timescale().0, 48_000] {
                for part in [0, 1, 2, 7, 8, 1_000_003] {
                    let start = grid.part_start(part, timescale);
                    assert_eq!(grid.part_of(start, timescale), part, "{rate:?} {timescale}");
                    assert!(part == 0 || grid.part_of(start - 1, timescale) == part - 1, "{rate:?} {timescale}");
                }
            }
        }
    }

    #[test]
    fn a_restart_never_numbers_backwards_however_the_segments_change() {
        let origin = config::Config::parse("[origin]\n", []).unwrap().origin.unwrap();
        let (rate, target, start_ms) = (FrameRate::new(30, 1).unwrap(), origin.segment.segment, 1_795_226_400_500);
        for gop in [None, Some(30), Some(45), Some(60), Some(120)] {
            let source = transcode::Source { video: crate::testing::avc_config(), audio: None, rate, gop };
            let grid = Grid::new(&transcode::plan(&source, &origin.segment, &origin.ladder));
            let first = Grid::fresh_msn(start_ms, target);
            for ran_s in [1, 10, 3600, 86_400] {
                let used = first + (ran_s as f64 / grid.segment_s()).ceil() as u64;
                let again = Grid::fresh_msn(start_ms + ran_s * 1000 + 1000, target);
                assert!(again > used, "{gop:?} after {ran_s} s: {again} after {used}");
            }
        }
    }
}
