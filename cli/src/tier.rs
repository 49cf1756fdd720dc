//! One tier as a process: configuration, logs, metrics, signals, drain.

use crate::{dev, handover, logging, page};
use anyhow::{Context, anyhow};
use config::Config;
use prometheus::Registry;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;
use transcode::WorkerProgram;

/// Runs the origin of a configuration until a signal ends it.
pub(crate) fn origin(path: &Path) -> anyhow::Result<()> {
    let (config, registry) = prepare(path)?;
    let config = section(config.origin, "origin", path)?;
    until_signalled(async move |stop| {
        let path = std::env::current_exe().context("the path of this binary is unknown")?;
        let worker = WorkerProgram { path, args: vec!["transcode-worker".into()] };
        origin::Server::bind(config, worker, &registry)?.run(stop).await;
        Ok(())
    })
}

/// Runs an edge or a shield, until a signal ends it or a successor has taken over.
pub(crate) fn edge(path: &Path) -> anyhow::Result<()> {
    let sockets = handover::inherited_sockets()?;
    // Asked for now: once the file is replaced by a newer one, its path is not known any more.
    let program = std::env::current_exe().context("the path of this binary is unknown")?;
    let (config, registry) = prepare(path)?;
    let config = section(config.edge, "edge", path)?;
    until_signalled(async move |stop| {
        let server = edge::Server::bind_with(config, &registry, sockets)?;
        let sockets = server.sockets().context("the sockets cannot be kept for a successor; raise ulimit -n")?;
        if let Some(log) = server.access_log() {
            tokio::spawn(stop.clone().run_until_cancelled_owned(reopen_on_signal(log)));
        }
        let upgrades = handover::on_signal(program, sockets, server.handed_over());
        // Whoever holds a listening socket and takes nothing from it keeps viewers waiting.
        tokio::spawn(stop.clone().run_until_cancelled_owned(upgrades));
        handover::tell_ready();
        server.run(stop).await;
        Ok(())
    })
}

/// Opens the access log anew on each SIGHUP, as logrotate and its like order it.
async fn reopen_on_signal(log: Arc<edge::access_log::AccessLog>) {
    let mut orders = match signal(SignalKind::hangup()) {
        Ok(orders) => orders,
        Err(error) => return tracing::error!(%error, "SIGHUP cannot be heard; a moved log is noticed all the same"),
    };
    while orders.recv().await.is_some() {
        log.reopen();
    }
}

/// Runs the router, with the player page; under `vivid dev` also with the switches that break and mend a CDN.
pub(crate) fn router(path: &Path, dev_control: Option<&Path>) -> anyhow::Result<()> {
    let (config, registry) = prepare(path)?;
    let config = section(config.router, "router", path)?;
    let extra = match dev_control {
        Some(socket) => page::routes().merge(dev::control::forwarding_routes(socket)),
        None => page::routes(),
    };
    until_signalled(async move |stop| Ok(router::Server::bind(config, extra, &registry)?.run(stop).await?))
}

fn prepare(path: &Path) -> anyhow::Result<(Config, Registry)> {
    let config = Config::load(path)?;
    logging::init(&config.log)?;
    Ok((config, Registry::new()))
}

fn section<T>(section: Option<T>, name: &str, path: &Path) -> anyhow::Result<T> {
    section.ok_or_else(|| anyhow!("{} has no [{name}] section; add one, even an empty one", path.display()))
}

/// Runs `tier` on all cores and cancels its token on SIGTERM, SIGINT or SIGQUIT.
pub(crate) fn until_signalled<F>(tier: impl FnOnce(CancellationToken) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime does not start; check the limit of threads (ulimit -u)")?;
    let result = runtime.block_on(async {
        let stop = CancellationToken::new();
        let signalled = tokio::spawn(cancel_on_signal(stop.clone()));
        let result = tier(stop).await;
        signalled.abort();
        result
    });
    // Otherwise a read of a disk that hangs would keep the process for ever.
    runtime.shutdown_timeout(LAST_CALLS);
    result
}

/// What files are still being read or written once a tier is done may take so long to end.
const LAST_CALLS: Duration = Duration::from_millis(500);

/// Cancels `stop` on the first SIGTERM, SIGINT or SIGQUIT.
pub(crate) async fn cancel_on_signal(stop: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    let signal = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        _ = quit.recv() => "SIGQUIT",
    };
    stop.cancel();
    info!(signal, "stopping");
    Ok(())
}
