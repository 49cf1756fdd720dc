//! The access log: one line of JSON for each request that is in the sample, written by a thread of its own.
//!
//! A full queue drops lines and counts them; no viewer ever waits for a disk.

use crate::cache_status::Note;
use crate::client::Client;
use crate::metrics::{Bound, Metrics};
use crate::moment::Moment;
use crate::refusal::Refusal;
use crate::reply::{Body, Reply};
use crate::request::{Method, Request};
use crate::upstream::{PeerId, Upstreams, rendezvous};
use line::Line;
use parking_lot::RwLock;
use sample::Sample;
use std::cell::LazyCell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, oneshot};
use writer::Writer;

pub mod line;
pub mod sample;
mod writer;

pub struct AccessLog {
    sample: Sample,
    errors: bool,
    addresses: config::LoggedAddresses,
    /// `None` once it is closed.
    queue: RwLock<Option<SyncSender<Vec<u8>>>>,
    reopen: Arc<AtomicBool>,
    written: Mutex<oneshot::Receiver<()>>,
    upstreams: Arc<Upstreams>,
    metrics: Arc<Metrics>,
}

/// How a request came, as its transport knows.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    pub protocol: &'static str,
    pub tls: Option<&'static str>,
    /// `User-Agent`.
    pub agent: Option<&'a [u8]>,
}

/// One request on its way to a line, which is written when this is dropped.
pub struct Journey<'a> {
    log: Arc<AccessLog>,
    request: &'a Request,
    client: Client,
    came: Moment,
    way: Way<'a>,
    told: Option<Told>,
    bytes: u64,
    whole: bool,
}

/// What the request was told, and when.
struct Told {
    at: Instant,
    status: u16,
    note: Note,
    reason: Option<&'static str>,
    source: Option<PeerId>,
    held: bool,
}

impl AccessLog {
    /// `None` where none is wanted.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn open(
        config: &config::AccessLog,
        upstreams: Arc<Upstreams>,
        metrics: Arc<Metrics>,
    ) -> io::Result<Option<Arc<Self>>> {
        let Some(target) = &config.to else { return Ok(None) };
        let reopen = Arc::new(AtomicBool::new(false));
        let writer = Writer::open(target, reopen.clone(), metrics.clone())?;
        let (queue, lines) = sync_channel(config.queue_lines_max);
        let (done, written) = oneshot::channel();
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            writer.run(&lines);
            // Whoever closed it may have gone on without.
            let _ = done.send(());
        })?;
        Ok(Some(Arc::new(Self {
            sample: Sample::new(config),
            errors: config.errors,
            addresses: config.addresses,
            queue: RwLock::new(Some(queue)),
            reopen,
            written: Mutex::new(written),
            upstreams,
            metrics,
        })))
    }

    /// The file has been moved away: from the next line on another one of its name is written.
    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Relaxed);
    }

    /// Takes no more lines, and waits until all are written.
    pub async fn close(&self) {
        *self.queue.write() = None;
        let _ = (&mut *self.written.lock().await).await;
    }

    pub fn begin<'a>(
        self: &Arc<Self>,
        request: &'a Request,
        client: Client,
        came: Moment,
        way: Way<'a>,
    ) -> Journey<'a> {
        Journey { log: self.clone(), request, client, came, way, told: None, bytes: 0, whole: false }
    }

    fn put(&self, line: Vec<u8>) {
        if let Some(queue) = &*self.queue.read()
            && queue.try_send(line).is_err()
        {
            self.metrics.bit(Bound::AccessLogLines);
        }
    }
}

impl Journey<'_> {
    /// There is an answer, whose first byte goes out next.
    pub fn answered(&mut self, reply: &Reply, now: Instant) {
        let late = matches!(reply.body, Body::Refusal(Refusal::HoldLate));
        self.told = Some(Told {
            at: now,
            status: reply.status().as_u16(),
            note: reply.note,
            reason: reply.detail(),
            source: reply.source(),
            held: late || reply.note == Note::Held,
        });
    }

    /// So many bytes of its body have gone out; `whole` if that was all.
    pub fn ended(&mut self, bytes: u64, whole: bool) {
        (self.bytes, self.whole) = (bytes, whole);
    }

    fn line(&self, now: Instant) -> Option<Vec<u8>> {
        let log = &self.log;
        let told = self.told.as_ref();
        // Balancers and monitors ask for the node's own pages once a second each.
        if told.is_some_and(|told| told.note == Note::Own) {
            return None;
        }
        let path = line::path(self.request.target());
        // What stood for a token is no part of the stream's name.
        let stream = rendezvous::stream(path.strip_prefix("/~").unwrap_or(&path));
        let wanted = log.errors && told.is_some_and(|told| told.status >= 500);
        // Read at most once, and not at all for a line that is left out for another reason.
        let session = LazyCell::new(|| self.request.said()?.session);
        if !wanted && !log.sample.keeps(|| session.as_deref(), self.client.address, stream) {
            return None;
        }
        let ms = |at: Instant| ms(at.saturating_duration_since(self.came.instant));
        let line = Line {
            time_ms: self.came.unix_ms(),
            address: line::address(self.client.address, log.addresses),
            method: method(self.request.method),
            path: &path,
            stream,
            status: told.map(|told| told.status),
            end: match (told, self.whole) {
                (None, _) => "left",
                (Some(_), true) => "sent",
                (Some(_), false) => "cut",
            },
            bytes: self.bytes,
            duration_ms: ms(now),
            first_byte_ms: told.map(|told| ms(told.at)),
            held_ms: told.filter(|told| told.held).map_or(0.0, |told| ms(told.at)),
            cache: told.map(|told| told.note.word()),
            reason: told.and_then(|told| told.reason),
            upstream: told.and_then(|told| told.source).map(|source| log.upstreams.url(source)),
            protocol: self.way.protocol,
            tls: self.way.tls,
            agent: self.way.agent.map(line::agent),
            session: session.as_deref(),
        };
        Some(line.render())
    }
}

impl Drop for Journey<'_> {
    fn drop(&mut self) {
        if let Some(line) = self.line(Instant::now()) {
            self.log.put(line);
        }
    }
}

fn method(method: Method) -> &'static str {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Options => "OPTIONS",
        Method::Post => "POST",
        Method::Other | Method::Unknown => "other",
    }
}

/// In milliseconds, to the microsecond.
fn ms(span: Duration) -> f64 {
    span.as_micros() as f64 / 1000.0
}
