//! Accepts RTMP connections and runs each as a task of its own: a fault in one costs that one alone.

use crate::rtmp::connection::Connection;
use crate::rtmp::metrics::Metrics;
use crate::{PublishRequest, Publisher, Publishing, Refusal, admit};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

/// A bound socket, not yet served.
pub struct Listener {
    socket: std::net::TcpListener,
    address: SocketAddr,
    ingest: Arc<Ingest>,
}

/// What all connections of a listener share.
pub(super) struct Ingest {
    pub(super) config: config::Ingest,
    pub(super) metrics: Metrics,
    publishing: Arc<dyn Publishing>,
}

/// Why RTMP cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error(
        "cannot listen for RTMP on {address}: {source}; stop what uses the port, or set origin.rtmp_listen to an address of this machine and a free port"
    )]
    Bind { address: SocketAddr, source: std::io::Error },
    #[error("cannot register the metrics of RTMP ingest: {0}; register one listener per registry")]
    Metrics(#[from] prometheus::Error),
}

impl Listener {
    /// Takes the port now; connections wait in the backlog until [`Listener::run`]. Port 0 takes any free one.
    pub fn bind(
        address: SocketAddr,
        config: config::Ingest,
        publishing: Arc<dyn Publishing>,
        registry: &prometheus::Registry,
    ) -> Result<Self, ListenError> {
        let metrics = Metrics::register(registry)?;
        let failed = |source| ListenError::Bind { address, source };
        let socket = std::net::TcpListener::bind(address).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { socket, address, ingest: Arc::new(Ingest { config, metrics, publishing }) })
    }

    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, then ends every connection. Returns within 2 s of it.
    pub async fn run(self, stop: CancellationToken) {
        let listener = match TcpListener::from_std(self.socket) {
            Ok(listener) => listener,
            Err(error) => return error!(%error, "rtmp socket cannot be served"),
        };
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = tasks.join_next() => self.ingest.reap(ended),
                accepted = listener.accept() => match accepted {
                    Ok((socket, peer)) => self.ingest.serve(socket, peer, &mut tasks, &stop),
                    Err(error) => {
                        // Out of file descriptors, most likely: the connections that are open must end first.
                        warn!(%error, "rtmp accept failed");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        let drained = async {
            while let Some(ended) = tasks.join_next().await {
                self.ingest.reap(ended);
            }
        };
        if tokio::time::timeout(DRAIN_MAX, drained).await.is_err() {
            warn!(left = tasks.len(), "rtmp connections aborted");
            tasks.shutdown().await;
        }
    }
}

impl Ingest {
    /// Whether configuration and streams let this publish happen.
    pub(super) fn publish(&self, request: &PublishRequest) -> Result<Publisher, Refusal> {
        let answer = admit(&self.config, request).and_then(|who| self.publishing.publish(request, who));
        self.metrics.publish(answer.as_ref().map(|_| ()).map_err(|refusal| *refusal));
        answer
    }

    fn serve(self: &Arc<Self>, socket: TcpStream, peer: SocketAddr, tasks: &mut JoinSet<()>, stop: &CancellationToken) {
        if tasks.len() >= self.config.connections_max {
            warn!(%peer, max = self.config.connections_max, "rtmp connection refused: origin.ingest.connections_max");
            return self.metrics.connection_refused("connections_max");
        }
        if let Err(error) = socket.set_nodelay(true) {
            debug!(%peer, %error, "no TCP_NODELAY on an rtmp connection");
        }
        let connection = Connection::new(socket, peer, Arc::clone(self));
        tasks.spawn(connection.run(stop.clone()));
    }

    fn reap(&self, ended: Result<(), JoinError>) {
        if let Err(fault) = ended {
            error!(%fault, "rtmp connection task failed");
            self.metrics.connection_closed("fault");
        }
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const DRAIN_MAX: Duration = Duration::from_secs(2);
