//! `origin.ingest.while_away`: what viewers are told while a stream's publisher is away.

use serde::Deserialize;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhileAway {
    /// Nothing: playlists stand still, and who would wait is told to ask again.
    #[default]
    Wait,
    /// A gap for each segment that does not come: live time goes on.
    Gap,
}
