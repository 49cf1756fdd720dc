//! Rungs that go and come back in the middle of an epoch, because there is no time to encode them.

use super::{Shelf, Stream};
use crate::window::PartLength;
use manifest::Position;
use std::sync::atomic::Ordering;
use std::time::Instant;

impl Stream {
    /// From the segment `msn` on nothing comes to the plan's rendition `index`, or something comes again. Its playlist goes on
    /// with gaps meanwhile, and who is new does not hear of it.
    pub(crate) fn set_away(&self, index: usize, (msn, away): (u64, bool)) {
        let mut shelf = self.shelf.write();
        let Some(rendition) = shelf.renditions.get(index).cloned() else { return };
        rendition.pause(away);
        shelf.epochs.turned(msn, &rendition.name, away);
        self.tell_multivariant(&mut shelf);
        drop(shelf);
        self.mpd.lock().now = None;
        self.generation.fetch_add(1, Ordering::AcqRel);
        rendition.announce();
    }

    /// The same of segments on disk, some of which the newest epoch does not have in all renditions.
    pub(crate) fn turned(&self, turns: &[(u64, &str, bool)]) {
        let mut shelf = self.shelf.write();
        turns.iter().for_each(|&(msn, rendition, away)| shelf.epochs.turned(msn, rendition, away));
    }

    /// Others have come so far, which the rendition lacks.
    pub(crate) fn miss(&self, index: usize, others: Position, part: PartLength, now: Instant) {
        let Some(rendition) = self.shelf.read().renditions.get(index).cloned() else { return };
        rendition.lack(others, part, now);
        self.generation.fetch_add(1, Ordering::AcqRel);
        rendition.announce();
    }

    /// The same of all that get nothing now.
    pub(crate) fn miss_away(&self, others: Position, part: PartLength, now: Instant) {
        let away: Vec<_> = {
            let shelf = self.shelf.read();
            shelf.renditions.iter().filter(|rendition| rendition.is_paused()).cloned().collect()
        };
        away.iter().for_each(|rendition| rendition.lack(others, part, now));
        if !away.is_empty() {
            self.generation.fetch_add(1, Ordering::AcqRel);
            away.iter().for_each(|rendition| rendition.announce());
        }
    }

    /// The first segment of a rendition of which nothing has been said.
    pub(crate) fn untold_msn(&self, index: usize) -> Option<u64> {
        let next = self.shelf.read().renditions.get(index)?.next();
        Some(next.msn + u64::from(next.part > 0))
    }
}

impl Shelf {
    /// Whether the rendition that a variant's URI names gets nothing now.
    pub(super) fn is_away(&self, uri: &str) -> bool {
        let current = &self.renditions[..self.current];
        let name = uri.split('/').next().unwrap_or_default();
        current.iter().any(|rendition| rendition.name == name && rendition.is_paused())
    }
}
