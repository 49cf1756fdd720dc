//! A fill: one answer of upstream that many viewers read while it grows.
//!
//! Bytes are only ever appended. A fill ends whole, or it is aborted, and then every reader gets an error: a truncated
//! body never looks like a complete one.

use crate::object::{Head, Object};
use crate::refusal::Refusal;
use crate::store::purge::{Purge, Tags};
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::Notify;

/// Shared by the task that fills and all that read.
#[derive(Debug, Default)]
pub struct Fill {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    head: Option<Arc<Head>>,
    chunks: Vec<Bytes>,
    bytes: u64,
    outcome: Option<Outcome>,
    /// Upstream meant it for whoever began the fill.
    private: bool,
    /// A purge means it.
    purged: bool,
    /// Purges that may mean it once its tags are known.
    purges: Vec<Arc<Purge>>,
}

/// More purges than these while a head is waited for mean everything.
const PURGES_MAX: usize = 64;

/// How a fill ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    Whole(Arc<Object>),
    /// Upstream failed; this was stored before and may be shown instead.
    Stale(Arc<Object>),
    /// After its head had come: what readers have is a part of something. The reason is for those who have nothing yet.
    Aborted(Refusal),
    /// Before its head had come.
    Refused(Refusal),
    /// It is another viewer's alone: whoever else waited asks again, for itself.
    Private,
}

/// Who reads a fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The one that it was begun for.
    First,
    Joined,
}

/// What a viewer can be told first.
#[derive(Clone, Debug)]
pub enum Opening {
    Growing(Arc<Head>),
    Ended(Outcome),
}

/// A reader was cut off: the object will never be whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aborted;

/// The writing end. Dropped without an end, it aborts the fill.
#[derive(Debug)]
pub struct Filler(Arc<Fill>);

/// One reader's place in a fill.
#[derive(Debug)]
pub struct Reader {
    fill: Arc<Fill>,
    next: usize,
}

impl Fill {
    pub fn start() -> (Arc<Self>, Filler) {
        let fill = Arc::new(Self::default());
        (fill.clone(), Filler(fill))
    }

    /// Waits for the head, or for an end without one.
    pub async fn opening(&self, place: Place) -> Opening {
        self.wait(|state| match (&state.outcome, &state.head) {
            _ if state.private && place == Place::Joined => Some(Opening::Ended(Outcome::Private)),
            (Some(outcome), _) => Some(Opening::Ended(outcome.clone())),
            (None, Some(head)) => Some(Opening::Growing(head.clone())),
            (None, None) => None,
        })
        .await
    }

    /// How many bytes there are so far.
    pub fn bytes(&self) -> u64 {
        self.state.lock().bytes
    }

    /// Waits for so many bytes; if it ends before, tells how.
    pub async fn grown_to(&self, bytes: u64) -> Result<(), Outcome> {
        self.wait(|state| match &state.outcome {
            _ if state.bytes >= bytes => Some(Ok(())),
            Some(outcome) => Some(Err(outcome.clone())),
            None => None,
        })
        .await
    }

    /// Waits for the end.
    pub async fn end(&self, place: Place) -> Outcome {
        self.wait(|state| match place {
            Place::Joined if state.private => Some(Outcome::Private),
            Place::First | Place::Joined => state.outcome.clone(),
        })
        .await
    }

    /// Takes note of a purge; says whether it is known to mean this fill, which nobody may join then.
    pub fn purge(&self, key: &str, purge: &Arc<Purge>) -> bool {
        let mut state = self.state.lock();
        let means = match &state.head {
            Some(head) => purge.takes(key, &head.tags),
            None => purge.takes_key(key) || state.purges.len() >= PURGES_MAX,
        };
        state.purged |= means;
        if state.head.is_none() && !means {
            state.purges.push(purge.clone());
        }
        means
    }

    /// Whether what was filled may not be kept.
    pub fn is_purged(&self, key: &str, tags: &Tags) -> bool {
        let state = self.state.lock();
        state.purged || state.purges.iter().any(|purge| purge.takes(key, tags))
    }

    pub fn reader(self: &Arc<Self>) -> Reader {
        Reader { fill: self.clone(), next: 0 }
    }

    async fn wait<T>(&self, ready: impl Fn(&State) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Listed before the look, so that a change between the look and the wait is not missed.
            changed.as_mut().enable();
            if let Some(value) = ready(&self.state.lock()) {
                return value;
            }
            changed.await;
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.changed.notify_waiters();
    }
}

impl Filler {
    /// What is being filled.
    pub fn fill(&self) -> Arc<Fill> {
        self.0.clone()
    }

    /// From here on only the one that it was begun for reads it.
    pub fn keep_private(&self) {
        self.0.change(|state| state.private = true);
    }

    /// The head has come; readers may start.
    pub fn open(&self, head: Arc<Head>) {
        self.0.change(|state| state.head = Some(head));
    }

    pub fn push(&self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.0.change(|state| {
                state.bytes += bytes.len() as u64;
                state.chunks.push(bytes);
            });
        }
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.0.state.lock().bytes
    }

    /// The chunks so far, to build the object from: their bytes are shared.
    pub fn chunks(&self) -> Vec<Bytes> {
        self.0.state.lock().chunks.clone()
    }

    pub fn finish(self, object: Arc<Object>) {
        self.end(Outcome::Whole(object));
    }

    pub fn finish_stale(self, object: Arc<Object>) {
        self.end(Outcome::Stale(object));
    }

    /// There will be no whole object.
    pub fn refuse(self, refusal: Refusal) {
        self.fail(refusal);
    }

    fn fail(&self, refusal: Refusal) {
        let opened = self.0.state.lock().head.is_some();
        self.end(if opened { Outcome::Aborted(refusal) } else { Outcome::Refused(refusal) });
    }

    fn end(&self, outcome: Outcome) {
        self.0.change(|state| {
            state.outcome.get_or_insert(outcome);
        });
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        self.fail(Refusal::UpstreamBroken);
    }
}

impl Reader {
    pub fn fill(&self) -> &Fill {
        &self.fill
    }

    /// The next bytes; `None` once the object is whole and read.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Aborted> {
        let at = self.next;
        let next = self
            .fill
            .wait(|state| match (state.chunks.get(at), &state.outcome) {
                (Some(chunk), _) => Some(Ok(Some(chunk.clone()))),
                (None, Some(Outcome::Whole(_))) => Some(Ok(None)),
                (None, Some(_)) => Some(Err(Aborted)),
                (None, None) => None,
            })
            .await?;
        self.next += usize::from(next.is_some());
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Class;
    use std::time::{Duration, Instant};

    fn head() -> Arc<Head> {
        Arc::new(Head::own(Class::Part, Instant::now(), Duration::from_secs(1), &[]))
    }

    async fn read_all(mut reader: Reader) -> Result<Vec<u8>, Aborted> {
        let mut all = Vec::new();
        while let Some(bytes) = reader.next().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn readers_follow_from_the_first_byte_whenever_they_come() {
        let (fill, filler) = Fill::start();
        let early = tokio::spawn(read_all(fill.reader()));
        filler.open(head());
        filler.push(Bytes::from_static(b"ab"));
        let mut middle = fill.reader();
        assert_eq!(middle.next().await, Ok(Some(Bytes::from_static(b"ab"))));
        let middle = tokio::spawn(read_all(middle));
        filler.push(Bytes::from_static(b"cd"));
        let object = Arc::new(Object::new(head(), filler.chunks(), Instant::now()));
        filler.finish(object);
        assert_eq!(early.await.unwrap().unwrap(), b"abcd");
        assert_eq!(middle.await.unwrap().unwrap(), b"cd");
        assert_eq!(read_all(fill.reader()).await.unwrap(), b"abcd");
        assert!(
            matches!(fill.opening(Place::First).await, Opening::Ended(Outcome::Whole(object)) if object.length == 4)
        );
    }

    #[tokio::test]
    async fn an_aborted_fill_is_an_error_for_every_reader() {
        let (fill, filler) = Fill::start();
        filler.open(head());
        filler.push(Bytes::from_static(b"ab"));
        let waiting = tokio::spawn(read_all(fill.reader()));
        drop(filler);
        assert_eq!(waiting.await.unwrap(), Err(Aborted));
        assert_eq!(read_all(fill.reader()).await, Err(Aborted));
        assert!(matches!(fill.end(Place::First).await, Outcome::Aborted(Refusal::UpstreamBroken)));
    }

    #[tokio::test]
    async fn what_is_private_is_read_by_the_first_alone() {
        let (fill, filler) = Fill::start();
        filler.keep_private();
        filler.open(head());
        assert!(matches!(fill.opening(Place::Joined).await, Opening::Ended(Outcome::Private)));
        assert!(matches!(fill.opening(Place::First).await, Opening::Growing(_)));
        filler.finish(Arc::new(Object::new(head(), Vec::new(), Instant::now())));
        assert!(matches!(fill.end(Place::Joined).await, Outcome::Private));
        assert!(matches!(fill.end(Place::First).await, Outcome::Whole(_)));
    }

    #[test]
    fn a_purge_that_comes_before_the_head_is_remembered_for_its_tags() {
        let purge = |body: &str| Arc::new(Purge::read(body.as_bytes()).unwrap());
        let (red, path) = (purge(r#"{"tags": ["red"]}"#), purge(r#"{"prefixes": ["/a"]}"#));
        let mut headers = http::HeaderMap::new();
        headers.insert("cache-tag", http::HeaderValue::from_static("red"));
        let (tagged, plain) = (Tags::read(&headers), Tags::default());
        let (fill, _filler) = Fill::start();
        assert!(!fill.purge("/b", &red) && !fill.purge("/b", &path));
        assert!(fill.is_purged("/b", &tagged) && !fill.is_purged("/b", &plain));
        assert!(fill.purge("/a", &path) && fill.is_purged("/a", &plain));
        let (fill, filler) = Fill::start();
        filler.open(head());
        assert!(!fill.purge("/b", &red) && !fill.is_purged("/b", &tagged), "its tags are known: it has none");
        let (fill, _filler) = Fill::start();
        assert!((0..PURGES_MAX).all(|_| !fill.purge("/b", &red)));
        assert!(fill.purge("/b", &red) && fill.is_purged("/b", &plain));
    }

    #[tokio::test]
    async fn whoever_waits_for_bytes_has_them_or_learns_of_the_end() {
        let (fill, filler) = Fill::start();
        let waiting = fill.clone();
        let waiting =
            tokio::spawn(async move { (waiting.grown_to(3).await.is_ok(), waiting.grown_to(5).await.is_ok()) });
        filler.open(head());
        filler.push(Bytes::from_static(b"ab"));
        filler.push(Bytes::from_static(b"cd"));
        assert_eq!(fill.bytes(), 4);
        filler.finish(Arc::new(Object::new(head(), Vec::new(), Instant::now())));
        assert_eq!(waiting.await.unwrap(), (true, false));
    }

    #[tokio::test]
    async fn a_fill_without_a_head_tells_why() {
        let (fill, filler) = Fill::start();
        filler.refuse(Refusal::UpstreamTimeout);
        assert!(matches!(fill.opening(Place::First).await, Opening::Ended(Outcome::Refused(Refusal::UpstreamTimeout))));
        let (fill, filler) = Fill::start();
        drop(filler);
        assert!(matches!(fill.end(Place::First).await, Outcome::Refused(Refusal::UpstreamBroken)));
    }
}
