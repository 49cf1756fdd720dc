//! The second cache, on disk: what memory evicts, and what a restart would lose. It may fail in any way and at any time;
//! then the node goes on without it.
//!
//! Files belong to the [`keeper`], a task that writes and deletes them one after the other; fills read them through
//! [`File`]. What is to be taken out waits for nobody: it leaves the [`index`] and what is still [`coming`] at once.

mod coming;
pub mod header;
mod index;
mod keeper;

use super::cache::Cache;
use super::layout::Layout;
use super::purge::{PIECE, Purge};
use crate::key::Class;
use crate::metrics::{Bound, DiskRead, Metrics};
use crate::moment::Moment;
use crate::object::{Head, Object};
use crate::refusal::Refusal;
use bytes::Bytes;
use coming::Coming;
use header::{BLOCK_BYTES, Header};
use http::StatusCode;
use index::{Entry, Index};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parking_lot::Mutex;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

pub struct Disk {
    rules: config::Disk,
    /// Of how long something may be used.
    lifetimes: config::Cache,
    metrics: Arc<Metrics>,
    index: Index,
    /// Set once the folder is this node's.
    files: OnceLock<Arc<dyn ObjectStore>>,
    /// Files may be read.
    readable: AtomicBool,
    /// Everything that lay there is in the index: objects may be written.
    writable: AtomicBool,
    coming: Mutex<Coming>,
    /// There is something to write or to delete.
    work: Notify,
    /// Rounds of deleting that the keeper has begun, and the last that it has ended.
    rounds: AtomicU64,
    round: watch::Sender<u64>,
    reads: Arc<Semaphore>,
}

/// What a purge has taken out: nobody finds it any more, and its files are yet to be deleted.
pub struct TakenOut {
    /// Objects that memory does not have.
    count: usize,
    /// The same among files that were not listed yet.
    listed: Option<Arc<AtomicUsize>>,
    /// The round that deletes them.
    round: u64,
}

/// An object on disk, as its fill reads it.
pub struct File {
    disk: Arc<Disk>,
    entry: Entry,
    pub header: Header,
    /// The first block, which came with the header.
    first: Bytes,
    next: u64,
}

/// The rest of a file cannot be had in time, or is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unread;

/// A purge waits this long for files to be deleted, among them those that are not in the index yet.
const PURGE_PATIENCE: Duration = Duration::from_secs(30);
/// After the last round: another process may keep the folder.
const LEFT: u64 = u64::MAX;

impl Disk {
    /// `None` where nothing is kept on disk.
    pub fn new(config: &config::Edge, metrics: Arc<Metrics>) -> Option<Arc<Self>> {
        config.disk.path.as_ref()?;
        metrics.disk.listing.set(1);
        // One object is written before room is made for it.
        let index = Index::new(config.disk.bytes_max.saturating_sub(config.disk.object_bytes_max));
        Some(Arc::new(Self {
            reads: Arc::new(Semaphore::new(config.disk.reads_max)),
            rules: config.disk.clone(),
            lifetimes: config.cache,
            metrics,
            index,
            files: OnceLock::new(),
            readable: AtomicBool::new(false),
            writable: AtomicBool::new(false),
            coming: Mutex::default(),
            work: Notify::new(),
            rounds: AtomicU64::new(0),
            round: watch::Sender::new(0),
        }))
    }

    /// Hands an object over to be written, if it is of the kind that is and there is room in the queue. Returns whether
    /// it was taken.
    pub fn offer(&self, key: &Arc<str>, object: &Arc<Object>) -> bool {
        if !self.takes(key, object) || !self.writable.load(Ordering::Relaxed) {
            return false;
        }
        let taken = self.coming.lock().push(key, object, self.rules.queue_bytes_max);
        if taken {
            self.work.notify_one();
        } else {
            self.metrics.bit(Bound::DiskQueue);
        }
        taken
    }

    fn takes(&self, key: &str, object: &Object) -> bool {
        let head = &object.head;
        let piece = key.contains(PIECE);
        let lasting = piece || head.lease.is_ok_and(|lease| lease.fresh >= self.rules.lifetime_min);
        // What is known of a large object is short, and so may be its last piece: all of it is worth what most of it is.
        let long = piece || object.layout.is_some() || object.length >= self.rules.object_bytes_min;
        let short = object.layout.is_some() || object.length <= self.rules.object_bytes_max;
        let kind = head.status == StatusCode::OK && !head.class.is_manifest() && head.class != Class::Part;
        kind && lasting && long && short && !head.disk
    }

    /// Whether the index names a file of that key.
    pub fn has(&self, key: &str) -> bool {
        self.readable.load(Ordering::Relaxed) && self.index.has(key)
    }

    /// Opens the object of that key: its header and its first block are read and checked.
    pub async fn open(self: &Arc<Self>, key: &str) -> Option<File> {
        if !self.readable.load(Ordering::Relaxed) {
            return None;
        }
        let Some(entry) = self.index.get(key) else {
            self.metrics.disk.read(DiskRead::Miss);
            return None;
        };
        // A disk that hangs has all places: nobody waits for one.
        let Ok(place) = self.reads.clone().try_acquire_owned() else {
            self.metrics.bit(Bound::DiskReads);
            return None;
        };
        let body = (entry.bytes - entry.head_bytes).min(BLOCK_BYTES);
        let range = 0..entry.head_bytes + body;
        let read = timeout(self.rules.read_timeout, self.read(place, entry.file, range)).await;
        let bytes = self.judged(read, key, &entry)?;
        let Some(header) = header_of(&bytes, key, &entry) else {
            self.reject(key, &entry, DiskRead::Corrupt);
            return None;
        };
        let first = bytes.slice(entry.head_bytes as usize..);
        self.metrics.disk.read(DiskRead::Hit);
        Some(File { disk: self.clone(), entry, header, first, next: 0 })
    }

    /// Takes out the object of that key, even if it is still to be written or to be listed.
    pub fn forget(&self, key: &Arc<str>) {
        // First what is coming: what is in the index after that was there before.
        if !self.coming.lock().forget(key) {
            self.metrics.bit(Bound::DiskPurges);
        }
        self.index.remove(key);
    }

    /// Takes out that version of an object in pieces.
    pub fn forget_version(&self, key: &str, layout: &Layout) {
        if self.index.get(key).is_some_and(|entry| entry.layout.as_ref() == Some(layout)) {
            self.index.remove(key);
        }
        self.forget_pieces(key, layout);
    }

    pub fn forget_pieces(&self, key: &str, layout: &Layout) {
        self.index.remove_pieces(key, layout);
    }

    /// Takes out what is meant, even if it is still to be written or to be listed.
    pub async fn take_out(&self, purge: &Arc<Purge>, memory: &Cache) -> TakenOut {
        let (coming, listed, noted) = self.coming.lock().purge(purge, memory);
        if !noted {
            self.metrics.bit(Bound::DiskPurges);
        }
        let count = coming + self.index.purge(purge, memory).await;
        let round = self.rounds.load(Ordering::SeqCst) + 1;
        self.work.notify_one();
        TakenOut { count, listed, round }
    }

    /// Waits until the files are deleted. Returns how many objects that were which memory does not have.
    ///
    /// # Errors
    /// `PurgePending` if that takes too long: they are not shown, and will be deleted when they are come to, unless this
    /// process ends before. Or if it is about to end, and the folder is its successor's.
    pub async fn deleted(&self, taken_out: TakenOut) -> Result<usize, Refusal> {
        let mut round = self.round.subscribe();
        let done = timeout(PURGE_PATIENCE, round.wait_for(|done| *done >= taken_out.round)).await;
        match done {
            Ok(Ok(done)) if *done < LEFT => {
                let listed = taken_out.listed.map_or(0, |listed| listed.load(Ordering::Relaxed));
                Ok(taken_out.count + listed)
            }
            _ => Err(Refusal::PurgePending),
        }
    }

    /// Reads in a task of its own, which has its place until the disk answers, however long anybody waits.
    async fn read(&self, place: OwnedSemaphorePermit, file: u64, range: Range<u64>) -> Result<Bytes, DiskRead> {
        let files = self.files.get().cloned().ok_or(DiskRead::Gone)?;
        let reading = tokio::spawn(async move {
            let _place = place;
            files.get_range(&path(file), range).await
        });
        match reading.await {
            Ok(Ok(bytes)) => Ok(bytes),
            // Deleted between the look and the read.
            Ok(Err(object_store::Error::NotFound { .. })) => Err(DiskRead::Gone),
            Ok(Err(error)) => {
                tracing::warn!(%error, "a file on disk cannot be read");
                Err(DiskRead::Failed)
            }
            Err(_) => Err(DiskRead::Failed),
        }
    }

    fn judged(&self, read: Result<Result<Bytes, DiskRead>, Elapsed>, key: &str, entry: &Entry) -> Option<Bytes> {
        match read {
            Ok(Ok(bytes)) => return Some(bytes),
            Ok(Err(why)) => self.reject(key, entry, why),
            Err(_) => self.metrics.bit(Bound::DiskReadTimeout),
        }
        None
    }

    fn reject(&self, key: &str, entry: &Entry, why: DiskRead) {
        if why == DiskRead::Corrupt {
            tracing::warn!(key, file = %path(entry.file), "a file on disk is not what was written; it is deleted");
        }
        self.metrics.disk.read(why);
        self.index.remove_file(key, entry.file);
    }
}

impl File {
    /// The next bytes of the body, checked; `None` at its end.
    async fn next(&mut self) -> Result<Option<Bytes>, Unread> {
        let index = self.next;
        let Some(range) = self.header.block(index) else { return Ok(None) };
        let (disk, entry, key) = (&self.disk, &self.entry, self.header.key.as_str());
        let bytes = if index == 0 {
            std::mem::take(&mut self.first)
        } else {
            let range = entry.head_bytes + range.start..entry.head_bytes + range.end;
            let reading = async {
                let place = disk.reads.clone().acquire_owned().await.map_err(|_| DiskRead::Failed)?;
                disk.read(place, entry.file, range).await
            };
            disk.judged(timeout(disk.rules.read_timeout, reading).await, key, entry).ok_or(Unread)?
        };
        // The first block was checked with its header.
        if index > 0 && !self.header.is_block(index, &bytes) {
            disk.reject(key, entry, DiskRead::Corrupt);
            return Err(Unread);
        }
        self.next += 1;
        Ok(Some(bytes))
    }

    /// Gives the body away piece by piece, each of them checked.
    ///
    /// # Errors
    /// If the rest is not to be had; what was given before is good.
    pub async fn pour(&mut self, mut take: impl FnMut(Bytes)) -> Result<(), Unread> {
        while let Some(bytes) = self.next().await? {
            take(bytes);
        }
        Ok(())
    }

    /// The head of the object as it is now.
    pub fn head(&self, now: &Moment) -> Head {
        self.header.head(&self.disk.lifetimes, now.instant, now.unix_ms())
    }

    /// There is no use for it.
    pub fn discard(&self) {
        self.disk.index.remove_file(&self.header.key, self.entry.file);
    }
}

/// The header of that object, if the first block is right too.
fn header_of(bytes: &[u8], key: &str, entry: &Entry) -> Option<Header> {
    let (header, head_bytes) = Header::read(bytes).ok()?;
    let ours =
        header.key == key && (head_bytes as u64, header.length) == (entry.head_bytes, entry.bytes - entry.head_bytes);
    let first = header.block(0).is_none() || header.is_block(0, &bytes[head_bytes..]);
    (ours && first).then_some(header)
}

/// Where a file lies: in 256 folders, as some file systems are slow with large ones.
fn path(file: u64) -> Path {
    Path::from(format!("{:02x}/{file:016x}", file & 0xff))
}

/// Which file lies there, if it is one of these.
fn file_at(path: &Path) -> Option<u64> {
    let name = path.filename()?;
    let file = u64::from_str_radix(name, 16).ok()?;
    (self::path(file) == *path).then_some(file)
}

fn entry_of(header: &Header, head_bytes: u64, file: u64, rules: &config::Cache) -> Entry {
    let now = Moment::now();
    Entry {
        file,
        bytes: head_bytes + header.length,
        head_bytes,
        tags: header.tags.clone(),
        layout: header.layout.clone(),
        life: header.life(rules, now.instant, now.unix_ms()),
    }
}
