//! `origin.profiles`: how long the parts of each stream are, by its name.

use super::Origin;
use crate::streams::Streams;
use crate::{Problem, Segmenting};
use serde::Deserialize;
use std::borrow::Cow;
use std::time::Duration;

/// The streams that it names have parts of this length; all else of `[origin.segment]` holds for them as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    pub streams: Streams,
    pub part: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    stream: String,
    profile: Latency,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Latency {
    Standard,
    Low,
}

impl Latency {
    fn part(self) -> Duration {
        match self {
            // 8/15 s: 16 frames at 30 fps and 32 at 60 are 25 access units of AAC.
            Self::Standard => Duration::from_nanos(533_333_333),
            Self::Low => Duration::from_millis(200),
        }
    }
}

impl Raw {
    pub(super) fn valid(self, index: usize, problems: &mut Vec<Problem>) -> Profile {
        let key = format!("origin.profiles[{index}].stream");
        Profile { streams: Streams::valid(&key, self.stream, problems), part: self.profile.part() }
    }
}

impl Origin {
    /// How the stream of this name is cut: the first profile that names it decides.
    pub fn segmenting(&self, stream: &str) -> Cow<'_, Segmenting> {
        let profile = self.profiles.iter().find(|profile| profile.streams.cover(stream));
        let with = |profile: &Profile| Segmenting { part: profile.part, ..self.segment.clone() };
        profile.map_or(Cow::Borrowed(&self.segment), |profile| Cow::Owned(with(profile)))
    }
}

#[cfg(test)]
mod tests {
    use crate::Config;

    #[test]
    fn the_first_rule_that_names_a_stream_decides() {
        let text = "[origin]\nprofiles = [{ stream = \"news\", profile = \"low\" }, { stream = \"film-*\", profile = \"standard\" }]\n";
        let origin = Config::parse(text, []).unwrap().origin.unwrap();
        let part_ms = |stream: &str| origin.segmenting(stream).part.as_millis();
        assert_eq!(["news", "film-1", "film-", "film", "newsroom"].map(part_ms), [200, 533, 533, 267, 267]);
        assert_eq!(origin.segmenting("news").segment, origin.segment.segment);
        let any = Config::parse("[origin]\nprofiles = [{ stream = \"*\", profile = \"low\" }]\n", []).unwrap();
        assert_eq!(any.origin.unwrap().segmenting("x").part.as_millis(), 200);
    }

    #[test]
    fn a_rule_names_streams_and_a_profile_that_there_is() {
        for (rule, told) in [
            ("stream = \"a*b\", profile = \"low\"", "names no stream"),
            ("stream = \"\", profile = \"low\"", "names no stream"),
            ("stream = \"a\", profile = \"ultra\"", "standard"),
        ] {
            let problem = Config::parse(&format!("[origin]\nprofiles = [{{ {rule} }}]\n"), []).expect_err("is valid");
            assert!(problem[0].to_string().contains(told), "{}", problem[0]);
        }
    }
}
