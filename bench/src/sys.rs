//! The calls into the kernel that the standard library lacks: monotonic clock, core affinity, limits, signals.

use std::io;
use tokio::process::Command;

/// CLOCK_MONOTONIC in nanoseconds: one line for all processes of this machine.
pub(crate) fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is valid for writing; CLOCK_MONOTONIC exists on every Linux, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The cores that this process may run on, in order.
pub(crate) fn cores() -> Vec<usize> {
    // SAFETY: a cpu_set_t is plain bits, for which all zeros is a value; the kernel writes at most its size.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set);
        set
    };
    // SAFETY: CPU_ISSET only reads bits below CPU_SETSIZE.
    (0..libc::CPU_SETSIZE as usize).filter(|core| unsafe { libc::CPU_ISSET(*core, &set) }).collect()
}

/// Raises the limit of open files as far as the system allows; children inherit it. Returns the limit.
pub(crate) fn raise_open_files() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for both calls; a refusal leaves the limit as it is, which is then returned.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        let wanted = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const wanted);
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
    }
    limit.rlim_cur
}

/// Pins the child to `core`, and has the kernel end it should this process die without a word.
pub(crate) fn bind_to_us(command: &mut Command, core: usize) {
    let enter = move || {
        // SAFETY: as in `cores`; both calls are async-signal-safe, as code between fork and exec must be.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(core, &mut set);
            if libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) != 0
                || libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) != 0
            {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: `enter` allocates nothing and takes no lock.
    unsafe { command.pre_exec(enter) };
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Signal {
    Terminate,
    Kill,
    Stop,
}

/// Sends a signal to one process that we started, or that one started for us.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let number = match signal {
        Signal::Terminate => libc::SIGTERM,
        Signal::Kill => libc::SIGKILL,
        Signal::Stop => libc::SIGSTOP,
    };
    if let Ok(pid) = libc::pid_t::try_from(pid)
        && pid > 1
    {
        // SAFETY: kill touches no memory; that the process may be gone is no error to us.
        unsafe { libc::kill(pid, number) };
    }
}

/// What all ended children of this process cost together: CPU microseconds, and the resident bytes of the largest at its
/// largest.
pub(crate) fn children() -> (u64, u64) {
    // SAFETY: a rusage is plain numbers, for which zero is a value; the kernel fills it, and RUSAGE_CHILDREN exists.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    let micros = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
    (micros(usage.ru_utime) + micros(usage.ru_stime), usage.ru_maxrss as u64 * 1024)
}

/// Clock ticks per second, the unit of time in /proc/PID/stat.
pub(crate) fn ticks_per_second() -> u64 {
    // SAFETY: sysconf touches no memory of ours.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap_or(100).max(1)
}

/// Bytes per page, the unit of memory in /proc/PID/statm.
pub(crate) fn page_bytes() -> u64 {
    // SAFETY: sysconf touches no memory of ours.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_never_goes_back_and_there_is_a_core() {
        let (first, second) = (monotonic_ns(), monotonic_ns());
        assert!(first > 0 && second >= first);
        assert!(!cores().is_empty());
        assert!(ticks_per_second() >= 1 && page_bytes() >= 4096);
    }
}
