//! The router as a server: bound, then run until told to stop.

use crate::fetch;
use crate::metrics::Metrics;
use crate::origin::Playlists;
use crate::pages;
use crate::prober::Prober;
use crate::rank::Rules;
use crate::serve::Serve;
use crate::session::Sessions;
use crate::snapshot::Snapshot;
use crate::state::State;
use crate::watched::Watched;
use arc_swap::ArcSwap;
use axum::Router;
use geo::{Files, Geo};
use manifest::steering::{ServerUri, SteeringError, SteeringList};
use parking_lot::Mutex;
use prometheus::Registry;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

/// A bound router. It accepts connections from then on and answers them once it runs.
pub struct Server {
    address: SocketAddr,
    listener: TcpListener,
    routes: Router,
    state: Arc<State>,
    prober: Prober,
}

/// Why a router cannot start.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    #[error(
        "cannot listen on {address}: {source}; stop what uses the port, or set router.listen to an address of this machine and a free port"
    )]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("viewers cannot be steered: {0}; correct router.cdns or router.public_url")]
    Steering(#[from] SteeringError),
    #[error("the HTTP client cannot be set up: {0}; install the ca-certificates package")]
    Client(#[from] reqwest::Error),
    #[error("a metric is registered already: {0}; give each router its own registry")]
    Metrics(#[from] prometheus::Error),
}

impl Server {
    /// Binds `config.listen` (port 0 picks one) and loads the geo databases. `extra` is served beside the router's own
    /// routes: `/live/{stream}/index.m3u8`, `/steer/…`, `/_vivid/router|metrics|livez|readyz` must not be among it.
    pub fn bind(config: config::Router, extra: Router, registry: &Registry) -> Result<Self, RouterError> {
        let rules = Rules::new(&config)?;
        // What a handler cannot repair must not come up there.
        SteeringList::new(config.steering.ttl, rules.ids().cloned().collect())?;
        if let Some(url) = &config.public_url {
            ServerUri::new(format!("{url}/steer/x"))?;
        }
        let listen = |source| RouterError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let client = fetch::client()?;
        let metrics = Metrics::register(registry)?;
        let geo = Geo::load(Files {
            country: config.geo.country_database.clone(),
            city: config.geo.city_database.clone(),
            asn: config.geo.asn_database.clone(),
        });
        metrics.geo(geo.standings());
        let idle_max = IDLE_MIN.max(config.steering.ttl * 3);
        let state = Arc::new(State {
            playlists: Playlists::new(client.clone(), &config),
            watched: Mutex::new(Watched::new(config.probe.streams_max, idle_max)),
            snapshot: ArcSwap::from_pointee(Snapshot::empty(&rules)),
            version: watch::Sender::new(0),
            sessions: Sessions::default(),
            geo,
            metrics: Arc::new(metrics),
            registry: registry.clone(),
            began: Instant::now(),
            rules,
            config,
        });
        let prober = Prober::new(state.clone(), client);
        let routes = pages::routes(state.clone()).merge(extra);
        Ok(Self { address, listener, routes, state, prober })
    }

    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The version of the snapshot that decides, changing with each round of probes.
    pub fn snapshots(&self) -> watch::Receiver<u64> {
        self.state.version.subscribe()
    }

    /// Serves and probes until `stop`, then drains for at most 4 s.
    pub async fn run(self, stop: CancellationToken) -> Result<(), RouterError> {
        let listen = |source| RouterError::Listen { address: self.address, source };
        let listener = tokio::net::TcpListener::from_std(self.listener).map_err(listen)?;
        info!(address = %self.address, cdns = self.state.config.cdns.len(), "router serves");
        let (metrics, connections_max) = (self.state.metrics.clone(), self.state.config.connections_max);
        let serve = Serve { listener, routes: self.routes, metrics, connections_max };
        tokio::select! {
            () = serve.run(stop) => {}
            () = self.prober.run() => {}
            () = follow_databases(&self.state) => {}
        }
        Ok(())
    }
}

async fn follow_databases(state: &Arc<State>) {
    let mut tick = interval(state.config.geo.check_interval);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let reading = state.clone();
        if let Err(error) = spawn_blocking(move || reading.geo.refresh()).await {
            error!(%error, "geo databases cannot be read anew");
        }
        state.metrics.geo(state.geo.standings());
    }
}

/// A stream stays probed for a minute after its last viewer asked, and over three polls of a slow one.
const IDLE_MIN: Duration = Duration::from_secs(60);
