//! The machine as far as figures depend on it, and where on it servers may keep files in memory.

use serde::Serialize;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) system: String,
    pub(crate) congestion_control: String,
    pub(crate) open_files_max: u64,
    /// Over the minute before the first run.
    pub(crate) load_average: f64,
    /// Whether the bench itself was built with optimisation.
    pub(crate) release_build: bool,
    /// The commit of the working folder, marked if files differ from it.
    pub(crate) commit: String,
}

impl Machine {
    pub(crate) fn look(open_files_max: u64) -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let load = text("/proc/loadavg");
        Self {
            cpu: value(&text("/proc/cpuinfo"), "model name", ':'),
            cores: crate::sys::cores().len(),
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            system: value(&text("/etc/os-release"), "PRETTY_NAME", '=').trim_matches('"').to_owned(),
            congestion_control: text("/proc/sys/net/ipv4/tcp_congestion_control").trim().to_owned(),
            open_files_max,
            load_average: load.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0.0),
            release_build: !cfg!(debug_assertions),
            commit: commit().unwrap_or_else(|| "unknown".to_owned()),
        }
    }

    /// How a page of results begins: what was run, when, and on what.
    pub(crate) fn heading(&self, command: &str, date: &str) -> String {
        let Self { commit, cpu, cores, system, kernel, congestion_control, open_files_max, load_average, .. } = self;
        format!(
            "`{command}`, on {date}, at commit {commit}\n\n\
             - Machine: {cpu}, {cores} cores, {system}, kernel {kernel}, TCP congestion control {congestion_control}, \
             {open_files_max} open files; load average {load_average:.2}.\n"
        )
    }

    /// Why figures from here and now are no figures; empty if nothing is known against them.
    pub(crate) fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        if !self.release_build {
            doubts.push("this is a debug build of the bench: a smoke check, no figures".to_owned());
        }
        if self.cores < 2 {
            doubts.push("server and client share the only core".to_owned());
        }
        // Twice what an idle machine shows: somebody else was at work.
        if self.load_average > 0.5 {
            doubts.push(format!("the machine was not quiet: load average {:.2} at the start", self.load_average));
        }
        doubts
    }
}

/// As `2026-01-31`.
pub(crate) fn date() -> String {
    let said = Command::new("date").args(["-u", "+%F"]).output();
    said.map_or_else(|_| "an unknown day".to_owned(), |said| String::from_utf8_lossy(&said.stdout).trim().to_owned())
}

/// Pages are not looked at: they get the results of one case after the other, and change none.
fn commit() -> Option<String> {
    let ask = |args: &[&str]| {
        let said = Command::new("git").args(args).output().ok()?;
        said.status.success().then(|| String::from_utf8_lossy(&said.stdout).trim().to_owned())
    };
    let commit = ask(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = ask(&["status", "--porcelain", "--untracked-files=no", "--", ":/", ":(exclude,top)docs"])?;
    Some(if changed.is_empty() { commit } else { format!("{commit}-dirty") })
}

fn value(text: &str, key: &str, divider: char) -> String {
    let found = text.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix(divider));
    found.unwrap_or("unknown").trim().to_owned()
}

/// A folder in memory where programs may be run (Varnish compiles its configuration), or else the temporary folder.
pub(crate) fn scratch() -> (PathBuf, bool) {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    if in_memory(&mounts, "/dev/shm") { ("/dev/shm".into(), true) } else { (std::env::temp_dir(), false) }
}

fn in_memory(mounts: &str, path: &str) -> bool {
    let mut fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    // The last mount on a path is the one that is seen.
    let seen = fields.rfind(|fields| fields.get(1) == Some(&path));
    seen.is_some_and(|fields| {
        let options = fields.get(3).copied().unwrap_or_default();
        fields.get(2) == Some(&"tmpfs") && !options.split(',').any(|option| option == "noexec" || option == "ro")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_forbids_programs_is_not_used() {
        let shm = |options: &str| format!("/dev/vda / ext4 rw 0 0\ntmpfs /dev/shm tmpfs {options} 0 0\n");
        assert!(in_memory(&shm("rw,relatime,size=24684092k"), "/dev/shm"));
        assert!(!in_memory(&shm("rw,nosuid,nodev,noexec"), "/dev/shm"));
        assert!(!in_memory(&shm("ro"), "/dev/shm") && !in_memory("", "/dev/shm"));
        assert!(!in_memory(&shm("rw"), "/"));
    }

    #[test]
    fn values_are_found_behind_their_keys() {
        assert_eq!(value("processor\t: 0\nmodel name\t: AMD EPYC\n", "model name", ':'), "AMD EPYC");
        assert_eq!(value("", "model name", ':'), "unknown");
    }

    #[test]
    fn doubts_are_told() {
        let mut machine = Machine { release_build: true, cores: 2, load_average: 0.1, ..Machine::look(20_000) };
        assert_eq!(machine.doubts(), [""; 0]);
        (machine.load_average, machine.cores, machine.release_build) = (2.0, 1, false);
        assert_eq!(machine.doubts().len(), 3);
    }
}
