//! What two hours of window cost the origin: per part, per playlist, in memory, and when it starts again.

pub(crate) mod node;

use crate::case::{self, Verdict};
use crate::http1::Answer;
use crate::machine::{self, Machine};
use crate::report::give;
use crate::stats::{number, percentile};
use crate::{procfs, sys, table};
use anyhow::{Context, ensure};
use manifest::Position;
use manifest::follow::{self, Followed};
use node::{PART_S, PARTS_PER_SEGMENT, RENDITION, STREAM, Started};
use serde::Serialize;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The long window, in seconds; the short one has a minute
    #[arg(long, default_value_t = 7200, value_parser = clap::value_parser!(u64).range(120..=86_400))]
    window: u64,
    /// Parts of each window in a round
    #[arg(long, default_value_t = 1200)]
    parts: u64,
    /// Rounds
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    runs: u16,
    /// A Markdown page to put the results into, between its two marks
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Everything that was found
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One window, in one run.
#[derive(Clone, Debug, Default, Serialize)]
struct Found {
    /// CPU time of the origin per part, where one follower takes deltas, and where it takes whole playlists.
    delta_us: f64,
    full_us: f64,
    delta_bytes: usize,
    full_bytes: usize,
    /// Whole playlists, each of another version, in gzip.
    full_per_s: f64,
    /// From the command to send the last frame of a part to the last byte of the answer that waited for it.
    delay_p50_us: u64,
    delay_p99_us: u64,
    resident_bytes: u64,
    start_ms: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    command: String,
    date: String,
    machine: Machine,
    window_s: u64,
    short: Vec<Found>,
    long: Vec<Found>,
}

const SHORT_S: u64 = 60;
const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const MARKS: (&str, &str) = ("<!-- bench:origin -->", "<!-- /bench:origin -->");

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let open_files = sys::raise_open_files();
    let command = std::env::args().skip(1).fold("bench".to_owned(), |all, argument| format!("{all} {argument}"));
    let (machine, date) = (Machine::look(open_files), machine::date());
    let mut report = Report { command, date, machine, window_s: arguments.window, short: Vec::new(), long: Vec::new() };
    // To the end: ext4 looks past all that was deleted in the last seconds for each file that is made.
    let kept = tempfile::tempdir()?;
    for round in 1..=arguments.runs {
        eprintln!("round {round} of {}", arguments.runs);
        let [of_short, of_long] = ["short", "long"].map(|name| kept.path().join(format!("{round}-{name}")));
        let mut short = Measured::fill(SHORT_S, &of_short)?;
        let mut long = Measured::fill(arguments.window, &of_long)?;
        // In turns, so that whatever else the machine does is beside both.
        for _ in 0..arguments.parts.div_ceil(TURN) {
            short.turn()?;
            long.turn()?;
        }
        report.short.push(short.end(&of_short)?);
        report.long.push(long.end(&of_long)?);
    }
    let files = (arguments.json.as_deref(), arguments.write.as_deref());
    give((&report, &report.machine), &report.markdown(), MARKS, files)
}

/// An origin while it is measured.
struct Measured {
    window_s: u64,
    origin: Origin,
    at: Position,
    turns: u64,
    /// Of whole playlists.
    full_s: f64,
    delays: Vec<u64>,
    found: Found,
}

/// Parts that are taken in a row, and whole playlists.
const TURN: u64 = 100;
const TURN_FULL: u64 = 25;
/// Segments that are published in a row at first: what waits for the disk is memory too.
const FILLED: u64 = 50;

impl Measured {
    /// A little more than the window, so that something leaves it with every segment.
    fn fill(window_s: u64, folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir(folder)?;
        let mut origin = Origin::start(window_s, folder)?;
        let segments = (window_s as f64 / PART_S / PARTS_PER_SEGMENT as f64) as u64 + 8;
        let mut published = 0;
        while published < segments {
            let more = FILLED.min(segments - published);
            origin.publish(more * PARTS_PER_SEGMENT)?;
            published += more;
            origin.settled(published)?;
        }
        let at = origin.head()?;
        let found = Found { resident_bytes: procfs::resident_bytes(origin.pid()), ..Found::default() };
        Ok(Self { window_s, origin, at, turns: 0, full_s: 0.0, delays: Vec::new(), found })
    }

    fn turn(&mut self) -> anyhow::Result<()> {
        let (cpu_us, bytes) = self.origin.follow(&mut self.at, TURN, "&_HLS_skip=YES", Some(&mut self.delays))?;
        (self.found.delta_us, self.found.delta_bytes) = (self.found.delta_us + cpu_us, bytes);
        let began = Instant::now();
        let (cpu_us, bytes) = self.origin.follow(&mut self.at, TURN_FULL, "", None)?;
        (self.found.full_us, self.found.full_bytes) = (self.found.full_us + cpu_us, bytes);
        self.full_s += began.elapsed().as_secs_f64();
        self.turns += 1;
        Ok(())
    }

    fn end(mut self, folder: &Path) -> anyhow::Result<Found> {
        let mut found = self.found;
        found.delta_us /= self.turns as f64;
        found.full_us /= self.turns as f64;
        found.full_per_s = (self.turns * TURN_FULL) as f64 / self.full_s;
        self.delays.sort_unstable();
        (found.delay_p50_us, found.delay_p99_us) = (percentile(&self.delays, 50.0), percentile(&self.delays, 99.0));
        self.origin.written()?;
        drop(self.origin);
        let began = Instant::now();
        let mut again = Origin::start(self.window_s, folder)?;
        again.get(&format!("/live/{STREAM}/{RENDITION}/index.m3u8"), 200)?;
        found.start_ms = began.elapsed().as_secs_f64() * 1000.0;
        Ok(found)
    }
}

/// An origin in a process of its own, which is killed at its end.
struct Origin {
    child: Child,
    commands: ChildStdin,
    socket: TcpStream,
}

impl Origin {
    fn start(window_s: u64, disk: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["dvr-node", "--window", &window_s.to_string(), "--disk"]).arg(disk);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let commands = child.stdin.take().context("its input is piped")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("its output is piped")?).read_line(&mut line)?;
        let Started { addr } = serde_json::from_str(&line).context("the origin did not start")?;
        Ok(Self { child, commands, socket: connect(addr)? })
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn publish(&mut self, parts: u64) -> anyhow::Result<()> {
        writeln!(self.commands, "{parts}")?;
        Ok(self.commands.flush()?)
    }

    /// Waits until so many segments are there and on disk.
    fn settled(&mut self, segments: u64) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        while self.metric("vivid_origin_parts_total{make=\"passthrough\"}")? < (segments * PARTS_PER_SEGMENT) as f64 {
            ensure!(Instant::now() < until, "the origin did not publish in time");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.written()
    }

    fn written(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        while self.metric("vivid_origin_disk_queue_bytes")? > 0.0 {
            ensure!(Instant::now() < until, "the disk does not take what is to be written");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn head(&mut self) -> anyhow::Result<Position> {
        let text = self.get(&format!("/live/{STREAM}/{RENDITION}/index.m3u8"), 200)?;
        match follow::read(std::str::from_utf8(&text)?) {
            Ok(Followed::Media(media)) => Ok(media.head.next),
            _ => anyhow::bail!("the origin's playlist cannot be read"),
        }
    }

    /// Takes so many parts one after the other; CPU microseconds of the origin for each, and bytes of an answer.
    fn follow(
        &mut self,
        at: &mut Position,
        parts: u64,
        skip: &str,
        mut delays: Option<&mut Vec<u64>>,
    ) -> anyhow::Result<(f64, usize)> {
        let before = procfs::threads_ns(self.pid());
        let mut bytes = 0;
        for _ in 0..parts {
            let Position { msn, part } = *at;
            let target = format!("/live/{STREAM}/{RENDITION}/index.m3u8?_HLS_msn={msn}&_HLS_part={part}{skip}");
            self.ask(&target)?;
            let began = sys::monotonic_ns();
            self.publish(1)?;
            bytes = self.answer(200)?.len();
            if let Some(delays) = &mut delays {
                delays.push((sys::monotonic_ns() - began) / 1000);
            }
            let next = u64::from(part) + 1;
            *at = Position { msn: msn + next / PARTS_PER_SEGMENT, part: (next % PARTS_PER_SEGMENT) as u32 };
        }
        let ns = procfs::threads_ns(self.pid()) - before;
        Ok((ns as f64 / 1000.0 / parts as f64, bytes))
    }

    fn metric(&mut self, series: &str) -> anyhow::Result<f64> {
        let page = self.get("/_vivid/metrics", 200)?;
        let page = String::from_utf8_lossy(&page);
        let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        Ok(line.map_or(Ok(0.0), str::parse)?)
    }

    fn get(&mut self, target: &str, status: u16) -> anyhow::Result<Vec<u8>> {
        self.socket.write_all(format!("GET {target} HTTP/1.1\r\nhost: bench\r\n\r\n").as_bytes())?;
        self.answer(status)
    }

    fn ask(&mut self, target: &str) -> anyhow::Result<()> {
        let request = format!("GET {target} HTTP/1.1\r\nhost: bench\r\naccept-encoding: gzip\r\n\r\n");
        Ok(self.socket.write_all(request.as_bytes())?)
    }

    fn answer(&mut self, status: u16) -> anyhow::Result<Vec<u8>> {
        let (mut answer, mut buffer) = (Answer::default(), vec![0; 1 << 16]);
        loop {
            let count = self.socket.read(&mut buffer)?;
            ensure!(count > 0, "the origin closed the connection");
            if answer.push(&buffer[..count])? {
                break;
            }
        }
        let text = String::from_utf8_lossy(answer.body());
        ensure!(answer.status() == status, "the origin answered {}: {text}", answer.status());
        Ok(answer.body().to_vec())
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn connect(addr: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = TcpStream::connect(addr)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

impl Report {
    fn median(found: &[Found], value: impl Fn(&Found) -> f64) -> Option<f64> {
        crate::stats::Spread::over(found.iter().map(value)).map(|spread| spread.median)
    }

    fn ratio(&self, value: impl Fn(&Found) -> f64) -> Option<f64> {
        Some(Self::median(&self.long, &value)? / Self::median(&self.short, &value)?)
    }

    fn markdown(&self) -> String {
        let mut out = self.machine.heading(&self.command, &self.date);
        for doubt in self.machine.doubts() {
            out.push_str(&format!("- **{doubt}**\n"));
        }
        out.push_str(&format!("\n{}\n{}", case::markdown(&self.verdicts()), self.windows()));
        out
    }

    /// Megabytes of one rendition.
    fn per_hour(&self) -> Option<f64> {
        let bytes = |found: &[Found]| Self::median(found, |found| found.resident_bytes as f64);
        let grown = bytes(&self.long)? - bytes(&self.short)?;
        Some(grown / (self.window_s - SHORT_S) as f64 * 3600.0 / 1e6)
    }

    fn verdicts(&self) -> [Verdict; 4] {
        let long = format!("{} s", self.window_s);
        let cost = format!("a part with a window of {long} costs at most 1.1 times what it costs with {SHORT_S} s");
        let delay = "p99 from the last frame of a part to the answer that waited for it: 5 ms".to_owned();
        let memory = "memory per rendition and hour of window on disk: 2 MB".to_owned();
        let start = format!("start to first playlist with a journal of {long}: 1 s");
        let p99_ms = Self::median(&self.long, |found| found.delay_p99_us as f64 / 1000.0);
        let start_s = Self::median(&self.long, |found| found.start_ms / 1000.0);
        [
            Verdict::at_most("O1", cost, self.ratio(|found| found.delta_us), 1.1, " x"),
            Verdict::at_most("O2", delay, p99_ms, 5.0, " ms"),
            Verdict::at_most("O3", memory, self.per_hour(), 2.0, " MB"),
            Verdict::at_most("O4", start, start_s, 1.0, " s"),
        ]
    }

    fn windows(&self) -> String {
        let cell = |found: &[Found], value: fn(&Found) -> f64| {
            crate::stats::Spread::over(found.iter().map(value)).map_or_else(|| "–".to_owned(), |spread| spread.text())
        };
        let row =
            |(name, value): &Figure| vec![(*name).to_owned(), cell(&self.short, *value), cell(&self.long, *value)];
        let rows: Vec<Vec<String>> = FIGURES.iter().map(row).collect();
        let header = ["one rendition", &format!("{SHORT_S} s"), &format!("{} s", self.window_s)];
        let per_hour = self.per_hour().map_or_else(|| "–".to_owned(), number);
        let table = table::render(&header, &rows);
        format!("### Windows\n\n{table}\nMemory per rendition and hour of window: {per_hour} MB.\n")
    }
}

/// A row of the table.
type Figure = (&'static str, fn(&Found) -> f64);

const FIGURES: [Figure; 9] = [
    ("CPU µs per part, followed by deltas", |found| found.delta_us),
    ("CPU µs per part, followed by whole playlists", |found| found.full_us),
    ("bytes of a delta, gzip", |found| found.delta_bytes as f64),
    ("bytes of a whole playlist, gzip", |found| found.full_bytes as f64),
    ("whole playlists/s, each of another version", |found| found.full_per_s),
    ("part publish delay p50, µs", |found| found.delay_p50_us as f64),
    ("part publish delay p99, µs", |found| found.delay_p99_us as f64),
    ("resident memory, MB", |found| found.resident_bytes as f64 / 1e6),
    ("start to first playlist, ms", |found| found.start_ms),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_place_for_results() {
        let page = include_str!("../../docs/benchmarks.md");
        let written = table::replace_between(page, MARKS, "x").unwrap();
        // What is found of edges stays where it is.
        let edges = |page: &str| page.split(table::RESULTS.0).nth(1).map(str::to_owned).unwrap();
        assert_eq!(edges(page).split(table::RESULTS.1).next(), edges(&written).split(table::RESULTS.1).next());
    }
}
