//! `[origin.admin]`: who may change what runs.

use crate::bounded::token;
use crate::{Problem, Token};
use serde::Deserialize;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Whoever sends it as `Authorization: Bearer` may. Without one nobody may.
    pub token: Option<Token>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    token: Option<String>,
}

impl Raw {
    pub(super) fn valid(self, problems: &mut Vec<Problem>) -> Admin {
        token(problems, "origin.admin.token", self.token.as_deref());
        Admin { token: self.token.map(Token::from) }
    }
}
