//! `vivid`: every role of the CDN in one binary.

mod check;
mod dev;
mod handover;
mod logging;
mod page;
mod sign_url;
mod source;
mod tier;
mod worker;

use clap::{Parser, Subcommand};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// A live-video CDN: origin, edge and router.
#[derive(Parser)]
#[command(name = "vivid", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts a whole CDN on this machine, with a test source and a player page
    Dev(dev::Args),
    /// Runs an origin: RTMP in, LL-HLS out
    Origin(TierArgs),
    /// Runs an edge, or a shield, which is an edge that other edges ask
    Edge(TierArgs),
    /// Runs a router: measures CDNs and steers viewers
    Router(RouterArgs),
    /// Says what is wrong in a configuration file, where, and what to write instead
    CheckConfig {
        /// The file
        file: PathBuf,
    },
    /// Prints every configuration key with its default and an explanation
    ReferenceConfig,
    /// Prints a URL that opens part of an edge for a while
    SignUrl(sign_url::Args),
    /// Publishes a test picture with a clock that can be read off the screen
    Source(source::Args),
    /// Encodes on this machine for an origin elsewhere
    Worker(worker::Args),
    /// The encoder of one stream; the origin starts it
    #[command(hide = true)]
    TranscodeWorker,
}

#[derive(clap::Args)]
struct TierArgs {
    /// Configuration file; `vivid reference-config` explains every key
    #[arg(long)]
    config: PathBuf,
}

#[derive(clap::Args)]
struct RouterArgs {
    #[command(flatten)]
    tier: TierArgs,
    /// Socket of the `vivid dev` that started this router
    #[arg(long, hide = true)]
    dev_control: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be gone; there is nobody left to tell then.
            let _ = writeln!(std::io::stderr(), "vivid: {}", sentence(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, each said once: many of our errors say their cause in their own words.
fn sentence(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| match said.as_str() {
        "" => cause,
        _ if said.contains(&cause) => said,
        _ => format!("{said}: {cause}"),
    })
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Dev(args) => dev::run(&args),
        Command::Origin(args) => tier::origin(&args.config),
        Command::Edge(args) => tier::edge(&args.config),
        Command::Router(args) => tier::router(&args.tier.config, args.dev_control.as_deref()),
        Command::CheckConfig { file } => check::run(&file),
        Command::ReferenceConfig => {
            print!("{}", config::REFERENCE);
            Ok(())
        }
        Command::SignUrl(args) => sign_url::run(&args),
        Command::Source(args) => {
            logging::init(&config::Log::default())?;
            source::run(&args)
        }
        Command::Worker(args) => worker::run(&args),
        Command::TranscodeWorker => Ok(transcode::worker::main()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn a_cause_is_said_once() {
        let told = anyhow!("address in use").context("cannot listen: address in use; stop what uses it");
        assert_eq!(sentence(&told), "cannot listen: address in use; stop what uses it");
        let untold = anyhow!("no such file").context("cannot read the map");
        assert_eq!(sentence(&untold), "cannot read the map: no such file");
    }
}
