//! Everything a run found, as Markdown for people and as JSON for programs.

use crate::case::{self, Verdict};
use crate::grow::{Brokens, Growings};
use crate::hit::Hits;
use crate::hold::Hold;
use crate::live::{Besides, Lives};
use crate::machine::Machine;
use crate::memory::Memory;
use crate::servers::{Cores, Facts};
use crate::table;
use anyhow::{Context, ensure};
use serde::Serialize;
use std::fs;
use std::path::Path;

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// What was typed, without the program's folder.
    pub(crate) command: String,
    /// Of the day on which it ran, in UTC.
    pub(crate) date: String,
    pub(crate) machine: Machine,
    pub(crate) cores: Cores,
    pub(crate) files_in_memory: bool,
    pub(crate) runs: usize,
    pub(crate) servers: Vec<Facts>,
    pub(crate) absent: Vec<String>,
    #[serde(flatten)]
    pub(crate) found: Found,
}

/// What was run, case by case.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Found {
    pub(crate) hold: Vec<Hold>,
    pub(crate) hit: Vec<Hits>,
    pub(crate) growings: Option<Growings>,
    pub(crate) brokens: Option<Brokens>,
    pub(crate) memory: Option<Memory>,
    pub(crate) besides: Option<Besides>,
    pub(crate) lives: Option<Lives>,
}

impl Found {
    fn verdicts(&self) -> Vec<Verdict> {
        let mut verdicts: Vec<Verdict> = self.hit.iter().flat_map(Hits::verdicts).collect();
        verdicts.extend(self.hold.iter().flat_map(Hold::verdicts));
        verdicts.extend(self.lives.iter().flat_map(Lives::verdicts));
        verdicts.extend(self.growings.iter().flat_map(Growings::verdicts));
        verdicts.extend(self.brokens.iter().flat_map(Brokens::verdicts));
        verdicts.extend(self.memory.iter().flat_map(Memory::verdicts));
        verdicts.extend(self.besides.iter().flat_map(Besides::verdicts));
        verdicts
    }

    fn tables(&self) -> Vec<String> {
        let mut cases: Vec<String> = self.hit.iter().map(Hits::markdown).collect();
        cases.extend(self.hold.iter().map(Hold::markdown));
        cases.extend(self.lives.iter().map(Lives::markdown));
        cases.extend(self.growings.iter().map(Growings::markdown));
        cases.extend(self.brokens.iter().map(Brokens::markdown));
        cases.extend(self.memory.iter().map(Memory::markdown));
        cases.extend(self.besides.iter().map(Besides::markdown));
        cases
    }
}

impl Report {
    pub(crate) fn markdown(&self) -> String {
        let machine = &self.machine;
        let servers: Vec<String> =
            self.servers.iter().map(|facts| format!("{} {}", facts.name, facts.version)).collect();
        let files = if self.files_in_memory { "on tmpfs" } else { "on disk, since /dev/shm does not take programs" };
        let mut out = machine.heading(&self.command, &self.date);
        out.push_str(&format!(
            "- Server on core {}, client and origin on core {}; {} runs, interleaved; cells are median (min–max). \
             Files of servers {files}.\n\
             - Servers: {}. Configurations: `bench/peers/`.\n",
            self.cores.server,
            self.cores.client,
            self.runs,
            servers.join(", "),
        ));
        for line in self.absent.iter().chain(&machine.doubts()) {
            out.push_str(&format!("- **{line}**\n"));
        }
        let cases = [case::markdown(&self.found.verdicts())].into_iter().chain(self.found.tables());
        for case in cases {
            out.push('\n');
            out.push_str(&case);
        }
        out
    }

    pub(crate) fn write_json(&self, path: &Path) -> anyhow::Result<()> {
        fs::write(path, serde_json::to_vec_pretty(self)?).with_context(|| format!("cannot write {}", path.display()))
    }

    pub(crate) fn write_into(&self, page: &Path) -> anyhow::Result<()> {
        put_into(page, table::RESULTS, (&self.machine, &self.markdown()))
    }
}

/// Prints the page of a report, and writes it where it is wanted: all of it as JSON, the page between two marks of another.
pub(crate) fn give(
    (report, machine): (&impl Serialize, &Machine),
    page: &str,
    marks: (&str, &str),
    (json, write): (Option<&Path>, Option<&Path>),
) -> anyhow::Result<()> {
    print!("{page}");
    if let Some(path) = json {
        fs::write(path, serde_json::to_vec_pretty(report)?)?;
    }
    write.map_or(Ok(()), |into| put_into(into, marks, (machine, page)))
}

/// Puts results between two marks of a page. Figures of a debug build never get into one.
fn put_into(page: &Path, marks: (&str, &str), (machine, results): (&Machine, &str)) -> anyhow::Result<()> {
    let name = page.display();
    ensure!(machine.release_build, "figures of a debug build are not written to {name}; use --release");
    let text = fs::read_to_string(page).with_context(|| format!("cannot read {name}"))?;
    let missing = || format!("{name} does not hold {} and {}", marks.0, marks.1);
    let text = table::replace_between(&text, marks, results).with_context(missing)?;
    fs::write(page, text).with_context(|| format!("cannot write {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_place_for_all_results() {
        let page = include_str!("../../docs/benchmarks.md");
        for marks in [
            table::RESULTS,
            crate::dvr::MARKS,
            crate::ladder::MARKS,
            crate::aligned::MARKS,
            crate::quality::MARKS,
            crate::keeping::MARKS,
        ] {
            assert!(table::replace_between(page, marks, "x").is_some(), "{marks:?}");
        }
    }
}
