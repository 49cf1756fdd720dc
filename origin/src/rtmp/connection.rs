//! Drives one session over its socket: deadlines, the hand-over of items, and an end the encoder gets to read.

use crate::metrics::Share;
use crate::rtmp::listener::Ingest;
use crate::rtmp::session::{Closed, Event, Session};
use crate::{Ingested, PublishRequest, Publisher, StreamClosed};
use bytes::BytesMut;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

pub(super) struct Connection {
    socket: TcpStream,
    peer: SocketAddr,
    ingest: Arc<Ingest>,
    session: Session,
    input: BytesMut,
    open: Share,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Session(#[from] Closed),
    #[error("no publish within {0:?} of connecting (origin.ingest.handshake_timeout_ms)")]
    HandshakeDeadline(Duration),
    #[error("no frame for {0:?} (origin.ingest.idle_timeout_ms)")]
    Idle(Duration),
    #[error("the publisher closed the connection")]
    Hangup,
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Stream(#[from] StreamClosed),
    #[error("the origin stops")]
    Stopped,
}

impl Connection {
    pub(super) fn new(socket: TcpStream, peer: SocketAddr, ingest: Arc<Ingest>) -> Self {
        let session = Session::new(ingest.config.message_bytes_max);
        let open = Share::new(&ingest.metrics.connections, 1);
        Self { socket, peer, ingest, session, input: BytesMut::with_capacity(READ_BYTES), open }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        let ended = tokio::select! {
            () = stop.cancelled() => Ended::Stopped,
            ended = self.serve() => ended,
        };
        let peer = self.peer;
        match &ended {
            Ended::Session(Closed::Finished) | Ended::Stopped => info!(%peer, reason = %ended, "rtmp connection ended"),
            Ended::Hangup => debug!(%peer, reason = %ended, "rtmp connection ended"),
            _ => info!(%peer, reason = %ended, "rtmp connection closed"),
        }
        self.ingest.metrics.connection_closed(ended.label());
        if let Ended::Idle(_) | Ended::Stream(_) | Ended::Stopped = ended {
            self.session.fail(&ended.to_string());
        }
        self.close().await;
        drop(self.open);
    }

    async fn serve(&mut self) -> Ended {
        let limit = self.ingest.config.handshake_timeout;
        let (request, publisher) = match timeout(limit, self.handshake()).await {
            Ok(Ok(accepted)) => accepted,
            Ok(Err(ended)) => return ended,
            Err(_) => return Ended::HandshakeDeadline(limit),
        };
        let (peer, stream) = (self.peer, request.stream);
        info!(%peer, %stream, "publish accepted");
        match self.publish(publisher).await {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    /// Until a publish is accepted.
    async fn handshake(&mut self) -> Result<(PublishRequest, Publisher), Ended> {
        loop {
            while let Some(event) = self.session.poll() {
                match event {
                    Event::PublishRequested(request) => match self.ingest.publish(&request) {
                        Ok(publisher) => {
                            self.session.accept();
                            self.flush().await?;
                            return Ok((request, publisher));
                        }
                        Err(refusal) => {
                            let stream: String = request.stream.chars().take(NAME_CHARS_LOGGED).collect();
                            info!(peer = %self.peer, ?stream, "publish refused");
                            self.session.refuse(refusal);
                        }
                    },
                    Event::Item(_) => {}
                    Event::Dropped(reason) => self.ingest.metrics.message_dropped(reason),
                    Event::Closed(reason) => return Err(reason.into()),
                }
            }
            self.flush().await?;
            self.receive().await?;
        }
    }

    /// Until the publisher, the stream or the idle deadline ends it.
    async fn publish(&mut self, publisher: Publisher) -> Result<std::convert::Infallible, Ended> {
        let limit = self.ingest.config.idle_timeout;
        let mut deadline = Instant::now() + limit;
        loop {
            let idle = |_| Ended::Idle(limit);
            if timeout_at(deadline, self.hand_over(&publisher)).await.map_err(idle)?? > 0 {
                deadline = Instant::now() + limit;
            }
            let more = async {
                self.flush().await?;
                tokio::select! {
                    closed = publisher.closed() => Err(Ended::from(closed)),
                    received = self.receive() => received,
                }
            };
            timeout_at(deadline, more).await.map_err(idle)??;
        }
    }

    /// Everything the session has; returns the number of frames among it.
    async fn hand_over(&mut self, publisher: &Publisher) -> Result<usize, Ended> {
        let mut frames = 0;
        while let Some(event) = self.session.poll() {
            match event {
                Event::Item(item) => {
                    if let Ingested::Frame(frame) = &item {
                        self.ingest.metrics.frame(frame.kind);
                        frames += 1;
                    }
                    publisher.send(item).await?;
                }
                Event::PublishRequested(_) => {}
                Event::Dropped(reason) => self.ingest.metrics.message_dropped(reason),
                Event::Closed(reason) => return Err(reason.into()),
            }
        }
        Ok(frames)
    }

    async fn receive(&mut self) -> Result<(), Ended> {
        self.input.clear();
        let read = self.socket.read_buf(&mut self.input).await?;
        if read == 0 {
            return Err(Ended::Hangup);
        }
        self.ingest.metrics.bytes_in.inc_by(read as u64);
        self.session.receive(&self.input);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Ended> {
        let output = self.session.take_output();
        Ok(self.socket.write_all(&output).await?)
    }

    /// Writes what is left and waits a moment for the other side to close: a socket closed with unread input resets the
    /// connection, and the encoder would never read why.
    async fn close(&mut self) {
        let goodbye = async {
            self.flush().await?;
            self.socket.shutdown().await?;
            for _ in 0..LINGER_READS_MAX {
                self.receive_nothing().await?;
            }
            Ok::<_, Ended>(())
        };
        // Whatever goes wrong now, the connection is over.
        let _ = timeout(LINGER_MAX, goodbye).await;
    }

    async fn receive_nothing(&mut self) -> Result<(), Ended> {
        self.input.clear();
        if self.socket.read_buf(&mut self.input).await? == 0 { Err(Ended::Hangup) } else { Ok(()) }
    }
}

impl Ended {
    /// The value of the `reason` label in metrics.
    fn label(&self) -> &'static str {
        match self {
            Self::Session(reason) => reason.label(),
            Self::HandshakeDeadline(_) => "handshake_deadline",
            Self::Idle(_) => "idle",
            Self::Hangup => "hangup",
            Self::Io(_) => "io",
            Self::Stream(StreamClosed::TakenOver) => "taken_over",
            Self::Stream(_) => "stream_closed",
            Self::Stopped => "stopped",
        }
    }
}

/// A stream name has at most 64; what is refused may be anything.
const NAME_CHARS_LOGGED: usize = 64;
/// About 25 ms of a 20 Mbit/s stream.
const READ_BYTES: usize = 64 << 10;
/// For the encoder to read the reason; well inside the 2 s the listener drains.
const LINGER_MAX: Duration = Duration::from_secs(1);
const LINGER_READS_MAX: usize = 64;
