//! `[origin.subtitles]`: text that a publisher sends beside picture and sound.

use crate::Problem;
use crate::bounded::within;
use serde::Deserialize;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subtitles {
    /// Of one stream; zero takes none.
    pub tracks_max: usize,
    /// A text is shown until the next of its track, but no longer.
    pub shown_max: Duration,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    tracks_max: usize,
    shown_max_ms: u64,
}

impl Default for Raw {
    fn default() -> Self {
        Self { tracks_max: 4, shown_max_ms: 5000 }
    }
}

impl Raw {
    pub(super) fn valid(&self, problems: &mut Vec<Problem>) -> Subtitles {
        let shown_max = within(problems, "origin.subtitles.shown_max_ms", self.shown_max_ms, 500..=60_000);
        Subtitles {
            tracks_max: within(problems, "origin.subtitles.tracks_max", self.tracks_max, 0..=16),
            shown_max: Duration::from_millis(shown_max),
        }
    }
}
