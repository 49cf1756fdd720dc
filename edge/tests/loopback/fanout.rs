//! Many viewers, one request upstream.

use crate::support::{
    Asked, Fake, Node, Origin, PATIENCE, RENDITION, Said, Viewer, config, in_time, raise_descriptor_limit, until, whole,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const VIEWERS: usize = 2000;

/// Longer deadlines than any, so that a machine that is shared decides nothing.
fn patient(name: &str, upstream: SocketAddr) -> config::Edge {
    let mut config = config::Edge { hold_max: 3 * PATIENCE, subscription_idle: PATIENCE, ..config(name, upstream) };
    config.upstream.response_timeout = 2 * PATIENCE;
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_held_viewers_cost_one_request_at_each_tier() {
    raise_descriptor_limit();
    let origin = Origin::at(100, 1);
    let fake = origin.start().await;
    let shield = Node::with(patient("shield", fake.addr));
    let edge = Node::with(patient("edge", shield.addr));

    let target = format!("{RENDITION}?_HLS_msn=100&_HLS_part=1");
    let mut viewers = JoinSet::new();
    for _ in 0..VIEWERS {
        let (addr, target) = (edge.addr, target.clone());
        viewers.spawn(async move { Viewer::connect(addr).await.get(&target).await });
    }
    edge.until("vivid_edge_holds", &[], VIEWERS as f64).await;
    shield.until("vivid_edge_holds", &[], 1.0).await;

    let published = Instant::now();
    origin.advance();
    let expected = origin.playlist().into_bytes();
    let mut heads = Vec::new();
    while let Some(got) = in_time(viewers.join_next()).await {
        let got = got.unwrap();
        assert_eq!((got.status, &got.body), (200, &expected));
        heads.push(got.head.lines().filter(|line| !line.starts_with("Age: ")).collect::<Vec<_>>().join("\n"));
    }
    let last = published.elapsed();
    assert_eq!(heads.len(), VIEWERS);
    heads.dedup();
    assert_eq!(heads.len(), 1, "every held viewer gets the same header: {heads:?}");
    println!("{VIEWERS} holds released in {last:?}, clients in the same process");

    assert_eq!(fake.count("_HLS_msn=100&_HLS_part=1"), 1, "{:?}", fake.asked());
    // The edge asked what is there, and for this position, each once. What it asks for next is held until the test ends.
    assert_eq!(shield.metric("vivid_edge_requests_total", &["playlist"]), 2.0);
    let next = format!("{RENDITION}?_HLS_msn=100&_HLS_part=2");
    until(|| fake.count(&next) == 1, "the shield asks for the next part").await;
    let playlists = fake.asked().into_iter().map(|asked| asked.target).filter(|target| target.contains(".m3u8"));
    assert_eq!(playlists.collect::<Vec<_>>(), [RENDITION, target.as_str(), next.as_str()]);
    edge.until("vivid_edge_release_seconds", &[], VIEWERS as f64).await;
    edge.until("vivid_edge_holds_ended_total", &["released"], VIEWERS as f64).await;
    edge.until("vivid_edge_holds", &[], 0.0).await;
    edge.stop().await;
    shield.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_first_viewers_of_a_rendition_cost_one_request_and_one_subscription() {
    const RENDITIONS: usize = 40;
    let fake = Origin::at(100, 1).start().await;
    let edge = Node::start("edge", fake.addr);
    for round in 0..RENDITIONS {
        let target = format!("/live/test{round}/720p/index.m3u8");
        let mut viewers = JoinSet::new();
        for _ in 0..100 {
            let (addr, target) = (edge.addr, target.clone());
            viewers.spawn(async move { Viewer::connect(addr).await.get(&target).await.status });
        }
        while let Some(status) = in_time(viewers.join_next()).await {
            assert_eq!(status.unwrap(), 200);
        }
        let plain = fake.asked().iter().filter(|asked| asked.target == target).count();
        assert_eq!(plain, 1, "round {round}: {:?}", fake.asked());
    }
    assert_eq!(edge.metric("vivid_edge_subscriptions", &[]), RENDITIONS as f64);
}

#[tokio::test]
async fn no_spelling_of_a_request_splits_the_fan_out() {
    let origin = Origin::at(100, 1);
    let fake = origin.start().await;
    let edge = Node::start("edge", fake.addr);
    let spellings = [
        "_HLS_msn=100&_HLS_part=1",
        "_HLS_part=1&_HLS_msn=100",
        "_HLS_msn=100&_HLS_part=1&_HLS_skip=YES",
        "CMCD=bl%3D2100%2Cot%3Dm&_HLS_msn=100&_HLS_part=1",
        "_HLS_msn=100&token=abc&_HLS_part=1",
        "anything=else&_HLS_msn=100&_HLS_part=1&x",
        "_HLS_msn=100",
        "_HLS_msn=99&_HLS_part=5",
    ];
    let mut viewers = JoinSet::new();
    for spelling in spellings {
        let (addr, target) = (edge.addr, format!("{RENDITION}?{spelling}"));
        viewers.spawn(async move { (spelling, Viewer::connect(addr).await.get(&target).await) });
    }
    // A part beyond the end of a finished segment means the first one of the next, which is there.
    edge.until("vivid_edge_holds", &[], spellings.len() as f64 - 1.0).await;
    for _ in 0..3 {
        origin.advance();
    }
    while let Some(got) = in_time(viewers.join_next()).await {
        let (spelling, got) = got.unwrap();
        assert_eq!(got.status, 200, "{spelling}");
    }
    assert_eq!(fake.count("_HLS_msn=100&_HLS_part=1"), 1);
    let playlists = fake.asked().iter().filter(|asked| asked.target.contains(".m3u8")).count();
    assert!(playlists <= 5, "at most one request for each version: {:?}", fake.asked());
}

#[tokio::test]
async fn no_percent_encoding_splits_a_subscription() {
    let origin = Origin::at(100, 1);
    let fake = origin.start().await;
    let edge = Node::start("edge", fake.addr);
    let spelled = |at: usize, byte: u8| {
        let (before, after) = (&RENDITION[..at], &RENDITION[at + 1..]);
        [format!("{before}%{byte:02x}{after}?x={at}"), format!("{before}%{byte:02X}{after}")]
    };
    let letters = RENDITION.bytes().enumerate().filter(|(_, byte)| byte.is_ascii_alphanumeric());
    let spellings: Vec<String> = letters.flat_map(|(at, byte)| spelled(at, byte)).collect();
    for spelling in &spellings {
        assert_eq!(edge.get(spelling).await.text(), origin.playlist(), "{spelling}");
    }
    assert_eq!(edge.get("/live/./test/x/%2e%2e/720p/index.m3u8?x=1").await.status, 200);
    assert_eq!(edge.metric("vivid_edge_subscriptions", &[]), 1.0);
    let plain = fake.asked().iter().filter(|asked| asked.target == RENDITION).count();
    assert_eq!((plain, fake.count("%")), (1, 0), "{:?}", fake.asked());
}

#[tokio::test]
async fn a_viewer_that_leaves_while_held_frees_its_place_at_once() {
    let origin = Origin::at(100, 1);
    let fake = origin.start().await;
    let edge = Node::with(config::Edge { holds_max: 1, ..config("edge", fake.addr) });
    let target = format!("{RENDITION}?_HLS_msn=100&_HLS_part=1");
    let mut leaving = Viewer::connect(edge.addr).await;
    leaving.ask(&target, "").await;
    edge.until("vivid_edge_holds", &[], 1.0).await;
    let refused = edge.get(&target).await;
    assert_eq!((refused.status, refused.text().contains("edge.holds_max")), (503, true), "{}", refused.text());
    drop(leaving);
    edge.until("vivid_edge_holds_ended_total", &["left"], 1.0).await;

    let mut staying = Viewer::connect(edge.addr).await;
    staying.ask(&target, "").await;
    edge.until("vivid_edge_holds", &[], 1.0).await;
    origin.advance();
    assert_eq!(staying.read().await.unwrap().status, 200);
    assert_eq!(fake.count("_HLS_msn=100&_HLS_part=1"), 1);
}

#[tokio::test]
async fn bad_directives_are_told_and_do_not_reach_upstream() {
    let fake = Origin::at(100, 1).start().await;
    let edge = Node::start("edge", fake.addr);
    let mut viewer = Viewer::connect(edge.addr).await;
    for (query, words) in [
        ("_HLS_part=1", "_HLS_part needs _HLS_msn"),
        ("_HLS_msn=x", "decimal"),
        ("_HLS_msn=1&_HLS_msn=2", "twice"),
        ("_HLS_msn=102", "too far"),
        ("_HLS_msn=100&_HLS_part=99", "too far"),
    ] {
        let got = viewer.get(&format!("{RENDITION}?{query}")).await;
        assert_eq!(got.status, 400, "{query}");
        assert!(got.text().contains(words), "{query}: {}", got.text());
    }
    assert!(fake.count(".m3u8") <= 2, "{:?}", fake.asked());
}

#[tokio::test]
async fn a_rendition_that_nobody_watches_is_no_longer_followed() {
    let origin = Origin::at(100, 1);
    let fake = origin.start().await;
    let shield = Node::start("shield", fake.addr);
    let edge = Node::with(config::Edge { subscription_idle: Duration::from_millis(50), ..config("edge", shield.addr) });
    assert_eq!(edge.get(RENDITION).await.status, 200);
    shield.until("vivid_edge_holds", &[], 1.0).await;
    edge.until("vivid_edge_upstream_requests_total", &["playlist", "cancelled"], 1.0).await;
    until(|| edge.metric("vivid_edge_subscriptions", &[]) == 0.0, "the edge stops following").await;
    until(|| shield.metric("vivid_edge_holds", &[]) == 0.0, "the shield is rid of the hold").await;
    origin.advance();
    assert_eq!(edge.get(RENDITION).await.text(), origin.playlist(), "whoever comes now begins again");
}

#[tokio::test]
async fn subscriptions_are_bounded() {
    let fake = Origin::at(100, 1).start().await;
    let edge = Node::with(config::Edge { subscriptions_max: 1, ..config("edge", fake.addr) });
    assert_eq!(edge.get("/live/a/720p/index.m3u8").await.status, 200);
    let second = edge.get("/live/b/720p/index.m3u8").await;
    assert_eq!(second.status, 200, "it is still served, for a second at a time");
    assert_eq!(edge.metric("vivid_edge_subscriptions", &[]), 1.0);
    edge.until("vivid_edge_bounds_total", &["subscriptions_max"], 1.0).await;
    let held = edge.get("/live/b/720p/index.m3u8?_HLS_msn=100&_HLS_part=1").await;
    assert_eq!((held.status, held.text().contains("edge.subscriptions_max")), (503, true), "{}", held.text());
}

#[tokio::test]
async fn a_plain_playlist_is_polled_and_its_segments_are_served() {
    let made = Arc::new(AtomicUsize::new(10));
    let live = made.clone();
    let fake = Fake::start(move |asked: Asked| {
        let last = live.load(Ordering::Relaxed);
        Box::pin(async move {
            if !asked.target.ends_with(".m3u8") {
                return whole("video/mp2t", asked.target);
            }
            let mut text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:{}\n", last - 3);
            (last - 3..last).for_each(|msn| text.push_str(&format!("#EXTINF:1,\nseg{msn}.ts\n")));
            Said::Whole(200, Vec::new(), text.into_bytes())
        })
    })
    .await;
    let edge = Node::start("edge", fake.addr);
    let mut viewer = Viewer::connect(edge.addr).await;
    // Without blocking reload the directives are nothing but unknown keys.
    let first = viewer.get("/hls/a.m3u8?_HLS_msn=x").await;
    assert!(first.text().ends_with("seg9.ts\n"), "{}", first.text());
    assert_eq!(viewer.get("/hls/seg9.ts?session=1").await.text(), "/hls/seg9.ts");
    assert_eq!(viewer.get("/hls/seg9.ts?session=2").await.field("cache-status"), "edge; hit");
    made.store(11, Ordering::Relaxed);
    let polling = async { while !viewer.get("/hls/a.m3u8").await.text().ends_with("seg10.ts\n") {} };
    in_time(polling).await;
    assert!(fake.count("a.m3u8") <= 4, "{:?}", fake.asked());
}

#[tokio::test]
async fn an_ended_stream_releases_its_viewers_and_is_served_from_the_cache() {
    let origin = Origin::at(100, 1);
    let fake = origin.start().await;
    let edge = Node::start("edge", fake.addr);
    let mut viewer = Viewer::connect(edge.addr).await;
    viewer.ask(&format!("{RENDITION}?_HLS_msn=100&_HLS_part=1"), "").await;
    edge.until("vivid_edge_holds", &[], 1.0).await;
    origin.change(|live| live.ended = true);
    let got = viewer.read().await.unwrap();
    assert!(got.text().trim_end().ends_with("#EXT-X-ENDLIST"), "{}", got.text());
    until(|| edge.metric("vivid_edge_subscriptions", &[]) == 0.0, "nothing more is followed").await;
    let far = viewer.get(&format!("{RENDITION}?_HLS_msn=999")).await;
    assert_eq!((far.status, far.body), (200, got.body), "directives mean nothing any more");
}

#[tokio::test]
async fn a_live_window_that_is_full_leaves_the_rest_to_the_cache() {
    let fake = Origin::at(100, 1).start().await;
    let edge = Node::with(config::Edge { live_bytes_max: 1, ..config("edge", fake.addr) });
    assert_eq!(edge.get(RENDITION).await.status, 200);
    let part = "/live/test/720p/e1/99.0.m4s";
    for _ in 0..2 {
        assert_eq!(edge.get(part).await.status, 200);
    }
    assert_eq!((fake.count(part), edge.metric("vivid_edge_bounds_total", &["live_bytes_max"]) > 0.0), (1, true));
}
