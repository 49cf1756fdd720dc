//! One node as a server: it listens when it is made, runs until it is told to stop, and then drains.

use crate::access_log::AccessLog;
use crate::answer::Node;
use crate::client::Client;
use crate::connection::{Accepted, Connection};
use crate::h2;
use crate::metrics::{Bound, Metrics};
use crate::store::Store;
use crate::stream::{Rewound, Stream};
use crate::tls::{Tls, TlsError};
use crate::upstream::{UpstreamError, Upstreams};
use bytes::Bytes;
use futures_util::future::join_all;
use geo::{Files, Geo};
use prometheus::Registry;
use socket2::SockRef;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// An edge or a shield that listens.
pub struct Server {
    /// The plain one first.
    listeners: Vec<Listener>,
    node: Arc<Node>,
    tls: Option<Arc<Tls>>,
    check_databases: Duration,
    handed_over: CancellationToken,
    /// How long whoever is connected may stay after that.
    farewell: Duration,
}

struct Listener {
    socket: TcpListener,
    addr: SocketAddr,
    to: To,
}

/// Who comes by an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    Viewers,
    Https,
    Admin,
}

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    #[error(
        "cannot listen on {addr}: {source}; stop what uses the port, or set {key} to an address of this machine and a free port"
    )]
    Listen { key: &'static str, addr: SocketAddr, source: io::Error },
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the access log cannot be written: {0}; mend edge.access_log.path, or who may write there")]
    AccessLog(io::Error),
    #[error("metrics cannot be registered: {0}; give each edge a registry of its own")]
    Metrics(#[from] prometheus::Error),
}

/// Holds have this long to be released once the node is told to stop: as long as a part. Then they end with 503.
const RELEASE: Duration = Duration::from_secs(1);
/// Running answers finish in this time after that; then connections are cut.
const DRAIN: Duration = Duration::from_millis(500);
/// What was cut, then what the stores still do, and then the access log, has this long to end. With the two above, a stop
/// takes at most 3 s: whoever runs a node may lose patience soon after.
const CLEAR: Duration = Duration::from_millis(500);
/// Connections that may wait to be accepted; the kernel takes less where `net.core.somaxconn` is lower.
const BACKLOG: i32 = 65_535;
/// Before a viewer has let bytes wait, so many times the bound may: what is not longer leaves in one call.
const UNSENT_AT_FIRST: u32 = 8;
/// How long no connection is taken after one could not be.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What is due in the stores is dropped this often; a part's lifetime is counted in seconds.
const SWEEP: Duration = Duration::from_secs(1);

impl Server {
    /// Listens on `config.listen` and `config.tls.listen`; port 0 takes any free port.
    ///
    /// # Errors
    /// If an address is taken, a certificate cannot be served, upstream cannot be asked at all, or the registry already
    /// has an edge's metrics.
    pub fn bind(config: config::Edge, registry: &Registry) -> Result<Self, EdgeError> {
        Self::bind_with(config, registry, Vec::new())
    }

    /// As [`Self::bind`], with sockets that listen already: those on an address of the configuration are used, the others
    /// closed.
    ///
    /// # Errors
    /// As [`Self::bind`].
    pub fn bind_with(
        config: config::Edge,
        registry: &Registry,
        mut sockets: Vec<TcpListener>,
    ) -> Result<Self, EdgeError> {
        let mut listeners = vec![Listener::bind(config.listen, To::Viewers, &mut sockets)?];
        for addr in &config.tls.listen {
            listeners.push(Listener::bind(*addr, To::Https, &mut sockets)?);
        }
        if let Some(addr) = config.admin.listen {
            listeners.push(Listener::bind(addr, To::Admin, &mut sockets)?);
        }
        listeners.iter().for_each(|listener| listener.bound_unsent(config.qoe.unsent_bytes_max));
        let metrics = Arc::new(Metrics::new(registry)?);
        let secure = !config.tls.listen.is_empty();
        let tls = secure.then(|| Tls::new(&config.tls, &metrics)).transpose()?.map(Arc::new);
        let upstreams = Arc::new(Upstreams::new(&config, metrics.clone())?);
        let store = Arc::new(Store::new(&config, upstreams, metrics.clone()));
        let databases = config.geo.clone();
        let files = Files { country: databases.country_database, city: databases.city_database, asn: None };
        let geo = Arc::new(Geo::load(files));
        metrics.databases.show(geo.standings());
        let log = AccessLog::open(&config.access_log, store.upstreams.clone(), metrics.clone())
            .map_err(EdgeError::AccessLog)?;
        let node = Arc::new(Node::new(&config, store, geo, log, registry.clone()));
        Ok(Self {
            listeners,
            node,
            tls,
            check_databases: databases.check_interval,
            handed_over: CancellationToken::new(),
            farewell: config.hold_max + RELEASE,
        })
    }

    /// Where plain HTTP is served.
    pub fn addr(&self) -> SocketAddr {
        self.listeners[0].addr
    }

    /// What answers, for whoever asks without a transport.
    pub fn node(&self) -> Arc<Node> {
        self.node.clone()
    }

    /// Where HTTPS is served.
    pub fn tls_addrs(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter(|listener| listener.to == To::Https).map(|listener| listener.addr).collect()
    }

    /// Where those who run this node look at it.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.listeners.iter().find(|listener| listener.to == To::Admin).map(|listener| listener.addr)
    }

    /// What writes requests down, for whoever moves its file away.
    pub fn access_log(&self) -> Option<Arc<AccessLog>> {
        self.node.log.clone()
    }

    /// The sockets that this node listens on, for a process that takes them over.
    ///
    /// # Errors
    /// If the process may have no more descriptors.
    pub fn sockets(&self) -> io::Result<Vec<TcpListener>> {
        self.listeners.iter().map(|listener| listener.socket.try_clone()).collect()
    }

    /// Cancelled by the caller once another process listens on the same sockets: then this node takes no more
    /// connections, and ends when those that it has are done.
    pub fn handed_over(&self) -> CancellationToken {
        self.handed_over.clone()
    }

    /// Serves until `stop` or until it is handed over. Connections close after the answer they are at; holds have their
    /// time to be released, and are answered 503 then; whoever is not done soon after is cut.
    pub async fn run(self, stop: CancellationToken) {
        let door = Arc::new(Door { node: self.node, tls: self.tls, cut: CancellationToken::new() });
        let connections = TaskTracker::new();
        let accepting = self.listeners.into_iter().map(|listener| accept(listener, &door, &connections));
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.handed_over.cancelled() => {}
            _ = join_all(accepting) => {}
            () = sweep(&door.node) => {}
            () = door.watch_certificates() => {}
            () = door.node.steering.watch() => {}
            () = follow_databases(&door.node, self.check_databases) => {}
            () = tend(&door.node) => {}
        }
        let departure = &door.node.departure;
        departure.begun.cancel();
        connections.close();
        if self.handed_over.is_cancelled() {
            tracing::info!(left = connections.len(), "handed over; waiting for viewers to go");
            // Whoever has a connection finds its successor with the next one, which it makes after its next answer. To
            // close it while the next request may be on its way would lose that one.
            tokio::select! {
                () = connections.wait() => {}
                () = stop.cancelled() => {}
                () = sleep(self.farewell) => {}
                () = sweep(&door.node) => {}
            }
        }
        departure.closing.cancel();
        let _ = timeout(RELEASE, connections.wait()).await;
        departure.overdue.cancel();
        if timeout(DRAIN, connections.wait()).await.is_err() {
            let left = connections.len();
            tracing::warn!(left, "connections cut that did not end in time");
            (0..left).for_each(|_| door.node.metrics.bit(Bound::Drain));
            door.cut.cancel();
            let _ = timeout(CLEAR, connections.wait()).await;
        }
        settle(&door.node).await;
    }
}

impl Listener {
    fn bind(addr: SocketAddr, to: To, sockets: &mut Vec<TcpListener>) -> Result<Self, EdgeError> {
        let key = match to {
            To::Viewers => "edge.listen",
            To::Https => "edge.tls.listen",
            To::Admin => "edge.admin.listen",
        };
        let taken = |source| EdgeError::Listen { key, addr, source };
        let inherited = sockets.iter().position(|socket| socket.local_addr().is_ok_and(|local| local == addr));
        let socket = match inherited {
            Some(index) => sockets.swap_remove(index),
            None => TcpListener::bind(addr).map_err(taken)?,
        };
        socket.set_nonblocking(true).map_err(taken)?;
        // The standard library's backlog of 128 would turn a flash crowd into retransmissions a second later.
        SockRef::from(&socket).listen(BACKLOG).map_err(taken)?;
        let addr = socket.local_addr().map_err(taken)?;
        Ok(Self { socket, addr, to })
    }

    /// Holds for every connection that it accepts, without a call for each.
    fn bound_unsent(&self, bytes_max: u32) {
        let at_first = bytes_max.saturating_mul(UNSENT_AT_FIRST);
        if bytes_max > 0
            && let Err(error) = SockRef::from(&self.socket).set_tcp_notsent_lowat(at_first)
        {
            tracing::warn!(%error, "edge.qoe.unsent_bytes_max has no effect on this system");
        }
    }
}

/// What every connection gets.
struct Door {
    node: Arc<Node>,
    tls: Option<Arc<Tls>>,
    cut: CancellationToken,
}

async fn accept(listener: Listener, door: &Arc<Door>, connections: &TaskTracker) {
    let Listener { socket, addr, to } = listener;
    let listener = match tokio::net::TcpListener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the listening socket cannot be used"),
    };
    tracing::info!(%addr, ?to, "edge listens");
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                let client = match to {
                    To::Admin => Client::admin(peer.ip()),
                    To::Viewers | To::Https => Client::new(peer.ip(), to == To::Https),
                };
                connections.spawn(door.clone().serve(socket, client));
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
        let viewers = i64::from(!client.admin);
        gauge.add(viewers);
        // Answers leave in one call; waiting for more to send would only delay them.
        if socket.set_nodelay(true).is_ok() {
            match self.node.connect(client) {
                Ok(_place) => {
                    if let Some(stream) = self.open(socket, client.secure).await {
                        self.talk(stream.bounded(self.node.limits.unsent_bytes_max), client).await;
                    }
                }
                // A handshake only to say no would be what an attacker wants.
                Err(_) if client.secure => {}
                Err(refusal) => Box::pin(self.connection(Stream::from(socket), client).refuse(refusal)).await,
            }
        }
        gauge.sub(viewers);
    }

    async fn open(&self, socket: TcpStream, secure: bool) -> Option<Stream> {
        let Some(tls) = self.tls.as_ref().filter(|_| secure) else { return Some(Stream::from(socket)) };
        tokio::select! {
            // The future of a handshake is several kilobytes; in a box it goes when the handshake is done.
            stream = Box::pin(tls.accept(socket)) => stream,
            () = self.node.departure.closing.cancelled() => None,
        }
    }

    async fn talk(&self, stream: Stream, client: Client) {
        let rewound = if stream.is_http2() {
            Some(Rewound { ahead: Bytes::new(), stream })
        } else {
            // In a box of its own, so that a connection of HTTP/2 does not carry the room for it.
            Box::pin(self.connection(stream, client).serve()).await
        };
        if let Some(stream) = rewound {
            tokio::select! {
                () = Box::pin(h2::serve(&self.node, stream, client)) => {}
                () = self.cut.cancelled() => {}
            }
        }
    }

    fn connection(&self, stream: Stream, client: Client) -> Connection {
        Connection::new(self.node.clone(), Accepted { stream, client }, self.cut.clone())
    }

    async fn watch_certificates(&self) {
        match &self.tls {
            Some(tls) => tls.watch().await,
            None => std::future::pending().await,
        }
    }
}

/// Probes those upstream, and keeps the cache on disk until a successor is to have its folder.
async fn tend(node: &Node) {
    let keeping = async {
        if let Some(disk) = &node.store.disk {
            disk.keep().await;
        }
    };
    tokio::join!(node.store.upstreams.probe(), keeping);
}

/// Ends what no connection waits for.
async fn settle(node: &Node) {
    let Store { stop, tasks, .. } = &*node.store;
    stop.cancel();
    tasks.close();
    let _ = timeout(CLEAR, tasks.wait()).await;
    if let Some(log) = &node.log {
        let _ = timeout(CLEAR, log.close()).await;
    }
}

async fn sweep(node: &Node) {
    let mut tick = interval(SWEEP);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let due = tick.tick().await;
        node.qoe.ran_late(due.elapsed());
        node.store.sweep().await;
        if let Some(clients) = &node.clients {
            clients.sweep(Instant::now());
        }
    }
}

/// Reads databases of places anew as their files change.
async fn follow_databases(node: &Node, every: Duration) {
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let geo = node.geo.clone();
        if let Err(error) = spawn_blocking(move || geo.refresh()).await {
            tracing::error!(%error, "geo databases cannot be read anew");
        }
        node.metrics.databases.show(node.geo.standings());
    }
}
