//! Samples, remembered for a while: for each cell (a CDN, seen from a scope) its loss, and whether it is down.

use crate::sample::{Kind, Sample, Scope};
use manifest::steering::PathwayId;
use std::collections::HashMap;
use std::time::Duration;

/// Decaying evidence. Time is passed in, as the time since the router began.
#[derive(Clone, Debug)]
pub struct Evidence {
    half_life: Duration,
    cells: HashMap<(PathwayId, Scope), Trace>,
    refused: u64,
}

/// What is known of one cell now.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// Mean loss of its samples, recent ones counting more: 0 to 1.
    pub loss: f64,
    /// How much evidence that rests on: the decayed sum of weights.
    pub weight: f64,
    /// It failed [`FAILURES_TO_GO_DOWN`] times running and has not yet been good for [`GOOD_TO_RETURN`] rounds.
    pub down: bool,
    /// Time since the last sample.
    pub age: Duration,
    pub last: Kind,
}

#[derive(Clone, Debug)]
struct Trace {
    weight: f64,
    /// Sum of weight × loss, decayed as the weight is.
    lost: f64,
    at: Duration,
    /// Samples running that lost everything.
    failures: u32,
    /// Rounds running without a sample that lost everything.
    good: u32,
    down: bool,
    last: Kind,
}

impl Evidence {
    pub fn new(half_life: Duration) -> Self {
        Self { half_life: half_life.max(Duration::from_millis(1)), cells: HashMap::new(), refused: 0 }
    }

    /// Adds a sample. One that has no place within [`CELLS_MAX`], or no sensible weight, is counted and dropped.
    pub fn absorb(&mut self, sample: &Sample, now: Duration) {
        let key = (sample.cdn.clone(), sample.scope);
        let fits = self.cells.len() < CELLS_MAX || self.cells.contains_key(&key);
        if !fits || !sample.weight.is_finite() || sample.weight <= 0.0 {
            self.refused += 1;
            return;
        }
        let half_life = self.half_life;
        let trace = self.cells.entry(key).or_insert_with(|| Trace::new(sample.kind.clone(), now));
        trace.decay(half_life, now);
        trace.add(sample, now);
    }

    /// What is known of a cell; none when there are no samples, or they are too old to mean anything.
    pub fn account(&self, cdn: &PathwayId, scope: Scope, now: Duration) -> Option<Account> {
        let mut trace = self.cells.get(&(cdn.clone(), scope))?.clone();
        let age = now.saturating_sub(trace.at);
        trace.decay(self.half_life, now);
        (trace.weight >= WEIGHT_MIN).then(|| Account {
            loss: (trace.lost / trace.weight).clamp(0.0, 1.0),
            weight: trace.weight,
            down: trace.down,
            age,
            last: trace.last,
        })
    }

    /// Drops cells that say nothing any more.
    pub fn forget(&mut self, now: Duration) {
        let half_life = self.half_life;
        self.cells.retain(|_, trace| trace.weight * decay(half_life, now.saturating_sub(trace.at)) >= WEIGHT_MIN);
    }

    /// Every scope of which something is known.
    pub fn scopes(&self) -> impl Iterator<Item = Scope> + '_ {
        self.cells.keys().map(|(_, scope)| *scope)
    }

    /// Samples that were dropped so far.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

impl Trace {
    fn new(last: Kind, now: Duration) -> Self {
        Self { weight: 0.0, lost: 0.0, at: now, failures: 0, good: 0, down: false, last }
    }

    fn decay(&mut self, half_life: Duration, now: Duration) {
        let factor = decay(half_life, now.saturating_sub(self.at));
        self.weight *= factor;
        self.lost *= factor;
    }

    fn add(&mut self, sample: &Sample, now: Duration) {
        let loss = sample.kind.loss();
        let same_round = self.weight > 0.0 && now <= self.at;
        self.weight += sample.weight;
        self.lost += sample.weight * loss;
        self.at = self.at.max(now);
        self.last = sample.kind.clone();
        if loss >= 1.0 {
            self.failures = self.failures.saturating_add(1);
            self.good = 0;
            self.down |= self.failures >= FAILURES_TO_GO_DOWN;
        } else {
            self.failures = 0;
            // Many streams are probed at one moment; that is one round of good news, not many.
            self.good = self.good.saturating_add(u32::from(!same_round));
            if self.down && self.good >= GOOD_TO_RETURN {
                self.down = false;
                // The outage was paid for with all viewers; what it lost then says nothing about it now.
                self.weight = sample.weight;
                self.lost = sample.weight * loss;
            }
        }
    }
}

fn decay(half_life: Duration, elapsed: Duration) -> f64 {
    (-elapsed.as_secs_f64() / half_life.as_secs_f64()).exp2()
}

/// A failed probe is repeated at once, so a dead CDN is known after one round, and one lost packet moves nobody.
pub const FAILURES_TO_GO_DOWN: u32 = 2;
/// A CDN that comes back cold gets its viewers after five good rounds (10 s), not at the first sign of life: moving
/// them twice costs more than waiting.
pub const GOOD_TO_RETURN: u32 = 5;
/// Less evidence than a twentieth of one probe: four half-lives after the last one, it is as good as forgotten.
const WEIGHT_MIN: f64 = 0.05;
/// Countries × large networks × CDNs, generously.
pub const CELLS_MAX: usize = 50_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{Delivery, Failure};

    const SECOND: Duration = Duration::from_secs(1);

    fn cdn(name: &str) -> PathwayId {
        PathwayId::new(name).unwrap()
    }

    fn sample(good: bool) -> Sample {
        let delivery = Delivery { ttfb: Duration::ZERO, lag: None, headroom: None };
        let kind = Kind::Probe(if good { Ok(delivery) } else { Err(Failure::Unreachable) });
        Sample { cdn: cdn("a"), scope: Scope::EVERYWHERE, kind, weight: 1.0 }
    }

    fn after(rounds: &[bool]) -> (Evidence, Duration) {
        let mut evidence = Evidence::new(SECOND * 10);
        let mut now = SECOND;
        for &good in rounds {
            evidence.absorb(&sample(good), now);
            now += SECOND * 2;
        }
        (evidence, now)
    }

    fn account(rounds: &[bool]) -> Account {
        let (evidence, now) = after(rounds);
        evidence.account(&cdn("a"), Scope::EVERYWHERE, now).unwrap()
    }

    #[test]
    fn no_samples_are_no_news() {
        let (evidence, now) = after(&[]);
        assert_eq!(evidence.account(&cdn("a"), Scope::EVERYWHERE, now), None);
    }

    #[test]
    fn evidence_halves_in_its_half_life_and_is_forgotten() {
        let (mut evidence, now) = after(&[true]);
        let later = |seconds: u64| evidence.account(&cdn("a"), Scope::EVERYWHERE, SECOND * (1 + seconds as u32));
        assert!((later(10).unwrap().weight - 0.5).abs() < 1e-9);
        assert_eq!(later(10).unwrap().age, SECOND * 10);
        assert_eq!(later(60), None);
        evidence.forget(now + SECOND * 60);
        assert_eq!(evidence.scopes().count(), 0);
    }

    #[test]
    fn the_loss_is_a_mean_that_leans_to_the_present() {
        let fresh = account(&[true, true, true, false]);
        let old = account(&[false, true, true, true]);
        assert!(fresh.loss > 0.25 && old.loss < 0.25 && old.loss > 0.0, "{} {}", fresh.loss, old.loss);
        assert!((account(&[true, false]).loss + account(&[false, true]).loss - 1.0).abs() < 1e-9);
    }

    #[test]
    fn two_failures_running_are_down_and_five_good_rounds_are_back() {
        assert!(!account(&[true, false, true, false, true]).down);
        assert!(account(&[true, true, false, false]).down);
        assert!(account(&[false, false, true, true, true, true]).down);
        assert!(account(&[false, false, true, true, true, true, false, true, true, true, true]).down);
        let back = account(&[false, false, true, true, true, true, true]);
        assert!(!back.down && back.loss == 0.0);
    }

    #[test]
    fn many_good_samples_of_one_moment_are_one_round() {
        let (mut evidence, now) = after(&[false, false]);
        for _ in 0..20 {
            evidence.absorb(&sample(true), now);
        }
        assert!(evidence.account(&cdn("a"), Scope::EVERYWHERE, now).unwrap().down);
    }

    #[test]
    fn cells_are_bounded_and_weights_are_numbers() {
        let (mut evidence, now) = after(&[]);
        for asn in 0..CELLS_MAX as u32 + 7 {
            evidence.absorb(&Sample { scope: Scope { country: None, asn: Some(asn) }, ..sample(true) }, now);
        }
        assert_eq!((evidence.scopes().count(), evidence.refused()), (CELLS_MAX, 7));
        let (mut evidence, now) = after(&[]);
        for weight in [f64::NAN, f64::INFINITY, 0.0, -1.0] {
            evidence.absorb(&Sample { weight, ..sample(true) }, now);
        }
        assert_eq!((evidence.scopes().count(), evidence.refused()), (0, 4));
    }
}
