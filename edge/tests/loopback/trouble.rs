//! Upstreams that fail, lie, restart and disappear.

use crate::support::{
    Asked, Fake, Node, Origin, PATIENCE, RENDITION, Said, Viewer, config, nobody, text, until, whole,
};
use manifest::Position;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[tokio::test]
async fn an_unknown_stream_is_told_in_upstreams_words_and_not_asked_for_again_at_once() {
    let fake =
        Fake::start(|_| Box::pin(std::future::ready(text(404, "no stream of this name; publish it first\n")))).await;
    let edge = Node::start("edge", fake.addr);
    for target in [RENDITION, "/live/none/index.m3u8?x=1", "/live/none/index.m3u8?_HLS_msn=7"] {
        let got = edge.get(target).await;
        assert_eq!((got.status, got.text().as_str()), (404, "no stream of this name; publish it first\n"));
        assert_eq!(got.field("cache-control"), "no-store");
    }
    assert_eq!(fake.asked().len(), 2, "{:?}", fake.asked());
}

#[tokio::test]
async fn an_upstream_that_is_not_there_gives_a_clear_502() {
    let edge = Node::start("edge", nobody());
    for target in [RENDITION, "/live/test/index.m3u8", "/live/test/720p/e1/1.m4s"] {
        let got = edge.get(target).await;
        assert_eq!((got.status, got.field("retry-after")), (502, "1"));
        assert!(got.text().contains("check edge.upstream.url"), "{}", got.text());
    }
    assert_eq!(edge.get("/_vivid/readyz").await.status, 200, "viewers may be sent to a node whose upstream is down");
}

#[tokio::test]
async fn an_upstream_that_is_silent_gives_504() {
    let fake = Fake::start(|_| Box::pin(std::future::pending::<Said>())).await;
    let mut config = config("edge", fake.addr);
    config.upstream.response_timeout = Duration::from_millis(50);
    let edge = Node::with(config);
    for target in [RENDITION, "/live/test/720p/e1/1.m4s"] {
        assert_eq!(edge.get(target).await.status, 504, "{target}");
    }
    edge.until("vivid_edge_upstream_requests_total", &["timeout"], 2.0).await;
}

#[tokio::test]
async fn an_answer_that_is_no_http_gives_502() {
    let fake = Fake::start(|_| {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        drop(sender);
        Box::pin(std::future::ready(Said::Raw("SSH-2.0-OpenSSH\r\n\r\n".to_owned(), receiver)))
    })
    .await;
    let edge = Node::start("edge", fake.addr);
    assert_eq!(edge.get("/a").await.status, 502);
}

#[tokio::test]
async fn a_hold_that_lasts_too_long_is_503() {
    let fake = Origin::at(100, 1).start().await;
    let edge = Node::with(config::Edge { hold_max: Duration::from_millis(100), ..config("edge", fake.addr) });
    let got = edge.get(&format!("{RENDITION}?_HLS_msn=100&_HLS_part=1")).await;
    assert_eq!((got.status, got.field("retry-after")), (503, "1"));
    edge.until("vivid_edge_holds_ended_total", &["late"], 1.0).await;
}

#[tokio::test]
async fn what_cannot_be_read_as_a_playlist_is_passed_on_and_soon_forgotten() {
    let huge = "#EXTM3U\n".repeat(1_250_000);
    for (body, status) in [
        (b"garbage \xff\xfe\x00 no playlist".to_vec(), 200),
        (huge.into_bytes(), 200),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:99999999999999999999\n#EXTINF:1e999,\n\n".to_vec(), 200),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-SKIP:SKIPPED-SEGMENTS=3\n".to_vec(), 200),
        (Vec::new(), 200),
    ] {
        let said = body.clone();
        let fake = Fake::start(move |_| Box::pin(std::future::ready(whole("text/plain", said.clone())))).await;
        let edge = Node::start("edge", fake.addr);
        let got = edge.get("/foreign/a.m3u8").await;
        assert_eq!((got.status, got.body.len()), (status, body.len()));
        assert_eq!(edge.metric("vivid_edge_bounds_total", &["playlist_bytes_max"]) > 0.0, body.len() > 10_000);
        let asked = fake.asked().len();
        let again = async {
            while fake.asked().len() == asked {
                assert_eq!(edge.get("/foreign/a.m3u8").await.body.len(), body.len());
            }
        };
        // Upstream says max-age=60; a second is as long as such a thing is kept.
        assert!(tokio::time::timeout(PATIENCE, again).await.is_ok(), "kept for longer than its class allows");
    }
}

#[tokio::test]
async fn garbage_in_a_followed_playlist_keeps_the_last_good_one() {
    let origin = Origin::at(100, 1);
    let good = origin.playlist();
    let rounds = Arc::new(AtomicUsize::new(0));
    let fake = Fake::start(move |asked: Asked| {
        let (good, round) = (good.clone(), rounds.fetch_add(1, Ordering::Relaxed));
        Box::pin(async move {
            match round {
                0 => whole("application/vnd.apple.mpegurl", good),
                _ if asked.target.ends_with(".m4s") => text(404, ""),
                _ => whole("application/vnd.apple.mpegurl", b"\xff\x00#EXTM3U".to_vec()),
            }
        })
    })
    .await;
    let edge = Node::start("edge", fake.addr);
    let first = edge.get(RENDITION).await;
    edge.until("vivid_edge_followed_playlists_total", &["unreadable"], 2.0).await;
    let stale = edge.get(RENDITION).await;
    assert_eq!(stale.body, first.body);
    assert_eq!(stale.field("cache-status"), "edge; hit; detail=stale");
}

#[tokio::test]
async fn a_dead_upstream_is_bridged_by_the_last_playlist_and_the_stream_goes_on_when_it_is_back() {
    let origin = Origin::at(100, 1);
    let fake = origin.start().await;
    let edge = Node::start("edge", fake.addr);
    let first = edge.get(RENDITION).await;
    let addr = fake.addr;
    fake.die().await;
    edge.until("vivid_edge_upstream_requests_total", &["unreachable"], 1.0).await;
    let bridged = edge.get(RENDITION).await;
    assert_eq!((bridged.status, bridged.body == first.body), (200, true));

    let mut held = Viewer::connect(edge.addr).await;
    held.ask(&format!("{RENDITION}?_HLS_msn=100&_HLS_part=1"), "").await;
    edge.until("vivid_edge_holds", &[], 1.0).await;
    origin.advance();
    let again = origin.clone();
    let _back = Fake::start_at(addr, move |asked| Box::pin(again.clone().answer(asked))).await;
    assert_eq!(held.read().await.unwrap().text(), origin.playlist());
}

#[tokio::test]
async fn a_restarted_origin_never_mixes_old_bytes_with_new() {
    let origin = Origin::at(100, 1);
    let fake = origin.start().await;
    let edge = Node::start("edge", fake.addr);
    let mut viewer = Viewer::connect(edge.addr).await;
    assert!(viewer.get(RENDITION).await.text().contains("e1/100.0.m4s"));
    assert!(viewer.get("/live/test/720p/e1/100.0.m4s").await.text().contains("/e1/"));

    viewer.ask(&format!("{RENDITION}?_HLS_msn=100&_HLS_part=1"), "").await;
    edge.until("vivid_edge_holds", &[], 1.0).await;
    origin.change(|live| {
        live.epoch = "e2";
        live.next = Position { msn: 140, part: 1 };
    });
    let released = viewer.read().await.unwrap();
    assert_eq!(released.text(), origin.playlist());
    assert!(!released.text().contains("e1/"));
    assert!(viewer.get("/live/test/720p/e2/140.0.m4s").await.text().contains("/e2/"));
}

#[tokio::test]
async fn a_playlist_that_goes_backwards_is_not_shown() {
    let origin = Origin::at(100, 1);
    let fake = origin.start().await;
    let edge = Node::start("edge", fake.addr);
    let shown = edge.get(RENDITION).await;
    origin.change(|live| live.next = Position { msn: 90, part: 0 });
    heard_backwards(&edge).await;
    assert_eq!(edge.get(RENDITION).await.body, shown.body);
}

/// Waits until the node has heard a playlist older than the one it shows.
async fn heard_backwards(edge: &Node) {
    let mut viewer = Viewer::connect(edge.addr).await;
    viewer.ask(&format!("{RENDITION}?_HLS_msn=100&_HLS_part=1"), "").await;
    edge.until("vivid_edge_followed_playlists_total", &["backwards"], 1.0).await;
}

#[tokio::test]
async fn a_stream_that_is_gone_is_404_for_those_who_wait() {
    let live = Arc::new(AtomicUsize::new(0));
    let origin = Origin::at(100, 1);
    let (gone, answers) = (live.clone(), origin.clone());
    let fake = Fake::start(move |asked: Asked| {
        let (gone, answers) = (gone.clone(), answers.clone());
        Box::pin(async move {
            let waited = answers.answer(asked).await;
            if gone.load(Ordering::Relaxed) == 0 { waited } else { text(404, "the stream has ended\n") }
        })
    })
    .await;
    let edge = Node::start("edge", fake.addr);
    let mut viewer = Viewer::connect(edge.addr).await;
    viewer.ask(&format!("{RENDITION}?_HLS_msn=100&_HLS_part=1"), "").await;
    edge.until("vivid_edge_holds", &[], 1.0).await;
    until(|| fake.count("_HLS_msn=100&_HLS_part=1") == 1, "the edge blocks upstream").await;
    live.store(1, Ordering::Relaxed);
    origin.advance();
    let mut got = viewer.read().await.unwrap();
    // Three target durations are the most that it is held, and as long a stream is missed before it counts as gone.
    while got.status == 503 {
        got = viewer.get(&format!("{RENDITION}?_HLS_msn=100&_HLS_part=1")).await;
    }
    assert_eq!((got.status, got.text().as_str()), (404, "the stream has ended\n"));
    edge.until("vivid_edge_subscriptions", &[], 0.0).await;
}

/// A foreign origin without epochs in its names: which life of it speaks, and which segments it lists.
struct Reused {
    life: AtomicUsize,
    first: AtomicUsize,
}

#[tokio::test]
async fn names_that_a_restarted_origin_gives_again_never_stand_for_old_bytes() {
    let state = Arc::new(Reused { life: AtomicUsize::new(1), first: AtomicUsize::new(5) });
    let told = state.clone();
    let fake = Fake::start(move |asked: Asked| {
        let (life, first) = (told.life.load(Ordering::SeqCst), told.first.load(Ordering::SeqCst));
        let said = if asked.target.ends_with(".m3u8") {
            let head =
                format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-MAP:URI=\"i.mp4\"\n");
            let segments: String = (first..first + 4).map(|msn| format!("#EXTINF:1,\n{msn}.m4s\n")).collect();
            let fields = vec![("Cache-Control", "no-cache".to_owned())];
            Said::Whole(200, fields, (head + &segments).into_bytes())
        } else {
            whole("video/mp4", format!("life {life}"))
        };
        Box::pin(std::future::ready(said))
    })
    .await;
    let edge = Node::start("edge", fake.addr);
    let mut viewer = Viewer::connect(edge.addr).await;
    let playlist = "/hls/show/index.m3u8";
    viewer.get(playlist).await;
    // What left the window is asked for too, and kept elsewhere.
    for file in ["i.mp4", "3.m4s", "5.m4s", "6.m4s", "7.m4s", "8.m4s"] {
        for _ in 0..2 {
            assert_eq!(viewer.get(&format!("/hls/show/{file}")).await.text(), "life 1", "{file}");
        }
    }
    state.life.store(2, Ordering::SeqCst);
    state.first.store(3, Ordering::SeqCst);
    let shown = |first: usize| {
        let addr = edge.addr;
        async move {
            let mut viewer = Viewer::connect(addr).await;
            while !viewer.get(playlist).await.text().contains(&format!("SEQUENCE:{first}\n")) {
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, shown(3)).await.unwrap();
    for file in ["i.mp4", "3.m4s", "5.m4s", "6.m4s"] {
        assert_eq!(viewer.get(&format!("/hls/show/{file}")).await.text(), "life 2", "{file}");
    }
    for first in 4..6 {
        state.first.store(first, Ordering::SeqCst);
        tokio::time::timeout(PATIENCE, shown(first)).await.unwrap();
        assert_eq!(viewer.get(&format!("/hls/show/{}.m4s", first + 3)).await.text(), "life 2", "{first}");
    }
    assert_eq!(viewer.get("/hls/show/i.mp4").await.text(), "life 2");
}
