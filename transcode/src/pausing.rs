//! Which rungs show no more than the next one below them does, scaled up, on what there is to see: those are left out until
//! the pictures are others. Pure.
//!
//! Only rungs of one codec and frame rate stand in for each other, and one that another leans on stays: so the smallest of
//! each kind always does. While a rung runs, both are compared with what it was made from. While it is away, the one below
//! alone tells: what it looked like when they were alike is what it still looks like, or the scene has changed.

use crate::Plan;
use config::VideoCodec;
use std::time::Duration;

/// When a rung is left out for what there is to see, and when it comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pausing {
    /// The rung below may be worse by so much, in thousandths of a decibel of SSIM.
    pub loss_mdb: u32,
    /// The rung is back when the one below has become better or worse by more than this.
    pub return_mdb: u32,
    /// Sampled segments in a row in which they are alike.
    pub segments: u32,
    /// A rung that has come back runs for so long; longer, the more often it was away for less.
    pub run: Duration,
}

/// Some of the encoded rungs, by their place: the tallest has 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Places(u64);

/// What is left out now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Paused {
    pub(crate) away: Places,
    /// Those below that stand in for them.
    pub(crate) leaned: Places,
}

/// SSIM of one picture against what a rung was given: its own, while it runs, and that of the rung below, scaled up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compared {
    pub(crate) own: Option<f64>,
    pub(crate) below: f64,
}

/// The rule of one worker.
#[derive(Debug)]
pub(crate) struct Pauser {
    loss_db: f64,
    return_db: f64,
    /// Pictures in a row.
    pictures: usize,
    run_segments: i64,
    rungs: Vec<Rung>,
}

#[derive(Debug)]
struct Rung {
    kind: (VideoCodec, u32),
    alike: Option<Alike>,
    away: Option<Away>,
    /// It runs until then, whatever there is to see, and for so many segments at its next return.
    runs_until: i64,
    run: i64,
}

/// It has been like the rung below for so many pictures in a row, of which that one had so many decibels.
#[derive(Clone, Copy, Debug)]
struct Alike {
    below: usize,
    pictures: usize,
    least_db: f64,
    most_db: f64,
}

#[derive(Clone, Copy, Debug)]
struct Away {
    since: i64,
    /// The last segment that was looked at.
    seen: i64,
    alike: Alike,
}

/// Past an SSIM of 0.99 nobody sees a difference.
const ENOUGH_DB: f64 = 20.0;
/// The run after a return at the most, in those that are configured.
const RUNS_MAX: i64 = 16;
/// Segments that nobody has looked at, for want of time, before a rung is back unseen.
const UNSEEN_MAX: i64 = 4;

impl Pauser {
    /// `pictures` of a sampled segment are compared.
    pub(crate) fn new(plan: &Plan, pausing: &Pausing, pictures: usize) -> Self {
        let run_segments = (pausing.run.as_secs_f64() / plan.segment().as_secs_f64()).ceil() as i64;
        let encodings = plan.renditions.iter().filter_map(|rendition| rendition.make.encoding());
        let rung = |kind| Rung { kind, alike: None, away: None, runs_until: 0, run: run_segments };
        Self {
            loss_db: f64::from(pausing.loss_mdb) / 1000.0,
            return_db: f64::from(pausing.return_mdb) / 1000.0,
            pictures: pausing.segments as usize * pictures,
            run_segments,
            rungs: encodings.map(|encoding| rung((encoding.codec, encoding.every))).collect(),
        }
    }

    pub(crate) fn paused(&self) -> Paused {
        let mut paused = Paused::default();
        for (place, rung) in self.rungs.iter().enumerate() {
            if let Some(away) = &rung.away {
                paused.away.insert(place);
                paused.leaned.insert(away.alike.below);
            }
        }
        paused
    }

    /// The rung that another is compared with: the one that stands in for it, or the next below it that could.
    pub(crate) fn below(&self, place: usize) -> Option<usize> {
        let rung = self.rungs.get(place)?;
        if let Some(away) = &rung.away {
            return Some(away.alike.below);
        }
        let stands_in = |&below: &usize| self.rungs[below].kind == rung.kind && self.rungs[below].away.is_none();
        (place + 1..self.rungs.len()).find(stands_in)
    }

    /// A picture of a segment has been compared with what the rung was given. Whether it goes, or comes back, where the next
    /// segment begins.
    pub(crate) fn saw(&mut self, place: usize, segment: i64, compared: Compared) -> bool {
        let Some(below) = self.below(place) else { return false };
        let below_db = decibels(compared.below);
        if let Some(away) = &mut self.rungs[place].away {
            away.seen = segment;
            let away = *away;
            return self.is_other(&away, below_db) && self.come_back(place, segment - away.since, segment);
        }
        let Some(own) = compared.own else { return false };
        let is_leaned_on = self.rungs.iter().any(|rung| rung.away.is_some_and(|away| away.alike.below == place));
        // Who would be leaned on may be about to go: of several that are alike the smallest is to be left.
        let waits = self.rungs[below].alike.is_some();
        let rung = &mut self.rungs[place];
        let before = rung.alike.take().filter(|alike| alike.below == below);
        if decibels(own) - below_db > self.loss_db || is_leaned_on || segment < rung.runs_until {
            return false;
        }
        let alike = before.map_or(Alike { below, pictures: 1, least_db: below_db, most_db: below_db }, |alike| Alike {
            pictures: alike.pictures + 1,
            least_db: alike.least_db.min(below_db),
            most_db: alike.most_db.max(below_db),
            ..alike
        });
        let goes = alike.pictures >= self.pictures && !waits;
        (rung.alike, rung.away) =
            if goes { (None, Some(Away { since: segment, seen: segment, alike })) } else { (Some(alike), None) };
        goes
    }

    /// A segment has come of which nothing has been seen yet. A rung that is away, and of which nobody has seen for too long
    /// whether it should be: it comes back where the next segment begins.
    pub(crate) fn overlooked(&mut self, segment: i64) -> Option<usize> {
        let is_late = |rung: &Rung| rung.away.is_some_and(|away| segment - away.seen > UNSEEN_MAX);
        let place = self.rungs.iter().position(is_late)?;
        self.come_back(place, 0, segment);
        Some(place)
    }

    fn is_other(&self, away: &Away, below_db: f64) -> bool {
        let Alike { least_db, most_db, .. } = away.alike;
        below_db < least_db - self.return_db || below_db > most_db + self.return_db
    }

    /// A pause that was shorter than the run before it is not worth what players do at both ends of it.
    fn come_back(&mut self, place: usize, lasted: i64, segment: i64) -> bool {
        let run_segments = self.run_segments;
        let rung = &mut self.rungs[place];
        let was_short = lasted < rung.run.max(1);
        let longer = (rung.run * 2).min(run_segments * RUNS_MAX);
        rung.runs_until = segment + 1 + rung.run;
        rung.run = if was_short { longer } else { run_segments };
        rung.away = None;
        true
    }
}

impl Places {
    pub(crate) fn holds(self, place: usize) -> bool {
        u32::try_from(place).ok().and_then(|place| 1_u64.checked_shl(place)).is_some_and(|bit| self.0 & bit != 0)
    }

    /// The wire has no job with as many renditions as would not fit.
    pub(crate) fn insert(&mut self, place: usize) {
        self.0 |= u32::try_from(place).ok().and_then(|place| 1_u64.checked_shl(place)).unwrap_or(0);
    }
}

/// Of an SSIM, in which equal steps are about equally well seen; no more than is enough.
fn decibels(ssim: f64) -> f64 {
    (-10.0 * (1.0 - ssim.min(1.0)).log10()).min(ENOUGH_DB)
}

#[cfg(test)]
mod tests;
