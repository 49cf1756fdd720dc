//! Objects that grow, are cut off, are asked for in pieces, and are fetched once whoever asks.

use crate::support::{Asked, Fake, Got, Node, Origin, RENDITION, Said, Viewer, config, in_time, text, until, whole};
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

type Dripping = Arc<Mutex<Vec<mpsc::UnboundedSender<Vec<u8>>>>>;

/// An upstream whose answers grow as the test says, each with `head`.
async fn dripping(head: &'static str) -> (Fake, Dripping) {
    let senders = Dripping::default();
    let drips = senders.clone();
    let fake = Fake::start(move |_: Asked| {
        let (sender, receiver) = mpsc::unbounded_channel();
        drips.lock().unwrap().push(sender);
        Box::pin(std::future::ready(Said::Raw(head.to_owned(), receiver)))
    });
    (fake.await, senders)
}

fn drip(senders: &Dripping, index: usize, bytes: &[u8]) {
    senders.lock().unwrap()[index].send(bytes.to_vec()).unwrap();
}

async fn asked(fake: &Fake, times: usize) {
    until(|| fake.asked().len() >= times, "upstream is asked").await;
}

#[tokio::test]
async fn a_growing_object_reaches_every_reader_before_its_end() {
    let (fake, senders) =
        dripping("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=60\r\n\r\n").await;
    let edge = Node::start("edge", fake.addr);
    let (mut first, mut second) = (Viewer::connect(edge.addr).await, Viewer::connect(edge.addr).await);
    first.ask("/vod/a.mp4", "").await;
    asked(&fake, 1).await;
    drip(&senders, 0, b"3\r\nabc\r\n");
    assert_eq!(first.read_head().await.unwrap().field("transfer-encoding"), "chunked");
    assert_eq!(first.chunk().await.unwrap(), b"abc");

    second.ask("/vod/a.mp4", "Range: bytes=0-\r\n").await;
    let head = second.read_head().await.unwrap();
    assert_eq!((head.status, head.field("cache-status")), (200, "edge; fwd=miss; collapsed"));
    assert_eq!(second.chunk().await.unwrap(), b"abc", "the second reader has bytes before the end");
    drip(&senders, 0, b"2\r\nde\r\n0\r\n\r\n");
    for viewer in [&mut first, &mut second] {
        assert_eq!(viewer.chunk().await.unwrap(), b"de");
        assert_eq!(viewer.chunk().await.unwrap(), b"");
    }
    edge.until("vivid_edge_fills_total", &["whole"], 1.0).await;
    let later = second.get("/vod/a.mp4").await;
    assert_eq!((later.text().as_str(), later.field("cache-status")), ("abcde", "edge; hit"));
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn a_range_of_a_growing_object_of_known_length_is_followed() {
    let (fake, senders) = dripping("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n").await;
    let edge = Node::start("edge", fake.addr);
    let mut viewer = Viewer::connect(edge.addr).await;
    viewer.ask("/vod/a.mp4", "Range: bytes=2-4\r\n").await;
    asked(&fake, 1).await;
    drip(&senders, 0, b"abc");
    let head = viewer.read_head().await.unwrap();
    assert_eq!((head.status, head.field("content-range"), head.field("content-length")), (206, "bytes 2-4/6", "3"));
    assert_eq!(viewer.bytes(1).await.unwrap(), b"c");
    drip(&senders, 0, b"def");
    assert_eq!(viewer.bytes(2).await.unwrap(), b"de");
}

#[tokio::test]
async fn ranges_of_a_growing_object_of_unknown_length_are_answered_when_they_are_sure() {
    let (fake, senders) = dripping("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let edge = Node::start("edge", fake.addr);
    let mut viewers = Vec::new();
    for (method, range) in [
        ("GET", "1-2"),
        ("GET", "2-9007199254740991"),
        ("GET", "3-"),
        ("GET", "-1"),
        ("GET", "9-12"),
        ("GET", "0-99"),
        ("HEAD", "1-2"),
    ] {
        let mut viewer = Viewer::connect(edge.addr).await;
        let request = format!("{method} /vod/a.mp4 HTTP/1.1\r\nHost: edge\r\nRange: bytes={range}\r\n\r\n");
        viewer.send(request.as_bytes()).await;
        viewers.push(viewer);
    }
    edge.until("vivid_edge_lookups_total", &["segment"], 7.0).await;
    let [bounded, to_the_end, open, suffix, beyond, long, head] = &mut viewers[..] else { panic!("seven viewers") };
    drip(&senders, 0, b"3\r\nabc\r\n");
    let got = bounded.read().await.unwrap();
    assert_eq!((got.status, got.field("content-range"), got.text().as_str()), (206, "bytes 1-2/*", "bc"));
    let got = to_the_end.read_head().await.unwrap();
    assert_eq!((got.status, got.field("content-range")), (206, "bytes 2-9007199254740991/*"));
    assert_eq!(to_the_end.chunk().await.unwrap(), b"c");
    let got = head.read_head().await.unwrap();
    assert_eq!((got.status, got.field("content-range"), got.field("transfer-encoding")), (200, "", "chunked"));

    drip(&senders, 0, b"2\r\nde\r\n");
    assert_eq!(open.read_head().await.unwrap().field("content-range"), "bytes 3-9007199254740991/*");
    for viewer in [to_the_end, open] {
        assert_eq!(viewer.chunk().await.unwrap(), b"de");
    }
    drip(&senders, 0, b"0\r\n\r\n");
    for (viewer, status, content_range) in
        [(suffix, 206, "bytes 4-4/5"), (beyond, 416, "bytes */5"), (long, 206, "bytes 0-4/5")]
    {
        let got = viewer.read().await.unwrap();
        assert_eq!((got.status, got.field("content-range")), (status, content_range));
    }
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn http_1_0_gets_a_whole_object_or_none() {
    let (fake, senders) = dripping("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let edge = Node::start("edge", fake.addr);
    let mut viewer = Viewer::connect(edge.addr).await;
    viewer.send(b"GET /vod/a.mp4 HTTP/1.0\r\n\r\n").await;
    asked(&fake, 1).await;
    drip(&senders, 0, b"3\r\nabc\r\n");
    fake.die().await;
    assert_eq!(viewer.read().await.unwrap().status, 502);
}

#[tokio::test]
async fn concurrent_misses_are_one_request_whatever_the_answer() {
    for (status, kept) in [(200, true), (404, true), (500, false), (400, false)] {
        let (gate, open) = watch::channel(false);
        let fake = Fake::start(move |_| {
            let mut open = open.clone();
            Box::pin(async move {
                open.wait_for(|open| *open).await.unwrap();
                if status == 200 { whole("video/mp4", "bytes") } else { text(status, "upstream's words\n") }
            })
        })
        .await;
        let edge = Node::start("edge", fake.addr);
        let mut viewers = JoinSet::new();
        for _ in 0..50 {
            let addr = edge.addr;
            viewers.spawn(async move { Viewer::connect(addr).await.get("/vod/a.mp4?x=1&b=2").await });
        }
        edge.until("vivid_edge_lookups_total", &[], 50.0).await;
        gate.send_replace(true);
        let mut answers: Vec<Got> = Vec::new();
        while let Some(got) = in_time(viewers.join_next()).await {
            answers.push(got.unwrap());
        }
        assert!(answers.iter().all(|got| got.status == status && got.body == answers[0].body), "{status}");
        assert_eq!(fake.asked().len(), 1, "{status}");
        let how = answers.iter().filter(|got| got.field("cache-status") == "edge; fwd=miss; collapsed").count();
        assert_eq!(how, 49, "{status}: one missed, the others joined it");
        let again = edge.get("/vod/a.mp4?b=2&x=1").await;
        assert_eq!((again.status, fake.asked().len()), (status, if kept { 1 } else { 2 }), "{status}");
    }
}

#[tokio::test]
async fn whole_objects_are_given_in_ranges_and_under_conditions() {
    let fake = Fake::start(|_| {
        let fields = [
            ("ETag", "\"v1\""),
            ("Cache-Control", "max-age=60"),
            ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("Date", "Sun, 06 Nov 1994 08:49:38 GMT"),
        ];
        let fields = fields.map(|(name, value)| (name, value.to_owned())).to_vec();
        Box::pin(std::future::ready(Said::Whole(200, fields, b"0123456789".to_vec())))
    })
    .await;
    let edge = Node::start("edge", fake.addr);
    let mut viewer = Viewer::connect(edge.addr).await;
    assert_eq!(viewer.get("/a").await.text(), "0123456789");
    for (fields, status, body, content_range) in [
        ("Range: bytes=0-\r\n", 206, "0123456789", "bytes 0-9/10"),
        ("Range: bytes=2-3\r\n", 206, "23", "bytes 2-3/10"),
        ("Range: bytes=-2\r\n", 206, "89", "bytes 8-9/10"),
        ("Range: bytes=10-\r\n", 416, BEYOND, "bytes */10"),
        ("Range: bytes=0-0,2-2\r\n", 200, "0123456789", ""),
        ("Range: nonsense\r\n", 200, "0123456789", ""),
        ("Range: bytes=1-1\r\nIf-Range: \"v1\"\r\n", 206, "1", "bytes 1-1/10"),
        ("Range: bytes=1-1\r\nIf-Range: \"v2\"\r\n", 200, "0123456789", ""),
        ("Range: bytes=1-1\r\nIf-Range: W/\"v1\"\r\n", 200, "0123456789", ""),
        ("Range: bytes=1-1\r\nIf-Range: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 206, "1", "bytes 1-1/10"),
        ("Range: bytes=1-1\r\nIf-Range: Sun, 06 Nov 1994 08:49:38 GMT\r\n", 200, "0123456789", ""),
        ("If-None-Match: \"v0\", W/\"v1\"\r\n", 304, "", ""),
        ("If-None-Match: \"v0\"\r\n", 200, "0123456789", ""),
    ] {
        let got = viewer.get_with("/a", fields).await;
        assert_eq!(
            (got.status, got.text().as_str(), got.field("content-range")),
            (status, body, content_range),
            "{fields}"
        );
        assert_eq!(got.field("access-control-allow-origin"), "*");
    }
    viewer.send(b"HEAD /a HTTP/1.1\r\nHost: x\r\nRange: bytes=2-3\r\n\r\n").await;
    let head = viewer.read_head().await.unwrap();
    assert_eq!((head.status, head.field("content-length")), (200, "10"), "only GET has ranges");
    assert_eq!(fake.asked().len(), 1);
}

const BEYOND: &str = "the range begins beyond the end of the object, which has 10 bytes; ask for an earlier one\n";

#[tokio::test]
async fn an_object_beyond_the_bound_is_refused_with_a_reason() {
    let fake = Fake::start(|asked: Asked| {
        Box::pin(async move {
            match asked.target.as_str() {
                "/said" => whole("video/mp4", vec![0; 70_000]),
                _ => {
                    let (sender, receiver) = mpsc::unbounded_channel();
                    let _ = sender.send([b"11170\r\n".to_vec(), vec![0; 70_000], b"\r\n0\r\n\r\n".to_vec()].concat());
                    Said::Raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), receiver)
                }
            }
        })
    })
    .await;
    let edge = Node::with(config::Edge { object_bytes_max: 65_536, ..config("edge", fake.addr) });
    let got = edge.get("/said").await;
    assert_eq!((got.status, got.text().contains("edge.object_bytes_max")), (502, true), "{}", got.text());
    let mut viewer = Viewer::connect(edge.addr).await;
    viewer.ask("/unsaid", "").await;
    // Refused, or cut off if its first bytes had been passed on.
    assert_ne!(viewer.read().await.map(|got| got.status), Ok(200));
    edge.until("vivid_edge_bounds_total", &["object_bytes_max"], 2.0).await;
}

#[tokio::test]
async fn a_hinted_part_is_fetched_once_and_given_when_it_is_there() {
    let origin = Origin::at(100, 1);
    let fake = origin.start().await;
    let edge = Node::start("edge", fake.addr);
    let next = format!("{RENDITION}?_HLS_msn=100&_HLS_part=1");
    let mut player = Viewer::connect(edge.addr).await;
    assert_eq!(player.get(RENDITION).await.status, 200);

    let hinted = "/live/test/720p/e1/100.1.m4s";
    let mut viewers = JoinSet::new();
    for _ in 0..20 {
        let addr = edge.addr;
        viewers.spawn(async move { Viewer::connect(addr).await.get(hinted).await });
    }
    edge.until("vivid_edge_lookups_total", &["part", "collapsed"], 19.0).await;
    player.ask(&next, "").await;
    edge.until("vivid_edge_holds", &[], 1.0).await;
    origin.advance();
    while let Some(got) = in_time(viewers.join_next()).await {
        let got = got.unwrap();
        assert_eq!((got.status, got.text()), (200, format!("bytes of {hinted}").repeat(500)));
    }
    assert_eq!(player.read().await.unwrap().status, 200);
    assert_eq!(fake.count(hinted), 1);

    // This player asks by part, so the next part is fetched before anybody asks for it.
    until(|| fake.count("/e1/100.2.m4s") == 1, "the hinted part is fetched ahead").await;
    origin.advance();
    edge.until("vivid_edge_fills_total", &["whole"], 3.0).await;
    assert_eq!(player.get("/live/test/720p/e1/100.2.m4s").await.field("cache-status"), "edge; hit");
    assert_eq!(fake.count("/e1/100.2.m4s"), 1);
    assert!(edge.metric("vivid_edge_live_bytes", &[]) >= 0.0);
}
