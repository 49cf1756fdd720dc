//! What an origin keeps of streams that have ended, at `/archive/{stream}/{started}/`: VOD like any other, and never live.

use crate::support::{Asked, Fake, Node, Said, Viewer, config_with, text};

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
    if !path.starts_with(knows) {
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
}
