//! `[edge.slices]`: how large objects are fetched and kept in pieces.

use crate::Problem;
use crate::bounded::within;
use serde::Deserialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slices {
    /// One piece, in bytes.
    pub bytes: u64,
    /// An object longer than this is kept in pieces, in bytes.
    pub above_bytes: u64,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    bytes: u64,
    above_bytes: u64,
}

impl Default for Raw {
    fn default() -> Self {
        Self { bytes: 4 << 20, above_bytes: 32 << 20 }
    }
}

impl Raw {
    pub(super) fn valid(self, object_bytes_max: u64, problems: &mut Vec<Problem>) -> Slices {
        let slices = Slices {
            bytes: within(problems, "edge.slices.bytes", self.bytes, 64 << 10..=64 << 20),
            above_bytes: within(problems, "edge.slices.above_bytes", self.above_bytes, 64 << 10..=1 << 32),
        };
        if slices.above_bytes > object_bytes_max {
            let message = "is more than edge.object_bytes_max, and objects between the two would be refused; lower it";
            problems.push(Problem::new("edge.slices.above_bytes", message));
        }
        slices
    }
}
