//! What is counted of this node's upstreams, and of what is asked of a second one.

use super::{Asked, Label, Make};
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};

label!(
    /// Why another upstream is asked: the first one failed before its answer began, broke off, has not got what should
    /// be there, or is late. In the order of what its outcome tells, should all be bad.
    Second { Failed = "failed", Torn = "torn", Missing = "missing", Late = "late" }
);
label!(
    /// Whether the second request was the first with a good answer.
    HedgeEnd { Won = "won", Lost = "lost" }
);

/// All upstreams.
pub struct Peers {
    failovers: Vec<IntCounter>,
    hedges: Vec<IntCounter>,
    requests: IntCounterVec,
    healthy: IntGaugeVec,
}

/// One of them.
pub struct PeerMetrics {
    requests: Vec<IntCounter>,
    /// 1 while it is asked, 0 while others are asked for it.
    pub healthy: IntGauge,
}

impl Peers {
    pub(super) fn new(make: &mut Make<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            failovers: make.set::<Second>(
                "vivid_edge_failovers_total",
                "Requests to another upstream than the first choice, by why.",
                "reason",
            )?,
            hedges: make.set::<HedgeEnd>(
                "vivid_edge_hedges_total",
                "Requests to a second upstream because the first was late, by whether they paid.",
                "outcome",
            )?,
            requests: make.register(IntCounterVec::new(
                Opts::new("vivid_edge_peer_requests_total", "Requests to each upstream."),
                &["upstream", "outcome"],
            )?)?,
            healthy: make.gauges(
                "vivid_edge_peer_healthy",
                "Whether an upstream is asked (1), or others for it (0).",
                "upstream",
            )?,
        })
    }

    /// The metrics of the upstream with this URL, which counts as healthy at first.
    pub fn of(&self, url: &str) -> PeerMetrics {
        let counter = |(_, outcome): &(Asked, &str)| self.requests.with_label_values(&[url, outcome]);
        let healthy = self.healthy.with_label_values(&[url]);
        healthy.set(1);
        PeerMetrics { requests: Asked::VALUES.iter().map(counter).collect(), healthy }
    }

    pub fn asked_second(&self, reason: Second) {
        self.failovers[reason.index()].inc();
    }

    pub fn hedge_ended(&self, end: HedgeEnd) {
        self.hedges[end.index()].inc();
    }
}

impl PeerMetrics {
    pub fn asked(&self, asked: Asked) {
        self.requests[asked.index()].inc();
    }
}
