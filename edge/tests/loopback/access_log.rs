//! The access log: what is written of whom, and that nobody ever waits for it.

use crate::support::{Asked, Fake, PATIENCE};
use crate::support::{Node, Origin, RENDITION, Viewer, config, in_time, nobody, text, until, whole};
use h2::client;
use http::Request;
use serde_json::Value;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use tempfile::TempDir;

const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn logging(mut config: config::Edge, folder: &TempDir) -> config::Edge {
    config.access_log.to = Some(config::LogTarget::File(folder.path().join("access.log")));
    config
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn written(edge: &Node, lines: usize) {
    edge.until("vivid_edge_access_log_lines_total", &["written"], lines as f64).await;
}

#[tokio::test]
async fn a_line_says_what_a_viewer_had() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::at(100, 1);
    let fake = origin.start().await;
    let edge = Node::with(logging(config("edge", fake.addr), &folder));
    let mut viewer = Viewer::connect(edge.addr).await;
    let fields = "User-Agent: a \"player\"\r\nCMCD-Session: sid=\"s-1\",v=1\r\n";
    viewer.get_with(RENDITION, fields).await;
    viewer.ask(&format!("{RENDITION}?_HLS_msn=100&_HLS_part=1"), fields).await;
    edge.until("vivid_edge_holds", &[], 1.0).await;
    origin.advance();
    let held = viewer.read().await.unwrap();
    let part = viewer.get("/live/test/720p/e1/100.1.m4s?CMCD=sid%3D%22s-2%22").await;
    assert_eq!(viewer.get(&format!("{RENDITION}?_HLS_msn=900")).await.status, 400);
    viewer.get("/_vivid/readyz").await;
    viewer.ask(&format!("{RENDITION}?_HLS_msn=100&_HLS_part=2"), "").await;
    edge.until("vivid_edge_holds", &[], 1.0).await;
    drop(viewer);
    written(&edge, 5).await;
    let lines = lines(&folder.path().join("access.log"));
    let of = |at: usize, key: &str| lines[at][key].clone();
    let status: Vec<_> = (0..5).map(|at| of(at, "status")).collect();
    assert_eq!(status, [200.into(), 200.into(), 200.into(), 400.into(), Value::Null]);
    let ends: Vec<_> = (0..5).map(|at| of(at, "end")).collect();
    assert_eq!(ends, ["sent", "sent", "sent", "sent", "left"]);
    assert_eq!((of(1, "cache"), of(3, "cache"), of(3, "reason")), ("held".into(), "refused".into(), "too-far".into()));
    assert_eq!((of(1, "bytes"), of(2, "bytes")), (held.body.len().into(), part.body.len().into()));
    assert!(of(1, "held_ms").as_f64().unwrap() > 0.0 && of(2, "held_ms") == 0.0);
    let ms = |key| of(1, key).as_f64().unwrap();
    assert!(ms("held_ms") <= ms("first_byte_ms") && ms("first_byte_ms") <= ms("duration_ms"), "{}", lines[1]);
    for (key, expected) in [
        ("method", "GET".into()),
        ("path", RENDITION.into()),
        ("stream", "/live/test".into()),
        ("address", "127.0.0.0".into()),
        ("upstream", format!("http://{}", fake.addr).into()),
        ("protocol", "http/1.1".into()),
        ("tls", Value::Null),
        ("agent", "a \"player\"".into()),
        ("session", "s-1".into()),
    ] {
        assert_eq!(of(1, key), expected, "{key}");
    }
    assert_eq!((of(2, "session"), of(2, "upstream")), ("s-2".into(), format!("http://{}", fake.addr).into()));
}

#[tokio::test]
async fn streams_of_http2_are_lines_too() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Origin::at(100, 1).start().await;
    let edge = Node::with(logging(config("edge", fake.addr), &folder));
    let socket = tokio::net::TcpStream::connect(edge.addr).await.unwrap();
    let (mut requests, connection) = client::handshake(socket).await.unwrap();
    let connection = tokio::spawn(connection);
    let ask =
        |target: &str| Request::get(format!("http://edge{target}")).header("user-agent", "framed").body(()).unwrap();
    let (response, _) = requests.send_request(ask(RENDITION), true).unwrap();
    let mut body = in_time(response).await.unwrap().into_body();
    let mut bytes = 0;
    while let Some(data) = in_time(body.data()).await {
        bytes += data.unwrap().len();
    }
    written(&edge, 1).await;
    let _held = requests.send_request(ask(&format!("{RENDITION}?_HLS_msn=100&_HLS_part=1")), true).unwrap();
    edge.until("vivid_edge_holds", &[], 1.0).await;
    connection.abort();
    written(&edge, 2).await;
    let lines = lines(&folder.path().join("access.log"));
    assert_eq!(
        (&lines[0]["protocol"], &lines[0]["agent"], &lines[0]["end"]),
        (&"h2".into(), &"framed".into(), &"sent".into())
    );
    assert_eq!(lines[0]["bytes"], bytes);
    assert_eq!((&lines[1]["status"], &lines[1]["end"]), (&Value::Null, &"left".into()));
}

#[tokio::test]
async fn no_secret_is_ever_written() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(|_: Asked| Box::pin(std::future::ready(whole("text/plain", "fine")))).await;
    let keys = format!("[edge]\n[edge.access]\nurl_keys = [{{ id = \"a\", secret = \"{SECRET}\" }}]\n");
    let guarded = config::Config::parse(&keys, []).unwrap().edge.unwrap().access;
    for (at, access) in [guarded, config("edge", fake.addr).access].into_iter().enumerate() {
        let mut config = logging(config("edge", fake.addr), &folder);
        config.access = access;
        let edge = Node::with(config);
        let mut asked = 0;
        for (target, fields) in [
            ("/live/a/index.m3u8?token=SECRET", ""),
            ("/live/a/index.m3u8?_HLS_msn=1&CAT=SECRET&x", ""),
            ("/live/a/index.m3u8?Cat=SECRET&%74oken=SECRET", ""),
            ("/~SECRET/live/a/index.m3u8", ""),
            ("/%7eSECRET/live/a/index.m3u8?token=SECRET", ""),
            ("/~SECRET", ""),
            ("/a/../~SECRET/~SECRET/b", ""),
            ("/hdnts=exp=1~hmac=SECRET/b", ""),
            ("http://user:SECRET@edge/a?SECRET", ""),
            ("/a?Policy=SECRET&Signature=SECRET", ""),
            ("/a", "CTA-Common-Access-Token: SECRET\r\n"),
            ("/a", "Cookie: token=SECRET; CTA-Common-Access-Token=SECRET\r\n"),
            ("/a", "Authorization: Bearer SECRET\r\nReferer: http://x/?token=SECRET\r\n"),
        ] {
            Viewer::connect(edge.addr).await.get_with(target, fields).await;
            asked += 1;
        }
        written(&edge, asked).await;
        let text = std::fs::read_to_string(folder.path().join("access.log")).unwrap();
        assert!(!text.contains("SECRET"), "{text}");
        let of_the_stream = text.matches("\"stream\":\"/live/a\"").count();
        assert_eq!(of_the_stream, 5 * (at + 1), "a token is no part of the stream's name: {text}");
        edge.stop().await;
    }
}

#[tokio::test]
async fn the_sample_is_what_it_says_and_errors_are_always_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(|asked: Asked| {
        let said = if asked.target.contains("bad") { text(500, "bad") } else { whole("text/plain", "fine") };
        Box::pin(std::future::ready(said))
    })
    .await;
    for (percent, errors, fine, bad) in [(0.0, true, 0..=0, 10), (0.0, false, 0..=0, 0), (25.0, true, 20..=80, 10)] {
        let mut config = logging(config("edge", fake.addr), &folder);
        config.access_log.sample_percent = percent;
        config.access_log.sample_by = config::SampleBy::Request;
        config.access_log.errors = errors;
        let edge = Node::with(config);
        let mut viewer = Viewer::connect(edge.addr).await;
        for at in 0..200 {
            viewer.get(&format!("/fine/{at}")).await;
        }
        for at in 0..10 {
            assert_eq!(viewer.get(&format!("/bad/{at}")).await.status, 500);
        }
        edge.stop().await;
        let lines = lines(&folder.path().join("access.log"));
        let count = |status: u64| lines.iter().filter(|line| line["status"] == status).count();
        assert!(fine.contains(&count(200)), "{percent} %: {}", count(200));
        assert_eq!(count(500), bad, "{percent} %");
        std::fs::remove_file(folder.path().join("access.log")).unwrap();
    }
}

#[tokio::test]
async fn a_file_that_is_moved_away_loses_no_line() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(|_: Asked| Box::pin(std::future::ready(whole("text/plain", "fine")))).await;
    let edge = Node::with(logging(config("edge", fake.addr), &folder));
    let (log, old, older) =
        (folder.path().join("access.log"), folder.path().join("access.log.1"), folder.path().join("access.log.2"));
    let mut viewer = Viewer::connect(edge.addr).await;
    for at in 0..300 {
        match at {
            100 => std::fs::rename(&log, &older).unwrap(),
            200 => {
                // The file of the second hundred must be there before it can be moved.
                until(|| log.exists(), "a new file").await;
                std::fs::rename(&log, &old).unwrap();
            }
            _ => {}
        }
        viewer.get(&format!("/{at}")).await;
    }
    edge.stop().await;
    let mut paths: Vec<String> = [&older, &old, &log]
        .into_iter()
        .flat_map(|path| lines(path))
        .map(|line| line["path"].as_str().unwrap()[1..].to_owned())
        .collect();
    paths.sort_by_key(|path| path.parse::<u32>().unwrap());
    assert_eq!(paths, (0..300).map(|at| at.to_string()).collect::<Vec<_>>(), "each once");
    assert!(!lines(&log).is_empty() && !lines(&old).is_empty());
}

#[tokio::test]
async fn a_disk_that_takes_nothing_slows_no_viewer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let name = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: the name is a C string and outlives the call.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    // A pipe takes 64 KiB, and then nothing until somebody reads.
    let reader = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let fake = Fake::start(|_: Asked| Box::pin(std::future::ready(whole("text/plain", "fine")))).await;
    let mut config = logging(config("edge", fake.addr), &folder);
    config.access_log.queue_lines_max = 16;
    let edge = Node::with(config);
    let mut viewer = Viewer::connect(edge.addr).await;
    let asked = 2000;
    for _ in 0..asked {
        assert_eq!(viewer.get("/a").await.status, 200);
    }
    let dropped = edge.metric("vivid_edge_bounds_total", &["queue_lines_max"]);
    assert!(dropped > 0.0, "nothing was dropped");
    let read = tokio::task::spawn_blocking(move || read_all(reader, asked - dropped as usize));
    assert_eq!(tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap(), asked - dropped as usize);
    written(&edge, asked - dropped as usize).await;
}

/// Reads so many lines; what was dropped never comes.
fn read_all(reader: File, count: usize) -> usize {
    BufReader::new(reader).lines().take(count).map(|line| line.unwrap()).filter(|line| line.ends_with('}')).count()
}

#[tokio::test]
async fn a_path_that_cannot_be_written_is_told_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = logging(config("edge", nobody()), &folder);
    config.access_log.to = Some(config::LogTarget::File(folder.path().join("none/access.log")));
    let error = edge::Server::bind(config, &prometheus::Registry::new()).err().unwrap().to_string();
    assert!(error.contains("edge.access_log.path"), "{error}");
}
