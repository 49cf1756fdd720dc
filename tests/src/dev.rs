//! `vivid dev` as a person runs it: a process with its output, on ports of its own.

use anyhow::{Context, bail, ensure};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::{Mutex, MutexGuard};

/// A whole CDN on loopback. Dropped, it is killed, and its children with it.
pub struct Dev {
    pub base_port: u16,
    /// The table that it printed when all tiers were ready.
    pub table: String,
    child: Child,
    _output: BufReader<ChildStdout>,
    _machine: MutexGuard<'static, ()>,
}

/// One CDN at a time: two encoders and a browser on two cores would measure each other.
static MACHINE: Mutex<()> = Mutex::const_new(());

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub output: String,
    pub after: Duration,
}

impl Dev {
    /// Starts it and waits for its table.
    pub async fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        let machine = MACHINE.lock().await;
        let base_port = free_ports(6)?;
        let mut child = Command::new(vivid_binary()?)
            .args(["dev", "--base-port", &base_port.to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut output = BufReader::new(child.stdout.take().context("no output")?);
        let mut table = String::new();
        let printed = async {
            while !table.contains("publish ") {
                ensure!(output.read_line(&mut table).await? > 0, "vivid dev ended before its table: {table}");
            }
            Ok(())
        };
        tokio::time::timeout(START_DEADLINE, printed).await.context("vivid dev printed no table")??;
        Ok(Self { base_port, table, child, _output: output, _machine: machine })
    }

    /// `router`, `origin`, `shield`, `cdn-a` or `cdn-b`.
    pub fn url(&self, tier: &str) -> String {
        let offset = ["router", "origin", "shield", "cdn-a", "cdn-b"].iter().position(|name| *name == tier);
        let offset = u16::try_from(offset.expect("a tier of vivid dev")).expect("small");
        format!("http://127.0.0.1:{}", self.base_port + offset)
    }

    pub fn publish_url(&self, stream: &str) -> String {
        format!("rtmp://127.0.0.1:{}/live/{stream}", self.base_port + 5)
    }

    /// Sends SIGTERM and waits for the end.
    pub async fn stop(mut self) -> anyhow::Result<Ended> {
        let pid = self.child.id().context("it has ended already")?;
        let began = Instant::now();
        // SAFETY: kill has no memory effects, and the child was not waited for: the pid is its own.
        unsafe { libc::kill(libc::pid_t::try_from(pid)?, libc::SIGTERM) };
        let status = tokio::time::timeout(STOP_DEADLINE, self.child.wait()).await.context("it does not stop")??;
        Ok(Ended { status, output: String::new(), after: began.elapsed() })
    }

    /// Waits until a URL answers 200: a stream has become live.
    pub async fn wait_live(&self, url: &str) -> anyhow::Result<()> {
        self.wait_until(url, |answer| answer.status == 200).await
    }

    /// Waits until a URL answers as is wanted.
    pub async fn wait_until(&self, url: &str, wanted: impl Fn(&crate::Answer) -> bool) -> anyhow::Result<()> {
        wait_until(url, wanted).await
    }
}

/// Waits until a URL answers as is wanted.
pub async fn wait_until(url: &str, wanted: impl Fn(&crate::Answer) -> bool) -> anyhow::Result<()> {
    let mut retry = tokio::time::interval(Duration::from_millis(100));
    let live = async {
        while !crate::get(url).await.is_ok_and(|answer| wanted(&answer)) {
            retry.tick().await;
        }
    };
    tokio::time::timeout(START_DEADLINE, live).await.with_context(|| format!("{url} does not become live"))
}

/// Runs `vivid` to its end, with standard output and error together.
pub async fn run_vivid(arguments: &[&str]) -> anyhow::Result<Ended> {
    let began = Instant::now();
    let mut child = Command::new(vivid_binary()?)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let (mut stdout, mut stderr) = (child.stdout.take().context("stdout")?, child.stderr.take().context("stderr")?);
    let (mut output, mut errors) = (String::new(), String::new());
    let whole = async {
        let (read, read_errors) = tokio::join!(stdout.read_to_string(&mut output), stderr.read_to_string(&mut errors));
        read?;
        read_errors?;
        anyhow::Ok(child.wait().await?)
    };
    let status = tokio::time::timeout(START_DEADLINE, whole).await.context("vivid does not end")??;
    Ok(Ended { status, output: output + &errors, after: began.elapsed() })
}

/// The binary beside the running test.
pub fn vivid_binary() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.parent().and_then(|deps| deps.parent()).context("the test runs from no target folder")?;
    let path = folder.join("vivid");
    if !path.exists() {
        bail!("{} is absent; build it first: cargo build --workspace --all-targets (make test does)", path.display());
    }
    Ok(path)
}

/// The first of `count` neighbouring ports that are free now, at most 12, below the range that the kernel gives to clients.
pub fn free_ports(count: u16) -> anyhow::Result<u16> {
    let seed = std::process::id().wrapping_mul(2_654_435_761) ^ Instant::now().elapsed().subsec_nanos();
    let spread = u16::try_from(seed % 1000)?;
    (0..200)
        .map(|attempt| 20_000 + (spread * 12 + attempt * 12) % 12_000)
        .find(|base| (0..count).all(|offset| TcpListener::bind(("127.0.0.1", base + offset)).is_ok()))
        .with_context(|| format!("no {count} neighbouring ports are free"))
}

const START_DEADLINE: Duration = Duration::from_secs(60);
const STOP_DEADLINE: Duration = Duration::from_secs(15);
