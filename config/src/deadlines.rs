//! The ladder of deadlines: whoever waits for an answer waits longer than whoever gives it.
//!
//! origin's hold < an edge's response timeout < the edge's own hold < the player's timeout. A rung out of order turns a
//! late part into a storm of retries, so a file that shows it is refused.

use crate::{Edge, Origin, Problem};
use std::time::Duration;

/// Shortest time after which a stock player gives up on a playlist (hls.js and Shaka wait longer for a first byte).
const PLAYER_TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) fn check(origin: Option<&Origin>, edge: Option<&Edge>, problems: &mut Vec<Problem>) {
    let Some(edge) = edge else { return };
    let (response, hold) = (edge.upstream.response_timeout, edge.hold_max);
    if response >= hold {
        problems.push(Problem::new(
            "edge.upstream.response_timeout_ms",
            format!("must be below edge.hold_max_ms ({}), or viewers time out first", hold.as_millis()),
        ));
    }
    if hold >= PLAYER_TIMEOUT {
        problems.push(Problem::new(
            "edge.hold_max_ms",
            format!("must be below {} ms, when players give up", PLAYER_TIMEOUT.as_millis()),
        ));
    }
    let origin_hold = origin.map(longest_hold).filter(|held| *held >= response);
    if let Some(held) = origin_hold {
        problems.push(Problem::new(
            "edge.upstream.response_timeout_ms",
            format!(
                "must be above {} ms, the origin's longest hold (twice origin.segment.target_ms × \
                 origin.window.hold_target_durations)",
                held.as_millis()
            ),
        ));
    }
}

/// A source with long GOPs makes segments longer than configured, up to twice as long. The target duration is that in
/// whole seconds.
fn longest_hold(origin: &Origin) -> Duration {
    let target_duration_s = (2 * origin.segment.segment).as_millis().div_ceil(1000) as u64;
    Duration::from_secs(target_duration_s) * origin.window.hold_target_durations
}
