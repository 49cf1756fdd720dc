//! Plans the next epoch of a stream that players know already: what they were told stays true. Pure.

use super::{
    Make, Plan, Rendition, Source, frames, free_grid, grid_of_gops, part_target, renditions, shortest_part,
    target_duration_s, thumbnails, units,
};
use config::{Ladder, Segmenting};
use std::time::Duration;

/// A plan that keeps EXT-X-TARGETDURATION, which must not change (RFC 8216bis, 4.4.3.1), PART-TARGET, at whose change
/// players stop, and the name of the top rendition, where its viewers reload.
///
/// A source whose key frames suit what was told is passed through. Any other is encoded: on the grid there was, or at
/// another frame rate on one that suits, or where a single frame is longer than a part, at the old rate.
pub fn plan_after(before: &Plan, source: &Source, segmenting: &Segmenting, ladder: &Ladder) -> Plan {
    let units = units(source, ladder);
    let told = Told { target_duration_s: before.target_duration_s, part_target: before.part_target, units: &units };
    let on_gops = grid_of_gops(source, segmenting, ladder, |grid| told.suits(source, grid));
    let there_was = (before.segment_frames, before.part_frames);
    let grid = on_gops
        .or_else(|| Some(there_was).filter(|&grid| source.rate == before.rate && told.holds(source, grid)))
        .or_else(|| Some(free_grid(source.rate, segmenting)).filter(|&grid| told.suits(source, grid)))
        .or_else(|| told.longest_grid(source, segmenting));
    let (rate, (segment_frames, part_frames)) = match grid {
        Some(grid) => (source.rate, grid),
        None => (before.rate, there_was),
    };
    let mut renditions = renditions(&Source { rate, ..source.clone() }, ladder, (on_gops.is_some(), part_frames));
    keep_name(&mut renditions, before);
    Plan {
        rate,
        segment_frames,
        part_frames,
        target_duration_s: told.target_duration_s,
        part_target: told.part_target,
        thumbnails: thumbnails(source, ladder, &renditions),
        renditions,
    }
}

/// Names are URLs, so viewers of the top rendition find what follows it under its name, whatever height that has. Where a
/// rung of the new ladder has the name, it has the height as well, and is what those viewers had.
fn keep_name(renditions: &mut [Rendition], before: &Plan) {
    let Some((top, lower)) = renditions.split_first_mut() else { return };
    let Some(known) = before.renditions.first().filter(|known| !matches!(known.make, Make::Audio { .. })) else {
        return;
    };
    if lower.iter().all(|rung| rung.name != known.name) {
        top.name.clone_from(&known.name);
    }
}

/// What players were told of segments and parts.
#[derive(Clone, Copy)]
struct Told<'a> {
    target_duration_s: u64,
    part_target: Duration,
    /// Samples of the access units that parts will have.
    units: &'a [u32],
}

impl Told<'_> {
    /// Whether no segment and no part of a grid, (segment, part) in frames, is longer than was told.
    fn holds(self, source: &Source, (segment, part): (u32, u32)) -> bool {
        target_duration_s(source.rate, segment) <= self.target_duration_s
            && part_target((source.rate, self.units), part) <= self.part_target
    }

    /// Whether parts also are as long as the told target demands (4.4.4.9): at least 85 % of it.
    fn suits(self, source: &Source, grid: (u32, u32)) -> bool {
        let shortest = shortest_part((source.rate, self.units), grid.1);
        self.holds(source, grid) && shortest >= self.part_target.mul_f64(PART_MIN)
    }

    /// The longest parts that are not longer than told, in segments near the configured length.
    fn longest_grid(self, source: &Source, segmenting: &Segmenting) -> Option<(u32, u32)> {
        let most = frames(source.rate, self.part_target) as u32;
        let part = (1..=most).rev().find(|&part| part_target((source.rate, self.units), part) <= self.part_target)?;
        let parts = (frames(source.rate, segmenting.segment) / f64::from(part)).round().max(1.0) as u32;
        (1..=parts).rev().map(|count| (count * part, part)).find(|&grid| self.holds(source, grid))
    }
}

const PART_MIN: f64 = 0.85;
