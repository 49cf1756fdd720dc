//! Streams that have ended: video on demand at a URL that lasts, of the bytes that were live, and gone when their time is over.

use crate::clip::{Clip, Recipe};
use crate::follower::Follower;
use crate::http::Client;
use crate::players::read_whole;
use crate::process::{self, Process};
use crate::world::{World, config, send};
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::Method;
use manifest::follow::{self, Class, Followed, Media};
use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::time::Duration;
use tokio::time::{interval, timeout};

pub(crate) const TOKEN: &str = "a-token-of-16-letters";

/// Recordings in this folder, looked after all the time; windows as short as can be.
pub(crate) fn keeping(path: &Path, change: impl FnOnce(&mut config::Archive)) -> config::Origin {
    config(|config| {
        config.disk.path = Some(path.to_owned());
        config.window.length = Duration::from_secs(12);
        config.window.memory = Duration::from_secs(12);
        config.archive.enabled = true;
        config.archive.sweep = Duration::from_millis(100);
        config.archive.token = Some(TOKEN.to_owned());
        change(&mut config.archive);
    })
}

/// What a list says of a recording.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    /// `/archive/{stream}/{started}`.
    pub(crate) folder: String,
    pub(crate) bytes: u64,
    pub(crate) duration_s: f64,
    pub(crate) tier: String,
}

pub(crate) async fn list(client: &Client, path: &str) -> Vec<Listed> {
    let answer = client.get(path).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"));
    let list: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let listed = |one: &serde_json::Value| Listed {
        folder: text(&one["hls"]).trim_end_matches("/index.m3u8").to_owned(),
        bytes: one["bytes"].as_u64().unwrap(),
        duration_s: one["duration_s"].as_f64().unwrap(),
        tier: text(&one["tier"]),
    };
    list["recordings"].as_array().unwrap().iter().map(listed).collect()
}

/// Asks again and again until it is so.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let mut clock = interval(Duration::from_millis(50));
    let found = async {
        loop {
            clock.tick().await;
            if let Some(found) = look().await {
                break found;
            }
        }
    };
    timeout(Duration::from_secs(40), found).await.unwrap_or_else(|_| panic!("{what} does not come"))
}

/// The list once it is as long.
pub(crate) async fn recorded(client: &Client, count: usize) -> Vec<Listed> {
    until("a recording", async || Some(list(client, "/archive/index.json").await).filter(|list| list.len() == count))
        .await
}

pub(crate) async fn playlist(client: &Client, path: &str) -> (String, Media) {
    let answer = client.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    match follow::read(answer.text()) {
        Ok(Followed::Media(media)) => (answer.text().to_owned(), media),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn segments(media: &Media) -> Vec<String> {
    let segments = media.objects.iter().filter(|object| object.class == Class::Segment);
    segments.map(|object| object.uri.clone()).collect()
}

/// Segments that a playlist says are not there.
fn gaps(text: &str) -> Vec<String> {
    let after = text.split("#EXT-X-GAP\n").skip(1);
    after.filter_map(|lines| Some(lines.lines().find(|line| !line.starts_with('#'))?.to_owned())).collect()
}

/// Every whole segment and init section of a rendition as it is live, to the end of the stream.
pub(crate) async fn watch(client: Client, rendition: &'static str) -> (&'static str, HashMap<String, Bytes>) {
    let mut follower = Follower::join(&client, "a", rendition).await;
    let mut seen = HashMap::new();
    loop {
        let whole = |class| matches!(class, Class::Segment | Class::Init);
        for object in follower.media.objects.iter().filter(|object| whole(object.class)) {
            if !seen.contains_key(&object.uri) {
                seen.insert(object.uri.clone(), follower.bytes(&object.uri).await);
            }
        }
        if !follower.step().await {
            break (rendition, seen);
        }
    }
}

fn play_to_the_end(world: &World, clip: Clip) {
    let playing = world.play("a", clip, 5.0);
    tokio::spawn(async { drop(playing.await) });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_live_is_there_for_good_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::start(keeping(folder.path(), |_| {}));
    play_to_the_end(&world, Recipe::regular(40).clip());
    let watched = ["180p", "90p", "audio"].map(|rendition| tokio::spawn(watch(world.client.clone(), rendition)));
    let mut seen = Vec::new();
    for watched in watched {
        seen.push(watched.await.unwrap());
    }
    let client = &world.client;
    let recording = recorded(client, 1).await.remove(0);
    assert!((39.0..42.0).contains(&recording.duration_s), "{recording:?}");
    for (rendition, seen) in &seen {
        let (text, media) = playlist(client, &format!("{}/{rendition}/index.m3u8", recording.folder)).await;
        assert!(text.contains("#EXT-X-PLAYLIST-TYPE:VOD\n") && text.ends_with("#EXT-X-ENDLIST\n"), "{text}");
        for live in ["PART", "SERVER-CONTROL", "PRELOAD-HINT", "RENDITION-REPORT", "SKIP", "GAP"] {
            assert!(!text.contains(live), "{live} in {text}");
        }
        assert!(text.contains("#EXT-X-PROGRAM-DATE-TIME:"), "{text}");
        // All of it, though the window was shorter.
        assert_eq!((segments(&media).len(), seen.len()), (20, 21), "{text}");
        for (uri, bytes) in seen {
            let answer = client.get(&format!("{}/{rendition}/{uri}", recording.folder)).await;
            assert_eq!((answer.status.as_u16(), &answer.body), (200, bytes), "{uri}");
            assert_eq!(answer.header("cache-control"), "public, max-age=31536000, immutable");
        }
        let told = read_whole(&format!("http://{}{}/{rendition}/index.m3u8", world.addr, recording.folder)).await;
        assert_eq!(told.complaints, "", "{rendition}");
        assert!(told.frames >= if *rendition == "audio" { 1870 } else { 1198 }, "{rendition}: {}", told.frames);
    }
    let whole: usize = seen.iter().flat_map(|(_, seen)| seen.values()).map(Bytes::len).sum();
    assert!(recording.bytes as usize > whole, "{} of {whole}", recording.bytes);
    let answer = client.get(&format!("{}/index.mpd", recording.folder)).await;
    assert_eq!(answer.header("content-type"), "application/dash+xml");
    assert!(answer.text().contains("type=\"static\"") && answer.text().contains("mediaPresentationDuration"));
    let multivariant = client.get(&format!("{}/index.m3u8", recording.folder)).await;
    assert!(multivariant.text().contains("\n180p/index.m3u8\n"), "{}", multivariant.text());
    assert_eq!(multivariant.header("cache-control"), "public, max-age=3600");
    let (frames, _) = playlist(client, &format!("{}/90p/iframes.m3u8", recording.folder)).await;
    assert!(frames.contains("#EXT-X-I-FRAMES-ONLY\n") && frames.ends_with("#EXT-X-ENDLIST\n"), "{frames}");
    assert_eq!(frames.matches("#EXT-X-BYTERANGE:").count(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_recordings_are_those_of_files() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::start(keeping(folder.path(), |_| {}));
    play_to_the_end(&world, Recipe::regular(6).clip());
    let client = &world.client;
    let recording = recorded(client, 1).await.remove(0);
    let (_, media) = playlist(client, &format!("{}/180p/index.m3u8", recording.folder)).await;
    let path = format!("{}/180p/{}", recording.folder, segments(&media)[1]);
    check_file(client, &path).await;
    for file in ["index.m3u8", "index.mpd", "180p/index.m3u8", "180p/iframes.m3u8"] {
        check_compressed(client, &format!("{}/{file}", recording.folder)).await;
    }

    // Nothing else in the folder has a URL, and no spelling leads out of it.
    let id = recording.folder.trim_start_matches("/archive/");
    for path in [
        format!("/archive/{id}/journal"),
        format!("/archive/{id}/recording.json"),
        format!("/archive/{id}/180p/../journal"),
        format!("/archive/{id}/..%2fgiven"),
        format!("/archive/{id}/%2e%2e/given"),
        format!("/archive/{id}/180p/%2e%2e%2fjournal"),
        format!("/archive/{id}/180p%00/index.m3u8"),
        format!("/archive/{id}/180p/x/1.m4s"),
        format!("/archive/{id}//index.m3u8"),
        format!("/archive/{id}/"),
        "/archive/a/1/index.m3u8".to_owned(),
        "/archive/..%2f..%2fetc%2fpasswd".to_owned(),
        "/archive/%ff/1/index.m3u8".to_owned(),
        "/archive/../1/index.m3u8".to_owned(),
        "/archive/a/99999999999999999999/index.m3u8".to_owned(),
        "/archive/".to_owned(),
    ] {
        let answer = client.get(&path).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    }
    assert_eq!(list(client, "/archive/a/index.json").await.len(), 1);
    assert!(list(client, "/archive/b/index.json").await.is_empty());
    assert!(list(client, &format!("/archive/index.json?before={id}")).await.is_empty());

    // Whoever has the token removes it, at once for viewers.
    let path = format!("/_vivid{}", recording.folder);
    assert_eq!(client.send(Method::DELETE, &path, &[]).await.status, 401);
    let with = ("authorization", &*format!("Bearer {TOKEN}"));
    assert_eq!(client.send(Method::DELETE, &path, &[with]).await.status, 200);
    assert_eq!(client.send(Method::DELETE, &path, &[with]).await.status, 404);
    assert!(list(client, "/archive/index.json").await.is_empty());
    let answer = client.get(&format!("{}/index.m3u8", recording.folder)).await;
    assert_eq!((answer.status.as_u16(), answer.text().contains("see /archive/index.json")), (404, true));
    until("the folder's end", async || (!folder.path().join(id).exists()).then_some(())).await;
    assert_eq!(world.metric("vivid_origin_archive_removed_total{reason=\"asked\"}").await, 1.0);
}

/// A playlist or an MPD for who takes gzip (Apple's authoring rules, 10.1): the same text, under a tag of its own.
async fn check_compressed(client: &Client, path: &str) {
    let whole = client.get(path).await;
    let gzip = ("accept-encoding", "gzip");
    let packed = client.send(Method::GET, path, &[gzip]).await;
    assert_eq!((packed.header("content-encoding"), packed.header("vary")), ("gzip", "Accept-Encoding"), "{path}");
    assert_eq!((whole.header("content-encoding"), whole.header("vary")), ("", "Accept-Encoding"), "{path}");
    let mut text = String::new();
    GzDecoder::new(&*packed.body).read_to_string(&mut text).unwrap();
    assert_eq!(text, whole.text(), "{path}");
    assert!(packed.body.len() < whole.body.len() && packed.header("etag") != whole.header("etag"), "{path}");
    let known = client.send(Method::GET, path, &[gzip, ("if-none-match", packed.header("etag"))]).await;
    assert_eq!((known.status.as_u16(), known.body.len()), (304, 0), "{path}");
    let head = client.send(Method::HEAD, path, &[gzip]).await;
    assert_eq!((head.header("content-encoding"), head.header("etag")), ("gzip", packed.header("etag")), "{path}");
    let part = client.send(Method::GET, path, &[gzip, ("range", "bytes=0-6")]).await;
    assert_eq!((part.status.as_u16(), part.text(), part.header("content-encoding")), (206, &whole.text()[..7], ""));
}

/// A segment: whole, by range, by its tag, its head alone.
pub(crate) async fn check_file(client: &Client, path: &str) {
    let whole = client.get(path).await;
    assert_eq!((whole.status.as_u16(), whole.header("content-type")), (200, "video/iso.segment"), "{}", whole.text());
    assert_eq!(whole.header("access-control-allow-origin"), "*");
    let (length, tag) = (whole.body.len(), whole.header("etag").to_owned());
    assert!(tag.starts_with('"') && whole.header("content-length") == length.to_string());
    let range = [("range", "bytes=100-299")];
    let part = client.send(Method::GET, path, &range).await;
    assert_eq!((part.status.as_u16(), &part.body), (206, &whole.body.slice(100..300)));
    assert_eq!(part.header("content-range"), format!("bytes 100-299/{length}"));
    let last = client.send(Method::GET, path, &[("range", "bytes=-7"), ("if-range", &tag)]).await;
    assert_eq!((last.status.as_u16(), &last.body), (206, &whole.body.slice(length - 7..)));
    let other = client.send(Method::GET, path, &[range[0], ("if-range", "\"another\"")]).await;
    assert_eq!((other.status.as_u16(), other.body.len()), (200, length));
    let beyond = client.send(Method::GET, path, &[("range", &format!("bytes={length}-"))]).await;
    assert_eq!((beyond.status.as_u16(), beyond.header("content-range")), (416, &*format!("bytes */{length}")));
    let known = client.send(Method::GET, path, &[("if-none-match", &tag)]).await;
    assert_eq!((known.status.as_u16(), known.body.len()), (304, 0));
    let head = client.send(Method::HEAD, path, &[]).await;
    assert_eq!((head.header("content-length"), head.body.len()), (&*length.to_string(), 0));
    assert_eq!(head.header("etag"), tag);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_too_late_begins_a_new_stream_beside_what_was() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::start(keeping(folder.path(), |_| {}));
    let clip = Recipe::regular(8).clip();
    play_to_the_end(&world, clip.clone());
    let client = &world.client;
    let before = recorded(client, 1).await.remove(0);
    let path = format!("{}/180p/index.m3u8", before.folder);
    let (text, media) = playlist(client, &path).await;
    let of = async |uri: &str| client.get(&format!("{}/180p/{uri}", before.folder)).await.body;
    let bytes = of(&segments(&media)[0]).await;

    let publisher = world.publish_again("a").await;
    let sending = tokio::spawn(async move { send(&publisher, clip.later(60_000), 4.0).await });
    until("the new stream", async || {
        let answer = client.get("/live/a/180p/index.m3u8").await;
        (answer.status == 200 && !answer.text().contains("ENDLIST")).then_some(())
    })
    .await;
    assert_eq!(playlist(client, &path).await.0, text, "while another is live");
    assert_eq!(of(&segments(&media)[0]).await, bytes);
    sending.await.unwrap();
    let after = recorded(client, 2).await;
    assert_eq!(after[1].folder, before.folder, "newest first");
    assert_ne!(after[0].folder, before.folder);
    assert_eq!(playlist(client, &path).await.0, text);
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_go_by_age() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::start(keeping(folder.path(), |archive| archive.keep = Duration::from_secs(1)));
    play_to_the_end(&world, Recipe::regular(5).clip());
    let recording = recorded(&world.client, 1).await.remove(0);
    // It is older than it may be, and stays as long as it is still shown as it was live.
    let live = world.client.get("/live/a/180p/index.m3u8").await;
    assert!(live.text().ends_with("#EXT-X-ENDLIST\n"));
    recorded(&world.client, 0).await;
    assert_eq!(world.client.get("/live/a/180p/index.m3u8").await.status, 404);
    assert_eq!(world.client.get(&format!("{}/index.m3u8", recording.folder)).await.status, 404);
    assert_eq!(world.metric("vivid_origin_archive_removed_total{reason=\"age\"}").await, 1.0);
    // It is hidden before its files are removed.
    let mut clock = interval(Duration::from_millis(20));
    let removed = async {
        while world.metric("vivid_origin_archive_bytes{tier=\"hot\"}").await != 0.0 {
            clock.tick().await;
        }
    };
    timeout(Duration::from_secs(20), removed).await.expect("its files stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_too_many_bytes_the_oldest_recordings_go() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::start(keeping(folder.path(), |archive| archive.bytes_max = 4 << 20));
    let clip = Recipe { size: (640, 360), ..Recipe::regular(10) }.clip();
    play_to_the_end(&world, clip.clone());
    let first = recorded(&world.client, 1).await.remove(0);
    assert!((5 << 19..4 << 20).contains(&first.bytes), "{first:?}");
    let publisher = world.publish_again("a").await;
    send(&publisher, clip.later(60_000), 5.0).await;
    drop(publisher);
    let second = recorded(&world.client, 2).await.remove(0);
    let left = recorded(&world.client, 1).await.remove(0);
    assert_eq!(left.folder, second.folder);
    assert_eq!(world.client.get(&format!("{}/index.m3u8", first.folder)).await.status, 404);
    assert_eq!(world.metric("vivid_origin_archive_removed_total{reason=\"size\"}").await, 1.0);
}

/// Only as a process of [`a_killed_origin_loses_no_recording`].
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed() {
    process::live(|folder| {
        let mut config = keeping(folder, |_| {});
        // A clip has to be made before it is published again.
        config.ingest.linger = Duration::from_secs(5);
        config
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_origin_loses_no_recording() {
    let folder = tempfile::tempdir().unwrap();
    let start = |publishes| Process::start("archive::a_process_that_is_killed", folder.path(), publishes);
    let mut seen: HashMap<String, Bytes> = HashMap::new();
    // Killed while it is live, twice over: the second life of the process goes on with the stream.
    for segments_wanted in [15, 30] {
        let process = start(true);
        let client = &process.client;
        until("so many segments", async || {
            let answer = client.get("/live/a/180p/index.m3u8").await;
            let Ok(Followed::Media(media)) = follow::read(answer.text()) else { return None };
            let gaps = gaps(answer.text());
            for uri in segments(&media).into_iter().filter(|uri| !gaps.contains(uri)) {
                if seen.contains_key(&uri) {
                    continue;
                }
                let answer = client.get(&format!("/live/a/180p/{uri}")).await;
                assert_eq!(answer.status, 200, "{uri}");
                seen.insert(uri, answer.body);
            }
            (seen.len() >= segments_wanted).then_some(())
        })
        .await;
    }
    // Nobody publishes: the stream ends, and is a recording. What was on its way to the disk is lost.
    let process = start(false);
    let client = &process.client;
    let recording = recorded(client, 1).await.remove(0);
    let (text, media) = playlist(client, &format!("{}/180p/index.m3u8", recording.folder)).await;
    assert!(text.contains("#EXT-X-DISCONTINUITY\n") && text.ends_with("#EXT-X-ENDLIST\n"), "{text}");
    let (listed, gaps) = (segments(&media), gaps(&text));
    let mut same = 0;
    for (uri, bytes) in &seen {
        if listed.contains(uri) && !gaps.contains(uri) {
            let answer = client.get(&format!("{}/180p/{uri}", recording.folder)).await;
            assert_eq!((answer.status.as_u16(), &answer.body), (200, bytes), "{uri}");
            same += 1;
        }
    }
    assert!(same + 4 >= seen.len(), "{same} of {}", seen.len());
    drop(process);
    // It is there after the next start as well.
    let process = start(false);
    let client = &process.client;
    assert_eq!(list(client, "/archive/index.json").await[0].folder, recording.folder);
    assert_eq!(playlist(client, &format!("{}/180p/index.m3u8", recording.folder)).await.0, text);
}
