//! The thread that writes the access log. Only it waits for a disk; viewers leave their lines in a queue with a bound.

use crate::metrics::{LogLine, Metrics};
use config::LogTarget;
use std::fs::{File, OpenOptions};
use std::io::{self, Stdout, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

pub(super) struct Writer {
    to: To,
    /// Set by whoever moved the file away.
    reopen: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
    batch: Vec<u8>,
    lines: u64,
    /// The last write failed: it has been said, and may have left half a line.
    failing: bool,
}

enum To {
    Stdout(Stdout),
    File(PathBuf, File),
}

/// So many bytes go out in one call, if they are there.
const BATCH_BYTES: usize = 64 << 10;
/// How often it is looked whether the file is still where it was, while there is nothing to write.
const LOOK: Duration = Duration::from_secs(1);

impl Writer {
    pub(super) fn open(target: &LogTarget, reopen: Arc<AtomicBool>, metrics: Arc<Metrics>) -> io::Result<Self> {
        let to = match target {
            LogTarget::Stdout => To::Stdout(io::stdout()),
            LogTarget::File(path) => To::File(path.clone(), open(path)?),
        };
        Ok(Self { to, reopen, metrics, batch: Vec::new(), lines: 0, failing: false })
    }

    /// Writes until nobody can send any more and all is written.
    pub(super) fn run(mut self, queue: &Receiver<Vec<u8>>) {
        loop {
            match queue.recv_timeout(LOOK) {
                Ok(line) => {
                    self.take(&line);
                    while self.batch.len() < BATCH_BYTES
                        && let Ok(line) = queue.try_recv()
                    {
                        self.take(&line);
                    }
                    self.write();
                }
                Err(RecvTimeoutError::Timeout) => self.look(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn take(&mut self, line: &[u8]) {
        self.batch.extend_from_slice(line);
        self.lines += 1;
    }

    fn write(&mut self) {
        self.look();
        let written = match &mut self.to {
            To::Stdout(out) => out.write_all(&self.batch).and_then(|()| out.flush()),
            To::File(_, file) => file.write_all(&self.batch),
        };
        self.batch.clear();
        let lines = std::mem::take(&mut self.lines);
        self.metrics.log_lines.count(if written.is_ok() { LogLine::Written } else { LogLine::Failed }, lines);
        if let Err(error) = &written {
            if !self.failing {
                tracing::error!(%error, "the access log cannot be written; make room or mend edge.access_log.path");
            }
            self.batch.push(b'\n');
        }
        self.failing = written.is_err();
    }

    /// Opens the file anew where it has been moved away, or where somebody says so. Before each batch: what comes after a
    /// file was moved goes into the new one.
    fn look(&mut self) {
        let To::File(path, file) = &mut self.to else { return };
        let ordered = self.reopen.swap(false, Ordering::Relaxed);
        let place = |metadata: io::Result<std::fs::Metadata>| metadata.map(|found| (found.dev(), found.ino())).ok();
        if !ordered && place(std::fs::metadata(&*path)) == place(file.metadata()) {
            return;
        }
        match open(path) {
            Ok(new) => *file = new,
            // The old one is still there for whoever moved it.
            Err(error) => tracing::error!(%error, path = %path.display(), "the access log cannot be opened anew"),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}
