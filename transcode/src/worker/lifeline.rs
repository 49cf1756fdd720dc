//! Ends the worker when its origin is gone, whatever the other threads are caught in.

use super::output::Output;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Watches standard input and output. When the other end of either is closed, the work at hand ends by itself, but for what
/// waits for input that never comes, or has nothing to write that would tell it. A worker that says nothing more for [`GRACE`]
/// is ended: one that still has a queue, on a machine with much to do, says something all the time.
///
/// PR_SET_PDEATHSIG would fire when the *thread* that started the worker ends, and threads of an async runtime come and
/// go; the pipe closes when the process does.
pub(super) fn hold(output: &Output) {
    let output = output.clone();
    let watch = move || {
        wait_for_hang_up([std::io::stdin().as_raw_fd(), std::io::stdout().as_raw_fd()]);
        wait_for_silence(|| output.said(), || std::thread::sleep(GRACE));
        eprintln!("the origin is gone and the work does not end; giving up");
        std::process::exit(1);
    };
    if let Err(error) = std::thread::Builder::new().name("lifeline".to_owned()).spawn(watch) {
        eprintln!("cannot watch for the origin's end: {error}");
    }
}

fn wait_for_hang_up(fds: [i32; 2]) {
    loop {
        // No events are asked for: POLLHUP (of what is read) and POLLERR (of what is written) are always told.
        let mut polls = fds.map(|fd| libc::pollfd { fd, events: 0, revents: 0 });
        // SAFETY: `polls` is an array of valid pollfds, and the count is its length.
        let told = unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, -1) };
        if told > 0 {
            return;
        }
    }
}

/// Until nothing was said from one pause to the next.
fn wait_for_silence(said: impl Fn() -> u64, mut pause: impl FnMut()) {
    let mut before = said();
    loop {
        pause();
        let now = said();
        if now == before {
            return;
        }
        before = now;
    }
}

/// Encoding a picture takes milliseconds; the origin's own limit on being silent is as long.
const GRACE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_worker_that_still_works_off_its_queue_is_not_ended() {
        let (said, pauses) = (Cell::new(7), Cell::new(0));
        let pause = || {
            pauses.set(pauses.get() + 1);
            // Something comes in each of three pauses, and nothing after.
            said.set(said.get() + u64::from(pauses.get() <= 3));
        };
        wait_for_silence(|| said.get(), pause);
        assert_eq!(pauses.get(), 4);
    }
}
