//! Who keeps the folder: lists what lies there when the node starts, then writes and deletes, one file after the other.

use super::header::{HEADER_BYTES_MAX, Header, Unreadable};
use super::index::Entry;
use super::{Disk, LEFT, entry_of, file_at, path};
use crate::metrics::{DiskRead, DiskWrite};
use crate::moment::Moment;
use crate::object::Object;
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
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

struct Keeper<'a> {
    disk: &'a Disk,
    files: Arc<dyn ObjectStore>,
    next_file: u64,
    /// Nothing is written or deleted before.
    paused_until: Option<Instant>,
    /// A write that the disk has not answered yet.
    stuck: Option<(u64, JoinHandle<Written>)>,
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
        self.0.round.send_replace(LEFT);
    }
}

impl Disk {
    /// Keeps the folder until it is dropped.
    pub async fn keep(&self) {
        let leaving = Leaving(self);
        let (_lock, files) = self.take_folder().await;
        // Before the lock is let go.
        let _leaving = leaving;
        let files = self.files.get_or_init(|| files).clone();
        let next_file = Moment::now().unique();
        let mut keeper = Keeper { disk: self, files, next_file, paused_until: None, stuck: None };
        self.readable.store(true, Ordering::Relaxed);
        keeper.list().await;
        self.metrics.disk.listing.set(0);
        self.writable.store(true, Ordering::Relaxed);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.work.notified() => {}
                _ = tick.tick() => {}
            }
            keeper.round().await;
            while let Some((key, object)) = self.next() {
                keeper.write(key, object).await;
                keeper.round().await;
            }
        }
    }

    fn next(&self) -> Option<(Arc<str>, Arc<Object>)> {
        self.coming.lock().next()
    }

    async fn take_folder(&self) -> (fs::File, Arc<dyn ObjectStore>) {
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
            sleep(pause).await;
        }
    }
}

impl Keeper<'_> {
    /// Takes what lies in the folder into the index.
    async fn list(&mut self) {
        let (disk, begun) = (self.disk, Instant::now());
        let mut listing = pin!(listing(self.files.clone(), disk.lifetimes));
        let mut seen = 0_u64;
        while let Some(listed) = listing.next().await {
            seen += 1;
            self.take_in(listed);
            if seen.is_multiple_of(TOLD_EVERY) {
                self.tidy().await;
                tracing::info!(files = seen, "files of the disk cache listed so far");
            }
        }
        disk.coming.lock().listed();
        self.tidy().await;
        let (files, bytes) = (disk.index.files(), disk.index.bytes());
        tracing::info!(files, bytes, seconds = begun.elapsed().as_secs_f32(), "the disk cache is listed");
    }

    fn take_in(&self, listed: Listed) {
        let disk = self.disk;
        let (key, entry) = match listed {
            Listed::Good(key, entry) => (key, entry),
            Listed::Bad(file, why) => {
                disk.metrics.disk.read(why);
                return disk.index.doom([file]);
            }
            Listed::Unread => return disk.metrics.disk.read(DiskRead::Failed),
        };
        // Under the lock, so that whatever is taken out meanwhile finds it here or there.
        let coming = disk.coming.lock();
        if coming.admits(&key, &entry.tags) {
            disk.index.insert(key, entry);
        } else {
            disk.index.doom([entry.file]);
        }
    }

    async fn write(&mut self, key: Arc<str>, object: Arc<Object>) {
        let disk = self.disk;
        let written = if self.is_paused() {
            disk.metrics.disk.wrote(DiskWrite::Paused);
            None
        } else {
            self.try_to_write(&key, &object).await
        };
        let mut coming = disk.coming.lock();
        match (written, coming.written(&object)) {
            (Some(entry), true) => disk.index.insert(key, entry),
            (Some(entry), false) => disk.index.doom([entry.file]),
            (None, _) => {}
        }
    }

    async fn try_to_write(&mut self, key: &Arc<str>, object: &Arc<Object>) -> Option<Entry> {
        let disk = self.disk;
        let (file, lifetimes, files) = (self.next_file, disk.lifetimes, self.files.clone());
        self.next_file += 1;
        let mut writing = tokio::spawn(write(files, file, key.clone(), object.clone(), lifetimes));
        match timeout(WRITE_TIMEOUT, &mut writing).await {
            Ok(Ok(Some(Ok(entry)))) => {
                disk.metrics.disk.wrote(DiskWrite::Written);
                self.works();
                return Some(entry);
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
        None
    }

    /// Deletes, and tells whoever waits for that.
    async fn round(&mut self) {
        let round = self.disk.rounds.fetch_add(1, Ordering::SeqCst) + 1;
        self.tidy().await;
        self.disk.round.send_replace(round);
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
        let now = Moment::now();
        let header = Header::of(&key, &object, now.instant, now.unix_ms());
        let rendered = header.render()?;
        let entry = entry_of(&header, rendered.len() as u64, file, &lifetimes);
        let payload: PutPayload = std::iter::once(rendered).chain(object.chunks.iter().cloned()).collect();
        Some((entry, payload))
    });
    let (entry, payload) = made.await.ok()??;
    Some(files.put(&path(file), payload).await.map(|_| entry))
}
