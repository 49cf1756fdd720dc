//! What upstream lately gave to its requester alone: who asks for that again does not wait for another's answer.

use crate::metrics::{Bound, Metrics};
use moka::notification::RemovalCause;
use moka::sync::Cache;
use std::sync::Arc;
use std::time::Duration;

/// Keys that are not worth waiting for.
pub(super) struct ForOne(Cache<Arc<str>, ()>);

/// Of one that is forgotten, one answer is waited for again.
const KEYS_MAX: u64 = 4096;
/// Then one asks for all again, in case upstream shares it by now.
const NOTED: Duration = Duration::from_secs(60);

impl ForOne {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        let evicted = move |_, (), cause| {
            if cause == RemovalCause::Size {
                metrics.bit(Bound::ForOne);
            }
        };
        Self(Cache::builder().max_capacity(KEYS_MAX).time_to_live(NOTED).eviction_listener(evicted).build())
    }

    pub(super) fn note(&self, key: &Arc<str>) {
        self.0.insert(key.clone(), ());
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    pub(super) fn forget(&self, key: &str) {
        if self.has(key) {
            self.0.invalidate(key);
        }
    }
}
