//! What is counted of the fleet: where viewers were sent and why, and how the other edges are.

use super::{Label, Make};
use prometheus::{IntCounter, IntGauge};

/// The fleet's metrics.
pub struct Fleet {
    decisions: Vec<IntCounter>,
    polls: Vec<IntCounter>,
    pub listed: IntGauge,
    pub up: IntGauge,
    pub stale: IntGauge,
}

label!(
    /// What became of a viewer who asked for a manifest.
    Steered {
        Near = "stay_near", Alone = "stay_alone", Unplaced = "stay_unplaced", Marked = "stay_sent_before",
        Unlisted = "stay_no_fleet", Far = "send_far", Full = "send_full", Draining = "send_draining",
        Country = "send_country",
    }
);
label!(
    /// How a poll of another edge ended.
    Polled {
        Ok = "ok", Timeout = "timeout", Unreachable = "unreachable", Refused = "refused", Unreadable = "unreadable",
        Mistaken = "mistaken",
    }
);

impl Fleet {
    pub(super) fn new(make: &mut Make<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            decisions: make.set::<Steered>(
                "vivid_edge_steering_decisions_total",
                "Viewers who asked for a manifest, by where they were sent and why.",
                "decision",
            )?,
            polls: make.set::<Polled>(
                "vivid_edge_fleet_polls_total",
                "Polls of other edges by how they ended.",
                "outcome",
            )?,
            listed: make
                .gauge("vivid_edge_fleet_edges", "Edges that the fleet file in use lists, this one included.")?,
            up: make.gauge("vivid_edge_fleet_edges_up", "Other edges that answer and may be sent viewers.")?,
            stale: make.gauge(
                "vivid_edge_fleet_file_stale",
                "1 if the fleet file is missing or broken, whether or not a last good one is in use.",
            )?,
        })
    }

    pub fn steered(&self, steered: Steered) {
        self.decisions[steered.index()].inc();
    }

    pub fn polled(&self, polled: Polled) {
        self.polls[polled.index()].inc();
    }
}
