//! The accept loop: HTTP/1.1 and h2c on one port, a bound on connections, and a drain that ends.

use crate::metrics::Metrics;
use crate::pages::Peer;
use axum::Router;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

pub(crate) struct Serve {
    pub(crate) listener: TcpListener,
    pub(crate) routes: Router,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) connections_max: usize,
}

impl Serve {
    /// Serves until `stop`, then lets open requests finish for [`DRAIN`].
    pub(crate) async fn run(self, stop: CancellationToken) {
        let room = Arc::new(Semaphore::new(self.connections_max.min(Semaphore::MAX_PERMITS)));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                // Finished connections are reaped as they end, or the set would grow for ever.
                Some(_) = connections.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            let (socket, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely; the next one is worth waiting for.
                    warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            match room.clone().try_acquire_owned() {
                Ok(permit) => {
                    connections.spawn(self.connection(socket, peer, permit, stop.clone()));
                }
                Err(_) => self.metrics.refused_connections.inc(),
            }
        }
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            debug!("connections outlived the drain");
        }
    }

    fn connection(
        &self,
        socket: TcpStream,
        peer: SocketAddr,
        permit: OwnedSemaphorePermit,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + use<> {
        let (routes, metrics) = (self.routes.clone(), self.metrics.clone());
        async move {
            metrics.connections.inc();
            let service = service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(Peer(peer));
                tower::Service::call(&mut routes.clone(), request)
            });
            // Playlists are small and awaited: a delayed acknowledgement would cost more than the packet saves.
            let _ = socket.set_nodelay(true);
            if let Err(error) = exchange(socket, service, HEADER_TIMEOUT, stop).await {
                debug!(%peer, %error, "connection ended early");
            }
            metrics.connections.dec();
            drop(permit);
        }
    }
}

/// Serves one connection, which has `header_timeout` for each request's head.
async fn exchange<Io, S>(
    io: Io,
    service: S,
    header_timeout: Duration,
    stop: CancellationToken,
) -> Result<(), Box<dyn Error + Send + Sync>>
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(header_timeout);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(header_timeout);
    let asked = CancellationToken::new();
    let first = asked.clone();
    let service = service_fn(move |request| {
        first.cancel();
        service.call(request)
    });
    let connection = builder.serve_connection(TokioIo::new(io), service);
    tokio::pin!(connection);
    // The builder's own timeout begins once it has seen which version the client speaks; a silent one never says.
    tokio::select! {
        biased;
        ended = connection.as_mut() => return ended,
        () = asked.cancelled() => {}
        () = stop.cancelled() => return Ok(()),
        () = tokio::time::sleep(header_timeout) => return Err("no request came in time".into()),
    }
    tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

/// A client that takes longer to send its request, or to send another one, is gone or hostile.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// `vivid dev` kills what has not ended within 4 s; the rest of that is for the probers and for a busy machine.
const DRAIN: Duration = Duration::from_millis(2500);

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    const HEAD: &[u8] = b"GET / HTTP/1.1\r\nhost: router\r\n\r\n";
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    /// An empty SETTINGS frame.
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    const SHORT: Duration = Duration::from_millis(50);
    const HOUR: Duration = Duration::from_secs(3600);
    /// Far above what a busy machine adds to `SHORT`.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A client that has sent `bytes` to a server that answers once `open` is cancelled.
    async fn client(bytes: &[u8], open: CancellationToken, stop: &CancellationToken) -> DuplexStream {
        patient(SHORT, bytes, open, stop).await
    }

    async fn patient(
        header_timeout: Duration,
        bytes: &[u8],
        open: CancellationToken,
        stop: &CancellationToken,
    ) -> DuplexStream {
        let (mut client, server) = duplex(1 << 16);
        let service = service_fn(move |_| {
            let open = open.clone();
            async move {
                open.cancelled().await;
                Ok(Response::new("done".into()))
            }
        });
        tokio::spawn(exchange(server, service, header_timeout, stop.clone()));
        client.write_all(bytes).await.unwrap();
        client
    }

    /// What the server sends until it closes the connection.
    async fn rest(mut client: DuplexStream) -> Vec<u8> {
        let mut answer = Vec::new();
        tokio::time::timeout(PATIENCE, client.read_to_end(&mut answer)).await.expect("never closed").unwrap();
        answer
    }

    #[tokio::test]
    async fn a_client_that_never_sends_a_whole_request_is_let_go() {
        let asked_nothing = [PREFACE, SETTINGS].concat();
        for bytes in [b"".as_slice(), &PREFACE[..16], &HEAD[..20], &asked_nothing] {
            let began = Instant::now();
            rest(client(bytes, CancellationToken::new(), &CancellationToken::new()).await).await;
            assert!(began.elapsed() >= SHORT, "cut before its time after {bytes:?}");
        }
    }

    #[tokio::test]
    async fn a_request_may_wait_longer_than_its_head_and_the_idle_connection_then_ends() {
        let (open, stop) = (CancellationToken::new(), CancellationToken::new());
        let waiting = client(HEAD, open.clone(), &stop).await;
        // Two that say nothing, one after the other: when both were let go, the time for a head is long over.
        for _ in 0..2 {
            rest(client(b"", open.clone(), &stop).await).await;
        }
        open.cancel();
        assert!(rest(waiting).await.ends_with(b"done"));
    }

    #[tokio::test]
    async fn a_stop_cuts_who_has_not_asked_at_once_and_lets_the_others_finish() {
        let (open, stop) = (CancellationToken::new(), CancellationToken::new());
        let waiting = patient(HOUR, HEAD, open.clone(), &stop).await;
        let partial = patient(HOUR, &HEAD[..20], open.clone(), &stop).await;
        let silent = patient(HOUR, b"", open.clone(), &stop).await;
        stop.cancel();
        assert!(rest(partial).await.is_empty());
        assert!(rest(silent).await.is_empty());
        open.cancel();
        assert!(rest(waiting).await.ends_with(b"done"));
    }
}
