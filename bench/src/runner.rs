//! Runs the cases: each server in turn, round after round, until all rounds are done, time is up, or a signal comes.

use crate::hit::{self, Hits, Plan};
use crate::hold::{self, Hold};
use crate::machine::{self, Machine};
use crate::report::Report;
use crate::servers::{self, Cores, Facts, Server};
use crate::sys;
use crate::{Common, Crowds, Loads};
use anyhow::{Context, bail, ensure};
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

struct Field {
    servers: Vec<(Server, Facts)>,
    cores: Cores,
    scratch: PathBuf,
    runs: u16,
}

pub(crate) fn run(common: Common, crowds: Option<Crowds>, loads: Option<Loads>) -> anyhow::Result<()> {
    let open_files = sys::raise_open_files();
    for viewers in crowds.iter().flat_map(|crowds| &crowds.viewers) {
        let room = open_files.saturating_sub(1000);
        ensure!((1..=room).contains(&(*viewers as u64)), "{viewers} viewers do not fit into {open_files} open files");
    }
    let loads_valid = loads.as_ref().is_none_or(|loads| loads.connections > 0 && loads.seconds > 0);
    ensure!(loads_valid, "--connections and --seconds must be at least 1");
    // One thread: children are bound to the life of the thread that starts them, and that is the main one.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let length = Duration::from_secs(common.seconds_max);
        // Whatever ends first, what it leaves behind is dropped, and every process ends with its handle.
        tokio::select! {
            done = tokio::time::timeout(length, cases(&common, crowds, loads, open_files)) => {
                done.with_context(|| format!("given up after {length:?}; allow more with --seconds-max"))?
            }
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated"),
        }
    })
}

async fn cases(common: &Common, crowds: Option<Crowds>, loads: Option<Loads>, open_files: u64) -> anyhow::Result<()> {
    let machine = Machine::look(open_files);
    let (servers, absent) = servers::find(&common.servers, common.vivid.as_deref()).await?;
    for line in absent.iter().chain(&machine.doubts()) {
        eprintln!("{line}");
    }
    let available = sys::cores();
    let server = available.first().copied().context("this process may run on no core")?;
    let cores = Cores { server, client: available.get(1).copied().unwrap_or(server) };
    let (scratch, files_in_memory) = machine::scratch();
    let mut field = Field { servers, cores, scratch, runs: common.runs };
    let mut hold = Vec::new();
    for viewers in crowds.map(|crowds| crowds.viewers).unwrap_or_default() {
        for mixed in [false, true] {
            hold.push(field.hold(hold::Crowd { viewers, mixed }).await);
        }
    }
    let hit = match loads {
        Some(loads) => Some(field.hit(loads).await),
        None => None,
    };
    let report = Report {
        command: command(std::env::args().skip(1)),
        machine,
        cores,
        files_in_memory,
        runs: usize::from(common.runs),
        servers: field.servers.into_iter().map(|(_, facts)| facts).collect(),
        absent,
        hold,
        hit,
    };
    print!("{}", report.markdown());
    if let Some(path) = &common.json {
        report.write_json(path)?;
    }
    if let Some(page) = &common.write {
        report.write_into(page)?;
    }
    Ok(())
}

fn command(arguments: impl Iterator<Item = String>) -> String {
    let arguments: Vec<String> = arguments.collect();
    format!("cargo run --release -p bench -- {}", arguments.join(" "))
}

impl Field {
    async fn hold(&mut self, crowd: hold::Crowd) -> Hold {
        let empty = |name: &str| hold::Row { server: name.to_owned(), runs: Vec::new(), trouble: Vec::new() };
        let mut rows: Vec<hold::Row> = self.servers.iter().map(|(_, facts)| empty(&facts.name)).collect();
        for round in 1..=self.runs {
            let phase = hold::phase(round, self.runs);
            for ((server, facts), row) in self.servers.iter_mut().zip(&mut rows) {
                let (viewers, spelt) = (crowd.viewers, if crowd.mixed { ", mixed spellings" } else { "" });
                eprintln!("hold, {viewers} viewers{spelt}, round {round} of {}: {}", self.runs, facts.name);
                match hold::run(server, facts, (crowd, phase), (self.cores, &self.scratch)).await {
                    Ok(release) => row.runs.push(release),
                    Err(error) => row.trouble.push(told(&facts.name, &error)),
                }
            }
        }
        Hold { crowd, rows }
    }

    async fn hit(&mut self, loads: Loads) -> Hits {
        let wrk = servers::installed("wrk");
        if wrk.is_none() {
            eprintln!("wrk: not installed (apt-get install wrk); the bench's own client takes its place");
        }
        let Loads { sizes, connections, seconds } = loads;
        let plan = Plan { sizes, connections, seconds, wrk };
        let empty = |name: &str| hit::Row { server: name.to_owned(), runs: Vec::new(), trouble: Vec::new() };
        let mut rows: Vec<hit::Row> = self.servers.iter().map(|(_, facts)| empty(&facts.name)).collect();
        for round in 1..=self.runs {
            for ((server, facts), row) in self.servers.iter_mut().zip(&mut rows) {
                eprintln!("hit, round {round} of {}: {}", self.runs, facts.name);
                match hit::run(server, facts, &plan, (self.cores, &self.scratch)).await {
                    Ok(hits) => row.runs.extend(hits),
                    Err(error) => row.trouble.push(told(&facts.name, &error)),
                }
            }
        }
        Hits { plan, rows }
    }
}

/// A server that fails costs its own run, never the others'.
fn told(name: &str, error: &anyhow::Error) -> String {
    let trouble = format!("a run failed: {error:#}");
    eprintln!("{name}: {trouble}");
    trouble
}
