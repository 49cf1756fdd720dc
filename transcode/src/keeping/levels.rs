//! The steps in which a ladder is made to cost less, and about how much less each makes it. Pure.

use super::Keeping;
use crate::{Encoding, Plan};
use config::VideoCodec;

/// What is left out of a ladder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shed {
    /// Every rung is encoded by a preset that is so many steps faster than its own.
    pub faster: u8,
    /// The tallest encoded rung has every second of its pictures.
    pub thinned: bool,
    /// So many encoded rungs are away, the tallest first.
    pub away: u8,
}

#[derive(Debug)]
pub(super) struct Level {
    pub(super) shed: Shed,
    /// Of processor time, against other levels of the plan.
    pub(super) cost: f64,
}

/// What one preset costs of what the next slower one does.
const FASTER: f64 = 0.8;
/// What decoding and scaling cost of what encoding the whole ladder does.
const BESIDE: f64 = 0.1;

/// In the order in which they are taken: presets, then pictures of the tallest encoded rung, then rungs from the tallest on.
/// The last one always stays. Steps that would save nothing are not there.
pub(super) fn of(plan: &Plan, keeping: &Keeping) -> Vec<Level> {
    let rungs: Vec<&Encoding> = plan.renditions.iter().filter_map(|rendition| rendition.make.encoding()).collect();
    let faster = (0..=keeping.preset_steps).map(|faster| Shed { faster, ..Shed::default() });
    let faster = faster.take_while(|shed| shed.faster == 0 || rungs.iter().any(|rung| is_faster(rung, shed.faster)));
    let mut sheds: Vec<Shed> = faster.collect();
    let all = sheds.last().copied().unwrap_or_default();
    if rungs.first().is_some_and(|rung| can_thin(rung, plan, keeping)) {
        sheds.push(Shed { thinned: true, ..all });
    }
    let thinned = sheds.last().copied().unwrap_or_default();
    let droppable = u8::try_from(rungs.len().saturating_sub(1)).unwrap_or(u8::MAX);
    sheds.extend((1..=droppable).map(|away| Shed { away, ..thinned }));
    let beside = BESIDE * cost(&rungs, Shed::default());
    sheds.into_iter().map(|shed| Level { shed, cost: beside + cost(&rungs, shed) }).collect()
}

fn cost(rungs: &[&Encoding], shed: Shed) -> f64 {
    let each = rungs.iter().enumerate().skip(usize::from(shed.away)).map(|(place, rung)| {
        let every = if place == 0 && shed.thinned { 2 * rung.every } else { rung.every };
        let pixels = f64::from(rung.width) * f64::from(rung.height) / f64::from(every.max(1));
        let steps = (0..=shed.faster).rev().find(|&steps| steps == 0 || is_faster(rung, steps)).unwrap_or(0);
        pixels * FASTER.powi(i32::from(steps))
    });
    each.sum::<f64>().max(1.0)
}

/// Whether there is a preset that is so many steps faster.
fn is_faster(rung: &Encoding, steps: u8) -> bool {
    faster_preset(rung.codec, &rung.preset, steps) != faster_preset(rung.codec, &rung.preset, steps - 1)
}

/// The preset of x264 that is so many steps faster, or the fastest. Presets of other encoders stay: what they change is in the
/// parameter sets.
pub(crate) fn faster_preset(codec: VideoCodec, preset: &str, steps: u8) -> &str {
    match PRESETS.iter().position(|known| *known == preset).filter(|_| codec == VideoCodec::H264) {
        Some(place) => PRESETS[place.saturating_sub(usize::from(steps))],
        None => preset,
    }
}

/// Fastest first.
const PRESETS: [&str; 10] =
    ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo"];

/// A part has a whole number of pictures, before and after. The frame rate is in what players are told of AV1: its level.
fn can_thin(rung: &Encoding, plan: &Plan, keeping: &Keeping) -> bool {
    let every = 2 * rung.every.max(1);
    rung.codec != VideoCodec::Av1
        && plan.part_frames.is_multiple_of(every)
        && plan.rate.hz() / f64::from(every) >= f64::from(keeping.fps_min)
}
