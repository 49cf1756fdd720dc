//! What players say of themselves: beside a request, or in a report of its own to `POST /_vivid/cmcd`.

use super::Node;
use crate::key::Target;
use crate::metrics::Mode;
use crate::reply::{Body, Reply};
use crate::request::Request;
use cmcd::Cmcd;

impl Node {
    /// Counts what came with a request; most requests bring nothing, and cost a look.
    pub(super) fn count_cmcd(&self, request: &Request, target: &Target<'_>) {
        let reports = &self.metrics.reports;
        if target.query.contains("CMCD=") {
            if let Some(said) = Cmcd::from_query(target.query) {
                reports.count(Mode::Query, &said);
            }
        } else if !request.cmcd.is_empty() {
            let values = request.cmcd.iter().filter_map(|value| std::str::from_utf8(value).ok());
            reports.count(Mode::Headers, &Cmcd::from_headers(values));
        }
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
