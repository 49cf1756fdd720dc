//! What single requests are answered: directives, ranges, encodings, errors, ports.

use crate::clip::Recipe;
use crate::follower::Follower;
use crate::http::Client;
use crate::world::{World, config};
use http::Method;
use manifest::Position;
use origin::{OriginError, Server};
use prometheus::Registry;
use std::io::Read;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use transcode::WorkerProgram;

#[tokio::test(flavor = "multi_thread")]
async fn blocking_requests_block_until_their_part_and_no_longer() {
    let world = World::start(config(|_| {}));
    let playing = world.play("a", Recipe::regular(8).clip(), 2.0);
    let mut follower = Follower::join(&world.client, "a", "180p").await;
    for _ in 0..8 {
        let next = follower.media.head.next;
        // Asked in the order of a player that follows the hint: the part before it is there.
        let hinted = format!("/live/a/180p/{}", hint(&follower.text));
        let playlist = format!("/live/a/180p/index.m3u8?_HLS_msn={}&_HLS_part={}", next.msn, next.part);
        let (part, text) = tokio::join!(world.client.get(&hinted), world.client.get(&playlist));
        assert_eq!((part.status.as_u16(), text.status.as_u16()), (200, 200));
        assert!(text.text().contains(hinted.strip_prefix("/live/a/180p/").unwrap()));
        follower.step().await;
    }
    assert!(world.metric("vivid_origin_holds_ended_total{outcome=\"answered\"}").await >= 8.0);
    let next = follower.media.head.next;
    let whole = world.client.get(&format!("/live/a/180p/index.m3u8?_HLS_msn={}", next.msn)).await;
    assert!(whole.text().contains(&format!("/{}.m4s\n", next.msn)), "the whole segment was asked for");
    playing.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_refused_with_a_reason() {
    let world = World::start(config(|_| {}));
    let playing = world.play("a", Recipe::regular(8).clip(), 2.0);
    let follower = Follower::join(&world.client, "a", "180p").await;
    let Position { msn, .. } = follower.media.head.next;
    let epoch = hint(&follower.text).split('/').next().unwrap().to_owned();
    for (path, status, reason) in [
        (format!("index.m3u8?_HLS_msn={}", msn + 3), 400, "too far ahead"),
        (format!("index.m3u8?_HLS_msn={msn}&_HLS_part=40"), 400, "too far ahead"),
        ("index.m3u8?_HLS_part=1".to_owned(), 400, "_HLS_part needs _HLS_msn"),
        ("index.m3u8?_HLS_msn=x".to_owned(), 400, "decimal integer"),
        (format!("{epoch}/{}.m4s", msn + 2), 404, "reload the playlist"),
        (format!("{epoch}/{}.0.m4s", msn + 2), 404, "reload the playlist"),
        ("0/init.mp4".to_owned(), 404, "reload the playlist"),
        (format!("{epoch}/nothing"), 404, "reload the playlist"),
        ("../480p/index.m3u8".to_owned(), 404, "has no rendition 480p"),
        ("../../b/index.m3u8".to_owned(), 404, "no stream named b is live here; publish to rtmp://"),
        ("../../../other".to_owned(), 404, "/live/STREAM/index.m3u8"),
    ] {
        let answer = world.client.get(&resolve(&path)).await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.text());
        assert!(answer.text().contains(reason), "{path}: {}", answer.text());
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    }
    let post = world.client.send(Method::POST, "/live/a/index.m3u8", &[]).await;
    assert_eq!((post.status.as_u16(), post.header("allow")), (405, "GET,HEAD"));
    assert!(post.text().contains("its Allow field says which"), "{}", post.text());
    let get = world.client.get("/_vivid/markers/a").await;
    assert_eq!((get.status.as_u16(), get.header("allow")), (405, "POST"));
    playing.abort();
}

/// The URL parser of a client: `..` goes up.
fn resolve(path: &str) -> String {
    let mut steps = vec!["live", "a", "180p"];
    for step in path.split('/') {
        if step == ".." {
            steps.pop();
        } else {
            steps.push(step);
        }
    }
    format!("/{}", steps.join("/"))
}

#[tokio::test(flavor = "multi_thread")]
async fn representations_agree() {
    let world = World::start(config(|_| {}));
    world.play("a", Recipe::regular(6).clip(), 3.0).await.unwrap();
    let mut follower = Follower::join(&world.client, "a", "180p").await;
    follower.follow_to_end().await;
    let client = &world.client;

    let path = "/live/a/180p/index.m3u8";
    let plain = client.get(path).await;
    assert_eq!(plain.header("vary"), "Accept-Encoding");
    assert_eq!(plain.header("access-control-allow-origin"), "*");
    let zipped = client.send(Method::GET, path, &[("accept-encoding", "br, gzip")]).await;
    assert_eq!(zipped.header("content-encoding"), "gzip");
    assert!(zipped.body.len() * 3 < plain.body.len());
    let mut text = String::new();
    flate2::read::GzDecoder::new(&zipped.body[..]).read_to_string(&mut text).unwrap();
    assert_eq!(text, plain.text());
    let skipping = client.get(&format!("{path}?_HLS_skip=YES")).await;
    assert_eq!(skipping.body, plain.body, "an ended playlist is given whole (RFC 8216bis, 6.2.5.1)");
    let ranged = client.send(Method::GET, path, &[("range", "bytes=0-")]).await;
    assert_eq!((ranged.status.as_u16(), &ranged.body), (200, &plain.body));

    let segment = follower.text.lines().find(|line| line.ends_with(".m4s")).unwrap();
    let path = format!("/live/a/180p/{segment}");
    let whole = client.get(&path).await;
    assert_eq!((whole.status.as_u16(), whole.header("content-type")), (200, "video/iso.segment"));
    let head = client.send(Method::HEAD, &path, &[]).await;
    assert_eq!(head.header("content-length"), whole.body.len().to_string());
    assert!(head.body.is_empty());
    let all = client.send(Method::GET, &path, &[("range", "bytes=0-")]).await;
    assert_eq!((all.status.as_u16(), &all.body), (206, &whole.body));
    let middle = client.send(Method::GET, &path, &[("range", "bytes=1000-4999")]).await;
    assert_eq!(middle.header("content-range"), format!("bytes 1000-4999/{}", whole.body.len()));
    assert_eq!(middle.body, whole.body[1000..5000]);
    let beyond = client.send(Method::GET, &path, &[("range", "bytes=99999999-")]).await;
    assert_eq!(
        (beyond.status.as_u16(), beyond.header("content-range")),
        (416, &*format!("bytes */{}", whole.body.len()))
    );
    assert!(beyond.text().contains("none in that range"), "{}", beyond.text());
    let other = client.send(Method::GET, &path, &[("range", "bytes=0-9"), ("if-range", "\"another\"")]).await;
    assert_eq!((other.status.as_u16(), &other.body), (200, &whole.body), "a range of something else");

    let http2 = Client::http2(world.addr).get(&path).await;
    assert_eq!(http2.body, whole.body, "the same over HTTP/2");
    let flight = [("origin", "http://x"), ("access-control-request-method", "GET")];
    let preflight = client.send(Method::OPTIONS, "/live/a/index.m3u8", &flight).await;
    assert_eq!((preflight.status.as_u16(), preflight.header("access-control-allow-origin")), (200, "*"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_encoder_and_too_many_holds_are_503() {
    let world = World::start(config(|config| {
        config.window.hold_target_durations = 1;
        config.window.holds_max = 1;
    }));
    // The publisher stays but sends nothing more.
    let publisher = world.play("a", Recipe::regular(5).clip(), 4.0).await.unwrap();
    let mut follower = Follower::join(&world.client, "a", "90p").await;
    let mut late = None;
    while late.is_none() {
        let next = follower.media.head.next;
        let path = format!("/live/a/90p/index.m3u8?_HLS_msn={}&_HLS_part={}", next.msn, next.part);
        let began = Instant::now();
        let answer = world.client.get(&path).await;
        late = (answer.status == 503).then(|| (began.elapsed(), answer));
        if late.is_none() {
            assert!(follower.step().await);
        }
    }
    let (waited, answer) = late.unwrap();
    assert!(waited >= Duration::from_secs(2) && waited < Duration::from_secs(3), "{waited:?}");
    assert!(answer.text().contains("did not come in time"));

    let next = follower.media.head.next;
    let path = format!("/live/a/90p/index.m3u8?_HLS_msn={}&_HLS_part={}", next.msn, next.part);
    let (first, second) = tokio::join!(world.client.get(&path), world.client.get(&path));
    let texts = [first.text(), second.text()];
    assert!(texts.iter().any(|text| text.contains("origin.window.holds_max")), "{texts:?}");
    assert_eq!(world.metric("vivid_origin_holds_ended_total{outcome=\"refused\"}").await, 1.0);
    drop(publisher);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_playlist_is_told_what_is_new() {
    let world = World::start(config(|_| {}));
    let playing = world.play("a", Recipe::regular(24).clip(), 6.0);
    let mut follower = Follower::join(&world.client, "a", "180p").await;
    let mut deltas = 0;
    while deltas < 12 {
        let Position { msn, part } = follower.media.head.next;
        let path = format!("/live/a/180p/index.m3u8?_HLS_msn={msn}&_HLS_part={part}");
        let delta_path = format!("{path}&_HLS_skip=YES");
        let (full, delta) = tokio::join!(world.client.get(&path), world.client.get(&delta_path));
        if full.text() != delta.text() && delta.text().contains("#EXT-X-SKIP:SKIPPED-SEGMENTS=") {
            assert!(delta.body.len() < full.body.len());
            let tail = delta.text().rsplit_once("#EXT-X-MAP:").unwrap().1.split_once('\n').unwrap().1;
            // A part may have come between the two.
            let last = tail.lines().filter(|line| line.starts_with("#EXTINF")).count();
            assert!((6..=8).contains(&last), "{tail}");
            deltas += 1;
        }
        assert!(follower.step().await);
    }
    playing.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_answers_those_who_wait_and_returns_in_time() {
    let world = World::start(config(|_| {}));
    let publisher = world.play("a", Recipe::regular(5).clip(), 4.0).await.unwrap();
    let mut follower = Follower::join(&world.client, "a", "180p").await;
    while timeout(Duration::from_secs(1), follower.step()).await.is_ok() {}
    let next = follower.media.head.next;
    let path = format!("/live/a/180p/index.m3u8?_HLS_msn={}&_HLS_part={}", next.msn, next.part);
    // The follower's last request was left, and is counted until that is seen: it must not be taken for the next one.
    while world.metric("vivid_origin_holds").await > 0.0 {}
    let waiting = tokio::spawn({
        let client = world.client.clone();
        async move { client.get(&path).await }
    });
    while world.metric("vivid_origin_holds").await < 1.0 {}
    assert!(world.stop().await < Duration::from_secs(5));
    let answer = waiting.await.unwrap();
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("stopping"), "{}", answer.text());
    assert!(timeout(Duration::from_secs(1), publisher.closed()).await.is_ok(), "the publisher is let go");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_port_is_named() {
    let world = World::start(config(|_| {}));
    let taken = config(|config| config.http_listen = world.addr);
    let program = WorkerProgram { path: "none".into(), args: Vec::new() };
    let Err(error) = Server::bind(taken, program, &Registry::new()) else { panic!("the port was taken twice") };
    assert!(matches!(error, OriginError::Listen { .. }));
    let text = error.to_string();
    assert!(text.contains(&world.addr.to_string()) && text.contains("origin.http_listen"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told() {
    let world = World::start(config(|_| {}));
    for path in ["/_vivid/livez", "/_vivid/readyz", "/_vivid/metrics"] {
        assert_eq!(world.client.get(path).await.status, 200, "{path}");
    }
}

fn hint(text: &str) -> &str {
    let line = text.lines().find(|line| line.starts_with("#EXT-X-PRELOAD-HINT")).expect("no hint");
    line.split('"').nth(1).unwrap()
}
