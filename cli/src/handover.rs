//! A process that is replaced while it serves: its successor gets the sockets, and it goes once the successor is ready.
//!
//! The words are systemd's, so that a service manager can play either side: sockets come as descriptors from 3 on, counted
//! by `LISTEN_FDS` (sd_listen_fds(3)), and readiness is told to `NOTIFY_SOCKET` (sd_notify(3)). A socket that is passed on
//! keeps the connections that wait in it, which one that is bound a second time (`SO_REUSEPORT`) does not.

use anyhow::{Context, bail, ensure};
use socket2::{Domain, Socket, Type};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, io, process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// Sockets begin with this descriptor.
const FIRST: RawFd = 3;
/// More sockets than this are a mistake.
const SOCKETS_MAX: RawFd = 64;
/// A successor that needs longer to load its configuration, certificates and databases is given up.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// "READY=1" and what else a successor may say at once.
const MESSAGE_BYTES_MAX: usize = 1024;

/// The sockets that whoever started this process opened for it. To be called before anything else opens a descriptor.
///
/// # Errors
/// If `LISTEN_FDS` counts what is no listening TCP socket.
pub(crate) fn inherited_sockets() -> anyhow::Result<Vec<TcpListener>> {
    let Ok(count) = env::var("LISTEN_FDS") else { return Ok(Vec::new()) };
    // A predecessor cannot know the number of the process that it starts, and leaves it out.
    if env::var("LISTEN_PID").is_ok_and(|pid| pid != process::id().to_string()) {
        return Ok(Vec::new());
    }
    let count = count.parse().ok().filter(|count| (0..=SOCKETS_MAX).contains(count));
    let count: RawFd = count.context("LISTEN_FDS must be a number from 0 to 64; unset it, or pass sockets with it")?;
    (FIRST..FIRST + count).map(take).collect()
}

fn take(descriptor: RawFd) -> anyhow::Result<TcpListener> {
    // SAFETY: asks for a flag and has no effect on memory.
    let open = unsafe { libc::fcntl(descriptor, libc::F_GETFD) } >= 0;
    ensure!(open, "LISTEN_FDS counts descriptor {descriptor}, which is not open; pass as many sockets as it says");
    // SAFETY: whoever set LISTEN_FDS gave this descriptor to this process, which takes each of them once.
    let socket = Socket::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
    let listens = socket.domain().is_ok_and(|domain| matches!(domain, Domain::IPV4 | Domain::IPV6))
        && socket.r#type().is_ok_and(|kind| kind == Type::STREAM)
        && socket.is_listener().unwrap_or(false);
    ensure!(listens, "LISTEN_FDS counts descriptor {descriptor}, which is no listening TCP socket");
    socket.set_cloexec(true)?;
    Ok(socket.into())
}

/// Tells whoever started this process that it serves.
pub(crate) fn tell_ready() {
    tell("READY=1");
}

/// Replaces this process by a new one of the same command on SIGUSR2, and cancels `handed_over` once that serves.
pub(crate) async fn on_signal(program: PathBuf, sockets: Vec<TcpListener>, handed_over: CancellationToken) {
    let mut upgrades = match signal(SignalKind::user_defined2()) {
        Ok(upgrades) => upgrades,
        Err(error) => return error!(%error, "SIGUSR2 cannot be heard; this process cannot be replaced while it serves"),
    };
    while upgrades.recv().await.is_some() {
        info!(program = %program.display(), "starting a successor");
        match successor(&program, &sockets).await {
            Ok(pid) => {
                // The service manager would otherwise take the end of this process for the end of the service.
                tell(&format!("MAINPID={pid}"));
                info!(pid, "the successor serves");
                return handed_over.cancel();
            }
            Err(error) => error!(error = format!("{error:#}"), "the successor does not serve; going on as before"),
        }
    }
}

/// Starts a successor and waits until it serves; returns its process number.
async fn successor(program: &Path, sockets: &[TcpListener]) -> anyhow::Result<u32> {
    let name = format!("vivid-{}-{:016x}", process::id(), RandomState::new().build_hasher().finish());
    let ready = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    ready.set_nonblocking(true)?;
    let ready = tokio::net::UnixDatagram::from_std(ready)?;
    let mut child = spawn(program, sockets, &name).with_context(|| format!("cannot start {}", program.display()))?;
    let said = async {
        let mut message = [0; MESSAGE_BYTES_MAX];
        loop {
            let length = ready.recv(&mut message).await?;
            if message[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
                return io::Result::Ok(());
            }
        }
    };
    tokio::select! {
        said = timeout(READY_WITHIN, said) => match said {
            Ok(said) => said?,
            Err(_) => {
                child.start_kill()?;
                bail!("it was not ready in {} s", READY_WITHIN.as_secs());
            }
        },
        ended = child.wait() => bail!("it ended: {}", ended?),
    }
    child.id().context("it has ended")
}

fn spawn(program: &Path, sockets: &[TcpListener], ready: &str) -> io::Result<Child> {
    let copies: Vec<OwnedFd> = sockets.iter().map(beyond).collect::<io::Result<_>>()?;
    let sources: Vec<RawFd> = copies.iter().map(AsRawFd::as_raw_fd).collect();
    let mut command = Command::new(program);
    command
        .args(env::args_os().skip(1))
        .env("LISTEN_FDS", sockets.len().to_string())
        .env_remove("LISTEN_PID")
        .env_remove("LISTEN_FDNAMES")
        .env("NOTIFY_SOCKET", format!("@{ready}"));
    let place = move || {
        for (target, source) in (FIRST..).zip(&sources) {
            // SAFETY: both are plain numbers, and dup2 may be called between fork and exec.
            if unsafe { libc::dup2(*source, target) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: the closure calls nothing but dup2, which is safe between fork and exec.
    unsafe { command.pre_exec(place) };
    command.spawn()
}

/// A copy of a socket whose number is beyond all that successors count from 3 on, so that none overwrites another.
fn beyond(socket: &TcpListener) -> io::Result<OwnedFd> {
    // SAFETY: the socket is open, and the result is checked before it is owned.
    let copy = unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_DUPFD_CLOEXEC, FIRST + SOCKETS_MAX) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: fcntl has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Says something to the service manager, or to the predecessor; there may be neither.
fn tell(message: &str) {
    let Ok(path) = env::var("NOTIFY_SOCKET") else { return };
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    let sent = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address));
    if let Err(error) = sent {
        warn!(%error, path, "NOTIFY_SOCKET cannot be told: {message}");
    }
}
