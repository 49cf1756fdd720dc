//! Objects too large to be kept whole: fetched and kept in pieces, and never mixed of two versions.

use crate::support::{Asked, Fake, Node, Said, Viewer, config, in_time, until};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// A file as a server of files gives it: whole, in ranges, under `If-Range` and `If-None-Match`.
#[derive(Clone)]
struct File(Arc<Mutex<State>>);

struct State {
    body: Vec<u8>,
    fields: Vec<(&'static str, String)>,
    /// Ranges that begin here or later are answered with this status.
    fails: Option<(u64, u16)>,
}

impl File {
    fn new(fields: &[(&'static str, &str)]) -> Self {
        let fields = fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self(Arc::new(Mutex::new(State { body: body(b'a'), fields, fails: None })))
    }

    fn tagged() -> Self {
        Self::new(&[("Accept-Ranges", "bytes"), ("ETag", "\"v1\""), ("Cache-Control", "max-age=60")])
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock().unwrap());
    }

    fn say(&self, asked: &Asked) -> Said {
        let state = self.0.lock().unwrap();
        let mut fields = state.fields.clone();
        let field = |name: &str| {
            let mut lines = asked.head.lines().filter_map(|line| line.split_once(": "));
            lines.find_map(|(known, value)| known.eq_ignore_ascii_case(name).then_some(value))
        };
        let named = |given: &str| state.fields.iter().any(|(_, value)| value == given);
        if field("If-None-Match").is_some_and(named) {
            return Said::Whole(304, fields, Vec::new());
        }
        let range = field("Range").filter(|_| field("If-Range").is_none_or(named));
        let Some(range) = range else { return Said::Whole(200, fields, state.body.clone()) };
        let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
        if let Some((_, status)) = state.fails.filter(|(from, _)| *from <= first as u64) {
            return Said::Whole(status, Vec::new(), Vec::new());
        }
        fields.push(("Content-Range", format!("bytes {first}-{last}/{}", state.body.len())));
        Said::Whole(206, fields, state.body[first..=last].to_vec())
    }

    async fn start(&self) -> Fake {
        let file = self.clone();
        Fake::start(move |asked| {
            let said = file.say(&asked);
            Box::pin(std::future::ready(said))
        })
        .await
    }
}

/// A hundred bytes of which no ten are alike.
fn body(first: u8) -> Vec<u8> {
    (0..100).map(|at| if at % 10 == 0 { first } else { at }).collect()
}

/// Pieces of ten bytes for what is longer than 25.
fn cutting(name: &str, upstream: SocketAddr) -> config::Edge {
    let mut config = config(name, upstream);
    config.slices = config::Slices { bytes: 10, above_bytes: 25 };
    config
}

/// How often a piece was asked for.
fn asked_for(fake: &Fake, range: &str) -> usize {
    fake.asked()
        .iter()
        .filter(|asked| asked.head.to_lowercase().contains(&format!("\r\nrange: bytes={range}\r\n")))
        .count()
}

#[tokio::test]
async fn a_range_touches_only_the_pieces_it_lies_in() {
    let fake = File::tagged().start().await;
    let edge = Node::with(cutting("edge", fake.addr));
    let mut viewer = Viewer::connect(edge.addr).await;
    for _ in 0..2 {
        let got = viewer.get_with("/film", "Range: bytes=12-27\r\n").await;
        assert_eq!(
            (got.status, got.field("content-range"), &got.body[..]),
            (206, "bytes 12-27/100", &body(b'a')[12..28])
        );
        assert_eq!((asked_for(&fake, "10-19"), asked_for(&fake, "20-29"), fake.asked().len()), (1, 1, 3));
    }
    let whole = body(b'a');
    for (fields, status, bytes) in [
        ("Range: bytes=0-\r\n", 206, 0..100),
        ("Range: bytes=0-0\r\n", 206, 0..1),
        ("Range: bytes=9-10\r\n", 206, 9..11),
        ("Range: bytes=10-19\r\n", 206, 10..20),
        ("Range: bytes=95-500\r\n", 206, 95..100),
        ("Range: bytes=-5\r\n", 206, 95..100),
        ("Range: bytes=-500\r\n", 206, 0..100),
        ("Range: bytes=5-6\r\nIf-Range: \"v1\"\r\n", 206, 5..7),
        ("Range: bytes=5-6\r\nIf-Range: \"v0\"\r\n", 200, 0..100),
        ("If-None-Match: \"v1\"\r\n", 304, 0..0),
        ("", 200, 0..100),
    ] {
        let got = viewer.get_with("/film", fields).await;
        assert_eq!((got.status, &got.body[..]), (status, &whole[bytes.clone()]), "{fields}");
        if status == 206 {
            assert_eq!(got.field("content-range"), format!("bytes {}-{}/100", bytes.start, bytes.end - 1), "{fields}");
        }
        if status == 200 {
            assert_eq!(got.field("accept-ranges"), "bytes");
        }
    }
    let beyond = viewer.get_with("/film", "Range: bytes=100-\r\n").await;
    assert_eq!((beyond.status, beyond.field("content-range")), (416, "bytes */100"));
    viewer.send(b"HEAD /film HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let head = viewer.read_head().await.unwrap();
    assert_eq!((head.status, head.field("content-length"), head.field("etag")), (200, "100", "\"v1\""));
    viewer.send(b"GET /film HTTP/1.0\r\nConnection: keep-alive\r\nRange: bytes=8-11\r\n\r\n").await;
    assert_eq!(viewer.read().await.unwrap().body, &whole[8..12]);
    assert_eq!(fake.asked().len(), 11, "the head once, and each piece once");
}

#[tokio::test]
async fn a_crowd_fetches_each_piece_once() {
    let (gate, open) = watch::channel(false);
    let file = File::tagged();
    let fake = Fake::start(move |asked: Asked| {
        let (mut open, said) = (open.clone(), file.say(&asked));
        Box::pin(async move {
            open.wait_for(|open| *open).await.unwrap();
            said
        })
    })
    .await;
    let edge = Node::with(cutting("edge", fake.addr));
    let mut viewers = JoinSet::new();
    for viewer in 0..20 {
        let addr = edge.addr;
        let fields = if viewer % 2 == 0 { "" } else { "Range: bytes=0-\r\n" };
        viewers.spawn(async move { Viewer::connect(addr).await.get_with("/film", fields).await });
    }
    edge.until("vivid_edge_lookups_total", &[], 20.0).await;
    gate.send_replace(true);
    while let Some(got) = in_time(viewers.join_next()).await {
        assert_eq!(got.unwrap().body, body(b'a'));
    }
    assert_eq!(fake.asked().len(), 11);
}

#[tokio::test]
async fn bytes_of_two_versions_are_never_mixed() {
    let file = File::tagged();
    let fake = file.start().await;
    let edge = Node::with(cutting("edge", fake.addr));
    let mut viewer = Viewer::connect(edge.addr).await;
    assert_eq!(viewer.get_with("/film", "Range: bytes=0-29\r\n").await.body, &body(b'a')[..30]);
    file.change(|state| {
        state.body = body(b'b');
        state.fields[1].1 = "\"v2\"".to_owned();
    });
    viewer.ask("/film", "").await;
    let cut = viewer.read().await;
    assert!(cut.is_err(), "{cut:?}");
    let mut viewer = Viewer::connect(edge.addr).await;
    let got = viewer.get("/film").await;
    assert_eq!((got.body, got.fields["etag"].as_str()), (body(b'b'), "\"v2\""));
}

#[tokio::test]
async fn a_piece_that_is_not_what_was_asked_for_is_not_taken() {
    for wrong in ["bytes 0-9/90", "bytes 1-10/100", "bytes 0-9/*", "items 0-9/100"] {
        let file = File::tagged();
        let fake = Fake::start(move |asked: Asked| {
            let said = match file.say(&asked) {
                Said::Whole(206, mut fields, body) => {
                    fields.retain(|(name, _)| *name != "Content-Range");
                    fields.push(("Content-Range", wrong.to_owned()));
                    Said::Whole(206, fields, body)
                }
                said => said,
            };
            Box::pin(std::future::ready(said))
        })
        .await;
        let edge = Node::with(cutting("edge", fake.addr));
        let mut viewer = Viewer::connect(edge.addr).await;
        viewer.ask("/film", "Range: bytes=0-4\r\n").await;
        assert!(viewer.read().await.is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn an_upstream_that_fails_in_a_piece_cuts_its_readers_and_spoils_nothing() {
    for status in [500, 503] {
        let file = File::tagged();
        let fake = file.start().await;
        let edge = Node::with(cutting("edge", fake.addr));
        file.change(|state| state.fails = Some((50, status)));
        let mut viewer = Viewer::connect(edge.addr).await;
        viewer.ask("/film", "").await;
        assert!(viewer.read().await.is_err());
        file.change(|state| state.fails = None);
        assert_eq!(edge.get("/film").await.body, body(b'a'));
        assert_eq!((asked_for(&fake, "40-49"), asked_for(&fake, "50-59")), (1, 2), "{status}");
    }
}

#[tokio::test]
async fn what_cannot_be_told_apart_is_kept_whole_or_refused() {
    for fields in [
        &[("ETag", "\"v1\"")][..],
        &[("Accept-Ranges", "bytes"), ("ETag", "W/\"v1\"")],
        &[("Accept-Ranges", "bytes")],
        &[("Accept-Ranges", "bytes"), ("ETag", "\"v1\""), ("Cache-Control", "no-store")],
    ] {
        let fake = File::new(fields).start().await;
        let edge = Node::with(cutting("edge", fake.addr));
        let mut viewer = Viewer::connect(edge.addr).await;
        assert_eq!(viewer.get_with("/film", "Range: bytes=1-2\r\n").await.body, &body(b'a')[1..3], "{fields:?}");
        assert!(!fake.asked().iter().any(|asked| asked.head.to_lowercase().contains("\r\nrange:")), "{fields:?}");
        let edge = Node::with(config::Edge { object_bytes_max: 99, ..cutting("edge", fake.addr) });
        assert_eq!(edge.get("/film").await.status, 502, "{fields:?}");
    }
    let fake = File::tagged().start().await;
    let edge = Node::with(config::Edge { object_bytes_max: 25, ..cutting("edge", fake.addr) });
    assert_eq!(edge.get("/film").await.body, body(b'a'), "the bound is for what is fetched whole");
}

#[tokio::test]
async fn pieces_are_as_fresh_as_their_object() {
    let file = File::new(&[("Accept-Ranges", "bytes"), ("ETag", "\"v1\""), ("Cache-Control", "no-cache")]);
    let fake = file.start().await;
    let edge = Node::with(cutting("edge", fake.addr));
    for round in 0..3 {
        assert_eq!(edge.get("/film").await.body, body(b'a'));
        assert_eq!(edge.metric("vivid_edge_fills_total", &["confirmed"]), f64::from(round));
    }
    assert_eq!(fake.asked().len(), 11 + 2);
    file.change(|state| {
        state.body = body(b'b');
        state.fields[1].1 = "\"v2\"".to_owned();
    });
    assert_eq!(edge.get("/film").await.body, body(b'b'));
}

#[tokio::test]
async fn a_purge_takes_the_pieces_too() {
    for purge in [r#"{"urls": ["/film"]}"#, r#"{"prefixes": ["/fi"]}"#, r#"{"tags": ["reel"]}"#] {
        let file = File::new(&[
            ("Accept-Ranges", "bytes"),
            ("ETag", "\"v1\""),
            ("Cache-Control", "max-age=60"),
            ("Cache-Tag", "reel"),
        ]);
        let fake = file.start().await;
        let mut config = cutting("edge", fake.addr);
        config.purge.token = Some("0123456789abcdef".to_owned());
        let edge = Node::with(config);
        assert_eq!(edge.get("/film").await.body, body(b'a'));
        // The worst case: other bytes under the same tag.
        file.change(|state| state.body = body(b'b'));
        let mut admin = Viewer::connect(edge.addr).await;
        let head = "POST /_vivid/purge HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer 0123456789abcdef\r\n";
        admin.send(format!("{head}Content-Length: {}\r\n\r\n{purge}", purge.len()).as_bytes()).await;
        assert_eq!(admin.read().await.unwrap().text(), "{\"purged\":1}\n", "one object, however it is kept");
        assert_eq!(edge.get("/film").await.body, body(b'b'), "{purge}");
    }
}

#[tokio::test]
async fn an_edge_and_its_shield_cut_alike() {
    let fake = File::tagged().start().await;
    let shield = Node::with(cutting("shield", fake.addr));
    let mut config = cutting("edge", shield.addr);
    config.slices.bytes = 16;
    let edge = Node::with(config);
    assert_eq!(edge.get("/film").await.body, body(b'a'));
    assert_eq!(edge.get("/film").await.body, body(b'a'));
    assert_eq!(shield.metric("vivid_edge_fills_total", &["whole"]), 10.0);
    assert_eq!(edge.metric("vivid_edge_fills_total", &["whole"]), 7.0);
    until(|| fake.asked().len() == 11, "each piece left the origin once").await;
}

#[tokio::test]
async fn a_piece_that_breaks_off_goes_on_where_it_did() {
    let file = File::tagged();
    let torn = Arc::new(AtomicUsize::new(0));
    let (say, count) = (file.clone(), torn.clone());
    let fake = Fake::start(move |asked: Asked| {
        let said = match say.say(&asked) {
            // Each time half of what is asked for, until little is left.
            Said::Whole(206, fields, body) if body.len() >= 4 && asked.head.contains("bytes=2") => {
                count.fetch_add(1, Ordering::SeqCst);
                let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                let head = format!("HTTP/1.1 206 X\r\nContent-Length: {}\r\n{fields}\r\n", body.len());
                let (sender, bytes) = mpsc::unbounded_channel();
                sender.send(body[..body.len() / 2].to_vec()).unwrap();
                Said::Raw(head, bytes)
            }
            said => said,
        };
        Box::pin(std::future::ready(said))
    })
    .await;
    let edge = Node::with(cutting("edge", fake.addr));
    assert_eq!(edge.get("/film").await.body, body(b'a'));
    assert_eq!(torn.load(Ordering::SeqCst), 2);
    assert_eq!((asked_for(&fake, "20-29"), asked_for(&fake, "25-29"), asked_for(&fake, "27-29")), (1, 1, 1));
    assert_eq!(edge.get("/film").await.body, body(b'a'), "what was put together is kept");
    assert_eq!((asked_for(&fake, "20-29"), edge.metric("vivid_edge_failovers_total", &["torn"])), (1, 2.0));
}

#[tokio::test]
async fn a_piece_of_a_version_that_is_gone_does_not_go_on() {
    let file = File::tagged();
    let say = file.clone();
    let fake = Fake::start(move |asked: Asked| {
        let said = match say.say(&asked) {
            Said::Whole(206, fields, body) if asked.head.contains("bytes=20-29") => {
                say.change(|state| {
                    state.body = self::body(b'b');
                    state.fields[1].1 = "\"v2\"".to_owned();
                });
                let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                let (sender, bytes) = mpsc::unbounded_channel();
                sender.send(body[..5].to_vec()).unwrap();
                Said::Raw(format!("HTTP/1.1 206 X\r\nContent-Length: 10\r\n{fields}\r\n"), bytes)
            }
            said => said,
        };
        Box::pin(std::future::ready(said))
    })
    .await;
    let edge = Node::with(cutting("edge", fake.addr));
    let mut viewer = Viewer::connect(edge.addr).await;
    viewer.ask("/film", "").await;
    let cut = viewer.read().await;
    assert!(cut.is_err(), "{cut:?}");
    assert_eq!(asked_for(&fake, "25-29"), 1, "a new version is not asked for again and again");
}
