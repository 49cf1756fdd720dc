//! Where in a rendition: a media sequence number, and a part within that segment.

use std::fmt;

/// The part `part` (from 0) of the segment with media sequence number `msn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub msn: u64,
    pub part: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.msn, self.part)
    }
}
