//! `[origin.window]`: how far back viewers can seek, and how long requests may wait for more.

use crate::Problem;
use crate::bounded::within;
use serde::Deserialize;
use std::time::Duration;

/// What a playlist shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Of the media in a playlist; never less than six target durations.
    pub length: Duration,
    /// Media that is in memory even where it is on disk as well; never less than six target durations.
    pub memory: Duration,
    /// Of all windows together. Past it they become shorter than [`Self::length`].
    pub memory_bytes_max: usize,
    /// Longest hold of a playlist or hinted part before 503, in target durations.
    pub hold_target_durations: u32,
    /// Requests that may wait at once.
    pub holds_max: usize,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    length_s: u64,
    memory_s: u64,
    memory_bytes_max: usize,
    hold_target_durations: u32,
    holds_max: usize,
}

impl Default for Raw {
    fn default() -> Self {
        Self { length_s: 7200, memory_s: 60, memory_bytes_max: 2 << 30, hold_target_durations: 3, holds_max: 10_000 }
    }
}

impl Raw {
    pub(super) fn valid(&self, problems: &mut Vec<Problem>) -> Window {
        let holds = within(problems, "origin.window.hold_target_durations", self.hold_target_durations, 1..=6);
        Window {
            length: Duration::from_secs(within(problems, "origin.window.length_s", self.length_s, 6..=86_400)),
            memory: Duration::from_secs(within(problems, "origin.window.memory_s", self.memory_s, 6..=86_400)),
            memory_bytes_max: within(
                problems,
                "origin.window.memory_bytes_max",
                self.memory_bytes_max,
                1 << 20..=1 << 40,
            ),
            hold_target_durations: holds,
            holds_max: within(problems, "origin.window.holds_max", self.holds_max, 1..=1_000_000),
        }
    }
}
