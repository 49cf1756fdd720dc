//! `[origin.subtitles]`: text that a publisher sends beside picture and sound.

use crate::Problem;
use crate::bounded::within;
use crate::streams::Streams;
use serde::Deserialize;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subtitles {
    /// Of one stream; zero takes none.
    pub tracks_max: usize,
    /// A text is shown until the next of its track, but no longer.
    pub shown_max: Duration,
    /// Players are told of these before anything is said in them.
    pub expected: Vec<ExpectedTrack>,
}

/// A track of the streams that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedTrack {
    pub streams: Streams,
    /// As publishers write it: letters, digits and hyphens.
    pub language: Option<String>,
    pub track: Option<u32>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    tracks_max: usize,
    shown_max_ms: u64,
    expected: Vec<RawTrack>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTrack {
    stream: String,
    language: Option<String>,
    track: Option<u32>,
}

impl Default for Raw {
    fn default() -> Self {
        Self { tracks_max: 4, shown_max_ms: 5000, expected: Vec::new() }
    }
}

impl Raw {
    pub(super) fn valid(self, problems: &mut Vec<Problem>) -> Subtitles {
        let shown_max = within(problems, "origin.subtitles.shown_max_ms", self.shown_max_ms, 500..=60_000);
        Subtitles {
            tracks_max: within(problems, "origin.subtitles.tracks_max", self.tracks_max, 0..=16),
            shown_max: Duration::from_millis(shown_max),
            expected: self.expected.into_iter().enumerate().map(|(index, raw)| raw.valid(index, problems)).collect(),
        }
    }
}

impl RawTrack {
    fn valid(self, index: usize, problems: &mut Vec<Problem>) -> ExpectedTrack {
        let key = |name: &str| format!("origin.subtitles.expected[{index}].{name}");
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if self.language.as_deref().is_some_and(|text| !(1..=16).contains(&text.len()) || !plain(text)) {
            problems.push(Problem::new(key("language"), "must be a language tag, such as \"en\" or \"pt-BR\""));
        }
        ExpectedTrack {
            streams: Streams::valid(&key("stream"), self.stream, problems),
            language: self.language,
            track: self.track,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Config;

    #[test]
    fn a_track_that_is_expected_has_a_stream_and_perhaps_a_language() {
        let parse = |expected: &str| Config::parse(&format!("[origin.subtitles]\nexpected = [{expected}]\n"), []);
        let subtitles = parse("{ stream = \"news-*\", language = \"pt-BR\" }").unwrap().origin.unwrap().subtitles;
        assert!(subtitles.expected[0].streams.cover("news-1") && subtitles.expected[0].track.is_none());
        for (expected, key) in [
            ("{ stream = \"a b\" }", "origin.subtitles.expected[0].stream"),
            ("{ stream = \"a\", language = \"a/b\" }", "origin.subtitles.expected[0].language"),
        ] {
            let problems = parse(expected).unwrap_err();
            assert!(problems.iter().any(|problem| problem.to_string().contains(key)), "{problems:?}");
        }
    }
}
