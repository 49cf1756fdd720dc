//! HTTP/2: upwards to anyone's origin, between an edge and its shield, and towards viewers that misuse it.

use crate::secure::{ALL, Authority, Files, HOST, connect, node, tls};
use crate::support::{Fake, Got, Node, Origin, RENDITION, Said, Viewer, Wire, config, in_time, text, until, whole};
use bytes::Bytes;
use config::UpstreamProtocol::H2c;
use h2::RecvStream;
use h2::client::{Builder, SendRequest};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

/// A viewer with one connection and as many streams as it likes.
pub(crate) struct Http2 {
    sender: SendRequest<Bytes>,
    driving: JoinHandle<Result<(), h2::Error>>,
}

impl Http2 {
    pub(crate) async fn over(stream: impl Wire + 'static) -> Self {
        Self::with_window(stream, 1 << 20).await
    }

    /// `window`: bytes that one stream may bring before the viewer takes them.
    pub(crate) async fn with_window(stream: impl Wire + 'static, window: u32) -> Self {
        let (sender, connection) = in_time(Builder::new().initial_window_size(window).handshake(stream)).await.unwrap();
        Self { sender, driving: tokio::spawn(connection) }
    }

    pub(crate) async fn get(&self, target: &str) -> Result<Got, h2::Error> {
        self.get_with(target, "").await
    }

    pub(crate) async fn get_with(&self, target: &str, field: &str) -> Result<Got, h2::Error> {
        self.ask("GET", target, field).await
    }

    /// `field`: one line, or none.
    pub(crate) async fn ask(&self, method: &str, target: &str, field: &str) -> Result<Got, h2::Error> {
        let (mut got, mut body) = self.begin(method, target, field).await?;
        while let Some(bytes) = in_time(body.data()).await {
            let bytes = bytes?;
            body.flow_control().release_capacity(bytes.len())?;
            got.body.extend(&bytes);
        }
        Ok(got)
    }

    /// The head of an answer, and its body to come.
    pub(crate) async fn begin(&self, method: &str, target: &str, field: &str) -> Result<(Got, RecvStream), h2::Error> {
        let mut request = http::Request::builder().method(method).uri(format!("http://edge{target}"));
        if let Some((name, value)) = field.trim_end().split_once(": ") {
            request = request.header(name, value);
        }
        let mut sender = in_time(self.sender.clone().ready()).await?;
        let (answer, _) = sender.send_request(request.body(()).unwrap(), true)?;
        let (head, body) = in_time(answer).await?.into_parts();
        Ok((Got::of(&head), body))
    }

    /// Waits until the connection is closed, by whomever.
    pub(crate) async fn closed(self) -> Result<(), h2::Error> {
        in_time(self.driving).await.unwrap()
    }
}

fn over_h2c(name: &str, upstream: SocketAddr) -> Node {
    let mut config = config(name, upstream);
    config.upstream.protocol = H2c;
    Node::with(config)
}

#[tokio::test]
async fn a_foreign_origin_is_asked_over_http2() {
    let app = axum::Router::new().route("/a", axum::routing::get(async || "bytes over h2"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let edge = over_h2c("edge", addr);
    assert_eq!(edge.get("/a").await.text(), "bytes over h2");
    assert_eq!(edge.get("/b").await.status, 404);
    serving.abort();
}

#[tokio::test]
async fn an_edge_follows_its_shield_over_http2() {
    let origin = Origin::at(100, 1);
    let fake = origin.start().await;
    let shield = Node::start("shield", fake.addr);
    let edge = over_h2c("edge", shield.addr);
    let target = format!("{RENDITION}?_HLS_msn=100&_HLS_part=1");
    let mut viewers = JoinSet::new();
    for _ in 0..50 {
        let (addr, target) = (edge.addr, target.clone());
        viewers.spawn(async move { Viewer::connect(addr).await.get(&target).await });
    }
    edge.until("vivid_edge_holds", &[], 50.0).await;
    shield.until("vivid_edge_holds", &[], 1.0).await;
    origin.advance();
    while let Some(got) = in_time(viewers.join_next()).await {
        assert_eq!(got.unwrap().text(), origin.playlist());
    }
    assert_eq!(fake.count("_HLS_msn=100&_HLS_part=1"), 1);

    let media = "/live/test/720p/e1/100.1.m4s";
    let got = edge.get(media).await;
    assert_eq!(got.text(), format!("bytes of {media}").repeat(500));
    assert_eq!(got.fields["cache-status"].matches("shield;").count(), 1, "{}", got.head);
    assert_eq!(shield.metric("vivid_edge_connections", &[]), 1.0, "all of it on one connection");

    // A hold that its edge gives up is a stream that is reset, and frees its place at the shield.
    edge.stop().await;
    until(|| shield.metric("vivid_edge_holds", &[]) == 0.0, "the shield is rid of the hold").await;
    shield.stop().await;
}

async fn anything() -> Fake {
    Fake::start(|asked| Box::pin(std::future::ready(whole("text/plain", format!("{}\n", asked.target))))).await
}

#[tokio::test]
async fn a_connection_without_a_stream_is_told_to_go_and_one_with_a_hold_is_not() {
    let origin = Origin::at(100, 1);
    let fake = origin.start().await;
    let edge = Node::with(config::Edge { keepalive_timeout: Duration::from_millis(50), ..config("edge", fake.addr) });
    let held = Http2::over(TcpStream::connect(edge.addr).await.unwrap()).await;
    let holding = tokio::spawn(async move {
        let got = held.get(&format!("{RENDITION}?_HLS_msn=100&_HLS_part=1")).await;
        (got, held.closed().await)
    });
    edge.until("vivid_edge_holds", &[], 1.0).await;
    let mut idle = TcpStream::connect(edge.addr).await.unwrap();
    idle.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut said = Vec::new();
    in_time(idle.read_to_end(&mut said)).await.unwrap();
    assert!(frames(&said).contains(&GOAWAY), "{said:?}");
    origin.advance();
    let (got, closed) = in_time(holding).await.unwrap();
    assert_eq!(got.unwrap().text(), origin.playlist());
    assert!(closed.is_ok(), "{closed:?}");
}

pub(crate) const GOAWAY: u8 = 7;

/// The types of the frames in these bytes.
pub(crate) fn frames(mut bytes: &[u8]) -> Vec<u8> {
    let mut types = Vec::new();
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = bytes {
        types.push(*kind);
        bytes = rest.get(u32::from_be_bytes([0, *a, *b, *c]) as usize..).unwrap_or_default();
    }
    types
}

#[tokio::test]
async fn a_viewer_that_agreed_on_http2_and_stays_silent_is_cut() {
    let (fake, authority, files) = (anything().await, Authority::new(), Files::new());
    let pair = files.put("edge", &authority.issue(HOST, 2100));
    let edge = Node::with(config::Edge {
        header_timeout: Duration::from_millis(100),
        tls: tls(vec![pair]),
        ..config("edge", fake.addr)
    });
    let mut silent = connect(edge.tls_addrs[0], &authority.client(ALL, &["h2"]), HOST).await.unwrap();
    // How it is cut, by an end or a reset, is no matter.
    let _ = in_time(silent.read_to_end(&mut Vec::new())).await;
    edge.until("vivid_edge_bounds_total", &["header_timeout"], 1.0).await;
}

#[tokio::test]
async fn a_drained_node_answers_what_was_asked_and_takes_no_more() {
    let fake = Origin::at(100, 1).start().await;
    let edge = Node::start("edge", fake.addr);
    let viewer = Http2::over(TcpStream::connect(edge.addr).await.unwrap()).await;
    let holding = tokio::spawn(async move {
        let got = viewer.get(&format!("{RENDITION}?_HLS_msn=100&_HLS_part=1")).await;
        (got, viewer.closed().await)
    });
    edge.until("vivid_edge_holds", &[], 1.0).await;
    edge.stop().await;
    let (got, closed) = in_time(holding).await.unwrap();
    assert_eq!(got.unwrap().status, 503);
    assert!(closed.is_ok(), "{closed:?}");
}

#[tokio::test]
async fn bodies_wait_for_the_viewers_window_and_broken_ones_are_reset() {
    let (authority, files) = (Authority::new(), Files::new());
    let (broken, bytes) = mpsc::unbounded_channel();
    let bytes = std::sync::Mutex::new(Some(bytes));
    let fake = Fake::start(move |asked| {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n".to_owned();
        let said = match (asked.target.as_str(), bytes.lock().unwrap().take_if(|_| asked.target == "/broken")) {
            (_, Some(bytes)) => Said::Raw(head, bytes),
            ("/broken", None) => text(404, "the rest is nowhere"),
            _ => whole("video/mp4", asked.target.repeat(200_000)),
        };
        Box::pin(std::future::ready(said))
    })
    .await;
    let edge = node(fake.addr, &authority, &files);
    let stream = connect(edge.tls_addrs[0], &authority.client(ALL, &["h2"]), HOST).await.unwrap();
    let viewer = Http2::with_window(stream, 1000).await;
    let (one, other) = tokio::join!(viewer.get("/one"), viewer.get("/other"));
    assert_eq!((one.unwrap().text(), other.unwrap().text()), ("/one".repeat(200_000), "/other".repeat(200_000)));

    let (head, mut body) = viewer.begin("GET", "/broken", "").await.unwrap();
    assert_eq!(head.status, 200);
    drop(broken);
    let error = in_time(body.data()).await.unwrap().unwrap_err();
    assert_eq!((error.is_reset(), error.reason()), (true, Some(h2::Reason::INTERNAL_ERROR)), "{error}");
    assert_eq!(viewer.get("/one").await.unwrap().status, 200, "other streams go on");
}
