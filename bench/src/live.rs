//! Cases E7 and E15: viewers who follow a live stream, through a shield and two edges, and beside films that fill the cache.

use crate::case::Verdict;
use crate::followers::Seen;
use crate::process::Process;
use crate::rows::{Row, remarks};
use crate::servers::{Facts, Running, Server, Setting};
use crate::stream;
use crate::sweep::Swept;
use crate::table;
use crate::tools::{PATIENCE, Tool};
use anyhow::ensure;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tempfile::TempDir;

const RENDITIONS: [&str; 3] = ["1080p", "720p", "360p"];
/// Of case E7.
const VIEWERS: usize = 300;
const SECONDS: u64 = 60;
const EDGES: [&str; 2] = ["edge1", "edge2"];
/// Of case E15: who follows the live stream, who goes back in it, and who watches films.
const FOLLOWERS: usize = 20;
const REWINDERS: usize = 4;
const FILM_VIEWERS: usize = 8;
const FILM_SECONDS: u64 = 12;
const FILM_CACHE_MB: u32 = 64;
const FILM_OBJECT_BYTES: usize = 1 << 20;
const FILM_OBJECTS: usize = 10 * FILM_CACHE_MB as usize;

/// What reached the origin.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Asked {
    /// Blocking requests for playlists, and the versions that they were for.
    pub(crate) playlist_requests: u64,
    pub(crate) playlists: u64,
    /// Requests for parts and segments, and how many of these there are.
    pub(crate) media_requests: u64,
    pub(crate) media: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Live {
    pub(crate) asked: Asked,
    pub(crate) seen: Seen,
    /// User and system time of shield and edges.
    pub(crate) cpu_s: f64,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Beside {
    pub(crate) asked: Asked,
    pub(crate) seen: Seen,
    pub(crate) films: Swept,
    pub(crate) film_requests: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Lives {
    pub(crate) rows: Vec<Row<Live>>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Besides {
    pub(crate) rows: Vec<Row<Beside>>,
}

/// Two edges in front of the server, which is their shield, for a minute.
pub(crate) async fn run(server: &Server, facts: &mut Facts, setting: &Setting<'_>) -> anyhow::Result<Vec<Live>> {
    let setting = Setting { live: true, ..*setting };
    let shield = server.start(facts, &setting).await?;
    let mut edges: Vec<(Process, SocketAddr, TempDir)> = Vec::new();
    for name in EDGES {
        edges.push(server.start_behind(facts, &setting, (name, shield.address)).await?);
    }
    let pids: Vec<u32> = edges.iter().map(|(process, ..)| process.pid()).chain([shield.pid()]).collect();
    let cpu_us = || pids.iter().map(|pid| crate::procfs::cpu_us(*pid)).sum::<u64>();
    let before_us = cpu_us();
    let servers: Vec<SocketAddr> = edges.iter().map(|(_, address, _)| *address).collect();
    let mut followers = follow(&shield, &setting, (&servers, &RENDITIONS, [VIEWERS, 0], SECONDS))?;
    let seen: Seen = followers.heard(stream::PART * 100 + std::time::Duration::from_secs(SECONDS)).await?;
    let cpu_s = (cpu_us() - before_us) as f64 / 1e6;
    Ok(vec![Live { asked: Asked::of(&shield.origin.counts().await?), seen, cpu_s }])
}

/// One stream with viewers who follow and who go back, and films of ten times the cache.
pub(crate) async fn run_beside(
    server: &Server,
    facts: &mut Facts,
    setting: &Setting<'_>,
) -> anyhow::Result<Vec<Beside>> {
    let setting = Setting { live: true, cache_mb: FILM_CACHE_MB, ..*setting };
    let running = server.start(facts, &setting).await?;
    let viewers = [FOLLOWERS, REWINDERS];
    let mut followers = follow(&running, &setting, (&[running.address], &RENDITIONS[..1], viewers, FILM_SECONDS))?;
    let (address, objects, bytes) =
        (running.address.to_string(), FILM_OBJECTS.to_string(), FILM_OBJECT_BYTES.to_string());
    let (viewers, seconds) = (FILM_VIEWERS.to_string(), FILM_SECONDS.to_string());
    let arguments = ["sweep", "--server", &address, "--objects", &objects, "--bytes", &bytes];
    let arguments = [&arguments[..], &["--viewers", &viewers, "--seconds", &seconds]].concat();
    let mut sweep = Tool::start(&arguments, setting.cores.client, running.dir.path())?;
    let patience = PATIENCE * 6 + std::time::Duration::from_secs(FILM_SECONDS);
    let (seen, films): (Seen, Swept) = tokio::try_join!(followers.heard(patience), sweep.heard(patience))?;
    let counts = running.origin.counts().await?;
    let film_requests = counts.iter().filter(|(path, _)| path.starts_with("/vod/")).map(|(_, count)| count).sum();
    ensure!(films.requests > 0, "no film was served");
    Ok(vec![Beside { asked: Asked::of(&counts), seen, films, film_requests }])
}

fn follow(
    running: &Running,
    setting: &Setting<'_>,
    (servers, renditions, [viewers, rewinders], seconds): (&[SocketAddr], &[&str], [usize; 2], u64),
) -> anyhow::Result<Tool> {
    let servers: Vec<String> = servers.iter().map(SocketAddr::to_string).collect();
    let (servers, origin, renditions) = (servers.join(","), running.origin.address.to_string(), renditions.join(","));
    let (viewers, rewinders, seconds) = (viewers.to_string(), rewinders.to_string(), seconds.to_string());
    let arguments = ["followers", "--servers", &servers, "--origin", &origin, "--renditions", &renditions];
    let counts = ["--viewers", &viewers, "--rewinders", &rewinders, "--seconds", &seconds];
    Tool::start(&[&arguments[..], &counts].concat(), setting.cores.client, running.dir.path())
}

impl Asked {
    /// Inits, and playlists asked for without directives, as each node does at its start, are left out.
    fn of(counts: &BTreeMap<String, u64>) -> Self {
        let mut asked = Self::default();
        for (target, count) in counts {
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            if stream::is_playlist(path) && !query.is_empty() {
                asked.playlists += 1;
                asked.playlist_requests += count;
            } else if stream::live_object(path).is_some() {
                asked.media += 1;
                asked.media_requests += count;
            }
        }
        asked
    }

    fn per_playlist(&self) -> f64 {
        self.playlist_requests as f64 / self.playlists.max(1) as f64
    }

    fn per_media(&self) -> f64 {
        self.media_requests as f64 / self.media.max(1) as f64
    }
}

impl Beside {
    /// Each object has to come from the origin once; what comes again was not kept.
    fn hit_ratio(&self) -> f64 {
        let again = self.asked.media_requests.saturating_sub(self.asked.media);
        1.0 - again as f64 / self.seen.media.max(1) as f64
    }
}

fn failures<'a>(seen: impl Iterator<Item = &'a Seen>) -> Vec<String> {
    seen.flat_map(|seen| &seen.failures).map(|(what, count)| format!("{count} viewers ended: {what}")).collect()
}

impl Lives {
    pub(crate) fn markdown(&self) -> String {
        let header = [
            "server",
            "origin requests per playlist",
            "origin requests per part",
            "parts asked for",
            "part p50 ms",
            "part p99 ms",
            "longest ms",
            "late parts",
            "CPU s",
        ];
        let cells = |row: &Row<Live>| {
            vec![
                row.server.clone(),
                row.cell(|run| run.asked.per_playlist()),
                row.cell(|run| run.asked.per_media()),
                row.cell(|run| run.seen.media as f64),
                row.cell(|run| run.seen.part_p50_us as f64 / 1e3),
                row.cell(|run| run.seen.part_p99_us as f64 / 1e3),
                row.cell(|run| run.seen.part_max_us as f64 / 1e3),
                row.cell(|run| run.seen.late_parts as f64),
                row.cell(|run| run.cpu_s),
            ]
        };
        let rows: Vec<Vec<String>> = self.rows.iter().map(cells).collect();
        format!(
            "### live: {VIEWERS} viewers follow {} renditions for {SECONDS} s through {} edges and a shield, all on one core\n\n{}{}",
            RENDITIONS.len(),
            EDGES.len(),
            table::render(&header, &rows),
            remarks(&self.rows, |row| failures(row.runs.iter().map(|run| &run.seen)))
        )
    }

    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        let ours = self.rows.iter().find(|row| row.server == "vivid").and_then(|row| row.runs.first());
        let most = ours.map(|run| run.asked.per_playlist().max(run.asked.per_media()));
        let late = ours.map(|run| run.seen.late_parts as f64 + run.seen.failures.values().sum::<usize>() as f64);
        vec![
            Verdict::at_most("E7", "origin requests per object 1.00".to_owned(), most, 1.0, ""),
            Verdict::at_most("E7", "no late part, no viewer that had to give up".to_owned(), late, 0.0, ""),
        ]
    }
}

impl Besides {
    pub(crate) fn markdown(&self) -> String {
        let header = [
            "server",
            "live hit ratio",
            "live media asked for",
            "of these at the origin",
            "live objects",
            "late parts",
            "film requests",
            "of these at the origin",
        ];
        let cells = |row: &Row<Beside>| {
            let ratio = row.spread(Beside::hit_ratio);
            vec![
                row.server.clone(),
                ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{:.3}", ratio.min)),
                row.cell(|run| run.seen.media as f64),
                row.cell(|run| run.asked.media_requests as f64),
                row.cell(|run| run.asked.media as f64),
                row.cell(|run| run.seen.late_parts as f64),
                row.cell(|run| run.films.requests as f64),
                row.cell(|run| run.film_requests as f64),
            ]
        };
        let rows: Vec<Vec<String>> = self.rows.iter().map(cells).collect();
        let remark = |row: &Row<Beside>| {
            let films: u64 = row.runs.iter().map(|run| run.films.failures).sum();
            let films = (films > 0).then(|| format!("{films} viewers of films got no whole answer"));
            failures(row.runs.iter().map(|run| &run.seen)).into_iter().chain(films).collect()
        };
        format!(
            "### beside: a live stream with {FOLLOWERS} viewers and {REWINDERS} who go back, beside films of {} MiB in a cache of {FILM_CACHE_MB} MB\n\n{}{}",
            (FILM_OBJECTS * FILM_OBJECT_BYTES) >> 20,
            table::render(&header, &rows),
            remarks(&self.rows, remark)
        )
    }

    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        let ours = self.rows.iter().find(|row| row.server == "vivid");
        let ratio = ours.and_then(|row| row.spread(Beside::hit_ratio)).map(|ratio| ratio.min);
        vec![Verdict {
            case: "E15",
            aim: "live hit ratio 1.000".to_owned(),
            found: ratio.map_or_else(|| "no figure".to_owned(), |ratio| format!("{ratio:.3}")),
            reached: ratio.map(|ratio| ratio >= 1.0),
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart_by_what_they_are_for() {
        let part = stream::part_target("a", stream::FIRST);
        let counts = BTreeMap::from([
            (stream::blocking_target(stream::FIRST), 2),
            (stream::PLAYLIST.to_owned(), 9),
            (part, 3),
            ("/live/bench/a/e/init.mp4".to_owned(), 9),
            (stream::film_target(1, 2), 9),
        ]);
        let asked = Asked::of(&counts);
        assert_eq!((asked.per_playlist(), asked.per_media()), (2.0, 3.0));
        let seen = Seen { media: 100, ..Seen::default() };
        let beside = Beside { asked, seen, films: Swept::default(), film_requests: 9 };
        assert!((beside.hit_ratio() - 0.98).abs() < 1e-9);
    }
}
