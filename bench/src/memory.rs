//! Case E12: what one connection costs in resident memory, held or idle, plain or over TLS.

use crate::case::Verdict;
use crate::crowd::{State, Way};
use crate::procfs;
use crate::rows::{Row, remarks, text};
use crate::servers::{Facts, Server, Setting};
use crate::stats::Spread;
use crate::table;
use crate::tls;
use crate::tools::Tool;
use crate::viewers::Waiting;
use clap::ValueEnum;
use serde::Serialize;
use std::time::Duration;

const VIEWERS: usize = 2000;
/// Handshakes and all.
const PATIENCE: Duration = Duration::from_secs(30);
/// Buffers of handshakes are freed by then.
const SETTLED: Duration = Duration::from_millis(500);

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Kept {
    pub(crate) way: Way,
    pub(crate) state: State,
    pub(crate) bytes_per_viewer: f64,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Memory {
    pub(crate) rows: Vec<Row<Kept>>,
}

/// Every way and state in turn, each with a server of its own.
pub(crate) async fn run(server: &Server, facts: &mut Facts, setting: &Setting<'_>) -> anyhow::Result<Vec<Kept>> {
    let mut kept = Vec::new();
    for way in [Way::Plain, Way::Tls, Way::Http2] {
        if way != Way::Plain && server.without_tls().is_some() {
            continue;
        }
        for state in [State::Idle, State::Held] {
            kept.push(Kept { way, state, bytes_per_viewer: bytes(server, facts, setting, (way, state)).await? });
        }
    }
    Ok(kept)
}

async fn bytes(
    server: &Server,
    facts: &mut Facts,
    setting: &Setting<'_>,
    (way, state): (Way, State),
) -> anyhow::Result<f64> {
    let running = server.start(facts, setting).await?;
    let before = procfs::resident_bytes(running.pid());
    let address = if way == Way::Plain { running.address } else { running.tls.unwrap_or(running.address) };
    let (address, viewers) = (address.to_string(), VIEWERS.to_string());
    let certificate = tls::certificate(running.dir.path()).display().to_string();
    let name = |value: Option<clap::builder::PossibleValue>| {
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    };
    let (way, state) = (name(way.to_possible_value()), name(state.to_possible_value()));
    let arguments = ["crowd", "--server", &address, "--viewers", &viewers, "--way", &way, "--state", &state];
    let arguments = [&arguments[..], &["--certificate", &certificate]].concat();
    let mut crowd = Tool::start(&arguments, setting.cores.client, running.dir.path())?;
    let _: Waiting = crowd.heard(PATIENCE).await?;
    tokio::time::sleep(SETTLED).await;
    let grown = procfs::resident_bytes(running.pid()).saturating_sub(before);
    Ok(grown as f64 / VIEWERS as f64)
}

impl Memory {
    pub(crate) fn markdown(&self) -> String {
        let columns = [
            ("plain, idle", Way::Plain, State::Idle),
            ("plain, held", Way::Plain, State::Held),
            ("TLS, idle", Way::Tls, State::Idle),
            ("TLS, held", Way::Tls, State::Held),
            ("TLS and HTTP/2, idle", Way::Http2, State::Idle),
            ("TLS and HTTP/2, held", Way::Http2, State::Held),
        ];
        let header: Vec<&str> = ["server"].into_iter().chain(columns.map(|(title, ..)| title)).collect();
        let cells = |row: &Row<Kept>| {
            let cell = |(_, way, state)| text(spread(row, way, state));
            [row.server.clone()].into_iter().chain(columns.map(cell)).collect::<Vec<String>>()
        };
        let rows: Vec<Vec<String>> = self.rows.iter().map(cells).collect();
        format!(
            "### memory: resident KiB per connection, of {VIEWERS}\n\n{}{}",
            table::render(&header, &rows),
            remarks(&self.rows, |_| Vec::new())
        )
    }

    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        let ours = self.rows.iter().find(|row| row.server == "vivid");
        let verdict = |(what, ways, bound): (&str, &[Way], f64)| {
            let all = ways.iter().flat_map(|way| [State::Idle, State::Held].map(|state| (*way, state)));
            let most = ours.and_then(|row| {
                all.filter_map(|(way, state)| Some(spread(row, way, state)?.median)).max_by(f64::total_cmp)
            });
            let aim = format!("{what}, held or idle: at most {bound} KiB a viewer");
            Verdict::at_most("E12", aim, most, bound, " KiB")
        };
        let ways: [(&str, &[Way], f64); 3] =
            [("plain", &[Way::Plain], 16.0), ("TLS", &[Way::Tls], 40.0), ("TLS and HTTP/2", &[Way::Http2], 40.0)];
        ways.into_iter().map(verdict).collect()
    }
}

fn spread(row: &Row<Kept>, way: Way, state: State) -> Option<Spread> {
    let runs = row.runs.iter().filter(|kept| kept.way == way && kept.state == state);
    Spread::over(runs.map(|kept| kept.bytes_per_viewer / 1024.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dearer_state_counts() {
        let kept = |state, kib: f64| Kept { way: Way::Plain, state, bytes_per_viewer: kib * 1024.0 };
        let runs = vec![kept(State::Idle, 3.0), kept(State::Held, 17.0)];
        let memory = Memory { rows: vec![Row { server: "vivid".to_owned(), runs, trouble: Vec::new() }] };
        let verdicts = memory.verdicts();
        assert_eq!((verdicts[0].reached, verdicts[1].reached), (Some(false), None));
        assert!(memory.markdown().contains("| 17 "), "{}", memory.markdown());
    }
}
