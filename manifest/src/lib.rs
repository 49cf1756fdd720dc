//! Everything said in a playlist, an MPD, a delivery directive or a steering document. Pure: no I/O, no clock, no async.

mod date;
pub mod date_range;
pub mod delta;
mod directives;
pub mod follow;
pub mod iframes;
pub mod media;
pub mod mpd;
pub mod multivariant;
mod position;
pub mod presentation;
pub mod protection;
pub mod rewrite;
pub mod steering;
pub mod vod;

pub use date::Rfc3339;
pub use date_range::DateRange;
pub use directives::{DirectiveError, Directives, Head, Skip, Verdict, Wait, advance_part_limit};
pub use position::Position;
