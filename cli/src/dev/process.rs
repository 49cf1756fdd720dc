//! The processes of `vivid dev`: started, watched, never restarted by themselves.

use super::layout::{Layout, Role};
use anyhow::{Context, bail};
use serde::Serialize;
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Every process, by role.
pub(super) struct Fleet {
    layout: Layout,
    directory: PathBuf,
    children: Mutex<HashMap<Role, Child>>,
}

/// One row of the table, and of `GET /_vivid/dev`.
#[derive(Serialize)]
pub(super) struct Row {
    name: &'static str,
    pid: Option<u32>,
    url: String,
    state: &'static str,
}

/// Says at once which port is taken: a tier of another `vivid dev` would answer for ours that it is ready.
pub(super) fn refuse_taken_ports(layout: &Layout) -> anyhow::Result<()> {
    for (role, address) in layout.addresses() {
        if let Err(error) = std::net::TcpListener::bind(&address) {
            bail!(
                "{} cannot have {address}: {error}; stop what uses it, or give other ports with --base-port",
                role.name()
            );
        }
    }
    Ok(())
}

impl Fleet {
    /// Writes each tier's configuration file into `directory`.
    pub(super) fn new(layout: Layout, directory: &Path) -> anyhow::Result<Self> {
        for role in layout.roles().filter(|role| *role != Role::Source) {
            let path = config_path(directory, role);
            std::fs::write(&path, layout.config(role)).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(Self { layout, directory: directory.to_owned(), children: Mutex::default() })
    }

    pub(super) fn roles(&self) -> impl Iterator<Item = Role> + use<> {
        self.layout.roles()
    }

    /// Starts a process, unless it runs.
    pub(super) fn start(&self, role: Role) -> anyhow::Result<()> {
        let mut children = self.children();
        if children.get_mut(&role).is_some_and(is_running) {
            return Ok(());
        }
        let mut child = self.command(role)?.spawn().with_context(|| format!("{} does not start", role.name()))?;
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(async move {
                let mut lines = BufReader::new(stderr).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    // The terminal may be gone; the tiers go on.
                    let _ = writeln!(std::io::stderr(), "{:<7}| {line}", role.name());
                }
            });
        }
        children.insert(role, child);
        Ok(())
    }

    /// Ends a process at once, as a crash would.
    pub(super) async fn kill(&self, role: Role) -> anyhow::Result<()> {
        // Taken out while it is waited for, so that no lock is held meanwhile.
        let Some(mut child) = self.children().remove(&role) else { return Ok(()) };
        let killed = child.kill().await;
        self.children().entry(role).or_insert(child);
        killed.with_context(|| format!("{} cannot be killed", role.name()))
    }

    /// Waits until a tier says that it is ready; fails if it ends before.
    pub(super) async fn wait_ready(&self, role: Role) -> anyhow::Result<()> {
        let url = format!("{}/_vivid/readyz", self.layout.url(role));
        let mut retry = tokio::time::interval(READY_RETRY);
        loop {
            retry.tick().await;
            if !self.children().get_mut(&role).is_some_and(is_running) {
                bail!("{} ended while it started; its reason is above", role.name());
            }
            if super::control::get(&url).await.is_ok_and(|status| status == 200) {
                return Ok(());
            }
        }
    }

    pub(super) fn rows(&self) -> Vec<Row> {
        let mut children = self.children();
        self.roles()
            .map(|role| {
                let child = children.get_mut(&role);
                let pid = child.as_ref().and_then(|child| child.id());
                let running = child.is_some_and(is_running);
                let state = if running { "running" } else { "stopped" };
                Row { name: role.name(), pid: pid.filter(|_| running), url: self.layout.url(role), state }
            })
            .collect()
    }

    /// Where a stream is published, with its name put behind.
    pub(super) fn publish_url(&self) -> String {
        self.layout.publish_url("")
    }

    /// What the person who started it wants to know.
    pub(super) fn table(&self) -> String {
        let router = self.layout.url(Role::Router);
        let mut table = format!("\n  watch     {router}/\n");
        if self.roles().any(|role| role == Role::Source) {
            table += &format!("  playlist  {router}/live/demo/index.m3u8\n");
        }
        table += "\n  tier      pid       at\n";
        for row in self.rows() {
            let pid = row.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
            table += &format!("  {:<9} {pid:<9} {}\n", row.name, row.url);
        }
        let publish = self.layout.publish_url("NAME");
        table
            + &format!(
                "\n  publish   ffmpeg -re -i FILE -c copy -f flv {publish}\n            and watch {router}/?stream=NAME\n\n"
            )
    }

    /// Asks every process to end, and kills what has not ended by the deadline.
    pub(super) async fn stop_all(&self, deadline: Duration) {
        let children = std::mem::take(&mut *self.children());
        for child in children.values() {
            if let Some(pid) = child.id().and_then(|pid| libc::pid_t::try_from(pid).ok()) {
                // SAFETY: kill has no memory effects; the pid is of a child that was not yet waited for.
                unsafe { libc::kill(pid, libc::SIGTERM) };
            }
        }
        let deadline = tokio::time::Instant::now() + deadline;
        for (role, mut child) in children {
            if tokio::time::timeout_at(deadline, child.wait()).await.is_err() {
                let _ = writeln!(std::io::stderr(), "vivid: {} did not drain in time; killed", role.name());
                // It may have ended just now; either way it is gone.
                let _ = child.kill().await;
            }
        }
    }

    fn command(&self, role: Role) -> anyhow::Result<Command> {
        let mut command = Command::new(std::env::current_exe().context("the path of this binary is unknown")?);
        match role {
            Role::Source => command.args(["source", "--url", &self.layout.url(role)]),
            Role::Origin => command.arg("origin"),
            Role::Router => {
                command.arg("router").arg("--dev-control").arg(super::control::socket_path(&self.directory))
            }
            Role::Shield | Role::CdnA | Role::CdnB => command.arg("edge"),
        };
        if role != Role::Source {
            command.arg("--config").arg(config_path(&self.directory, role));
        }
        command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        // SAFETY: prctl is async-signal-safe and is called between fork and exec without touching memory.
        unsafe {
            command.pre_exec(|| {
                // Killed with SIGKILL, `vivid dev` cannot stop its children: the kernel does.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
                Ok(())
            });
        }
        Ok(command)
    }

    fn children(&self) -> std::sync::MutexGuard<'_, HashMap<Role, Child>> {
        self.children.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn is_running(child: &mut Child) -> bool {
    matches!(child.try_wait(), Ok(None))
}

fn config_path(directory: &Path, role: Role) -> PathBuf {
    directory.join(format!("{}.toml", role.name()))
}

const READY_RETRY: Duration = Duration::from_millis(50);
