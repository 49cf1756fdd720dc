//! Playlists of one path that only their query tells apart: as many as are configured are followed, made up or not.

use crate::support::{Asked, Fake, Node, Origin, Said, Viewer, config, in_time, until, whole};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[tokio::test]
async fn queries_that_are_made_up_take_nothing_from_other_streams() {
    const MADE_UP: usize = 60;
    let origin = Origin::at(100, 1);
    let fake = origin.start().await;
    let edge = Node::with(config::Edge { subscriptions_max: 12, ..config("edge", fake.addr) });
    let mut viewer = Viewer::connect(edge.addr).await;
    for at in 0..MADE_UP {
        let got = viewer.get(&format!("/hls/v/index.m3u8?x={at}")).await;
        assert_eq!((got.status, got.text()), (200, origin.playlist()), "{at}");
        // What players and tokens add makes no variant.
        let got = viewer.get(&format!("/hls/v/index.m3u8?token={at}&CMCD=bl%3D{at}&_HLS_skip=YES")).await;
        assert_eq!(got.status, 200, "{at}");
    }
    assert_eq!(edge.metric("vivid_edge_subscriptions", &[]), 9.0, "the path itself, and eight variants");
    assert_eq!(edge.metric("vivid_edge_bounds_total", &["subscriptions_per_path_max"]), (MADE_UP - 8) as f64);
    assert_eq!(edge.metric("vivid_edge_bounds_total", &["subscriptions_max"]), 0.0);

    for slashes in ["//", "///", "%2F"] {
        assert_eq!(viewer.get(&format!("/hls/v{slashes}index.m3u8")).await.status, 200);
    }
    assert_eq!(edge.metric("vivid_edge_subscriptions", &[]), 9.0, "servers of files take many slashes for one");

    // One more is a request, and no place to wait at.
    let asked = fake.count("x=one-more");
    assert_eq!(viewer.get("/hls/v/index.m3u8?x=one-more").await.status, 200);
    let held = viewer.get("/hls/v/index.m3u8?x=one-more&_HLS_msn=100&_HLS_part=1").await;
    assert_eq!((held.status, held.text().contains("edge.subscriptions_per_path_max")), (503, true), "{}", held.text());
    assert!(fake.count("x=one-more") <= asked + 2);

    for other in ["/hls/v/index.m3u8", "/hls/w/index.m3u8", "/live/test/720p/index.m3u8"] {
        let mut waiting = Viewer::connect(edge.addr).await;
        assert_eq!(waiting.get(other).await.status, 200, "{other}");
        waiting.ask(&format!("{other}?_HLS_msn=100&_HLS_part={}", origin.next().part), "").await;
        until(|| edge.metric("vivid_edge_holds", &[]) == 1.0, "it is held").await;
        origin.advance();
        assert_eq!(waiting.read().await.unwrap().text(), origin.playlist(), "{other}");
    }
    // One for each, and no more than followers need: their first, and one for each of the parts since.
    assert!(fake.count("/hls/v/index.m3u8?x=") <= MADE_UP + 2 + 8 * 5, "{}", fake.count("x="));
}

#[tokio::test]
async fn streams_that_a_query_tells_apart_are_both_followed_and_never_mixed() {
    let made = Arc::new(AtomicU64::new(10));
    let last = made.clone();
    let fake = Fake::start(move |asked: Asked| {
        let (path, query) = asked.target.split_once('?').unwrap();
        let last = last.load(Ordering::Relaxed);
        let said = match path {
            "/tv/live.m3u8" => {
                let channel = query.split('&').find(|pair| pair.starts_with("channel=")).unwrap();
                let first = last - 3;
                let mut text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:{first}\n");
                (first..last).for_each(|msn| text.push_str(&format!("#EXTINF:1,\n{msn}.ts?{channel}\n")));
                Said::Whole(200, Vec::new(), text.into_bytes())
            }
            _ => whole("video/mp2t", format!("{path} of {query}")),
        };
        Box::pin(std::future::ready(said))
    })
    .await;
    let edge = Node::start("edge", fake.addr);
    let mut viewer = Viewer::connect(edge.addr).await;
    for newest in [9, 10] {
        made.store(newest + 1, Ordering::Relaxed);
        for channel in [1, 2] {
            let playlist = format!("/tv/live.m3u8?channel={channel}&token={newest}");
            let end = format!("{newest}.ts?channel={channel}\n");
            in_time(async { while !viewer.get(&playlist).await.text().ends_with(&end) {} }).await;
            let segment = format!("/tv/{newest}.ts?channel={channel}");
            let got = viewer.get(&segment).await;
            assert_eq!(got.text(), format!("/tv/{newest}.ts of channel={channel}"));
            assert_eq!(viewer.get(&segment).await.body, got.body);
            assert_eq!(fake.count(&segment), 1);
        }
    }
    assert_eq!(edge.metric("vivid_edge_subscriptions", &[]), 2.0);
}

/// Upstream takes no notice of `x`, so what it makes up is one stream by many names.
#[tokio::test]
async fn names_that_are_made_up_make_room_for_streams() {
    const CHANNELS: usize = 7;
    let fake = Fake::start(|asked: Asked| {
        let channel = asked.target.split(['?', '&']).find(|pair| pair.starts_with("channel="));
        let head = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MAP:URI=\"init.mp4\"\n";
        let segment = channel.map_or_else(|| "1.ts".to_owned(), |channel| format!("1.ts?{channel}"));
        let text = format!("{head}#EXTINF:1,\n{segment}\n");
        Box::pin(std::future::ready(Said::Whole(200, Vec::new(), text.into_bytes())))
    })
    .await;
    let edge = Node::with(config::Edge { subscription_idle: Duration::from_secs(600), ..config("edge", fake.addr) });
    let mut viewer = Viewer::connect(edge.addr).await;
    for made_up in 0..8 {
        viewer.get(&format!("/tv/live.m3u8?x={made_up}")).await;
    }
    assert_eq!(edge.metric("vivid_edge_subscriptions", &[]), 8.0);
    let followed = async |name: &str| edge.get("/_vivid/streams/tv").await.text().contains(&format!("?{name}\""));
    for channel in 0..CHANNELS {
        let name = format!("channel={channel}");
        in_time(async {
            while !followed(&name).await {
                viewer.get(&format!("/tv/live.m3u8?{name}")).await;
                // Whoever makes up names goes on with it.
                viewer.get(&format!("/tv/live.m3u8?x=a{channel}")).await;
            }
        })
        .await;
    }
    for channel in 0..CHANNELS {
        assert!(followed(&format!("channel={channel}")).await, "{channel} has given way to nothing");
    }
    assert_eq!(edge.metric("vivid_edge_subscriptions", &[]), 8.0);
    // Those that have a place keep it where nobody is a double.
    for channel in 10..30 {
        viewer.get(&format!("/tv/live.m3u8?channel={channel}")).await;
    }
    for channel in 0..CHANNELS {
        assert!(followed(&format!("channel={channel}")).await, "{channel}");
    }
}
