//! A round of probes, judged: whose fault each failure is, and how far each CDN is behind the best.

use crate::sample::{Delivery, Failure, Kind, Sample, Scope};
use manifest::follow::Media;
use manifest::steering::PathwayId;
use std::time::Duration;

/// What one CDN answered for one stream in one round.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) cdn: PathwayId,
    /// In order; there is a second only when the first failed.
    pub(crate) attempts: Vec<Result<Seen, Failure>>,
}

/// A live playlist as a CDN has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) ttfb: Duration,
    /// When it was there, as the time since the router began.
    pub(crate) arrived: Duration,
    pub(crate) edge: Edge,
}

/// How far a media playlist has come, in milliseconds, on each clock that it shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edge {
    /// By EXT-X-PROGRAM-DATE-TIME.
    wall_ms: Option<i64>,
    /// By counting segments and parts from number 0.
    count_ms: f64,
}

/// What a round says of a stream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Finding {
    Samples(Vec<Sample>),
    /// No CDN has it, which tells nothing about any CDN.
    Gone,
}

impl Edge {
    pub(crate) fn of(media: &Media) -> Self {
        let segment_ms = 1000.0 * media.target_duration_s as f64;
        let part_ms = 1000.0 * media.part_target_s.unwrap_or(0.0);
        let next = media.head.next;
        Self { wall_ms: media.edge_unix_ms, count_ms: next.msn as f64 * segment_ms + f64::from(next.part) * part_ms }
    }
}

/// Judges what all CDNs answered for one stream. Samples come in order of time.
pub(crate) fn judge(outcomes: &[Outcome]) -> Finding {
    let seen = |outcome: &Outcome| outcome.attempts.last().and_then(|attempt| attempt.as_ref().ok().copied());
    let alive: Vec<_> = outcomes.iter().filter_map(seen).collect();
    let absent = |failure: &Failure| matches!(failure, Failure::Status(404 | 410));
    if alive.is_empty() {
        let all_absent = outcomes
            .iter()
            .flat_map(|outcome| &outcome.attempts)
            .all(|attempt| matches!(attempt, Err(failure) if absent(failure)));
        if all_absent {
            return Finding::Gone;
        }
    }
    let mut samples = Vec::new();
    for outcome in outcomes {
        let repeated_well = seen(outcome).is_some();
        for attempt in &outcome.attempts {
            let (result, weight) = match attempt {
                Ok(seen) => (Ok(delivery(seen, &alive)), 1.0),
                // Nobody has the stream, or the one who failed for another reason would have to have it.
                Err(failure) if alive.is_empty() && absent(failure) => continue,
                Err(failure) => (Err(*failure), if repeated_well { LONE_FAILURE } else { 1.0 }),
            };
            let kind = Kind::Probe(result);
            samples.push(Sample { cdn: outcome.cdn.clone(), scope: Scope::EVERYWHERE, kind, weight });
        }
    }
    Finding::Samples(samples)
}

fn delivery(seen: &Seen, alive: &[Seen]) -> Delivery {
    // On one clock for all: numbers of different clocks cannot be compared.
    let wall = alive.iter().all(|other| other.edge.wall_ms.is_some());
    let lead_ms = |seen: &Seen| {
        let edge_ms = seen.edge.wall_ms.filter(|_| wall).map_or(seen.edge.count_ms, |ms| ms as f64);
        // A playlist that was fetched later has had time to grow.
        edge_ms - 1000.0 * seen.arrived.as_secs_f64()
    };
    let best_ms = alive.iter().map(lead_ms).fold(f64::NEG_INFINITY, f64::max);
    let lag_ms = (best_ms - lead_ms(seen)).clamp(0.0, LAG_MAX_MS);
    let lag = (alive.len() > 1).then(|| Duration::from_secs_f64(lag_ms / 1000.0));
    Delivery { ttfb: seen.ttfb, lag, headroom: None }
}

/// A failure that a second attempt did not see counts a quarter: one is noise, many are a brown-out.
const LONE_FAILURE: f64 = 0.25;
/// A day. More is no lag but another stream, and no more is lost by it.
const LAG_MAX_MS: f64 = 86_400_000.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(wall_ms: Option<i64>, count_ms: f64, arrived_ms: u64) -> Result<Seen, Failure> {
        let edge = Edge { wall_ms, count_ms };
        Ok(Seen { ttfb: Duration::from_millis(3), arrived: Duration::from_millis(arrived_ms), edge })
    }

    fn outcome(cdn: &str, attempts: &[Result<Seen, Failure>]) -> Outcome {
        Outcome { cdn: PathwayId::new(cdn).unwrap(), attempts: attempts.to_vec() }
    }

    fn samples(outcomes: &[Outcome]) -> Vec<Sample> {
        match judge(outcomes) {
            Finding::Samples(samples) => samples,
            Finding::Gone => panic!("gone"),
        }
    }

    fn lag_ms(sample: &Sample) -> Option<u128> {
        match &sample.kind {
            Kind::Probe(Ok(delivery)) => delivery.lag.map(|lag| lag.as_millis()),
            Kind::Probe(Err(_)) => None,
        }
    }

    #[test]
    fn lag_is_measured_against_the_best_at_the_same_moment() {
        // B shows 2.9 s less, fetched 0.1 s earlier: 2.8 s behind.
        let found = samples(&[
            outcome("a", &[seen(Some(1_000_000), 7.0, 1100)]),
            outcome("b", &[seen(Some(997_100), 9.0, 1000)]),
        ]);
        assert_eq!(found.iter().map(lag_ms).collect::<Vec<_>>(), [Some(0), Some(2800)]);
    }

    #[test]
    fn where_one_shows_no_wall_clock_segments_are_counted() {
        let found = samples(&[outcome("a", &[seen(Some(1), 8000.0, 0)]), outcome("b", &[seen(None, 12_000.0, 0)])]);
        assert_eq!(found.iter().map(lag_ms).collect::<Vec<_>>(), [Some(4000), Some(0)]);
    }

    #[test]
    fn a_cdn_alone_is_not_behind_anyone() {
        let found = samples(&[outcome("a", &[seen(None, 1.0, 0)]), outcome("b", &[Err(Failure::Timeout)])]);
        assert_eq!(lag_ms(&found[0]), None);
        assert_eq!(found[1].kind, Kind::Probe(Err(Failure::Timeout)));
    }

    #[test]
    fn a_stream_that_no_cdn_has_blames_no_cdn() {
        let absent = [Err(Failure::Status(404)), Err(Failure::Status(404))];
        assert_eq!(judge(&[outcome("a", &absent), outcome("b", &absent)]), Finding::Gone);
        let found = samples(&[outcome("a", &absent), outcome("b", &[Err(Failure::Timeout)])]);
        assert_eq!(found.iter().map(|sample| sample.cdn.as_str()).collect::<Vec<_>>(), ["b"]);
        let found = samples(&[outcome("a", &absent), outcome("b", &[seen(None, 1.0, 0)])]);
        assert_eq!(found.len(), 3, "the CDN that lacks what another has is at fault");
    }

    #[test]
    fn a_failure_that_does_not_repeat_counts_little() {
        let found = samples(&[outcome("a", &[Err(Failure::Timeout), seen(None, 1.0, 0)])]);
        assert_eq!(found.iter().map(|sample| sample.weight).collect::<Vec<_>>(), [LONE_FAILURE, 1.0]);
        let found = samples(&[outcome("a", &[Err(Failure::Timeout), Err(Failure::Unreachable)])]);
        assert_eq!(found.iter().map(|sample| sample.weight).collect::<Vec<_>>(), [1.0, 1.0]);
    }

    #[test]
    fn absurd_clocks_give_a_bounded_lag() {
        let found = samples(&[
            outcome("a", &[seen(Some(i64::MAX), f64::MAX, 0)]),
            outcome("b", &[seen(Some(i64::MIN), 0.0, u64::MAX)]),
        ]);
        assert_eq!(lag_ms(&found[1]), Some(86_400_000));
    }
}
