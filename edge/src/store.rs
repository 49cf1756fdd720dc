//! Where objects are found: the live window, the cache, a fill that is under way, or a new one. One fill per object.

use crate::cache::Cache;
use crate::fill::{Fill, Filler};
use crate::key::Class;
use crate::live::{Kept, Known, Live};
use crate::metrics::{Asked, Bound, FillEnd, Lookup, Metrics};
use crate::object::{Head, Object};
use crate::refusal::Refusal;
use crate::upstream::{Answer, Passed, Upstream};
use http::StatusCode;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// All objects of this node, and the way to get more.
pub struct Store {
    pub live: Live,
    pub metrics: Arc<Metrics>,
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
    pub upstream: Arc<Upstream>,
    cache: Cache,
    fills: Mutex<HashMap<Arc<str>, Arc<Fill>>>,
    object_bytes_max: u64,
}

/// An object, or what will be one.
#[derive(Clone, Debug)]
pub enum Found {
    Whole(Arc<Object>),
    Growing(Arc<Fill>),
}

/// What to fetch, and under which key it is kept.
#[derive(Debug)]
pub struct Wanted<'a> {
    pub key: &'a str,
    /// The request target upstream.
    pub url: &'a str,
    pub class: Class,
    pub passed: &'a Passed,
}

/// What happens to a whole object before its readers learn that it is whole.
pub enum After {
    /// Keep it where it belongs.
    Keep,
    /// Hand it to whoever started the fill; it says for how long the cache may have it.
    Offer(Box<dyn FnOnce(&Object) -> Offered + Send>),
}

/// What the one that started a fill did with its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    Taken,
    Cache { at_most: Duration },
}

/// Fills under way at once; each holds a connection or a stream upstream. A herd on many names meets this, a live
/// audience never does.
const FILLS_MAX: usize = 4096;
/// Longest body of an answer that is no 200.
const ERROR_BYTES_MAX: u64 = 64 << 10;

impl Store {
    pub fn new(config: &config::Edge, upstream: Arc<Upstream>, metrics: Arc<Metrics>) -> Self {
        Self {
            live: Live::new(config.live_bytes_max),
            cache: Cache::new(config.cache_bytes_max),
            fills: Mutex::default(),
            object_bytes_max: config.object_bytes_max,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            upstream,
            metrics,
        }
    }

    /// Finds a stored object.
    pub async fn stored(&self, key: &str) -> Option<Arc<Object>> {
        if let Some(Known::Object(object)) = self.live.get(key) {
            return Some(object);
        }
        self.cache.get(key, Instant::now()).await
    }

    /// Finds the object, joins its fill, or starts one.
    ///
    /// # Errors
    /// `FillsFull` at the bound, `Draining` when this node stops.
    pub async fn get(self: &Arc<Self>, wanted: &Wanted<'_>, after: After) -> Result<(Found, Lookup), Refusal> {
        if let Some(object) = self.stored(wanted.key).await {
            return Ok((Found::Whole(object), Lookup::Hit));
        }
        let (job, filler) = match self.begin(wanted)? {
            Begun::Joined(fill) => return Ok((Found::Growing(fill), Lookup::Collapsed)),
            Begun::Started(job, filler) => (job, filler),
        };
        // A fill may have ended between the look and the lock; then its object is stored.
        if let Some(object) = self.stored(wanted.key).await {
            job.leave();
            filler.finish(object.clone());
            return Ok((Found::Whole(object), Lookup::Hit));
        }
        let fill = filler.fill();
        self.spawn(job, filler, after)?;
        Ok((Found::Growing(fill), Lookup::Miss))
    }

    /// Starts a fill for an object that viewers are about to ask for, unless it is there or under way.
    pub async fn prefetch(self: &Arc<Self>, wanted: &Wanted<'_>) {
        // A bound that bites has been counted, and the viewer who asks will be told.
        let _ = self.get(wanted, After::Keep).await;
    }

    /// Drops what is due and tells how much is held.
    pub async fn sweep(&self) {
        self.metrics.live_bytes.set(gauge(self.live.sweep(Instant::now())));
        self.metrics.cache_bytes.set(gauge(self.cache.bytes().await));
    }

    /// Joins the fill that is under way, or lists a new one. The job takes it off the list again even if the viewer who
    /// began it leaves before it runs.
    fn begin(self: &Arc<Self>, wanted: &Wanted<'_>) -> Result<Begun, Refusal> {
        let mut fills = self.fills.lock();
        let room = fills.len() < FILLS_MAX;
        match fills.entry(wanted.key.into()) {
            Entry::Occupied(fill) => Ok(Begun::Joined(fill.get().clone())),
            Entry::Vacant(_) if !room => {
                self.metrics.bit(Bound::Fills);
                Err(Refusal::FillsFull)
            }
            Entry::Vacant(free) => {
                let (fill, filler) = Fill::start();
                free.insert(fill.clone());
                let job = Job {
                    store: self.clone(),
                    fill,
                    key: wanted.key.into(),
                    url: wanted.url.to_owned(),
                    class: wanted.class,
                    passed: wanted.passed.clone(),
                };
                Ok(Begun::Started(job, filler))
            }
        }
    }

    fn spawn(&self, job: Job, filler: Filler, after: After) -> Result<(), Refusal> {
        if self.stop.is_cancelled() {
            job.leave();
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

    async fn keep(&self, key: &Arc<str>, object: Arc<Object>) {
        if object.head.status == StatusCode::OK {
            match self.live.keep(key, &object) {
                Kept::Yes => return,
                Kept::Full => self.metrics.bit(Bound::LiveBytes),
                Kept::Unnamed => {}
            }
        } else if self.live.get(key).is_some() {
            // A playlist promises it: what is missing now, as a hinted part, may be there the next moment.
            return;
        }
        self.cache.keep(key.clone(), object).await;
    }
}

/// What a request for an object that is not stored has come to.
enum Begun {
    Joined(Arc<Fill>),
    Started(Job, Filler),
}

/// One fill.
struct Job {
    store: Arc<Store>,
    fill: Arc<Fill>,
    key: Arc<str>,
    url: String,
    class: Class,
    passed: Passed,
}

/// Takes the fill off the list however its task ends, so that the next request starts a new one.
impl Drop for Job {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Job {
    async fn run(self, filler: Filler, after: After) {
        let metrics = &self.store.metrics;
        let answer = match self.store.upstream.get(&self.url, &self.passed).await {
            Ok(answer) => answer,
            Err(refusal) => {
                metrics.asked(self.class, asked(refusal));
                metrics.filled(FillEnd::Refused);
                self.leave();
                filler.refuse(refusal);
                return;
            }
        };
        match answer.status {
            StatusCode::OK => self.whole(answer, filler, after).await,
            // Nothing was asked for in part, and no condition was given: such an answer has no meaning here.
            StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED => {
                metrics.asked(self.class, Asked::Broken);
                metrics.filled(FillEnd::Refused);
                self.leave();
                filler.refuse(Refusal::UpstreamBroken);
            }
            _ => self.other(answer, filler).await,
        }
    }

    /// From here on nobody joins: whoever comes now starts afresh.
    fn leave(&self) {
        let mut fills = self.store.fills.lock();
        if fills.get(&self.key).is_some_and(|fill| Arc::ptr_eq(fill, &self.fill)) {
            fills.remove(&self.key);
        }
    }

    async fn whole(&self, mut answer: Answer, filler: Filler, after: After) {
        let metrics = &self.store.metrics;
        let arrived = Instant::now();
        let head = Arc::new(Head::from_upstream(answer.status, &answer.headers, self.class, arrived));
        if head.length.is_some_and(|length| length > self.store.object_bytes_max) {
            metrics.bit(Bound::ObjectBytes);
            metrics.asked(self.class, Asked::Ok);
            metrics.filled(FillEnd::Refused);
            self.leave();
            filler.refuse(Refusal::ObjectTooLarge);
            return;
        }
        filler.open(head.clone());
        if let Err(refusal) = self.pour(&mut answer, &filler).await {
            tracing::warn!(key = %self.key, %refusal, bytes = filler.bytes(), "fill aborted");
            metrics.asked(self.class, asked(refusal));
            metrics.filled(FillEnd::Aborted);
            self.leave();
            filler.refuse(refusal);
            return;
        }
        metrics.asked(self.class, Asked::Ok);
        metrics.filled(FillEnd::Whole);
        self.finish(Object::new(head, filler.chunks(), arrived), filler, after).await;
    }

    async fn pour(&self, answer: &mut Answer, filler: &Filler) -> Result<(), Refusal> {
        while let Some(bytes) = answer.chunk().await? {
            if filler.bytes() + bytes.len() as u64 > self.store.object_bytes_max {
                self.store.metrics.bit(Bound::ObjectBytes);
                return Err(Refusal::ObjectTooLarge);
            }
            filler.push(bytes);
        }
        Ok(())
    }

    async fn finish(&self, mut object: Object, filler: Filler, after: After) {
        let taken = match after {
            After::Keep => false,
            After::Offer(offer) => match offer(&object) {
                Offered::Taken => true,
                Offered::Cache { at_most } => {
                    object.fresh_until = object.fresh_until.min(Instant::now() + at_most);
                    false
                }
            },
        };
        let object = Arc::new(object);
        if !taken {
            self.store.keep(&self.key, object.clone()).await;
        }
        self.leave();
        filler.finish(object);
    }

    /// An answer that is no 200 is small, and is told to all who wait once it is there.
    async fn other(&self, mut answer: Answer, filler: Filler) {
        let metrics = &self.store.metrics;
        let status = answer.status;
        metrics.asked(self.class, asked_status(status));
        let Ok(chunks) = answer.body(ERROR_BYTES_MAX).await else {
            metrics.filled(FillEnd::Aborted);
            self.leave();
            filler.refuse(Refusal::UpstreamBroken);
            return;
        };
        metrics.filled(FillEnd::Negative);
        let now = Instant::now();
        let head = Head::from_upstream(status, &answer.headers, self.class, now);
        let object = Arc::new(Object::new(Arc::new(head), chunks, now));
        self.store.keep(&self.key, object.clone()).await;
        self.leave();
        filler.finish(object);
    }
}

/// The outcome of a request upstream that brought no answer, or not all of it.
pub fn asked(refusal: Refusal) -> Asked {
    match refusal {
        Refusal::UpstreamTimeout => Asked::Timeout,
        Refusal::UpstreamUnreachable => Asked::Unreachable,
        _ => Asked::Broken,
    }
}

/// The outcome of a request upstream by the status of its answer.
pub fn asked_status(status: StatusCode) -> Asked {
    match status.as_u16() {
        200..400 => Asked::Ok,
        404 | 410 => Asked::Missing,
        400..500 => Asked::Refused,
        _ => Asked::Failed,
    }
}

fn gauge(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_viewer_that_leaves_before_its_fill_runs_leaves_nothing_behind() {
        let text = "[edge]\nname = \"e\"\nlisten = \"127.0.0.1:0\"\n[edge.upstream]\nurl = \"http://127.0.0.1:1\"\n";
        let config = config::Config::parse(text, []).unwrap().edge.unwrap();
        let upstream = Arc::new(Upstream::new(config.upstream.clone(), "e").unwrap());
        let metrics = Arc::new(Metrics::new(&prometheus::Registry::new()).unwrap());
        let store = Arc::new(Store::new(&config, upstream, metrics));
        let wanted = Wanted { key: "/a", url: "/a", class: Class::Other, passed: &Passed::default() };
        for _ in 0..2 {
            let begun = store.begin(&wanted).unwrap();
            assert!(matches!(begun, Begun::Started(..)), "the key is free again");
            assert!(matches!(store.begin(&wanted), Ok(Begun::Joined(_))));
        }
        assert!(store.fills.lock().is_empty());
    }
}
