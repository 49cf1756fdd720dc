//! The memory that all windows share.

use prometheus::IntCounter;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How much media all windows hold, and how much they may.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    held: Arc<AtomicUsize>,
    bytes_max: usize,
    /// Segments that left a window early.
    pub(super) shortened: IntCounter,
}

impl Memory {
    pub(crate) fn new(bytes_max: usize, shortened: IntCounter) -> Self {
        Self { held: Arc::default(), bytes_max, shortened }
    }

    /// For windows that nobody plays, and that are not shortened.
    pub(crate) fn apart(&self) -> Self {
        Self { held: Arc::default(), bytes_max: usize::MAX, shortened: self.shortened.clone() }
    }

    pub(super) fn is_over(&self) -> bool {
        self.held.load(Ordering::Relaxed) > self.bytes_max
    }

    pub(super) fn hold(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn free(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}
