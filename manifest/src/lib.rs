//! Everything said in a playlist, an MPD, a delivery directive or a steering document. Pure: no I/O, no clock, no async.

pub mod delta;
mod directives;
pub mod follow;
pub mod media;
pub mod mpd;
pub mod multivariant;
mod position;
pub mod rewrite;
pub mod steering;

pub use directives::{DirectiveError, Directives, Head, Verdict, Wait, advance_part_limit};
pub use position::Position;
