//! Has the kernel send at a pace: no timer of this node's runs, and nobody waits here.

use super::pacing::{Open, Pace};
use crate::stream::Meter;
use parking_lot::Mutex;

/// A connection whose answers may be under way together.
pub struct Pacer {
    pub meter: Meter,
    open: Mutex<Open>,
}

/// An answer that is under way.
pub struct Turn<'a> {
    pacer: &'a Pacer,
    pace: Pace,
}

impl Pacer {
    pub fn new(meter: Meter) -> Self {
        Self { meter, open: Mutex::default() }
    }

    /// The connection goes at this answer's pace too until the answer ends; what is then left to send goes on as it went.
    pub fn begin(&self, pace: Pace) -> Turn<'_> {
        let mut open = self.open.lock();
        open.begin(pace);
        self.meter.pace(open.pace());
        Turn { pacer: self, pace }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.pacer.open.lock().end(self.pace);
    }
}
