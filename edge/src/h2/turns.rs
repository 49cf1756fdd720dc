//! The stream below an HTTP/2 connection: over TLS, what the connection writes in one turn leaves in one call.
//!
//! `h2` writes and flushes each DATA frame by itself. Over TLS that would be a call into the kernel for each record. Here
//! frames become records at once, without a copy in between, and records wait until the turn is over.

use crate::stream::Rewound;
use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use parking_lot::Mutex;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A DATA frame of this length fills one TLS record with its header (RFC 8446, 5.1; RFC 9113, 4.1).
pub(super) const FRAME_BYTES: usize = (16 << 10) - 9;

/// A connection whose frames leave together at the end of each of its turns.
pub(super) struct Turns {
    connection: Connection<Wire, Bytes>,
    wire: Wire,
    /// The client did what the protocol, or a bound that `h2` sets, forbids.
    pub(super) broke_rules: bool,
}

/// What a client begins: a request, and where its answer goes.
type Begun = (http::Request<RecvStream>, SendResponse<Bytes>);

/// Shared by the connection, which reads and writes, and by who ends its turns.
#[derive(Clone)]
struct Wire(Arc<Mutex<Gathering>>);

struct Gathering {
    stream: Rewound,
    /// Bytes that became records since the last were sent.
    bytes: usize,
    /// Whether a flush waits for the end of the turn.
    in_turns: bool,
}

/// Records that wait for the end of a turn, less than what TLS buffers at most.
const GATHERED_BYTES_MAX: usize = 96 << 10;

impl Turns {
    /// Takes the client's preface and answers with settings.
    ///
    /// # Errors
    /// If it is no preface, or the stream is broken.
    pub(super) async fn begin(options: &Builder, stream: Rewound) -> Result<Self, h2::Error> {
        let wire = Wire(Arc::new(Mutex::new(Gathering { stream, bytes: 0, in_turns: false })));
        let connection = options.handshake(wire.clone()).await?;
        wire.0.lock().in_turns = true;
        Ok(Self { connection, wire, broke_rules: false })
    }

    /// The next stream that the client begins; `None` at the end of the connection.
    pub(super) async fn accept(&mut self) -> Option<Begun> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<Begun>> {
        match self.connection.poll_accept(cx) {
            // Its answer may be ready at once, and leaves with those of the streams that begin next.
            Poll::Ready(Some(Ok(begun))) => Poll::Ready(Some(begun)),
            Poll::Ready(Some(Err(error))) => {
                self.broke_rules = error.is_library() && !error.is_io();
                Poll::Ready(None)
            }
            begun => match self.wire.0.lock().poll_send(cx) {
                Poll::Ready(Ok(())) | Poll::Pending if begun.is_pending() => Poll::Pending,
                _ => Poll::Ready(None),
            },
        }
    }

    /// Tells the client to begin no more streams (RFC 9113, 6.8).
    pub(super) fn be_the_last(&mut self) {
        self.connection.graceful_shutdown();
    }

    /// Ends all streams and the connection.
    pub(super) async fn end(mut self, reason: Reason) {
        self.connection.abrupt_shutdown(reason);
        let _ = poll_fn(|cx| self.connection.poll_closed(cx)).await;
    }
}

impl Gathering {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.bytes = 0;
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let wanted: usize = slices.iter().map(|slice| slice.len()).sum();
        if self.bytes > 0 && self.bytes + wanted > GATHERED_BYTES_MAX {
            ready!(self.poll_send(cx))?;
        }
        while self.in_turns {
            match self.stream.stream.put_records(slices)? {
                None => break,
                Some(0) if wanted > 0 => ready!(self.poll_send(cx))?,
                Some(taken) => {
                    self.bytes += taken;
                    return Poll::Ready(Ok(taken));
                }
            }
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().poll_write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// At the end of the turn, which is soon.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathering = self.0.lock();
        if gathering.in_turns { Poll::Ready(Ok(())) } else { Pin::new(&mut gathering.stream).poll_flush(cx) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathering = self.0.lock();
        ready!(gathering.poll_send(cx))?;
        Pin::new(&mut gathering.stream).poll_shutdown(cx)
    }
}
