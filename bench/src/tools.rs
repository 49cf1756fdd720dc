//! The runner's side of the bench's own tools: it starts them as processes, reads their lines, and asks over HTTP.

use crate::http1::Answer;
use crate::origin::{Listening, Published, site};
use crate::process::Process;
use anyhow::{Context, bail, ensure};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{ChildStdout, Command};
use tokio::time::timeout;

/// For anything that a server answers without holding it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// One of the bench's own sub-commands as a process.
#[derive(Debug)]
pub(crate) struct Tool {
    process: Process,
    lines: Lines<BufReader<ChildStdout>>,
    name: String,
}

pub(crate) fn lines(stdout: ChildStdout) -> Lines<BufReader<ChildStdout>> {
    BufReader::new(stdout).lines()
}

impl Tool {
    pub(crate) fn start(arguments: &[&str], core: usize, dir: &Path) -> anyhow::Result<Self> {
        let name = format!("bench {}", arguments.first().copied().unwrap_or_default());
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments);
        let log = dir.join(format!("{}.log", name.replace(' ', "-")));
        let mut process = Process::start(command, core, &log, true)?;
        let stdout = process.child().stdout.take().with_context(|| format!("{name} has no standard output"))?;
        Ok(Self { process, lines: lines(stdout), name })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The next line that the tool says.
    pub(crate) async fn heard<T: DeserializeOwned>(&mut self, patience: Duration) -> anyhow::Result<T> {
        let line = timeout(patience, self.lines.next_line()).await;
        let line = line.with_context(|| format!("{} said nothing for {patience:?}", self.name))??;
        let line = line.with_context(|| format!("{} ended without a result", self.name))?;
        serde_json::from_str(&line).with_context(|| format!("{} said what is not understood", self.name))
    }
}

/// `bench origin`, running.
#[derive(Debug)]
pub(crate) struct Origin {
    tool: Tool,
    pub(crate) address: SocketAddr,
}

impl Origin {
    /// A `live` one publishes by itself.
    pub(crate) async fn start(core: usize, dir: &Path, live: bool) -> anyhow::Result<Self> {
        let arguments = ["origin", "--listen", "127.0.0.1:0", "--live"];
        let mut tool = Tool::start(&arguments[..if live { 4 } else { 3 }], core, dir)?;
        let Listening { listen } = tool.heard(PATIENCE).await?;
        Ok(Self { tool, address: listen })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.tool.pid()
    }

    pub(crate) async fn publish(&self) -> anyhow::Result<Published> {
        self.command("POST", site::PUBLISH).await
    }

    /// Requests so far, by URL.
    pub(crate) async fn counts(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        self.command("GET", site::COUNTS).await
    }

    /// When the pieces of what grew were written, by path.
    pub(crate) async fn grown(&self) -> anyhow::Result<BTreeMap<String, Vec<u64>>> {
        self.command("GET", site::GROWN).await
    }

    async fn command<T: DeserializeOwned>(&self, method: &str, target: &str) -> anyhow::Result<T> {
        let answer = exchange(self.address, method, target).await?;
        serde_json::from_slice(answer.body()).with_context(|| format!("the bench origin answers {target} with no JSON"))
    }
}

/// One request on a connection of its own, and its whole answer.
pub(crate) async fn exchange(server: SocketAddr, method: &str, target: &str) -> anyhow::Result<Answer> {
    let exchange = async {
        let mut stream = TcpStream::connect(server).await?;
        let request = format!("{method} {target} HTTP/1.1\r\nHost: {server}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Answer::default();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = stream.read(&mut buffer).await?;
            ensure!(count > 0, "{server} closed the connection before the end of its answer to {target}");
            if answer.push(&buffer[..count])? {
                return Ok(answer);
            }
        }
    };
    match timeout(PATIENCE, exchange).await {
        Ok(answer) => answer,
        Err(_) => bail!("{server} did not answer {target} within {PATIENCE:?}"),
    }
}
