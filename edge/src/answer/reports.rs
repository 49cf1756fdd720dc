//! What players say of themselves, beside a request or in a report of its own to `POST /_vivid/cmcd`, and what they get by it.

use super::Node;
use crate::metrics::{Bound, Mode};
use crate::qoe::pacing::Pace;
use crate::reply::{Body, Reply};
use crate::request::Request;
use crate::stream::Meter;
use cmcd::Cmcd;

impl Node {
    /// Counts what came with a request; most requests bring nothing, and cost a look.
    pub(super) fn count_cmcd(&self, request: &Request) {
        if let Some(said) = request.said() {
            let mode = if request.cmcd.is_empty() { Mode::Query } else { Mode::Headers };
            self.metrics.reports.count(mode, &said);
        }
    }

    /// How fast the answer may go on its way.
    pub fn pace(&self, request: &Request, reply: &Reply, meter: Meter) -> Option<Pace> {
        let pace = self.qoe.pace(request, reply, meter)?;
        if pace != Pace::Free {
            self.metrics.bit(Bound::Pacing);
        }
        Some(pace)
    }

    /// Counts the reports of a body (CTA-5004-B, event mode). A player can do nothing about one that is not understood,
    /// so that is counted, and thanked for.
    pub(super) fn take_reports(&self, request: &Request) -> Reply {
        let reports = &self.metrics.reports;
        let body = std::str::from_utf8(&request.body).unwrap_or_default();
        let mut read = 0;
        for said in Cmcd::from_events(body) {
            read += 1;
            if said.is_empty() {
                reports.nonsense();
            } else {
                reports.count(Mode::Event, &said);
            }
        }
        if read == 0 {
            reports.nonsense();
        }
        Reply::own(Body::Preflight)
    }
}
