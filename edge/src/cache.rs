//! Everything that no followed playlist names: weighed by bytes, each entry with the lifetime that upstream gave it.

use crate::object::Object;
use moka::Expiry;
use moka::future::Cache as Moka;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An evicting cache of whole objects, by key. It may also hold what upstream does not have, for an instant.
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

    /// The object, if it is there and fresh at `now`.
    pub async fn get(&self, key: &str, now: Instant) -> Option<Arc<Object>> {
        self.entries.get(key).await.filter(|object| object.is_fresh(now))
    }

    /// Keeps an object for its own lifetime; one without is not kept.
    pub async fn keep(&self, key: Arc<str>, object: Arc<Object>) {
        if object.head.lifetime.is_some() {
            self.entries.insert(key, object).await;
        }
    }

    /// Bytes held, after what is due has been done.
    pub async fn bytes(&self) -> u64 {
        self.entries.run_pending_tasks().await;
        self.entries.weighted_size()
    }
}

/// What an entry costs besides key and object, roughly: the cache's own nodes.
const ENTRY_BYTES: u64 = 200;

struct Lifetime;

impl Expiry<Arc<str>, Arc<Object>> for Lifetime {
    fn expire_after_create(&self, _: &Arc<str>, object: &Arc<Object>, now: Instant) -> Option<Duration> {
        Some(object.fresh_until.saturating_duration_since(now))
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
    use bytes::Bytes;

    fn object(bytes: usize, lifetime: Option<Duration>) -> Arc<Object> {
        let now = Instant::now();
        let mut head = Head::own(Class::Other, now, Duration::ZERO, &[]);
        head.lifetime = lifetime;
        Arc::new(Object::new(Arc::new(head), vec![Bytes::from(vec![0; bytes])], now))
    }

    #[tokio::test]
    async fn entries_live_as_long_as_upstream_said() {
        let cache = Cache::new(1 << 20);
        let minute = Duration::from_secs(60);
        cache.keep("a".into(), object(10, Some(minute))).await;
        cache.keep("b".into(), object(10, None)).await;
        let now = Instant::now();
        assert!(cache.get("a", now).await.is_some());
        assert!(cache.get("a", now + minute).await.is_none());
        assert!(cache.get("b", now).await.is_none());
        cache.keep("a".into(), object(10, Some(2 * minute))).await;
        assert!(cache.get("a", now + minute).await.is_some(), "a newer answer brings its own lifetime");
    }

    #[tokio::test]
    async fn bytes_are_bounded() {
        let cache = Cache::new(10_000);
        for number in 0..100 {
            cache.keep(format!("{number}").into(), object(1000, Some(Duration::from_secs(60)))).await;
        }
        let held = cache.bytes().await;
        assert!((1000..=10_000).contains(&held), "{held}");
    }
}
