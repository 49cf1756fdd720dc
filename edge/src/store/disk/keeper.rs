//! Who keeps the folder: lists what lies there when the node starts, then writes and deletes, one order after the other.
//!
//! That orders are followed in their order is what makes purges right: what was to be written before a purge is found by
//! it, what comes after is newer.

use super::header::{HEADER_BYTES_MAX, Header, Unreadable};
use super::index::Entry;
use super::{Disk, entry_of, file_at, path, unix_ms};
use crate::metrics::{Bound, DiskRead, DiskWrite};
use crate::object::Object;
use crate::store::cache::Cache;
use crate::store::purge::{PIECE, Purge};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use object_store::local::LocalFileSystem;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload};
use std::fs::{self, TryLockError};
use std::io;
use std::path::{Path as FsPath, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// What the keeper is told to do.
pub(super) enum Order {
    Write(Arc<str>, Arc<Object>),
    Forget(Arc<str>),
    Purge(Arc<Purge>, Cache, oneshot::Sender<usize>),
}

struct Keeper<'a> {
    disk: &'a Disk,
    files: Arc<dyn ObjectStore>,
    next_file: u64,
    /// Nothing is written or deleted before.
    paused_until: Option<Instant>,
    /// A write that the disk has not answered yet.
    stuck: Option<(u64, JoinHandle<Written>)>,
}

/// Purges that came before all files were listed: they mean those that come too.
#[derive(Default)]
struct Early {
    purges: Vec<EarlyPurge>,
    /// There were too many to remember: what is not listed yet goes.
    all: bool,
    /// Who waits, how many objects that were so far, and for which of the purges.
    answers: Vec<(oneshot::Sender<usize>, usize, usize)>,
}

struct EarlyPurge {
    purge: Arc<Purge>,
    memory: Cache,
    /// Objects that were listed since.
    purged: usize,
}

/// A file as the listing found it.
enum Listed {
    Good(Arc<str>, Entry),
    /// It is no object, or of no use any more.
    Bad(u64, DiskRead),
    /// Left where it is: the next start may be able to read it.
    Unread,
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("another process keeps it")]
    Taken,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Store(#[from] object_store::Error),
}

type Written = Option<Result<Entry, object_store::Error>>;

/// The file whose lock tells whose the folder is.
const LOCK: &str = "lock";
/// How soon a folder that another process keeps is tried again: during an upgrade, that one is about to leave.
const TAKEN_PAUSE: Duration = Duration::from_secs(1);
/// More early purges than these mean everything.
const EARLY_MAX: usize = 64;
/// Headers that are read at once while files are listed, how much of a file at first, and how long one may take.
const LISTED_AT_ONCE: usize = 8;
const FIRST_READ_BYTES: u64 = 8 << 10;
const LIST_TIMEOUT: Duration = Duration::from_secs(10);
const TOLD_EVERY: u64 = 10_000;
/// Longest wait for a write, or for the files to be deleted that one made room for.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often is done what is due.
const TICK: Duration = Duration::from_secs(1);

/// From here on nothing is written and nothing is read: another process may keep the folder.
struct Leaving<'a>(&'a Disk);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.readable.store(false, Ordering::Relaxed);
        self.0.writable.store(false, Ordering::Relaxed);
    }
}

impl Disk {
    /// Keeps the folder until it is dropped.
    pub async fn keep(&self) {
        let Some(mut orders) = self.to_keeper.lock().take() else { return std::future::pending().await };
        let mut early = Early::default();
        let (_lock, files) = self.take_folder(&mut orders, &mut early).await;
        let files = self.files.get_or_init(|| files).clone();
        let mut keeper = Keeper { disk: self, files, next_file: unix_ms() << 20, paused_until: None, stuck: None };
        let _leaving = Leaving(self);
        self.readable.store(true, Ordering::Relaxed);
        keeper.list(&mut orders, early).await;
        self.metrics.disk.listing.set(0);
        self.writable.store(true, Ordering::Relaxed);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(order) = orders.recv() => keeper.follow(order).await,
                _ = tick.tick() => keeper.tidy().await,
            }
        }
    }

    async fn take_folder(
        &self,
        orders: &mut mpsc::UnboundedReceiver<Order>,
        early: &mut Early,
    ) -> (fs::File, Arc<dyn ObjectStore>) {
        let folder = self.rules.path.clone().unwrap_or_default();
        let mut told = false;
        loop {
            let path = folder.clone();
            let pause = match spawn_blocking(move || take_folder(&path)).await {
                Ok(Ok((lock, files))) => {
                    self.metrics.disk.failing.set(0);
                    return (lock, Arc::new(files));
                }
                Ok(Err(Unusable::Taken)) => {
                    tracing::info!(folder = %folder.display(), "another process keeps the disk cache; waiting for it");
                    TAKEN_PAUSE
                }
                Ok(Err(error)) => {
                    self.metrics.disk.failing.set(1);
                    if !std::mem::replace(&mut told, true) {
                        let folder = folder.display();
                        tracing::error!(%folder, %error, "the disk cache cannot be used; mend edge.disk.path, it is tried again");
                    }
                    self.rules.retry
                }
                Err(_) => self.rules.retry,
            };
            let pausing = sleep(pause);
            tokio::pin!(pausing);
            loop {
                tokio::select! {
                    () = &mut pausing => break,
                    Some(order) = orders.recv() => self.follow_early(order, early).await,
                }
            }
        }
    }

    /// Until all files are listed nothing is written, and purges mean what is still to come.
    async fn follow_early(&self, order: Order, early: &mut Early) {
        match order {
            Order::Write(..) => self.metrics.disk.wrote(DiskWrite::Paused),
            Order::Forget(key) => self.index.remove(&key),
            Order::Purge(purge, memory, answer) => {
                let purged = self.index.purge(&purge, &memory).await;
                let known = early.purges.iter().position(|known| known.purge == purge);
                early.answers.push((answer, purged, known.unwrap_or(early.purges.len())));
                if known.is_none() && early.purges.len() >= EARLY_MAX {
                    self.metrics.bit(Bound::DiskPurges);
                    early.all = true;
                } else if known.is_none() {
                    early.purges.push(EarlyPurge { purge, memory, purged: 0 });
                }
            }
        }
    }
}

impl Keeper<'_> {
    /// Takes what lies in the folder into the index.
    async fn list(&mut self, orders: &mut mpsc::UnboundedReceiver<Order>, mut early: Early) {
        let (disk, begun) = (self.disk, Instant::now());
        let mut listing = pin!(listing(self.files.clone(), disk.lifetimes));
        let mut seen = 0_u64;
        loop {
            let listed = tokio::select! {
                biased;
                Some(order) = orders.recv() => {
                    disk.follow_early(order, &mut early).await;
                    continue;
                }
                listed = listing.next() => match listed {
                    Some(listed) => listed,
                    None => break,
                },
            };
            seen += 1;
            self.take_in(listed, &mut early);
            if seen.is_multiple_of(TOLD_EVERY) {
                self.tidy().await;
                tracing::info!(files = seen, "files of the disk cache listed so far");
            }
        }
        self.tidy().await;
        for (answer, purged, index) in early.answers {
            let listed = early.purges.get(index).map_or(0, |early| early.purged);
            // Whoever asked may have gone.
            let _ = answer.send(purged + listed);
        }
        let (files, bytes) = (disk.index.files(), disk.index.bytes());
        tracing::info!(files, bytes, seconds = begun.elapsed().as_secs_f32(), "the disk cache is listed");
    }

    fn take_in(&self, listed: Listed, early: &mut Early) {
        let disk = self.disk;
        let (key, entry) = match listed {
            Listed::Good(key, entry) => (key, entry),
            Listed::Bad(file, why) => {
                disk.metrics.disk.read(why);
                return disk.index.doom([file]);
            }
            Listed::Unread => return disk.metrics.disk.read(DiskRead::Failed),
        };
        let meant = early.purges.iter_mut().find(|early| early.purge.takes(&key, &entry.tags));
        let goes = meant.is_some() || early.all;
        if let Some(EarlyPurge { memory, purged, .. }) = meant {
            *purged += usize::from(!key.contains(PIECE) && !memory.has(&key));
        }
        if goes {
            disk.index.doom([entry.file]);
        } else {
            disk.index.insert(key, entry);
        }
    }

    async fn follow(&mut self, order: Order) {
        match order {
            Order::Write(key, object) => {
                let bytes = object.weight();
                self.write(key, object).await;
                self.disk.queued.fetch_sub(bytes, Ordering::Relaxed);
            }
            Order::Forget(key) => self.disk.index.remove(&key),
            Order::Purge(purge, memory, answer) => {
                let purged = self.disk.index.purge(&purge, &memory).await;
                self.tidy().await;
                // Whoever asked may have gone.
                let _ = answer.send(purged);
            }
        }
    }

    async fn write(&mut self, key: Arc<str>, object: Arc<Object>) {
        let disk = self.disk;
        if self.is_paused() {
            return disk.metrics.disk.wrote(DiskWrite::Paused);
        }
        let (file, lifetimes, files) = (self.next_file, disk.lifetimes, self.files.clone());
        self.next_file += 1;
        let mut writing = tokio::spawn(write(files, file, key.clone(), object, lifetimes));
        match timeout(WRITE_TIMEOUT, &mut writing).await {
            Ok(Ok(Some(Ok(entry)))) => {
                disk.metrics.disk.wrote(DiskWrite::Written);
                self.works();
                disk.index.insert(key, entry);
                self.tidy().await;
            }
            Ok(Ok(Some(Err(error)))) => {
                disk.metrics.disk.wrote(DiskWrite::Failed);
                self.fails(&error.to_string());
            }
            // It has too long a header.
            Ok(Ok(None) | Err(_)) => disk.metrics.disk.wrote(DiskWrite::Failed),
            Err(_) => {
                disk.metrics.disk.wrote(DiskWrite::Failed);
                self.stuck = Some((file, writing));
                self.fails("the disk does not answer");
            }
        }
    }

    /// Deletes what is in the index no more, and says how things stand.
    async fn tidy(&mut self) {
        let disk = self.disk;
        if let Some((file, _)) = self.stuck.take_if(|(_, writing)| writing.is_finished()) {
            disk.index.doom([file]);
        }
        disk.index.settle();
        if !self.is_paused() {
            let doomed = disk.index.doomed();
            if let Err(error) = self.delete(&doomed).await {
                disk.index.doom(doomed);
                self.fails(&error);
            }
        }
        disk.metrics.disk.bytes.set(i64::try_from(disk.index.bytes()).unwrap_or(i64::MAX));
        disk.metrics.disk.files.set(i64::try_from(disk.index.files()).unwrap_or(i64::MAX));
    }

    async fn delete(&self, doomed: &[u64]) -> Result<(), String> {
        let paths: Vec<_> = doomed.iter().map(|file| Ok(path(*file))).collect();
        let mut deleting = self.files.delete_stream(stream::iter(paths).boxed());
        let all = async {
            while let Some(deleted) = deleting.next().await {
                match deleted {
                    Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => return Err(error.to_string()),
                }
            }
            Ok(())
        };
        timeout(WRITE_TIMEOUT, all).await.unwrap_or_else(|_| Err("the disk does not answer".to_owned()))
    }

    fn is_paused(&self) -> bool {
        self.stuck.is_some() || self.paused_until.is_some_and(|until| Instant::now() < until)
    }

    fn fails(&mut self, error: &str) {
        let folder = self.disk.rules.path.as_deref().unwrap_or_else(|| FsPath::new("")).display();
        if self.disk.metrics.disk.failing.get() == 0 {
            tracing::error!(%folder, error, "the disk cache fails; nothing is written until it can be again");
        } else {
            tracing::debug!(%folder, error, "the disk cache still fails");
        }
        self.disk.metrics.disk.failing.set(1);
        self.paused_until = Some(Instant::now() + self.disk.rules.retry);
    }

    fn works(&mut self) {
        if self.disk.metrics.disk.failing.get() != 0 {
            tracing::info!("the disk cache is written to again");
        }
        self.disk.metrics.disk.failing.set(0);
        self.paused_until = None;
    }
}

/// Makes the folder this process's, and sweeps what was being written when another one died.
fn take_folder(folder: &FsPath) -> Result<(fs::File, LocalFileSystem), Unusable> {
    fs::create_dir_all(folder)?;
    let lock = fs::File::options().create(true).truncate(false).write(true).open(folder.join(LOCK))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(Unusable::Taken),
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    let files = LocalFileSystem::new_with_prefix(folder)?;
    for part in partial(folder)? {
        // What cannot be swept takes room, and is never read.
        let _ = fs::remove_file(part);
    }
    Ok((lock, files))
}

/// Files that were never renamed to what they should have been: the library adds `#` and a number.
fn partial(folder: &FsPath) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for below in fs::read_dir(folder)?.flatten().filter(|entry| entry.file_name().len() == 2) {
        let Ok(files) = fs::read_dir(below.path()) else { continue };
        found.extend(files.flatten().map(|entry| entry.path()).filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()?.split_once('#'));
            name.is_some_and(|(name, _)| name.len() == 16 && u64::from_str_radix(name, 16).is_ok())
        }));
    }
    Ok(found)
}

fn listing(files: Arc<dyn ObjectStore>, lifetimes: config::Cache) -> impl Stream<Item = Listed> {
    let found = files.list(None);
    let inspect = move |found: object_store::Result<ObjectMeta>| {
        let files = files.clone();
        async move {
            let found = found.inspect_err(|error| tracing::warn!(%error, "a file of the disk cache cannot be listed"));
            let Ok(found) = found else { return Some(Listed::Unread) };
            let file = file_at(&found.location)?;
            let read = timeout(LIST_TIMEOUT, inspect(&files, file, found.size, &lifetimes)).await;
            Some(read.unwrap_or(Listed::Unread))
        }
    };
    found.map(inspect).buffer_unordered(LISTED_AT_ONCE).filter_map(std::future::ready)
}

async fn inspect(files: &Arc<dyn ObjectStore>, file: u64, size: u64, lifetimes: &config::Cache) -> Listed {
    let mut bytes = FIRST_READ_BYTES.min(size);
    // A second time with as much as the first one says.
    for _ in 0..2 {
        let read = if size == 0 { Ok(Bytes::new()) } else { files.get_range(&path(file), 0..bytes).await };
        let Ok(read) = read else { return Listed::Unread };
        match Header::read(&read) {
            Ok((header, head_bytes)) if head_bytes as u64 + header.length == size => {
                let entry = entry_of(&header, head_bytes as u64, file, lifetimes);
                let useless = entry.life.is_zero();
                return if useless {
                    Listed::Bad(file, DiskRead::Gone)
                } else {
                    Listed::Good(header.key.into(), entry)
                };
            }
            Err(Unreadable::Short(needed)) if needed <= HEADER_BYTES_MAX && needed as u64 <= size => {
                bytes = needed as u64;
            }
            Ok(_) | Err(_) => break,
        }
    }
    Listed::Bad(file, DiskRead::Corrupt)
}

async fn write(
    files: Arc<dyn ObjectStore>,
    file: u64,
    key: Arc<str>,
    object: Arc<Object>,
    lifetimes: config::Cache,
) -> Written {
    let made = spawn_blocking(move || {
        let header = Header::of(&key, &object, Instant::now(), unix_ms());
        let rendered = header.render()?;
        let entry = entry_of(&header, rendered.len() as u64, file, &lifetimes);
        let payload: PutPayload = std::iter::once(rendered).chain(object.chunks.iter().cloned()).collect();
        Some((entry, payload))
    });
    let (entry, payload) = made.await.ok()??;
    Some(files.put(&path(file), payload).await.map(|_| entry))
}
