//! Ends the worker when its origin is gone, whatever the other threads are caught in.

use std::os::fd::AsRawFd;
use std::time::Duration;

/// Watches standard input and output. When the other end of either is closed, the work at hand has [`GRACE`] to end by
/// itself: it may be waiting for input that never comes, or have nothing to write that would tell it.
///
/// PR_SET_PDEATHSIG would fire when the *thread* that started the worker ends, and threads of an async runtime come and
/// go; the pipe closes when the process does.
pub(super) fn hold() {
    let watch = || {
        wait_for_hang_up([std::io::stdin().as_raw_fd(), std::io::stdout().as_raw_fd()]);
        std::thread::sleep(GRACE);
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

/// Encoding what is queued takes milliseconds; the origin's own limit on a drain is as long.
const GRACE: Duration = Duration::from_secs(5);
