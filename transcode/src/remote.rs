//! Workers on other machines: they call the origin, say who they are, and wait there until there is a job.
//!
//! What then goes over the connection is what goes over a pipe otherwise; see [`crate::wire`]. One connection has one job.

mod relay;

pub use relay::{Relay, RelayError};

use crate::Metrics;
use crate::wire::VERSION;
use parking_lot::Mutex;
use socket2::{SockRef, TcpKeepalive};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, interval, timeout};
use tokio_util::sync::CancellationToken;

/// Connections that wait for a job. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Remote(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    token: String,
    idle_max: usize,
    idle: Mutex<VecDeque<(TcpStream, Instant)>>,
    metrics: Metrics,
}

/// What a worker says first, with the version of the protocol and the token behind it, and a line feed.
const GREETING: &str = "vivid-worker";
const WELCOME: &str = "welcome";
/// For either side to say its line.
const GREETING_MAX: Duration = Duration::from_secs(5);
const GREETING_BYTES_MAX: u64 = 512;
/// A worker that waits calls anew this often, so that a connection which is dead is known by its age.
const CALLS_ANEW: Duration = Duration::from_secs(20);
/// An older one is not trusted: its worker has called anew since, or is gone.
const TRUSTED: Duration = Duration::from_secs(45);
/// Calls that are being greeted at once; more wait in the kernel.
const GREETED_AT_ONCE: usize = 16;
/// After so long without a word the other end is asked for a sign of life.
const SILENCE: Duration = Duration::from_secs(10);
/// How often those that wait are counted.
const COUNTED: Duration = Duration::from_secs(5);
/// After an accept that failed, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Remote {
    /// Whoever brings `token` may work; `idle_max` of them may wait.
    pub fn new(token: String, idle_max: usize, metrics: &Metrics) -> Self {
        Self(Arc::new(Inner { token, idle_max, idle: Mutex::default(), metrics: metrics.clone() }))
    }

    /// Takes calls until `stop`.
    pub async fn listen(self, listener: TcpListener, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(GREETED_AT_ONCE));
        let mut counted = interval(COUNTED);
        loop {
            let accept = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (listener.accept().await, place)
            };
            let (accepted, place) = tokio::select! {
                accepted = accept => accepted,
                _ = counted.tick() => {
                    self.count();
                    continue;
                }
                () = stop.cancelled() => {
                    self.0.idle.lock().clear();
                    return self.count();
                }
            };
            match accepted {
                Ok((call, from)) => {
                    let remote = self.clone();
                    tokio::spawn(async move {
                        match timeout(GREETING_MAX, remote.greet(call)).await {
                            Ok(Ok(())) => tracing::debug!(%from, "a worker waits for a job"),
                            Ok(Err(reason)) => remote.refuse(&from, &reason),
                            Err(_) => remote.refuse(&from, "it said nothing in time"),
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a call of a worker");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn refuse(&self, from: &std::net::SocketAddr, reason: &str) {
        self.0.metrics.remote_refused.inc();
        tracing::warn!(%from, "a worker is sent away: {reason}");
    }

    async fn greet(&self, mut call: TcpStream) -> Result<(), String> {
        let words = |error: std::io::Error| error.to_string();
        set_up(&call).map_err(words)?;
        let mut line = String::new();
        // A worker says nothing more until it has a job, so nothing is lost with the reader.
        BufReader::new((&mut call).take(GREETING_BYTES_MAX)).read_line(&mut line).await.map_err(words)?;
        let denied = match self.judge(&line) {
            Ok(()) if self.idle() >= self.0.idle_max => "so many wait here already; raise origin.workers.waiting_max",
            Ok(()) => {
                call.write_all(format!("{WELCOME}\n").as_bytes()).await.map_err(words)?;
                self.0.idle.lock().push_back((call, Instant::now()));
                self.count();
                return Ok(());
            }
            Err(denied) => denied,
        };
        call.write_all(format!("{denied}\n").as_bytes()).await.map_err(words)?;
        Err(denied.to_owned())
    }

    fn judge(&self, line: &str) -> Result<(), &'static str> {
        let mut words = line.trim_end().splitn(3, ' ');
        if words.next() != Some(GREETING) {
            return Err("that is no worker");
        }
        if words.next() != Some(VERSION.to_string().as_str()) {
            return Err("it is of another release; run the same on both machines");
        }
        let given = words.next().unwrap_or_default();
        let known = bool::from(given.as_bytes().ct_eq(self.0.token.as_bytes()));
        if known { Ok(()) } else { Err("its token is not that of origin.workers.token") }
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
