//! What a stream knows of the keys of its segments: those in use, and the one that comes next.

use super::Stream;
use crate::epoch::EpochId;
use crate::keys::{KeyAccess, KeyName, KeyRing, Told};
use crate::medium::Medium;
use crate::segmenter::Part;
use crate::window::{Lookup, Name, Rendition};
use bytes::Bytes;
use config::EncryptionMethod;
use manifest::Position;
use media::fmp4::protected_init;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How the segments of an epoch are encrypted.
#[derive(Clone, Debug)]
pub(crate) struct Encrypted {
    pub(crate) method: EncryptionMethod,
    /// How players get its keys, where they were told in an earlier process.
    pub(crate) before: Option<KeyAccess>,
}

impl Encrypted {
    /// By this method, as is configured.
    pub(crate) fn by(method: EncryptionMethod) -> Self {
        Self { method, before: None }
    }
}

impl Stream {
    /// Notes the key of a segment, before anybody learns of it.
    pub(super) fn keyed(&self, part: &Part) {
        let Some(name) = part.key.filter(|_| part.at.part == 0) else { return };
        if self.shelf.read().epochs.key() == Some(name) {
            return;
        }
        {
            let mut shelf = self.shelf.write();
            let first = shelf.all().map(|rendition| rendition.first_msn()).min().unwrap_or(0);
            // What has left the playlist is answered for as long as it was in it.
            let oldest = first.saturating_sub(part.at.msn.saturating_sub(first));
            shelf.epochs.keyed((part.at.msn, name), oldest);
        }
        self.mpd.lock().now = None;
        self.tell();
    }

    /// Whether a segment that is answered is encrypted with the key of this id, or one that comes soon is to be.
    pub(crate) fn has_key(&self, id: &[u8; 16]) -> bool {
        self.named(id).is_some()
    }

    fn named(&self, id: &[u8; 16]) -> Option<KeyName> {
        let known = self.shelf.read().epochs.named(id);
        known.or_else(|| self.planned_key(id))
    }

    /// The init section for media under a key that this rendition has not come to, and an MPD has told of.
    pub(crate) fn planned_init(&self, rendition: &Rendition, epoch: EpochId, id: &[u8; 16]) -> Option<Bytes> {
        let KeyName { id, iv } = self.named(id)?;
        match rendition.lookup(epoch, Name::Init(None)) {
            Lookup::Found(clear) => protected_init(&clear.concat(), id, iv).ok(),
            _ => None,
        }
    }

    fn planned_key(&self, id: &[u8; 16]) -> Option<KeyName> {
        // The next segment may have begun in one rendition and not in another.
        let next = self.next_msn()?;
        let planned = [next.saturating_sub(1), next].into_iter().filter_map(|msn| self.planned(msn));
        planned.map(|(_, name)| name).find(|name| name.id == *id)
    }

    /// What its segments are encrypted with, from now on.
    pub(crate) fn set_ring(&self, ring: &Arc<Mutex<KeyRing>>) {
        self.ring.get_or_init(|| Arc::clone(ring));
    }

    /// What is planned where this part comes next. The first of a segment has told of no key yet: up to it the plan is that of the
    /// segment before, or a change that is told would be taken back for the moment.
    pub(super) fn planned_behind(&self, next: Position) -> Option<(u64, KeyName)> {
        self.planned(next.msn.saturating_sub(u64::from(next.part == 0)))
    }

    pub(super) fn planned(&self, msn: u64) -> Option<(u64, KeyName)> {
        self.ring.get()?.lock().planned(msn)
    }

    /// Whether it is to be encrypted and no key has come.
    pub(crate) fn is_keyless(&self) -> bool {
        self.keyless.load(Ordering::Acquire)
    }

    pub(crate) fn set_keyless(&self, keyless: bool) {
        self.keyless.store(keyless, Ordering::Release);
    }

    fn planned_medium(&self) -> Medium {
        Medium::of(self.room.told.as_ref().map(|told| told.method))
    }

    /// Whether its segments were of another kind than those that would come: no rendition goes on with them.
    pub(in crate::streams) fn has_other_medium(&self) -> bool {
        self.medium() != self.planned_medium()
    }

    /// What its pictures and sound are, or are to be.
    pub(crate) fn medium(&self) -> Medium {
        self.shelf.read().shape.map_or_else(|| self.planned_medium(), |shape| shape.medium)
    }

    /// What players are told of keys: of an epoch that they know, what they were told.
    pub(super) fn told(&self, Encrypted { method, before }: &Encrypted) -> Arc<Told> {
        let now = self.room.told.as_ref().filter(|told| told.method == *method);
        match (now, before) {
            (Some(now), Some(before)) if now.access == *before => Arc::clone(now),
            (Some(now), None) => Arc::clone(now),
            _ => Arc::new(Told::new(*method, &self.name, before.clone().unwrap_or_default(), None)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Room;
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_change_that_is_told_is_not_taken_back_before_it_comes() {
        let stream = Stream::new("show".into(), Room::for_tests(Duration::from_secs(12)));
        stream.set_ring(&Arc::new(Mutex::new(KeyRing::for_tests(5))));
        let told = |msn, part| stream.planned_behind(Position { msn, part }).map(|(from, _)| from);
        assert_eq!(told(316, 0), None, "it is far away");
        for (msn, part) in [(316, 1), (317, 0), (319, 5), (320, 0)] {
            assert_eq!(told(msn, part), Some(320), "{msn}.{part}");
        }
        assert_eq!(told(320, 1), None, "it is there");
    }
}
