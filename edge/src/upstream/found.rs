//! Which upstream has which recording, as each origin keeps its own, and how often that may be looked for.

use super::{Answer, Errand, PeerId, Upstreams, is_missing};
use crate::access::bucket::{Bucket, Pace};
use crate::metrics::{Bound, Metrics, Second};
use crate::refusal::Refusal;
use crate::store::freshness::is_failure;
use http::StatusCode;
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use parking_lot::Mutex;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) struct Found {
    /// By recording. Only what exists is remembered, so nothing made up takes its place.
    homes: Cache<Arc<str>, PeerId>,
    looks: Option<Looks>,
}

/// The budget of looks. Who asks for a name that was refused one has the part of it that new names leave: viewers ask
/// again, and whoever makes names up has spent them.
struct Looks {
    new: Pace,
    again: Pace,
    bucket: Mutex<Bucket>,
    started: Instant,
    /// By the hashes of paths: made-up names are long, and the one of two that are taken for the same is asked for twice.
    refused: Cache<u64, ()>,
    hasher: RandomState,
}

/// Of each kind of name.
const KEYS_MAX: u64 = 16_384;
/// Playlists may be kept as long, and name what is asked for then.
const IDLE: Duration = Duration::from_secs(86_400);
/// Whoever was refused and means it asks again within this.
const AGAIN: Duration = Duration::from_secs(30);

impl Found {
    pub(super) fn new(looks_per_s: u32, metrics: Arc<Metrics>) -> Self {
        let counted = metrics.clone();
        let evicted = move |_, _, cause| {
            if cause == RemovalCause::Size {
                counted.bit(Bound::Found);
            }
        };
        Self {
            homes: Cache::builder().max_capacity(KEYS_MAX).time_to_idle(IDLE).eviction_listener(evicted).build(),
            looks: (looks_per_s > 0).then(|| Looks::new(looks_per_s, metrics)),
        }
    }
}

impl Looks {
    fn new(per_s: u32, metrics: Arc<Metrics>) -> Self {
        let evicted = move |_, (), cause| {
            if cause == RemovalCause::Size {
                metrics.bit(Bound::Found);
            }
        };
        // The newest stay: of others a flood would keep the first alone.
        let refused = Cache::builder().max_capacity(KEYS_MAX).eviction_policy(EvictionPolicy::lru());
        Self {
            new: Pace::new(per_s, per_s),
            again: Pace::new(per_s, per_s.saturating_mul(2)),
            bucket: Mutex::default(),
            started: Instant::now(),
            refused: refused.time_to_live(AGAIN).eviction_listener(evicted).build(),
            hasher: RandomState::new(),
        }
    }

    /// Whether one more upstream may be asked for what lies at `path`; then it is paid for.
    fn take(&self, path: &str) -> bool {
        let name = self.hasher.hash_one(path);
        let was_refused = self.refused.contains_key(&name);
        let pace = if was_refused { self.again } else { self.new };
        let may = self.bucket.lock().take(pace, self.started.elapsed());
        match (may, was_refused) {
            (false, _) => self.refused.insert(name, ()),
            (true, true) => self.refused.invalidate(&name),
            (true, false) => {}
        }
        may
    }
}

impl Upstreams {
    /// Asks for what lies in a recording: where that was found, or else its first choice and then the others. That nobody
    /// has it is said only once all have said so.
    ///
    /// # Errors
    /// As [`Self::get`], and `LooksFull` at the bound.
    pub(super) async fn seek(self: &Arc<Self>, recording: &str, errand: &Errand<'_>) -> Result<Answer, Refusal> {
        let Found { homes, looks } = &self.found;
        let home = homes.get(recording);
        let path = errand.target.split('?').next().unwrap_or_default();
        let mut order = self.order(errand.target, home).into_iter().peekable();
        let (mut missing, mut failed) = (None, None);
        while let Some(id) = order.next() {
            let got = self.ask(id, errand).await;
            let status = got.as_ref().map(|answer| answer.status).map_err(|refusal| *refusal);
            let has_failed = match status {
                Ok(status) if is_missing(status) && (looks.is_none() || home == Some(id)) => return got,
                Ok(status) if is_missing(status) => false,
                Err(Refusal::Malformed) => return got,
                Ok(status) => is_failure(status),
                Err(_) => true,
            };
            if !has_failed && !status.is_ok_and(is_missing) {
                if status.is_ok_and(|status| status.is_success()) && home != Some(id) {
                    homes.insert(recording.into(), id);
                }
                return got;
            }
            let outcome = if has_failed { &mut failed } else { &mut missing };
            outcome.get_or_insert(got);
            if order.peek().is_none() {
                break;
            }
            // Who may not look either says 503. Names that are made up must not cost what failures need.
            if has_failed && status != Ok(StatusCode::SERVICE_UNAVAILABLE) {
                if !self.may_ask(Second::Failed) {
                    break;
                }
            } else if looks.as_ref().is_none_or(|looks| looks.take(path)) {
                self.metrics.peers.asked_second(Second::Missing);
            } else {
                self.metrics.bit(Bound::Looks);
                return failed.unwrap_or(Err(Refusal::LooksFull));
            }
        }
        failed.or(missing).unwrap_or(Err(Refusal::UpstreamUnreachable))
    }
}
