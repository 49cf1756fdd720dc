//! The origin as a process runs it: binds its ports, serves until told to stop, drains.

use crate::Publishing;
use crate::archive::{Archive, Ledger};
use crate::http::{self, App};
use crate::metrics::Metrics;
use crate::rtmp::{ListenError, Listener};
use crate::store::{self, Claim, Keeping, Recovered};
use crate::streams::{Context, Directory};
use prometheus::Registry;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use transcode::{MissingEncoder, Remote, WorkerProgram};

/// Bound to its ports, and ready to run.
pub struct Server {
    http: std::net::TcpListener,
    http_addr: SocketAddr,
    rtmp: Listener,
    workers: Option<(std::net::TcpListener, Remote)>,
    directory: Directory,
    app: App,
    left: Vec<Recovered>,
    disk: Option<Claim>,
    archive: Option<Archive>,
}

/// Why an origin cannot run.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    #[error(
        "cannot listen for HTTP on {addr}: {source}; stop what uses the port, or set origin.http_listen to an address of this machine and a free port"
    )]
    Listen { addr: SocketAddr, source: std::io::Error },
    #[error(
        "another origin keeps its windows in {}; stop it, or set origin.disk.path to a folder of this one's own",
        path.display()
    )]
    DiskTaken { path: PathBuf },
    #[error("origin.ladder, or one of origin.ladders, cannot be made: {0}")]
    Encoder(#[from] MissingEncoder),
    #[error(
        "cannot listen for workers on {addr}: {source}; stop what uses the port, or set origin.remote_workers.listen to a free one"
    )]
    ListenForWorkers { addr: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Rtmp(#[from] ListenError),
    #[error("cannot register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// What open requests have to finish once the origin stops. `vivid dev` kills what has not ended within 4 s; the rest
/// of that is for the streams' workers.
const DRAIN: Duration = Duration::from_millis(2500);

impl Server {
    /// Takes the ports of `config` now; port 0 takes a free one. `program` is run once per epoch to transcode.
    pub fn bind(config: config::Origin, program: WorkerProgram, registry: &Registry) -> Result<Self, OriginError> {
        let ladders = config.ladders.iter().map(|rule| &rule.ladder);
        ladders.chain([&config.ladder]).try_for_each(transcode::check_encoders)?;
        let addr = config.http_listen;
        let failed = |source| OriginError::Listen { addr, source };
        let http = std::net::TcpListener::bind(addr).map_err(failed)?;
        http.set_nonblocking(true).map_err(failed)?;
        let http_addr = http.local_addr().map_err(failed)?;
        let path = config.disk.path.clone();
        let taken = |_| OriginError::DiskTaken { path: path.clone().unwrap_or_default() };
        let disk = store::claim(path.as_deref()).map_err(taken)?;
        if config.ingest.publishers.is_empty() && !config.ingest.open {
            tracing::warn!("nobody can publish here; write origin.ingest.publishers, or origin.ingest.open = true");
        }
        let metrics = Metrics::register(registry)?;
        let transcode_metrics = transcode::Metrics::register(registry)?;
        let (archive, keeping) = archive(&config, &metrics).unzip();
        let workers = workers(&config, &transcode_metrics)?;
        let remote = workers.as_ref().map(|(_, remote)| remote.clone());
        let (context, left) =
            Context::new(config.clone(), (program, remote), (metrics.clone(), transcode_metrics), keeping);
        let directory = Directory::new(context);
        let publishing = Arc::new(directory.clone());
        let rtmp = Listener::bind(config.rtmp_listen, config.ingest.clone(), publishing, registry)?;
        let app =
            App::new(&config, (directory.clone(), archive.clone()), (metrics, registry.clone()), rtmp.addr().port());
        Ok(Self { http, http_addr, rtmp, workers, directory, app, left, disk, archive })
    }

    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Where workers of other machines call, if they may.
    pub fn workers_addr(&self) -> Option<SocketAddr> {
        self.workers.as_ref().and_then(|(listener, _)| listener.local_addr().ok())
    }

    pub fn rtmp_addr(&self) -> SocketAddr {
        self.rtmp.addr()
    }

    /// The table of streams, as ingest protocols see it.
    pub fn publishing(&self) -> Arc<dyn Publishing> {
        Arc::new(self.directory.clone())
    }

    /// Serves until `stop` is cancelled, then drains; returns within five seconds of that.
    pub async fn run(self, stop: CancellationToken) {
        tracing::info!(http = %self.http_addr, rtmp = %self.rtmp_addr(), "origin serves");
        let Self { http, rtmp, workers, directory, app, left, disk: _disk, archive, .. } = self;
        tokio::select! {
            () = directory.try_devices() => {}
            () = stop.cancelled() => {}
        }
        directory.recover(left);
        if let Some(archive) = archive {
            let (directory, stop) = (directory.clone(), stop.clone());
            tokio::spawn(async move { archive.keep(directory, stop).await });
        }
        if let Some((listener, remote)) = workers {
            match TcpListener::from_std(listener) {
                Ok(listener) => drop(tokio::spawn(remote.listen(listener, stop.clone()))),
                Err(error) => {
                    tracing::error!(%error, "the socket for workers cannot be served; this machine works alone")
                }
            }
        }
        let http = match TcpListener::from_std(http) {
            Ok(http) => http,
            Err(error) => return tracing::error!(%error, "HTTP socket cannot be served"),
        };
        let serving = async {
            let serving = http::serve(http, app, stop.clone());
            tokio::pin!(serving);
            tokio::select! {
                () = &mut serving => {}
                () = stopped_for(&stop, DRAIN) => tracing::warn!("HTTP connections cut: they did not finish in time"),
            }
        };
        tokio::join!(serving, rtmp.run(stop.clone()));
        directory.stop().await;
    }
}

/// Where workers of other machines call, where that is configured.
fn workers(
    config: &config::Origin,
    metrics: &transcode::Metrics,
) -> Result<Option<(std::net::TcpListener, Remote)>, OriginError> {
    let Some(workers) = &config.remote_workers else { return Ok(None) };
    let failed = |source| OriginError::ListenForWorkers { addr: workers.listen, source };
    let listener = std::net::TcpListener::bind(workers.listen).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(Some((listener, Remote::new(workers.token.clone(), workers.waiting_max, metrics))))
}

/// What is kept of streams that have ended, where that is configured.
fn archive(config: &config::Origin, metrics: &Metrics) -> Option<(Archive, Keeping)> {
    let root = config.disk.path.clone().filter(|_| config.archive.enabled)?;
    let metrics = metrics.archive.clone();
    let ledger = Arc::new(Ledger::open(&root, metrics.clone()));
    let (length_max, window) = (config.archive.length_max, config.window.length);
    let keeping = Keeping { ledger: Arc::clone(&ledger), length_max, window, expired: metrics.expired.clone() };
    Some((Archive::new(&config.archive, root, ledger, metrics), keeping))
}

/// Returns `time` after `stop` is cancelled.
async fn stopped_for(stop: &CancellationToken, time: Duration) {
    stop.cancelled().await;
    tokio::time::sleep(time).await;
}
