//! Everything that no followed playlist names: weighed by bytes, each entry for as long as there is any use for it.

use super::purge::{PIECE, Purge};
use crate::object::Object;
use moka::Expiry;
use moka::future::Cache as Moka;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An evicting cache of whole objects, by key: fresh ones, stale ones that may still be shown or confirmed, and for an
/// instant what upstream does not have.
#[derive(Clone)]
pub struct Cache {
    entries: Moka<Arc<str>, Arc<Object>>,
}

impl Cache {
    pub fn new(bytes_max: u64) -> Self {
        let weigh = |key: &Arc<str>, object: &Arc<Object>| {
            u32::try_from(object.weight() + key.len() as u64 + ENTRY_BYTES).unwrap_or(u32::MAX)
        };
        Self { entries: Moka::builder().max_capacity(bytes_max).weigher(weigh).expire_after(Lifetime).build() }
    }

    pub async fn get(&self, key: &str) -> Option<Arc<Object>> {
        self.entries.get(key).await
    }

    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Keeps an object for as long as there is a use for it; if there is none, what the key had goes.
    pub async fn keep(&self, key: &Arc<str>, object: Arc<Object>) {
        if object.head.lease.is_ok() {
            self.entries.insert(key.clone(), object).await;
        } else {
            self.entries.invalidate(key).await;
        }
    }

    /// Takes out what is meant, or makes it stale. Returns how many objects that were.
    pub async fn purge(&self, purge: &Purge, now: Instant) -> usize {
        let mut purged = 0;
        for key in purge.keys() {
            if let Some(object) = self.entries.get(key).await {
                purged += 1;
                self.take_out(key, &object, purge.soft, now).await;
            }
        }
        if purge.needs_a_look_at_all() {
            for (index, (key, object)) in self.entries.iter().enumerate() {
                // Pieces go with the object that they are of, and are as stale as it is.
                let piece = key.contains(PIECE);
                if purge.takes(&key, &object.head.tags) && !(piece && purge.soft) {
                    purged += usize::from(!piece);
                    self.take_out(&key, &object, purge.soft, now).await;
                }
                if index % LOOKS_AT_ONCE == 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
        purged
    }

    async fn take_out(&self, key: &str, object: &Object, soft: bool, now: Instant) {
        if soft {
            self.entries.insert(key.into(), Arc::new(object.expired(now))).await;
        } else {
            self.entries.invalidate(key).await;
            self.remove_pieces(key, object).await;
        }
    }

    /// Drops the pieces of an object, if it is kept in pieces.
    pub async fn remove_pieces(&self, key: &str, object: &Object) {
        let Some(layout) = &object.layout else { return };
        for index in 0..layout.count().min(PIECES_REMOVED_MAX) {
            self.entries.invalidate(layout.key(key, index).as_str()).await;
        }
    }

    pub async fn remove(&self, key: &str) {
        self.entries.invalidate(key).await;
    }

    /// Bytes held, after what is due has been done.
    pub async fn bytes(&self) -> u64 {
        self.entries.run_pending_tasks().await;
        self.entries.weighted_size()
    }
}

/// What an entry costs besides key and object, roughly: the cache's own nodes.
const ENTRY_BYTES: u64 = 200;

/// Entries that a purge looks at before viewers have their turn.
const LOOKS_AT_ONCE: usize = 256;

/// Nobody finds a piece without its object, so the rest of a longer one only takes room, until it is evicted.
const PIECES_REMOVED_MAX: u64 = 16_384;

struct Lifetime;

impl Expiry<Arc<str>, Arc<Object>> for Lifetime {
    fn expire_after_create(&self, _: &Arc<str>, object: &Arc<Object>, now: Instant) -> Option<Duration> {
        Some(object.stale.kept_until.saturating_duration_since(now))
    }

    fn expire_after_update(
        &self,
        key: &Arc<str>,
        object: &Arc<Object>,
        now: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.expire_after_create(key, object, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Class;
    use crate::object::Head;
    use crate::store::freshness::{Lease, Unstored};
    use bytes::Bytes;

    fn object(bytes: usize, lease: Result<Lease, Unstored>, arrived: Instant) -> Arc<Object> {
        let mut head = Head::own(Class::Other, arrived, Duration::ZERO, &[]);
        head.lease = lease;
        Arc::new(Object::new(Arc::new(head), vec![Bytes::from(vec![0; bytes])], arrived))
    }

    #[tokio::test]
    async fn entries_stay_as_long_as_there_is_a_use_for_them() {
        let (cache, now) = (Cache::new(1 << 20), Instant::now());
        let minute = Duration::from_secs(60);
        let keep = async |key: &str, lease| cache.keep(&key.into(), object(10, lease, now - minute)).await;
        keep("fresh", Ok(Lease::fresh(2 * minute))).await;
        keep("due", Ok(Lease::fresh(minute))).await;
        keep("stale", Ok(Lease { if_error: minute, ..Lease::fresh(minute) })).await;
        keep("never", Err(Unstored::NoStore)).await;
        keep("replaced", Ok(Lease::fresh(2 * minute))).await;
        keep("replaced", Err(Unstored::NoStore)).await;
        for (key, held) in [("fresh", true), ("due", false), ("stale", true), ("never", false), ("replaced", false)] {
            assert_eq!(cache.get(key).await.is_some(), held, "{key}");
        }
        keep("due", Ok(Lease::fresh(2 * minute))).await;
        assert!(cache.get("due").await.is_some(), "a newer answer brings its own lifetime");
    }

    #[tokio::test]
    async fn bytes_are_bounded() {
        let cache = Cache::new(10_000);
        for number in 0..100 {
            let minute = Ok(Lease::fresh(Duration::from_secs(60)));
            cache.keep(&format!("{number}").into(), object(1000, minute, Instant::now())).await;
        }
        let held = cache.bytes().await;
        assert!((1000..=10_000).contains(&held), "{held}");
    }
}
