//! HTTP/1.1 on one connection of a viewer: requests off the wire, replies onto it, and every wait between them bounded.
//!
//! The edge reads HTTP/1.1 itself: a reply's header and body leave in one `writev` of shared bytes, over TLS in one
//! record where they fit, a held viewer costs one small task, a request's header has a deadline of its own and a viewer
//! who leaves while held is noticed at once. Pingora's HTTP/1 session offers none of the four.

use crate::access::bucket::Pace;
use crate::access_log::{Journey, Way};
use crate::answer::{Node, slice_of};
use crate::client::Client;
use crate::key::Class;
use crate::metrics::Bound;
use crate::moment::Moment;
use crate::playlists::{Line, Version};
use crate::qoe::tcp_info::Probe;
use crate::range::{Slice, Window};
use crate::refusal::Refusal;
use crate::reply::{Body, Frame, Reply};
use crate::request::{Method, Request};
use crate::send_rate::SendRate;
use crate::store::pieces::Reader;
use crate::stream::{Rewound, Stream};
use bytes::{Bytes, BytesMut};
use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

/// A viewer's connection.
pub struct Connection {
    node: Arc<Node>,
    stream: Stream,
    client: Client,
    probe: Probe,
    /// What was read and not yet taken as a request.
    input: BytesMut,
    /// Header blocks are put together here.
    output: Vec<u8>,
    /// Bytes of body that the socket took of the answer it is at.
    sent: u64,
    /// The node does not wait any longer.
    cut: CancellationToken,
}

/// A connection as it was taken: its bytes, and who is at its other end.
pub struct Accepted {
    pub stream: Stream,
    pub client: Client,
}

/// How long and how slowly a connection may do what it does.
pub struct Limits {
    /// From the first byte of a request to the end of its header.
    pub header_timeout: Duration,
    /// Between two requests.
    pub keepalive_timeout: Duration,
    pub send_rate: SendRate,
    /// What may wait unsent in the kernel, in bytes; 0 leaves it to that.
    pub unsent_bytes_max: u32,
    /// Streams of one HTTP/2 connection that its client may give up.
    pub resets: Pace,
}

impl Limits {
    pub fn new(config: &config::Edge) -> Self {
        let limits = &config.access.limits;
        Self {
            header_timeout: config.header_timeout,
            keepalive_timeout: config.keepalive_timeout,
            send_rate: SendRate::new(limits),
            unsent_bytes_max: config.qoe.unsent_bytes_max,
            resets: Pace::new(limits.h2_resets_per_s, limits.h2_resets_burst),
        }
    }
}

/// The connection is over: the viewer left, was too slow, or was told to go.
struct Over;

/// Why no request comes from a connection any more.
enum End {
    Closed,
    /// What the viewer sends is not understood, or came too slowly.
    Refused(Refusal),
    Http2,
}

/// How HTTP/2 begins where nothing was negotiated (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A viewer that is told to go gets this long to read why.
pub(crate) const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 64 << 10;
/// A request with CMCD and cookies stays far below.
const HEADER_BYTES_MAX: usize = 16 << 10;
/// Most requests of players fit; a longer one makes the buffer grow.
const READ_BYTES: usize = 1024;
/// Means nothing to whoever expects none.
const INTERIM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// As many as the kernel takes in one call on any system is more; this many fill a socket buffer.
const SLICES_MAX: usize = 32;

impl Connection {
    pub fn new(node: Arc<Node>, accepted: Accepted, cut: CancellationToken) -> Self {
        let Accepted { stream, client } = accepted;
        let probe = Probe::new(stream.meter());
        Self { node, stream, client, probe, input: BytesMut::new(), output: Vec::new(), sent: 0, cut }
    }

    /// Serves requests until either side ends it. A viewer that speaks HTTP/2 without asking gets its stream back, with
    /// all that it sent.
    pub async fn serve(mut self) -> Option<Rewound> {
        let cut = self.cut.clone();
        let end = tokio::select! {
            biased;
            end = self.requests() => end,
            () = cut.cancelled() => End::Closed,
        };
        match end {
            End::Http2 => return Some(Rewound { ahead: self.input.freeze(), stream: self.stream }),
            End::Refused(refusal) => self.refuse(refusal).await,
            End::Closed => {
                let _ = timeout(LINGER, self.stream.shutdown()).await;
            }
        }
        None
    }

    async fn requests(&mut self) -> End {
        loop {
            let request = match self.next_request().await {
                Ok(request) => request,
                Err(end) => return end,
            };
            let came = Moment::now();
            let mut journey = self.journey(&request, &came);
            let Ok(reply) = self.reply(&request, &came).await else { return End::Closed };
            if let Some(journey) = &mut journey {
                journey.answered(&reply, Instant::now());
            }
            // What is written already promised to go on.
            let keep_alive = request.keep_alive && (reply.rest.is_some() || !self.node.departure.begun.is_cancelled());
            let sent = self.send(reply, &request, keep_alive).await;
            if let Some(journey) = &mut journey {
                journey.ended(self.sent, sent.is_ok());
            }
            if sent.is_err() || !keep_alive {
                return End::Closed;
            }
        }
    }

    /// Says why not, and ends the connection.
    pub async fn refuse(mut self, refusal: Refusal) {
        if matches!(refusal, Refusal::HeaderTooLarge | Refusal::HeaderSlow) {
            let slow = refusal == Refusal::HeaderSlow;
            self.node.metrics.bit(if slow { Bound::HeaderTimeout } else { Bound::HeaderBytes });
        }
        let reply = Reply::refusal(Class::Other, refusal);
        if self.send(reply, &Request::default(), false).await.is_ok() {
            // Closing with bytes unread would reset the connection and take the refusal with it.
            let _ = timeout(LINGER, self.linger()).await;
        }
    }

    async fn linger(&mut self) {
        if self.stream.shutdown().await.is_err() {
            return;
        }
        let mut left = LINGER_BYTES_MAX;
        while left > 0 && read(&mut self.stream, &mut self.input).await.is_ok_and(|count| count > 0) {
            left = left.saturating_sub(self.input.len());
            self.input.clear();
        }
    }

    async fn next_request(&mut self) -> Result<Request, End> {
        if self.input.is_empty() {
            // An idle viewer keeps no buffer of a past request.
            self.input = BytesMut::new();
            let idle_until = tokio::time::Instant::now() + self.node.limits.keepalive_timeout;
            if !matches!(self.read_until(idle_until).await, Some(Ok(()))) {
                return Err(End::Closed);
            }
        }
        let deadline = tokio::time::Instant::now() + self.node.limits.header_timeout;
        loop {
            if self.input.starts_with(PREFACE) {
                return Err(End::Http2);
            }
            // No method of HTTP/1 begins like the preface, so what may still become one is waited for.
            if !PREFACE.starts_with(&self.input)
                && let Some(mut request) = Request::take(&mut self.input).map_err(End::Refused)?
            {
                if request.body_length > 0 {
                    request.body = Box::pin(self.body(request.body_length, deadline)).await?;
                }
                return Ok(request);
            }
            if self.input.len() >= HEADER_BYTES_MAX {
                return Err(End::Refused(Refusal::HeaderTooLarge));
            }
            self.more(deadline).await?;
        }
    }

    /// What follows the header, as long as it said; what follows that is the next request.
    async fn body(&mut self, length: usize, deadline: tokio::time::Instant) -> Result<Bytes, End> {
        while self.input.len() < length {
            self.more(deadline).await?;
        }
        Ok(self.input.split_to(length).freeze())
    }

    /// Reads more of a request that has begun.
    async fn more(&mut self, deadline: tokio::time::Instant) -> Result<(), End> {
        match self.read_until(deadline).await {
            Some(Ok(())) => Ok(()),
            Some(Err(Over)) => Err(End::Closed),
            None => Err(End::Refused(Refusal::HeaderSlow)),
        }
    }

    /// `None` at the deadline. A node that is about to stop waits for nothing more to be asked.
    async fn read_until(&mut self, deadline: tokio::time::Instant) -> Option<Result<(), Over>> {
        tokio::select! {
            biased;
            read = timeout_at(deadline, read(&mut self.stream, &mut self.input)) => {
                read.ok().map(|read| if read? > 0 { Ok(()) } else { Err(Over) })
            }
            () = self.node.departure.closing.cancelled() => Some(Err(Over)),
        }
    }

    /// Boxed, so that a viewer whose request is not written down carries no more than the question.
    fn journey<'r>(&self, request: &'r Request, came: &Moment) -> Option<Box<Journey<'r>>> {
        let log = self.node.log.as_ref()?;
        let protocol = if request.http10 { "http/1.0" } else { "http/1.1" };
        let way = Way { protocol, tls: self.stream.tls_version(), agent: request.header("user-agent") };
        Some(Box::new(log.begin(request, self.client, *came, way)))
    }

    /// Decides the reply, unless the viewer leaves first; then its place is free at once.
    async fn reply(&mut self, request: &Request, came: &Moment) -> Result<Reply, Over> {
        let line = Line::new(self.stream.outlet().filter(|_| request.takes_whole_answers()));
        let answering = self.node.answer(request, self.client, came, &line);
        tokio::pin!(answering);
        loop {
            // What arrives meanwhile is the next request; too much of it waits in the kernel.
            let listen = self.input.len() < HEADER_BYTES_MAX;
            tokio::select! {
                biased;
                reply = &mut answering => return Ok(reply),
                read = read(&mut self.stream, &mut self.input), if listen => if read? == 0 { break },
            }
        }
        line.end();
        tokio::select! {
            biased;
            reply = answering => Ok(reply),
            // Boxed, so that no other viewer carries what it takes.
            over = Box::pin(left(&mut self.stream, &line)), if !request.http10 => Err(over),
        }
    }

    async fn send(&mut self, reply: Reply, request: &Request, keep_alive: bool) -> Result<(), Over> {
        let frame = Frame { http10: request.http10, keep_alive };
        self.sent = 0;
        self.node.metrics.answered(reply.class, reply.status());
        self.output.clear();
        let length = reply.length();
        if let Some(rest) = reply.rest {
            self.finish(rest, reply.held).await?;
            self.sent = length.unwrap_or(0);
            return Ok(());
        }
        reply.put_head(&mut self.output, frame, self.node.aside(&reply, &mut self.probe));
        if request.method == Method::Head {
            return self.write(&[]).await;
        }
        if let Some(pace) = self.node.pace(request, &reply, self.stream.meter()) {
            self.stream.meter().pace(pace);
        }
        let chunked = length.is_none();
        match reply.body {
            Body::Object(object) => self.write(&object.chunks).await?,
            Body::Slice(object, slice) => {
                self.write(&slice_of(&object, slice)).await?;
            }
            Body::NotModified(_) | Body::Preflight => self.write(&[]).await?,
            Body::Refusal(refusal) => {
                let text = format!("{refusal}\n");
                self.write(&[Bytes::from(text)]).await?;
            }
            Body::Text(_, text) => self.write(&[Bytes::from(text)]).await?,
            Body::Steered(steered) => self.write(&[Bytes::from(steered.into_text())]).await?,
            Body::Growing { reader, slice, .. } => {
                self.write(&[]).await?;
                self.grow(reader, slice, chunked).await?;
            }
        }
        if let Some(version) = reply.held {
            version.written();
        }
        Ok(())
    }

    /// Writes the rest of an answer that whoever published began.
    async fn finish(&mut self, rest: Bytes, held: Option<Arc<Version>>) -> Result<(), Over> {
        if !rest.is_empty() {
            self.write(&[rest]).await?;
            if let Some(version) = held {
                version.written();
            }
        }
        Ok(())
    }

    /// Passes on a growing object. An aborted fill ends the connection before its framing is complete, which is how
    /// HTTP/1.1 says that a body is not whole (RFC 9112, 8).
    async fn grow(&mut self, mut reader: Reader, slice: Option<Slice>, chunked: bool) -> Result<(), Over> {
        let mut window = Window::of(slice).from(reader.offset());
        while !window.is_done() {
            let Some(bytes) = self.next_bytes(&mut reader).await? else { break };
            let bytes = window.take(&bytes);
            if bytes.is_empty() {
                continue;
            }
            self.output.clear();
            if chunked {
                self.output.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
                self.write(&[bytes, Bytes::from_static(b"\r\n")]).await?;
                self.sent -= 2;
            } else {
                self.write(&[bytes]).await?;
            }
        }
        self.output.clear();
        let end = if chunked { Bytes::from_static(b"0\r\n\r\n") } else { Bytes::new() };
        let framing = end.len() as u64;
        self.write(&[end]).await?;
        self.sent -= framing;
        Ok(())
    }

    /// The next bytes of a fill, unless the viewer leaves.
    async fn next_bytes(&mut self, reader: &mut Reader) -> Result<Option<Bytes>, Over> {
        let next = reader.next();
        tokio::pin!(next);
        let mut ended = false;
        loop {
            let listen = !ended && self.input.len() < HEADER_BYTES_MAX;
            tokio::select! {
                biased;
                next = &mut next => return next.map_err(|_| Over),
                // Whether it has left, or sends nothing more and reads on, the next write tells.
                read = read(&mut self.stream, &mut self.input), if listen => ended = read? == 0,
            }
        }
    }

    /// Writes `output` and then `chunks`, in as few calls as the socket lets. A viewer that takes them too slowly is cut, and
    /// with it what the kernel holds for it.
    async fn write(&mut self, chunks: &[Bytes]) -> Result<(), Over> {
        let Self { node, stream, output, sent, .. } = self;
        let meter = stream.meter();
        let mut at = Place { chunk: 0, offset: 0 };
        let mut write = |cx: &mut Context<'_>| {
            while !at.is_end(output, chunks) {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let count = at.fill(&mut slices, output, chunks);
                match ready!(Pin::new(&mut *stream).poll_write_vectored(cx, &slices[..count])) {
                    Ok(0) | Err(_) => return Poll::Ready(Err(Over)),
                    Ok(count) => {
                        *sent += at.of_body(count, output);
                        at.advance(count, output, chunks);
                    }
                }
            }
            // Over TLS the last record waits in a buffer; on plain sockets there is none and this costs nothing.
            Pin::new(&mut *stream).poll_flush(cx).map_err(|_| Over)
        };
        let mut watch = node.limits.send_rate.watch(tokio::time::Instant::now().into_std());
        loop {
            tokio::select! {
                biased;
                written = poll_fn(&mut write) => return written,
                () = sleep_until(watch.next_look().into()) => {
                    if !watch.keeps_up(meter.acknowledged(), tokio::time::Instant::now().into_std()) {
                        break;
                    }
                }
            }
        }
        node.metrics.bit(Bound::SendRate);
        stream.abandon();
        Err(Over)
    }
}

/// Waits until a viewer that sends nothing more turns out to have left. TCP says no more than that nothing will come; but the
/// machine of one that has left resets the connection when something is sent to it, and one that waits passes over an
/// interim answer (RFC 9110, 15.2).
async fn left(stream: &mut Stream, line: &Line) -> Over {
    let mut asked = false;
    let told = poll_fn(|cx| {
        // Whoever publishes may be writing. What takes the line back runs in this task, before this.
        if line.is_lent() {
            return Poll::Pending;
        }
        if !std::mem::replace(&mut asked, true) {
            match Pin::new(&mut *stream).poll_write(cx, INTERIM) {
                Poll::Ready(Ok(count)) if count == INTERIM.len() => {}
                Poll::Ready(_) => return Poll::Ready(Err(Over)),
                // An answer before this one is not all taken yet: the next write tells.
                Poll::Pending => {}
            }
        }
        Pin::new(&mut *stream).poll_flush(cx).map_err(|_| Over)
    });
    if let Err(over) = told.await {
        return over;
    }
    stream.broken().await;
    Over
}

/// How many bytes came; none when the viewer sends nothing more.
async fn read(stream: &mut Stream, input: &mut BytesMut) -> Result<usize, Over> {
    if input.len() == input.capacity() {
        input.reserve(READ_BYTES);
    }
    stream.read_buf(input).await.map_err(|_| Over)
}

/// How far a write has come: piece 0 is the header, the others are chunks.
struct Place {
    chunk: usize,
    offset: usize,
}

impl Place {
    fn piece<'a>(index: usize, output: &'a [u8], chunks: &'a [Bytes]) -> Option<&'a [u8]> {
        match index.checked_sub(1) {
            None => Some(output),
            Some(chunk) => chunks.get(chunk).map(|chunk| &chunk[..]),
        }
    }

    fn is_end(&mut self, output: &[u8], chunks: &[Bytes]) -> bool {
        while Self::piece(self.chunk, output, chunks).is_some_and(|piece| self.offset >= piece.len()) {
            self.chunk += 1;
            self.offset = 0;
        }
        Self::piece(self.chunk, output, chunks).is_none()
    }

    fn fill<'a>(&self, slices: &mut [IoSlice<'a>], output: &'a [u8], chunks: &'a [Bytes]) -> usize {
        let mut count = 0;
        let mut offset = self.offset;
        while let Some(slice) = slices.get_mut(count)
            && let Some(piece) = Self::piece(self.chunk + count, output, chunks)
        {
            *slice = IoSlice::new(&piece[std::mem::take(&mut offset)..]);
            count += 1;
        }
        count
    }

    /// How many of the next bytes are of the body.
    fn of_body(&self, count: usize, output: &[u8]) -> u64 {
        let head = if self.chunk == 0 { output.len() - self.offset } else { 0 };
        count.saturating_sub(head) as u64
    }

    fn advance(&mut self, mut count: usize, output: &[u8], chunks: &[Bytes]) {
        while let Some(piece) = Self::piece(self.chunk, output, chunks) {
            let rest = piece.len() - self.offset;
            if count < rest {
                self.offset += count;
                return;
            }
            count -= rest;
            self.chunk += 1;
            self.offset = 0;
        }
    }
}
