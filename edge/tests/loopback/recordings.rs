//! What an origin keeps of streams that have ended, at `/archive/{stream}/{started}/`: VOD like any other, and never live.

use crate::support::{Asked, Fake, Node, Said, Viewer, config_with, text, whole};

const LIST: &str = "/archive/show/1795226400500/index.m3u8";
const TALL: &str = "/archive/show/1795226400500/720p/index.m3u8";
const SEGMENT: &str = "/archive/show/1795226400500/720p/k3x/100.m4s";

/// An origin that knows what begins so.
fn answer(asked: &Asked, knows: &str) -> Said {
    let (playlist, media) = ("application/vnd.apple.mpegurl", "video/mp4");
    let (hour, for_ever) = ("public, max-age=3600", "public, max-age=31536000, immutable");
    let said = |kind: &str, control: &str, body: Vec<u8>| {
        // Whoever is no cache like this one is told otherwise.
        let targeted = ("CDN-Cache-Control", control.to_owned());
        let plain = ("Cache-Control", "no-cache".to_owned());
        Said::Whole(200, vec![("Content-Type", kind.to_owned()), plain, targeted], body)
    };
    let path = asked.target.split('?').next().unwrap();
    if !path.starts_with(knows) || path.contains("none") {
        return text(404, "no such recording\n");
    }
    match path.rsplit('/').next().unwrap() {
        "index.m3u8" if path == LIST => {
            said(playlist, hour, b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n720p/index.m3u8\n".to_vec())
        }
        "index.m3u8" | "iframes.m3u8" => {
            let head = "#EXTM3U\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:100\n";
            let body = "#EXT-X-MAP:URI=\"k3x/init.mp4\"\n#EXTINF:2,\nk3x/100.m4s\n#EXT-X-ENDLIST\n";
            said(playlist, hour, [head, body].concat().into_bytes())
        }
        "index.json" => text(200, "[]"),
        _ if asked.head.contains("Range: ") => text(500, "an edge asks for a segment as a whole"),
        _ => said(media, for_ever, (0..100_u8).cycle().take(100_000).collect()),
    }
}

async fn origin(knows: &'static str) -> Fake {
    Fake::start(move |asked| Box::pin(std::future::ready(answer(&asked, knows)))).await
}

#[tokio::test]
async fn a_recording_is_fetched_once_and_followed_by_nobody() {
    let fake = origin("/archive/").await;
    let edge = Node::start("edge", fake.addr);
    let mut viewer = Viewer::connect(edge.addr).await;
    // Players that know the directives ask with them here too.
    for query in ["", "?_HLS_msn=101&_HLS_part=0", "?token=a", "?_HLS_skip=YES", "?CMCD=bl%3D2"] {
        for playlist in [LIST, TALL, "/archive/show/1795226400500/720p/iframes.m3u8"] {
            let got = viewer.get(&format!("{playlist}{query}")).await;
            assert_eq!((got.status, got.field("content-type")), (200, "application/vnd.apple.mpegurl"), "{query}");
        }
    }
    assert_eq!(fake.asked().len(), 3, "{:?}", fake.asked());
    assert_eq!(edge.metric("vivid_edge_followed_playlists_total", &[]), 0.0);
    for part in [0..100_000, 99_900..100_000, 40..50] {
        let range = format!("Range: bytes={}-{}\r\n", part.start, part.end - 1);
        let got = viewer.get_with(SEGMENT, &range).await;
        assert_eq!((got.status, got.body.len(), got.body[0]), (206, part.len(), (part.start % 100) as u8));
    }
    let whole = viewer.get(SEGMENT).await;
    assert_eq!((whole.status, whole.body.len(), whole.field("cache-status")), (200, 100_000, "edge; hit"));
    assert_eq!(fake.count("100.m4s"), 1);
    assert_eq!(edge.metric("vivid_edge_live_bytes", &[]), 0.0);
    // What changes is asked for each time.
    for _ in 0..2 {
        assert_eq!(viewer.get("/archive/index.json").await.status, 200);
    }
    assert_eq!(fake.count("index.json"), 2);
}

/// Each of two origins that one encoder publishes to keeps recordings of its own, under names of its own.
#[tokio::test]
async fn a_recording_that_one_origin_has_is_found_there_with_all_its_media() {
    let (first, second) = (origin("/archive/other/").await, origin("/archive/show/").await);
    let edge = Node::with(config_with("edge", &[first.addr, second.addr]));
    let mut viewer = Viewer::connect(edge.addr).await;
    for path in [LIST, TALL, SEGMENT, "/archive/show/1795226400500/audio/k3x/100.m4s"] {
        assert_eq!(viewer.get(path).await.status, 200, "{path}");
    }
    assert_eq!((first.count("/show/"), second.count("/show/")), (1, 4), "the first is asked once in all");
    assert_eq!(viewer.get(&SEGMENT.replace("show", "other")).await.status, 200);
    assert_eq!(second.count("/other/"), 0, "other recordings are asked for where they were");
    assert_eq!(viewer.get(&LIST.replace("show", "gone")).await.status, 404);
    // What a restarted edge is asked for first may be media.
    let afresh = Node::with(config_with("edge", &[first.addr, second.addr]));
    assert_eq!(afresh.get(SEGMENT).await.status, 200);
}

/// What one folder has at two upstreams that are no recordings is each one's own: finding the one hides none of the other.
#[tokio::test]
async fn a_file_that_one_has_moves_nothing_else_of_its_folder() {
    let has = |name: &'static str| {
        Fake::start(move |asked: Asked| {
            let known = asked.target.contains(name);
            let said = if known { whole("video/mp4", "bytes") } else { text(404, "no such file\n") };
            Box::pin(std::future::ready(said))
        })
    };
    let (first, second) = (has("one").await, has("other").await);
    let edge = Node::with(config_with("edge", &[first.addr, second.addr]));
    assert_eq!(edge.get("/vod/other.m3u8").await.status, 200);
    assert_eq!(edge.get("/vod/one.mp4").await.status, 200);
    assert_eq!(second.count("one.mp4"), 0);
}

#[tokio::test]
async fn names_that_are_made_up_hide_no_recording() {
    const MADE_UP: usize = 300;
    let (first, second) = (origin("/archive/other/").await, origin("/archive/show/").await);
    let mut config = config_with("edge", &[first.addr, second.addr]);
    config.upstream.shields.looks_per_s = 20;
    let edge = Node::with(config);
    let mut viewer = Viewer::connect(edge.addr).await;
    for path in [LIST, SEGMENT] {
        assert_eq!(viewer.get(path).await.status, 200, "{path}");
    }
    let mut refused = 0;
    for number in 0..MADE_UP {
        let got = viewer.get(&format!("/archive/made/{number}/index.m3u8")).await;
        let looked = second.count(&format!("/made/{number}/"));
        match got.status {
            404 => assert_eq!(looked, 1, "nobody is told that there is none without a look"),
            503 => assert_eq!((looked, got.field("retry-after"), got.field("cache-control")), (0, "1", "no-store")),
            other => panic!("{other}"),
        }
        refused += usize::from(got.status == 503);
    }
    assert!(refused > 0);
    assert_eq!(edge.metric("vivid_edge_bounds_total", &["looks_per_s"]), refused as f64);
    // A file of a recording that was found needs no look, and one that is not in it costs none.
    assert_eq!(viewer.get(TALL).await.status, 200);
    assert_eq!(viewer.get(&SEGMENT.replace("100", "none")).await.status, 404);
    assert_eq!(first.count("none.m4s"), 0);
    for number in 0..15 {
        let real = SEGMENT.replace("1795226400500", &number.to_string());
        let status = viewer.get(&real).await.status;
        assert!(matches!(status, 200 | 503), "{status}");
        // Who is refused and asks again is not behind those who make up new names.
        viewer.get(&format!("/archive/made/{}/index.m3u8", MADE_UP + number)).await;
        assert!(status == 200 || viewer.get(&real).await.status == 200, "{number}");
    }
}

/// A shield that may not look says 503: that makes it no worse a shield, and costs nobody what failures need.
#[tokio::test]
async fn a_shield_that_may_not_look_stays_in_use() {
    let busy = Fake::start(|asked: Asked| {
        let is_recording = asked.target.starts_with("/archive/");
        Box::pin(std::future::ready(if is_recording { text(503, "later\n") } else { whole("video/mp4", "fine") }))
    })
    .await;
    let second = origin("/archive/show/").await;
    let mut config = config_with("edge", &[busy.addr, second.addr]);
    (config.upstream.shields.retry_percent, config.upstream.shields.health_path) = (0, None);
    let edge = Node::with(config);
    let mut viewer = Viewer::connect(edge.addr).await;
    assert_eq!(viewer.get(SEGMENT).await.status, 200);
    for number in 0..5 {
        // The other one has none of these, and this one cannot say: there may be such recordings.
        assert_eq!(viewer.get(&format!("/archive/made/{number}/index.m3u8")).await.status, 503);
    }
    assert_eq!(edge.metric("vivid_edge_peer_healthy", &[]), 2.0);
    assert_eq!(viewer.get("/vod/a.mp4").await.text(), "fine");
}

#[tokio::test]
async fn without_looks_the_first_choice_is_believed() {
    let (first, second) = (origin("/archive/other/").await, origin("/archive/show/").await);
    let mut config = config_with("edge", &[first.addr, second.addr]);
    config.upstream.shields.looks_per_s = 0;
    assert_eq!(Node::with(config).get(LIST).await.status, 404);
    assert_eq!(second.count("/show/"), 0);
}
