//! `[origin.quality]`: how much is measured of what rungs look like, and which streams may leave rungs out for it.

use crate::Problem;
use crate::bounded::within;
use crate::streams::Streams;
use serde::Deserialize;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq)]
pub struct Quality {
    /// Of a hundred segments of each rung, so many are measured; 0 for none.
    pub sample_percent: u8,
    /// The streams whose rungs are paused where they show no more than the next one below.
    pub pause: Vec<Streams>,
    pub pausing: Pausing,
}

/// When a rung is paused, and when it comes back.
#[derive(Clone, Debug, PartialEq)]
pub struct Pausing {
    /// How much worse the rung below may be, scaled up, in decibels of SSIM.
    pub loss_db: f64,
    /// The rung is back when the one below has become better or worse by more than this.
    pub return_db: f64,
    /// Measured segments in a row in which both are alike.
    pub after_segments: u32,
    /// A rung that has come back runs at least so long.
    pub run: Duration,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    sample_percent: u8,
    pause: Vec<String>,
    pause_loss_db: f64,
    pause_return_db: f64,
    pause_after_segments: u32,
    pause_run_ms: u64,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            sample_percent: 5,
            pause: Vec::new(),
            pause_loss_db: 0.5,
            pause_return_db: 1.0,
            pause_after_segments: 3,
            pause_run_ms: 60_000,
        }
    }
}

impl Quality {
    /// How rungs of the stream of this name are paused; `None` if they are not.
    pub fn pausing(&self, stream: &str) -> Option<&Pausing> {
        self.pause.iter().any(|streams| streams.cover(stream)).then_some(&self.pausing)
    }
}

impl Raw {
    pub(super) fn valid(self, has_twin: bool, problems: &mut Vec<Problem>) -> Quality {
        if !self.pause.is_empty() && has_twin {
            let text = "must be empty where origin.twin.url is set: both origins must have the same rungs";
            problems.push(Problem::new("origin.quality.pause", text));
        }
        if !self.pause.is_empty() && self.sample_percent == 0 {
            problems.push(Problem::new("origin.quality.pause", "needs origin.quality.sample_percent"));
        }
        let streams = self.pause.into_iter().enumerate();
        let key = |index: usize| format!("origin.quality.pause[{index}]");
        let streams = streams.map(|(index, pattern)| Streams::valid(&key(index), pattern, problems));
        let pause = streams.collect();
        let run = within(problems, "origin.quality.pause_run_ms", self.pause_run_ms, 2000..=3_600_000);
        let pausing = Pausing {
            loss_db: within(problems, "origin.quality.pause_loss_db", self.pause_loss_db, 0.0..=3.0),
            return_db: within(problems, "origin.quality.pause_return_db", self.pause_return_db, 0.1..=6.0),
            after_segments: within(
                problems,
                "origin.quality.pause_after_segments",
                self.pause_after_segments,
                1..=1000,
            ),
            run: Duration::from_millis(run),
        };
        let sample_percent = within(problems, "origin.quality.sample_percent", self.sample_percent, 0..=100);
        Quality { sample_percent, pause, pausing }
    }
}

#[cfg(test)]
mod tests {
    use crate::Config;

    fn problem(text: &str) -> Option<String> {
        let problems = Config::parse(text, []).err()?;
        Some(problems.into_iter().map(|problem| problem.to_string()).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn rungs_are_paused_of_the_streams_that_are_named() {
        let text = "[origin.quality]\npause = [\"talk-*\", \"slides\"]\npause_loss_db = 0.25\n";
        let quality = Config::parse(text, []).unwrap().origin.unwrap().quality;
        let paused = ["talk-1", "slides", "slides-2", "sport"].map(|stream| quality.pausing(stream).is_some());
        assert_eq!(paused, [true, true, false, false]);
        assert_eq!(quality.pausing("slides").unwrap().loss_db, 0.25);
        let usual = Config::parse("[origin]\n", []).unwrap().origin.unwrap().quality;
        assert_eq!((usual.sample_percent, usual.pausing("slides")), (5, None));
    }

    #[test]
    fn what_cannot_be_is_told() {
        let twin = "[origin.twin]\nurl = \"http://h\"\ntoken = \"0123456789abcdef\"\n";
        for (text, told) in [
            ("sample_percent = 101", "sample_percent: 101 is out of range"),
            ("sample_percent = 0\npause = [\"*\"]", "needs origin.quality.sample_percent"),
            ("pause = [\"a b\"]", "origin.quality.pause[0]: \"a b\" names no stream"),
            (&format!("pause = [\"*\"]\n{twin}"), "must be empty where origin.twin.url is set"),
        ] {
            let problem = problem(&format!("[origin.quality]\n{text}\n")).unwrap();
            assert!(problem.contains(told), "{problem}");
        }
        assert_eq!(problem(&format!("[origin.quality]\npause_run_ms = 2000\n{twin}")), None);
    }
}
