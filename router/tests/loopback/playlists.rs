//! Multivariant playlists for viewers: rewritten, shared, kept, or refused with a sentence.

use crate::fakes::{MULTIVARIANT, Mode};
use crate::world::{PATIENCE, World, first_pathway, quoted};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_gets_every_cdn_as_a_pathway_best_first() {
    let world = World::start().await;
    let (playlist, steer) = world.viewer_of("cdn-b").await;
    let [a, b] = [0, 1].map(|at| world.cdns[at].as_ref().unwrap().url());
    let router = world.router;
    let expected = format!(
        "#EXTM3U\n#EXT-X-CONTENT-STEERING:SERVER-URI=\"http://{router}{steer}\",PATHWAY-ID=\"cdn-b\"\n#EXT-X-VERSION:9\n"
    ) + &pathway("cdn-b", &b)
        + &pathway("cdn-a", &a);
    assert_eq!(playlist, expected);
    let response = world.get("/live/x/index.m3u8").await;
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "application/vnd.apple.mpegurl");
    assert_eq!((header("cache-control"), header("access-control-allow-origin")), ("no-store".into(), "*".into()));
    world.stop.cancel();
}

fn pathway(id: &str, url: &str) -> String {
    let lines = MULTIVARIANT.lines().skip(2).collect::<Vec<_>>().join("\n") + "\n";
    lines
        .replace("\"audio\",NAME", &format!("\"audio@{id}\",NAME"))
        .replace("AUDIO=\"audio\"", &format!("AUDIO=\"audio@{id}\",PATHWAY-ID=\"{id}\""))
        .replace("audio/index.m3u8", &format!("{url}/live/x/audio/index.m3u8"))
        .replace("720p/index.m3u8", &format!("{url}/live/x/720p/index.m3u8"))
}

#[tokio::test(flavor = "multi_thread")]
async fn both_cdns_get_their_share_of_viewers() {
    let world = World::start().await;
    let mut first_a = 0;
    for _ in 0..200 {
        let playlist = world.text("/live/x/index.m3u8").await;
        first_a += u32::from(first_pathway(&playlist) == "cdn-a");
    }
    // Of 200 fair draws, one run in a million leaves this range.
    assert!((65..=135).contains(&first_a), "{first_a} of 200 viewers start on cdn-a");
    world.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configured_public_url_is_said_instead_of_the_host() {
    let world = World::with("public_url = 'https://watch.example'").await;
    let playlist = world.text("/live/x/index.m3u8").await;
    assert!(quoted(&playlist, "SERVER-URI=\"").starts_with("https://watch.example/steer/x?s="), "{playlist}");
    assert_eq!(world.json("/steer/x").await["RELOAD-URI"], "https://watch.example/steer/x");
    let token = "0123456789abcdef";
    let document = world.json(&format!("/steer/x?_HLS_pathway=cdn-a&s={token}")).await;
    assert_eq!(document["RELOAD-URI"], format!("https://watch.example/steer/x?s={token}"));
    world.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_viewers_of_a_stream_cost_the_origin_one_request() {
    let world = World::with("manifest = { fresh_ms = 60000 }").await;
    let requests = (0..100).map(|_| world.get("/live/x/index.m3u8"));
    let answers = futures_util::future::join_all(requests).await;
    assert!(answers.iter().all(|answer| answer.status() == 200));
    assert_eq!(world.origin.hits(), 1);
    world.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_stream_is_404_with_a_sentence() {
    let world = World::start().await;
    for (path, words) in [
        ("/live/absent/index.m3u8", "no stream named absent is live"),
        ("/live/a%20b/index.m3u8", "a stream's name is 1 to 64 letters"),
        ("/live/a.b/index.m3u8", "a stream's name"),
    ] {
        let response = world.get(path).await;
        assert_eq!(response.status(), 404, "{path}");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let sentence = response.text().await.unwrap();
        assert!(sentence.contains(words), "{sentence}");
    }
    world.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_origin_fails_the_last_good_playlist_serves_and_not_for_ever() {
    let world = World::with("manifest = { fresh_ms = 1, keep_ms = 1500, timeout_ms = 300 }").await;
    assert_eq!(world.get("/live/x/index.m3u8").await.status(), 200);
    for mode in [Mode::Status(500), Mode::Text("<html>".to_owned()), Mode::Hang] {
        world.origin.set(mode.clone());
        let hits = world.origin.hits();
        while world.origin.hits() == hits {
            assert_eq!(world.get("/live/x/index.m3u8").await.status(), 200, "{mode:?}");
        }
        if matches!(mode, Mode::Status(_)) {
            assert_eq!(world.get("/live/y/index.m3u8").await.status(), 503, "nothing is kept of another stream");
        }
    }
    assert!(world.metric("vivid_router_origin_fetches_total{outcome=\"kept\"}").await >= 1.0);
    let given_up = async { while world.get("/live/x/index.m3u8").await.status() != 503 {} };
    tokio::time::timeout(Duration::from_secs(15), given_up).await.unwrap();
    world.origin.set(Mode::Good);
    let mended = async { while world.get("/live/x/index.m3u8").await.status() != 200 {} };
    tokio::time::timeout(Duration::from_secs(15), mended).await.unwrap();
    world.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_misbehaves_costs_a_sentence() {
    let world = World::with("manifest = { fresh_ms = 1, timeout_ms = 300, bytes_max = 100000 }").await;
    let media = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\na\n";
    for (mode, words, outcome) in [
        (Mode::Status(502), "HTTP status 502", "status"),
        (Mode::Hang, "no answer in time", "timeout"),
        (Mode::Text("#EXTM3U\n".repeat(50_000)), "longer than accepted", "too_large"),
        (Mode::Text("<html>welcome to nginx</html>".to_owned()), "no playlist", "not_rewritable"),
        (Mode::Text(media.to_owned()), "media playlist", "not_rewritable"),
    ] {
        world.origin.set(mode.clone());
        // A name of its own for each, so that none is answered from what is young.
        let response = world.get(&format!("/live/{outcome}-{}/index.m3u8", words.len())).await;
        assert_eq!(response.status(), 503, "{mode:?}");
        assert!(response.headers().contains_key("retry-after"));
        let sentence = response.text().await.unwrap();
        assert!(sentence.contains(words) && sentence.contains("try again"), "{sentence}");
        assert!(world.metric(&format!("vivid_router_origin_fetches_total{{outcome=\"{outcome}\"}}")).await >= 1.0);
    }
    world.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_names_none_is_400_with_a_sentence() {
    let world = World::start().await;
    let unusable = ["", "[[", "[]", "[::1", "::", "..", "a..b", ":80", "a:b:c:", "a:", "a:0", "evil.com:99999", "a:x"];
    let usable = ["a", "localhost:8080", "live.example.", "203.0.113.7:80", "[::1]:8080"];
    let hosts = unusable.map(|host| (host, " 400 ")).into_iter().chain(usable.map(|host| (host, " 200 ")));
    for (host, status) in hosts {
        let mut socket = tokio::net::TcpStream::connect(world.router).await.unwrap();
        let request = format!("GET /live/x/index.m3u8 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(PATIENCE, socket.read_to_string(&mut answer)).await.unwrap().unwrap();
        let head = answer.lines().next().unwrap();
        assert!(head.contains(status), "{host:?}: {answer}");
        assert!(status == " 200 " || answer.contains("router.public_url"), "{host:?}: {answer}");
    }
    world.stop.cancel();
}
