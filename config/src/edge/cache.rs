//! `[edge.cache]`: how long answers of upstream are kept where they do not say, and how far what they say is followed.

use crate::Problem;
use crate::bounded::within;
use serde::Deserialize;
use std::time::Duration;

/// Everything here is about objects that no followed playlist names: those have lives of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Lifetime of a playlist that upstream gives none.
    pub playlist: Duration,
    /// Of init sections, segments and parts.
    pub media: Duration,
    /// Of everything else.
    pub other: Duration,
    /// How long a 404 or 410 answers for upstream.
    pub missing: Duration,
    /// The same for other answers of 4xx.
    pub refused: Duration,
    /// The same for 5xx, and the pause between two attempts at an upstream that fails.
    pub failed: Duration,
    /// RFC 5861, 3: shown this much longer while it is asked for anew, where upstream does not say.
    pub stale_while_revalidate: Duration,
    pub stale_while_revalidate_max: Duration,
    /// RFC 5861, 4: shown this much longer while upstream fails, where upstream does not say.
    pub stale_if_error: Duration,
    pub stale_if_error_max: Duration,
    /// How long something stale is kept for its validator alone.
    pub revalidate: Duration,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    playlist_ms: u64,
    media_ms: u64,
    other_ms: u64,
    missing_ms: u64,
    refused_ms: u64,
    failed_ms: u64,
    stale_while_revalidate_ms: u64,
    stale_while_revalidate_max_ms: u64,
    stale_if_error_ms: u64,
    stale_if_error_max_ms: u64,
    revalidate_ms: u64,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            playlist_ms: 1000,
            media_ms: 600_000,
            other_ms: 10_000,
            missing_ms: 500,
            refused_ms: 500,
            failed_ms: 250,
            stale_while_revalidate_ms: 1000,
            stale_while_revalidate_max_ms: 3_600_000,
            stale_if_error_ms: 60_000,
            stale_if_error_max_ms: 86_400_000,
            revalidate_ms: 600_000,
        }
    }
}

const DAY_MS: u64 = 86_400_000;

impl Raw {
    pub(super) fn valid(self, problems: &mut Vec<Problem>) -> Cache {
        let mut ms = |name: &str, value, most| {
            Duration::from_millis(within(problems, &format!("edge.cache.{name}"), value, 0..=most))
        };
        let cache = Cache {
            playlist: ms("playlist_ms", self.playlist_ms, 60_000),
            media: ms("media_ms", self.media_ms, 365 * DAY_MS),
            other: ms("other_ms", self.other_ms, 365 * DAY_MS),
            missing: ms("missing_ms", self.missing_ms, 600_000),
            refused: ms("refused_ms", self.refused_ms, 600_000),
            failed: ms("failed_ms", self.failed_ms, 60_000),
            stale_while_revalidate: ms("stale_while_revalidate_ms", self.stale_while_revalidate_ms, DAY_MS),
            stale_while_revalidate_max: ms("stale_while_revalidate_max_ms", self.stale_while_revalidate_max_ms, DAY_MS),
            stale_if_error: ms("stale_if_error_ms", self.stale_if_error_ms, 30 * DAY_MS),
            stale_if_error_max: ms("stale_if_error_max_ms", self.stale_if_error_max_ms, 30 * DAY_MS),
            revalidate: ms("revalidate_ms", self.revalidate_ms, 30 * DAY_MS),
        };
        let mut at_most = |name: &str, value: Duration, max: Duration| {
            if value > max {
                let key = format!("edge.cache.{name}_ms");
                problems
                    .push(Problem::new(key, format!("is more than edge.cache.{name}_max_ms; lower it or raise that")));
            }
        };
        at_most("stale_while_revalidate", cache.stale_while_revalidate, cache.stale_while_revalidate_max);
        at_most("stale_if_error", cache.stale_if_error, cache.stale_if_error_max);
        cache
    }
}
