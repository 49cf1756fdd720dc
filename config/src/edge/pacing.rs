//! `[edge.pacing]`: how fast media is sent to a viewer at most.

use crate::Problem;
use crate::bounded::within;
use serde::Deserialize;

/// Rates in bits per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pacing {
    pub enabled: bool,
    /// So many times the bitrate that the player says.
    pub bitrate_ratio: f64,
    /// Nobody is paced below this.
    pub rate_min: u64,
    /// Nor sent to faster than this; 0: whoever says no bitrate is not paced.
    pub rate_max: u64,
    /// The first bytes of a connection are not paced.
    pub burst_bytes: u64,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    enabled: bool,
    bitrate_ratio: f64,
    rate_min: u64,
    rate_max: u64,
    burst_bytes: u64,
}

impl Default for Raw {
    fn default() -> Self {
        Self { enabled: false, bitrate_ratio: 2.0, rate_min: 500_000, rate_max: 0, burst_bytes: 2 << 20 }
    }
}

impl Raw {
    pub(super) fn valid(self, problems: &mut Vec<Problem>) -> Pacing {
        let pacing = Pacing {
            enabled: self.enabled,
            bitrate_ratio: within(problems, "edge.pacing.bitrate_ratio", self.bitrate_ratio, 1.2..=100.0),
            rate_min: within(problems, "edge.pacing.rate_min", self.rate_min, 100_000..=10_000_000_000),
            rate_max: self.rate_max,
            burst_bytes: within(problems, "edge.pacing.burst_bytes", self.burst_bytes, 0..=1 << 30),
        };
        if pacing.rate_max > 0 && pacing.rate_max < pacing.rate_min {
            let message = "is below edge.pacing.rate_min; write 0 for no bound, or raise it";
            problems.push(Problem::new("edge.pacing.rate_max", message));
        }
        pacing
    }
}
