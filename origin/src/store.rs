//! What outlives the process: whole segments and a journal for each stream, on disk.

mod kept;
mod life;
mod metrics;
mod queue;
mod record;
mod recover;
pub(crate) mod regular;
mod writer;

pub(crate) use kept::Keeping;
pub(crate) use life::{Given, Life};
pub(crate) use metrics::DiskMetrics;
pub(crate) use record::{Epoch as EpochRecord, Method, Record, crc, read as read_journal};
pub(crate) use recover::{Recovered, read_life, segment_file};

use crate::archive::Id;
use crate::clock::unix_ms;
use kept::Kept;
use parking_lot::Mutex;
use queue::Queue;
use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use writer::Writer;

pub(crate) struct Store {
    disk: Option<(PathBuf, Queue)>,
    /// What was given to streams of each name.
    given: Mutex<HashMap<String, Arc<Mutex<Given>>>>,
    keeping: Option<Keeping>,
}

/// Keeps the folder from other processes for as long as it lives.
pub(crate) struct Claim(#[expect(dead_code, reason = "the lock lasts as long as the file is open")] File);

/// Where that stands, in the folder.
pub(super) const LOCK: &str = "lock";

/// Takes the folder for this process; `None` where there is none, or it cannot be had at all: windows live in memory then.
///
/// # Errors
/// Another process has it. Both would take the other's streams for what an earlier one left.
pub(crate) fn claim(root: Option<&Path>) -> Result<Option<Claim>, Taken> {
    let Some(root) = root else { return Ok(None) };
    let open = || {
        fs::create_dir_all(root)?;
        regular::open(File::options().create(true).truncate(false).write(true), &root.join(LOCK))
    };
    let Ok(lock) = open() else { return Ok(None) };
    let until = Instant::now() + RELEASED_WITHIN;
    loop {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(RELEASED_WITHIN / 50),
            Err(TryLockError::WouldBlock) => return Err(Taken),
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(Some(Claim(lock))),
        }
    }
}

/// A process that has ended may leave its lock for a moment to a child that has not begun its own program yet.
const RELEASED_WITHIN: Duration = Duration::from_secs(1);

/// The folder is another process's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken;

/// Names of streams that are remembered; past it those are forgotten that ended longest ago.
const NAMES_MAX: usize = 10_000;

/// Opens a segment to be read.
///
/// # Errors
/// It is not there, no regular file, or the disk fails.
pub(crate) fn open(file: &Path) -> io::Result<File> {
    regular::open(File::options().read(true), file)
}

impl Store {
    /// Takes the folder, if one is configured, and what is left there. A folder that cannot be had is one that fails: the
    /// origin serves from memory, and says so.
    pub(crate) fn open(
        config: &config::OriginDisk,
        metrics: &DiskMetrics,
        keeping: Option<Keeping>,
    ) -> (Self, Vec<Recovered>) {
        let Some(root) = &config.path else {
            return (Self { disk: None, given: Mutex::default(), keeping: None }, Vec::new());
        };
        let (lives, given) = recover::recover(root, keeping.as_ref(), metrics).unwrap_or_else(|error| {
            let path = root.display();
            tracing::error!(%error, %path, "origin.disk.path cannot be read; streams begin anew, in memory until it can be written");
            metrics.failing.set(1);
            (Vec::new(), HashMap::new())
        });
        let (queue, jobs) = Queue::new(config, metrics.clone());
        let writer = Writer::new(metrics.clone(), config.retry, root.clone());
        let thread = std::thread::Builder::new().name("disk".to_owned()).spawn(move || writer.run(&jobs));
        if let Err(error) = thread {
            tracing::error!(%error, "no thread to write to the disk; windows live in memory");
            metrics.failing.set(1);
        }
        let given = given.into_iter().map(|(name, given)| (name, Arc::new(Mutex::new(given)))).collect();
        (Self { disk: Some((root.clone(), queue)), given: Mutex::new(given), keeping }, lives)
    }

    /// A stream of this name begins now.
    pub(crate) fn begin(&self, name: &str) -> Life {
        let given = self.given(name);
        let started = {
            let mut given = given.lock();
            given.started = (unix_ms().max(0) as u64).max(given.started + 1);
            given.started
        };
        let disk = self.disk.as_ref().map(|(root, queue)| (root.join(name).join(started.to_string()), queue.clone()));
        Life::new(disk, given, self.keep(Id { started, stream: name.to_owned() }))
    }

    /// A stream that was on the disk goes on.
    pub(crate) fn resume(&self, recovered: &Recovered) -> Life {
        let disk = self.disk.as_ref().map(|(_, queue)| (recovered.folder.clone(), queue.clone()));
        let started = recovered.folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let kept = Id::parse(&recovered.name, started).and_then(|id| self.keep(id));
        Life::new(disk, self.given(&recovered.name), kept).resumed()
    }

    fn keep(&self, id: Id) -> Option<Kept> {
        self.keeping.as_ref().map(|keeping| Kept::new(keeping, id))
    }

    /// Returns once everything is written that was to be, or `patience` is over.
    pub(crate) async fn flush(&self, patience: Duration) {
        let Some((_, queue)) = &self.disk else { return };
        let (done, written) = oneshot::channel();
        let is_told = queue.flush(done);
        if !is_told || tokio::time::timeout(patience, written).await.is_err() {
            tracing::warn!("the disk is slow; what it has not taken is lost");
        }
    }

    fn given(&self, name: &str) -> Arc<Mutex<Given>> {
        let mut all = self.given.lock();
        if all.len() >= NAMES_MAX && !all.contains_key(name) {
            let idle = all.iter().filter(|(_, given)| Arc::strong_count(given) == 1);
            let oldest = idle.min_by_key(|(_, given)| given.lock().started).map(|(name, _)| name.clone());
            oldest.and_then(|name| all.remove(&name));
        }
        all.entry(name.to_owned()).or_default().clone()
    }
}

#[cfg(test)]
pub(crate) use record::Segment as SegmentRecord;
#[cfg(test)]
mod tests;
