//! `vivid worker`: this machine encodes for an origin elsewhere.

use crate::logging;
use crate::tier::until_signalled;
use anyhow::{Context, ensure};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::task::JoinSet;
use tracing::info;
use transcode::{Relay, WorkerProgram, trials};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where the origin listens for workers, its origin.remote_workers.listen: tcp://HOST:PORT, or HOST:PORT
    #[arg(long)]
    origin: String,
    /// A file that holds the token of origin.remote_workers.token, and nothing else
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Streams that this machine encodes at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: u16,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    logging::init(&config::Log::default())?;
    let path = &args.token_file;
    let token = std::fs::read_to_string(path).with_context(|| {
        format!("cannot read {}; write the origin's origin.remote_workers.token into it", path.display())
    })?;
    let origin = args.origin.strip_prefix("tcp://").unwrap_or(&args.origin).trim_end_matches('/').to_owned();
    ensure!(
        origin.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()),
        "{} is no address; write tcp://HOST:PORT, with the port of origin.remote_workers.listen",
        args.origin
    );
    let program = std::env::current_exe().context("the path of this binary is unknown")?;
    let program = WorkerProgram { path: program, args: vec!["transcode-worker".into()] };
    let relay = Relay { origin, token: token.trim().into(), program };
    let jobs = args.jobs;
    until_signalled(async move |stop| {
        let trials = Arc::new(trials(&relay.program, config::Hardware::Auto).await);
        info!(origin = %relay.origin, jobs, "waiting for jobs");
        let mut slots = JoinSet::new();
        for _ in 0..jobs {
            let (relay, trials) = (relay.clone(), Arc::clone(&trials));
            slots.spawn(async move { relay.work(&trials).await });
        }
        // Jobs that run are the origin's to give to another.
        stop.cancelled().await;
        slots.shutdown().await;
        Ok(())
    })
}
