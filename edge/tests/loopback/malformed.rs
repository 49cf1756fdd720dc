//! Answers of upstream that break the rules of HTTP: a clear status or a cut for who asked, nothing kept, and the next
//! request is answered as if nothing had been.

use crate::support::{Asked, Fake, Node, Said, Viewer, in_time, until, whole};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;

/// What the viewer sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Status(u16),
    /// An answer that ends before its framing says it is whole.
    Cut,
    /// Either, as the pieces of an answer may come.
    CutOrWhole,
}

const EVIL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nCache-Control: max-age=60\r\n\r\nevil";

/// Says `first` to the first request, byte for byte, and then leaves the connection open or ends it; to all later ones
/// it answers well.
async fn breaks_once(first: Vec<u8>, ends: bool) -> Fake {
    let (asked, kept) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    Fake::start(move |_| {
        if asked.fetch_add(1, Ordering::Relaxed) > 0 {
            return Box::pin(std::future::ready(whole("text/plain", "good")));
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        sender.send(first.clone()).unwrap();
        if !ends {
            kept.lock().unwrap().push(sender);
        }
        Box::pin(std::future::ready(Said::Raw(String::new(), receiver)))
    })
    .await
}

async fn seen(edge: &Node) -> Seen {
    let mut viewer = Viewer::connect(edge.addr).await;
    viewer.ask("/a", "").await;
    in_time(viewer.read()).await.map_or(Seen::Cut, |got| Seen::Status(got.status))
}

#[tokio::test]
async fn what_breaks_the_rules_is_not_passed_on_and_not_kept() {
    let fields = |count: usize| (0..count).map(|at| format!("x-{at}: y\r\n")).collect::<String>();
    let ok = |fields: &str, body: &str| format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n{fields}\r\n{body}");
    let (refused, cut, broken) = (Seen::Status(502), Seen::Cut, Seen::CutOrWhole);
    for (name, answer, expected) in [
        ("lengths that differ", ok("Content-Length: 4\r\nContent-Length: 5\r\n", "abcde"), refused),
        ("lengths in one line", ok("Content-Length: 4, 5\r\n", "abcde"), refused),
        ("a length that is none", ok("Content-Length: four\r\n", "abcd"), refused),
        ("a length with a sign", ok("Content-Length: +4\r\n", "abcd"), refused),
        ("a length below zero", ok("Content-Length: -4\r\n", "abcd"), refused),
        ("a length beyond all bounds", ok("Content-Length: 99999999999999999999\r\n", "abcd"), refused),
        ("a length beyond ours", ok("Content-Length: 9999999999999\r\n", "abcd"), refused),
        ("a short body", ok("Content-Length: 5\r\n", "abcd"), cut),
        ("a chunk of no size", ok("Transfer-Encoding: chunked\r\n", "zz\r\nabcd\r\n0\r\n\r\n"), broken),
        (
            "a chunk of every size",
            ok("Transfer-Encoding: chunked\r\n", "fffffffffffffffffff\r\nabcd\r\n0\r\n\r\n"),
            broken,
        ),
        ("a chunk without its end", ok("Transfer-Encoding: chunked\r\n", "4\r\nabcdXX0\r\n\r\n"), broken),
        ("no last chunk", ok("Transfer-Encoding: chunked\r\n", "4\r\nabcd\r\n"), cut),
        ("half a chunk", ok("Transfer-Encoding: chunked\r\n", "4\r\nab"), broken),
        (
            "a header of a megabyte",
            ok(&format!("x: {}\r\nContent-Length: 4\r\n", "y".repeat(1 << 20)), "abcd"),
            refused,
        ),
        ("hundreds of fields", ok(&format!("{}Content-Length: 4\r\n", fields(300)), "abcd"), refused),
        ("a field without a colon", ok("nonsense\r\nContent-Length: 4\r\n", "abcd"), refused),
        ("a field with a zero byte", ok("x: a\0b\r\nContent-Length: 4\r\n", "abcd"), refused),
        ("half a header", "HTTP/1.1 200 OK\r\nContent-Le".to_owned(), refused),
        ("nothing", String::new(), refused),
        ("a status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n".to_owned(), refused),
        ("a status of words", "HTTP/1.1 OK\r\nContent-Length: 0\r\n\r\n".to_owned(), refused),
        ("no protocol", "abcd".to_owned(), refused),
        (
            "a part unasked",
            "HTTP/1.1 206 X\r\nContent-Range: bytes 0-3/8\r\nContent-Length: 4\r\n\r\nabcd".to_owned(),
            refused,
        ),
        ("a confirmation unasked", "HTTP/1.1 304 X\r\nETag: \"v\"\r\n\r\n".to_owned(), refused),
        ("another protocol", "HTTP/1.1 101 X\r\nUpgrade: y\r\nConnection: upgrade\r\n\r\nabcd".to_owned(), refused),
        (
            "a storm of hints",
            "HTTP/1.1 103 X\r\nLink: </b>\r\n\r\n".repeat(1000) + &ok("Content-Length: 4\r\n", "abcd"),
            refused,
        ),
    ] {
        let fake = breaks_once(answer.into_bytes(), true).await;
        let edge = Node::start("edge", fake.addr);
        let seen = seen(&edge).await;
        // What breaks off before a byte was passed on is asked for once more.
        let asked_again = seen == Seen::Status(200);
        assert!(seen == expected || (expected == broken && (asked_again || seen == cut)), "{name}: {seen:?}");
        let fills =
            edge.metric("vivid_edge_fills_total", &["refused"]) + edge.metric("vivid_edge_fills_total", &["aborted"]);
        assert_eq!(fills == 1.0, !asked_again, "{name}");
        // The second request of one that broke off was for the rest of it.
        let again = edge.get("/a").await;
        assert_eq!((again.status, again.text().as_str()), (200, "good"), "{name}");
    }
}

#[tokio::test]
async fn hints_before_an_answer_are_passed_over() {
    let hints = "HTTP/1.1 100 X\r\n\r\n".to_owned() + &"HTTP/1.1 103 X\r\nLink: </b>\r\n\r\n".repeat(3);
    let fake = breaks_once((hints + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd").into_bytes(), false).await;
    let edge = Node::start("edge", fake.addr);
    assert_eq!(edge.get("/a").await.text(), "abcd");
}

#[tokio::test]
async fn bytes_behind_an_answer_are_nobodys() {
    for (name, first) in [
        (
            "behind a body",
            format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nCache-Control: no-cache\r\nETag: \"v\"\r\n\r\nabcd{EVIL}"),
        ),
        (
            "behind chunks",
            format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: no-cache\r\n\r\n4\r\nabcd\r\n0\r\n\r\n{EVIL}"
            ),
        ),
        ("behind no body", format!("HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n{EVIL}")),
    ] {
        let fake = breaks_once(first.into_bytes(), false).await;
        let edge = Node::start("edge", fake.addr);
        let got = edge.get("/a").await;
        assert!(matches!(got.text().as_str(), "abcd" | ""), "{name}: {}", got.text());
        for target in ["/b", "/c"] {
            assert_eq!(edge.get(target).await.text(), "good", "{name}");
        }
    }
}

#[tokio::test]
async fn a_body_behind_a_304_is_nobodys() {
    let rounds = AtomicUsize::new(0);
    let kept = Mutex::new(Vec::new());
    let fake = Fake::start(move |asked: Asked| {
        if asked.target != "/a" {
            return Box::pin(std::future::ready(whole("text/plain", "good")));
        }
        let fields = "Cache-Control: no-cache\r\nETag: \"v\"\r\nContent-Length: ";
        let said = match rounds.fetch_add(1, Ordering::Relaxed) {
            0 => {
                let fields = vec![("Cache-Control", "no-cache".to_owned()), ("ETag", "\"v\"".to_owned())];
                return Box::pin(std::future::ready(Said::Whole(200, fields, b"abcd".to_vec())));
            }
            1 => format!("HTTP/1.1 304 X\r\n{fields}{}\r\n\r\n{EVIL}", EVIL.len()),
            _ => format!("HTTP/1.1 304 X\r\n{fields}0\r\n\r\n{EVIL}"),
        };
        let (sender, receiver) = mpsc::unbounded_channel();
        sender.send(said.into_bytes()).unwrap();
        kept.lock().unwrap().push(sender);
        Box::pin(std::future::ready(Said::Raw(String::new(), receiver)))
    })
    .await;
    let edge = Node::start("edge", fake.addr);
    for target in ["/a", "/a", "/b", "/a", "/c", "/a"] {
        let expected = if target == "/a" { "abcd" } else { "good" };
        assert_eq!(edge.get(target).await.text(), expected, "{target}");
    }
    assert_eq!(edge.metric("vivid_edge_fills_total", &["confirmed"]), 3.0);
}

#[tokio::test]
async fn an_upstream_that_packs_what_was_to_be_plain_is_passed_on_as_it_says() {
    let fake = Fake::start(|asked: Asked| {
        assert!(asked.head.to_lowercase().contains("accept-encoding: identity"));
        let fields = vec![("Content-Encoding", "gzip".to_owned()), ("Cache-Control", "max-age=60".to_owned())];
        Box::pin(std::future::ready(Said::Whole(200, fields, b"\x1f\x8bnot a playlist".to_vec())))
    })
    .await;
    let edge = Node::start("edge", fake.addr);
    for target in ["/a.mp4", "/live/test/720p/index.m3u8"] {
        let got = edge.get(target).await;
        assert_eq!((got.status, got.field("content-encoding")), (200, "gzip"), "{target}");
        assert_eq!(got.body, b"\x1f\x8bnot a playlist");
    }
    until(|| edge.metric("vivid_edge_subscriptions", &[]) == 0.0, "what cannot be read is not followed").await;
}
