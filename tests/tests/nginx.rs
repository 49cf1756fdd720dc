//! An edge in front of a directory that FFmpeg writes plain HLS into and nginx serves: nobody there knows of Vivid.

use anyhow::{Context, anyhow, bail, ensure};
use edge::Server;
use manifest::follow::{self, Class, Followed, Media};
use prometheus::Registry;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tests::get;
use tokio::process::{Child, Command};
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

/// The stream lasts eight seconds; the rest is for a machine that is shared.
const PATIENCE: Duration = Duration::from_secs(60);
const SECONDS: &str = "8";

#[tokio::test]
async fn plain_hls_of_a_directory_is_followed_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let media = folder.path().join("media");
    std::fs::create_dir(&media).unwrap();
    let (nginx, mut server) = nginx(folder.path(), &media).await.unwrap();
    let edge = edge(&nginx).unwrap();
    let mut packager = packager(&media).unwrap();

    let watched = timeout(PATIENCE, async { tokio::join!(watch(&edge, "/ts.m3u8"), watch(&edge, "/fmp4.m3u8")) });
    let (ts, fmp4) = watched.await.expect("both end");
    assert!(packager.wait().await.unwrap().success());
    let (ts, fmp4) = (ts.unwrap(), fmp4.unwrap());
    assert!(ts.versions >= 4 && fmp4.versions >= 4, "{ts:?} {fmp4:?}");
    assert!(ts.objects.len() >= 7 && fmp4.objects.contains("/init.mp4"), "{ts:?} {fmp4:?}");
    for name in ts.objects.iter().chain(&fmp4.objects) {
        let served = get(&format!("{edge}{name}")).await.unwrap();
        assert_eq!(served.body, std::fs::read(media.join(&name[1..])).unwrap(), "{name}");
    }

    server.kill().await.unwrap();
    let log = std::fs::read_to_string(folder.path().join("access.log")).unwrap();
    let asked = |name: &str| log.lines().filter(|line| line.split(' ').next() == Some(name)).count();
    for name in ts.objects.iter().chain(&fmp4.objects) {
        assert_eq!(asked(name), 1, "{name} in {log}");
    }
    // Segments of a second are polled for twice a second, whoever asks.
    assert!(asked("/ts.m3u8") < 60 && asked("/fmp4.m3u8") < 60, "{log}");
}

#[derive(Debug, Default)]
struct Watched {
    versions: usize,
    objects: BTreeSet<String>,
}

/// Three viewers that ask for whatever is new, until the playlist has ended.
async fn watch(edge: &str, path: &str) -> anyhow::Result<Watched> {
    let mut watched = Watched::default();
    let mut last: Option<Media> = None;
    let mut look = interval(Duration::from_millis(50));
    loop {
        look.tick().await;
        let answer = get(&format!("{edge}{path}")).await?;
        if answer.status == 404 && last.is_none() {
            continue;
        }
        ensure!(answer.status == 200, "{path}: {} {}", answer.status, answer.text());
        let Followed::Media(media) = follow::read(&answer.text())? else { bail!("{}", answer.text()) };
        let before = last.as_ref().map_or(0, |last| last.head.next.msn);
        ensure!(media.head.next.msn >= before, "{path} goes backwards");
        watched.versions += usize::from(media.head.next.msn > before);
        for object in media.objects.iter().filter(|object| matches!(object.class, Class::Init | Class::Segment)) {
            let name = format!("/{}", object.uri);
            let url = format!("{edge}{name}");
            if watched.objects.insert(name) {
                let answers = tokio::join!(get(&url), get(&url), get(&url));
                for answer in [answers.0?, answers.1?, answers.2?] {
                    ensure!(answer.status == 200 && !answer.body.is_empty(), "{url}: {}", answer.status);
                }
            }
        }
        if media.head.ended {
            return Ok(watched);
        }
        last = Some(media);
    }
}

/// One picture, as MPEG-TS and as fragmented MP4, in segments of a second; the last four are listed.
fn packager(media: &Path) -> anyhow::Result<Child> {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-re", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"]);
    for (name, kind, segment) in [("ts.m3u8", "mpegts", "ts%d.ts"), ("fmp4.m3u8", "fmp4", "fmp4-%d.m4s")] {
        command.args(["-t", SECONDS, "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "25"]);
        command.args(["-f", "hls", "-hls_time", "1", "-hls_list_size", "4", "-hls_flags", "temp_file"]);
        command.args(["-hls_segment_type", kind, "-hls_segment_filename", segment, name]);
    }
    let command = command.current_dir(media).stdin(Stdio::null()).kill_on_drop(true);
    command.spawn().context("ffmpeg does not start; scripts/need ffmpeg-cli installs it")
}

/// nginx with nothing but a directory; its log says the path of each request.
async fn nginx(folder: &Path, media: &Path) -> anyhow::Result<(String, Child)> {
    let addr = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let (at, media) = (folder.display(), media.display());
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {at}/{kind};\n"))
        .collect();
    let text = format!(
        "daemon off;\nmaster_process off;\npid {at}/nginx.pid;\nerror_log {at}/error.log;\nevents {{}}\nhttp {{\n{temporary}\
         log_format path '$uri $status';\naccess_log {at}/access.log path;\n\
         types {{ application/vnd.apple.mpegurl m3u8; video/mp2t ts; video/mp4 mp4 m4s; }}\n\
         server {{ listen {addr}; root {media}; }}\n}}\n"
    );
    let config = folder.join("nginx.conf");
    std::fs::write(&config, text)?;
    let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("nginx");
    command.env("PATH", path).arg("-e").arg(folder.join("error.log")).arg("-c").arg(&config).arg("-p").arg(folder);
    let child = command.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn();
    let child = child.context("nginx does not start; scripts/need nginx installs it")?;
    let mut look = interval(Duration::from_millis(20));
    let up = async {
        while tokio::net::TcpStream::connect(addr).await.is_err() {
            look.tick().await;
        }
    };
    timeout(PATIENCE, up).await.context("nginx does not listen")?;
    Ok((format!("http://{addr}"), child))
}

fn edge(upstream: &str) -> anyhow::Result<String> {
    let text = format!("[edge]\nname = \"edge\"\nlisten = \"127.0.0.1:0\"\n[edge.upstream]\nurl = \"{upstream}\"\n");
    let config =
        config::Config::parse(&text, []).map_err(|problems| anyhow!("{problems:?}"))?.edge.context("an edge")?;
    let server = Server::bind(config, &Registry::new())?;
    let url = format!("http://{}", server.addr());
    tokio::spawn(server.run(CancellationToken::new()));
    Ok(url)
}
