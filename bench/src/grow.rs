//! Cases E8 and E9: an object that grows under many readers, and one whose upstream dies before its end.

use crate::case::Verdict;
use crate::origin::growth::Growth;
use crate::readers::{End, Read};
use crate::rows::{Row, remarks, text};
use crate::servers::{Facts, Running, Server, Setting};
use crate::stats::{Spread, percentile};
use crate::table;
use crate::tools::Tool;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// A part of live video that is sent as it is encoded, with pieces a tenth of a second apart.
pub(crate) const GROWING: Growth =
    Growth { pieces: 20, piece_bytes: 16 << 10, period_ms: 100, dies_after: 0, chunked: true };
pub(crate) const READERS: usize = 500;
/// Dies after its third piece of ten, at once for all that read it.
const BROKEN: Growth = Growth { pieces: 10, piece_bytes: 32 << 10, period_ms: 50, dies_after: 3, chunked: true };
const READERS_OF_BROKEN: usize = 100;
/// Beyond the last piece: time enough for those who wait for the end.
const PATIENCE: Duration = Duration::from_secs(6);
const WITHIN_MS: f64 = 10.0;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Grown {
    /// Readers that got every byte.
    pub(crate) whole: usize,
    /// From the origin's write of a piece to its last byte at a reader, over all pieces and readers.
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) max_us: u64,
    pub(crate) upstream_requests: Option<u64>,
}

/// One way to frame what broke off, and when it was asked for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Broken {
    pub(crate) what: &'static str,
    pub(crate) ends: BTreeMap<End, usize>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Growings {
    pub(crate) rows: Vec<Row<Grown>>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Brokens {
    pub(crate) rows: Vec<Row<Broken>>,
}

pub(crate) async fn run(server: &Server, facts: &mut Facts, setting: &Setting<'_>) -> anyhow::Result<Vec<Grown>> {
    let running = server.start(facts, setting).await?;
    let path = GROWING.path("e8");
    let read = read(&running, setting, (&path, READERS), GROWING).await?;
    let written_ns = running.origin.grown().await?.remove(&path).unwrap_or_default();
    let pieces = read.pieces_ns.iter().flat_map(|pieces| pieces.iter().zip(&written_ns));
    let mut us: Vec<u64> = pieces.map(|(there, written)| there.saturating_sub(*written) / 1000).collect();
    us.sort_unstable();
    let asked = running.origin.counts().await?.get(&path).copied().unwrap_or(0);
    Ok(vec![Grown {
        whole: read.ends.get(&End::Whole).copied().unwrap_or(0),
        p50_us: percentile(&us, 50.0),
        p99_us: percentile(&us, 99.0),
        max_us: percentile(&us, 100.0),
        upstream_requests: running.has_upstream().then_some(asked),
    }])
}

/// Asks for it while it breaks off, and once more when it has.
pub(crate) async fn run_broken(
    server: &Server,
    facts: &mut Facts,
    setting: &Setting<'_>,
) -> anyhow::Result<Vec<Broken>> {
    let running = server.start(facts, setting).await?;
    let mut found = Vec::new();
    for (chunked, during, after) in
        [(true, "in chunks", "in chunks, asked for later"), (false, "with a length", "with a length, asked for later")]
    {
        let growth = Growth { chunked, ..BROKEN };
        let path = growth.path("e9");
        for (what, readers) in [(during, READERS_OF_BROKEN), (after, 1)] {
            let read = read(&running, setting, (&path, readers), growth).await?;
            found.push(Broken { what, ends: read.ends });
        }
    }
    Ok(found)
}

async fn read(
    running: &Running,
    setting: &Setting<'_>,
    (path, readers): (&str, usize),
    growth: Growth,
) -> anyhow::Result<Read> {
    let patience = growth.due(growth.pieces) + PATIENCE;
    let (server, count) = (running.address.to_string(), readers.to_string());
    let patience_ms = patience.as_millis().to_string();
    let arguments =
        ["readers", "--server", &server, "--target", path, "--count", &count, "--patience-ms", &patience_ms];
    let mut tool = Tool::start(&arguments, setting.cores.client, running.dir.path())?;
    tool.heard(2 * patience).await
}

impl Growings {
    pub(crate) fn markdown(&self) -> String {
        let header = ["server", "whole at its readers", "p50 ms", "p99 ms", "longest ms", "upstream requests"];
        let cells = |row: &Row<Grown>| {
            let whole = row.runs.iter().map(|run| run.whole).min();
            let upstream = row.runs.iter().filter_map(|run| run.upstream_requests).map(|count| count as f64);
            vec![
                row.server.clone(),
                whole.map_or_else(|| "–".to_owned(), |whole| format!("{whole}/{READERS}")),
                row.cell(|run| run.p50_us as f64 / 1e3),
                row.cell(|run| run.p99_us as f64 / 1e3),
                row.cell(|run| run.max_us as f64 / 1e3),
                text(Spread::over(upstream)),
            ]
        };
        let rows: Vec<Vec<String>> = self.rows.iter().map(cells).collect();
        let Growth { pieces, piece_bytes, period_ms, .. } = GROWING;
        format!(
            "### growing: {READERS} readers of one object of {pieces} pieces of {} KiB, {period_ms} ms apart\n\n{}{}",
            piece_bytes >> 10,
            table::render(&header, &rows),
            remarks(&self.rows, of_run)
        )
    }

    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        let p99_ms = crate::rows::median(&self.rows, "vivid", |run| run.p99_us as f64 / 1e3);
        let aim = format!("every chunk at each of {READERS} readers within {WITHIN_MS} ms (p99)");
        vec![Verdict::at_most("E8", aim, p99_ms, WITHIN_MS, " ms")]
    }
}

/// A server whose median piece is later than the next one keeps pieces until the end, or nearly so.
fn of_run(row: &Row<Grown>) -> Vec<String> {
    let waits =
        row.spread(|run| run.p50_us as f64 / 1e3).is_some_and(|spread| spread.median > GROWING.period_ms as f64);
    waits.then(|| "its readers wait for the end of the object".to_owned()).into_iter().collect()
}

impl Brokens {
    pub(crate) fn markdown(&self) -> String {
        let header = ["server", "body", "readers", "seen to be cut", "refused", "no end in time", "taken for whole"];
        let mut rows = Vec::new();
        for row in &self.rows {
            let mut by_what: BTreeMap<&str, BTreeMap<End, usize>> = BTreeMap::new();
            for run in &row.runs {
                let ends = by_what.entry(run.what).or_default();
                run.ends.iter().for_each(|(end, count)| *ends.entry(*end).or_default() += count);
            }
            for (what, ends) in by_what {
                let of = |end| ends.get(&end).copied().unwrap_or(0);
                let counts = [
                    ends.values().sum(),
                    of(End::Cut),
                    of(End::Refused),
                    of(End::Endless),
                    of(End::ShortButWhole) + of(End::Whole),
                ];
                let counts = counts.iter().map(usize::to_string);
                rows.push([row.server.clone(), what.to_owned()].into_iter().chain(counts).collect());
            }
        }
        format!(
            "### broken: upstream dies after {} of {} pieces\n\n{}{}",
            BROKEN.dies_after,
            BROKEN.pieces,
            table::render(&header, &rows),
            remarks(&self.rows, |_| Vec::new())
        )
    }

    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        let ours = self.rows.iter().find(|row| row.server == "vivid").filter(|row| !row.runs.is_empty());
        let taken = ours.map(|row| {
            let wrong = |run: &Broken| -> usize {
                let counts = [End::ShortButWhole, End::Whole].map(|end| run.ends.get(&end).copied().unwrap_or(0));
                counts.iter().sum()
            };
            row.runs.iter().map(wrong).sum::<usize>() as f64
        });
        let aim = "no reader takes a truncated object for a whole one".to_owned();
        vec![Verdict::at_most("E9", aim, taken, 0.0, " readers did")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reader_that_is_deceived_is_a_miss() {
        let verdict = |end| {
            let run = Broken { what: "in chunks", ends: BTreeMap::from([(End::Cut, 99), (end, 1)]) };
            let rows = vec![Row { server: "vivid".to_owned(), runs: vec![run], trouble: Vec::new() }];
            let brokens = Brokens { rows };
            assert!(brokens.markdown().contains("| 100 "), "{}", brokens.markdown());
            brokens.verdicts()[0].reached
        };
        assert_eq!((verdict(End::Refused), verdict(End::ShortButWhole)), (Some(true), Some(false)));
    }
}
