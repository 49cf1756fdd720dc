//! What is read from disk: in chunks, on threads that may wait, so many at once.

use super::refusal::Refusal;
use crate::store::{self, DiskMetrics};
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use std::io::{self, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Who may read, and for how long.
#[derive(Clone)]
pub(super) struct Disk {
    places: Arc<Semaphore>,
    /// Answers that have a file open.
    files: Arc<Semaphore>,
    patience: Duration,
    metrics: DiskMetrics,
}

/// A file that is open, from `start` on.
pub(super) struct Stored {
    disk: Disk,
    file: File,
    start: u64,
    /// It stands where the next chunk begins.
    is_there: bool,
    _open: OwnedSemaphorePermit,
}

/// Read at once for one answer.
const CHUNK: usize = 128 << 10;

impl Disk {
    pub(super) fn new(config: &config::OriginDisk, metrics: DiskMetrics) -> Self {
        let places = Arc::new(Semaphore::new(config.reads_max));
        let files = Arc::new(Semaphore::new(config.files_max));
        Self { places, files, patience: config.read_timeout, metrics }
    }

    pub(super) async fn open(&self, file: &Path, start: u64) -> Result<Stored, Refusal> {
        let opened = self.open_whole(file).await;
        self.metrics.read(match &opened {
            Ok(_) => "found",
            Err(Refusal::NoSuchObject) => "missing",
            Err(Refusal::DiskLate) => "late",
            Err(Refusal::TooManyFiles) => "crowded",
            Err(_) => "failed",
        });
        opened.map(|(stored, _)| Stored { start, ..stored })
    }

    /// A file of which nothing else is known, and its length.
    pub(super) async fn open_whole(&self, file: &Path) -> Result<(Stored, u64), Refusal> {
        let open = Arc::clone(&self.files).try_acquire_owned().map_err(|_| Refusal::TooManyFiles)?;
        let path = file.to_owned();
        let opening = spawn_blocking(move || {
            let file = store::open(&path)?;
            let length = file.metadata()?.len();
            Ok((file, length))
        });
        let (file, length) = self.read(async { opening.await? }).await?;
        let file = File::from_std(file);
        Ok((Stored { disk: self.clone(), file, start: 0, is_there: false, _open: open }, length))
    }

    /// Waits for a place and for the disk, no longer than it may take.
    async fn read<T>(&self, read: impl Future<Output = io::Result<T>>) -> Result<T, Refusal> {
        let placed = async {
            let _place = self.places.acquire().await;
            read.await
        };
        match timeout(self.patience, placed).await {
            Ok(Ok(read)) => Ok(read),
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Err(Refusal::NoSuchObject),
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot read a segment from disk");
                Err(Refusal::DiskFailed)
            }
            Err(_) => Err(Refusal::DiskLate),
        }
    }
}

impl Stored {
    /// A range, counted from where it was opened. What is not there breaks the answer off.
    pub(super) fn body(self, range: Range<u64>) -> Body {
        let (at, end) = (self.start + range.start, self.start + range.end);
        Body::from_stream(stream::try_unfold((self, at), move |(mut stored, at): (Self, u64)| async move {
            let chunk = stored.chunk(at, end).await?;
            let next = at + chunk.len() as u64;
            Ok::<_, Refusal>((!chunk.is_empty()).then_some((chunk, (stored, next))))
        }))
    }

    async fn chunk(&mut self, at: u64, end: u64) -> Result<Bytes, Refusal> {
        let length = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
        if length == 0 {
            return Ok(Bytes::new());
        }
        let (file, is_there) = (&mut self.file, std::mem::replace(&mut self.is_there, true));
        let read = async {
            if !is_there {
                file.seek(SeekFrom::Start(at)).await?;
            }
            let mut chunk = BytesMut::zeroed(length);
            file.read_exact(&mut chunk).await?;
            Ok(chunk.freeze())
        };
        self.disk.read(read).await.inspect_err(|_| self.disk.metrics.read("failed"))
    }
}
