//! `[edge.purge]`: who may take objects out of this node.

use crate::Problem;
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

/// Short enough to be typed is short enough to be guessed.
const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 16..=256;

impl Raw {
    pub(super) fn valid(self, problems: &mut Vec<Problem>) -> Purge {
        let plain =
            |token: &String| TOKEN_BYTES.contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic());
        if self.token.as_ref().is_some_and(|token| !plain(token)) {
            let message =
                "must be 16 to 256 visible ASCII characters; take for example what `openssl rand -hex 24` prints";
            problems.push(Problem::new("edge.purge.token", message));
        }
        Purge { token: self.token }
    }
}
