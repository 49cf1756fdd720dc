//! What is not in the index yet: objects that wait to be written, the one that is being written, and files that are still
//! to be listed. Whatever is taken out is taken out here too, so nothing that was meant comes later. All of it is bounded.

use super::index::FILE_BLOCK;
use crate::object::Object;
use crate::store::cache::Cache;
use crate::store::purge::{PIECE, Purge, Tags};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(super) struct Coming {
    waiting: VecDeque<(Arc<str>, Arc<Object>)>,
    /// `None` as well if it was taken out meanwhile.
    being_written: Option<(Arc<str>, Arc<Object>)>,
    /// Of what waits and of what is being written.
    bytes: u64,
    /// Until all files are listed.
    early: Option<Early>,
}

/// What came before all files were listed means those that come too.
#[derive(Default)]
struct Early {
    purges: Vec<EarlyPurge>,
    forgotten: HashSet<Arc<str>>,
    /// There was too much to remember: what is not listed yet goes.
    all: bool,
}

struct EarlyPurge {
    purge: Arc<Purge>,
    memory: Cache,
    /// Objects that were listed since.
    purged: Arc<AtomicUsize>,
}

/// More early purges than these, or keys that are forgotten early, mean everything.
const PURGES_MAX: usize = 64;
const FORGOTTEN_MAX: usize = 65_536;

impl Default for Coming {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), being_written: None, bytes: 0, early: Some(Early::default()) }
    }
}

impl Coming {
    /// Takes an object in, if there is room for it.
    pub(super) fn push(&mut self, key: &Arc<str>, object: &Arc<Object>, bytes_max: u64) -> bool {
        let room = self.bytes + bytes(object) <= bytes_max;
        if room {
            self.bytes += bytes(object);
            self.waiting.push_back((key.clone(), object.clone()));
        }
        room
    }

    /// The next object to be written; [`Self::written`] has to follow.
    pub(super) fn next(&mut self) -> Option<(Arc<str>, Arc<Object>)> {
        self.being_written = self.waiting.pop_front();
        self.being_written.clone()
    }

    /// The object is written, or will not be. Says whether it is still wanted.
    pub(super) fn written(&mut self, object: &Object) -> bool {
        self.bytes -= bytes(object);
        self.being_written.take().is_some()
    }

    /// Takes out what is coming under that key. False if it was too much to remember.
    pub(super) fn forget(&mut self, key: &Arc<str>) -> bool {
        self.drop_writes(|known, _| known == &**key);
        let Some(early) = &mut self.early else { return true };
        early.all |= early.forgotten.len() >= FORGOTTEN_MAX && !early.forgotten.contains(key);
        if !early.all {
            early.forgotten.insert(key.clone());
        }
        !early.all
    }

    /// Takes out what is meant. Returns how many objects that were which memory does not have, where those are counted
    /// that are listed from now on, and whether it could be remembered.
    pub(super) fn purge(&mut self, purge: &Arc<Purge>, memory: &Cache) -> (usize, Option<Arc<AtomicUsize>>, bool) {
        let mut purged = 0;
        self.drop_writes(|key, tags| {
            let meant = purge.takes(key, tags);
            purged += usize::from(meant && counts(key, memory));
            meant
        });
        let Some(early) = &mut self.early else { return (purged, None, true) };
        if let Some(known) = early.purges.iter().find(|known| known.purge == *purge) {
            return (purged, Some(known.purged.clone()), true);
        }
        if early.purges.len() >= PURGES_MAX {
            early.all = true;
            return (purged, None, false);
        }
        let listed = Arc::new(AtomicUsize::new(0));
        early.purges.push(EarlyPurge { purge: purge.clone(), memory: memory.clone(), purged: listed.clone() });
        (purged, Some(listed), true)
    }

    /// Whether a file that was listed may be taken into the index.
    pub(super) fn admits(&self, key: &str, tags: &Tags) -> bool {
        let Some(early) = &self.early else { return true };
        let meant = early.purges.iter().find(|early| early.purge.takes(key, tags));
        if let Some(EarlyPurge { memory, purged, .. }) = meant {
            purged.fetch_add(usize::from(counts(key, memory)), Ordering::Relaxed);
        }
        meant.is_none() && !early.all && !early.forgotten.contains(key)
    }

    /// All files are listed.
    pub(super) fn listed(&mut self) {
        self.early = None;
    }

    fn drop_writes(&mut self, mut meant: impl FnMut(&str, &Tags) -> bool) {
        let mut dropped = 0;
        self.waiting.retain(|(key, object)| {
            let goes = meant(key, &object.head.tags);
            dropped += if goes { bytes(object) } else { 0 };
            !goes
        });
        self.bytes -= dropped;
        self.being_written.take_if(|(key, object)| meant(key, &object.head.tags));
    }
}

/// Of an object that waits. A file has its block however short it is, so many small objects fill the queue too.
fn bytes(object: &Object) -> u64 {
    object.weight().max(FILE_BLOCK)
}

/// Whether a purge counts an object that it takes out here: memory counts what it has itself.
fn counts(key: &str, memory: &Cache) -> bool {
    !key.contains(PIECE) && !memory.has(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Class;
    use crate::object::Head;
    use bytes::Bytes;
    use std::time::{Duration, Instant};

    fn object(bytes: usize) -> Arc<Object> {
        let head = Head::own(Class::Segment, Instant::now(), Duration::from_secs(60), &[]);
        Arc::new(Object::new(Arc::new(head), vec![Bytes::from(vec![0; bytes])], Instant::now()))
    }

    fn purge(body: &str) -> Arc<Purge> {
        Arc::new(Purge::read(body.as_bytes()).unwrap())
    }

    fn listed() -> Coming {
        let mut coming = Coming::default();
        coming.listed();
        coming
    }

    #[test]
    fn what_is_taken_out_is_not_written_whenever_that_comes() {
        for meant in [
            |coming: &mut Coming| coming.forget(&"/a/1".into()),
            |coming: &mut Coming| coming.purge(&purge("{\"urls\":[\"/a/1\"]}"), &Cache::new(0)).2,
        ] {
            let (mut coming, one) = (listed(), object(10));
            // While it waits.
            assert!(["/a/1", "/b"].iter().all(|key| coming.push(&(*key).into(), &one, u64::MAX)));
            assert!(meant(&mut coming));
            assert_eq!(coming.next().map(|(key, _)| key), Some("/b".into()));
            assert!(coming.written(&one) && coming.next().is_none());
            // While it is being written.
            coming.push(&"/a/1".into(), &one, u64::MAX);
            coming.next();
            assert!(meant(&mut coming));
            // What comes after is newer.
            coming.push(&"/a/1".into(), &one, u64::MAX);
            assert!(!coming.written(&one));
            assert_eq!(coming.next().map(|(key, _)| key), Some("/a/1".into()));
            assert!(coming.written(&one));
            assert_eq!(coming.bytes, 0);
        }
    }

    #[test]
    fn what_waits_is_bounded_in_bytes_and_in_number() {
        let mut coming = listed();
        let (long, short) = (object(FILE_BLOCK as usize * 3), object(1));
        let push = |coming: &mut Coming, key: &str, object| coming.push(&key.into(), object, FILE_BLOCK * 8);
        assert!(push(&mut coming, "/a", &long) && push(&mut coming, "/b", &long));
        assert!(!push(&mut coming, "/c", &long));
        let room = (0..9).filter(|at| push(&mut coming, &format!("/{at}"), &short)).count();
        assert_eq!(room, 1, "heads and all");
        coming.purge(&purge("{\"prefixes\":[\"/\"]}"), &Cache::new(0));
        assert_eq!((coming.bytes, coming.waiting.len()), (0, 0));
    }

    #[test]
    fn what_is_meant_before_files_are_listed_does_not_come_in() {
        let (mut coming, tags) = (Coming::default(), Tags::default());
        assert!(coming.forget(&"/a".into()));
        let (_, counted, noted) = coming.purge(&purge("{\"prefixes\":[\"/b/\"]}"), &Cache::new(0));
        assert!(noted && !coming.admits("/a", &tags) && !coming.admits("/b/1", &tags) && coming.admits("/c", &tags));
        assert_eq!(counted.unwrap().load(Ordering::Relaxed), 1);
        assert!((1..FORGOTTEN_MAX).all(|at| coming.forget(&format!("/{at}").into())));
        assert!(coming.forget(&"/a".into()), "it is remembered");
        assert!(!coming.forget(&"/one/more".into()) && !coming.admits("/c", &tags), "too many mean everything");
        coming.listed();
        assert!(coming.forget(&"/two/more".into()) && coming.admits("/c", &tags));
    }
}
