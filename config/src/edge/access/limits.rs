//! `[edge.access.limits]`: how much of a node one client may take, and how slow it may be.

use super::prefixes;
use crate::Problem;
use crate::bounded::within;
use ipnet::IpNet;
use serde::Deserialize;
use std::time::Duration;

/// A client is an IPv4 address or a /64 of IPv6, which is what one household has. 0: no limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    pub connections_max: u32,
    /// Requests that wait at once: for a position, or for upstream to begin its answer.
    pub holds_max: u32,
    pub requests_per_s: u32,
    /// Requests that may come at once after a pause.
    pub requests_burst: u32,
    /// Whom the limits above are not for.
    pub exempt: Vec<IpNet>,
    /// Clients counted at once.
    pub clients_max: usize,
    /// A viewer for whom bytes wait and who takes fewer than this over `send_window` is cut.
    pub min_send_bytes_per_s: u32,
    pub send_window: Duration,
    /// Streams of one HTTP/2 connection that its client may give up.
    pub h2_resets_per_s: u32,
    /// And at once after a pause.
    pub h2_resets_burst: u32,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    connections_max: u32,
    holds_max: u32,
    requests_per_s: u32,
    requests_burst: u32,
    exempt: Vec<String>,
    clients_max: usize,
    min_send_bytes_per_s: u32,
    send_window_ms: u64,
    h2_resets_per_s: u32,
    h2_resets_burst: u32,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            connections_max: 0,
            holds_max: 0,
            requests_per_s: 0,
            requests_burst: 200,
            exempt: Vec::new(),
            clients_max: 100_000,
            min_send_bytes_per_s: 1000,
            send_window_ms: 20_000,
            h2_resets_per_s: 33,
            h2_resets_burst: 1000,
        }
    }
}

impl Raw {
    pub(super) fn valid(self, problems: &mut Vec<Problem>) -> Limits {
        let mut limit =
            |name: &str, value, range| within(problems, &format!("edge.access.limits.{name}"), value, range);
        let connections_max = limit("connections_max", self.connections_max, 0..=1_000_000);
        let holds_max = limit("holds_max", self.holds_max, 0..=1_000_000);
        let requests_per_s = limit("requests_per_s", self.requests_per_s, 0..=1_000_000);
        let requests_burst = limit("requests_burst", self.requests_burst, 1..=1_000_000);
        let min_send_bytes_per_s = limit("min_send_bytes_per_s", self.min_send_bytes_per_s, 0..=10_000_000);
        let h2_resets_per_s = limit("h2_resets_per_s", self.h2_resets_per_s, 1..=1_000_000);
        let h2_resets_burst = limit("h2_resets_burst", self.h2_resets_burst, 1..=1_000_000);
        let send_window_ms = within(problems, "edge.access.limits.send_window_ms", self.send_window_ms, 100..=600_000);
        Limits {
            connections_max,
            holds_max,
            requests_per_s,
            requests_burst,
            exempt: prefixes(problems, "edge.access.limits.exempt", &self.exempt),
            clients_max: within(problems, "edge.access.limits.clients_max", self.clients_max, 1..=10_000_000),
            min_send_bytes_per_s,
            send_window: Duration::from_millis(send_window_ms),
            h2_resets_per_s,
            h2_resets_burst,
        }
    }
}
