//! What servers did in a case, one row each, and the rounds that brought it about.

use crate::servers::{Cores, Facts, Server};
use crate::stats::Spread;
use serde::Serialize;
use std::path::PathBuf;

/// One server in one case.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row<R> {
    pub(crate) server: String,
    pub(crate) runs: Vec<R>,
    /// Why a run gave no figures.
    pub(crate) trouble: Vec<String>,
}

/// Where servers run, and how often.
pub(crate) struct Field {
    pub(crate) servers: Vec<(Server, Facts)>,
    pub(crate) cores: Cores,
    pub(crate) scratch: PathBuf,
    pub(crate) runs: u16,
}

impl Field {
    /// Each server in turn, round after round. `run` gets the number of the round, from 1.
    pub(crate) async fn rounds<R>(
        &mut self,
        what: &str,
        without: impl Fn(&Server) -> Option<&'static str>,
        mut run: impl AsyncFnMut(&Server, &mut Facts, u16) -> anyhow::Result<Vec<R>>,
    ) -> Vec<Row<R>> {
        let row = |(server, facts): &(Server, Facts)| Row {
            server: facts.name.clone(),
            runs: Vec::new(),
            trouble: without(server).into_iter().map(str::to_owned).collect(),
        };
        let mut rows: Vec<Row<R>> = self.servers.iter().map(row).collect();
        for round in 1..=self.runs {
            for ((server, facts), row) in self.servers.iter_mut().zip(&mut rows) {
                if without(server).is_some() {
                    continue;
                }
                eprintln!("{what}, round {round} of {}: {}", self.runs, facts.name);
                match run(server, facts, round).await {
                    Ok(runs) => row.runs.extend(runs),
                    Err(error) => row.failed(&error),
                }
            }
        }
        rows
    }
}

impl<R> Row<R> {
    /// A server that fails costs its own run, never the others'.
    fn failed(&mut self, error: &anyhow::Error) {
        let trouble = format!("a run failed: {error:#}");
        eprintln!("{}: {trouble}", self.server);
        self.trouble.push(trouble);
    }

    pub(crate) fn spread(&self, value: impl Fn(&R) -> f64) -> Option<Spread> {
        Spread::over(self.runs.iter().map(value))
    }

    /// A cell of the table.
    pub(crate) fn cell(&self, value: impl Fn(&R) -> f64) -> String {
        text(self.spread(value))
    }
}

pub(crate) fn text(spread: Option<Spread>) -> String {
    spread.map_or_else(|| "–".to_owned(), |spread| spread.text())
}

/// The median of one server, and the lowest median among its peers: who is neither the floor nor Vivid.
pub(crate) fn ours_and_best<R>(rows: &[Row<R>], value: impl Fn(&Row<R>) -> Option<f64>) -> Option<(f64, f64)> {
    let ours = rows.iter().find(|row| row.server == "vivid").and_then(&value)?;
    let peers = rows.iter().filter(|row| !matches!(row.server.as_str(), "vivid" | "floor"));
    let best = peers.filter_map(value).min_by(f64::total_cmp)?;
    Some((ours, best))
}

/// The median of the server called `name`.
pub(crate) fn median<R>(rows: &[Row<R>], name: &str, value: impl Fn(&R) -> f64) -> Option<f64> {
    rows.iter().find(|row| row.server == name)?.spread(value).map(|spread| spread.median)
}

/// What a table of medians must not hide: a list below it, empty where there is nothing to say.
pub(crate) fn remarks<R>(rows: &[Row<R>], of_run: impl Fn(&Row<R>) -> Vec<String>) -> String {
    let mut out = String::new();
    for row in rows {
        for remark in of_run(row).iter().chain(&row.trouble) {
            out.push_str(&format!("\n- {}: {remark}", row.server));
        }
    }
    if out.is_empty() { out } else { format!("{out}\n") }
}
