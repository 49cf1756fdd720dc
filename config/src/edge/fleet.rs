//! `[edge.fleet]`: whether and how viewers are sent to the nearest edge.

use crate::Problem;
use crate::bounded::within;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq)]
pub struct Fleet {
    /// The fleet file. Absent: nobody is sent anywhere.
    pub file: Option<PathBuf>,
    /// How often the file is looked at for changes.
    pub check_interval: Duration,
    pub mode: SteerMode,
    /// How much nearer another edge must be, in kilometres.
    pub margin_km: f64,
    /// How often each other edge is asked how it is.
    pub poll_interval: Duration,
    pub poll_timeout: Duration,
    /// Edges asked at once.
    pub polls_max: usize,
}

/// How a viewer is told of a better edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum SteerMode {
    /// 302 to the same manifest there.
    #[default]
    #[serde(rename = "redirect")]
    Redirect,
    /// The manifest itself, with its URIs there.
    #[serde(rename = "rewrite")]
    Rewrite,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    file: Option<PathBuf>,
    check_interval_ms: u64,
    mode: SteerMode,
    margin_km: f64,
    poll_interval_ms: u64,
    poll_timeout_ms: u64,
    polls_max: usize,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            file: None,
            check_interval_ms: 2000,
            mode: SteerMode::Redirect,
            margin_km: 300.0,
            poll_interval_ms: 2000,
            poll_timeout_ms: 1000,
            polls_max: 32,
        }
    }
}

impl Raw {
    pub(super) fn valid(self, problems: &mut Vec<Problem>) -> Fleet {
        let mut ms = |name: &str, value, range| Duration::from_millis(within(problems, name, value, range));
        let check_interval = ms("edge.fleet.check_interval_ms", self.check_interval_ms, 100..=3_600_000);
        let poll_interval = ms("edge.fleet.poll_interval_ms", self.poll_interval_ms, 100..=60_000);
        let poll_timeout = ms("edge.fleet.poll_timeout_ms", self.poll_timeout_ms, 50..=30_000);
        if poll_timeout >= poll_interval {
            let message = "must be below edge.fleet.poll_interval_ms, or polls of one edge overlap";
            problems.push(Problem::new("edge.fleet.poll_timeout_ms", message));
        }
        Fleet {
            file: self.file,
            check_interval,
            mode: self.mode,
            margin_km: within(problems, "edge.fleet.margin_km", self.margin_km, 0.0..=20_000.0),
            poll_interval,
            poll_timeout,
            polls_max: within(problems, "edge.fleet.polls_max", self.polls_max, 1..=1000),
        }
    }
}
