//! What the task of a rendition leaves for the page that explains it.

use crate::live::Names;
use crate::refusal::Refusal;
use crate::releases::Releases;
use crate::upstream::PeerId;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Written by one task, read by who asks.
#[derive(Debug, Default)]
pub struct Account {
    /// Playlist requests upstream that have ended, however.
    pub requests: AtomicU64,
    /// Versions shown.
    pub versions: AtomicU64,
    pub releases: Arc<Releases>,
    pub facts: Mutex<Facts>,
    /// What the playlist names now.
    pub names: Mutex<Names>,
}

#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Whose playlist is shown.
    pub source: PeerId,
    pub part_target_s: Option<f64>,
    /// The key of what the playlist names last.
    pub newest: Option<Arc<str>>,
    pub trouble: Option<Trouble>,
}

/// The last thing that went wrong.
#[derive(Clone, Copy, Debug)]
pub struct Trouble {
    pub at: Instant,
    pub source: PeerId,
    pub what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum What {
    #[error("{0}")]
    Refused(Refusal),
    #[error("upstream answered with status {0}")]
    Status(u16),
    #[error("upstream's playlist cannot be read")]
    Unreadable,
    #[error("upstream's playlist has become private; each viewer asks for its own")]
    Private,
    #[error("upstream's playlist went backwards; the newer one is shown on")]
    Backwards,
    #[error("this upstream cuts the stream otherwise; it is shown from the end of the open segment")]
    OtherCut,
}

/// A request that counts when it has ended, answered or not.
pub struct Counted<'a>(&'a Account);

impl Account {
    pub fn ask(&self) -> Counted<'_> {
        Counted(self)
    }

    pub fn shown(&self, source: PeerId, part_target_s: Option<f64>, now: Duration) {
        self.versions.fetch_add(1, Ordering::Relaxed);
        self.releases.turn(now);
        let mut facts = self.facts.lock();
        (facts.source, facts.part_target_s) = (source, part_target_s);
    }

    pub fn went_wrong(&self, source: PeerId, what: What) {
        self.facts.lock().trouble = Some(Trouble { at: Instant::now(), source, what });
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.requests.fetch_add(1, Ordering::Relaxed);
    }
}
