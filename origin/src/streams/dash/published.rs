//! When an MPD was published: whenever it says something new. Pure.

use manifest::presentation::{Presentation, State};

/// What is said after `before`: whatever is new of it, `@publishTime` is (ISO/IEC 23009-1, 5.4), and it never goes back. Changes
/// are told when media or a disk brings them about, which is not always when the clock would have it.
pub(in crate::streams) fn published(
    before: Option<Presentation>,
    mut next: Presentation,
    now_unix_ms: i64,
) -> Presentation {
    let Some(Presentation { state: State::Live(told), .. }) = &before else { return next };
    let told_unix_ms = told.published_unix_ms;
    let State::Live(live) = &mut next.state else { return next };
    live.published_unix_ms = live.published_unix_ms.max(told_unix_ms);
    if before.as_ref() == Some(&next) {
        return next;
    }
    if let State::Live(live) = &mut next.state
        && live.published_unix_ms == told_unix_ms
    {
        live.published_unix_ms = now_unix_ms.max(told_unix_ms + 1);
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;
    use manifest::presentation::Live;
    use std::time::Duration;

    fn of(window_s: u64, published_unix_ms: i64) -> Presentation {
        let live = Live {
            published_unix_ms,
            window: Duration::from_secs(window_s),
            update: Duration::from_secs(2),
            latency: Duration::from_secs(2),
            clock_uri: String::new(),
        };
        let (segment_max, buffer_min) = (Duration::from_secs(2), Duration::from_secs(1));
        Presentation { state: State::Live(live), segment_max, buffer_min, periods: Vec::new() }
    }

    #[test]
    fn whatever_is_new_is_published_anew_and_nothing_else_is() {
        let mut last = None;
        for (window_s, by_the_clock, now, expected) in [
            (12, 15_000, 16_000, 15_000),
            (12, 15_000, 17_000, 15_000),
            // The disk is lost, and the window is shorter for a while.
            (11, 15_000, 18_000, 18_000),
            (11, 15_000, 19_000, 18_000),
            (12, 15_000, 19_000, 19_000),
            (13, 15_000, 19_000, 19_001),
            (13, 20_000, 20_500, 20_000),
        ] {
            let said = published(last.take(), of(window_s, by_the_clock), now);
            assert_eq!(said, of(window_s, expected));
            last = Some(said);
        }
    }
}
