//! Case `hit`: a cached object is asked for as fast as one client can; what does one request cost the server?

use crate::case::Verdict;
use crate::h2load;
use crate::load::{Load, Loaded};
use crate::process::Process;
use crate::procfs;
use crate::rows::{Row, ours_and_best, remarks, text};
use crate::servers::{Cores, Facts, Running, Server, Setting, changed_fields};
use crate::stats::Spread;
use crate::stream;
use crate::table;
use crate::tls;
use crate::tools::{PATIENCE, Tool, exchange};
use crate::wrk;
use anyhow::{Context, ensure};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;

/// How often an object is asked for until it comes from the cache: some admit only what was asked for before.
const WARM_UP_MAX: usize = 20;

/// What a request goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Channel {
    Plain,
    /// HTTP/1.1 over TLS.
    Tls,
    /// HTTP/2 over TLS.
    Http2,
}

/// How every server is loaded.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Plan {
    pub(crate) channel: Channel,
    pub(crate) sizes: Vec<usize>,
    pub(crate) connections: usize,
    pub(crate) seconds: u64,
    /// wrk or h2load; `None` is the bench's own client, for plain HTTP.
    pub(crate) client: Option<PathBuf>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Hit {
    pub(crate) bytes: usize,
    pub(crate) loaded: Loaded,
    /// User and system time of the server's process tree.
    pub(crate) cpu_us_per_request: f64,
    /// Share of its core that the server used: below 1, the client was the bound, and requests/s say nothing.
    pub(crate) busy: f64,
    /// Requests that reached the origin while the load ran.
    pub(crate) upstream_requests: Option<u64>,
    pub(crate) head_bytes: usize,
    /// Fields of the origin's head that the server does not pass on as they are.
    pub(crate) changed_fields: Vec<&'static str>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Hits {
    pub(crate) plan: Plan,
    pub(crate) rows: Vec<Row<Hit>>,
}

/// Starts the server and loads it with every size in turn.
pub(crate) async fn run(
    server: &Server,
    facts: &mut Facts,
    plan: &Plan,
    (cores, scratch): (Cores, &Path),
) -> anyhow::Result<Vec<Hit>> {
    let running = server.start(facts, &Setting::new(cores, scratch)).await?;
    let mut hits = Vec::new();
    for &bytes in &plan.sizes {
        let (head_bytes, changed_fields) = warm_up(&running, bytes).await?;
        let length = Duration::from_secs(plan.seconds);
        let target = stream::sized_target(bytes);
        let server = if plan.channel == Channel::Plain { Some(running.address) } else { running.tls };
        let server = server.context("it has no TLS")?;
        let load = Load { server, target, connections: plan.connections, length };
        let asked_before = asked(&running).await?;
        let (cpu_before, start) = (procfs::cpu_us(running.pid()), Instant::now());
        let loaded = match &plan.client {
            Some(program) => with_program(program, plan.channel, &load, (cores, running.dir.path())).await?,
            None => with_own(&load, cores, running.dir.path()).await?,
        };
        let (cpu_us, took) = (procfs::cpu_us(running.pid()) - cpu_before, start.elapsed());
        ensure!(loaded.requests > 0, "no request for {bytes} bytes was answered");
        let upstream = asked(&running).await? - asked_before;
        hits.push(Hit {
            bytes,
            cpu_us_per_request: cpu_us as f64 / loaded.requests as f64,
            busy: cpu_us as f64 / took.as_micros().max(1) as f64,
            upstream_requests: running.has_upstream().then_some(upstream),
            loaded,
            head_bytes,
            changed_fields,
        });
    }
    Ok(hits)
}

/// Asks until the origin is not asked any more, and checks the answer against the origin's.
async fn warm_up(running: &Running, bytes: usize) -> anyhow::Result<(usize, Vec<&'static str>)> {
    let target = stream::sized_target(bytes);
    let origin = exchange(running.origin.address, "GET", &target).await?;
    for _ in 0..WARM_UP_MAX {
        let before = asked(running).await?;
        let answer = exchange(running.address, "GET", &target).await?;
        ensure!(answer.status() == 200, "status {} for {bytes} bytes", answer.status());
        ensure!(answer.body() == origin.body(), "wrong body of {bytes} bytes");
        if !running.has_upstream() || asked(running).await? == before {
            return Ok((answer.head_bytes(), changed_fields(&origin.fields(), &answer.fields())));
        }
    }
    anyhow::bail!("{bytes} bytes are not in its cache after {WARM_UP_MAX} requests")
}

async fn asked(running: &Running) -> anyhow::Result<u64> {
    Ok(running.origin.counts().await?.values().sum())
}

async fn with_program(
    program: &Path,
    channel: Channel,
    load: &Load,
    (cores, dir): (Cores, &Path),
) -> anyhow::Result<Loaded> {
    let mut command = match channel {
        Channel::Plain => wrk::command(program, "http", load),
        Channel::Tls => wrk::command(program, "https", load),
        Channel::Http2 => h2load::command(program, load),
    };
    command.env("OPENSSL_CONF", tls::client_settings(dir));
    let mut process = Process::start(command, cores.client, &dir.join("client.log"), true)?;
    let mut stdout = process.child().stdout.take().context("the client has no standard output")?;
    let mut report = String::new();
    tokio::time::timeout(load.length + 2 * PATIENCE, stdout.read_to_string(&mut report))
        .await
        .context("the client hangs")??;
    let parsed = if channel == Channel::Http2 { h2load::parse(&report) } else { wrk::parse(&report) };
    parsed.with_context(|| format!("the client said what is not understood: {}", report.trim()))
}

async fn with_own(load: &Load, cores: Cores, dir: &Path) -> anyhow::Result<Loaded> {
    let (server, connections) = (load.server.to_string(), load.connections.to_string());
    let seconds = load.length.as_secs().to_string();
    let arguments = ["load", "--server", &server, "--target", &load.target, "--connections", &connections];
    let mut tool = Tool::start(&[&arguments[..], &["--seconds", &seconds]].concat(), cores.client, dir)?;
    tool.heard(load.length + 2 * PATIENCE).await
}

impl Hits {
    pub(crate) fn markdown(&self) -> String {
        let header = [
            "object",
            "server",
            "requests/s",
            "CPU µs per request",
            "p50 ms",
            "p99 ms",
            "server busy %",
            "upstream requests",
            "head bytes",
        ];
        let cases = self.plan.sizes.iter().flat_map(|bytes| self.rows.iter().map(move |row| (*bytes, row)));
        let rows: Vec<Vec<String>> = cases.map(|(bytes, row)| cells(bytes, row)).collect();
        let Plan { channel, client, connections, seconds, .. } = &self.plan;
        let (how, client) = match channel {
            Channel::Plain => (String::new(), if client.is_some() { "wrk" } else { "bench load" }),
            Channel::Tls => (format!(" over TLS ({})", tls::CIPHER), "wrk"),
            Channel::Http2 => {
                (format!(" over TLS ({}) and HTTP/2, {} streams each", tls::CIPHER, h2load::STREAMS), "h2load")
            }
        };
        format!(
            "### hit: a cached object{how}, {connections} keep-alive connections of {client}, {seconds} s each\n\n{}{}",
            table::render(&header, &rows),
            remarks(&self.rows, of_run)
        )
    }

    /// In CPU time per request, since client and server share the machine.
    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        let ratio = |bytes: usize| {
            let cpu = |row: &Row<Hit>| {
                let runs = row.runs.iter().filter(|hit| hit.bytes == bytes);
                Spread::over(runs.map(|hit| hit.cpu_us_per_request)).map(|spread| spread.median)
            };
            let compared = match self.plan.channel {
                Channel::Plain => ours_and_best(&self.rows, cpu),
                Channel::Tls | Channel::Http2 => {
                    let of = |name: &str| self.rows.iter().find(|row| row.server == name).and_then(cpu);
                    of("vivid").zip(of("nginx"))
                }
            };
            compared.map(|(ours, theirs)| theirs / ours)
        };
        let verdict = |&bytes: &usize| {
            let (case, least, than, over) = match self.plan.channel {
                Channel::Plain => ("E1/E2", 1.0, "the best peer", ""),
                Channel::Tls if bytes > 4096 => ("E3", 1.5, "nginx", ", TLS with HTTP/1.1"),
                Channel::Tls => ("E3", 1.0, "nginx", ", TLS with HTTP/1.1"),
                Channel::Http2 if bytes > 4096 => ("E3", 1.5, "nginx", ", TLS with HTTP/2"),
                Channel::Http2 => ("E3", 1.0, "nginx", ", TLS with HTTP/2"),
            };
            let ratio = ratio(bytes);
            Verdict {
                case,
                aim: format!("{}{over}: requests per CPU second at least {least} × {than}", size(bytes)),
                found: ratio.map_or_else(|| "no figure".to_owned(), |ratio| format!("{ratio:.2} ×")),
                reached: ratio.map(|ratio| ratio >= least),
            }
        };
        self.plan.sizes.iter().map(verdict).collect()
    }
}

fn of_run(row: &Row<Hit>) -> Vec<String> {
    let errors: u64 = row.runs.iter().map(|hit| hit.loaded.errors).sum();
    let mut changed: Vec<&str> = row.runs.iter().flat_map(|hit| hit.changed_fields.iter().copied()).collect();
    changed.sort_unstable();
    changed.dedup();
    let errors = (errors > 0).then(|| format!("{errors} errors under load"));
    let changed = (!changed.is_empty()).then(|| format!("does not pass on as it is: {}", changed.join(", ")));
    errors.into_iter().chain(changed).collect()
}

fn cells(bytes: usize, row: &Row<Hit>) -> Vec<String> {
    let runs: Vec<&Hit> = row.runs.iter().filter(|hit| hit.bytes == bytes).collect();
    let spread = |value: &dyn Fn(&Hit) -> f64| text(Spread::over(runs.iter().map(|hit| value(hit))));
    // h2load tells no percentiles.
    let times = |value: &dyn Fn(&Hit) -> u64| {
        text(Spread::over(runs.iter().map(|hit| value(hit) as f64 / 1e3).filter(|ms| *ms > 0.0)))
    };
    let upstream = Spread::over(runs.iter().filter_map(|hit| hit.upstream_requests).map(|count| count as f64));
    vec![
        size(bytes),
        row.server.clone(),
        spread(&|hit| hit.loaded.requests_per_s.round()),
        spread(&|hit| hit.cpu_us_per_request),
        times(&|hit| hit.loaded.p50_us),
        times(&|hit| hit.loaded.p99_us),
        spread(&|hit| (hit.busy * 100.0).round()),
        text(upstream),
        spread(&|hit| hit.head_bytes as f64),
    ]
}

fn size(bytes: usize) -> String {
    match bytes {
        bytes if bytes >= 1 << 20 && bytes % (1 << 20) == 0 => format!("{} MiB", bytes >> 20),
        bytes if bytes >= 1 << 10 && bytes % (1 << 10) == 0 => format!("{} KiB", bytes >> 10),
        bytes => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        assert_eq!((size(2048), size(1 << 20), size(1500)), ("2 KiB".into(), "1 MiB".into(), "1500 B".into()));
    }

    #[test]
    fn a_table_groups_by_object_and_tells_what_differs() {
        let hit = |bytes, changed_fields| Hit {
            bytes,
            loaded: Loaded { requests: 10, requests_per_s: 10.4, p50_us: 1500, p99_us: 2500, errors: 1 },
            cpu_us_per_request: 12.5,
            busy: 0.994,
            upstream_requests: Some(0),
            head_bytes: 200,
            changed_fields,
        };
        let row = |server: &str, runs| Row { server: server.to_owned(), runs, trouble: Vec::new() };
        let plan =
            Plan { channel: Channel::Plain, sizes: vec![2048, 1 << 20], connections: 64, seconds: 3, client: None };
        let rows =
            vec![row("a", vec![hit(2048, vec!["cache-control"]), hit(1 << 20, Vec::new())]), row("b", Vec::new())];
        let text = Hits { plan, rows }.markdown();
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).skip(2).collect();
        let first: Vec<&str> = lines.iter().filter_map(|line| line.split('|').nth(1).map(str::trim)).collect();
        assert_eq!(first, ["2 KiB", "2 KiB", "1 MiB", "1 MiB"]);
        assert!(lines[0].contains("| 10 ") && lines[0].contains("| 12.5 ") && lines[0].contains("| 99 "), "{text}");
        assert!(text.contains("- a: 2 errors under load\n- a: does not pass on as it is: cache-control\n"), "{text}");
    }
}
