//! What the ladder costs beside one ffmpeg command that does the same, and what it adds to the glass.

pub(crate) mod clip;
mod delay;
pub(crate) mod side;

use crate::case::{self, Verdict};
use crate::machine::{self, Machine};
use crate::report::give;
use crate::stats::{Spread, percentile};
use crate::{sys, table};
use anyhow::{Context, ensure};
use clap::ValueEnum;
use serde::Serialize;
use side::{Cost, Side};
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Length of the source, in seconds
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..=600))]
    seconds: u32,
    /// Rounds, in each of which every side has a turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    runs: u16,
    /// A Markdown page to put the results into, between its two marks
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Everything that was found
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Height in pixels, bits per second.
const RUNGS: [(u32, u32); 3] = [(720, 3_000_000), (480, 1_500_000), (360, 800_000)];
const PRESET: &str = "veryfast";
pub(crate) const MARKS: (&str, &str) = ("<!-- bench:ladder -->", "<!-- /bench:ladder -->");

#[derive(Debug, Serialize)]
struct Report {
    command: String,
    date: String,
    machine: Machine,
    costs: Vec<(Side, Vec<Cost>)>,
    /// Milliseconds, one for each round.
    delay_p50: Vec<f64>,
    delay_p99: Vec<f64>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let command = std::env::args().skip(1).fold("bench".to_owned(), |all, argument| format!("{all} {argument}"));
    let (machine, date) = (Machine::look(sys::raise_open_files()), machine::date());
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("source.flv");
    eprintln!("making a source of {} s", arguments.seconds);
    clip::make(&path, arguments.seconds)?;
    let costs = Side::value_variants().iter().map(|side| (*side, Vec::new())).collect();
    let mut report = Report { command, date, machine, costs, delay_p50: Vec::new(), delay_p99: Vec::new() };
    for round in 1..=arguments.runs {
        eprintln!("round {round} of {}", arguments.runs);
        for (side, costs) in &mut report.costs {
            costs.push(turn(*side, &path)?);
        }
        let delays = on_runtime(delay::measure(&path))?;
        report.delay_p50.push(percentile(&delays, 50.0) as f64 / 1000.0);
        report.delay_p99.push(percentile(&delays, 99.0) as f64 / 1000.0);
    }
    let files = (arguments.json.as_deref(), arguments.write.as_deref());
    give((&report, &report.machine), &report.markdown(), MARKS, files)
}

/// A process of its own for each turn.
fn turn(side: Side, path: &Path) -> anyhow::Result<Cost> {
    let name = side.to_possible_value().context("each side has a name")?;
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.args(["ladder-side", name.get_name()]).arg(path).output()?;
    ensure!(output.status.success(), "{}: {}", name.get_name(), String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

pub(crate) fn on_runtime<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?.block_on(work)
}

impl Report {
    fn spread(&self, side: Side, value: fn(&Cost) -> f64) -> Option<Spread> {
        let (_, costs) = self.costs.iter().find(|(known, _)| *known == side)?;
        Spread::over(costs.iter().map(value))
    }

    /// The median over the rounds of ours by the better of ffmpeg's two in the same round.
    fn ratio(&self, value: fn(&Cost) -> f64) -> Option<f64> {
        let of = |side| self.costs.iter().find(|(known, _)| *known == side).map(|(_, costs)| costs);
        let (ours, split, cascade) = (of(Side::Vivid)?, of(Side::Ffmpeg)?, of(Side::FfmpegCascade)?);
        let rounds = ours.iter().zip(split.iter().zip(cascade));
        let ratios = rounds.map(|(ours, (split, cascade))| value(ours) / value(split).min(value(cascade)));
        Some(Spread::over(ratios)?.median)
    }

    fn verdicts(&self) -> [Verdict; 3] {
        let beside = |what: &str| format!("{what} at most 1.0 times those of the better ffmpeg command");
        let p99 = Spread::over(self.delay_p99.iter().copied()).map(|spread| spread.median);
        let delay = "p99 from a frame in to the last rung's packet out, without look-ahead: two frames".to_owned();
        [
            Verdict::at_most("L1", beside("CPU seconds"), self.ratio(|cost| cost.cpu_s), 1.0, " x"),
            Verdict::at_most("L1", beside("memory, its most"), self.ratio(|cost| cost.memory_mb), 1.0, " x"),
            Verdict::at_most("L2", delay, p99, delay::BOUND_MS, " ms"),
        ]
    }

    fn markdown(&self) -> String {
        let mut out = self.machine.heading(&self.command, &self.date);
        for doubt in self.machine.doubts() {
            out.push_str(&format!("- **{doubt}**\n"));
        }
        let text = |side, value| self.spread(side, value).map_or_else(|| "–".to_owned(), |spread| spread.text());
        let row = |side: Side, name: &str| {
            let columns: [fn(&Cost) -> f64; 3] = [|cost| cost.cpu_s, |cost| cost.memory_mb, |cost| cost.wall_s];
            let cells = columns.into_iter().map(|value| text(side, value));
            std::iter::once(name.to_owned()).chain(cells).collect::<Vec<_>>()
        };
        let rows = [
            row(Side::Vivid, "vivid"),
            row(Side::Ffmpeg, "ffmpeg, each rung from the source"),
            row(Side::FfmpegCascade, "ffmpeg, each rung from the one above"),
        ];
        let costs = table::render(&["1080p30 to 720p, 480p, 360p", "CPU s", "memory, MB", "wall s"], &rows);
        let delay = |values: &[f64]| Spread::over(values.iter().copied()).map_or_else(String::new, |all| all.text());
        let (p50, p99) = (delay(&self.delay_p50), delay(&self.delay_p99));
        out.push_str(&format!("\n{}\n### Costs\n\n{costs}\n", case::markdown(&self.verdicts())));
        out.push_str(&format!("From a frame in to the last rung's packet out: p50 {p50} ms, p99 {p99} ms.\n"));
        out
    }
}
