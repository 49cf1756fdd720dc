//! A life that becomes a recording once it has ended: segments that leave its window stay, up to a length.

use crate::archive::{Id, Ledger};
use crate::epoch::EpochId;
use crate::streams::Markers;
use parking_lot::Mutex;
use prometheus::IntCounter;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// What is kept of streams that have ended, where anything is.
#[derive(Clone, Debug)]
pub(crate) struct Keeping {
    pub(crate) ledger: Arc<Ledger>,
    /// Of a stream that goes on and on.
    pub(crate) length_max: Duration,
    /// So long after its end a stream is still answered as it was when it was live.
    pub(crate) window: Duration,
    /// Segments that were removed for the length.
    pub(crate) expired: IntCounter,
}

/// Says in the ledger what becomes of a life; its end, too, when nobody reads it any more.
#[derive(Debug)]
pub(super) struct Kept {
    keeping: Keeping,
    id: Id,
    /// Segments of each rendition that have left the window, oldest first, and when each began.
    gone: Mutex<HashMap<String, VecDeque<Gone>>>,
}

/// Epoch and number of a segment, and when it began, in Unix milliseconds.
type Gone = (EpochId, u64, i64);

impl Kept {
    pub(super) fn new(keeping: &Keeping, id: Id) -> Self {
        keeping.ledger.began(&id);
        Self { keeping: keeping.clone(), id, gone: Mutex::default() }
    }

    pub(super) fn ended(&self, markers: &Markers) {
        self.keeping.ledger.ended(&self.id, markers.clone());
    }

    /// A segment has left the window.
    pub(super) fn gone(&self, rendition: &str, segment: Gone) {
        let mut gone = self.gone.lock();
        match gone.get_mut(rendition) {
            Some(before) => before.push_back(segment),
            None => drop(gone.insert(rendition.to_owned(), VecDeque::from([segment]))),
        }
    }

    /// The next segment that is to be removed, if the recording would be longer than it may be.
    pub(super) fn expired(&self, rendition: &str, now_unix_ms: i64) -> Option<(EpochId, u64)> {
        let length_max_ms = i64::try_from(self.keeping.length_max.as_millis()).unwrap_or(i64::MAX);
        let mut gone = self.gone.lock();
        let gone = gone.get_mut(rendition)?;
        let (epoch, msn, _) = gone.pop_front_if(|(_, _, began)| now_unix_ms - *began > length_max_ms)?;
        self.keeping.expired.inc();
        Some((epoch, msn))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.keeping.ledger.released(&self.id);
    }
}
