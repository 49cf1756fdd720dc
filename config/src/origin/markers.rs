//! `[origin.markers]`: who may say something of a stream's time over HTTP, and how much of it is kept.

use crate::bounded::{token, within};
use crate::{Problem, Token};
use serde::Deserialize;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Markers {
    /// Whoever sends it as `Authorization: Bearer` may. Without one nobody may.
    pub token: Option<Token>,
    /// Of one stream.
    pub max: usize,
    /// What all of them may take of each playlist of the stream.
    pub bytes_max: usize,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    token: Option<String>,
    max: usize,
    bytes_max: usize,
}

impl Default for Raw {
    fn default() -> Self {
        Self { token: None, max: 256, bytes_max: 64 << 10 }
    }
}

impl Raw {
    pub(super) fn valid(self, problems: &mut Vec<Problem>) -> Markers {
        token(problems, "origin.markers.token", self.token.as_deref());
        Markers {
            token: self.token.map(Token::from),
            max: within(problems, "origin.markers.max", self.max, 1..=10_000),
            bytes_max: within(problems, "origin.markers.bytes_max", self.bytes_max, 1024..=1 << 20),
        }
    }
}
