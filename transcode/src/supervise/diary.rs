//! Puts what a worker writes to standard error into the log, bounded in length and in number.

use prometheus::IntCounter;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::time::Instant;

/// Logs every line until the worker ends. A broken source makes FFmpeg say the same thing for every frame: what is too much is
/// counted in `suppressed`, where metrics are served, and told in one line.
pub(crate) async fn keep(stderr: impl AsyncRead + Unpin, pid: Option<u32>, suppressed: Option<IntCounter>) {
    let mut reader = BufReader::new(stderr);
    let mut budget = Budget { since: Instant::now(), left: LINES_PER_PERIOD };
    let mut unsaid = 0_u64;
    let tell = |unsaid: u64| {
        if unsaid > 0 {
            tracing::warn!(pid, "{unsaid} lines of a worker were too many for the log");
        }
    };
    while let Some(line) = next_line(&mut reader).await {
        if !budget.take(Instant::now()) {
            unsaid += 1;
            suppressed.iter().for_each(IntCounter::inc);
            continue;
        }
        tell(std::mem::take(&mut unsaid));
        match line.strip_prefix(INFO) {
            Some(line) => tracing::info!(pid, "worker: {line}"),
            None => tracing::warn!(pid, "worker: {line}"),
        }
    }
    tell(unsaid);
}

/// Lines with this in front are no complaints.
pub(crate) const INFO: &str = "info: ";

struct Budget {
    since: Instant,
    left: u32,
}

impl Budget {
    fn take(&mut self, now: Instant) -> bool {
        if now.duration_since(self.since) >= PERIOD {
            *self = Self { since: now, left: LINES_PER_PERIOD };
        }
        let any = self.left > 0;
        self.left = self.left.saturating_sub(1);
        any
    }
}

/// The next line, cut at [`LINE_BYTES_MAX`]; `None` at the end.
async fn next_line(reader: &mut (impl AsyncBufReadExt + Unpin)) -> Option<String> {
    let mut line = Vec::new();
    loop {
        let chunk = reader.fill_buf().await.ok()?;
        if chunk.is_empty() {
            return (!line.is_empty()).then(|| text(&line));
        }
        let end = chunk.iter().position(|&byte| byte == b'\n');
        let taken = end.unwrap_or(chunk.len());
        let room = LINE_BYTES_MAX - line.len();
        line.extend_from_slice(&chunk[..taken.min(room)]);
        reader.consume(end.map_or(taken, |end| end + 1));
        if end.is_some() {
            return Some(text(&line));
        }
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end().to_owned()
}

const LINE_BYTES_MAX: usize = 1024;
const LINES_PER_PERIOD: u32 = 20;
const PERIOD: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_cut_and_never_lost() {
        let long = "x".repeat(3 * LINE_BYTES_MAX);
        let bytes = format!("one\n{long}\n\nlast");
        let mut reader = BufReader::with_capacity(100, bytes.as_bytes());
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut reader).await {
            lines.push(line);
        }
        assert_eq!(lines, ["one", &long[..LINE_BYTES_MAX], "", "last"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_counted_and_not_logged() {
        let suppressed = IntCounter::new("suppressed", "test").unwrap();
        let flood = "broken\n".repeat(100);
        keep(flood.as_bytes(), None, Some(suppressed.clone())).await;
        assert_eq!(suppressed.get(), 100 - u64::from(LINES_PER_PERIOD));

        let mut budget = Budget { since: Instant::now(), left: 0 };
        assert!(!budget.take(Instant::now()));
        tokio::time::advance(PERIOD).await;
        assert!(budget.take(Instant::now()), "a new period brings new lines");
    }
}
