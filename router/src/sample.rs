//! One observation of a CDN: what was seen, where, and how much it counts. Probes make them, and so will viewers.

use geo::Country;
use manifest::steering::PathwayId;
use std::fmt;
use std::time::Duration;

/// Evidence about one CDN.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub cdn: PathwayId,
    pub scope: Scope,
    pub kind: Kind,
    /// How much it counts beside others; 1 for an ordinary probe.
    pub weight: f64,
}

/// Whom a sample speaks for, or where a viewer is: a country, a network, both, or everyone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scope {
    pub country: Option<Country>,
    /// Autonomous system number.
    pub asn: Option<u32>,
}

/// What kind of observation it was.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// The router asked the CDN itself for playlists of a live stream.
    Probe(Result<Delivery, Failure>),
}

/// How well a CDN answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delivery {
    /// From the request to the first byte of the answer.
    pub ttfb: Duration,
    /// How far its live edge is behind the best CDN's at the same moment; nothing to compare with gives none.
    pub lag: Option<Duration>,
    /// Seconds of media delivered per second; below 1 a player runs dry. None when no media was fetched.
    pub headroom: Option<f64>,
}

/// Why there was no usable answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection, or it broke.
    Unreachable,
    Timeout,
    /// An HTTP status that is no success.
    Status(u16),
    /// Longer than is accepted.
    TooLarge,
    /// Not the playlist that was asked for.
    Unreadable,
}

impl Failure {
    /// A word for metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Status(_) => "status",
            Self::TooLarge => "too_large",
            Self::Unreadable => "unreadable",
        }
    }
}

impl Scope {
    /// All viewers.
    pub const EVERYWHERE: Self = Self { country: None, asn: None };

    /// The next wider scope: a network within a country, then the country, then everywhere.
    pub fn parent(self) -> Option<Self> {
        match self {
            Self { country: Some(country), asn: Some(_) } => Some(Self { country: Some(country), asn: None }),
            Self { country: None, asn: None } => None,
            _ => Some(Self::EVERYWHERE),
        }
    }
}

impl Kind {
    /// The fraction of watch time that a viewer would lose if all requests went like this one: 0 to 1.
    ///
    /// One number makes a slow, a stale and a dead CDN comparable.
    pub fn loss(&self) -> f64 {
        match self {
            Self::Probe(Err(_)) => 1.0,
            Self::Probe(Ok(delivery)) => {
                let slow = ramp(delivery.ttfb, TTFB_FREE, TTFB_STALLS);
                let stale = delivery.lag.map_or(0.0, |lag| ramp(lag, LAG_FREE, LAG_STALLS));
                let thin =
                    delivery.headroom.map_or(0.0, |x| HEADROOM_COST * (HEADROOM_FREE / x.max(1e-3)).ln().max(0.0));
                (slow + stale + thin).min(1.0)
            }
        }
    }

    pub fn failure(&self) -> Option<Failure> {
        match self {
            Self::Probe(result) => result.err(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str("no connection"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Status(status) => write!(f, "HTTP status {status}"),
            Self::TooLarge => f.write_str("an answer longer than accepted"),
            Self::Unreadable => f.write_str("an answer that is no playlist"),
        }
    }
}

/// 0 up to `free`, 1 from `full` on, straight in between.
fn ramp(value: Duration, free: Duration, full: Duration) -> f64 {
    let beyond = value.saturating_sub(free).as_secs_f64();
    (beyond / (full.saturating_sub(free)).as_secs_f64()).min(1.0)
}

/// A part is requested a part ahead (about 0.3 s), so a first byte within 0.2 s costs a viewer nothing.
const TTFB_FREE: Duration = Duration::from_millis(200);
/// A first byte after a whole segment (2 s): no player keeps up.
const TTFB_STALLS: Duration = Duration::from_secs(2);
/// A plain playlist may be cached for 1 s at a shield and at an edge, so CDNs differ by up to 2 s in good health.
const LAG_FREE: Duration = Duration::from_secs(2);
/// Two seconds and three segments of 2 s: the distance from the live edge at which players start. Behind it, they stall.
const LAG_STALLS: Duration = Duration::from_secs(8);
/// Players leave a rung when less than 1.5 s of media arrive per second.
const HEADROOM_FREE: f64 = 1.5;
/// Weight of the logarithm of missing headroom, in watch time: 5 % at a factor of e.
const HEADROOM_COST: f64 = 0.05;

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(ttfb_ms: u64, lag_ms: Option<u64>) -> f64 {
        let lag = lag_ms.map(Duration::from_millis);
        Kind::Probe(Ok(Delivery { ttfb: Duration::from_millis(ttfb_ms), lag, headroom: None })).loss()
    }

    #[test]
    fn a_healthy_answer_costs_nothing_and_a_failure_all() {
        assert_eq!(loss(0, None), 0.0);
        assert_eq!(loss(200, Some(2000)), 0.0);
        assert_eq!(Kind::Probe(Err(Failure::Timeout)).loss(), 1.0);
    }

    #[test]
    fn slow_and_stale_answers_cost_in_proportion_and_never_more_than_all() {
        assert!((loss(1100, None) - 0.5).abs() < 1e-9);
        assert!((loss(0, Some(5000)) - 0.5).abs() < 1e-9);
        assert_eq!(loss(3_600_000, Some(u64::MAX / 2)), 1.0);
        let thin = |x| Kind::Probe(Ok(Delivery { ttfb: Duration::ZERO, lag: None, headroom: Some(x) })).loss();
        assert_eq!((thin(2.0), thin(f64::INFINITY)), (0.0, 0.0));
        assert!((thin(1.5 / std::f64::consts::E) - 0.05).abs() < 1e-9);
        assert!(thin(0.0) <= 1.0 && thin(-1.0) <= 1.0 && thin(f64::NAN) <= 1.0);
    }

    #[test]
    fn scopes_widen_to_everywhere() {
        let at = |country: &str, asn| Scope { country: Country::new(country), asn };
        assert_eq!(at("de", Some(3320)).parent(), Some(at("DE", None)));
        assert_eq!(at("de", None).parent(), Some(Scope::EVERYWHERE));
        assert_eq!(at("", Some(3320)).parent(), Some(Scope::EVERYWHERE));
        assert_eq!(Scope::EVERYWHERE.parent(), None);
    }
}
