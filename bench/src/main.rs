//! What Vivid claims, measured beside nginx, Varnish and Apache Traffic Server; see docs/benchmarks.md.

mod aligned;
mod case;
mod crowd;
mod dvr;
mod followers;
mod grow;
mod h2load;
mod hit;
mod hold;
mod http1;
mod keeping;
mod ladder;
mod link;
mod live;
mod load;
mod machine;
mod memory;
mod origin;
mod peers;
mod prepare;
mod process;
mod procfs;
mod quality;
mod readers;
mod report;
mod rows;
mod runner;
mod servers;
mod stats;
mod stream;
mod sweep;
mod sys;
mod table;
mod template;
mod tls;
mod tools;
mod viewers;
mod wrk;

use anyhow::Context;
use case::Case;
use clap::{Args, Parser, Subcommand, ValueEnum};
use manifest::Position;
use origin::growth::Growth;
use runner::Plan;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, Parser)]
#[command(name = "bench", about = "Measures edges side by side on this machine")]
struct Arguments {
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// All cases of the edge, as docs/benchmarks.md shows them
    Edge(EdgeArguments),
    /// Viewers that wait for the next playlist: time to the last of them
    Hold(HoldArguments),
    /// A cached object: requests per second, and CPU time per request
    Hit(HitArguments),
    /// What two hours of window cost our own origin, as docs/benchmarks.md shows it
    Dvr(dvr::Arguments),
    /// The encoding ladder beside ffmpeg's command line, as docs/benchmarks.md shows it
    Ladder(ladder::Arguments),
    /// An hour of a source that jitters and drops pictures, as docs/benchmarks.md shows it
    Aligned(aligned::Arguments),
    /// A quality that is aimed at beside a bit rate that is spent, as docs/benchmarks.md shows it
    Quality(quality::Arguments),
    /// A ladder on a machine that is overloaded, and one whose worker dies, as docs/benchmarks.md shows it
    Keeping(keeping::Arguments),
    /// Tool: one side of the ladder, once; what it cost
    LadderSide { side: ladder::side::Side, source: PathBuf },
    /// Tool: the worker of our own side
    TranscodeWorker,
    /// Tool: our own origin, which publishes as many parts as standard input says
    DvrNode {
        #[arg(long)]
        window: u64,
        #[arg(long)]
        disk: Option<PathBuf>,
    },
    /// Tool: an origin of a synthetic LL-HLS stream that publishes on command (POST /_bench/publish)
    Origin {
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// Publish by itself, and hold parts until then
        #[arg(long)]
        live: bool,
    },
    /// Tool: many connections that wait for one position of the synthetic stream
    Viewers {
        #[arg(long)]
        server: SocketAddr,
        #[arg(long, default_value_t = 2000)]
        viewers: usize,
        /// Position to wait for, as MSN.PART
        #[arg(long, value_parser = position)]
        at: Position,
        /// Each spells its request in one of many ways
        #[arg(long)]
        mixed: bool,
        /// For opening all connections, and again for all answers
        #[arg(long, default_value_t = 15_000)]
        patience_ms: u64,
        /// Of the server: then all is over TLS
        #[arg(long)]
        certificate: Option<PathBuf>,
    },
    /// Tool: readers of one object that grows
    Readers {
        #[arg(long)]
        server: SocketAddr,
        #[arg(long)]
        target: String,
        #[arg(long)]
        count: usize,
        #[arg(long)]
        patience_ms: u64,
    },
    /// Tool: viewers who follow live renditions
    Followers {
        #[arg(long, value_delimiter = ',')]
        servers: Vec<SocketAddr>,
        #[arg(long)]
        origin: SocketAddr,
        #[arg(long, value_delimiter = ',')]
        renditions: Vec<String>,
        #[arg(long)]
        viewers: usize,
        /// More viewers, who take the whole window again and again
        #[arg(long, default_value_t = 0)]
        rewinders: usize,
        #[arg(long)]
        seconds: u64,
    },
    /// Tool: viewers of films, who ask for one object after another
    Sweep {
        #[arg(long)]
        server: SocketAddr,
        #[arg(long)]
        objects: usize,
        #[arg(long)]
        bytes: usize,
        #[arg(long)]
        viewers: usize,
        #[arg(long)]
        seconds: u64,
    },
    /// Tool: connections that are kept until it is ended
    Crowd {
        #[arg(long)]
        server: SocketAddr,
        #[arg(long)]
        viewers: usize,
        #[arg(long)]
        way: crowd::Way,
        #[arg(long)]
        state: crowd::State,
        /// Of the server, for TLS
        #[arg(long)]
        certificate: PathBuf,
    },
    /// Tool: keep-alive load, for where wrk is not installed
    Load {
        #[arg(long)]
        server: SocketAddr,
        #[arg(long)]
        target: String,
        #[arg(long, default_value_t = 64)]
        connections: usize,
        #[arg(long, default_value_t = 3)]
        seconds: u64,
    },
}

#[derive(Debug, Args)]
struct EdgeArguments {
    #[command(flatten)]
    common: Common,
    /// Cases to run, divided by commas; by default all
    #[arg(long = "case", value_delimiter = ',')]
    cases: Vec<Case>,
    /// Build and install nothing
    #[arg(long)]
    as_is: bool,
    /// Sizes of crowds that wait, at most the limit of open files less 1000
    #[arg(long, value_delimiter = ',', default_value = "2000,10000")]
    viewers: Vec<usize>,
    #[command(flatten)]
    loads: Loads,
}

#[derive(Debug, Args)]
struct HoldArguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    crowds: Crowds,
}

#[derive(Debug, Args)]
struct HitArguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    loads: Loads,
}

#[derive(Debug, Args)]
struct Common {
    /// Servers under test, in the order of their turns
    #[arg(long, value_delimiter = ',', default_value = "floor,vivid,nginx,varnish,ats")]
    servers: Vec<String>,
    /// The vivid program; by default the one beside this program
    #[arg(long)]
    vivid: Option<PathBuf>,
    /// Turns of each server
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    runs: u16,
    /// Everything that was found, configurations of the servers included
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// A Markdown page to put the results into, between its two marks
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// The whole run is given up after this
    #[arg(long, default_value_t = 1800)]
    seconds_max: u64,
}

#[derive(Debug, Args)]
struct Crowds {
    /// Sizes of the crowd, at most 18000 (open files), divided by commas
    #[arg(long, value_delimiter = ',', default_value = "2000")]
    viewers: Vec<usize>,
}

#[derive(Debug, Args)]
struct Loads {
    /// Sizes of the object in bytes
    #[arg(long, value_delimiter = ',', default_value = "2048,65536,1048576")]
    sizes: Vec<usize>,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Length of each load
    #[arg(long, default_value_t = 3)]
    seconds: u64,
}

impl Default for Loads {
    fn default() -> Self {
        Self { sizes: Vec::new(), connections: 1, seconds: 1 }
    }
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(what: What) -> anyhow::Result<()> {
    match what {
        What::Edge(EdgeArguments { common, mut cases, as_is, viewers, loads }) => {
            // A program that is named is there, and figures of a debug build are none.
            if !as_is && common.vivid.is_none() && !cfg!(debug_assertions) {
                prepare::parts();
            }
            if cases.is_empty() {
                cases = Case::value_variants().to_vec();
            }
            runner::run(Plan { common, cases, viewers, loads })
        }
        What::Hold(HoldArguments { common, crowds }) => runner::run(Plan {
            common,
            cases: vec![Case::E4, Case::E6],
            viewers: crowds.viewers,
            loads: Loads::default(),
        }),
        What::Hit(HitArguments { common, loads }) => {
            runner::run(Plan { common, cases: vec![Case::E1], viewers: Vec::new(), loads })
        }
        What::Dvr(arguments) => dvr::run(&arguments),
        What::Ladder(arguments) => ladder::run(&arguments),
        What::Aligned(arguments) => aligned::run(&arguments),
        What::Quality(arguments) => quality::run(&arguments),
        What::Keeping(arguments) => keeping::run(&arguments),
        What::LadderSide { side, source } => say(&ladder::side::run(side, &source)?),
        What::TranscodeWorker => Ok(transcode::worker::main()?),
        What::DvrNode { window, disk } => {
            tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(dvr::node::run(window, disk))
        }
        What::Origin { listen, live } => {
            sys::raise_open_files();
            origin::serve(listen, live)
        }
        What::Readers { server, target, count, patience_ms } => {
            let growth = Growth::from_path(&target).context("this path names nothing that grows")?;
            let patience = Duration::from_millis(patience_ms);
            say(&on_one_thread(readers::run(&readers::Readers { server, target, count, patience }, growth))?)
        }
        What::Followers { servers, origin, renditions, viewers, rewinders, seconds } => {
            anyhow::ensure!(!servers.is_empty() && !renditions.is_empty(), "--servers and --renditions need one each");
            let length = Duration::from_secs(seconds);
            let followers = followers::Followers { servers, origin, renditions, viewers, rewinders, length };
            say(&on_one_thread(followers::run(&followers))?)
        }
        What::Sweep { server, objects, bytes, viewers, seconds } => {
            let length = Duration::from_secs(seconds);
            say(&on_one_thread(sweep::run(sweep::Sweep { server, objects, bytes, viewers, length }))?)
        }
        What::Crowd { server, viewers, way, state, certificate } => {
            let crowd = crowd::Crowd { server, viewers, way, state, certificate };
            on_one_thread(crowd::run(&crowd, |waiting| say(&waiting)))
        }
        What::Viewers { server, viewers, at, mixed, patience_ms, certificate } => {
            sys::raise_open_files();
            let expected = stream::playlist(stream::after(at)).into_bytes();
            let patience = Duration::from_millis(patience_ms);
            let target = if mixed { stream::spelt_target } else { |at, _| stream::blocking_target(at) };
            let crowd = viewers::Crowd { server, viewers, target, at, expected, patience, certificate };
            say(&viewers::run(&crowd, |waiting| say(&waiting))?)
        }
        What::Load { server, target, connections, seconds } => {
            let load = load::Load { server, target, connections, length: Duration::from_secs(seconds) };
            say(&load::run(&load)?)
        }
    }
}

fn on_one_thread<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    sys::raise_open_files();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// One line of JSON on standard output: how the tools speak to the runner.
fn say(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&line).and_then(|()| stdout.flush()).context("cannot write to standard output")
}

fn position(text: &str) -> Result<Position, String> {
    let parsed = text.split_once('.').and_then(|(msn, part)| Some((msn.parse().ok()?, part.parse().ok()?)));
    // The playlist shows segments before the position, and times that follow from their numbers.
    let in_range = |msn: u64| (100..=u64::from(u32::MAX)).contains(&msn);
    let (msn, part) = parsed.filter(|(msn, _)| in_range(*msn)).ok_or("write MSN.PART, as 897613200.3")?;
    Ok(Position { msn, part })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn positions_are_read_as_they_are_shown() {
        assert_eq!(position(&stream::FIRST.to_string()), Ok(stream::FIRST));
        for text in ["", "1000", "5.1", "a.b", "1000.-1"] {
            assert!(position(text).is_err(), "{text}");
        }
    }
}
