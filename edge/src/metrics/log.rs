//! What became of lines of the access log.

use super::{Label, Make};
use prometheus::IntCounter;

label!(
    /// What became of a line.
    LogLine { Written = "written", Failed = "failed" }
);

pub struct LogLines(Vec<IntCounter>);

impl LogLines {
    pub(super) fn new(make: &mut Make<'_>) -> prometheus::Result<Self> {
        let (name, help) = (
            "vivid_edge_access_log_lines_total",
            "Lines of the access log that did not find the queue full, by what became of them.",
        );
        make.set::<LogLine>(name, help, "outcome").map(Self)
    }

    pub fn count(&self, end: LogLine, lines: u64) {
        self.0[end.index()].inc_by(lines);
    }
}
