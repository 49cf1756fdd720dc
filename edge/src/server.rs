//! One node as a server: it listens when it is made, runs until it is told to stop, and then drains.

use crate::answer::Node;
use crate::client::Client;
use crate::connection::{Accepted, Connection, Limits};
use crate::h2;
use crate::metrics::{Bound, Metrics};
use crate::store::Store;
use crate::upstream::{Upstream, UpstreamError};
use prometheus::Registry;
use socket2::SockRef;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// An edge or a shield that listens.
pub struct Server {
    listener: TcpListener,
    addr: SocketAddr,
    node: Arc<Node>,
    limits: Limits,
}

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    #[error("cannot listen on {addr}: {source}; stop what uses it, or write another edge.listen")]
    Listen { addr: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error("metrics cannot be registered: {0}; give each edge a registry of its own")]
    Metrics(#[from] prometheus::Error),
}

/// Holds end and running answers finish in this time once told to stop; then connections are cut.
const DRAIN: Duration = Duration::from_millis(1500);
/// What was cut, and then what the stores still do, has this long to end. With `DRAIN`, a stop takes at most 2.5 s:
/// whoever runs a node may lose patience soon after.
const CLEAR: Duration = Duration::from_millis(500);
/// Connections that may wait to be accepted; the kernel takes less where `net.core.somaxconn` is lower.
const BACKLOG: i32 = 65_535;
/// How long no connection is taken after one could not be.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What is due in the stores is dropped this often; a part's lifetime is counted in seconds.
const SWEEP: Duration = Duration::from_secs(1);

impl Server {
    /// Listens on `config.listen`; port 0 takes any free port.
    ///
    /// # Errors
    /// If the address is taken, upstream cannot be asked at all, or the registry already has an edge's metrics.
    pub fn bind(config: config::Edge, registry: &Registry) -> Result<Self, EdgeError> {
        let taken = |source| EdgeError::Listen { addr: config.listen, source };
        let listener = TcpListener::bind(config.listen).map_err(taken)?;
        listener.set_nonblocking(true).map_err(taken)?;
        // The standard library's backlog of 128 would turn a flash crowd into retransmissions a second later.
        SockRef::from(&listener).listen(BACKLOG).map_err(taken)?;
        let addr = listener.local_addr().map_err(taken)?;
        let metrics = Arc::new(Metrics::new(registry)?);
        let upstream = Arc::new(Upstream::new(config.upstream.clone(), &config.name)?);
        let store = Arc::new(Store::new(&config, upstream, metrics));
        let node = Arc::new(Node::new(&config, store, registry.clone()));
        let limits = Limits { header_timeout: config.header_timeout, keepalive_timeout: config.keepalive_timeout };
        Ok(Self { listener, addr, node, limits })
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `stop`, then drains: holds are answered 503, connections close after the answer they are at, and
    /// whoever is not done soon is cut.
    pub async fn run(self, stop: CancellationToken) {
        let door = Arc::new(Door { node: self.node, limits: self.limits, cut: CancellationToken::new() });
        let connections = TaskTracker::new();
        tracing::info!(addr = %self.addr, "edge listens");
        tokio::select! {
            () = stop.cancelled() => {}
            () = accept(self.listener, &door, &connections) => {}
            () = sweep(&door.node) => {}
        }
        door.node.draining.cancel();
        connections.close();
        if timeout(DRAIN, connections.wait()).await.is_err() {
            let left = connections.len();
            tracing::warn!(left, "connections cut that did not end in time");
            (0..left).for_each(|_| door.node.metrics.bit(Bound::Drain));
            door.cut.cancel();
            let _ = timeout(CLEAR, connections.wait()).await;
        }
        let store = &door.node.store;
        store.stop.cancel();
        store.tasks.close();
        let _ = timeout(CLEAR, store.tasks.wait()).await;
    }
}

/// What every connection gets.
struct Door {
    node: Arc<Node>,
    limits: Limits,
    cut: CancellationToken,
}

async fn accept(listener: TcpListener, door: &Arc<Door>, connections: &TaskTracker) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the listening socket cannot be used"),
    };
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                connections.spawn(door.clone().serve(socket, Client::new(peer.ip())));
            }
            Err(error) => {
                // Out of descriptors or memory: asking again at once would only burn what is left.
                tracing::warn!(%error, "cannot accept; check the limit of open files");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Door {
    async fn serve(self: Arc<Self>, socket: TcpStream, client: Client) {
        let gauge = &self.node.metrics.connections;
        gauge.inc();
        // Answers leave in one call; waiting for more to send would only delay them.
        if socket.set_nodelay(true).is_ok() {
            let accepted = Accepted { stream: socket, client };
            let connection = Connection::new(self.node.clone(), accepted, self.limits, self.cut.clone());
            if let Some(stream) = connection.serve().await {
                tokio::select! {
                    () = Box::pin(h2::serve(&self.node, self.limits, stream, client)) => {}
                    () = self.cut.cancelled() => {}
                }
            }
        }
        gauge.dec();
    }
}

async fn sweep(node: &Node) {
    let mut tick = interval(SWEEP);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tick.tick().await;
        node.store.sweep().await;
    }
}
