//! Keeps a worker up with its source: how late pictures leave and how busy their encoders are in, what to leave out out.
//! Pure.
//!
//! It decides where a segment begins, since that is where an encoder can be opened anew and a rung can go or come back. It
//! goes down by as many steps as the delay asks for, and back up by one at a time, when there was no delay for long and
//! what the step costs is free. A step that was tried in vain is not tried again before the work has become less: under a
//! load that stays, the level stays. What cannot wait for a boundary is a brake: a rung then encodes few of its pictures.

mod levels;
#[cfg(test)]
mod tests;

pub use levels::Shed;
pub(crate) use levels::faster_preset;

use crate::Plan;
use levels::Level;
use std::time::Duration;

/// When less is encoded than was planned, and how much less.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// A picture that leaves later than this after its source came is behind.
    pub behind: Duration,
    /// So long without delay before a step is taken back.
    pub recover: Duration,
    /// How many presets faster rungs may be encoded, before anything is left out.
    pub preset_steps: u8,
    /// No rung gets fewer pictures a second for want of time.
    pub fps_min: u32,
}

/// How the segment before went, where the next begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seen {
    /// How late its pictures left, or leave now: the worst.
    pub(crate) lag: Duration,
    /// What share of the time there was the work took: 1 where nothing was free.
    pub(crate) busy: f64,
}

/// The rule of one worker.
#[derive(Debug)]
pub(crate) struct Keeper {
    keeping: Keeping,
    segment_s: f64,
    levels: Vec<Level>,
    level: usize,
    /// When the segment before began to be worked on.
    before: Option<Duration>,
    calm_since: Option<Duration>,
    /// How busy it was one step further down when this level was tried, until it has proved itself.
    tried: Option<f64>,
    /// The same of each level that was tried in vain.
    failed: Vec<Option<f64>>,
}

/// How late a picture may be, while there is no boundary to decide at.
pub(crate) fn bearable(plan: &Plan, keeping: &Keeping) -> Duration {
    keeping.behind.max(plan.segment() / BEARABLE)
}

/// Whether only some of the pictures are encoded up to the next boundary: they are later than is bearable, and since the
/// last boundary work has taken longer than what it was done for lasts.
pub(crate) fn brakes((lag, bearable): (Duration, Duration), (took, lasts): (Duration, Duration)) -> bool {
    lag > bearable && took > lasts
}

/// As a share of a segment: together with what waits for the encoders, half of one.
const BEARABLE: u32 = 4;
/// A delay is to be made up for within so many segments.
const CATCH_UP_SEGMENTS: f64 = 2.0;
/// More of the time is not given away: the cost of a step is an estimate, and pictures differ.
const BUSY_MAX: f64 = 0.8;
/// Where the work is not less than this share of what it was, a step that failed would fail again.
const LESS: f64 = 0.8;

impl Keeper {
    pub(crate) fn new(plan: &Plan, keeping: &Keeping) -> Self {
        let levels = levels::of(plan, keeping);
        Self {
            keeping: keeping.clone(),
            segment_s: plan.segment().as_secs_f64(),
            failed: vec![None; levels.len()],
            levels,
            level: 0,
            before: None,
            calm_since: None,
            tried: None,
        }
    }

    /// What is left out now.
    pub(crate) fn shed(&self) -> Shed {
        self.levels[self.level].shed
    }

    /// The first picture of a segment is about to be worked on, at `now` since any fixed time; what to leave out of it.
    pub(crate) fn at_boundary(&mut self, seen: Seen, now: Duration) -> Shed {
        // How long a segment takes is known with the second one.
        if let Some(before) = self.before.replace(now) {
            if seen.lag > self.keeping.behind {
                self.calm_since = None;
                let took_s = now.saturating_sub(before).as_secs_f64();
                self.go_down(seen.lag.as_secs_f64(), took_s);
            } else {
                self.go_up(seen, now);
            }
        }
        self.shed()
    }

    /// It is behind; the last segment took so long, of its own accord or because it waited for the source.
    fn go_down(&mut self, lag_s: f64, took_s: f64) {
        let load = took_s / self.segment_s * (1.0 + lag_s / (CATCH_UP_SEGMENTS * self.segment_s));
        if load <= 1.0 {
            // It catches up.
            return;
        }
        let affordable = self.levels[self.level].cost / load;
        let last = self.levels.len() - 1;
        let below = (self.level + 1..last).find(|&level| self.levels[level].cost <= affordable).unwrap_or(last);
        if below > self.level {
            self.failed[self.level] = self.tried.or(self.failed[self.level]);
            self.level = below;
        }
        self.tried = None;
    }

    fn go_up(&mut self, seen: Seen, now: Duration) {
        // Between the two nothing changes.
        if seen.lag > self.keeping.behind / 2 {
            self.calm_since = None;
            return;
        }
        let since = *self.calm_since.get_or_insert(now);
        if now.saturating_sub(since) < self.keeping.recover {
            return;
        }
        self.tried = None;
        let Some(above) = self.level.checked_sub(1) else { return };
        let expected = seen.busy * self.levels[above].cost / self.levels[self.level].cost;
        let would_fail = self.failed[above].is_some_and(|busy| seen.busy > busy * LESS);
        if expected > BUSY_MAX || would_fail {
            return;
        }
        (self.level, self.calm_since, self.tried, self.failed[above]) = (above, None, Some(seen.busy), None);
    }
}
