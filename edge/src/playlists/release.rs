//! Held viewers whose answers are written by whoever publishes: one call each, and nobody is woken before.
//!
//! To wake a viewer so that it writes its own answer costs its task, cold in the cache, before the next viewer gets a
//! byte. So a viewer on a plain socket leaves its outlet here. Its task is woken when its answer is written, and finds
//! only accounts to settle. TLS has no outlet: its sessions belong to their tasks.

use super::{Shown, Spelling, Version};
use crate::cache_status::{Note, Notes};
use crate::key::Class;
use crate::reply::{Aside, Body, Frame, Reply};
use crate::subscription::{Decision, Standing};
use bytes::{Buf, Bytes};
use manifest::Wait;
use parking_lot::Mutex;
use slab::Slab;
use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Instant;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::yield_now;

/// Where a viewer's answer may be written besides by its own connection, which writes nothing meanwhile.
#[derive(Clone)]
pub struct Outlet(Arc<TcpStream>);

/// What a connection and the answer that it waits for know of each other; both run in one task.
#[derive(Default)]
pub struct Line {
    outlet: Option<Outlet>,
    /// Others may write to the outlet.
    lent: AtomicBool,
    /// The viewer sends nothing more: it may have left.
    ended: AtomicBool,
}

/// Those who wait for one rendition and left their outlets; as many as holds at most.
#[derive(Default)]
pub struct Waiting(Mutex<List>);

#[derive(Default)]
struct List {
    waiters: Slab<Waiter>,
    next_id: u64,
}

/// One who waits.
pub struct Waiter {
    id: u64,
    outlet: Outlet,
    wait: Option<Wait>,
    spelling: Spelling,
    rest: oneshot::Sender<Bytes>,
}

/// A viewer's place on the list.
pub struct Left<'a> {
    line: &'a Line,
    waiting: &'a Waiting,
    key: usize,
    id: u64,
    rest: oneshot::Receiver<Bytes>,
}

/// Writes in a row by one task; the next may go to another thread.
pub(super) const BATCH: usize = 256;

impl Outlet {
    pub fn new(socket: &Arc<TcpStream>) -> Self {
        Self(socket.clone())
    }

    /// Writes what the socket takes now, and returns the rest.
    fn write(&self, mut answer: Bytes) -> Bytes {
        while !answer.is_empty() {
            match self.0.try_write(&answer) {
                Ok(count) if count > 0 => answer.advance(count),
                // The connection finds out what is wrong with it.
                Ok(_) | Err(_) => break,
            }
        }
        answer
    }
}

impl Line {
    pub fn new(outlet: Option<Outlet>) -> Self {
        Self { outlet, ..Self::default() }
    }

    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Whether others may write now.
    pub fn is_lent(&self) -> bool {
        self.lent.load(Ordering::Relaxed)
    }

    /// Comes when the line has ended, to whoever looks after that.
    pub async fn called_back(&self) {
        poll_fn(|_| if self.has_ended() { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

impl Waiting {
    /// `None` where the connection has to write its answer itself.
    pub fn enter<'a>(&'a self, line: &'a Line, wait: Option<Wait>, spelling: Spelling) -> Option<Left<'a>> {
        let outlet = line.outlet.clone().filter(|_| !line.has_ended())?;
        line.lent.store(true, Ordering::Relaxed);
        let (sender, rest) = oneshot::channel();
        let mut list = self.0.lock();
        list.next_id += 1;
        let id = list.next_id;
        let key = list.waiters.insert(Waiter { id, outlet, wait, spelling, rest: sender });
        Some(Left { line, waiting: self, key, id, rest })
    }

    /// Takes those off the list who are released as things stand. Whoever is neither released nor has to wait on is let
    /// go to see for itself.
    pub fn take(&self, standing: Standing, now: Instant) -> Vec<Waiter> {
        let mut list = self.0.lock();
        let decided = |waiter: &Waiter| standing.decide(waiter.wait, now);
        let keys: Vec<usize> =
            list.waiters.iter().filter(|(_, waiter)| decided(waiter) != Decision::Hold).map(|(key, _)| key).collect();
        let taken = keys.into_iter().filter_map(|key| list.waiters.try_remove(key));
        taken.filter(|waiter| matches!(decided(waiter), Decision::Answer { .. })).collect()
    }

    /// Lets all go to see for themselves.
    pub fn let_go(&self) {
        self.0.lock().waiters.clear();
    }
}

impl Left<'_> {
    /// Comes when the answer is written: what of it the socket did not take. `None` if the viewer is to see for itself.
    pub async fn called(left: &mut Option<Self>) -> Option<Bytes> {
        match left {
            Some(left) => (&mut left.rest).await.ok(),
            None => pending().await,
        }
    }

    /// Gives up the place; as [`Self::called`] if somebody writes the answer already.
    pub async fn taken_back(left: &mut Option<Self>) -> Option<Bytes> {
        let left = left.as_mut().filter(|left| !left.leave())?;
        (&mut left.rest).await.ok()
    }

    /// False if the place is on the list no more.
    pub fn leave(&self) -> bool {
        let mut list = self.waiting.0.lock();
        let mine = list.waiters.get(self.key).is_some_and(|waiter| waiter.id == self.id);
        if mine {
            list.waiters.remove(self.key);
        }
        mine
    }
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        self.leave();
        self.line.lent.store(false, Ordering::Relaxed);
    }
}

/// Writes the answers of a batch, then wakes its viewers; in between come the answers of the other batches.
pub(super) async fn write(batch: Vec<Waiter>, shown: &Shown, notes: &Notes) {
    let mut answers: Vec<(Spelling, Bytes)> = Vec::new();
    let rest: Vec<Bytes> = batch
        .iter()
        .map(|Waiter { outlet, spelling, .. }| {
            let made = answers.iter().find(|(made, _)| made == spelling).map(|(_, answer)| answer.clone());
            let answer = made.unwrap_or_else(|| {
                let answer = whole(&shown.version, *spelling, notes);
                answers.push((*spelling, answer.clone()));
                answer
            });
            let rest = outlet.write(answer);
            if rest.is_empty() {
                shown.version.written();
            }
            rest
        })
        .collect();
    yield_now().await;
    for (waiter, rest) in batch.into_iter().zip(rest) {
        // A viewer that left meanwhile needs no answer.
        let _ = waiter.rest.send(rest);
    }
}

/// Head and body in one piece, as the connection itself would write them.
fn whole(version: &Arc<Version>, spelling: Spelling, notes: &Notes) -> Bytes {
    let object = version.answer(spelling).clone();
    let reply =
        Reply { class: Class::Playlist, body: Body::Object(object.clone()), note: Note::Held, held: None, rest: None };
    let mut out = Vec::with_capacity(1024 + object.length as usize);
    let aside = Aside { notes, cmsd: None, now: Instant::now() };
    reply.put_head(&mut out, Frame { http10: false, keep_alive: true }, aside);
    object.chunks.iter().for_each(|chunk| out.extend_from_slice(chunk));
    Bytes::from(out)
}

#[cfg(test)]
mod tests {
    use super::super::{First, Text, read};
    use super::*;
    use crate::metrics::Metrics;
    use crate::object::Head;
    use crate::subscription::Subscription;
    use crate::upstream::PeerId;
    use manifest::Position;
    use prometheus::Registry;
    use std::time::Duration;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    const PLAYLIST: &str = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n\
        #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.5\n#EXT-X-PART-INF:PART-TARGET=0.5\n\
        #EXT-X-MEDIA-SEQUENCE:10\n#EXTINF:2,\n10.m4s\n#EXT-X-PART:DURATION=0.5,URI=\"11.0.m4s\"\n";

    fn shown() -> Shown {
        let now = Instant::now();
        let (text, media) = read(&[Bytes::from_static(PLAYLIST.as_bytes())], 0).unwrap();
        let rules = Subscription::new(&media, None, PeerId::default(), Duration::from_secs(9), now);
        let head = Arc::new(Head::own(Class::Playlist, now, Duration::ZERO, &[]));
        let metrics = Arc::new(Metrics::new(&Registry::new()).unwrap());
        let first = First { text: Text::Whole(text), media, lifetime: None, head };
        let version = Arc::new(Version::new(&first, None, rules.standing(), now, (&metrics, &Arc::default())));
        Shown { standing: rules.standing(), version, over: None }
    }

    async fn viewer() -> (Outlet, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let viewer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let socket = listener.accept().await.unwrap().0;
        socket.writable().await.unwrap();
        (Outlet::new(&Arc::new(socket)), viewer)
    }

    fn part(msn: u64, part: u32) -> Option<Wait> {
        Some(Wait::Part(Position { msn, part }))
    }

    #[tokio::test]
    async fn whom_a_version_answers_has_it_written_and_the_others_wait_on_or_see_for_themselves() {
        let (shown, waiting) = (shown(), Waiting::default());
        let ((outlet, mut viewer), spelling) = (viewer().await, Spelling { directed: true, ..Spelling::default() });
        let line = Line::new(Some(outlet));
        let mut released = waiting.enter(&line, part(11, 0), spelling);
        let mut held = waiting.enter(&line, part(11, 1), spelling);
        let mut too_far = waiting.enter(&line, part(99, 0), spelling);
        let batch = waiting.take(shown.standing, Instant::now());
        assert_eq!(batch.len(), 1);
        write(batch, &shown, &Notes::new("edge")).await;
        assert_eq!(Left::called(&mut released).await, Some(Bytes::new()));
        assert_eq!(Left::called(&mut too_far).await, None);
        let mut got = vec![0; 4096];
        let count = viewer.read(&mut got).await.unwrap();
        let text = String::from_utf8_lossy(&got[..count]);
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with(&format!("\r\n\r\n{PLAYLIST}")), "{text}");
        assert_eq!(waiting.0.lock().waiters.len(), 1);
        assert_eq!(Left::taken_back(&mut held).await, None);
        assert_eq!(waiting.0.lock().waiters.len(), 0);
        assert!(line.is_lent());
        drop(held);
        assert!(!line.is_lent());
        line.end();
        assert!(waiting.enter(&line, part(11, 1), spelling).is_none(), "its connection looks whether it has left");
    }

    #[tokio::test]
    async fn who_gives_up_while_the_answer_is_written_gets_that_and_nothing_else() {
        let (shown, waiting) = (shown(), Waiting::default());
        let (outlet, _viewer) = viewer().await;
        let line = Line::new(Some(outlet));
        let mut left = waiting.enter(&line, part(11, 0), Spelling::default());
        let batch = waiting.take(shown.standing, Instant::now());
        // Another takes the same place on the list.
        let other = waiting.enter(&line, part(11, 1), Spelling::default()).unwrap();
        assert_eq!(left.as_ref().map(|left| left.key), Some(other.key));
        let (rest, ()) = tokio::join!(Left::taken_back(&mut left), async {
            write(batch, &shown, &Notes::new("edge")).await;
        });
        assert_eq!(rest, Some(Bytes::new()));
        assert!(other.leave(), "a place is its owner's");
    }

    #[tokio::test]
    async fn what_a_full_socket_does_not_take_is_left_to_its_connection() {
        let (outlet, _viewer) = viewer().await;
        let long = Bytes::from(vec![7; 32 << 20]);
        let rest = outlet.write(long.clone());
        assert!(!rest.is_empty() && rest.len() < long.len());
    }
}
