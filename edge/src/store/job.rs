//! One fill: what is asked upstream, what is made of the answer, and who gets it.

use super::freshness::{Unstored, is_failure};
use super::{After, Offered, Start, Store, Wanted};
use crate::fill::{Fill, Filler};
use crate::key::Class;
use crate::metrics::{Bound, FillEnd};
use crate::object::{Head, Object};
use crate::qoe::cmsd;
use crate::refusal::Refusal;
use crate::upstream::{Answer, Errand, Joint, Passed, PeerId, Promise, Torn, is_missing};
use bytes::Bytes;
use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH};
use http::{HeaderName, StatusCode};
use mpds::is_mpd;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

mod cutting;
mod from_disk;
mod mpds;

pub(super) struct Job {
    store: Arc<Store>,
    fill: Arc<Fill>,
    key: Arc<str>,
    url: String,
    class: Class,
    passed: Passed,
    promise: Option<Promise>,
    /// For one requester: not on the list, only counted.
    alone: bool,
    /// Upstream.
    requests: AtomicU32,
    pub(super) start: Start,
}

/// An answer that was not given to its end.
struct Broken {
    /// What is said if nobody has the rest.
    refusal: Refusal,
    /// Whose answer it was, if it did not come from disk.
    peer: Option<PeerId>,
    /// Of the whole object, where it is known.
    length: Option<u64>,
}

/// Requests for the rest of one object. An upstream that breaks off every answer must not be asked for ever.
const RESUMES_MAX: usize = 4;
/// Longest body of an answer that is no 200.
const ERROR_BYTES_MAX: u64 = 64 << 10;

/// Takes the fill off the list however its task ends, so that the next request starts a new one.
impl Drop for Job {
    fn drop(&mut self) {
        if self.promise.is_some() {
            self.store.live.asked(&self.key, *self.requests.get_mut());
        }
        if self.alone {
            self.store.fills.lock().alone -= 1;
        } else {
            self.leave();
        }
    }
}

impl Job {
    pub(super) fn new(store: &Arc<Store>, wanted: &Wanted<'_>, fill: Arc<Fill>, alone: bool) -> Self {
        Self {
            store: store.clone(),
            fill,
            key: wanted.key.into(),
            url: wanted.url.to_owned(),
            class: wanted.class,
            passed: wanted.passed.clone(),
            promise: wanted.promise,
            alone,
            requests: AtomicU32::new(0),
            start: Start::New,
        }
    }

    pub(super) async fn run(mut self, filler: Filler, after: After) {
        let filler = match self.disk_asked(&after) {
            Some(disk) => match Box::pin(self.fill_from_disk(&disk, filler)).await {
                Some(filler) => filler,
                None => return,
            },
            None => filler,
        };
        if self.class == Class::Mpd {
            self.promise = self.promise_of_mpd();
        }
        let conditions = match &self.start {
            Start::New => Vec::new(),
            Start::Renewal(prior) => conditions(prior),
            Start::Cut(cut) => cut.conditions(),
        };
        let answer = match self.store.upstreams.get(&self.errand(&conditions)).await {
            Ok(answer) => answer,
            Err(refusal) => return self.failed(refusal, filler).await,
        };
        match (answer.status, &self.start) {
            (_, Start::Cut(cut)) => self.piece(cut, answer, filler, &mut Joint::whole(None)).await,
            (StatusCode::OK, _) => self.whole(answer, filler, after).await,
            (StatusCode::NOT_MODIFIED, Start::Renewal(prior)) => self.confirmed(answer, prior, filler, after).await,
            // Nothing was asked for in part, and nothing under a condition: such an answer has no meaning here.
            (StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED, _) => {
                self.failed(Refusal::UpstreamBroken, filler).await;
            }
            // Players give up at a 404, and an origin that has just been started knows no stream yet.
            (status, Start::Renewal(prior))
                if (is_failure(status) || (prior.head.dated && is_missing(status)))
                    && Instant::now() < stands_in_until(prior) =>
            {
                self.failed(Refusal::UpstreamBroken, filler).await;
            }
            _ => self.other(answer, filler, matches!(after, After::Pass)).await,
        }
    }

    fn errand<'a>(&'a self, fields: &'a [(HeaderName, Bytes)]) -> Errand<'a> {
        let requests = Some(&self.requests);
        Errand { target: &self.url, class: self.class, passed: &self.passed, promise: self.promise, fields, requests }
    }

    fn refuse(&self, filler: Filler, end: FillEnd, refusal: Refusal) {
        self.store.metrics.filled(end);
        self.leave();
        filler.refuse(refusal);
    }

    /// From here on nobody joins: whoever comes now starts afresh.
    pub(super) fn leave(&self) {
        let mut fills = self.store.fills.lock();
        if fills.by_key.get(&self.key).is_some_and(|fill| Arc::ptr_eq(fill, &self.fill)) {
            fills.by_key.remove(&self.key);
        }
    }

    async fn whole(&self, answer: Answer, filler: Filler, after: After) {
        let metrics = &self.store.metrics;
        let (arrived, source) = (Instant::now(), answer.peer);
        let mut head = Head::from_upstream(&self.store.rules, answer.status, &answer.headers, self.class, arrived);
        head.source = Some(source);
        if head.cmsd.is_none() && answer.headers.contains_key(cmsd::DYNAMIC) {
            metrics.bit(Bound::CmsdBefore);
        }
        if let Some(layout) = self.layout(&head, &answer.headers, &after) {
            // The rest of this answer is not wanted.
            drop(answer);
            return self.in_pieces(head, layout, arrived, filler).await;
        }
        if head.length.is_some_and(|length| length > self.store.object_bytes_max) {
            metrics.bit(Bound::ObjectBytes);
            return self.refuse(filler, FillEnd::Refused, Refusal::ObjectTooLarge);
        }
        let head = Arc::new(head);
        self.settle(&head, &filler, &after);
        filler.open(head.clone());
        if let Err(refusal) = self.pour(answer, &head, &filler).await {
            tracing::warn!(key = %self.key, %refusal, bytes = filler.bytes(), "fill aborted");
            return self.refuse(filler, FillEnd::Aborted, refusal);
        }
        metrics.filled(FillEnd::Whole);
        self.finish(Object::new(head, filler.chunks(), arrived), source, filler, after).await;
    }

    /// Decides by the head who may read the fill: those who have come, those who will, or the first alone.
    fn settle(&self, head: &Head, filler: &Filler, after: &After) {
        if let Err(why) = head.lease {
            self.store.metrics.unstored(why);
        }
        // A manifest that is live is this node's own answer, whatever is said of storing it; at its end that is known.
        let at_the_end = self.class.is_manifest() && head.status == StatusCode::OK && !head.is_not_to_be_followed();
        if head.is_for_one() && !at_the_end {
            if !self.class.is_manifest() {
                self.store.for_one.note(&self.key);
            }
            filler.keep_private();
            return self.leave();
        }
        if self.alone {
            self.store.for_one.forget(&self.key);
        }
        // What cannot be kept is shared by those who asked before it came. A live object is kept whatever it says.
        let kept = matches!(after, After::Offer(_)) || head.class == Class::Mpd || self.store.is_live(&self.key);
        if matches!(after, After::Pass) || (head.lifetime().is_none() && !kept) {
            self.leave();
        }
    }

    /// Passes the body on. Where it breaks off, the rest of the same object is fetched, elsewhere if possible: readers
    /// see nothing but a delay.
    async fn pour(&self, mut answer: Answer, head: &Head, filler: &Filler) -> Result<(), Refusal> {
        let mut joint = Joint::whole(head.length);
        match self.flow(&mut answer, &mut joint, filler).await {
            Ok(()) => Ok(()),
            // What a playlist's name stands for changes: the rest would be another one's.
            Err(refusal) if refusal == Refusal::ObjectTooLarge || self.class.is_manifest() => Err(refusal),
            Err(refusal) => {
                let broken = Broken { refusal, peer: Some(answer.peer), length: joint.length };
                drop(answer);
                self.pour_rest(broken, head, filler).await
            }
        }
    }

    /// Fetches the rest of what was not given to its end.
    async fn pour_rest(&self, mut broken: Broken, head: &Head, filler: &Filler) -> Result<(), Refusal> {
        let mut resumes = 0..RESUMES_MAX;
        loop {
            let torn = Torn::new(filler.chunks(), broken.length, head.etag.clone());
            let resumed = self.resume(&torn, broken.peer, &mut resumes).await;
            let (mut answer, mut joint) = resumed.ok_or(broken.refusal)?;
            tracing::info!(key = %self.key, bytes = filler.bytes(), "fill resumed");
            match self.flow(&mut answer, &mut joint, filler).await {
                Ok(()) => return Ok(()),
                Err(Refusal::ObjectTooLarge) => return Err(Refusal::ObjectTooLarge),
                Err(refusal) => broken = Broken { refusal, peer: Some(answer.peer), length: joint.length },
            }
        }
    }

    async fn resume(
        &self,
        torn: &Torn,
        broke_off: Option<PeerId>,
        resumes: &mut impl Iterator<Item = usize>,
    ) -> Option<(Answer, Joint)> {
        for (attempt, _) in resumes.enumerate() {
            match self.store.upstreams.resume(&self.errand(&[]), torn, broke_off, attempt).await {
                Ok(resumed) => return Some(resumed),
                Err(refusal) => tracing::debug!(key = %self.key, %refusal, "not resumed"),
            }
        }
        self.store.metrics.bit(Bound::Resumes);
        None
    }

    async fn flow(&self, answer: &mut Answer, joint: &mut Joint, filler: &Filler) -> Result<(), Refusal> {
        while let Some(bytes) = answer.chunk().await? {
            let bytes = joint.take(bytes).map_err(|_| Refusal::UpstreamBroken)?;
            if filler.bytes() + bytes.len() as u64 > self.store.object_bytes_max {
                self.store.metrics.bit(Bound::ObjectBytes);
                return Err(Refusal::ObjectTooLarge);
            }
            filler.push(bytes);
        }
        if joint.is_whole(filler.bytes()) { Ok(()) } else { Err(Refusal::UpstreamBroken) }
    }

    /// RFC 9111, 4.3.4: what is stored is as good as new.
    async fn confirmed(&self, mut answer: Answer, prior: &Object, filler: Filler, after: After) {
        // There is no body; reading its end gives the connection back.
        let (_, source) = (answer.body(0).await, answer.peer);
        let Some(object) = prior.refreshed(&self.store.rules, &answer.headers, Instant::now()) else {
            return self.failed(Refusal::UpstreamBroken, filler).await;
        };
        self.store.metrics.filled(FillEnd::Confirmed);
        self.settle(&object.head, &filler, &after);
        self.finish(object, source, filler, after).await;
    }

    async fn finish(&self, mut object: Object, source: PeerId, filler: Filler, after: After) {
        let private = object.head.is_not_to_be_followed();
        let taken = match after {
            After::Offer(offer) => match (offer.take)(&object, source) {
                Offered::Taken => true,
                Offered::Cache { at_most } => {
                    if let Some(at_most) = at_most {
                        object.end(Instant::now() + at_most);
                    }
                    false
                }
            },
            After::Pass => true,
            After::Keep => false,
        };
        let object = if !taken && !private && object.head.status == StatusCode::OK && is_mpd(&object) {
            self.mpd(object, source).await
        } else {
            Arc::new(object)
        };
        if !taken {
            if object.head.is_for_one() {
                filler.keep_private();
            }
            self.keep(&object, !object.head.dated).await;
        }
        self.leave();
        filler.finish(object);
    }

    /// An answer that is no 200 is small, and is told to all who wait once it is there.
    async fn other(&self, mut answer: Answer, filler: Filler, passes: bool) {
        let status = answer.status;
        let now = Instant::now();
        let mut head = Head::from_upstream(&self.store.rules, status, &answer.headers, self.class, now);
        head.source = Some(answer.peer);
        self.settle(&head, &filler, if passes { &After::Pass } else { &After::Keep });
        let Ok(chunks) = answer.body(ERROR_BYTES_MAX).await else {
            return self.refuse(filler, FillEnd::Aborted, Refusal::UpstreamBroken);
        };
        self.store.metrics.filled(FillEnd::Negative);
        let mut object = Object::new(Arc::new(head), chunks, now);
        if let Some(due) = self.promise.and_then(|promise| promise.due).filter(|_| is_missing(status)) {
            object.end(now + due.missing(now, &self.store.rules));
        }
        let object = Arc::new(object);
        if !passes {
            self.keep(&object, true).await;
        }
        self.leave();
        filler.finish(object);
    }

    /// Keeps the object, unless a purge came while it was fetched. The look comes after the keeping: a purge that it
    /// misses finds the object where it is kept. `news`: upstream has just said so.
    async fn keep(&self, object: &Arc<Object>, news: bool) {
        if self.alone {
            return;
        }
        self.store.keep(&self.key, object, news).await;
        if let Start::Renewal(prior) = &self.start
            && prior.layout != object.layout
        {
            self.store.forget_pieces(&self.key, prior).await;
        }
        if self.fill.is_purged(&self.key, &object.head.tags) {
            self.store.metrics.unstored(Unstored::Purged);
            self.store.forget(&self.key).await;
        }
    }

    /// Upstream gave nothing. What is stored stands in for it where it may, at once for all who come until upstream is
    /// asked again.
    async fn failed(&self, refusal: Refusal, filler: Filler) {
        let now = Instant::now();
        let prior = if let Start::Renewal(prior) = &self.start { Some(prior) } else { None };
        let Some(prior) = prior.filter(|prior| now < stands_in_until(prior)) else {
            return self.refuse(filler, FillEnd::Refused, refusal);
        };
        self.store.metrics.filled(FillEnd::Stale);
        let object = Arc::new(prior.after_failure(now, self.store.rules.failed));
        self.keep(&object, false).await;
        self.leave();
        filler.finish_stale(object);
    }
}

/// Until when a stale object may be shown instead of what upstream fails to give.
fn stands_in_until(prior: &Object) -> Instant {
    prior.stale.error_until.max(prior.stale.revalidating_until)
}

/// RFC 9111, 4.3.1: what upstream may answer 304 to.
fn conditions(prior: &Object) -> Vec<(HeaderName, Bytes)> {
    let etag = prior.head.etag.clone().map(|etag| (IF_NONE_MATCH, etag));
    let date = prior.head.last_modified.clone().map(|date| (IF_MODIFIED_SINCE, date));
    etag.into_iter().chain(date).collect()
}
