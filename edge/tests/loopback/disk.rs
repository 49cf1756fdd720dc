//! The cache on disk: what a restart leaves, and every way in which a disk may fail. Nobody ever gets a wrong byte of it.

use crate::support::{Asked, Fake, Got, Node, Origin, RENDITION, Said, Viewer, config, in_time, until};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

const TOKEN: &str = "0123456789abcdef";
/// More than one block, and not a multiple of it.
const BYTES: usize = 300_000;

/// Films that say their name all over; what is in `/reel/` is tagged so.
async fn films(cache_control: &'static str) -> Fake {
    Fake::start(move |asked: Asked| {
        let fields = vec![
            ("Cache-Control", cache_control.to_owned()),
            ("ETag", "\"v1\"".to_owned()),
            ("Cache-Tag", if asked.target.starts_with("/reel/") { "reel" } else { "other" }.to_owned()),
        ];
        let said = if asked.head.to_lowercase().contains("\r\nif-none-match: \"v1\"") {
            Said::Whole(304, fields, Vec::new())
        } else {
            Said::Whole(200, fields, film(&asked.target))
        };
        Box::pin(std::future::ready(said))
    })
    .await
}

fn film(name: &str) -> Vec<u8> {
    name.bytes().enumerate().cycle().zip(0..BYTES).map(|((at, letter), byte)| letter ^ (byte / 7 + at) as u8).collect()
}

fn keeping(upstream: SocketAddr, folder: &Path) -> config::Edge {
    let mut config = config("edge", upstream);
    config.purge.token = Some(TOKEN.to_owned());
    config.disk.path = Some(folder.to_owned());
    config.disk.object_bytes_min = 0;
    config.disk.retry = Duration::from_millis(10);
    config
}

/// The same with no memory to speak of: what is not on disk is asked for upstream.
fn keeping_only_there(upstream: SocketAddr, folder: &Path) -> config::Edge {
    config::Edge { cache_bytes_max: 1, ..keeping(upstream, folder) }
}

async fn start(config: config::Edge) -> Node {
    let edge = Node::with(config);
    until(|| edge.metric("vivid_edge_disk_listing", &[]) == 0.0, "the folder is listed").await;
    edge
}

fn reads(edge: &Node, outcome: &str) -> f64 {
    edge.metric("vivid_edge_disk_reads_total", &[outcome])
}

async fn written(edge: &Node, count: f64) {
    edge.until("vivid_edge_disk_writes_total", &["written"], count).await;
    edge.until("vivid_edge_disk_files", &[], 1.0).await;
}

/// The objects in the folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let below = fs::read_dir(folder).unwrap().flatten().filter(|entry| entry.path().is_dir());
    below.flat_map(|entry| fs::read_dir(entry.path()).unwrap().flatten()).map(|entry| entry.path()).collect()
}

/// Asks until memory, which drops what it has no room for a moment later, does not have it.
async fn beyond_memory(edge: &Node, name: &str) -> String {
    let mut viewer = Viewer::connect(edge.addr).await;
    let asking = async {
        loop {
            let got = viewer.get(name).await;
            assert!(got.body == film(name), "{name}");
            if got.field("cache-status") != "edge; hit" {
                return got.field("cache-status").to_owned();
            }
        }
    };
    in_time(asking).await
}

async fn purge(edge: &Node, body: &str) -> Got {
    let mut admin = Viewer::connect(edge.addr).await;
    let head = format!("POST /_vivid/purge HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n");
    admin.send(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await;
    admin.read().await.unwrap()
}

#[tokio::test]
async fn a_node_that_starts_again_serves_without_upstream() {
    let (fake, folder) = (films("max-age=3600").await, TempDir::new().unwrap());
    let edge = start(keeping(fake.addr, folder.path())).await;
    for name in ["/film/a", "/film/b"] {
        assert_eq!(edge.get(name).await.body, film(name));
    }
    written(&edge, 2.0).await;
    edge.stop().await;
    fake.die().await;

    let again = start(keeping(crate::support::nobody(), folder.path())).await;
    assert_eq!(again.metric("vivid_edge_disk_files", &[]), 2.0);
    for name in ["/film/a", "/film/b"] {
        let got = again.get(name).await;
        assert_eq!((got.field("cache-status"), got.body == film(name)), ("edge; hit; detail=disk", true));
        assert_eq!((got.field("etag"), got.field("cache-control")), ("\"v1\"", "max-age=3600"));
        assert_eq!(again.get(name).await.field("cache-status"), "edge; hit", "it is in memory now");
    }
    assert_eq!((reads(&again, "hit"), again.metric("vivid_edge_lookups_total", &["disk"])), (2.0, 2.0));
    let mut viewer = Viewer::connect(again.addr).await;
    let part = viewer.get_with("/film/b", "Range: bytes=299990-\r\n").await;
    assert_eq!((part.status, &part.body[..]), (206, &film("/film/b")[299_990..]));
}

#[tokio::test]
async fn pieces_of_a_large_object_are_kept_too() {
    let body = film("/long");
    let whole = body.clone();
    let fake = Fake::start(move |asked| {
        let mut fields: Vec<_> = [("Accept-Ranges", "bytes"), ("ETag", "\"v1\""), ("Cache-Control", "max-age=3600")]
            .map(|(name, value)| (name, value.to_owned()))
            .into();
        let range = asked
            .head
            .lines()
            .find_map(|line| line.strip_prefix("Range: bytes=").or_else(|| line.strip_prefix("range: bytes=")));
        let said = match range.and_then(|range| range.split_once('-')) {
            Some((first, last)) => {
                fields.push(("Content-Range", format!("bytes {first}-{last}/{BYTES}")));
                Said::Whole(206, fields, whole[first.parse().unwrap()..=last.parse().unwrap()].to_vec())
            }
            None => Said::Whole(200, fields, whole.clone()),
        };
        Box::pin(std::future::ready(said))
    })
    .await;
    let folder = TempDir::new().unwrap();
    let cutting = |upstream| {
        let slices = config::Slices { bytes: 100_000, above_bytes: 100_000 };
        config::Edge { slices, ..keeping(upstream, folder.path()) }
    };
    let edge = start(cutting(fake.addr)).await;
    let mut viewer = Viewer::connect(edge.addr).await;
    assert_eq!(viewer.get_with("/long", "Range: bytes=150000-\r\n").await.body, &body[150_000..]);
    written(&edge, 3.0).await;
    edge.stop().await;
    let asked = fake.asked().len();

    let again = start(cutting(fake.addr)).await;
    let mut viewer = Viewer::connect(again.addr).await;
    assert_eq!(viewer.get_with("/long", "Range: bytes=250000-\r\n").await.body, &body[250_000..]);
    assert_eq!((fake.asked().len(), reads(&again, "hit")), (asked, 2.0), "the head and one piece");
    assert_eq!(again.get("/long").await.body, body);
    assert_eq!(fake.asked().len(), asked + 1, "the first piece was never asked for before");
    assert_eq!(purge(&again, r#"{"urls": ["/long"]}"#).await.text(), "{\"purged\":1}\n");
    assert!(files(folder.path()).is_empty());
}

#[tokio::test]
async fn no_wrong_byte_of_a_file_is_shown() {
    type Harm = fn(&mut Vec<u8>);
    let harms: [(&str, Harm, bool); 6] = [
        ("cut short", |file| file.truncate(file.len() - 1), true),
        ("cut in its head", |file| file.truncate(100), true),
        ("empty", Vec::clear, true),
        ("its head changed", |file| file[60] ^= 1, true),
        (
            "its first block changed",
            |file| {
                let at = file.len() - BYTES + 1000;
                file[at] ^= 1;
            },
            false,
        ),
        ("its last block changed", |file| *file.last_mut().unwrap() ^= 1, false),
    ];
    for (name, harm, found_by_listing) in harms {
        let (fake, folder) = (films("max-age=3600").await, TempDir::new().unwrap());
        let edge = start(keeping(fake.addr, folder.path())).await;
        edge.get("/film").await;
        written(&edge, 1.0).await;
        edge.stop().await;
        let [file] = &files(folder.path())[..] else { panic!("one file") };
        let mut bytes = fs::read(file).unwrap();
        harm(&mut bytes);
        fs::write(file, bytes).unwrap();

        let again = start(keeping(fake.addr, folder.path())).await;
        assert_eq!(reads(&again, "corrupt") == 1.0, found_by_listing, "{name}");
        assert_eq!(again.get("/film").await.body, film("/film"), "{name}");
        assert_eq!((reads(&again, "corrupt"), fake.asked().len()), (1.0, 2), "{name}");
        until(|| !file.exists(), "the file is deleted").await;
    }
}

#[tokio::test]
async fn what_was_being_written_when_a_node_died_is_swept() {
    let (fake, folder) = (films("max-age=3600").await, TempDir::new().unwrap());
    let (partial, other) = (folder.path().join("ab/00000000000000ab#1"), folder.path().join("notes/read me#1"));
    for path in [&partial, &other] {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "half").unwrap();
    }
    let edge = start(keeping(fake.addr, folder.path())).await;
    assert!(!partial.exists() && other.exists(), "only what is its own");
    assert_eq!(edge.get("/film").await.status, 200);
}

#[tokio::test]
async fn what_is_stale_on_disk_is_confirmed_upstream_or_stands_in_for_it() {
    for cache_control in ["no-cache", "max-age=0, stale-if-error=60"] {
        let (fake, folder) = (films(cache_control).await, TempDir::new().unwrap());
        let mut config = keeping(fake.addr, folder.path());
        config.disk.lifetime_min = Duration::ZERO;
        let edge = start(config.clone()).await;
        edge.get("/film").await;
        written(&edge, 1.0).await;
        edge.stop().await;
        let again = start(config.clone()).await;
        assert_eq!(again.get("/film").await.body, film("/film"));
        assert_eq!((again.metric("vivid_edge_fills_total", &["confirmed"]), fake.asked().len()), (1.0, 2));
        again.stop().await;
        fake.die().await;
        let alone = start(config).await;
        let got = alone.get("/film").await;
        let shown = if cache_control == "no-cache" { 502 } else { 200 };
        assert_eq!(got.status, shown, "{cache_control}");
    }
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_costs_nobody_anything_and_is_tried_again() {
    let (fake, folder) = (films("max-age=3600").await, TempDir::new().unwrap());
    // Root may write where others may not; nobody can write below a file.
    let blocked: Vec<_> = (0..=0xff).map(|byte| folder.path().join(format!("{byte:02x}"))).collect();
    blocked.iter().for_each(|path| fs::write(path, "").unwrap());
    let edge = start(keeping(fake.addr, folder.path())).await;
    assert_eq!(edge.get("/a").await.body, film("/a"));
    edge.until("vivid_edge_disk_failing", &[], 1.0).await;
    edge.until("vivid_edge_disk_writes_total", &["failed"], 1.0).await;
    assert_eq!(edge.get("/a").await.field("cache-status"), "edge; hit", "memory serves");
    blocked.iter().for_each(|path| fs::remove_file(path).unwrap());
    let mut names = (0..).map(|number| format!("/{number}"));
    while edge.metric("vivid_edge_disk_writes_total", &["written"]) == 0.0 {
        let name = names.next().unwrap();
        assert_eq!(edge.get(&name).await.body, film(&name));
    }
    until(|| edge.metric("vivid_edge_disk_failing", &[]) == 0.0, "it is said that the disk is well").await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_had_costs_nobody_anything_and_is_tried_again() {
    let (fake, above) = (films("max-age=3600").await, TempDir::new().unwrap());
    let folder = above.path().join("cache");
    fs::write(&folder, "a file").unwrap();
    let edge = Node::with(keeping(fake.addr, &folder));
    edge.until("vivid_edge_disk_failing", &[], 1.0).await;
    assert_eq!(edge.get("/a").await.body, film("/a"));
    fs::remove_file(&folder).unwrap();
    until(|| edge.metric("vivid_edge_disk_listing", &[]) == 0.0, "the folder is made").await;
    assert_eq!(edge.get("/b").await.body, film("/b"));
    written(&edge, 1.0).await;
    assert_eq!(edge.metric("vivid_edge_disk_failing", &[]), 0.0);
}

#[tokio::test]
async fn one_node_keeps_a_folder_and_the_next_one_waits_for_it() {
    let (fake, folder) = (films("max-age=3600").await, TempDir::new().unwrap());
    let old = start(keeping(fake.addr, folder.path())).await;
    old.get("/film").await;
    written(&old, 1.0).await;
    let new = Node::with(keeping(fake.addr, folder.path()));
    assert_eq!(new.get("/other").await.status, 200);
    assert_eq!(new.metric("vivid_edge_disk_listing", &[]), 1.0);
    old.hand_over();
    old.gone().await;
    until(|| new.metric("vivid_edge_disk_listing", &[]) == 0.0, "the folder is the successor's").await;
    assert_eq!(new.get("/film").await.field("cache-status"), "edge; hit; detail=disk");
}

#[tokio::test]
async fn the_bound_in_bytes_holds() {
    let (fake, folder) = (films("max-age=3600").await, TempDir::new().unwrap());
    let mut config = keeping_only_there(fake.addr, folder.path());
    (config.disk.bytes_max, config.disk.object_bytes_max) = (2_000_000, 400_000);
    let edge = start(config.clone()).await;
    for number in 0..20 {
        let name = format!("/{number}");
        assert_eq!(edge.get(&name).await.body, film(&name));
        edge.until("vivid_edge_disk_writes_total", &["written"], f64::from(number + 1)).await;
        let bytes: u64 = files(folder.path()).iter().filter_map(|file| Some(file.metadata().ok()?.len())).sum();
        assert!(bytes <= 2_000_000, "{bytes} bytes after {number}");
    }
    assert!(edge.metric("vivid_edge_disk_bytes", &[]) <= 1_600_000.0);
    edge.stop().await;
    config.disk.bytes_max = 1_000_000;
    let again = start(config).await;
    assert_eq!(again.metric("vivid_edge_disk_files", &[]), files(folder.path()).len() as f64);
    assert_eq!(files(folder.path()).len(), 1, "a smaller bound holds from the start");
}

#[tokio::test]
async fn only_what_is_worth_it_is_written() {
    let (fake, folder) = (films("max-age=59").await, TempDir::new().unwrap());
    let short_lived = start(keeping(fake.addr, folder.path())).await;
    short_lived.get("/film").await;
    let (fake, other) = (films("max-age=3600").await, TempDir::new().unwrap());
    let mut config = keeping(fake.addr, other.path());
    config.disk.object_bytes_min = BYTES as u64 + 1;
    let small = start(config.clone()).await;
    small.get("/film").await;
    let third = TempDir::new().unwrap();
    (config.disk.path, config.disk.object_bytes_min) = (Some(third.path().to_owned()), 0);
    config.disk.queue_bytes_max = BYTES as u64;
    let narrow = start(config).await;
    narrow.get("/film").await;
    assert_eq!(narrow.metric("vivid_edge_bounds_total", &["disk_queue_bytes_max"]), 1.0);
    for edge in [short_lived, small, narrow] {
        edge.stop().await;
    }
    assert!([folder, other, third].iter().all(|folder| files(folder.path()).is_empty()));
}

#[tokio::test]
async fn a_purge_reaches_the_disk() {
    for (body, purged) in [
        (r#"{"urls": ["/reel/1"]}"#, 1),
        (r#"{"prefixes": ["/reel/"]}"#, 2),
        (r#"{"tags": ["reel"], "soft": true}"#, 2),
    ] {
        let (fake, folder) = (films("max-age=3600").await, TempDir::new().unwrap());
        let edge = start(keeping_only_there(fake.addr, folder.path())).await;
        let all = ["/reel/1", "/reel/2", "/film"];
        for name in all {
            edge.get(name).await;
        }
        written(&edge, 3.0).await;
        assert_eq!(purge(&edge, body).await.text(), format!("{{\"purged\":{purged}}}\n"), "{body}");
        assert_eq!(files(folder.path()).len(), 3 - purged, "{body}");
        edge.stop().await;
        let again = start(keeping(fake.addr, folder.path())).await;
        let asked = fake.asked().len();
        for name in all {
            again.get(name).await;
        }
        assert_eq!(fake.asked().len() - asked, purged, "{body}");
    }
}

#[tokio::test]
async fn an_object_in_memory_and_on_disk_is_purged_once() {
    let (fake, folder) = (films("max-age=3600").await, TempDir::new().unwrap());
    let edge = start(keeping(fake.addr, folder.path())).await;
    for name in ["/reel/1", "/reel/2"] {
        edge.get(name).await;
    }
    written(&edge, 2.0).await;
    assert_eq!(purge(&edge, r#"{"prefixes": ["/reel/"], "urls": ["/film"]}"#).await.text(), "{\"purged\":2}\n");
    assert_eq!(edge.metric("vivid_edge_disk_files", &[]), 0.0);
}

#[tokio::test]
async fn a_purge_means_files_that_are_not_listed_yet() {
    for body in [r#"{"urls": ["/reel/1"]}"#, r#"{"prefixes": ["/reel/"]}"#, r#"{"tags": ["reel"]}"#] {
        let (fake, folder) = (films("max-age=3600").await, TempDir::new().unwrap());
        let edge = start(keeping(fake.addr, folder.path())).await;
        edge.get("/reel/1").await;
        edge.get("/film").await;
        written(&edge, 2.0).await;
        edge.stop().await;
        let lock = fs::File::options().write(true).open(folder.path().join("lock")).unwrap();
        lock.lock().unwrap();
        let again = Node::with(keeping(fake.addr, folder.path()));
        let (purged, ()) = in_time(async {
            tokio::join!(purge(&again, body), async {
                // Every other request is answered meanwhile.
                assert_eq!(again.get("/reel/2").await.status, 200);
                drop(lock);
            })
        })
        .await;
        assert_eq!((purged.status, purged.text().as_str()), (200, "{\"purged\":1}\n"), "{body}");
        let asked = fake.asked().len();
        assert_eq!(again.get("/film").await.field("cache-status"), "edge; hit; detail=disk");
        again.get("/reel/1").await;
        assert_eq!(fake.asked().len(), asked + 1, "{body}");
    }
}

#[tokio::test]
async fn more_purges_than_are_remembered_while_files_are_listed_mean_all_of_them() {
    let (fake, folder) = (films("max-age=3600").await, TempDir::new().unwrap());
    let edge = start(keeping(fake.addr, folder.path())).await;
    edge.get("/film").await;
    written(&edge, 1.0).await;
    edge.stop().await;
    let lock = fs::File::options().write(true).open(folder.path().join("lock")).unwrap();
    lock.lock().unwrap();
    let again = Node::with(keeping(fake.addr, folder.path()));
    let many: Vec<_> = (0..70).map(|number| format!("{{\"urls\": [\"/other/{number}\"]}}")).collect();
    let purging = futures_util::future::join_all(many.iter().map(|body| purge(&again, body)));
    let release = async {
        again.until("vivid_edge_bounds_total", &["disk_purges_max"], 6.0).await;
        drop(lock);
    };
    let (purged, ()) = in_time(async { tokio::join!(purging, release) }).await;
    assert!(purged.iter().all(|got| got.status == 200));
    assert!(files(folder.path()).is_empty());
}

#[tokio::test]
async fn a_disk_that_hangs_is_passed_by() {
    let (fake, folder) = (films("max-age=3600").await, TempDir::new().unwrap());
    let mut config = keeping_only_there(fake.addr, folder.path());
    (config.disk.read_timeout, config.disk.reads_max) = (Duration::from_millis(500), 1);
    let edge = start(config).await;
    edge.get("/film").await;
    written(&edge, 1.0).await;
    assert_eq!(beyond_memory(&edge, "/film").await, "edge; hit; detail=disk");
    // A pipe that nobody writes to is as slow as a disk can be.
    let [file] = &files(folder.path())[..] else { panic!("one file") };
    let pipe = folder.path().join("pipe");
    let name = std::ffi::CString::new(pipe.as_os_str().as_bytes()).unwrap();
    // SAFETY: a path that ends in a zero byte.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    fs::remove_file(file).unwrap();
    fs::hard_link(&pipe, file).unwrap();
    assert_eq!(beyond_memory(&edge, "/film").await, "edge; fwd=miss; stored");
    assert_eq!(edge.metric("vivid_edge_bounds_total", &["disk_read_timeout"]), 1.0);
    edge.until("vivid_edge_disk_writes_total", &["written"], 2.0).await;
    until(|| !file.exists(), "its successor is listed").await;
    // Nobody waits for a disk that has all its places taken.
    assert_eq!(beyond_memory(&edge, "/film").await, "edge; fwd=miss; stored");
    assert_eq!((edge.metric("vivid_edge_bounds_total", &["disk_reads_max"]), fake.asked().len()), (1.0, 3));
    drop(fs::File::options().write(true).open(&pipe).unwrap());
    until(|| edge.metric("vivid_edge_disk_writes_total", &["written"]) >= 3.0, "the last answer is written").await;
    let back = async { while beyond_memory(&edge, "/film").await != "edge; hit; detail=disk" {} };
    in_time(back).await;
}

/// One stream beside films of ten times what memory and disk hold together.
#[tokio::test]
async fn what_is_live_is_never_evicted_and_never_on_disk() {
    let origin = Origin::at(100, 1);
    let live = origin.clone();
    let fake = Fake::start(move |asked: Asked| {
        let live = live.clone();
        Box::pin(async move {
            if !asked.target.starts_with("/film/") {
                return live.answer(asked).await;
            }
            let fields = vec![("Cache-Control", "max-age=3600".to_owned())];
            Said::Whole(200, fields, film(&asked.target))
        })
    })
    .await;
    let folder = TempDir::new().unwrap();
    let mut config = config::Edge { cache_bytes_max: 1_000_000, ..keeping(fake.addr, folder.path()) };
    (config.disk.bytes_max, config.disk.object_bytes_max) = (2_000_000, 400_000);
    let edge = start(config).await;
    let mut films = (0..).map(|number| format!("/film/{number}"));
    let (mut first, mut second) = (Viewer::connect(edge.addr).await, Viewer::connect(edge.addr).await);
    assert_eq!(first.get(RENDITION).await.status, 200);
    let rounds = 14;
    for _ in 0..rounds {
        let at = origin.next();
        first.ask(&format!("{RENDITION}?_HLS_msn={}&_HLS_part={}", at.msn, at.part), "").await;
        edge.until("vivid_edge_holds", &[], 1.0).await;
        origin.advance();
        assert_eq!(first.read().await.unwrap().text(), origin.playlist());
        let part = format!("/live/test/720p/e1/{}.{}.m4s", at.msn, at.part);
        let fresh = first.get(&part).await;
        assert_eq!(fresh.status, 200);
        for name in films.by_ref().take(8) {
            assert_eq!(second.get(&name).await.body, film(&name));
        }
        assert_eq!(second.get(&part).await.body, fresh.body, "a viewer behind finds what one ahead had");
    }
    let bytes = (rounds * 8 * BYTES) as u64;
    assert!(bytes >= 10 * 3_000_000, "{bytes}");
    let media: Vec<_> =
        fake.asked().into_iter().map(|asked| asked.target).filter(|name| name.ends_with(".m4s")).collect();
    let mut once = media.clone();
    once.sort();
    once.dedup();
    assert_eq!(media.len(), once.len(), "upstream was asked once for each: {media:?}");
    assert!(media.len() >= rounds, "{media:?}");
    let next = format!("{}.{}.m4s", origin.next().msn, origin.next().part);
    for name in media.iter().filter(|name| !name.ends_with(&next)) {
        assert!(matches!(first.get(name).await.field("cache-status"), "edge; hit"), "{name}");
    }
    assert!(edge.metric("vivid_edge_disk_writes_total", &["written"]) > 0.0);
    // From here on no file goes.
    edge.stop().await;
    for file in files(folder.path()) {
        let bytes = fs::read(file).unwrap();
        assert!(!String::from_utf8_lossy(&bytes[..400]).contains("/live/"), "a live object is on disk");
    }
}
