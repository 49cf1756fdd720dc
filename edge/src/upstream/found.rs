//! Which upstream has what the first choice for it does not: recordings of origins that keep their own.

use super::PeerId;
use crate::metrics::{Bound, Metrics};
use moka::notification::RemovalCause;
use moka::sync::Cache;
use std::sync::Arc;
use std::time::Duration;

/// By the keys of streams. Of one that is forgotten, the media that its playlists name are not found any more.
pub(super) struct Found(Cache<Arc<str>, PeerId>);

const KEYS_MAX: u64 = 16_384;
/// Playlists may be kept as long, and name what is asked for then.
const IDLE: Duration = Duration::from_secs(86_400);

impl Found {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        let evicted = move |_, _, cause| {
            if cause == RemovalCause::Size {
                metrics.bit(Bound::Found);
            }
        };
        Self(Cache::builder().max_capacity(KEYS_MAX).time_to_idle(IDLE).eviction_listener(evicted).build())
    }

    pub(super) fn note(&self, key: &str, peer: PeerId) {
        self.0.insert(key.into(), peer);
    }

    pub(super) fn get(&self, key: &str) -> Option<PeerId> {
        self.0.get(key)
    }
}
