//! `[origin.remote_workers]`: other machines that encode for this origin.

use crate::bounded::{address, token, within};
use crate::{Problem, Token};
use serde::Deserialize;
use std::net::SocketAddr;

/// Who may work here, and where they call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteWorkers {
    pub listen: SocketAddr,
    pub token: Token,
    /// Calls that wait for a job.
    pub waiting_max: usize,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    listen: Option<String>,
    token: Option<String>,
    waiting_max: usize,
}

impl Default for Raw {
    fn default() -> Self {
        Self { listen: None, token: None, waiting_max: 64 }
    }
}

impl Raw {
    /// `None` where nobody is listened to.
    pub(super) fn valid(self, problems: &mut Vec<Problem>) -> Option<RemoteWorkers> {
        token(problems, "origin.remote_workers.token", self.token.as_deref());
        let waiting_max = within(problems, "origin.remote_workers.waiting_max", self.waiting_max, 1..=4096);
        let listen = address(problems, "origin.remote_workers.listen", &self.listen?);
        let Some(token) = self.token else {
            let text = "needs origin.remote_workers.token: whoever works here sees what is published";
            problems.push(Problem::new("origin.remote_workers.listen", text));
            return None;
        };
        Some(RemoteWorkers { listen, token: token.into(), waiting_max })
    }
}
