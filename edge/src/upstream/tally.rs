//! One request upstream: counted once and judged once, however it ends.

use super::health::Sign;
use super::{PeerId, Upstreams};
use crate::key::Class;
use crate::metrics::Asked;
use crate::refusal::Refusal;
use crate::store::freshness::is_failure;
use http::StatusCode;
use std::sync::Arc;

/// Counts its request when it is dropped; one that nobody waited for to the end was cancelled.
pub(super) struct Tally {
    upstreams: Arc<Upstreams>,
    peer: PeerId,
    class: Class,
    /// Upstream may hold the request: that nothing came of it says nothing about upstream itself.
    held: bool,
    /// It is for a recording: a node that may not look for it now says 503, and is well.
    sought: bool,
    outcome: Asked,
}

impl Tally {
    pub(super) fn new(upstreams: Arc<Upstreams>, (peer, class): (PeerId, Class), held: bool, sought: bool) -> Self {
        Self { upstreams, peer, class, held, sought, outcome: Asked::Cancelled }
    }

    pub(super) fn peer(&self) -> PeerId {
        self.peer
    }

    /// The header has come.
    pub(super) fn answered(&mut self, status: StatusCode) {
        let failing = is_failure(status);
        let is_busy = self.sought && status == StatusCode::SERVICE_UNAVAILABLE;
        if !(failing && self.held || is_busy) {
            self.upstreams.judge(self.peer, if failing { Sign::Failing } else { Sign::Good });
        }
        if !status.is_success() {
            self.outcome = by_status(status);
        }
    }

    /// The body has come to its proper end.
    pub(super) fn ended(&mut self) {
        if self.outcome == Asked::Cancelled {
            self.outcome = Asked::Ok;
        }
    }

    /// There is no answer, or not all of it.
    pub(super) fn failed(&mut self, refusal: Refusal) {
        self.outcome = match refusal {
            Refusal::UpstreamTimeout => Asked::Timeout,
            Refusal::UpstreamUnreachable => Asked::Unreachable,
            Refusal::UpstreamBroken => Asked::Broken,
            // It was not asked at all.
            _ => return,
        };
        self.upstreams.judge(self.peer, Sign::Dead);
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.upstreams.count(self.peer, self.class, self.outcome);
    }
}

fn by_status(status: StatusCode) -> Asked {
    match status.as_u16() {
        200..400 => Asked::Ok,
        404 | 410 => Asked::Missing,
        400..500 => Asked::Refused,
        _ => Asked::Failed,
    }
}
