//! `[edge.admin]`: where those who run the node look at it.

use crate::Problem;
use crate::bounded::address;
use serde::Deserialize;
use std::net::SocketAddr;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Admin {
    /// Serves the node's own pages, and nothing else. Absent: they are served wherever viewers are.
    pub listen: Option<SocketAddr>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    listen: Option<String>,
}

impl Raw {
    pub(super) fn valid(self, problems: &mut Vec<Problem>) -> Admin {
        Admin { listen: self.listen.map(|listen| address(problems, "edge.admin.listen", &listen)) }
    }
}
