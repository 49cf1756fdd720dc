//! `[origin.disk]`: the tail of every window on disk, where a restart finds it again.

use crate::Problem;
use crate::bounded::within;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The folder; it belongs to one origin. `None` where windows live in memory alone.
    pub path: Option<PathBuf>,
    /// Segments that wait to be written, in bytes.
    pub queue_bytes_max: usize,
    /// The same by number.
    pub queue_segments_max: usize,
    /// Reads at once.
    pub reads_max: usize,
    /// Answers that have a file open at once.
    pub files_max: usize,
    /// Longest wait for a read, a place among them included.
    pub read_timeout: Duration,
    /// The pause before a disk that failed is tried again.
    pub retry: Duration,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    path: Option<PathBuf>,
    queue_bytes_max: usize,
    queue_segments_max: usize,
    reads_max: usize,
    files_max: usize,
    read_timeout_ms: u64,
    retry_ms: u64,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            path: None,
            queue_bytes_max: 256 << 20,
            queue_segments_max: 4096,
            reads_max: 64,
            files_max: 1024,
            read_timeout_ms: 2000,
            retry_ms: 10_000,
        }
    }
}

impl Raw {
    pub(super) fn valid(self, problems: &mut Vec<Problem>) -> Disk {
        if self.path.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            let text = "must name a folder, or be left out; write for example \"/var/lib/vivid/origin\"";
            problems.push(Problem::new("origin.disk.path", text));
        }
        let mut ms = |name: &str, value, range| Duration::from_millis(within(problems, name, value, range));
        let read_timeout = ms("origin.disk.read_timeout_ms", self.read_timeout_ms, 10..=10_000);
        let retry = ms("origin.disk.retry_ms", self.retry_ms, 100..=600_000);
        let queue = within(problems, "origin.disk.queue_bytes_max", self.queue_bytes_max, 1 << 20..=1 << 36);
        Disk {
            path: self.path,
            queue_bytes_max: queue,
            queue_segments_max: within(
                problems,
                "origin.disk.queue_segments_max",
                self.queue_segments_max,
                16..=1_000_000,
            ),
            reads_max: within(problems, "origin.disk.reads_max", self.reads_max, 1..=256),
            files_max: within(problems, "origin.disk.files_max", self.files_max, 16..=65_536),
            read_timeout,
            retry,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Config;

    #[test]
    fn a_folder_has_a_name() {
        let problems = |text: &str| {
            let found = Config::parse(&format!("[origin]\n[origin.disk]\n{text}\n"), []).err().unwrap_or_default();
            found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        assert_eq!(problems("path = \"/var/lib/vivid/origin\""), "");
        assert!(problems("path = \"\"").contains("origin.disk.path: must name a folder"));
        assert!(problems("reads_max = 0").contains("origin.disk.reads_max"));
    }
}
