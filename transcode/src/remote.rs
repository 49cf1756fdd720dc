//! Workers on other machines: they call the origin, say who they are, and wait there until there is a job.
//!
//! What then goes over the connection is what goes over a pipe otherwise; see [`crate::wire`]. One connection has one job.

mod relay;

pub use relay::{Relay, RelayError};

use crate::Metrics;
use crate::wire::greeting::{GREETING_BYTES_MAX, WELCOME, judge};
use config::Token;
use parking_lot::Mutex;
use socket2::{SockRef, TcpKeepalive};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::{Instant, interval, timeout};
use tokio_util::sync::CancellationToken;

/// Connections that wait for a job. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Remote(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    token: Token,
    idle_max: usize,
    idle: Mutex<VecDeque<(TcpStream, Instant)>>,
    metrics: Metrics,
}

const FULL: &str = "so many wait here already; raise origin.remote_workers.waiting_max";
/// For either side to say its line.
const GREETING_MAX: Duration = Duration::from_secs(5);
/// A worker that waits calls anew this often, so that a connection which is dead is known by its age.
const CALLS_ANEW: Duration = Duration::from_secs(20);
/// An older one is not trusted: its worker has called anew since, or is gone.
const TRUSTED: Duration = Duration::from_secs(45);
/// Calls that are being greeted at once. For one more the oldest is let go, so that callers who say nothing keep nobody out.
const GREETED_AT_ONCE: usize = 16;
/// After so long without a word the other end is asked for a sign of life.
const SILENCE: Duration = Duration::from_secs(10);
/// How often those that wait are counted.
const COUNTED: Duration = Duration::from_secs(5);
/// After an accept that failed, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Remote {
    /// Whoever brings `token` may work; `idle_max` of them may wait.
    pub fn new(token: Token, idle_max: usize, metrics: &Metrics) -> Self {
        Self(Arc::new(Inner { token, idle_max, idle: Mutex::default(), metrics: metrics.clone() }))
    }

    /// Takes calls until `stop`.
    pub async fn listen(self, listener: TcpListener, stop: CancellationToken) {
        let mut greeted = VecDeque::new();
        let mut counted = interval(COUNTED);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = counted.tick() => {
                    self.count();
                    continue;
                }
                () = stop.cancelled() => {
                    greeted.iter().for_each(AbortHandle::abort);
                    self.0.idle.lock().clear();
                    return self.count();
                }
            };
            match accepted {
                Ok((call, from)) => {
                    self.make_room(&mut greeted);
                    let remote = self.clone();
                    let greeting = tokio::spawn(async move {
                        match timeout(GREETING_MAX, remote.greet(call)).await {
                            Ok(Ok(())) => tracing::debug!(%from, "a worker waits for a job"),
                            Ok(Err(reason)) => remote.refuse(&from, &reason),
                            Err(_) => remote.refuse(&from, "it said nothing in time"),
                        }
                    });
                    greeted.push_back(greeting.abort_handle());
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a call of a worker");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// For one more call to be greeted.
    fn make_room(&self, greeted: &mut VecDeque<AbortHandle>) {
        greeted.retain(|greeting| !greeting.is_finished());
        if greeted.len() >= GREETED_AT_ONCE
            && let Some(oldest) = greeted.pop_front()
        {
            oldest.abort();
            self.0.metrics.remote_refused.inc();
            tracing::warn!("a caller that has not said what it is makes room for the next");
        }
    }

    fn refuse(&self, from: &std::net::SocketAddr, reason: &str) {
        self.0.metrics.remote_refused.inc();
        tracing::warn!(%from, "a worker is sent away: {reason}");
    }

    async fn greet(&self, mut call: TcpStream) -> Result<(), String> {
        let words = |error: std::io::Error| error.to_string();
        set_up(&call).map_err(words)?;
        let mut line = Vec::new();
        // A worker says nothing more until it has a job, so nothing is lost with the reader.
        BufReader::new((&mut call).take(GREETING_BYTES_MAX)).read_until(b'\n', &mut line).await.map_err(words)?;
        let denied = match judge(&line, &self.0.token) {
            Ok(()) if self.idle() >= self.0.idle_max => FULL.to_owned(),
            Ok(()) => {
                call.write_all(format!("{WELCOME}\n").as_bytes()).await.map_err(words)?;
                self.0.idle.lock().push_back((call, Instant::now()));
                self.count();
                return Ok(());
            }
            Err(denied) => denied.to_string(),
        };
        call.write_all(format!("{denied}\n").as_bytes()).await.map_err(words)?;
        Err(denied)
    }

    /// A connection to a worker that waits, if there is one.
    pub fn take(&self) -> Option<TcpStream> {
        let taken = loop {
            let newest = self.0.idle.lock().pop_back();
            match newest {
                Some((call, since)) if is_alive(&call, since) => break Some(call),
                Some(_) => {}
                None => break None,
            }
        };
        if taken.is_some() {
            self.0.metrics.remote_jobs.inc();
        }
        self.count();
        taken
    }

    /// How many wait, without those that are known to be gone.
    fn idle(&self) -> usize {
        let mut idle = self.0.idle.lock();
        idle.retain(|(call, since)| is_alive(call, *since));
        idle.len()
    }

    fn count(&self) {
        self.0.metrics.remote_idle.set(i64::try_from(self.idle()).unwrap_or(i64::MAX));
    }
}

/// Either end is known to be gone within half a minute, whatever there is to send. A picture does not wait for others.
fn set_up(call: &TcpStream) -> std::io::Result<()> {
    call.set_nodelay(true)?;
    let socket = SockRef::from(call);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(SILENCE).with_interval(SILENCE).with_retries(2))?;
    socket.set_tcp_user_timeout(Some(2 * SILENCE))
}

/// One that waits says nothing, so that anything to read is its end.
fn is_alive(call: &TcpStream, since: Instant) -> bool {
    let silent = || matches!(call.try_read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
    since.elapsed() < TRUSTED && silent()
}

#[cfg(test)]
mod tests;
