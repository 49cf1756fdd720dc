//! Origins that speak HLS otherwise than ours does: ranges of growing files, tokens of their own, other hosts, no blocking.

use crate::support::{Asked, Fake, Got, Node, Said, Viewer, in_time, text, until, whole};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

const MULTIVARIANT: &str = "/hls/index.m3u8";
const PLAYLIST: &str = "/hls/v/index.m3u8";

/// A playlist that cannot be asked to block: players and this node poll it.
fn plain(first: u64, segments: &[String], ended: bool) -> String {
    let listed: String = segments.iter().map(|uri| format!("#EXTINF:1,\n{uri}\n")).collect();
    let end = if ended { "#EXT-X-ENDLIST\n" } else { "" };
    format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:{first}\n{listed}{end}")
}

/// An origin whose playlist the test changes; media say what was asked for.
async fn origin(playlist: &Arc<Mutex<String>>) -> Fake {
    let playlist = playlist.clone();
    Fake::start(move |asked: Asked| {
        let path = asked.target.split('?').next().unwrap();
        let said = if path.ends_with(".m3u8") {
            let fields = vec![("Cache-Control", "no-cache".to_owned())];
            Said::Whole(200, fields, playlist.lock().unwrap().clone().into_bytes())
        } else {
            whole("video/mp4", format!("bytes of {}", asked.target))
        };
        Box::pin(std::future::ready(said))
    })
    .await
}

/// Asks until the answer is as wanted.
async fn until_got(viewer: &mut Viewer, target: &str, wanted: impl Fn(&Got) -> bool) -> Got {
    in_time(async {
        loop {
            let got = viewer.get(target).await;
            if wanted(&got) {
                return got;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_playlist_that_cannot_block_is_polled_for_all_and_ends() {
    let names = |upto: u64| (1..=upto).map(|at| format!("{at}.ts")).collect::<Vec<_>>();
    let playlist = Arc::new(Mutex::new(plain(1, &names(3), false)));
    let fake = origin(&playlist).await;
    let edge = Node::start("edge", fake.addr);
    let mut viewer = Viewer::connect(edge.addr).await;
    // Directives mean nothing here: whoever sends them is answered at once.
    let got = viewer.get(&format!("{PLAYLIST}?_HLS_msn=9&_HLS_part=1&_HLS_skip=YES")).await;
    assert_eq!((got.status, got.text()), (200, plain(1, &names(3), false)));
    *playlist.lock().unwrap() = plain(1, &names(4), false);
    until_got(&mut viewer, PLAYLIST, |got| got.text().contains("4.ts")).await;
    for _ in 0..3 {
        assert_eq!(viewer.get("/hls/v/4.ts").await.text(), "bytes of /hls/v/4.ts");
    }
    assert_eq!(fake.count("4.ts"), 1);
    *playlist.lock().unwrap() = plain(1, &names(4), true);
    until_got(&mut viewer, PLAYLIST, |got| got.text().contains("ENDLIST")).await;
    edge.until("vivid_edge_followed_playlists_total", &["newer"], 2.0).await;
    until(|| edge.metric("vivid_edge_subscriptions", &[]) == 0.0, "a finished playlist is not followed").await;
    assert!(fake.count("_HLS_") == 0, "{:?}", fake.asked());
}

#[tokio::test]
async fn tokens_that_upstream_wrote_go_back_to_it_and_those_of_viewers_do_not() {
    let playlist = Arc::new(Mutex::new(String::new()));
    let written = playlist.clone();
    let fake = Fake::start(move |asked: Asked| {
        let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
        let multivariant = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nv/index.m3u8?token=list&part=a\n";
        let said = match path {
            MULTIVARIANT => whole("application/vnd.apple.mpegurl", multivariant),
            _ if !query.contains("token=") => text(403, "no token\n"),
            PLAYLIST => {
                let fields = vec![("Cache-Control", "no-cache".to_owned())];
                Said::Whole(200, fields, written.lock().unwrap().clone().into_bytes())
            }
            _ => whole("video/mp4", format!("bytes of {path}")),
        };
        Box::pin(std::future::ready(said))
    })
    .await;
    let segments =
        |token: &str, upto: u64| (1..=upto).map(|at| format!("{at}.ts?token={token}&e=5")).collect::<Vec<_>>();
    *playlist.lock().unwrap() = plain(1, &segments("one", 2), false);
    let edge = Node::start("edge", fake.addr);
    let mut viewer = Viewer::connect(edge.addr).await;
    assert_eq!(viewer.get(MULTIVARIANT).await.status, 200);
    for own in ["", "&access_token=x", "&CMCD=bl%3D1", "&session=7"] {
        let got = viewer.get(&format!("{PLAYLIST}?token=list&part=a{own}")).await;
        assert_eq!((got.status, got.text()), (200, plain(1, &segments("one", 2), false)), "{own}");
        let got = viewer.get(&format!("/hls/v/2.ts?token=one&e=5{own}")).await;
        assert_eq!((got.status, got.text().as_str()), (200, "bytes of /hls/v/2.ts"), "{own}");
    }
    let of_segment: Vec<_> = fake.asked().into_iter().filter(|asked| asked.target.contains("2.ts")).collect();
    assert_eq!(of_segment.len(), 1);
    assert_eq!(of_segment[0].target, "/hls/v/2.ts?token=one&e=5", "as upstream wrote it");

    // Each version has new tokens: what is there is not fetched again, what is new goes with the new one.
    *playlist.lock().unwrap() = plain(1, &segments("two", 3), false);
    until_got(&mut viewer, &format!("{PLAYLIST}?part=a"), |got| got.text().contains("3.ts")).await;
    assert_eq!(viewer.get("/hls/v/2.ts?token=two&e=5").await.field("cache-status"), "edge; hit");
    assert_eq!(viewer.get("/hls/v/3.ts?e=5&token=mine").await.status, 200);
    assert_eq!(fake.count("/hls/v/3.ts?token=two&e=5"), 1, "{:?}", fake.asked());
    let refused = fake
        .asked()
        .iter()
        .filter(|asked| asked.target.contains("index.m3u8?") && !asked.target.contains("token=list"))
        .count();
    assert_eq!(refused, 0, "{:?}", fake.asked());
}

#[tokio::test]
async fn objects_that_upstream_tells_apart_by_a_session_are_not_mixed() {
    let playlist = Arc::new(Mutex::new(plain(1, &["a.ts?sid=1".to_owned(), "a.ts?sid=2".to_owned()], false)));
    let fake = origin(&playlist).await;
    let edge = Node::start("edge", fake.addr);
    let mut viewer = Viewer::connect(edge.addr).await;
    assert_eq!(viewer.get(PLAYLIST).await.status, 200);
    for _ in 0..2 {
        for sid in [1, 2] {
            let target = format!("/hls/v/a.ts?sid={sid}");
            assert_eq!(viewer.get(&target).await.text(), format!("bytes of {target}"));
        }
    }
    assert_eq!(fake.count("a.ts"), 2);
}

#[tokio::test]
async fn what_is_on_another_host_is_left_to_viewers() {
    let uris = ["http://127.0.0.1:9/x/1.ts", "//other.example/2.ts", "3.ts"].map(str::to_owned);
    let playlist = Arc::new(Mutex::new(plain(1, &uris, false)));
    let fake = origin(&playlist).await;
    let edge = Node::start("edge", fake.addr);
    let mut viewer = Viewer::connect(edge.addr).await;
    assert_eq!(viewer.get(PLAYLIST).await.text(), plain(1, &uris, false), "not a byte is changed");
    assert_eq!(viewer.get("/hls/v/3.ts").await.status, 200);
    assert!(fake.asked().iter().all(|asked| asked.target.starts_with("/hls/v/")), "{:?}", fake.asked());
}

/// Low latency as some packagers write it: the parts of a segment are ranges of one file that grows.
fn ranged(parts: &[u64], done: bool) -> String {
    let total: u64 = parts.iter().sum();
    let mut offset = 0;
    let listed: String = parts
        .iter()
        .map(|length| {
            let line = format!("#EXT-X-PART:DURATION=0.5,URI=\"7.mp4\",BYTERANGE=\"{length}@{offset}\"\n");
            offset += length;
            line
        })
        .collect();
    let (end, next, at) = if done { ("#EXTINF:2,\n7.mp4\n", "8.mp4", 0) } else { ("", "7.mp4", total) };
    format!(
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.5\n\
         #EXT-X-PART-INF:PART-TARGET=0.5\n#EXT-X-MEDIA-SEQUENCE:6\n#EXTINF:2,\n6.mp4\n{listed}{end}\
         #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{next}\",BYTERANGE-START={at}\n"
    )
}

/// An origin that answers blocking requests when the test has published.
async fn ranged_origin(
    playlist: &tokio::sync::watch::Sender<String>,
    media: impl Fn(&Asked) -> Said + Send + Sync + 'static,
) -> Fake {
    let playlist = playlist.subscribe();
    let media = Arc::new(media);
    Fake::start(move |asked: Asked| {
        let (mut playlist, media) = (playlist.clone(), media.clone());
        Box::pin(async move {
            if !asked.target.contains(".m3u8") {
                return media(&asked);
            }
            if asked.target.contains("_HLS_msn") {
                playlist.borrow_and_update();
                if playlist.changed().await.is_err() {
                    return text(503, "over\n");
                }
            }
            let body = playlist.borrow().clone();
            whole("application/vnd.apple.mpegurl", body)
        })
    })
    .await
}

#[tokio::test]
async fn parts_that_are_ranges_of_a_growing_file_are_one_request() {
    let playlist = tokio::sync::watch::Sender::new(ranged(&[4], false));
    let (sender, receiver) = mpsc::unbounded_channel();
    let receiver = Mutex::new(Some(receiver));
    let fake = ranged_origin(&playlist, move |asked| match asked.target.as_str() {
        "/hls/v/7.mp4" => {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            Said::Raw(head.to_owned(), receiver.lock().unwrap().take().expect("one request"))
        }
        _ => whole("video/mp4", "other"),
    })
    .await;
    let edge = Node::start("edge", fake.addr);
    let mut viewer = Viewer::connect(edge.addr).await;
    assert_eq!(viewer.get(PLAYLIST).await.text(), ranged(&[4], false));
    sender.send(b"4\r\n0123\r\n".to_vec()).unwrap();
    let part = viewer.get_with("/hls/v/7.mp4", "Range: bytes=0-3\r\n").await;
    assert_eq!((part.status, part.text().as_str(), part.field("content-range")), (206, "0123", "bytes 0-3/*"));

    // The hint: from here on, whatever comes. RFC 8673.
    let mut hinted = Viewer::connect(edge.addr).await;
    hinted.ask("/hls/v/7.mp4", "Range: bytes=4-9007199254740991\r\n").await;
    edge.until("vivid_edge_lookups_total", &["part"], 2.0).await;
    sender.send(b"3\r\n456\r\n".to_vec()).unwrap();
    assert_eq!(hinted.read_head().await.unwrap().status, 206);
    assert_eq!(hinted.chunk().await.unwrap(), b"456");
    sender.send(b"2\r\n78\r\n0\r\n\r\n".to_vec()).unwrap();
    assert_eq!((hinted.chunk().await.unwrap(), hinted.chunk().await.unwrap()), (b"78".to_vec(), Vec::new()));
    playlist.send_replace(ranged(&[4, 3, 2], true));
    until_got(&mut viewer, PLAYLIST, |got| got.text().contains("#EXTINF:2,\n7.mp4")).await;
    let part = viewer.get_with("/hls/v/7.mp4", "Range: bytes=7-8\r\n").await;
    assert_eq!((part.status, part.text().as_str(), part.field("content-range")), (206, "78", "bytes 7-8/9"));
    assert_eq!(viewer.get("/hls/v/7.mp4").await.text(), "012345678");
    assert_eq!(fake.count("7.mp4"), 1, "{:?}", fake.asked());
}

#[tokio::test]
async fn a_file_that_a_plain_server_gives_while_it_is_written_is_not_taken_for_whole() {
    let playlist = tokio::sync::watch::Sender::new(ranged(&[4], false));
    let length = Arc::new(Mutex::new(4_usize));
    let written = length.clone();
    let fake = ranged_origin(&playlist, move |_| whole("video/mp4", &b"012345678"[..*written.lock().unwrap()])).await;
    let edge = Node::start("edge", fake.addr);
    let mut viewer = Viewer::connect(edge.addr).await;
    assert_eq!(viewer.get(PLAYLIST).await.status, 200);
    assert_eq!(viewer.get_with("/hls/v/7.mp4", "Range: bytes=0-3\r\n").await.text(), "0123");
    *length.lock().unwrap() = 9;
    playlist.send_replace(ranged(&[4, 5], false));
    until_got(&mut viewer, PLAYLIST, |got| got.text().contains("5@4")).await;
    let part = viewer.get_with("/hls/v/7.mp4", "Range: bytes=4-8\r\n").await;
    assert_eq!((part.status, part.text().as_str()), (206, "45678"));
    assert_eq!(fake.count("7.mp4"), 2);
}
