//! `vivid dev`: a whole CDN on one machine, each tier a process of its own.

pub(crate) mod control;
mod layout;
mod process;

use crate::tier::cancel_on_signal;
use anyhow::{Context, bail};
use config::Config;
use layout::{Layout, Role};
use process::Fleet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// First of five HTTP ports (router, origin, shield, CDN A, CDN B); RTMP is the sixth. Default: 8080 to 8084, RTMP 1935
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=layout::BASE_PORT_MAX))]
    base_port: Option<u16>,
    /// A file whose settings apply to every tier; addresses and ports are set by `vivid dev`
    #[arg(long)]
    config: Option<PathBuf>,
    /// Start no test source
    #[arg(long)]
    no_source: bool,
}

/// Starts every tier, prints where they are, and runs until a signal or until nothing is left to run.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let base = match &args.config {
        Some(path) => {
            // Told of the person's own file, before it is spread over the files of the tiers.
            Config::load(path)?;
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?
        }
        None => String::new(),
    };
    let layout = Layout::new(args.base_port, &base, !args.no_source)?;
    process::refuse_taken_ports(&layout)?;
    // One thread: children are tied to the thread that starts them (PR_SET_PDEATHSIG).
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(layout))
}

async fn serve(layout: Layout) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let signals = tokio::spawn(cancel_on_signal(stop.clone()));
    let directory = tempfile::Builder::new().prefix("vivid-dev-").tempdir().context("no temporary directory")?;
    let layout = layout.keeping(&directory.path().join("origin"));
    let fleet = Arc::new(Fleet::new(layout, directory.path())?);
    let control = control::serve(Arc::clone(&fleet), directory.path())?;
    let started = tokio::select! {
        started = start(&fleet) => started,
        () = stop.cancelled() => Ok(()),
    };
    if started.is_ok() && !stop.is_cancelled() {
        print!("{}", fleet.table());
        stop.cancelled().await;
    }
    control.abort();
    signals.abort();
    fleet.stop_all(STOP_DEADLINE).await;
    started
}

async fn start(fleet: &Fleet) -> anyhow::Result<()> {
    let deadline = Instant::now() + START_DEADLINE;
    for role in fleet.roles() {
        fleet.start(role)?;
    }
    for role in fleet.roles().filter(|role| *role != Role::Source) {
        let ready = tokio::time::timeout_at(deadline, fleet.wait_ready(role)).await;
        match ready {
            Ok(ready) => ready?,
            Err(_) => bail!("{} is not ready after {} s; read its log above", role.name(), START_DEADLINE.as_secs()),
        }
    }
    Ok(())
}

/// Longest start of all tiers: they bind at once, but a loaded machine may be slow to load the binary six times.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// Tiers drain within this; what is left then is killed. Below the 5 s in which `vivid dev` promises to end.
const STOP_DEADLINE: Duration = Duration::from_secs(4);
