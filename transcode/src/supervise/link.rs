//! The two ends of a worker: a process of this machine, or a connection to one of another machine.

use super::{EndReason, WorkerError, WorkerProgram, diary};
use crate::Metrics;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tracing::Instrument;

/// A worker that has been started. Dropping [`Far`] ends it.
pub(super) struct Link {
    pub(super) input: Box<dyn AsyncWrite + Send + Unpin>,
    pub(super) output: Box<dyn AsyncRead + Send + Unpin>,
    pub(super) far: Far,
}

pub(super) enum Far {
    Process(Child),
    /// Whoever runs the worker there ends it once the connection is closed.
    Elsewhere,
}

/// A worker process, all of whose ends are pipes, and that ends with whoever holds it.
pub(crate) fn command(program: &WorkerProgram) -> Command {
    let mut command = Command::new(&program.path);
    command
        .args(&program.args)
        // SVT-AV1 says much on standard error, past FFmpeg's level: errors alone.
        .env("SVT_LOG", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C at a terminal reaches the whole group; who started a worker decides when it ends.
        .process_group(0)
        .kill_on_drop(true);
    command
}

impl Link {
    /// Starts a process; what it logs appears in the caller's span.
    pub(super) fn process(program: &WorkerProgram, metrics: &Metrics) -> Result<Self, WorkerError> {
        let failed = |source| WorkerError::Start { path: program.path.clone(), source };
        let mut child = command(program).spawn().map_err(failed)?;
        let pipes = child.stdin.take().zip(child.stdout.take()).zip(child.stderr.take());
        let Some(((input, output), stderr)) = pipes else {
            return Err(failed(std::io::ErrorKind::BrokenPipe.into()));
        };
        tokio::spawn(diary::keep(stderr, child.id(), Some(metrics.stderr_suppressed.clone())).in_current_span());
        Ok(Self { input: Box::new(input), output: Box::new(output), far: Far::Process(child) })
    }

    pub(super) fn elsewhere(call: TcpStream) -> Self {
        let (output, input) = call.into_split();
        Self { input: Box::new(input), output: Box::new(output), far: Far::Elsewhere }
    }
}

impl Far {
    pub(super) fn pid(&self) -> Option<u32> {
        match self {
            Self::Process(child) => child.id(),
            Self::Elsewhere => None,
        }
    }

    /// Sees the worker off. One that ended its output has `patience` to end itself; one that misbehaved has none.
    /// `finishing` says that it was told to finish.
    pub(super) async fn end(
        &mut self,
        verdict: Option<EndReason>,
        (patience, finishing): (Duration, bool),
    ) -> EndReason {
        let Self::Process(child) = self else {
            let ended = || if finishing { EndReason::Finished } else { EndReason::Died("its connection".to_owned()) };
            return verdict.unwrap_or_else(ended);
        };
        if verdict.as_ref().is_none_or(|verdict| matches!(verdict, EndReason::Failed(_) | EndReason::Device(_)))
            && let Ok(Ok(status)) = timeout(patience, child.wait()).await
        {
            return verdict.unwrap_or_else(|| EndReason::of_status(status));
        }
        if let Err(error) = child.kill().await {
            tracing::error!(%error, "cannot kill a transcoding worker");
        }
        verdict.unwrap_or(EndReason::Hung(patience))
    }
}
