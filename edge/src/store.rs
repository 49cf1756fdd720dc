//! Where objects are found: the live window, the cache, a fill that is under way, or a new one. One fill per object.

use crate::dash::Dash;
use crate::fill::{Fill, Filler, Place};
use crate::key::Class;
use crate::live::{Kept, Known, Live};
use crate::metrics::{Bound, Lookup, Metrics};
use crate::moment::Moment;
use crate::object::Object;
use crate::refusal::Refusal;
use crate::upstream::{Passed, PeerId, Promise, Upstreams};
use cache::Cache;
use disk::{Disk, TakenOut};
use for_one::ForOne;
use http::StatusCode;
use job::Job;
use parking_lot::Mutex;
use pieces::Cut;
use purge::Purge;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub mod cache;
pub mod disk;
mod for_one;
pub mod freshness;
mod job;
pub mod layout;
pub mod pieces;
pub mod purge;

/// All objects of this node, and the way to get more.
pub struct Store {
    pub live: Live,
    pub dash: Dash,
    pub metrics: Arc<Metrics>,
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
    pub upstreams: Arc<Upstreams>,
    pub rules: config::Cache,
    cache: Cache,
    /// `None` where nothing is kept on disk.
    pub disk: Option<Arc<Disk>>,
    fills: Mutex<Fills>,
    for_one: ForOne,
    object_bytes_max: u64,
    slices: config::Slices,
    /// The name of the next version of an object that is kept in pieces.
    versions: AtomicU64,
}

/// An object, or what will be one.
#[derive(Clone, Debug)]
pub enum Found {
    Whole(Arc<Object>),
    Growing(Arc<Fill>, Place),
}

/// What is stored under a key.
enum Stored {
    Fresh(Arc<Object>),
    Stale(Arc<Object>),
}

/// The fills under way.
#[derive(Default)]
struct Fills {
    by_key: HashMap<Arc<str>, Arc<Fill>>,
    /// Those for one requester, which nobody joins.
    alone: usize,
}

/// What to fetch, and under which key it is kept.
#[derive(Debug)]
pub struct Wanted<'a> {
    pub key: &'a str,
    /// The request target upstream.
    pub url: &'a str,
    pub class: Class,
    pub passed: &'a Passed,
    /// What a followed playlist says of it.
    pub promise: Option<Promise>,
}

/// What happens to a whole object before its readers learn that it is whole.
pub enum After {
    /// Keep it where it belongs.
    Keep,
    /// Hand it to whoever started the fill.
    Offer(Offer),
    /// Forget it: what is asked for is the moment.
    Pass,
}

/// Somebody who may want an object for something better than the cache.
pub struct Offer {
    /// Whether an object of this name has been taken already: then none is fetched.
    pub taken: Box<dyn Fn() -> bool + Send + Sync>,
    /// Takes the object that came from there, or says for how long the cache may have it.
    pub take: Box<Take>,
}

pub type Take = dyn FnOnce(&Object, PeerId) -> Offered + Send;

/// What the one that started a fill did with its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    Taken,
    /// The cache may have it, for as long as upstream said or less.
    Cache {
        at_most: Option<Duration>,
    },
}

/// Fills under way at once; each holds a connection or a stream upstream. A herd on many names meets this, a live
/// audience never does.
const FILLS_MAX: usize = 4096;

impl Store {
    pub fn new(config: &config::Edge, upstreams: Arc<Upstreams>, metrics: Arc<Metrics>) -> Self {
        Self {
            live: Live::new(config.live_bytes_max),
            dash: Dash::new(
                (config.subscriptions_max, config.subscriptions_per_path_max),
                config.subscription_idle,
                Instant::now(),
            ),
            cache: Cache::new(config.cache_bytes_max),
            disk: Disk::new(config, metrics.clone()),
            rules: config.cache,
            fills: Mutex::default(),
            for_one: ForOne::new(metrics.clone()),
            object_bytes_max: config.object_bytes_max,
            slices: config.slices,
            versions: AtomicU64::new(Moment::now().unique()),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            upstreams,
            metrics,
        }
    }

    /// What is known of a key that is live.
    pub fn known(&self, key: &str) -> Option<Known> {
        self.live.get(key).or_else(|| self.dash.look(key, Instant::now()))
    }

    /// Whether it is kept whatever upstream says of keeping it.
    fn is_live(&self, key: &str) -> bool {
        self.live.get(key).is_some() || self.dash.window(key, Instant::now()).is_some()
    }

    /// Finds the object, joins its fill, or starts one. What is stale is shown at once where that is allowed, and asked
    /// for anew for those who come later.
    ///
    /// # Errors
    /// `FillsFull` at the bound, `Draining` when this node stops.
    pub async fn get(self: &Arc<Self>, wanted: &Wanted<'_>, after: After) -> Result<(Found, Lookup), Refusal> {
        let stored = if matches!(after, After::Pass) { None } else { self.stored(wanted.key).await };
        match stored {
            Some(Stored::Fresh(object)) => Ok((Found::Whole(object), Lookup::Hit)),
            Some(Stored::Stale(object)) => Box::pin(self.renew(wanted, after, object)).await,
            // Nobody waits for what will be another's.
            None if self.for_one.has(wanted.key) => {
                Ok((Found::Growing(self.get_alone(wanted)?, Place::First), Lookup::Miss))
            }
            None => Box::pin(self.fetch(wanted, after, Start::New)).await,
        }
    }

    /// The same for a piece of an object. It is as fresh as what is known of the whole.
    async fn get_cut(self: &Arc<Self>, wanted: &Wanted<'_>, cut: Cut) -> Result<(Found, Lookup), Refusal> {
        match self.stored(wanted.key).await {
            Some(Stored::Fresh(object) | Stored::Stale(object)) => Ok((Found::Whole(object), Lookup::Hit)),
            None => self.fetch(wanted, After::Keep, Start::Cut(Box::new(cut))).await,
        }
    }

    /// Asks for one requester, whose answer nobody else may see.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn get_alone(self: &Arc<Self>, wanted: &Wanted<'_>) -> Result<Arc<Fill>, Refusal> {
        let mut fills = self.fills.lock();
        if fills.by_key.len() + fills.alone >= FILLS_MAX {
            return Err(self.full());
        }
        fills.alone += 1;
        drop(fills);
        let (fill, filler) = Fill::start();
        self.spawn(Job::new(self, wanted, fill.clone(), true), filler, After::Keep)?;
        Ok(fill)
    }

    /// Starts a fill for an object that viewers are about to ask for, unless it is there or under way.
    pub async fn prefetch(self: &Arc<Self>, wanted: &Wanted<'_>) {
        // A bound that bites has been counted, and the viewer who asks will be told.
        let _ = self.get(wanted, After::Keep).await;
    }

    /// Takes out what is meant, wherever it is; what is being fetched is not kept. Returns how many objects that were,
    /// once they are gone from the disk too.
    ///
    /// # Errors
    /// `PurgePending` if there may be more of it on disk; the rest is done.
    pub async fn purge(&self, purge: &Arc<Purge>) -> Result<usize, Refusal> {
        let (purged, on_disk) = self.take_out(purge).await;
        match (&self.disk, on_disk) {
            (Some(disk), Some(on_disk)) => Ok(purged + disk.deleted(on_disk).await?),
            _ => Ok(purged),
        }
    }

    /// The same, but what lies on disk may not be deleted yet; nobody finds it there any more.
    async fn take_out(&self, purge: &Arc<Purge>) -> (usize, Option<TakenOut>) {
        // Fills first: one that is not marked yet when it ends has kept its object by now, where the looks below find it.
        self.mark(purge);
        let on_disk = match &self.disk {
            Some(disk) => {
                let taken_out = disk.take_out(purge, &self.cache).await;
                // Those that began meanwhile with a file that is gone now.
                self.mark(purge);
                Some(taken_out)
            }
            None => None,
        };
        // What is live is new by itself, and soon gone.
        if !purge.soft {
            self.dash.forget(|key| purge.takes_key(key));
        }
        let live =
            if purge.soft { 0 } else { self.live.drop_objects(|key, object| purge.takes(key, &object.head.tags)) };
        let in_memory = self.cache.purge(purge, Instant::now()).await;
        (live + in_memory, on_disk)
    }

    fn mark(&self, purge: &Arc<Purge>) {
        self.fills.lock().by_key.retain(|key, fill| !fill.purge(key, purge));
    }

    /// Drops what is due and tells how much is held.
    pub async fn sweep(&self) {
        self.dash.sweep(Instant::now());
        self.metrics.live_bytes.set(gauge(self.live.sweep(Instant::now())));
        self.metrics.cache_bytes.set(gauge(self.cache.bytes().await));
    }

    async fn stored(&self, key: &str) -> Option<Stored> {
        if let Some(Known::Object(object)) = self.live.get(key) {
            return Some(Stored::Fresh(object));
        }
        let object = self.cache.get(key).await?;
        Some(if object.is_fresh(Instant::now()) { Stored::Fresh(object) } else { Stored::Stale(object) })
    }

    async fn renew(
        self: &Arc<Self>,
        wanted: &Wanted<'_>,
        after: After,
        stale: Arc<Object>,
    ) -> Result<(Found, Lookup), Refusal> {
        let now = Instant::now();
        if now >= stale.stale.revalidating_until {
            return self.fetch(wanted, after, Start::Renewal(stale)).await;
        }
        if now >= stale.stale.ask_from {
            // One at a time, and none of it is this viewer's concern: a bound that bites has been counted.
            let _ = self.fetch(wanted, after, Start::Renewal(stale.clone())).await;
        }
        Ok((Found::Whole(stale), Lookup::Stale))
    }

    async fn fetch(
        self: &Arc<Self>,
        wanted: &Wanted<'_>,
        after: After,
        start: Start,
    ) -> Result<(Found, Lookup), Refusal> {
        let (mut job, filler) = match self.begin(wanted)? {
            Begun::Joined(fill) => return Ok((Found::Growing(fill, Place::Joined), Lookup::Collapsed)),
            Begun::Started(job, filler) => (job, filler),
        };
        // A fill may have ended between the look and the lock; then its object is stored.
        if !matches!(after, After::Pass)
            && let Some(Stored::Fresh(object)) = self.stored(wanted.key).await
        {
            job.leave();
            filler.finish(object.clone());
            return Ok((Found::Whole(object), Lookup::Hit));
        }
        // Or it was taken. Without this look a second viewer who was late by that instant would fetch it once more.
        if let After::Offer(offer) = &after
            && (offer.taken)()
        {
            job.leave();
            return Ok((Found::Growing(filler.fill(), Place::Joined), Lookup::Collapsed));
        }
        let lookup = match &start {
            Start::Renewal(_) => Lookup::Expired,
            _ if self.disk.as_ref().is_some_and(|disk| disk.has(wanted.key)) => Lookup::Disk,
            _ => Lookup::Miss,
        };
        job.start = start;
        let fill = filler.fill();
        self.spawn(job, filler, after)?;
        Ok((Found::Growing(fill, Place::First), lookup))
    }

    /// Joins the fill that is under way, or lists a new one. The job takes it off the list again even if the viewer who
    /// began it leaves before it runs.
    fn begin(self: &Arc<Self>, wanted: &Wanted<'_>) -> Result<Begun, Refusal> {
        let mut fills = self.fills.lock();
        let full = fills.by_key.len() + fills.alone >= FILLS_MAX;
        match fills.by_key.entry(wanted.key.into()) {
            Entry::Occupied(fill) => Ok(Begun::Joined(fill.get().clone())),
            Entry::Vacant(_) if full => Err(self.full()),
            Entry::Vacant(free) => {
                let (fill, filler) = Fill::start();
                free.insert(fill.clone());
                Ok(Begun::Started(Job::new(self, wanted, fill, false), filler))
            }
        }
    }

    fn full(&self) -> Refusal {
        self.metrics.bit(Bound::Fills);
        Refusal::FillsFull
    }

    fn spawn(&self, job: Job, filler: Filler, after: After) -> Result<(), Refusal> {
        if self.stop.is_cancelled() {
            drop(job);
            filler.refuse(Refusal::Draining);
            return Err(Refusal::Draining);
        }
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = job.run(filler, after) => {}
                () = stop.cancelled() => {}
            }
        });
        Ok(())
    }

    fn next_version(&self) -> u64 {
        self.versions.fetch_add(1, Ordering::Relaxed)
    }

    /// Drops a version of an object that is kept in pieces, but not a newer one.
    async fn forget_version(&self, key: &str, whole: &Object) {
        if self.cache.get(key).await.is_some_and(|known| known.layout == whole.layout) {
            self.cache.remove(key).await;
        }
        if let (Some(disk), Some(layout)) = (&self.disk, &whole.layout) {
            disk.forget_version(key, layout);
        }
        self.cache.remove_pieces(key, whole).await;
    }

    async fn forget_pieces(&self, key: &str, whole: &Object) {
        if let (Some(disk), Some(layout)) = (&self.disk, &whole.layout) {
            disk.forget_pieces(key, layout);
        }
        self.cache.remove_pieces(key, whole).await;
    }

    /// These names stand for other bytes from now on. What was fetched under them goes, and what is being fetched is not
    /// kept.
    pub async fn disown(&self, keys: &[Arc<str>]) {
        let purge = Arc::new(Purge::of(keys));
        self.mark(&purge);
        for key in keys {
            self.forget(key).await;
        }
    }

    async fn forget(&self, key: &Arc<str>) {
        self.live.drop_object(key);
        self.cache.remove(key).await;
        if let Some(disk) = &self.disk {
            disk.forget(key);
        }
    }

    /// As a live object, if a playlist names it or a live MPD's template stands for it.
    fn keep_live(&self, key: &Arc<str>, object: &Arc<Object>) -> Kept {
        match self.live.keep(key, object) {
            Kept::Unnamed => match self.dash.window(key, Instant::now()) {
                Some((named, until)) => self.live.pin(key, named, object, until),
                None => Kept::Unnamed,
            },
            kept => kept,
        }
    }

    /// Keeps what is live in the live window, and the rest in memory and, if it is `news`, on disk.
    async fn keep(&self, key: &Arc<str>, object: &Arc<Object>, news: bool) {
        if object.head.lease.is_ok() {
            self.for_one.forget(key);
        }
        if object.head.status == StatusCode::OK && !object.head.is_for_one() {
            match self.keep_live(key, object) {
                Kept::Yes => return,
                Kept::Full => self.metrics.bit(Bound::LiveBytes),
                Kept::Unnamed => {}
            }
        } else if object.head.status != StatusCode::OK && self.live.get(key).is_some() {
            // A playlist promises it: what is missing now, as a hinted part, may be there the next moment.
            return;
        }
        self.cache.keep(key, object.clone()).await;
        // What lies on disk under a key that has something newer is not to be found again.
        if let Some(disk) = self.disk.as_ref().filter(|_| news)
            && !disk.offer(key, object)
            && disk.has(key)
        {
            disk.forget(key);
        }
    }
}

/// Why a fill begins.
#[derive(Default)]
enum Start {
    #[default]
    New,
    /// What is stored is stale: upstream may confirm it, and it may stand in for an upstream that fails.
    Renewal(Arc<Object>),
    Cut(Box<Cut>),
}

/// What a request for an object that is not stored has come to.
enum Begun {
    Joined(Arc<Fill>),
    Started(Job, Filler),
}

fn gauge(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fill::Outcome;

    fn store() -> Arc<Store> {
        let text = "[edge]\nname = \"e\"\nlisten = \"127.0.0.1:0\"\n[edge.upstream]\nurl = \"http://127.0.0.1:1\"\n";
        let config = config::Config::parse(text, []).unwrap().edge.unwrap();
        let metrics = Arc::new(Metrics::new(&prometheus::Registry::new()).unwrap());
        let upstreams = Arc::new(Upstreams::new(&config, metrics.clone()).unwrap());
        Arc::new(Store::new(&config, upstreams, metrics))
    }

    #[test]
    fn a_viewer_that_leaves_before_its_fill_runs_leaves_nothing_behind() {
        let store = store();
        let wanted = Wanted { key: "/a", url: "/a", class: Class::Other, passed: &Passed::default(), promise: None };
        for _ in 0..2 {
            let begun = store.begin(&wanted).unwrap();
            assert!(matches!(begun, Begun::Started(..)), "the key is free again");
            assert!(matches!(store.begin(&wanted), Ok(Begun::Joined(_))));
        }
        assert!(store.fills.lock().by_key.is_empty());
    }

    #[test]
    fn fills_are_bounded() {
        let store = store();
        let begin = |key: &str| {
            store.begin(&Wanted { key, url: key, class: Class::Other, passed: &Passed::default(), promise: None })
        };
        let mut begun: Vec<_> = (0..FILLS_MAX).map(|at| begin(&format!("/{at}")).unwrap()).collect();
        assert!(matches!(begin("/0"), Ok(Begun::Joined(_))), "nobody is turned away from a fill that is under way");
        assert_eq!(begin("/more").err(), Some(Refusal::FillsFull));
        assert_eq!(store.metrics.bound_count(Bound::Fills), 1);
        begun.pop();
        assert!(matches!(begin("/more"), Ok(Begun::Started(..))));
    }

    #[tokio::test]
    async fn what_was_taken_between_look_and_lock_is_not_fetched_again() {
        let store = store();
        let wanted = Wanted { key: "/a", url: "/a", class: Class::Playlist, passed: &Passed::default(), promise: None };
        let offer = Offer { taken: Box::new(|| true), take: Box::new(|_, _| Offered::Taken) };
        let (found, _) = store.get(&wanted, After::Offer(offer)).await.unwrap();
        assert!(matches!(found, Found::Growing(fill, place) if matches!(fill.end(place).await, Outcome::Refused(_))));
        assert!(store.tasks.is_empty() && store.fills.lock().by_key.is_empty());
    }
}
