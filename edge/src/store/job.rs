//! One fill: what is asked upstream, what is made of the answer, and who gets it.

use super::freshness::{Unstored, is_failure};
use super::{After, Offered, Store, Wanted, asked, asked_status};
use crate::fill::{Fill, Filler};
use crate::key::Class;
use crate::metrics::{Asked, Bound, FillEnd};
use crate::object::{Head, Object};
use crate::refusal::Refusal;
use crate::upstream::{Answer, Passed};
use bytes::Bytes;
use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH};
use http::{HeaderName, StatusCode};
use std::sync::Arc;
use std::time::Instant;

pub(super) struct Job {
    store: Arc<Store>,
    fill: Arc<Fill>,
    key: Arc<str>,
    url: String,
    class: Class,
    passed: Passed,
    /// For one requester: not on the list, only counted.
    alone: bool,
    /// What is stored, stale: upstream may confirm it, and it may stand in for an upstream that fails.
    pub(super) prior: Option<Arc<Object>>,
}

/// Longest body of an answer that is no 200.
const ERROR_BYTES_MAX: u64 = 64 << 10;

/// Takes the fill off the list however its task ends, so that the next request starts a new one.
impl Drop for Job {
    fn drop(&mut self) {
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
            alone,
            prior: None,
        }
    }

    pub(super) async fn run(self, filler: Filler, after: After) {
        let conditions = self.prior.as_deref().map(conditions).unwrap_or_default();
        let answer = match self.store.upstream.get_with(&self.url, &self.passed, &conditions).await {
            Ok(answer) => answer,
            Err(refusal) => {
                self.store.metrics.asked(self.class, asked(refusal));
                return self.failed(refusal, filler).await;
            }
        };
        match (answer.status, &self.prior) {
            (StatusCode::OK, _) => self.whole(answer, filler, after).await,
            (StatusCode::NOT_MODIFIED, Some(prior)) => self.confirmed(answer, prior, filler, after).await,
            // Nothing was asked for in part, and nothing under a condition: such an answer has no meaning here.
            (StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED, _) => self.broken(filler).await,
            (status, Some(prior)) if is_failure(status) && Instant::now() < stands_in_until(prior) => {
                self.store.metrics.asked(self.class, asked_status(status));
                self.failed(Refusal::UpstreamBroken, filler).await;
            }
            _ => self.other(answer, filler).await,
        }
    }

    /// From here on nobody joins: whoever comes now starts afresh.
    pub(super) fn leave(&self) {
        let mut fills = self.store.fills.lock();
        if fills.by_key.get(&self.key).is_some_and(|fill| Arc::ptr_eq(fill, &self.fill)) {
            fills.by_key.remove(&self.key);
        }
    }

    async fn whole(&self, mut answer: Answer, filler: Filler, after: After) {
        let metrics = &self.store.metrics;
        let arrived = Instant::now();
        let head = Head::from_upstream(&self.store.rules, answer.status, &answer.headers, self.class, arrived);
        if head.length.is_some_and(|length| length > self.store.object_bytes_max) {
            metrics.bit(Bound::ObjectBytes);
            metrics.asked(self.class, Asked::Ok);
            metrics.filled(FillEnd::Refused);
            self.leave();
            filler.refuse(Refusal::ObjectTooLarge);
            return;
        }
        let head = Arc::new(head);
        self.settle(&head, &filler, &after);
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

    /// Decides by the head who may read the fill: those who have come, those who will, or the first alone.
    fn settle(&self, head: &Head, filler: &Filler, after: &After) {
        if let Err(why) = head.lease {
            self.store.metrics.unstored(why);
            if why.is_private() {
                filler.keep_private();
                return self.leave();
            }
        }
        // What cannot be kept is shared by those who asked before it came. A live object is kept whatever it says.
        let kept = matches!(after, After::Offer(_)) || self.store.live.get(&self.key).is_some();
        if head.lifetime().is_none() && !kept {
            self.leave();
        }
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

    /// RFC 9111, 4.3.4: what is stored is as good as new.
    async fn confirmed(&self, mut answer: Answer, prior: &Object, filler: Filler, after: After) {
        // There is no body; reading its end gives the connection back.
        let _ = answer.body(0).await;
        let Some(object) = prior.refreshed(&self.store.rules, &answer.headers, Instant::now()) else {
            return self.broken(filler).await;
        };
        self.store.metrics.asked(self.class, Asked::Ok);
        self.store.metrics.filled(FillEnd::Confirmed);
        self.settle(&object.head, &filler, &after);
        self.finish(object, filler, after).await;
    }

    async fn finish(&self, mut object: Object, filler: Filler, after: After) {
        let private = object.head.lease.is_err_and(|why| why.is_private());
        let taken = match after {
            After::Offer(offer) if !private => match (offer.take)(&object) {
                Offered::Taken => true,
                Offered::Cache { at_most } => {
                    if let Some(at_most) = at_most {
                        object.end(Instant::now() + at_most);
                    }
                    false
                }
            },
            After::Offer(_) | After::Keep => false,
        };
        let object = Arc::new(object);
        if !taken {
            self.keep(&object).await;
        }
        self.leave();
        filler.finish(object);
    }

    /// An answer that is no 200 is small, and is told to all who wait once it is there.
    async fn other(&self, mut answer: Answer, filler: Filler) {
        let metrics = &self.store.metrics;
        let status = answer.status;
        metrics.asked(self.class, asked_status(status));
        let now = Instant::now();
        let head = Head::from_upstream(&self.store.rules, status, &answer.headers, self.class, now);
        self.settle(&head, &filler, &After::Keep);
        let Ok(chunks) = answer.body(ERROR_BYTES_MAX).await else {
            metrics.filled(FillEnd::Aborted);
            self.leave();
            filler.refuse(Refusal::UpstreamBroken);
            return;
        };
        metrics.filled(FillEnd::Negative);
        let object = Arc::new(Object::new(Arc::new(head), chunks, now));
        self.keep(&object).await;
        self.leave();
        filler.finish(object);
    }

    /// Keeps the object, unless a purge came while it was fetched. The look comes after the keeping: a purge that it
    /// misses finds the object where it is kept.
    async fn keep(&self, object: &Arc<Object>) {
        if self.alone {
            return;
        }
        self.store.keep(&self.key, object).await;
        if self.fill.is_purged(&self.key, &object.head.tags) {
            self.store.metrics.unstored(Unstored::Purged);
            self.store.forget(&self.key).await;
        }
    }

    async fn broken(&self, filler: Filler) {
        self.store.metrics.asked(self.class, Asked::Broken);
        self.failed(Refusal::UpstreamBroken, filler).await;
    }

    /// Upstream gave nothing. What is stored stands in for it where it may, at once for all who come until upstream is
    /// asked again.
    async fn failed(&self, refusal: Refusal, filler: Filler) {
        let (metrics, now) = (&self.store.metrics, Instant::now());
        let Some(prior) = self.prior.as_ref().filter(|prior| now < stands_in_until(prior)) else {
            metrics.filled(FillEnd::Refused);
            self.leave();
            filler.refuse(refusal);
            return;
        };
        metrics.filled(FillEnd::Stale);
        let object = Arc::new(prior.after_failure(now, self.store.rules.failed));
        self.keep(&object).await;
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
