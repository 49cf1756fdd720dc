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

    /// Whether it names all that `other` names.
    pub(crate) fn hold(&self, other: &Self) -> bool {
        match (self.0.strip_suffix('*'), other.0.strip_suffix('*')) {
            (Some(own), Some(others)) => others.starts_with(own),
            (None, Some(_)) => false,
            (_, None) => self.cover(&other.0),
        }
    }

    /// Whether a stream can be named by both.
    pub(crate) fn meet(&self, other: &Self) -> bool {
        self.hold(other) || other.hold(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_beginnings_hold_and_meet_each_other() {
        for (a, b, holds, meets) in [
            ("a", "a", true, true),
            ("a", "b", false, false),
            ("a*", "ab", true, true),
            ("ab", "a*", false, true),
            ("a*", "ab*", true, true),
            ("ab*", "a*", false, true),
            ("ab*", "ac*", false, false),
            ("*", "a", true, true),
        ] {
            let (a, b) = (Streams::of(a), Streams::of(b));
            assert_eq!((a.hold(&b), a.meet(&b)), (holds, meets), "{a:?} {b:?}");
        }
    }
}
