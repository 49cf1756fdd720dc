//! What becomes of a stream whose machine has twice the work it can do, or whose worker dies: L6 and L7.

mod killed;
mod overload;
mod site;

use crate::case::{self, Verdict};
use crate::ladder::clip;
use crate::machine::{self, Machine};
use crate::report::give;
use crate::stats::Spread;
use crate::{sys, table};
use clap::ValueEnum;
use serde::Serialize;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Cases to run; all of them by default
    #[arg(long, value_delimiter = ',')]
    cases: Vec<What>,
    /// How often the worker is ended, every second time by stopping it
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(2..=200))]
    kills: u16,
    /// A Markdown page to put the results into, between its two marks
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Everything that was found
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Twice the work that the machine can do
    L6,
    /// Workers that are killed and that hang
    L7,
}

pub(crate) const MARKS: (&str, &str) = ("<!-- bench:keeping -->", "<!-- /bench:keeping -->");
/// Of the source, in seconds; it is sent again and again.
const CLIP_S: u32 = 8;
/// Segments have 60 frames at 30 fps.
const SEGMENT_S: f64 = 2.0;
/// A process is started, FFmpeg set up, and a part of a quarter of a second encoded.
const START_UP_S: f64 = 1.0;

#[derive(Debug, Serialize)]
struct Report {
    command: String,
    date: String,
    machine: Machine,
    overload: Option<overload::Found>,
    killed: Option<killed::Found>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let command = std::env::args().skip(1).fold("bench".to_owned(), |all, argument| format!("{all} {argument}"));
    let (machine, date) = (Machine::look(sys::raise_open_files()), machine::date());
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("source.flv");
    eprintln!("making a source of {CLIP_S} s");
    clip::make(&path, CLIP_S)?;
    let wanted = |what| arguments.cases.is_empty() || arguments.cases.contains(&what);
    let overload = wanted(What::L6).then(|| overload::measure(&path)).transpose()?;
    let killed = wanted(What::L7).then(|| killed::measure(&path, arguments.kills)).transpose()?;
    let report = Report { command, date, machine, overload, killed };
    let files = (arguments.json.as_deref(), arguments.write.as_deref());
    give((&report, &report.machine), &report.markdown(), MARKS, files)
}

impl Report {
    fn verdicts(&self) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        if let Some(found) = &self.overload {
            let late = found.late_ms.iter().map(|(_, [_, during, after])| (*during).max(*after)).max();
            let late = late.map(|ms| ms as f64 / 1000.0);
            let aim = "under twice the work no part of any rendition is told later than a segment";
            verdicts.push(Verdict::at_most("L6", aim.to_owned(), late, SEGMENT_S, " s"));
            let aim = format!("all is back within {} s of the end of that", overload::PHASES[2].as_secs());
            verdicts.push(Verdict::at_most("L6", aim, found.recovered_s, overload::PHASES[2].as_secs_f64(), " s"));
        }
        if let Some(found) = &self.killed {
            let lost = found.pictures_sent.abs_diff(found.pictures_listed) + found.gaps;
            let aim = "of what is passed through no picture is lost";
            verdicts.push(Verdict::at_most("L7", aim.to_owned(), Some(lost as f64), 0.0, ""));
            let worst = |all: &[f64]| all.iter().copied().reduce(f64::max);
            let back = SEGMENT_S + START_UP_S;
            let aim = "killed, the ladder is back within a segment and a second for its start";
            verdicts.push(Verdict::at_most("L7", aim.to_owned(), worst(&found.killed_s), back, " s"));
            let aim = format!("stopped, the same after the {} s in which that is noticed", killed::HANG.as_secs());
            let back = back + killed::HANG.as_secs_f64();
            verdicts.push(Verdict::at_most("L7", aim, worst(&found.hung_s), back, " s"));
        }
        verdicts
    }

    fn markdown(&self) -> String {
        let mut out = self.machine.heading(&self.command, &self.date);
        for doubt in self.machine.doubts() {
            out.push_str(&format!("- **{doubt}**\n"));
        }
        out.push_str(&format!("\n{}", case::markdown(&self.verdicts())));
        self.overload.iter().for_each(|found| out.push_str(&overloaded(found)));
        self.killed.iter().for_each(|found| out.push_str(&killed_and_hung(found)));
        out
    }
}

fn overloaded(found: &overload::Found) -> String {
    let row = |(name, late): &(String, [i64; 3])| {
        std::iter::once(name.clone()).chain(late.iter().map(ToString::to_string)).collect::<Vec<_>>()
    };
    let rows: Vec<_> = found.late_ms.iter().map(row).collect();
    let late = table::render(&["told how late at worst, ms", "before", "overloaded", "after"], &rows);
    let steps: Vec<_> = found.steps.iter().map(|(s, step)| format!("{step} at {s:.1} s")).collect();
    let gone: Vec<_> = found.gone.iter().map(|(name, s)| format!("{name} at {s:.1} s")).collect();
    let or_none = |all: Vec<String>| if all.is_empty() { "none".to_owned() } else { all.join(", ") };
    format!(
        "\n### Overload\n\nFour rungs below 1080p30 with the preset {} take {:.2} s of this machine for a second of the stream, and {:.2} s \
        with {} threads of other work beside them.\n\n{late}\nWhat was left out at most, in seconds since the other work began: {}. Rungs \
        that went: {}. Workers that ended: {}.\n",
        found.preset,
        found.alone,
        found.beside,
        found.other_threads,
        or_none(steps),
        or_none(gone),
        found.workers_ended,
    )
}

fn killed_and_hung(found: &killed::Found) -> String {
    let text = |all: &[f64]| Spread::over(all.iter().copied()).map_or_else(|| "–".to_owned(), |spread| spread.text());
    format!(
        "\n### Workers that end\n\nSeconds until the rung has a part again: {} after {} kills, {} after {} stops, of which {} s are \
        waited for a sign of life. Pictures passed through: {} of {} sent, with {} gaps, told {} ms late at worst.\n",
        text(&found.killed_s),
        found.killed_s.len(),
        text(&found.hung_s),
        found.hung_s.len(),
        killed::HANG.as_secs(),
        found.pictures_listed,
        found.pictures_sent,
        found.gaps,
        found.late_max_ms,
    )
}
