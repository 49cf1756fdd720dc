//! `[edge.purge]`: who may take objects out of this node.

use crate::Problem;
use crate::bounded::token;
use serde::Deserialize;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purge {
    /// Whoever sends it as `Authorization: Bearer` may purge. Without one nobody may.
    pub token: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    token: Option<String>,
}

impl Raw {
    pub(super) fn valid(self, problems: &mut Vec<Problem>) -> Purge {
        token(problems, "edge.purge.token", self.token.as_deref());
        Purge { token: self.token }
    }
}
