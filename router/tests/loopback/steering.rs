//! CDNs die, freeze and come back, and players are told so: by documents that are always valid.

use crate::fakes::{Mode, Server as Fake};
use crate::world::{PATIENCE, World, first_pathway};
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_cdn_loses_its_viewers_within_two_rounds_and_gets_them_back() {
    let mut world = World::start().await;
    let (_, steer) = world.viewer_of("cdn-a").await;
    world.rounds(2).await;
    assert_eq!(world.priority(&steer).await, ["cdn-a", "cdn-b"]);
    let killed = Instant::now();
    let address = world.cdns[0].take().unwrap().kill().await;
    let rounds = world.rounds_until(&steer, "cdn-b", 2).await;
    println!("moved after {rounds} rounds, {} ms", killed.elapsed().as_millis());
    assert_eq!(world.priority(&steer).await, ["cdn-b", "cdn-a"], "the dead one is still listed");
    let report = world.json("/_vivid/router").await;
    assert_eq!(
        (report["cdns"][0]["state"].as_str(), report["cdns"][1]["state"].as_str()),
        (Some("down"), Some("good"))
    );
    let playlist = world.text("/live/x/index.m3u8").await;
    assert_eq!(first_pathway(&playlist), "cdn-b", "new viewers start on the living one");
    world.cdns[0] = Some(Fake::at(address, &world.live).await);
    world.rounds_until(&steer, "cdn-a", 8).await;
    world.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cdn_that_takes_requests_and_never_answers_is_left() {
    let mut world = World::start().await;
    let (_, steer) = world.viewer_of("cdn-a").await;
    world.rounds(2).await;
    world.cdns[0].as_ref().unwrap().set(Mode::Hang);
    world.rounds_until(&steer, "cdn-b", 2).await;
    assert!(world.metric("vivid_router_probes_total{cdn=\"cdn-a\",outcome=\"timeout\"}").await >= 2.0);
    assert_eq!(world.metric("vivid_router_loss_ratio{cdn=\"cdn-b\"}").await, 0.0);
    world.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_request_that_hangs_moves_nobody() {
    let mut world = World::start().await;
    let (_, steer) = world.viewer_of("cdn-a").await;
    world.rounds(2).await;
    for _ in 0..3 {
        world.cdns[0].as_ref().unwrap().set(Mode::HangOnce);
        world.rounds(2).await;
        assert_eq!(world.priority(&steer).await[0], "cdn-a", "{}", world.text("/_vivid/router").await);
    }
    world.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cdn_whose_live_edge_stands_still_is_left_though_it_answers() {
    let mut world = World::start().await;
    let (_, steer) = world.viewer_of("cdn-b").await;
    world.rounds(2).await;
    let last = world.live.load(Ordering::SeqCst);
    world.cdns[1].as_ref().unwrap().set(Mode::Frozen(last));
    world.live.store(last + 3, Ordering::SeqCst);
    world.rounds_until(&steer, "cdn-a", 4).await;
    let report = world.json("/_vivid/router").await;
    assert_eq!(report["cdns"][1]["state"], "worse", "{report}");
    world.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_no_cdn_has_is_no_cdns_fault() {
    let mut world = World::start().await;
    world.get("/live/x/index.m3u8").await;
    world.rounds(2).await;
    for cdn in world.cdns.iter().flatten() {
        cdn.set(Mode::Status(404));
    }
    world.rounds(2).await;
    let report = world.json("/_vivid/router").await;
    assert_eq!(report["streams"].as_array().map(Vec::len), Some(0), "it is probed no longer: {report}");
    assert!(report["cdns"].as_array().unwrap().iter().all(|cdn| cdn["state"] != "down"), "{report}");
    world.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_stream_nothing_is_probed_and_weights_serve() {
    let mut world = World::start().await;
    world.rounds(2).await;
    assert_eq!(world.cdns.iter().flatten().map(Fake::hits).sum::<u64>(), 0);
    let report = world.json("/_vivid/router").await;
    assert!(report["note"].as_str().unwrap().contains("weights serve"), "{report}");
    assert_eq!(report["cdns"][0]["state"], "unknown");
    assert!(world.text("/_vivid/metrics").await.contains("vivid_router_loss_ratio{cdn=\"cdn-a\"} NaN"));
    world.stop.cancel();
}

/// Rules A, B and C of what players force on a steering server: whatever is asked, however broken the world is.
#[tokio::test(flavor = "multi_thread")]
async fn steering_is_always_200_and_valid() {
    let mut world = World::start().await;
    world.get("/live/x/index.m3u8").await;
    world.origin.set(Mode::Status(500));
    for cdn in &mut world.cdns {
        cdn.take().unwrap().kill().await;
    }
    world.rounds(2).await;
    for path in [
        "/steer/x",
        "/steer/x?s=0123456789abcdef&_HLS_pathway=%22cdn-a%22&_HLS_throughput=5140000",
        "/steer/x?_HLS_pathway=cdn-b",
        "/steer/x?_HLS_pathway=../../etc&_HLS_throughput=-1e999&s=%00&&&=",
        "/steer/never-heard-of-it",
        "/steer/",
        "/steer",
        "/steer/%ff%00",
        "/steer/a/b/c.m3u8",
        "/steer/x?_DASH_pathway=a,b&_DASH_throughput=,",
    ] {
        let response = world.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "application/vnd.apple.steering-list", "{path}");
        assert_eq!((header("cache-control"), header("access-control-allow-origin")), ("no-store".into(), "*".into()));
        assert!(header("access-control-expose-headers").to_lowercase().contains("retry-after"), "{path}");
        let document: serde_json::Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        check_document(&document, path);
    }
    assert_eq!(world.metric("vivid_router_steering_requests_total{effect=\"unreported\"}").await, 8.0);
    world.stop.cancel();
}

fn check_document(document: &serde_json::Value, path: &str) {
    assert_eq!(document["VERSION"], 1, "{path}");
    assert!(document["TTL"].as_u64().unwrap() >= 5, "{path}");
    let mut ids: Vec<_> = document["PATHWAY-PRIORITY"].as_array().unwrap().iter().collect();
    ids.sort_by_key(|id| id.to_string());
    assert_eq!(ids, ["cdn-a", "cdn-b"], "{path}");
    assert!(document.get("PATHWAY-CLONES").is_none(), "{path}");
    if let Some(uri) = document.get("RELOAD-URI") {
        let uri = uri.as_str().unwrap();
        assert!(uri.starts_with("http://127.0.0.1:") && !uri.contains("_HLS_"), "{uri}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_host_gets_a_list_without_a_reload_uri() {
    let world = World::start().await;
    for request in ["GET /steer/x HTTP/1.0\r\n\r\n", "GET /steer/x HTTP/1.1\r\nHost: a\"b\r\nConnection: close\r\n\r\n"]
    {
        let mut socket = tokio::net::TcpStream::connect(world.router).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(PATIENCE, socket.read_to_string(&mut answer)).await.unwrap().unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 200 "), "{head}");
        let document: serde_json::Value = serde_json::from_str(body).unwrap();
        check_document(&document, request);
        assert!(document.get("RELOAD-URI").is_none(), "{document}");
    }
    world.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_keeps_its_answer_and_a_reload_keeps_the_session() {
    let world = World::start().await;
    let (_, steer) = world.viewer_of("cdn-b").await;
    for _ in 0..20 {
        let document = world.json(&format!("{steer}&_HLS_pathway=cdn-b&_HLS_throughput=9000000")).await;
        assert_eq!(document["PATHWAY-PRIORITY"][0], "cdn-b");
        assert_eq!(document["RELOAD-URI"], format!("http://{}{steer}", world.router));
    }
    assert_eq!(world.metric("vivid_router_steering_requests_total{effect=\"stays\"}").await, 20.0);
    let counted = "vivid_router_reported_throughput_bits_per_second_count{cdn=\"cdn-b\"}";
    assert_eq!(world.metric(counted).await, 20.0);
    let token = steer.split_once("s=").unwrap().1;
    let again = world.text(&format!("/live/x/index.m3u8?s={token}")).await;
    assert!(again.contains(&format!("s={token}\",PATHWAY-ID=\"cdn-b\"")), "{again}");
    world.stop.cancel();
}
