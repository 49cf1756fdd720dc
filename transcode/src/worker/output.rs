//! The one way out of the worker: messages from all threads, each written whole and at once.

use super::WorkError;
use crate::wire::{self, FromWorker, Repair};
use bytes::BytesMut;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

#[derive(Clone)]
pub(super) struct Output(Arc<Inner>);

struct Inner {
    pipe: Mutex<Pipe>,
    said: AtomicU64,
}

struct Pipe {
    file: File,
    buffer: BytesMut,
}

impl Output {
    /// Rust's own standard output looks for line ends in every byte; this one does not.
    pub(super) fn stdout() -> std::io::Result<Self> {
        let file = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
        Ok(Self::to(file))
    }

    pub(super) fn to(file: File) -> Self {
        let pipe = Mutex::new(Pipe { file, buffer: BytesMut::new() });
        Self(Arc::new(Inner { pipe, said: AtomicU64::new(0) }))
    }

    /// How many messages have gone out.
    pub(super) fn said(&self) -> u64 {
        self.0.said.load(Ordering::Relaxed)
    }

    pub(super) fn send(&self, message: &FromWorker) -> Result<(), WorkError> {
        // A thread that panicked while writing left half a message: the pipe is of no more use.
        let mut pipe = self.0.pipe.lock().map_err(|_| WorkError::Panicked)?;
        let Pipe { file, buffer } = &mut *pipe;
        buffer.clear();
        wire::encode(message, buffer)?;
        file.write_all(buffer).map_err(|_| WorkError::OriginGone)?;
        self.0.said.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn repaired(&self, repair: Repair, count: u32) -> Result<(), WorkError> {
        self.send(&FromWorker::Repaired { repair, count })
    }
}
