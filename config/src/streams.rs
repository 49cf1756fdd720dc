//! Which streams a rule is for: those of one name, of one beginning, or all.

use crate::Problem;
use crate::origin::{ANY_STREAM, STREAM_NAME, is_stream_name};

/// A stream's name, or its beginning and `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Streams(String);

impl Streams {
    /// Of a name, or the beginning of some and `*`.
    pub fn of(pattern: &str) -> Self {
        Self(pattern.to_owned())
    }

    pub(crate) fn valid(key: &str, pattern: String, problems: &mut Vec<Problem>) -> Self {
        let stem = pattern.strip_suffix('*').unwrap_or(&pattern);
        if !(is_stream_name(stem) || pattern == ANY_STREAM) {
            let text = format!("{pattern:?} names no stream; write a name, or its beginning and \"*\": {STREAM_NAME}");
            problems.push(Problem::new(key, text));
        }
        Self(pattern)
    }

    pub fn cover(&self, stream: &str) -> bool {
        self.0.strip_suffix('*').map_or(self.0 == stream, |beginning| stream.starts_with(beginning))
    }
}
