//! Clients that take more than they may, or take it too slowly: each is bounded, counted, and nobody else notices.

use crate::http2::{GOAWAY, Http2, frames};
use crate::secure::{ALL, Authority, Files, HOST, connect, tls};
use crate::support::{Fake, Node, Origin, RENDITION, Viewer, config, in_time, until, whole};
use config::{Edge, Limits};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// More than any socket takes.
const HUGE: usize = 30_000_000;

async fn anything() -> Fake {
    Fake::start(|asked| {
        let body = if asked.target.starts_with("/huge") { "x".repeat(HUGE) } else { asked.target };
        Box::pin(std::future::ready(whole("text/plain", body)))
    })
    .await
}

fn limited(upstream: SocketAddr, limit: impl Fn(&mut Limits)) -> Edge {
    let mut config = config("edge", upstream);
    limit(&mut config.access.limits);
    config
}

fn counted(edge: &Node, bound: &str) -> f64 {
    edge.metric("vivid_edge_bounds_total", &[bound])
}

#[tokio::test]
async fn one_client_has_so_many_connections_and_is_told_so() {
    let fake = anything().await;
    let edge = Node::with(limited(fake.addr, |limits| limits.connections_max = 2));
    let mut viewers = Vec::new();
    for _ in 0..2 {
        let mut viewer = Viewer::connect(edge.addr).await;
        assert_eq!(viewer.get("/a").await.status, 200);
        viewers.push(viewer);
    }
    let mut third = Viewer::connect(edge.addr).await;
    let got = third.read().await.unwrap();
    assert_eq!((got.status, got.field("retry-after"), got.field("connection")), (429, "1", "close"));
    third.ended().await;
    assert_eq!(counted(&edge, "client_connections_max"), 1.0);

    viewers.pop();
    until(|| edge.metric("vivid_edge_connections", &[]) == 1.0, "one of them is gone").await;
    assert_eq!(edge.get("/a").await.status, 200, "a place that is given back is free");
    assert_eq!(viewers[0].get("/a").await.status, 200);
}

#[tokio::test]
async fn one_connection_too_many_gets_no_handshake() {
    let (fake, authority, files) = (anything().await, Authority::new(), Files::new());
    let pair = files.put("edge", &authority.issue(HOST, 2100));
    let mut config = limited(fake.addr, |limits| limits.connections_max = 1);
    config.tls = tls(vec![pair]);
    let edge = Node::with(config);
    let first = Http2::over(connect(edge.tls_addrs[0], &authority.client(ALL, &["h2"]), HOST).await.unwrap()).await;
    assert_eq!(first.get("/a").await.unwrap().status, 200);
    assert!(connect(edge.tls_addrs[0], &authority.client(ALL, &["h2"]), HOST).await.is_err());
    assert_eq!(edge.metric("vivid_edge_handshakes_total", &[]), 1.0);
}

/// A viewer whose machine buffers little.
async fn narrow(addr: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    in_time(socket.connect(addr)).await.unwrap()
}

#[tokio::test]
async fn a_viewer_that_takes_too_little_of_what_waits_is_cut() {
    let fake = anything().await;
    let patient = Node::start("edge", fake.addr);
    assert_eq!(patient.get("/huge").await.body.len(), HUGE, "who takes all of it is not slow");
    assert_eq!(counted(&patient, "min_send_bytes_per_s"), 0.0);

    let edge = Node::with(limited(fake.addr, |limits| {
        limits.send_window = Duration::from_millis(200);
        limits.min_send_bytes_per_s = 10_000_000;
    }));
    let mut silent = narrow(edge.addr).await;
    silent.write_all(b"GET /huge HTTP/1.1\r\nHost: edge\r\n\r\n").await.unwrap();
    edge.until("vivid_edge_bounds_total", &["min_send_bytes_per_s"], 1.0).await;

    let mut dripping = narrow(edge.addr).await;
    dripping.write_all(b"GET /huge HTTP/1.1\r\nHost: edge\r\n\r\n").await.unwrap();
    let mut byte = [0];
    let reading = async { while dripping.read(&mut byte).await.is_ok_and(|count| count > 0) {} };
    // Not what the kernel had for it, megabytes that it would go on dripping, but a reset.
    in_time(reading).await;
    assert_eq!(counted(&edge, "min_send_bytes_per_s"), 2.0);
    until(|| edge.metric("vivid_edge_connections", &[]) == 0.0, "both are gone").await;
}

#[tokio::test]
async fn a_stream_whose_window_stays_shut_is_reset_and_its_siblings_are_not() {
    let fake = anything().await;
    let edge = Node::with(limited(fake.addr, |limits| limits.send_window = Duration::from_millis(200)));
    let viewer = Http2::with_window(TcpStream::connect(edge.addr).await.unwrap(), 1000).await;
    let (head, mut body) = viewer.begin("GET", "/huge", "").await.unwrap();
    assert_eq!(head.status, 200);
    edge.until("vivid_edge_bounds_total", &["min_send_bytes_per_s"], 1.0).await;
    let error = loop {
        match in_time(body.data()).await.unwrap() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR), "{error}");
    assert_eq!(viewer.get("/a").await.unwrap().text(), "/a");
}

#[tokio::test]
async fn a_client_that_gives_up_streams_without_end_is_told_to_calm_down() {
    let fake = Origin::at(100, 1).start().await;
    let edge = Node::with(limited(fake.addr, |limits| {
        limits.h2_resets_per_s = 1;
        limits.h2_resets_burst = 5;
    }));
    let viewer = Http2::over(TcpStream::connect(edge.addr).await.unwrap()).await;
    let target = format!("{RENDITION}?_HLS_msn=100&_HLS_part=1");
    let mut given_up = 0;
    while counted(&edge, "h2_resets_per_s") == 0.0 {
        let begun = viewer.begin("GET", &target, "");
        tokio::select! {
            got = begun => assert!(got.is_err(), "a hold was answered"),
            () = edge.until("vivid_edge_holds", &[], 1.0) => given_up += 1,
        }
        assert!(given_up <= 12, "nobody counts");
        until(|| edge.metric("vivid_edge_holds", &[]) == 0.0, "the hold ends with its stream").await;
    }
    assert!((6..=12).contains(&given_up), "{given_up}");
    let error = viewer.closed().await.unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::ENHANCE_YOUR_CALM), "{error}");
    assert_eq!(edge.get(RENDITION).await.status, 200);
}

/// A frame of HTTP/2 (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
    [&[a, b, c, kind, flags, 0, 0, 0, stream][..], payload].concat()
}

/// What h2 bounds: of PING and SETTINGS it answers one before it reads the next, so that who reads no answers is not read
/// either; a header block has no more CONTINUATION frames than its size needs.
#[tokio::test]
async fn floods_of_small_frames_end_with_their_connection() {
    let fake = anything().await;
    let edge = Node::with(Edge { keepalive_timeout: Duration::from_millis(50), ..config("edge", fake.addr) });
    let headers = frame(1, 0, 1, b"\x82\x86\x84");
    for (name, first, again) in [
        ("ping", Vec::new(), frame(6, 0, 0, &[0; 8])),
        ("settings", Vec::new(), frame(4, 0, 0, &[0, 3, 0, 0, 0, 9])),
        ("window", Vec::new(), frame(8, 0, 0, &[0, 0, 0, 0])),
        ("continuation", headers.clone(), frame(9, 0, 1, b"")),
        ("fat continuation", headers, frame(9, 0, 1, &[0; 16_000])),
        ("reset of nothing", Vec::new(), frame(3, 0, 1, &[0, 0, 0, 8])),
    ] {
        let (mut from, mut to) = TcpStream::connect(edge.addr).await.unwrap().into_split();
        to.write_all(PREFACE).await.unwrap();
        to.write_all(&first).await.unwrap();
        let flood = again.repeat(1000);
        let flooding = async { while to.write_all(&flood).await.is_ok() {} };
        let (_, got) = in_time(async { tokio::join!(flooding, edge.get("/a")) }).await;
        assert_eq!(got.status, 200, "others are served during a flood of {name}");
        let mut said = Vec::new();
        let _ = in_time(from.read_to_end(&mut said)).await;
        assert!(said.len() < 1 << 20, "{name}: {} bytes of answers", said.len());
    }
    assert!(counted(&edge, "h2_rules") >= 3.0, "those that no client may send are counted");
    until(|| edge.metric("vivid_edge_connections", &[]) == 0.0, "all are gone").await;
}

#[tokio::test]
async fn a_header_list_without_end_is_refused_and_its_siblings_are_served() {
    let fake = anything().await;
    let edge = Node::start("edge", fake.addr);
    let viewer = Http2::over(TcpStream::connect(edge.addr).await.unwrap()).await;
    let field = format!("x-long: {}", "x".repeat(40_000));
    let got = viewer.get_with("/a", &field).await;
    assert!(got.as_ref().map_or(true, |got| got.status == 431), "{got:?}");
    assert_eq!(viewer.get("/a").await.unwrap().status, 200);
}

#[tokio::test]
async fn a_header_block_that_never_ends_is_no_reason_to_stay() {
    let fake = anything().await;
    let edge = Node::with(Edge { keepalive_timeout: Duration::from_millis(50), ..config("edge", fake.addr) });
    let mut slow = TcpStream::connect(edge.addr).await.unwrap();
    slow.write_all(&[PREFACE, &frame(1, 0, 1, b"\x82")].concat()).await.unwrap();
    let mut said = Vec::new();
    in_time(slow.read_to_end(&mut said)).await.unwrap();
    assert!(frames(&said).contains(&GOAWAY), "{said:?}");
}
