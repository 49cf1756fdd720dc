//! A child process with everything it starts, which ends when its handle is dropped: at the end, on an error, on a panic.

use crate::procfs;
use crate::sys::{self, Signal};
use anyhow::Context;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// How long a server may take to end when asked politely.
const PATIENCE: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pid: u32,
}

impl Process {
    /// Starts a program on one core. What it says on standard error goes to `log`, and so does its standard output
    /// unless it is `piped`.
    pub(crate) fn start(mut command: Command, core: usize, log: &Path, piped: bool) -> anyhow::Result<Self> {
        let program = command.as_std().get_program().to_string_lossy().into_owned();
        let log = std::fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stderr(log.try_clone()?);
        command.stdout(if piped { Stdio::piped() } else { Stdio::from(log) });
        // A group of its own: Ctrl-C at the terminal is for the runner, which then ends its children in order.
        command.process_group(0).kill_on_drop(true);
        sys::bind_to_us(&mut command, core);
        let child = command.spawn().with_context(|| format!("cannot start {program}"))?;
        let pid = child.id().with_context(|| format!("{program} ended at once"))?;
        Ok(Self { child, pid })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Looks until nothing of `tree` lives, or patience is over. `Child::try_wait` reaps the root.
    fn wait_for(&mut self, tree: &[(u32, u64)], patience: Duration) -> bool {
        let until = Instant::now() + patience;
        loop {
            let root_ended = self.has_ended();
            if root_ended && !tree.iter().any(lives) {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

/// The same process still, not a zombie, and not another one that got its number.
fn lives((pid, started_ticks): &(u32, u64)) -> bool {
    procfs::stat(*pid).is_some_and(|stat| stat.started_ticks == *started_ticks && !stat.zombie)
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.has_ended() {
            return;
        }
        let started = |pid: u32| Some((pid, procfs::stat(pid)?.started_ticks));
        let tree: Vec<(u32, u64)> = procfs::tree(self.pid).into_iter().filter_map(started).collect();
        sys::signal(self.pid, Signal::Terminate);
        if self.wait_for(&tree, PATIENCE) {
            return;
        }
        for (pid, _) in tree.iter().filter(|process| lives(process)) {
            sys::signal(*pid, Signal::Kill);
        }
        self.wait_for(&tree, PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_child_started_ends_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", "cat /dev/zero > /dev/null & echo up; wait"]);
        let core = sys::cores()[0];
        let mut process = Process::start(shell, core, &dir.path().join("log"), true).unwrap();
        let mut lines = crate::tools::lines(process.child().stdout.take().unwrap());
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("up"));
        let tree = procfs::tree(process.pid());
        assert_eq!(tree.len(), 2, "{tree:?}");
        drop(process);
        assert!(tree.iter().all(|pid| procfs::stat(*pid).is_none_or(|stat| stat.zombie)));
    }
}
