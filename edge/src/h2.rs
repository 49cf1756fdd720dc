//! HTTP/2 of viewers and of edges that ask this node as their shield: streams off the wire, replies onto it.
//!
//! All streams of a connection are one task. A release wakes it once, however many of them are held, and when the
//! connection ends their places are free at once.

use crate::access::bucket::Bucket;
use crate::access_log::{Journey, Way};
use crate::answer::{Node, slice_of};
use crate::client::Client;
use crate::connection::LINGER;
use crate::key::Class;
use crate::metrics::Bound;
use crate::moment::Moment;
use crate::playlists::Line;
use crate::qoe::pacer::Pacer;
use crate::qoe::tcp_info::Probe;
use crate::range::{Slice, Window};
use crate::reply::{Body, Reply};
use crate::request::{BODY_BYTES_MAX, Method, Request};
use crate::send_rate::Watch;
use crate::store::pieces::Reader;
use crate::stream::Rewound;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::header::USER_AGENT;
use http::request::Parts;
use parking_lot::Mutex;
use std::future::poll_fn;
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::time::{sleep, sleep_until, timeout};

mod turns;

use turns::{FRAME_BYTES, Turns};

/// The stream is over before its answer was.
enum Over {
    /// Its client gave it up.
    Left,
    /// There is no more to send, or nobody who takes it.
    Cut,
}

/// As many holds and fills as an edge has on one connection to its shield.
const STREAMS_MAX: u32 = 256;
/// A header list beyond what HTTP/1.1 may bring here is refused by the protocol.
const HEADER_LIST_BYTES_MAX: u32 = 16 << 10;
/// What waits to be sent on one stream, beyond what its viewer's window lets out. The bytes are shared with the store.
const SEND_BYTES_MAX: usize = 1 << 20;

/// Serves a connection that begins with the preface of HTTP/2, or that agreed on it by ALPN, until its end.
pub async fn serve(node: &Node, stream: Rewound, client: Client) {
    let (tls, meter) = (stream.stream.tls_version(), stream.stream.meter());
    let (probe, pacer) = (Mutex::new(Probe::new(meter)), Pacer::new(meter));
    let mut options = Builder::new();
    options
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_send_buffer_size(SEND_BYTES_MAX);
    match timeout(node.limits.header_timeout, Turns::begin(&options, stream)).await {
        Ok(Ok(turns)) => Peer { node, client, tls, probe: &probe, pacer: &pacer }.streams(turns).await,
        Ok(Err(error)) => tracing::debug!(%error, "no preface of HTTP/2"),
        Err(_) => node.metrics.bit(Bound::HeaderTimeout),
    }
}

/// Who is at the other end, and what it is given.
#[derive(Clone, Copy)]
struct Peer<'a> {
    node: &'a Node,
    client: Client,
    /// Its version.
    tls: Option<&'static str>,
    /// All streams share one path; never contended, since they are one task.
    probe: &'a Mutex<Probe>,
    pacer: &'a Pacer,
}

impl Peer<'_> {
    /// Answers streams until the peer goes, stays silent with none open, or the node drains. Then GOAWAY tells it not to
    /// begin another (RFC 9113, 6.8), and it has a moment to take notice.
    async fn streams(self, mut turns: Turns) {
        let mut open = FuturesUnordered::new();
        let mut silence = pin!(sleep(self.node.limits.keepalive_timeout));
        let mut leaving = false;
        let (start, mut resets) = (Instant::now(), Bucket::default());
        loop {
            let leave = tokio::select! {
                biased;
                Some(over) = open.next() => {
                    if matches!(over, Some(Over::Left)) && !resets.take(self.node.limits.resets, start.elapsed()) {
                        return self.calm_down(turns).await;
                    }
                    let patience = if leaving { LINGER } else { self.node.limits.keepalive_timeout };
                    silence.as_mut().reset(tokio::time::Instant::now() + patience);
                    false
                }
                begun = turns.accept() => match begun {
                    Some((request, respond)) => {
                        open.push(self.stream(request, respond));
                        false
                    }
                    None => {
                        if turns.broke_rules {
                            self.node.metrics.bit(Bound::Http2Rules);
                        }
                        return;
                    }
                },
                () = self.node.departure.begun.cancelled(), if !leaving => true,
                () = &mut silence, if open.is_empty() => true,
            };
            if leave {
                if leaving {
                    return;
                }
                leaving = true;
                turns.be_the_last();
                silence.as_mut().reset(tokio::time::Instant::now() + LINGER);
            }
        }
    }

    /// Begins and gives up streams without end (CVE-2023-44487), each of which is work that nobody waits for.
    async fn calm_down(self, turns: Turns) {
        self.node.metrics.bit(Bound::Http2Resets);
        let _ = timeout(LINGER, turns.end(Reason::ENHANCE_YOUR_CALM)).await;
    }

    /// `None` if the answer was given whole.
    async fn stream(self, request: http::Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Option<Over> {
        let over = self.answer(request, &mut respond).await.err()?;
        // RFC 9113, 8.1: a body that is cut short is a stream that is reset.
        respond.send_reset(Reason::INTERNAL_ERROR);
        Some(over)
    }

    async fn answer(self, request: http::Request<RecvStream>, respond: &mut SendResponse<Bytes>) -> Result<(), Over> {
        let (parts, mut sent) = request.into_parts();
        let mut request = match Request::from_parts(&parts) {
            Ok(request) => request,
            Err(refusal) => return self.send(Reply::refusal(Class::Other, refusal), false, respond, None).await,
        };
        if request.may_have_body() {
            request.body = body(&mut sent, self.node.limits.header_timeout).await?;
        }
        let came = Moment::now();
        let journey = self.journey(&request, &parts, came);
        let line = Line::default();
        let reply = tokio::select! {
            biased;
            reply = self.node.answer(&request, self.client, &came, &line) => reply,
            _ = poll_fn(|cx| respond.poll_reset(cx)) => return Err(Over::Left),
        };
        let pace = self.node.pace(&request, &reply, self.pacer.meter);
        let _turn = pace.map(|pace| self.pacer.begin(pace));
        self.send(reply, request.method == Method::Head, respond, journey).await
    }

    fn journey<'r>(&self, request: &'r Request, parts: &'r Parts, came: Moment) -> Option<Box<Journey<'r>>> {
        let log = self.node.log.as_ref()?;
        let agent = parts.headers.get(USER_AGENT).map(|agent| agent.as_bytes());
        Some(Box::new(log.begin(request, self.client, came, Way { protocol: "h2", tls: self.tls, agent })))
    }

    async fn send(
        self,
        reply: Reply,
        head_only: bool,
        respond: &mut SendResponse<Bytes>,
        mut journey: Option<Box<Journey<'_>>>,
    ) -> Result<(), Over> {
        self.node.metrics.answered(reply.class, reply.status());
        if let Some(journey) = &mut journey {
            journey.answered(&reply, Instant::now());
        }
        let ends = head_only || reply.length() == Some(0);
        let response = reply.response(self.node.aside(&reply, &mut self.probe.lock()));
        let stream = respond.send_response(response, ends).map_err(|_| Over::Left)?;
        let mut sink = Sink { peer: self, stream, handed: 0, watch: None };
        let sent = if ends { Ok(()) } else { sink.body(reply.body).await };
        if let Some(journey) = &mut journey {
            journey.ended(sink.handed, sent.is_ok());
        }
        sent?;
        if let Some(version) = reply.held {
            version.written();
        }
        Ok(())
    }
}

/// The body of the one page that takes one.
async fn body(sent: &mut RecvStream, within: Duration) -> Result<Bytes, Over> {
    let reading = async {
        let mut body = BytesMut::new();
        while let Some(bytes) = sent.data().await {
            let bytes = bytes.map_err(|_| Over::Left)?;
            if body.len() + bytes.len() > BODY_BYTES_MAX {
                return Err(Over::Cut);
            }
            sent.flow_control().release_capacity(bytes.len()).map_err(|_| Over::Cut)?;
            body.extend_from_slice(&bytes);
        }
        Ok(body.freeze())
    };
    timeout(within, reading).await.map_err(|_| Over::Cut)?
}

/// Where the body of one answer goes.
struct Sink<'a> {
    peer: Peer<'a>,
    stream: SendStream<Bytes>,
    handed: u64,
    /// While the viewer's window or its network lets nothing out.
    watch: Option<Watch>,
}

impl Sink<'_> {
    async fn body(&mut self, body: Body) -> Result<(), Over> {
        match body {
            Body::Object(object) => self.all(&object.chunks).await,
            Body::Slice(object, slice) => self.all(&slice_of(&object, slice)).await,
            Body::Growing { reader, slice, .. } => self.grow(reader, slice).await,
            Body::Refusal(refusal) => self.put(Bytes::from(format!("{refusal}\n")), true).await,
            Body::Text(_, text) => self.put(Bytes::from(text), true).await,
            Body::Steered(steered) => self.put(Bytes::from(steered.into_text()), true).await,
            Body::NotModified(_) | Body::Preflight => Ok(()),
        }
    }

    async fn all(&mut self, chunks: &[Bytes]) -> Result<(), Over> {
        for (index, chunk) in chunks.iter().enumerate() {
            self.put(chunk.clone(), index + 1 == chunks.len()).await?;
        }
        Ok(())
    }

    async fn grow(&mut self, mut reader: Reader, slice: Option<Slice>) -> Result<(), Over> {
        let mut window = Window::of(slice).from(reader.offset());
        while !window.is_done() {
            let next = tokio::select! {
                biased;
                next = reader.next() => next.map_err(|_| Over::Cut)?,
                _ = poll_fn(|cx| self.stream.poll_reset(cx)) => return Err(Over::Left),
            };
            let Some(bytes) = next else { break };
            let bytes = window.take(&bytes);
            if !bytes.is_empty() {
                // What was waited for was upstream.
                self.watch = None;
                self.put(bytes, false).await?;
            }
        }
        self.put(Bytes::new(), true).await
    }

    /// Hands over bytes as far as the viewer's window lets them out, and waits for it to open where it does not.
    async fn put(&mut self, mut bytes: Bytes, last: bool) -> Result<(), Over> {
        loop {
            self.stream.reserve_capacity(bytes.len());
            let part = bytes.split_to(self.stream.capacity().min(bytes.len()).min(FRAME_BYTES));
            let ends = last && bytes.is_empty();
            if ends || !part.is_empty() {
                self.handed += part.len() as u64;
                self.stream.send_data(part, ends).map_err(|_| Over::Left)?;
            }
            if bytes.is_empty() {
                return Ok(());
            }
            if self.stream.capacity() == 0 {
                self.room().await?;
            }
        }
    }

    /// Here the bytes that are handed over are what counts: a stream whose client opens its window bit by bit would
    /// otherwise hide behind another one of its connection.
    async fn room(&mut self) -> Result<(), Over> {
        let now = || tokio::time::Instant::now().into_std();
        let watch = self.watch.get_or_insert_with(|| self.peer.node.limits.send_rate.watch(now()));
        loop {
            tokio::select! {
                biased;
                room = poll_fn(|cx| self.stream.poll_capacity(cx)) => {
                    return if matches!(room, Some(Ok(_))) { Ok(()) } else { Err(Over::Left) };
                }
                () = sleep_until(watch.next_look().into()) => {
                    if !watch.keeps_up(self.handed, now()) {
                        self.peer.node.metrics.bit(Bound::SendRate);
                        return Err(Over::Cut);
                    }
                }
            }
        }
    }
}
