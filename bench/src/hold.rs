//! Case `hold`: many viewers wait for the next playlist; how long from its publication to the last viewer's last byte?

use crate::case::Verdict;
use crate::origin::site;
use crate::procfs;
use crate::rows::{Row, median, ours_and_best, remarks, text};
use crate::servers::{Cores, Facts, Running, Server, Setting};
use crate::stats::{Spread, percentile};
use crate::stream;
use crate::table;
use crate::tls;
use crate::tools::Tool;
use crate::viewers::{Outcome, Waiting};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// For opening all connections, and again for the answers: less than any server under test holds a request.
const VIEWERS_PATIENCE: Duration = Duration::from_secs(15);
/// A server is quiet once it uses less than a fiftieth of its core; one that polls never is.
const QUIET_WINDOW: Duration = Duration::from_millis(100);
const QUIET_NS_MAX: u64 = 2_000_000;
const QUIET_WITHIN: Duration = Duration::from_secs(2);
/// Servers that look again from time to time, nginx every 500 ms, are quick or slow by the phase they are caught in.
/// So publication comes later by another share of this in each round, the same for all servers.
const PHASES: Duration = Duration::from_millis(500);
/// Up to here, and over TLS, which the floor has not, peers are the measure; beyond it the floor.
const HALF_OF_BEST_UP_TO: usize = 5000;

/// One release to one crowd.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Release {
    /// Viewers that got the right playlist, to the byte, after it was published.
    pub(crate) right: usize,
    pub(crate) failures: BTreeMap<String, usize>,
    /// From the origin's first byte to a viewer's last.
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) last_us: u64,
    /// From the origin's first byte to a viewer's first.
    pub(crate) first_byte_p50_us: u64,
    /// Requests for the awaited position that reached the origin.
    pub(crate) upstream_requests: Option<u64>,
    pub(crate) cpu_us: u64,
    /// Growth from no viewer to all of them waiting.
    pub(crate) resident_bytes: u64,
}

/// Who waits.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Crowd {
    pub(crate) viewers: usize,
    /// Whether each spells its request in a way of its own.
    pub(crate) mixed: bool,
    pub(crate) tls: bool,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Hold {
    pub(crate) crowd: Crowd,
    pub(crate) rows: Vec<Row<Release>>,
}

/// Starts the server, lets the crowd wait, publishes, and counts.
pub(crate) async fn run(
    server: &Server,
    facts: &mut Facts,
    (crowd, phase): (Crowd, Duration),
    (cores, scratch): (Cores, &Path),
) -> anyhow::Result<Release> {
    let running = server.start(facts, &Setting::new(cores, scratch)).await?;
    let resident_before = procfs::resident_bytes(running.pid());
    let mut crowd = start(&running, crowd, cores)?;
    let _: Waiting = crowd.heard(2 * VIEWERS_PATIENCE).await?;
    settle(&running).await;
    tokio::time::sleep(phase).await;
    let resident_bytes = procfs::resident_bytes(running.pid()).saturating_sub(resident_before);

    let cpu_before_ns = procfs::threads_ns(running.pid());
    let published = running.origin.publish().await?;
    let outcome: Outcome = crowd.heard(2 * VIEWERS_PATIENCE).await?;
    let cpu_us = procfs::threads_ns(running.pid()).saturating_sub(cpu_before_ns) / 1000;
    let requests = site::requests_for(&running.origin.counts().await?, stream::FIRST);
    let mut release = times(outcome, published.first_byte_ns);
    release.upstream_requests = running.has_upstream().then_some(requests);
    (release.cpu_us, release.resident_bytes) = (cpu_us, resident_bytes);
    Ok(release)
}

/// How much later than settled the crowd of a round is released.
pub(crate) fn phase(round: u16, rounds: u16) -> Duration {
    PHASES * u32::from(round - 1) / u32::from(rounds.max(1))
}

fn start(running: &Running, crowd: Crowd, cores: Cores) -> anyhow::Result<Tool> {
    let address = running.tls.filter(|_| crowd.tls).unwrap_or(running.address);
    let (server, viewers) = (address.to_string(), crowd.viewers.to_string());
    let certificate = tls::certificate(running.dir.path()).display().to_string();
    let (at, patience) = (stream::FIRST.to_string(), VIEWERS_PATIENCE.as_millis().to_string());
    let arguments = ["viewers", "--server", &server, "--viewers", &viewers, "--at", &at, "--patience-ms", &patience];
    let mixed: &[&str] = if crowd.mixed { &["--mixed"] } else { &[] };
    let over: &[&str] = if crowd.tls { &["--certificate", &certificate] } else { &[] };
    Tool::start(&[&arguments, mixed, over].concat(), cores.client, running.dir.path())
}

impl Crowd {
    pub(crate) fn who(self) -> &'static str {
        if self.tls { " viewers over TLS" } else { " viewers" }
    }
}

/// Waits until the server has read what viewers sent: until it is quiet, or as long as a poller is given.
async fn settle(running: &Running) {
    let until = Instant::now() + QUIET_WITHIN;
    let mut before = procfs::threads_ns(running.pid());
    while Instant::now() < until {
        tokio::time::sleep(QUIET_WINDOW).await;
        let now = procfs::threads_ns(running.pid());
        if now.saturating_sub(before) < QUIET_NS_MAX {
            return;
        }
        before = now;
    }
}

/// Answers from before the publication are no answers to it.
fn times(outcome: Outcome, published_ns: u64) -> Release {
    let (after, before): (Vec<_>, Vec<_>) =
        outcome.answers_ns.into_iter().partition(|(first_ns, _)| *first_ns >= published_ns);
    let mut failures = outcome.failures;
    if !before.is_empty() {
        failures.insert("answered before publication".to_owned(), before.len());
    }
    let sorted_us = |times: Vec<u64>| {
        let mut us: Vec<u64> = times.into_iter().map(|ns| (ns - published_ns) / 1000).collect();
        us.sort_unstable();
        us
    };
    let last = sorted_us(after.iter().map(|(_, last_ns)| *last_ns).collect());
    let first = sorted_us(after.iter().map(|(first_ns, _)| *first_ns).collect());
    Release {
        right: last.len(),
        failures,
        p50_us: percentile(&last, 50.0),
        p99_us: percentile(&last, 99.0),
        last_us: percentile(&last, 100.0),
        first_byte_p50_us: percentile(&first, 50.0),
        upstream_requests: None,
        cpu_us: 0,
        resident_bytes: 0,
    }
}

impl Hold {
    pub(crate) fn markdown(&self) -> String {
        let header = [
            "server",
            "right answers",
            "p50 ms",
            "p99 ms",
            "last viewer ms",
            "upstream requests",
            "CPU ms per release",
            "RSS KiB per viewer",
        ];
        let rows: Vec<Vec<String>> = self.rows.iter().map(|row| self.cells(row)).collect();
        format!(
            "### hold: {}{} wait for the next playlist{}\n\n{}{}",
            self.crowd.viewers,
            self.crowd.who(),
            if self.crowd.mixed { ", spelt in many ways" } else { "" },
            table::render(&header, &rows),
            remarks(&self.rows, of_run)
        )
    }

    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        let (viewers, who) = (self.crowd.viewers, self.crowd.who());
        let p99_ms = |run: &Release| run.p99_us as f64 / 1e3;
        let ours = self.rows.iter().find(|row| row.server == "vivid");
        let most = ours.and_then(|row| row.runs.iter().filter_map(|run| run.upstream_requests).max());
        let right = ours.is_some_and(|row| row.runs.iter().all(|run| run.right == viewers));
        let mut verdicts = vec![Verdict {
            case: if self.crowd.mixed { "E6" } else { "E4" },
            aim: format!("{viewers}{who}: one upstream request, every answer right"),
            found: most.map_or_else(
                || "no figure".to_owned(),
                |most| format!("{most}{}", if right { "" } else { ", not all right" }),
            ),
            reached: most.map(|most| most == 1 && right),
        }];
        if self.crowd.mixed {
            return verdicts;
        }
        let aim = |text: &str| format!("{viewers}{who}: p99 {text}");
        verdicts.push(if viewers <= HALF_OF_BEST_UP_TO || self.crowd.tls {
            let both = ours_and_best(&self.rows, |row| row.spread(p99_ms).map(|spread| spread.median));
            let share = both.map(|(ours, best)| ours / best);
            Verdict::at_most("E4", aim("at most 0.5 × the best peer's"), share, 0.5, " ×")
        } else {
            let floor = median(&self.rows, "floor", p99_ms);
            let share = median(&self.rows, "vivid", p99_ms).zip(floor).map(|(ours, floor)| ours / floor);
            Verdict::at_most("E4", aim("at most 1.3 × the floor"), share, 1.3, " ×")
        });
        verdicts
    }

    fn cells(&self, row: &Row<Release>) -> Vec<String> {
        let spread = |value: &dyn Fn(&Release) -> f64| row.cell(value);
        let viewers = self.crowd.viewers as f64;
        let right = row.runs.iter().map(|run| run.right).min();
        let upstream = |run: &Release| run.upstream_requests.map(|count| count as f64);
        let upstream = Spread::over(row.runs.iter().filter_map(upstream));
        vec![
            row.server.clone(),
            right.map_or_else(|| "–".to_owned(), |right| format!("{right}/{}", self.crowd.viewers)),
            spread(&|run| run.p50_us as f64 / 1e3),
            spread(&|run| run.p99_us as f64 / 1e3),
            spread(&|run| run.last_us as f64 / 1e3),
            text(upstream),
            spread(&|run| run.cpu_us as f64 / 1e3),
            spread(&|run| run.resident_bytes as f64 / 1024.0 / viewers),
        ]
    }
}

fn of_run(row: &Row<Release>) -> Vec<String> {
    row.runs.iter().flat_map(|run| &run.failures).map(|(what, count)| format!("{count} × {what}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_spread_evenly() {
        let ms: Vec<u128> = (1..=4).map(|round| phase(round, 4).as_millis()).collect();
        assert_eq!(ms, [0, 125, 250, 375]);
    }

    #[test]
    fn times_count_from_the_publication() {
        let answers_ns = vec![(3_000_000, 9_000_000), (2_000_000, 4_000_000), (500_000, 600_000)];
        let failures = BTreeMap::from([("wrong body".to_owned(), 1)]);
        let release = times(Outcome { answers_ns, failures }, 1_000_000);
        assert_eq!((release.right, release.p50_us, release.last_us), (2, 3000, 8000));
        assert_eq!(release.first_byte_p50_us, 1000);
        assert_eq!(release.failures["answered before publication"], 1);
        assert_eq!(release.failures["wrong body"], 1);
    }

    #[test]
    fn a_table_shows_the_worst_count_and_every_trouble() {
        let mut release = times(Outcome { answers_ns: vec![(2_000_000, 3_000_000)], ..Outcome::default() }, 0);
        release.upstream_requests = Some(1);
        let lost = Release { right: 0, failures: BTreeMap::from([("status 503".to_owned(), 1)]), ..release.clone() };
        let row = Row { server: "x".to_owned(), runs: vec![release, lost], trouble: vec!["it ended".to_owned()] };
        let silent = Row { server: "y".to_owned(), runs: Vec::new(), trouble: Vec::new() };
        let text = Hold { crowd: Crowd { viewers: 1, mixed: false, tls: false }, rows: vec![row, silent] }.markdown();
        assert!(text.contains("| x      | 0/1 "), "{text}");
        assert!(text.contains("- x: 1 × status 503\n- x: it ended\n"), "{text}");
        assert!(text.contains("| y      | – "), "{text}");
    }
}
