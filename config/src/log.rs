//! `[log]`: what is written to standard error.

use crate::Problem;
use serde::Deserialize;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub format: LogFormat,
    /// A `tracing` filter: `info`, or `info,edge=debug`.
    pub filter: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".to_owned() }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line, for collectors.
    Json,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Raw {
    format: LogFormat,
    filter: String,
}

impl Default for Raw {
    fn default() -> Self {
        let Log { format, filter } = Log::default();
        Self { format, filter }
    }
}

impl Raw {
    pub(crate) fn valid(self, problems: &mut Vec<Problem>) -> Log {
        if self.filter.trim().is_empty() {
            problems.push(Problem::new("log.filter", "is empty; write for example \"info\""));
        }
        Log { format: self.format, filter: self.filter }
    }
}
