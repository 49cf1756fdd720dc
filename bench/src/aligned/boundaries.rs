//! Where parts of different renditions begin, held against each other.

use anyhow::Context;
use manifest::Position;
use origin::outside::Cut;
use serde::Serialize;
use std::collections::BTreeMap;
use transcode::{ACCESS_UNIT_SAMPLES, AUDIO_RATE, Make, Plan};

pub(super) struct Boundaries {
    /// Which of the renditions is sound.
    sound: usize,
    renditions: usize,
    ticks_per_s: u32,
    /// Parts that some renditions still lack: when each of the others begins it, in its own ticks.
    open: BTreeMap<Position, Vec<(usize, u64)>>,
    /// That all renditions have.
    last: Option<Position>,
    found: Found,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Found {
    /// Of all renditions together.
    pub(super) parts: u64,
    pub(super) segments: u64,
    pub(super) misaligned: u64,
    pub(super) samples_in: u64,
    pub(super) samples_out: u64,
}

impl Found {
    /// By how much sound is longer than it was.
    pub(super) fn drift_ms(&self) -> f64 {
        (self.samples_out as f64 - self.samples_in as f64) * 1000.0 / f64::from(AUDIO_RATE)
    }
}

impl Boundaries {
    pub(super) fn new(plan: &Plan) -> Self {
        let sound = plan.renditions.iter().position(|rendition| matches!(rendition.make, Make::Audio { .. }));
        Self {
            sound: sound.unwrap_or(usize::MAX),
            renditions: plan.renditions.len(),
            ticks_per_s: plan.rate.timescale().0,
            open: BTreeMap::new(),
            last: None,
            found: Found::default(),
        }
    }

    pub(super) fn take(&mut self, cut: Vec<Cut>) -> anyhow::Result<()> {
        for cut in cut {
            let begins = decode_time(&cut.bytes).context("a part tells no decode time")?;
            self.found.parts += 1;
            // A segment that a viewer cannot begin with is cut at the wrong place too.
            self.found.misaligned += u64::from(cut.at.part == 0 && !cut.independent);
            let begun = self.open.entry(cut.at).or_default();
            begun.push((cut.rendition, begins));
            if begun.len() == self.renditions {
                let all = std::mem::take(begun);
                self.open.remove(&cut.at);
                self.last = self.last.max(Some(cut.at));
                self.found.segments += u64::from(cut.at.part == 0);
                self.found.misaligned += self.apart(&all);
            }
        }
        Ok(())
    }

    /// A unit of sound went in.
    pub(super) fn heard(&mut self) {
        self.found.samples_in += u64::from(ACCESS_UNIT_SAMPLES);
    }

    /// And one came out.
    pub(super) fn said(&mut self) {
        self.found.samples_out += u64::from(ACCESS_UNIT_SAMPLES);
    }

    /// A part that one rendition has and another has not, before the last that all have, was cut elsewhere.
    pub(super) fn found(mut self) -> Found {
        let last = self.last.unwrap_or(Position { msn: 0, part: 0 });
        self.found.misaligned += self.open.range(..last).count() as u64;
        self.found
    }

    /// Renditions that begin a part elsewhere than the first: pictures at another tick, sound not with its first unit there.
    fn apart(&self, all: &[(usize, u64)]) -> u64 {
        let pictures = || all.iter().filter(|(rendition, _)| *rendition != self.sound);
        let Some((_, first)) = pictures().next() else { return 0 };
        let others = pictures().filter(|(_, begins)| begins != first).count();
        let (unit, scale) = (u64::from(ACCESS_UNIT_SAMPLES), u64::from(self.ticks_per_s));
        // The first unit that begins at the boundary or behind it.
        let begins = (first * u64::from(AUDIO_RATE)).div_ceil(scale).div_ceil(unit) * unit;
        let sound = all.iter().filter(|(rendition, heard)| *rendition == self.sound && *heard != begins).count();
        (others + sound) as u64
    }
}

/// The base media decode time of a fragment (ISO/IEC 14496-12, 8.8.12).
fn decode_time(bytes: &[u8]) -> Option<u64> {
    let at = bytes.windows(4).position(|name| name == b"tfdt")? + 4;
    let (version, rest) = bytes.get(at..)?.split_first()?;
    let time = rest.get(3..)?;
    match version {
        0 => time.first_chunk().map(|time| u64::from(u32::from_be_bytes(*time))),
        _ => time.first_chunk().map(|time| u64::from_be_bytes(*time)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renditions_that_begin_elsewhere_are_counted() {
        let boundaries = Boundaries {
            sound: 2,
            renditions: 3,
            ticks_per_s: 30_000,
            open: BTreeMap::new(),
            last: None,
            found: Found::default(),
        };
        // Half a second: 24,000 samples, the next unit begins at 24 * 1024.
        assert_eq!(boundaries.apart(&[(0, 15_000), (1, 15_000), (2, 24_576)]), 0);
        assert_eq!(boundaries.apart(&[(1, 16_001), (0, 15_000), (2, 24_576)]), 2);
        assert_eq!(boundaries.apart(&[(0, 15_000), (1, 15_000), (2, 23_552)]), 1);
    }

    #[test]
    fn a_part_that_one_rendition_lacks_is_counted_once_all_have_gone_on() {
        let part = |rendition, part| {
            let mut bytes = b"....tfdt\x01\0\0\0".to_vec();
            bytes.extend_from_slice(&(u64::from(part) * 1000).to_be_bytes());
            let at = Position { msn: 1, part };
            Cut { rendition, at, bytes: bytes.into(), independent: true, ends_segment: false }
        };
        let mut boundaries = Boundaries {
            sound: usize::MAX,
            renditions: 2,
            ticks_per_s: 30_000,
            open: BTreeMap::new(),
            last: None,
            found: Found::default(),
        };
        boundaries.take(vec![part(0, 1), part(0, 2), part(1, 2), part(0, 3)]).unwrap();
        assert_eq!(boundaries.found().misaligned, 1);
    }

    #[test]
    fn the_time_of_a_fragment_is_read() {
        let mut bytes = b"....tfdt\x01\0\0\0".to_vec();
        bytes.extend_from_slice(&7_u64.to_be_bytes());
        assert_eq!(decode_time(&bytes), Some(7));
        assert_eq!(decode_time(b"none"), None);
    }
}
