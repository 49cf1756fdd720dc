//! The bytes of a viewer's connection: a plain socket, or TLS over one.

use crate::playlists::Outlet;
use crate::qoe::pacing::Pace;
use bytes::{Buf, Bytes};
use pingora::protocols::l4::ext::{TCP_INFO, get_tcp_info};
use rustls::ProtocolVersion;
use socket2::SockRef;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A viewer's connection.
pub struct Stream {
    wire: Wire,
    /// What [`Self::bounded`] asked for; 0 once it is done, or if there is nothing to do.
    unsent_bytes_max: u32,
}

/// Either is told apart once per call, which a branch predictor gets right; no viewer pays for the other's buffers.
enum Wire {
    /// Shared with who releases holds.
    Plain(Arc<TcpStream>),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A stream as if what was read ahead had not been.
pub struct Rewound {
    pub ahead: Bytes,
    pub stream: Stream,
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self { wire: Wire::Plain(Arc::new(stream)), unsent_bytes_max: 0 }
    }
}

impl From<TlsStream<TcpStream>> for Stream {
    fn from(stream: TlsStream<TcpStream>) -> Self {
        Self { wire: Wire::Tls(Box::new(stream)), unsent_bytes_max: 0 }
    }
}

impl Stream {
    /// No more than so many bytes wait unsent in the kernel from the first time on that the other end lets some wait.
    /// Whoever takes everything at once is not made to take it in pieces, each of which would be a call.
    pub fn bounded(mut self, unsent_bytes_max: u32) -> Self {
        self.unsent_bytes_max = unsent_bytes_max;
        self
    }

    pub fn meter(&self) -> Meter {
        Meter(self.socket().as_raw_fd())
    }

    /// Where others may write while this connection does not; a TLS session belongs to its connection alone.
    pub fn outlet(&self) -> Option<Outlet> {
        match &self.wire {
            Wire::Plain(stream) => Some(Outlet::new(stream)),
            Wire::Tls(_) => None,
        }
    }

    fn socket(&self) -> &TcpStream {
        match &self.wire {
            Wire::Plain(stream) => stream,
            Wire::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Makes TLS records of bytes, as far as the buffer for them goes, and leaves it to the next flush to send them. `None`
    /// where there is no TLS.
    ///
    /// # Errors
    /// If the keys of the session are used up.
    pub fn put_records(&mut self, slices: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
        match &mut self.wire {
            Wire::Plain(_) => Ok(None),
            Wire::Tls(stream) => stream.get_mut().1.writer().write_vectored(slices).map(Some),
        }
    }

    /// The outcome of a write, which tells whether bytes wait.
    fn waited<T>(&mut self, written: Poll<T>) -> Poll<T> {
        if written.is_pending() && self.unsent_bytes_max > 0 {
            // A socket that takes no options is as good as closed.
            let _ = SockRef::from(self.socket()).set_tcp_notsent_lowat(self.unsent_bytes_max);
            self.unsent_bytes_max = 0;
        }
        written
    }

    /// Closing it resets the connection: the kernel drops what it still holds for the other end.
    pub fn abandon(&self) {
        // A socket that takes no options is as good as closed.
        let _ = SockRef::from(self.socket()).set_linger(Some(Duration::ZERO));
    }

    /// Comes when the other end has reset the connection.
    pub async fn broken(&self) {
        let _ = self.socket().ready(Interest::ERROR).await;
    }

    /// The version of TLS that was agreed on.
    pub fn tls_version(&self) -> Option<&'static str> {
        let Wire::Tls(stream) = &self.wire else { return None };
        match stream.get_ref().1.protocol_version()? {
            ProtocolVersion::TLSv1_2 => Some("1.2"),
            ProtocolVersion::TLSv1_3 => Some("1.3"),
            _ => None,
        }
    }

    /// Whether HTTP/2 was agreed on by ALPN (RFC 7301).
    pub fn is_http2(&self) -> bool {
        match &self.wire {
            Wire::Plain(_) => false,
            Wire::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }
}

/// Says how much of what was sent arrived, for as long as its stream lives.
#[derive(Clone, Copy)]
pub struct Meter(RawFd);

impl Meter {
    /// Bytes that the other end's machine has acknowledged (RFC 4898, tcpEStatsAppHCThruOctetsAcked).
    pub fn acknowledged(self) -> u64 {
        self.tcp_info().map_or(0, |info| info.tcpi_bytes_acked)
    }

    /// Has the kernel send at this pace from now on. A system without the option sends as it can.
    pub fn pace(self, pace: Pace) {
        let rate = match pace {
            Pace::Free => libc::c_ulong::MAX,
            Pace::At(rate) => libc::c_ulong::try_from(rate).unwrap_or(libc::c_ulong::MAX),
        };
        let length = size_of_val(&rate) as libc::socklen_t;
        // SAFETY: the kernel reads `length` bytes of `rate` and keeps no pointer.
        unsafe {
            libc::setsockopt(self.0, libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, (&raw const rate).cast(), length);
        }
    }

    /// Everything that the kernel says of the connection.
    pub fn tcp_info(self) -> Option<TCP_INFO> {
        get_tcp_info(self.0).ok()
    }
}

/// As tokio does for a stream that is not shared: fewer bytes than there was room for were all, and to ask again would
/// be a call for nothing.
fn poll_read(socket: &TcpStream, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
    loop {
        ready!(socket.poll_read_ready(cx))?;
        let room = buf.initialize_unfilled();
        let mut got = None;
        let read = socket.try_io(Interest::READABLE, || {
            let count = (&*SockRef::from(socket)).read(room)?;
            got = Some(count);
            if count > 0 && count < room.len() { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match (got, read) {
            (Some(count), _) => {
                buf.advance(count);
                return Poll::Ready(Ok(()));
            }
            (None, Err(error)) if error.kind() != ErrorKind::WouldBlock => return Poll::Ready(Err(error)),
            (None, _) => {}
        }
    }
}

fn poll_write(socket: &TcpStream, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
    loop {
        ready!(socket.poll_write_ready(cx))?;
        match socket.try_write_vectored(slices) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            written => return Poll::Ready(written),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Plain(stream) => poll_read(stream, cx, buf),
            Wire::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        let written = match &mut stream.wire {
            Wire::Plain(stream) => poll_write(stream, cx, &[IoSlice::new(bytes)]),
            Wire::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        };
        stream.waited(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        let written = match &mut stream.wire {
            Wire::Plain(stream) => poll_write(stream, cx, slices),
            Wire::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        };
        stream.waited(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        let flushed = match &mut stream.wire {
            Wire::Plain(_) => Poll::Ready(Ok(())),
            Wire::Tls(stream) => Pin::new(stream).poll_flush(cx),
        };
        stream.waited(flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Plain(stream) => Poll::Ready(SockRef::from(&**stream).shutdown(Shutdown::Write)),
            Wire::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Rewound {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let count = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead[..count]);
        self.ahead.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
