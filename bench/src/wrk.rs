//! wrk, where it is installed: how it is called, and what its report says.

use crate::load::{Load, Loaded};
use std::path::Path;
use tokio::process::Command;

pub(crate) fn command(program: &Path, scheme: &str, load: &Load) -> Command {
    let mut command = Command::new(program);
    command.args(["-t1", "--latency"]);
    command.arg(format!("-c{}", load.connections)).arg(format!("-d{}s", load.length.as_secs()));
    command.arg(format!("{scheme}://{}{}", load.server, load.target));
    command
}

/// Reads wrk's report; `None` where a line is missing, as after an error.
pub(crate) fn parse(report: &str) -> Option<Loaded> {
    let after = |prefix: &str| report.lines().find_map(|line| line.trim().strip_prefix(prefix)).map(str::trim);
    let requests = report.lines().find(|line| line.contains(" requests in "))?;
    let errors = |line: &str| line.split([',', ' ']).filter_map(|word| word.parse::<u64>().ok()).sum::<u64>();
    Some(Loaded {
        requests: requests.split_ascii_whitespace().next()?.parse().ok()?,
        requests_per_s: after("Requests/sec:")?.parse().ok()?,
        p50_us: microseconds(after("50%")?)?,
        p99_us: microseconds(after("99%")?)?,
        errors: after("Socket errors:").map_or(0, errors) + after("Non-2xx or 3xx responses:").map_or(0, errors),
    })
}

fn microseconds(text: &str) -> Option<u64> {
    let unit = text.find(|letter: char| letter.is_ascii_alphabetic())?;
    let value: f64 = text[..unit].parse().ok()?;
    let scale = match &text[unit..] {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 60e6,
        _ => return None,
    };
    Some((value * scale).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "Running 3s test @ http://127.0.0.1:20000/x\n  1 threads and 64 connections\n  \
        Thread Stats   Avg      Stdev     Max   +/- Stdev\n    Latency     1.10ms  350.20us   9.99ms   90.10%\n    \
        Req/Sec    58.31k     2.10k   61.00k    80.00%\n  Latency Distribution\n     50%    1.05ms\n     75%    1.20ms\n     \
        90%    1.50ms\n     99%  850.00us\n  174000 requests in 3.00s, 380.00MB read\nRequests/sec:  58000.12\n\
        Transfer/sec:    126.00MB\n";

    #[test]
    fn a_report_is_read() {
        let expected = Loaded { requests: 174_000, requests_per_s: 58_000.12, p50_us: 1050, p99_us: 850, errors: 0 };
        assert_eq!(parse(REPORT), Some(expected));
    }

    #[test]
    fn errors_are_summed() {
        let report =
            format!("{REPORT}  Socket errors: connect 1, read 2, write 0, timeout 4\n  Non-2xx or 3xx responses: 30\n");
        assert_eq!(parse(&report).map(|loaded| loaded.errors), Some(37));
    }

    #[test]
    fn what_is_no_report_is_none() {
        assert_eq!(parse(""), None);
        assert_eq!(parse("unable to connect to 127.0.0.1:1 Connection refused"), None);
        assert_eq!((microseconds("1.5s"), microseconds("7"), microseconds("1h")), (Some(1_500_000), None, None));
    }
}
