//! Runs the cases: each server in turn, round after round, until all rounds are done, time is up, or a signal comes.

use crate::case::Case;
use crate::grow::{self, Brokens, Growings};
use crate::hit::{self, Channel, Hits};
use crate::hold::{self, Crowd, Hold};
use crate::live::{self, Besides, Lives};
use crate::machine::{self, Machine};
use crate::memory::{self, Memory};
use crate::report::{Found, Report};
use crate::rows::Field;
use crate::servers::{self, Cores, Facts, Server, Setting};
use crate::sys;
use crate::{Common, Loads};
use anyhow::{Context, bail, ensure};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// What is larger costs the same over TLS, byte by byte.
const TLS_BYTES_MAX: usize = 128 << 10;

/// What is asked for.
pub(crate) struct Plan {
    pub(crate) common: Common,
    pub(crate) cases: Vec<Case>,
    pub(crate) viewers: Vec<usize>,
    pub(crate) loads: Loads,
}

pub(crate) fn run(plan: Plan) -> anyhow::Result<()> {
    let open_files = sys::raise_open_files();
    for viewers in &plan.viewers {
        let room = open_files.saturating_sub(1000);
        ensure!(
            (1..=room).contains(&(*viewers as u64)),
            "{viewers} viewers do not fit into {open_files} open files; raise the hard limit (ulimit -Hn) or take --viewers {room}"
        );
    }
    let loads_valid = plan.loads.connections > 0 && plan.loads.seconds > 0;
    ensure!(loads_valid, "--connections and --seconds must be at least 1");
    // One thread: children are bound to the life of the thread that starts them, and that is the main one.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let length = Duration::from_secs(plan.common.seconds_max);
        // Whatever ends first, what it leaves behind is dropped, and every process ends with its handle.
        tokio::select! {
            done = tokio::time::timeout(length, cases(&plan, open_files)) => {
                done.with_context(|| format!("given up after {length:?}; allow more with --seconds-max"))?
            }
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated"),
        }
    })
}

async fn cases(plan: &Plan, open_files: u64) -> anyhow::Result<()> {
    let common = &plan.common;
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
    let found = found(plan, &mut field).await;
    let report = Report {
        command: command(std::env::args().skip(1)),
        date: machine::date(),
        machine,
        cores,
        files_in_memory,
        runs: usize::from(common.runs),
        servers: field.servers.into_iter().map(|(_, facts)| facts).collect(),
        absent,
        found,
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

async fn found(plan: &Plan, field: &mut Field) -> Found {
    let has = |case| plan.cases.contains(&case);
    let mut found = Found::default();
    if has(Case::E1) {
        found.hit.push(hits(field, &plan.loads, Channel::Plain).await);
    }
    if has(Case::E3) {
        found.hit.push(hits(field, &plan.loads, Channel::Tls).await);
        found.hit.push(hits(field, &plan.loads, Channel::Http2).await);
    }
    for &viewers in &plan.viewers {
        if has(Case::E4) {
            found.hold.push(holds(field, Crowd { viewers, mixed: false, tls: false }).await);
        }
    }
    if let Some(&viewers) = plan.viewers.first() {
        if has(Case::E4) {
            found.hold.push(holds(field, Crowd { viewers, mixed: false, tls: true }).await);
        }
        if has(Case::E6) {
            found.hold.push(holds(field, Crowd { viewers, mixed: true, tls: false }).await);
        }
    }
    let (cores, scratch) = (field.cores, field.scratch.clone());
    let setting = Setting::new(cores, &scratch);
    if has(Case::E8) {
        let run = async |server: &Server, facts: &mut Facts, _| grow::run(server, facts, &setting).await;
        found.growings = Some(Growings { rows: field.rounds("growing", |_| None, run).await });
    }
    // From here on a run is no sample: it counts what must not happen, or what does not vary.
    field.runs = 1;
    if has(Case::E9) {
        let run = async |server: &Server, facts: &mut Facts, _| grow::run_broken(server, facts, &setting).await;
        found.brokens = Some(Brokens { rows: field.rounds("broken", |_| None, run).await });
    }
    if has(Case::E12) {
        let run = async |server: &Server, facts: &mut Facts, _| memory::run(server, facts, &setting).await;
        found.memory = Some(Memory { rows: field.rounds("memory", |_| None, run).await });
    }
    if has(Case::E15) {
        let without = |server: &Server| matches!(server, Server::Floor).then_some("n/a: it keeps nothing");
        let run = async |server: &Server, facts: &mut Facts, _| live::run_beside(server, facts, &setting).await;
        found.besides = Some(Besides { rows: field.rounds("beside films", without, run).await });
    }
    if has(Case::E7) {
        let run = async |server: &Server, facts: &mut Facts, _| live::run(server, facts, &setting).await;
        let others = |server: &Server| (!server.is_vivid()).then_some("n/a: it knows no shield that holds");
        found.lives = Some(Lives { rows: field.rounds("live", others, run).await });
    }
    found
}

async fn holds(field: &mut Field, crowd: Crowd) -> Hold {
    let spelt = if crowd.mixed { ", mixed spellings" } else { "" };
    let what = format!("hold, {}{}{spelt}", crowd.viewers, crowd.who());
    let (cores, scratch, rounds) = (field.cores, field.scratch.clone(), field.runs);
    let run = async |server: &Server, facts: &mut Facts, round| {
        let release = hold::run(server, facts, (crowd, hold::phase(round, rounds)), (cores, &scratch)).await?;
        Ok(vec![release])
    };
    let without = |server: &Server| if crowd.tls { server.without_tls() } else { None };
    Hold { crowd, rows: field.rounds(&what, without, run).await }
}

async fn hits(field: &mut Field, loads: &Loads, channel: Channel) -> Hits {
    let (what, program) = match channel {
        Channel::Plain => ("hit", "wrk"),
        Channel::Tls => ("hit over TLS", "wrk"),
        Channel::Http2 => ("hit over HTTP/2", "h2load"),
    };
    let client = servers::installed(program);
    if client.is_none() {
        eprintln!("{program}: not installed (scripts/need bench)");
    }
    let largest = if channel == Channel::Plain { usize::MAX } else { TLS_BYTES_MAX };
    let sizes = loads.sizes.iter().copied().filter(|bytes| *bytes <= largest).collect();
    let plan = hit::Plan { channel, sizes, connections: loads.connections, seconds: loads.seconds, client };
    let (cores, scratch) = (field.cores, field.scratch.clone());
    let run = async |server: &Server, facts: &mut Facts, _| hit::run(server, facts, &plan, (cores, &scratch)).await;
    let without = |server: &Server| if channel == Channel::Plain { None } else { server.without_tls() };
    let rows = field.rounds(what, without, run).await;
    Hits { plan, rows }
}
