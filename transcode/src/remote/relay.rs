//! The other machine: calls an origin, waits for jobs, and runs a worker process of its own for each.

use super::{CALLS_ANEW, GREETING_MAX, set_up};
use crate::supervise::{command, diary};
use crate::wire::greeting::{GREETING_BYTES_MAX, WELCOME, greeting};
use crate::wire::{self, ToWorker};
use crate::{Trial, WorkerProgram};
use bytes::BytesMut;
use config::Token;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{sleep, timeout};

/// Runs workers for an origin elsewhere.
#[derive(Clone, Debug)]
pub struct Relay {
    /// `HOST:PORT`.
    pub origin: String,
    pub token: Token,
    pub program: WorkerProgram,
}

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    #[error("cannot reach {origin}: {source}; check the address, and origin.remote_workers.listen there")]
    Reach { origin: String, source: std::io::Error },
    #[error("{0} did not answer in time; check the address")]
    Silent(String),
    #[error("{origin} says: {said:?}")]
    Denied { origin: String, said: String },
    #[error("cannot start {path}: {source}", path = path.display())]
    Start { path: std::path::PathBuf, source: std::io::Error },
    #[error("the connection broke: {0}")]
    Broken(#[from] std::io::Error),
}

const BACK_OFF_MIN: Duration = Duration::from_millis(500);
const BACK_OFF_MAX: Duration = Duration::from_secs(10);
/// How long a worker may take over its last frames once the origin has closed its side: as long as an origin can be set to wait.
const LAST_FRAMES: Duration = Duration::from_secs(60);
/// How long the origin may take over a worker's last words, and send frames meanwhile.
const LAST_WORDS: Duration = Duration::from_secs(5);

impl Relay {
    /// One job after the other, for ever; dropping it ends the job that runs. `trials` are of this machine's devices.
    pub async fn work(&self, trials: &[Trial]) {
        let mut back_off = BACK_OFF_MIN;
        loop {
            match self.once(trials).await {
                Ok(()) => back_off = BACK_OFF_MIN,
                Err(error) => {
                    tracing::warn!(%error, ?back_off, "no work; calling again");
                    sleep(back_off).await;
                    back_off = (back_off * 2).min(BACK_OFF_MAX);
                }
            }
        }
    }

    /// Calls, waits for a job, and does it, on the devices of this machine whose trials succeeded where the origin allows it.
    /// Returns without one after a while: the origin trusts fresh calls only.
    ///
    /// # Errors
    /// The origin cannot be reached or wants no such worker, or the job broke off.
    pub async fn once(&self, trials: &[Trial]) -> Result<(), RelayError> {
        let silent = |_| RelayError::Silent(self.origin.clone());
        let call = timeout(GREETING_MAX, self.call()).await.map_err(silent)??;
        if !has_job(&call).await? {
            return Ok(());
        }
        tracing::info!(origin = %self.origin, "a job");
        let worked = self.run(call, trials).await;
        tracing::info!(origin = %self.origin, "the job is over");
        worked
    }

    async fn call(&self) -> Result<TcpStream, RelayError> {
        let reach = |source| RelayError::Reach { origin: self.origin.clone(), source };
        let mut call = TcpStream::connect(&self.origin).await.map_err(reach)?;
        set_up(&call)?;
        call.write_all(greeting(&self.token).as_bytes()).await?;
        // Byte by byte: behind the line a job may follow, which is not this reader's.
        let mut said = Vec::new();
        while said.last() != Some(&b'\n') && (said.len() as u64) < GREETING_BYTES_MAX {
            said.push(call.read_u8().await?);
        }
        let said = String::from_utf8_lossy(&said).trim_end().to_owned();
        if said == WELCOME { Ok(call) } else { Err(RelayError::Denied { origin: self.origin.clone(), said }) }
    }

    /// A worker process whose input and output are the connection.
    async fn run(&self, call: TcpStream, trials: &[Trial]) -> Result<(), RelayError> {
        let start = |source| RelayError::Start { path: self.program.path.clone(), source };
        let mut child = command(&self.program).spawn().map_err(start)?;
        let (Some(mut stdin), Some(mut stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Ok(());
        };
        tokio::spawn(diary::keep(stderr, child.id(), None));
        let mut words = BytesMut::new();
        // A few hundred bytes of a message that holds megabytes.
        if wire::encode(&ToWorker::Trials(trials.to_vec()), &mut words).is_ok() {
            stdin.write_all(&words).await?;
        }
        let (mut from, mut to) = call.into_split();
        let copied = {
            let given = async {
                // It ends with the connection, or with a worker that takes no more and may be saying why.
                let _ = tokio::io::copy(&mut from, &mut stdin).await;
                // A worker whose input ends gives what it has, and ends.
                drop(stdin);
            };
            let made = tokio::io::copy(&mut stdout, &mut to);
            tokio::pin!(made);
            tokio::select! {
                copied = &mut made => copied,
                () = given => {
                    timeout(LAST_FRAMES, &mut made).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
                }
            }
        };
        copied.map_err(RelayError::Broken)?;
        see_off(from, to).await.map_err(RelayError::Broken)
    }
}

/// A connection that is closed with frames unread is reset, and what the worker said last may be lost with it: why it failed.
/// So what still comes is read until the origin has closed its side as well.
pub(super) async fn see_off(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> std::io::Result<()> {
    to.shutdown().await?;
    // An origin that takes longer has hung, and what comes of that is its own affair.
    let _ = timeout(LAST_WORDS, tokio::io::copy(&mut from, &mut tokio::io::sink())).await;
    Ok(())
}

/// Whether a job comes while the call is fresh.
pub(super) async fn has_job(call: &TcpStream) -> Result<bool, RelayError> {
    match timeout(CALLS_ANEW, call.peek(&mut [0])).await {
        // The end: the origin stops.
        Ok(Ok(0)) => Err(RelayError::Broken(std::io::ErrorKind::UnexpectedEof.into())),
        Ok(readable) => Ok(readable? > 0),
        Err(_) => Ok(false),
    }
}
