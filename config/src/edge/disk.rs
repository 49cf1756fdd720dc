//! `[edge.disk]`: a second, larger cache on disk, for what the live window does not hold.

use crate::Problem;
use crate::bounded::within;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The folder; it belongs to one node. `None` where nothing is kept on disk.
    pub path: Option<PathBuf>,
    /// All files together, in bytes.
    pub bytes_max: u64,
    /// A shorter object is not worth a file.
    pub object_bytes_min: u64,
    pub object_bytes_max: u64,
    /// What is fresh for less is not worth a file.
    pub lifetime_min: Duration,
    /// Objects that wait to be written, in bytes.
    pub queue_bytes_max: u64,
    /// Reads at once.
    pub reads_max: usize,
    /// Longest wait for one read.
    pub read_timeout: Duration,
    /// The pause before a disk that failed is tried again.
    pub retry: Duration,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    path: Option<PathBuf>,
    bytes_max: u64,
    object_bytes_min: u64,
    object_bytes_max: u64,
    lifetime_min_ms: u64,
    queue_bytes_max: u64,
    reads_max: usize,
    read_timeout_ms: u64,
    retry_ms: u64,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            path: None,
            bytes_max: 100 << 30,
            object_bytes_min: 64 << 10,
            object_bytes_max: 64 << 20,
            lifetime_min_ms: 60_000,
            queue_bytes_max: 128 << 20,
            reads_max: 64,
            read_timeout_ms: 500,
            retry_ms: 30_000,
        }
    }
}

impl Raw {
    pub(super) fn valid(self, problems: &mut Vec<Problem>) -> Disk {
        let mut ms = |name: &str, value, range| Duration::from_millis(within(problems, name, value, range));
        let lifetime_min = ms("edge.disk.lifetime_min_ms", self.lifetime_min_ms, 0..=86_400_000);
        let read_timeout = ms("edge.disk.read_timeout_ms", self.read_timeout_ms, 10..=10_000);
        let retry = ms("edge.disk.retry_ms", self.retry_ms, 1000..=600_000);
        let mut bytes = |name: &str, value, range| within(problems, &format!("edge.disk.{name}"), value, range);
        let disk = Disk {
            bytes_max: bytes("bytes_max", self.bytes_max, 16 << 20..=1 << 50),
            object_bytes_min: bytes("object_bytes_min", self.object_bytes_min, 0..=1 << 30),
            object_bytes_max: bytes("object_bytes_max", self.object_bytes_max, 64 << 10..=1 << 30),
            queue_bytes_max: bytes("queue_bytes_max", self.queue_bytes_max, 64 << 10..=1 << 34),
            reads_max: within(problems, "edge.disk.reads_max", self.reads_max, 1..=256),
            path: self.path,
            lifetime_min,
            read_timeout,
            retry,
        };
        let mut wrong = |key: &str, message: &str| problems.push(Problem::new(format!("edge.disk.{key}"), message));
        if disk.path.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            wrong("path", "must name a folder, or be left out; write for example \"/var/cache/vivid\"");
        }
        if disk.bytes_max < 4 * disk.object_bytes_max {
            wrong("bytes_max", "must hold four objects of edge.disk.object_bytes_max; raise it or lower that");
        }
        if disk.queue_bytes_max < disk.object_bytes_max {
            wrong("queue_bytes_max", "must hold one object of edge.disk.object_bytes_max; raise it or lower that");
        }
        if disk.object_bytes_min > disk.object_bytes_max {
            wrong("object_bytes_min", "is more than edge.disk.object_bytes_max; lower it");
        }
        disk
    }
}

#[cfg(test)]
mod tests {
    use crate::Config;

    #[test]
    fn a_disk_has_room_for_what_it_is_to_hold() {
        let problems = |text: &str| {
            let found = Config::parse(&format!("[edge]\n[edge.disk]\n{text}\n"), []).err().unwrap_or_default();
            found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        assert_eq!(problems("path = \"/var/cache/vivid\""), "");
        for (text, key) in [
            ("path = \"\"", "edge.disk.path"),
            ("bytes_max = 134217728", "edge.disk.bytes_max"),
            ("queue_bytes_max = 1048576", "edge.disk.queue_bytes_max"),
            ("object_bytes_min = 134217728", "edge.disk.object_bytes_min"),
            ("read_timeout_ms = 1", "edge.disk.read_timeout_ms"),
            ("reads_max = 0", "edge.disk.reads_max"),
        ] {
            assert!(problems(text).contains(key), "{text}: {}", problems(text));
        }
    }
}
