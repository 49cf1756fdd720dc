//! `[edge.qoe]`: what viewers are told of their connection, and how much may wait in it.

use crate::Problem;
use crate::bounded::within;
use serde::Deserialize;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Qoe {
    /// Answers with media carry `CMSD-Dynamic` (CTA-5006).
    pub cmsd: bool,
    /// Shorter objects carry none, in bytes.
    pub cmsd_above_bytes: u64,
    /// The kernel is asked no more often than this about one connection.
    pub refresh: Duration,
    /// `mb`: the highest bitrate that players should choose, in bits per second; 0 suggests none.
    pub suggested_bitrate_max: u64,
    /// A node whose tasks run later than this is under duress.
    pub duress_lag: Duration,
    /// Bytes that may wait in the kernel for their turn on one viewer's connection; 0 leaves it to the kernel.
    pub unsent_bytes_max: u32,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    cmsd: bool,
    cmsd_above_bytes: u64,
    refresh_ms: u64,
    suggested_bitrate_max: u64,
    duress_lag_ms: u64,
    unsent_bytes_max: u32,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            cmsd: true,
            cmsd_above_bytes: 16 << 10,
            refresh_ms: 200,
            suggested_bitrate_max: 0,
            duress_lag_ms: 250,
            unsent_bytes_max: 128 << 10,
        }
    }
}

impl Raw {
    pub(super) fn valid(self, problems: &mut Vec<Problem>) -> Qoe {
        let mut ms = |name: &str, value, range| Duration::from_millis(within(problems, name, value, range));
        let refresh = ms("edge.qoe.refresh_ms", self.refresh_ms, 10..=60_000);
        let duress_lag = ms("edge.qoe.duress_lag_ms", self.duress_lag_ms, 10..=10_000);
        if self.unsent_bytes_max > 0 {
            within(problems, "edge.qoe.unsent_bytes_max", self.unsent_bytes_max, 16 << 10..=64 << 20);
        }
        let highest = 10_000_000_000;
        Qoe {
            cmsd: self.cmsd,
            cmsd_above_bytes: within(problems, "edge.qoe.cmsd_above_bytes", self.cmsd_above_bytes, 0..=1 << 30),
            refresh,
            suggested_bitrate_max: within(
                problems,
                "edge.qoe.suggested_bitrate_max",
                self.suggested_bitrate_max,
                0..=highest,
            ),
            duress_lag,
            unsent_bytes_max: self.unsent_bytes_max,
        }
    }
}
