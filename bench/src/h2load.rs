//! h2load, for HTTP/2: how it is called, and what its report says.

use crate::load::{Load, Loaded};
use std::path::Path;
use tokio::process::Command;

/// A player asks for a playlist, a part and perhaps audio at once; a browser with several players for more.
pub(crate) const STREAMS: usize = 10;

pub(crate) fn command(program: &Path, load: &Load) -> Command {
    let mut command = Command::new(program);
    command.arg("-t1").arg(format!("-m{STREAMS}"));
    command.arg(format!("-c{}", load.connections)).arg(format!("-D{}", load.length.as_secs()));
    command.arg(format!("https://{}{}", load.server, load.target));
    command
}

/// Reads h2load's report; `None` where a line is missing, or where it spoke anything but HTTP/2.
pub(crate) fn parse(report: &str) -> Option<Loaded> {
    let line = |prefix: &str| report.lines().find_map(|line| line.strip_prefix(prefix)).map(str::trim);
    // Below 10 requests/s it says more words; nothing here is that slow.
    let per_second = line("finished in")?.split(',').find_map(|part| part.trim().strip_suffix(" req/s"))?;
    let counts = line("requests:")?;
    let count = |name: &str| {
        let part = counts.split(',').find_map(|part| part.trim().strip_suffix(name))?;
        part.trim().parse::<u64>().ok()
    };
    line("Application protocol:").filter(|protocol| *protocol == "h2")?;
    let other = line("status codes:").map_or(0, |codes| {
        let bad = codes.split(',').filter(|part| !part.contains("2xx"));
        bad.filter_map(|part| part.split_ascii_whitespace().next()?.parse::<u64>().ok()).sum()
    });
    Some(Loaded {
        requests: count("succeeded")?,
        requests_per_s: per_second.parse().ok()?,
        p50_us: 0,
        p99_us: 0,
        errors: count("failed")? + count("timeout")? + other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "Application protocol: h2\n\nfinished in 3.01s, 61234.33 req/s, 129.90MB/s\n\
        requests: 183703 total, 184343 started, 183703 done, 183703 succeeded, 0 failed, 0 errored, 0 timeout\n\
        status codes: 183703 2xx, 0 3xx, 0 4xx, 0 5xx\n\
        traffic: 389.71MB (408640195) total, 10.54MB (11047380) headers (space savings 80.12%)\n";

    #[test]
    fn a_report_is_read() {
        let expected = Loaded { requests: 183_703, requests_per_s: 61_234.33, p50_us: 0, p99_us: 0, errors: 0 };
        assert_eq!(parse(REPORT), Some(expected));
        let bad = REPORT.replace("0 4xx", "7 4xx").replace("0 failed", "2 failed");
        assert_eq!(parse(&bad).map(|loaded| loaded.errors), Some(9));
    }

    #[test]
    fn what_is_no_report_of_http2_is_none() {
        assert_eq!(parse(""), None);
        assert_eq!(parse(&REPORT.replace(": h2", ": http/1.1")), None);
    }
}
