//! What lies on disk: by key, weighed by the room that its files take. What leaves the index is to be deleted.

use crate::store::cache::Cache;
use crate::store::layout::Layout;
use crate::store::purge::{PIECE, Purge, Tags};
use moka::Expiry;
use moka::sync::Cache as Moka;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Names the file. Each is written once; a newer one has a greater number.
    pub(super) file: u64,
    pub(super) bytes: u64,
    /// How many of them are the header.
    pub(super) head_bytes: u64,
    pub(super) tags: Tags,
    pub(super) layout: Option<Layout>,
    /// How long there is any use for it, from now on.
    pub(super) life: Duration,
}

pub(super) struct Index {
    entries: Moka<Arc<str>, Entry>,
    /// Files that are in the index no more.
    doomed: Arc<Mutex<Vec<u64>>>,
    bytes_max: u64,
}

/// What file systems give files, in bytes.
pub(super) const FILE_BLOCK: u64 = 4096;
/// Entries that a purge looks at before others have their turn.
const LOOKS_AT_ONCE: usize = 256;
/// The rest of a longer object is found by nobody, and evicted in time.
const PIECES_REMOVED_MAX: u64 = 16_384;
/// An object may take the room of many small ones, which the library gives up so many at a time.
const SETTLING_MAX: usize = 1000;

impl Index {
    pub(super) fn new(bytes_max: u64) -> Self {
        let doomed = Arc::new(Mutex::new(Vec::new()));
        let leaving = doomed.clone();
        let entries = Moka::builder()
            .max_capacity(bytes_max)
            .weigher(|_: &Arc<str>, entry: &Entry| {
                u32::try_from(entry.bytes.next_multiple_of(FILE_BLOCK)).unwrap_or(u32::MAX)
            })
            .expire_after(Lifetime)
            // May run on any thread that looks something up: it only takes note.
            .eviction_listener(move |_, entry, _| leaving.lock().push(entry.file))
            .build();
        Self { entries, doomed, bytes_max }
    }

    pub(super) fn get(&self, key: &str) -> Option<Entry> {
        self.entries.get(key)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Takes the file in, unless a newer one has its key.
    pub(super) fn insert(&self, key: Arc<str>, entry: Entry) {
        if self.entries.get(&key).is_some_and(|known| known.file > entry.file) {
            return self.doom([entry.file]);
        }
        self.entries.insert(key, entry);
    }

    pub(super) fn remove(&self, key: &str) {
        self.entries.invalidate(key);
    }

    /// Takes out that file, but not a newer one of its key.
    pub(super) fn remove_file(&self, key: &str, file: u64) {
        if self.entries.get(key).is_some_and(|known| known.file == file) {
            self.entries.invalidate(key);
        }
    }

    pub(super) fn remove_pieces(&self, key: &str, layout: &Layout) {
        for index in 0..layout.count().min(PIECES_REMOVED_MAX) {
            self.entries.invalidate(layout.key(key, index).as_str());
        }
    }

    /// Takes out what is meant; returns how many objects that were which memory does not have.
    pub(super) async fn purge(&self, purge: &Purge, memory: &Cache) -> usize {
        let mut purged = 0;
        for key in purge.keys() {
            if let Some(entry) = self.get(key) {
                purged += usize::from(!memory.has(key));
                self.take_out(key, &entry);
            }
        }
        if purge.needs_a_look_at_all() {
            for (at, (key, entry)) in self.entries.iter().enumerate() {
                if purge.takes(&key, &entry.tags) {
                    purged += usize::from(!key.contains(PIECE) && !memory.has(&key));
                    self.take_out(&key, &entry);
                }
                if at % LOOKS_AT_ONCE == 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
        purged
    }

    fn take_out(&self, key: &str, entry: &Entry) {
        self.remove(key);
        if let Some(layout) = &entry.layout {
            self.remove_pieces(key, layout);
        }
    }

    /// Gives up what is due, and what is too much.
    pub(super) fn settle(&self) {
        for _ in 0..SETTLING_MAX {
            self.entries.run_pending_tasks();
            if self.entries.weighted_size() <= self.bytes_max {
                break;
            }
        }
    }

    pub(super) fn doom(&self, files: impl IntoIterator<Item = u64>) {
        self.doomed.lock().extend(files);
    }

    /// What is to be deleted.
    pub(super) fn doomed(&self) -> Vec<u64> {
        std::mem::take(&mut *self.doomed.lock())
    }

    pub(super) fn bytes(&self) -> u64 {
        self.entries.weighted_size()
    }

    pub(super) fn files(&self) -> u64 {
        self.entries.entry_count()
    }
}

struct Lifetime;

impl Expiry<Arc<str>, Entry> for Lifetime {
    fn expire_after_create(&self, _: &Arc<str>, entry: &Entry, _: Instant) -> Option<Duration> {
        Some(entry.life)
    }

    fn expire_after_update(&self, _: &Arc<str>, entry: &Entry, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(entry.life)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(file: u64, bytes: u64) -> Entry {
        let life = Duration::from_secs(60);
        Entry { file, bytes, head_bytes: 100, tags: Tags::default(), layout: None, life }
    }

    #[test]
    fn what_leaves_the_index_is_to_be_deleted() {
        let index = Index::new(10 * FILE_BLOCK);
        for file in 0..1000 {
            index.insert(format!("/{file}").into(), entry(file, 1 + file % 5000));
            index.settle();
            assert!(index.bytes() <= 10 * FILE_BLOCK);
        }
        let doomed = index.doomed();
        assert_eq!(doomed.len() as u64 + index.files(), 1000);
        assert!(!doomed.is_empty() && index.files() > 0 && index.doomed().is_empty());
    }

    #[test]
    fn of_two_files_with_one_key_the_newer_one_stays() {
        let index = Index::new(1 << 20);
        for file in [5, 3, 7] {
            index.insert("/a".into(), entry(file, 1));
        }
        index.settle();
        let mut doomed = index.doomed();
        doomed.sort_unstable();
        assert_eq!((index.get("/a").unwrap().file, doomed), (7, vec![3, 5]));
        index.remove_file("/a", 5);
        assert!(index.has("/a"));
        index.remove_file("/a", 7);
        index.settle();
        assert_eq!((index.has("/a"), index.doomed()), (false, vec![7]));
    }
}
