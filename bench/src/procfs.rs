//! What /proc says of a server under test: CPU time and memory of all its processes and threads.

use crate::sys;
use std::fs;

/// The fields of /proc/PID/stat that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) zombie: bool,
    pub(crate) parent: u32,
    /// User and system time of all threads, those that have ended included, in clock ticks.
    pub(crate) cpu_ticks: u64,
    /// When it started, in ticks since boot; with the pid it names a process for good.
    pub(crate) started_ticks: u64,
}

/// Reads a line of /proc/PID/stat. The name stands in parentheses and may hold spaces and parentheses itself.
pub(crate) fn parse_stat(line: &str) -> Option<Stat> {
    let (_, rest) = line.rsplit_once(')')?;
    // proc(5) counts from 1, and the first field of `rest` is number 3, the state.
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat {
        zombie: *fields.first()? == "Z",
        parent: u32::try_from(number(4)?).ok()?,
        cpu_ticks: number(14)?.checked_add(number(15)?)?,
        started_ticks: number(22)?,
    })
}

/// Resident pages, the second number of /proc/PID/statm.
fn parse_statm(line: &str) -> Option<u64> {
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Time on a core in nanoseconds, the first number of /proc/PID/task/TID/schedstat.
fn parse_schedstat(line: &str) -> Option<u64> {
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// All processes among `known` that descend from `root`, `root` first, given each one's parent.
fn descendants(root: u32, known: &[(u32, Stat)]) -> Vec<u32> {
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(&parent) = tree.get(next) {
        tree.extend(known.iter().filter(|(pid, stat)| stat.parent == parent && *pid != parent).map(|(pid, _)| *pid));
        next += 1;
    }
    tree
}

pub(crate) fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// `root` and everything it started that still lives.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return vec![root] };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let known: Vec<(u32, Stat)> = pids.filter_map(|pid| Some((pid, stat(pid)?))).collect();
    descendants(root, &known)
}

/// CPU time of a process tree in microseconds, in steps of a clock tick (usually 10 ms): for long windows.
pub(crate) fn cpu_us(root: u32) -> u64 {
    let ticks: u64 = tree(root).into_iter().filter_map(stat).map(|stat| stat.cpu_ticks).sum();
    ticks * 1_000_000 / sys::ticks_per_second()
}

/// CPU time of all living threads of a process tree in nanoseconds: for windows too short for [`cpu_us`].
pub(crate) fn threads_ns(root: u32) -> u64 {
    let threads = tree(root).into_iter().filter_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok()).flatten();
    let line = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("schedstat")).ok();
    threads.flatten().filter_map(|thread| parse_schedstat(&line(thread)?)).sum()
}

/// Resident memory of a process tree in bytes. Shared pages count once per process; differences over time are right.
pub(crate) fn resident_bytes(root: u32) -> u64 {
    let pages = |pid: u32| parse_statm(&fs::read_to_string(format!("/proc/{pid}/statm")).ok()?);
    tree(root).into_iter().filter_map(pages).sum::<u64>() * sys::page_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_behind_any_name() {
        let line = "77 (a) b (c) S 12 77 77 0 -1 4194560 1 2 3 4 150 25 0 0 20 0 4 0 99887 1 2 3";
        let expected = Stat { zombie: false, parent: 12, cpu_ticks: 175, started_ticks: 99887 };
        assert_eq!(parse_stat(line), Some(expected));
        assert_eq!(parse_stat("77 (a) S 12"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn a_tree_holds_children_and_their_children_only() {
        let of = |parent| Stat { zombie: false, parent, cpu_ticks: 0, started_ticks: 0 };
        let known = [(1, of(0)), (5, of(1)), (6, of(5)), (7, of(6)), (8, of(1)), (9, of(5))];
        assert_eq!(descendants(5, &known), [5, 6, 9, 7]);
        assert_eq!(descendants(8, &known), [8]);
    }

    #[test]
    fn numbers_of_one_line_files_are_read() {
        assert_eq!(parse_statm("2000 345 10 1 0 50 0\n"), Some(345));
        assert_eq!(parse_schedstat("123456789 10 2\n"), Some(123_456_789));
        assert_eq!((parse_statm("x"), parse_schedstat("")), (None, None));
    }

    #[test]
    fn this_process_is_seen() {
        let pid = std::process::id();
        assert!(stat(pid).is_some_and(|stat| !stat.zombie && stat.started_ticks > 0));
        assert!(tree(pid).contains(&pid));
        assert!(resident_bytes(pid) > 100_000 && threads_ns(pid) > 0);
    }
}
