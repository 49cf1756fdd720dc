//! Answers that break off: the rest comes from elsewhere, or every reader is told that there is none.

use crate::http2::Http2;
use crate::support::{Asked, Fake, Node, Said, Viewer, config_with};
use config::UpstreamProtocol::H2c;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const LENGTH: usize = 300_000;
const TARGET: &str = "/live/test/720p/e1/100.m4s";

fn object() -> Vec<u8> {
    (0..LENGTH as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// How the first upstream frames the body that it breaks off.
#[derive(Clone, Copy, Debug)]
enum Framing {
    Length,
    Chunks,
}

/// The first `bytes` of the object, and then the end of the connection.
fn torn(framing: Framing, bytes: usize, fields: &str) -> Said {
    let (sender, receiver) = mpsc::unbounded_channel();
    let first = object()[..bytes].to_vec();
    let (head, body) = match framing {
        Framing::Length => (format!("Content-Length: {LENGTH}"), first),
        Framing::Chunks => {
            let chunk = [format!("{bytes:x}\r\n").as_bytes(), &first, b"\r\n"].concat();
            ("Transfer-Encoding: chunked".to_owned(), chunk)
        }
    };
    let _ = sender.send(body);
    Said::Raw(format!("HTTP/1.1 200 OK\r\n{head}\r\n{fields}\r\n"), receiver)
}

/// `object`, or what the request wants of it where `ranges` are known.
fn whole_or_range(asked: &Asked, object: &[u8], ranges: bool, fields: &[(&'static str, &'static str)]) -> Said {
    let head = asked.head.to_ascii_lowercase();
    let wanted = head.split_once("range: bytes=").filter(|_| ranges);
    let first = wanted.map(|(_, rest)| rest.split('-').next().unwrap().parse::<usize>().unwrap());
    let mut fields: Vec<_> = fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let Some(first) = first else { return Said::Whole(200, fields, object.to_vec()) };
    fields.push(("Content-Range", format!("bytes {first}-{}/{}", object.len() - 1, object.len())));
    Said::Whole(206, fields, object[first..].to_vec())
}

async fn breaks_off(framing: Framing, bytes: usize, fields: &'static str) -> Fake {
    Fake::start(move |_| Box::pin(std::future::ready(torn(framing, bytes, fields)))).await
}

async fn has(object: Vec<u8>, ranges: bool, fields: &'static [(&'static str, &'static str)]) -> Fake {
    Fake::start(move |asked| Box::pin(std::future::ready(whole_or_range(&asked, &object, ranges, fields)))).await
}

/// What three readers over HTTP/1.1 and three over HTTP/2 get: `None` is an error on the wire.
async fn readers(edge: &Node) -> Vec<Option<Vec<u8>>> {
    let mut reading = JoinSet::new();
    for _ in 0..3 {
        let addr = edge.addr;
        reading.spawn(async move {
            Http2::over(TcpStream::connect(addr).await.unwrap()).await.get(TARGET).await.ok().map(|got| got.body)
        });
        reading.spawn(async move {
            let mut viewer = Viewer::connect(addr).await;
            viewer.ask(TARGET, "").await;
            viewer.read().await.ok().map(|got| got.body)
        });
    }
    reading.join_all().await
}

fn edge(first: &Fake, second: &Fake) -> Node {
    Node::with(config_with("edge", &[first.addr, second.addr]))
}

#[tokio::test]
async fn readers_of_an_answer_that_breaks_off_see_only_a_delay() {
    for framing in [Framing::Length, Framing::Chunks] {
        for (ranges, fields) in [(true, &[][..]), (false, &[]), (true, &[("ETag", "\"v1\"")])] {
            let said = if fields.is_empty() { "" } else { "ETag: \"v1\"\r\n" };
            let (first, second) = (breaks_off(framing, 123_456, said).await, has(object(), ranges, fields).await);
            let edge = edge(&first, &second);
            for body in readers(&edge).await {
                assert!(body.as_deref() == Some(&object()[..]), "{framing:?} {ranges}");
            }
            let counts = (first.count(TARGET), second.count(TARGET));
            assert_eq!(counts, (1, 1), "{framing:?} {ranges}");
            let head = second.asked().iter().find(|asked| asked.target == TARGET).unwrap().head.to_ascii_lowercase();
            assert!(head.contains("range: bytes=122432-\r\n"), "{head}");
            assert_eq!(head.contains("if-range: \"v1\"\r\n"), !fields.is_empty(), "{head}");
            assert_eq!(edge.metric("vivid_edge_failovers_total", &["torn"]), 1.0);
            edge.until("vivid_edge_fills_total", &["whole"], 1.0).await;
            assert_eq!(edge.get(TARGET).await.field("cache-status"), "edge; hit");
        }
    }
}

#[tokio::test]
async fn no_reader_takes_a_truncated_object_for_a_whole_one() {
    let mut other = object();
    other[123_000] ^= 1;
    let longer = [object(), b"x".to_vec()].concat();
    for framing in [Framing::Length, Framing::Chunks] {
        for (what, second) in [
            ("it is not there", has(Vec::new(), false, &[]).await),
            ("other bytes", has(other.clone(), true, &[]).await),
            ("other bytes, no ranges", has(other.clone(), false, &[]).await),
            ("another version", has(object(), true, &[("ETag", "\"v2\"")]).await),
            ("shorter", has(object()[..123_400].to_vec(), false, &[]).await),
        ] {
            let first = breaks_off(framing, 123_456, "ETag: \"v1\"\r\n").await;
            let edge = edge(&first, &second);
            let got = readers(&edge).await;
            assert!(got.iter().all(Option::is_none), "{framing:?}, {what}: a truncated body looked whole");
            assert_eq!(edge.metric("vivid_edge_live_bytes", &[]) + edge.metric("vivid_edge_cache_bytes", &[]), 0.0);
            edge.until("vivid_edge_bounds_total", &["resumes_max"], 1.0).await;
            let asked = first.count(TARGET);
            assert!(
                readers(&edge).await.iter().all(Option::is_none) && first.count(TARGET) > asked,
                "the next request begins anew"
            );
        }
    }
    let (first, second) = (breaks_off(Framing::Length, 123_456, "").await, has(longer, true, &[]).await);
    assert!(readers(&edge(&first, &second)).await.iter().all(Option::is_none), "another length was joined");
}

#[tokio::test]
async fn the_same_upstream_continues_what_it_broke_off_where_there_is_no_other() {
    let turn = AtomicUsize::new(0);
    let fake = Fake::start(move |asked| {
        let first = turn.fetch_add(1, Ordering::Relaxed) == 0;
        let again = || whole_or_range(&asked, &object(), true, &[]);
        Box::pin(std::future::ready(if first { torn(Framing::Length, 200_000, "") } else { again() }))
    })
    .await;
    let edge = Node::start("edge", fake.addr);
    for body in readers(&edge).await {
        assert!(body.as_deref() == Some(&object()[..]));
    }
    assert_eq!(fake.count(TARGET), 2);
}

#[tokio::test]
async fn an_edge_survives_a_shield_that_breaks_off_over_http2() {
    // The first shield's own upstream breaks off and there is no other: the shield resets the stream.
    let (broken, whole) = (breaks_off(Framing::Length, 123_456, "").await, has(object(), true, &[]).await);
    let shields = [Node::start("shield-a", broken.addr), Node::start("shield-b", whole.addr)];
    let mut config = config_with("edge", &[shields[0].addr, shields[1].addr]);
    config.upstream.protocol = H2c;
    let edge = Node::with(config);
    for body in readers(&edge).await {
        assert!(body.as_deref() == Some(&object()[..]));
    }
    assert_eq!(edge.metric("vivid_edge_failovers_total", &["torn"]), 1.0);
}
