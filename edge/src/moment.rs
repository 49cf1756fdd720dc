//! One instant by both clocks: read once by the transport that takes a request, or by a driver, so that no rule asks a clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Decides.
    pub instant: Instant,
    /// For what others have written down: tokens, logs.
    pub wall: SystemTime,
}

impl Moment {
    pub fn now() -> Self {
        Self { instant: Instant::now(), wall: SystemTime::now() }
    }

    /// Seconds since 1970.
    pub fn unix_s(&self) -> u64 {
        self.unix_ms() / 1000
    }

    /// Milliseconds since 1970.
    pub fn unix_ms(&self) -> u64 {
        self.wall.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    }

    /// The first of a million numbers that no life of this node before began with.
    pub fn unique(&self) -> u64 {
        self.unix_ms() << 20
    }
}
