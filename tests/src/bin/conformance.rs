//! Watches a live stream of HLS or DASH, of any server, and prints which rules it keeps.
//!
//! `cargo run -p tests --bin conformance -- http://HOST/live/NAME/index.m3u8 [SECONDS]`, or `https://`, or `index.mpd`

use std::process::ExitCode;
use std::time::Duration;

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().filter(|url| url.starts_with("http://") || url.starts_with("https://"));
    let seconds = arguments.next().map_or(Ok(60), |seconds| seconds.parse::<u64>());
    let (Some(url), Ok(seconds), None) = (url, seconds, arguments.next()) else {
        eprintln!("say what to watch: conformance http://HOST/live/NAME/index.m3u8 [SECONDS] (or https, or an MPD)");
        return ExitCode::from(2);
    };
    eprintln!("watching {url} for {seconds} s");
    match tests::conformance::watch(&url, Duration::from_secs(seconds)).await {
        Ok(report) => {
            println!("{report}");
            if report.broken().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}
