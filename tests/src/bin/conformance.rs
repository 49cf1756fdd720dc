//! Watches live streams of HLS or DASH, of any server, and prints which rules they keep.
//!
//! `cargo run -p tests --bin conformance -- http://HOST/live/NAME/index.m3u8 [SECONDS]`, or `https://`, or `index.mpd`; or several
//! at once, `NAME=URL` each, as one table, which `--write PAGE` puts into a page

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tests::conformance::{Named, tables, watch, written};
use tokio::task::JoinSet;

const USAGE: &str = "say what to watch: conformance [--write PAGE] http://HOST/live/NAME/index.m3u8 [SECONDS] (or https, or an MPD; or several, as NAME=URL)";

struct Asked {
    /// With the name of its column, if it has one.
    urls: Vec<(String, String)>,
    length: Duration,
    page: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some(Asked { urls, length, page }) = asked(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    for (_, url) in &urls {
        eprintln!("watching {url} for {} s", length.as_secs());
    }
    let watched = match watched(&urls, length).await {
        Ok(watched) => watched,
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::from(2);
        }
    };
    match &watched[..] {
        [(name, report)] if name.is_empty() && page.is_none() => println!("{report}"),
        watched => println!("{}", tables(watched)),
    }
    if let Some(error) = page.and_then(|page| write(&page, &watched).err()) {
        eprintln!("{error:#}");
        return ExitCode::from(2);
    }
    let is_kept = watched.iter().all(|(_, report)| report.broken().is_empty());
    if is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn asked(mut arguments: impl Iterator<Item = String>) -> Option<Asked> {
    let (mut urls, mut seconds, mut page) = (Vec::new(), None, None);
    while let Some(argument) = arguments.next() {
        let (name, url) = argument.split_once('=').filter(|(name, _)| !name.contains('/')).unwrap_or(("", &argument));
        if argument == "--write" {
            page = Some(PathBuf::from(arguments.next()?));
        } else if url.starts_with("http://") || url.starts_with("https://") {
            urls.push((name.to_owned(), url.to_owned()));
        } else if seconds.replace(argument.parse().ok()?).is_some() {
            return None;
        }
    }
    let length = Duration::from_secs(seconds.unwrap_or(60));
    (!urls.is_empty()).then_some(Asked { urls, length, page })
}

/// All at once, in their order.
async fn watched(urls: &[(String, String)], length: Duration) -> anyhow::Result<Vec<Named>> {
    let mut watching = JoinSet::new();
    for (index, (name, url)) in urls.iter().cloned().enumerate() {
        watching.spawn(async move { Ok::<_, anyhow::Error>((index, (name, watch(&url, length).await?))) });
    }
    let mut watched = Vec::new();
    while let Some(one) = watching.join_next().await {
        watched.push(one??);
    }
    watched.sort_by_key(|(index, _)| *index);
    Ok(watched.into_iter().map(|(_, named)| named).collect())
}

fn write(page: &Path, watched: &[Named]) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(page)?;
    Ok(std::fs::write(page, written(&text, &tables(watched))?)?)
}
