//! HTTP/2 of viewers and of edges that ask this node as their shield: streams off the wire, replies onto it.
//!
//! All streams of a connection are one task. A release wakes it once, however many of them are held, and when the
//! connection ends their places are free at once.

use crate::answer::{Node, slice_of};
use crate::client::Client;
use crate::connection::{LINGER, Limits, WRITE_STALL};
use crate::fill::Reader;
use crate::key::Class;
use crate::metrics::Bound;
use crate::range::{Slice, Window};
use crate::reply::{Body, Reply};
use crate::request::{BODY_BYTES_MAX, Method, Request};
use crate::stream::Rewound;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use std::future::poll_fn;
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// The stream is over before its answer was.
struct Over;

/// As many holds and fills as an edge has on one connection to its shield.
const STREAMS_MAX: u32 = 256;
/// A header list beyond what HTTP/1.1 may bring here is refused by the protocol.
const HEADER_LIST_BYTES_MAX: u32 = 16 << 10;
/// What waits to be sent on one stream, beyond what its viewer's window lets out. The bytes are shared with the store.
const SEND_BYTES_MAX: usize = 1 << 20;

/// Serves a connection that begins with the preface of HTTP/2, or that agreed on it by ALPN, until its end.
pub async fn serve(node: &Node, limits: Limits, stream: Rewound, client: Client) {
    let mut options = Builder::new();
    options
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_send_buffer_size(SEND_BYTES_MAX);
    match timeout(limits.header_timeout, options.handshake(stream)).await {
        Ok(Ok(connection)) => Peer { node, limits, client }.streams(connection).await,
        Ok(Err(error)) => tracing::debug!(%error, "no preface of HTTP/2"),
        Err(_) => node.metrics.bit(Bound::HeaderTimeout),
    }
}

/// Who is at the other end, and what it is given.
#[derive(Clone, Copy)]
struct Peer<'a> {
    node: &'a Node,
    limits: Limits,
    client: Client,
}

impl Peer<'_> {
    /// Answers streams until the peer goes, stays silent with none open, or the node drains. Then GOAWAY tells it not to
    /// begin another (RFC 9113, 6.8), and it has a moment to take notice.
    async fn streams(self, mut connection: Connection<Rewound, Bytes>) {
        let mut open = FuturesUnordered::new();
        let mut silence = pin!(sleep(self.limits.keepalive_timeout));
        let mut leaving = false;
        loop {
            let leave = tokio::select! {
                biased;
                Some(()) = open.next() => {
                    let patience = if leaving { LINGER } else { self.limits.keepalive_timeout };
                    silence.as_mut().reset(tokio::time::Instant::now() + patience);
                    false
                }
                begun = connection.accept() => match begun {
                    Some(Ok((request, respond))) => {
                        open.push(self.stream(request, respond));
                        false
                    }
                    Some(Err(_)) | None => return,
                },
                () = self.node.departure.begun.cancelled(), if !leaving => true,
                () = &mut silence, if open.is_empty() => true,
            };
            if leave {
                if leaving {
                    return;
                }
                leaving = true;
                connection.graceful_shutdown();
                silence.as_mut().reset(tokio::time::Instant::now() + LINGER);
            }
        }
    }

    async fn stream(self, request: http::Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        if self.answer(request, &mut respond).await.is_err() {
            // RFC 9113, 8.1: a body that is cut short is a stream that is reset.
            respond.send_reset(Reason::INTERNAL_ERROR);
        }
    }

    async fn answer(self, request: http::Request<RecvStream>, respond: &mut SendResponse<Bytes>) -> Result<(), Over> {
        let (parts, mut sent) = request.into_parts();
        let (reply, method) = match Request::from_parts(&parts) {
            Ok(mut request) => {
                if request.may_have_body() {
                    request.body = body(&mut sent, self.limits.header_timeout).await?;
                }
                let reply = tokio::select! {
                    biased;
                    reply = self.node.answer(&request, self.client) => reply,
                    _ = poll_fn(|cx| respond.poll_reset(cx)) => return Err(Over),
                };
                (reply, request.method)
            }
            Err(refusal) => (Reply::refusal(Class::Other, refusal), Method::default()),
        };
        self.node.metrics.answered(reply.class, reply.status());
        send(self.node, reply, method == Method::Head, respond).await
    }
}

/// The body of the one page that takes one.
async fn body(sent: &mut RecvStream, within: Duration) -> Result<Bytes, Over> {
    let reading = async {
        let mut body = BytesMut::new();
        while let Some(bytes) = sent.data().await {
            let bytes = bytes.map_err(|_| Over)?;
            if body.len() + bytes.len() > BODY_BYTES_MAX {
                return Err(Over);
            }
            sent.flow_control().release_capacity(bytes.len()).map_err(|_| Over)?;
            body.extend_from_slice(&bytes);
        }
        Ok(body.freeze())
    };
    timeout(within, reading).await.map_err(|_| Over)?
}

async fn send(node: &Node, reply: Reply, head_only: bool, respond: &mut SendResponse<Bytes>) -> Result<(), Over> {
    let ends = head_only || reply.length() == Some(0);
    let stream = respond.send_response(reply.response(&node.notes, Instant::now()), ends).map_err(|_| Over)?;
    if !ends {
        let mut sink = Sink { node, stream };
        match reply.body {
            Body::Object(object) => sink.all(&object.chunks).await?,
            Body::Slice(object, slice) => sink.all(&slice_of(&object, slice)).await?,
            Body::Growing { reader, slice, .. } => sink.grow(reader, slice).await?,
            Body::Refusal(refusal) => sink.put(Bytes::from(format!("{refusal}\n")), true).await?,
            Body::Text(_, text) => sink.put(Bytes::from(text), true).await?,
            Body::NotModified(_) | Body::Preflight => {}
        }
    }
    if let Some(version) = reply.held {
        version.written();
    }
    Ok(())
}

/// Where the body of one answer goes.
struct Sink<'a> {
    node: &'a Node,
    stream: SendStream<Bytes>,
}

impl Sink<'_> {
    async fn all(&mut self, chunks: &[Bytes]) -> Result<(), Over> {
        for (index, chunk) in chunks.iter().enumerate() {
            self.put(chunk.clone(), index + 1 == chunks.len()).await?;
        }
        Ok(())
    }

    async fn grow(&mut self, mut reader: Reader, slice: Option<Slice>) -> Result<(), Over> {
        let mut window = Window::of(slice);
        while !window.is_done() {
            let next = tokio::select! {
                biased;
                next = reader.next() => next.map_err(|_| Over)?,
                _ = poll_fn(|cx| self.stream.poll_reset(cx)) => return Err(Over),
            };
            let Some(bytes) = next else { break };
            let bytes = window.take(&bytes);
            if !bytes.is_empty() {
                self.put(bytes, false).await?;
            }
        }
        self.put(Bytes::new(), true).await
    }

    /// Hands over bytes as far as the viewer's window lets them out, and waits for it to open where it does not.
    async fn put(&mut self, mut bytes: Bytes, last: bool) -> Result<(), Over> {
        loop {
            self.stream.reserve_capacity(bytes.len());
            let part = bytes.split_to(self.stream.capacity().min(bytes.len()));
            let ends = last && bytes.is_empty();
            if ends || !part.is_empty() {
                self.stream.send_data(part, ends).map_err(|_| Over)?;
            }
            if bytes.is_empty() {
                return Ok(());
            }
            self.room().await?;
        }
    }

    async fn room(&mut self) -> Result<(), Over> {
        match timeout(WRITE_STALL, poll_fn(|cx| self.stream.poll_capacity(cx))).await {
            Ok(Some(Ok(_))) => Ok(()),
            Ok(Some(Err(_)) | None) => Err(Over),
            Err(_) => {
                self.node.metrics.bit(Bound::WriteStall);
                Err(Over)
            }
        }
    }
}
