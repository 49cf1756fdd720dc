//! `[edge.access_log]`: which requests are written down, and where.

use crate::Problem;
use crate::bounded::within;
use serde::Deserialize;
use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    /// Absent: nothing is written.
    pub to: Option<LogTarget>,
    /// Of a hundred requests, sessions or streams, so many are written down.
    pub sample_percent: f64,
    pub sample_by: SampleBy,
    /// Whether answers of 500 and above are written down whatever the sample says.
    pub errors: bool,
    pub addresses: LoggedAddresses,
    /// Lines that wait to be written.
    pub queue_lines_max: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    Stdout,
    File(PathBuf),
}

/// What is in the sample or out of it as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum SampleBy {
    #[serde(rename = "request")]
    Request,
    #[default]
    #[serde(rename = "session")]
    Session,
    #[serde(rename = "stream")]
    Stream,
}

/// How much of a viewer's address is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum LoggedAddresses {
    #[serde(rename = "full")]
    Full,
    #[default]
    #[serde(rename = "prefix")]
    Prefix,
    #[serde(rename = "none")]
    None,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    path: Option<PathBuf>,
    sample_percent: f64,
    sample_by: SampleBy,
    errors: bool,
    addresses: LoggedAddresses,
    queue_lines_max: usize,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            path: None,
            sample_percent: 100.0,
            sample_by: SampleBy::default(),
            errors: true,
            addresses: LoggedAddresses::default(),
            queue_lines_max: 8192,
        }
    }
}

impl Raw {
    pub(super) fn valid(self, problems: &mut Vec<Problem>) -> AccessLog {
        if self.path.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            let message = "is empty; write the path of a file, or \"stdout\"";
            problems.push(Problem::new("edge.access_log.path", message));
        }
        let target = |path: PathBuf| match path.as_os_str() == "stdout" {
            true => LogTarget::Stdout,
            false => LogTarget::File(path),
        };
        AccessLog {
            to: self.path.map(target),
            sample_percent: within(problems, "edge.access_log.sample_percent", self.sample_percent, 0.0..=100.0),
            sample_by: self.sample_by,
            errors: self.errors,
            addresses: self.addresses,
            queue_lines_max: within(problems, "edge.access_log.queue_lines_max", self.queue_lines_max, 16..=1_000_000),
        }
    }
}
