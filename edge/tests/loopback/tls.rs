//! TLS of viewers: versions, protocols, certificates by host and by time, and handshakes that do not end.

use crate::http2::Http2;
use crate::qoe::nodes_end;
use crate::secure::{ALL, Authority, Files, HOST, connect, node, tls, viewer};
use crate::support::{Fake, Node, Origin, RENDITION, Viewer, config, in_time, whole};
use config::{CertificateFiles, TlsVersion, UpstreamProtocol};
use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

async fn anything() -> Fake {
    Fake::start(|asked| Box::pin(std::future::ready(whole("text/plain", format!("{}\n", asked.target))))).await
}

#[tokio::test]
async fn both_versions_are_spoken_and_the_older_may_be_forbidden() {
    let (fake, authority, files) = (anything().await, Authority::new(), Files::new());
    let edge = node(fake.addr, &authority, &files);
    let new = files.put("new", &authority.issue(HOST, 2100));
    let strict = config::Tls { min_version: TlsVersion::Tls13, ..tls(vec![new]) };
    let strict = Node::with(config::Edge { tls: strict, ..config("strict", fake.addr) });
    for (version, admitted) in [(&TLS12, false), (&TLS13, true)] {
        let client = authority.client(&[version], &["http/1.1"]);
        let got = viewer(&edge, &client).await.get("/a").await;
        assert_eq!((got.status, got.text().as_str()), (200, "/a\n"), "{version:?}");
        assert_eq!(connect(strict.tls_addrs[0], &client, HOST).await.is_ok(), admitted, "{version:?}");
    }
    assert_eq!(edge.get("/a").await.text(), "/a\n", "plain HTTP goes on beside it");
    strict.until("vivid_edge_handshakes_total", &["failed"], 1.0).await;
}

#[tokio::test]
async fn a_client_without_a_protocol_in_common_is_refused() {
    let (authority, files) = (Authority::new(), Files::new());
    let edge = node(anything().await.addr, &authority, &files);
    assert!(connect(edge.tls_addrs[0], &authority.client(ALL, &["spdy/3"]), HOST).await.is_err());
    edge.until("vivid_edge_handshakes_total", &["failed"], 1.0).await;
    assert_eq!(
        viewer(&edge, &authority.client(ALL, &[])).await.get("/a").await.text(),
        "/a\n",
        "naming none is HTTP/1.1"
    );
}

#[tokio::test]
async fn a_viewer_that_comes_back_resumes_its_session() {
    let (authority, files) = (Authority::new(), Files::new());
    let edge = node(anything().await.addr, &authority, &files);
    for (version, resumed) in [(&TLS12, 1.0), (&TLS13, 2.0)] {
        let client = authority.client(&[version], &["http/1.1"]);
        for _ in 0..2 {
            viewer(&edge, &client).await.get("/a").await;
        }
        edge.until("vivid_edge_handshakes_total", &["resumed"], resumed).await;
        assert_eq!(edge.metric("vivid_edge_handshakes_total", &["full"]), resumed, "{version:?}");
    }
}

#[tokio::test]
async fn each_host_gets_its_own_certificate() {
    let (fake, authority, files) = (anything().await, Authority::new(), Files::new());
    let pairs = ["a.example", "*.b.example"].map(|host| authority.issue(host, 2100));
    let named = ["a", "b"].iter().zip(&pairs).map(|(name, pair)| files.put(name, pair)).collect();
    let edge = Node::with(config::Edge { tls: tls(named), ..config("edge", fake.addr) });
    let client = authority.client(ALL, &[]);
    for host in ["a.example", "x.b.example"] {
        let stream = connect(edge.tls_addrs[0], &client, host).await.unwrap();
        assert_eq!(Viewer::over(stream).get("/a").await.status, 200, "{host}");
    }
    assert!(connect(edge.tls_addrs[0], &client, "c.example").await.is_err(), "the client sees that it is another's");
}

#[tokio::test]
async fn files_that_cannot_serve_are_told_at_the_start() {
    let (fake, authority, files) = (anything().await, Authority::new(), Files::new());
    let (one, other) = (authority.issue(HOST, 2100), authority.issue(HOST, 2100));
    let told = |certificate: CertificateFiles| {
        let config = config::Edge { tls: tls(vec![certificate]), ..config("edge", fake.addr) };
        edge::Server::bind(config, &prometheus::Registry::new()).err().unwrap().to_string()
    };
    let good = files.put("good", &one);
    let missing = told(CertificateFiles { certificate: files.path().join("none.pem"), ..good.clone() });
    assert!(missing.contains("none.pem") && missing.contains("edge.tls.certificates"), "{missing}");
    let garbage = told(files.put("garbage", &("no PEM".to_owned(), one.1.clone())));
    assert!(garbage.contains("garbage.pem"), "{garbage}");
    let mixed = told(files.put("mixed", &(one.0, other.1)));
    assert!(mixed.contains("do not belong together"), "{mixed}");

    let expired = files.put("expired", &authority.issue(HOST, 2001));
    let edge = Node::with(config::Edge { tls: tls(vec![expired]), ..config("edge", fake.addr) });
    assert!(edge.metric("vivid_edge_certificate_days", &[]) < -9000.0);
    assert!(connect(edge.tls_addrs[0], &authority.client(ALL, &[]), HOST).await.is_err());
    assert_eq!(edge.get("/a").await.status, 200, "plain HTTP is not kept from starting");
}

#[tokio::test]
async fn certificates_are_exchanged_under_load_and_with_holds_open() {
    let (origin, authority, files) = (Origin::at(100, 1), Authority::new(), Files::new());
    let edge = Arc::new(node(origin.start().await.addr, &authority, &files));
    let client = authority.client(ALL, &["http/1.1"]);
    let mut held = JoinSet::new();
    for _ in 0..20 {
        let mut viewer = viewer(&edge, &client).await;
        held.spawn(async move { viewer.get(&format!("{RENDITION}?_HLS_msn=100&_HLS_part=1")).await });
    }
    edge.until("vivid_edge_holds", &[], 20.0).await;
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut load = JoinSet::new();
    for _ in 0..4 {
        let (edge, client, stop, served) = (edge.clone(), client.clone(), stop.clone(), served.clone());
        load.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(viewer(&edge, &client).await.get(RENDITION).await.status, 200);
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let new = authority.issue(HOST, 2101);
    for (pair, outcome) in
        [(&new, "loaded"), (&("broken".to_owned(), new.1.clone()), "failed"), (&authority.issue(HOST, 2002), "failed")]
    {
        let before = edge.metric("vivid_edge_certificate_reloads_total", &[outcome]);
        files.put("edge", pair);
        edge.until("vivid_edge_certificate_reloads_total", &[outcome], before + 1.0).await;
        let so_far = served.load(Ordering::Relaxed);
        crate::support::until(|| served.load(Ordering::Relaxed) > so_far + 4, "viewers are served").await;
        // A client that has no session to resume is shown the certificate.
        let stream = connect(edge.tls_addrs[0], &authority.client(ALL, &[]), HOST).await.unwrap();
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
        let expected = rustls::pki_types::pem::PemObject::from_pem_slice(new.0.as_bytes()).unwrap();
        assert_eq!(shown, expected, "the last good one serves");
    }
    assert!(edge.metric("vivid_edge_certificate_days", &[]) > 20_000.0);
    origin.advance();
    while let Some(got) = in_time(held.join_next()).await {
        assert_eq!(got.unwrap().text(), origin.playlist());
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(done) = in_time(load.join_next()).await {
        done.unwrap();
    }
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_cut_and_gives_its_turn_to_the_next() {
    let (fake, authority, files) = (anything().await, Authority::new(), Files::new());
    let pair = files.put("edge", &authority.issue(HOST, 2100));
    let bounds = config::Tls { handshakes_max: 1, handshake_timeout: Duration::from_millis(300), ..tls(vec![pair]) };
    let edge = Node::with(config::Edge { tls: bounds, ..config("edge", fake.addr) });
    let mut silent = Viewer::connect(edge.tls_addrs[0]).await;
    silent.send(&[22, 3, 1]).await;
    edge.until("vivid_edge_connections", &[], 1.0).await;
    let mut waiting = Viewer::connect(edge.tls_addrs[0]).await;
    edge.until("vivid_edge_bounds_total", &["handshakes_max"], 1.0).await;
    silent.ended().await;
    waiting.ended().await;
    edge.until("vivid_edge_bounds_total", &["handshake_timeout"], 2.0).await;
    assert_eq!(viewer(&edge, &authority.client(ALL, &[])).await.get("/a").await.status, 200);
}

#[tokio::test]
async fn plain_http_on_the_tls_port_is_cut() {
    let (authority, files) = (Authority::new(), Files::new());
    let edge = node(anything().await.addr, &authority, &files);
    let mut plain = Viewer::connect(edge.tls_addrs[0]).await;
    plain.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    plain.ended().await;
    assert_eq!(edge.metric("vivid_edge_handshakes_total", &["failed"]), 1.0);
}

#[tokio::test]
async fn a_short_answer_is_one_record() {
    let (authority, files) = (Authority::new(), Files::new());
    let fake = Fake::start(|_| Box::pin(std::future::ready(whole("video/mp4", vec![7; 2048])))).await;
    let edge = node(fake.addr, &authority, &files);
    let (stream, records, _) = counted(&edge, authority.client(ALL, &[])).await;
    let mut viewer = Viewer::over(stream);
    viewer.get("/a").await;
    let before = records.load(Ordering::Relaxed);
    assert_eq!(viewer.get("/a").await.body.len(), 2048);
    assert_eq!(records.load(Ordering::Relaxed) - before, 1, "header and body leave together");
}

#[tokio::test]
async fn over_http2_an_answer_is_full_records_and_one_call() {
    let (authority, files) = (Authority::new(), Files::new());
    let bytes = 3 * ((16 << 10) - 9);
    let fake = Fake::start(move |_| Box::pin(std::future::ready(whole("video/mp4", vec![7; bytes])))).await;
    let edge = node(fake.addr, &authority, &files);
    let (stream, records, viewer) = counted(&edge, authority.client(ALL, &["h2"])).await;
    let http2 = Http2::over(stream).await;
    http2.get("/a").await.unwrap();
    let segments = || nodes_end(viewer).unwrap().tcpi_data_segs_out;
    let before = (records.load(Ordering::Relaxed), segments());
    assert_eq!(http2.get("/a").await.unwrap().body.len(), bytes);
    assert_eq!(records.load(Ordering::Relaxed) - before.0, 4, "three are full, and one is what the head is longer");
    // A segment holds no more than one call wrote, and at most half of the window that a viewer begins with.
    assert!(segments() - before.1 <= 2, "they leave together");
}

/// A connection to the node, the records that come over it, and its address.
async fn counted(edge: &Node, client: Arc<ClientConfig>) -> (TlsStream<Counted>, Arc<AtomicUsize>, SocketAddr) {
    let (records, socket) = (Arc::new(AtomicUsize::new(0)), TcpStream::connect(edge.tls_addrs[0]).await.unwrap());
    let viewer = socket.local_addr().unwrap();
    let counted = Counted { socket, header: Vec::new(), left: 0, records: records.clone() };
    let connector = tokio_rustls::TlsConnector::from(client);
    (in_time(connector.connect(HOST.try_into().unwrap(), counted)).await.unwrap(), records, viewer)
}

/// An edge whose upstream is a node's HTTPS listener.
fn edge_of(shield: &Node, protocol: UpstreamProtocol, ca_file: Option<PathBuf>) -> Node {
    let mut config = config("edge", shield.addr);
    config.upstream.peers[0].url = format!("https://localhost:{}", shield.tls_addrs[0].port());
    config.upstream.protocol = protocol;
    config.upstream.ca_file = ca_file;
    Node::with(config)
}

#[tokio::test]
async fn an_edge_follows_its_shield_over_tls_by_an_authority_of_the_fleet() {
    let (origin, authority, files) = (Origin::at(100, 1), Authority::new(), Files::new());
    let fake = origin.start().await;
    let ca_file = files.path().join("ca.pem");
    std::fs::write(&ca_file, authority.pem()).unwrap();
    let pair = files.put("shield", &authority.issue("localhost", 2100));
    for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::H2] {
        let config = config::Edge { tls: tls(vec![pair.clone()]), ..config("shield", fake.addr) };
        let shield = Node::with(config);
        let edge = edge_of(&shield, protocol, Some(ca_file.clone()));
        let media = "/live/test/720p/e1/100.0.m4s";
        let bytes = format!("bytes of {media}").repeat(500);
        // One after the other: what is asked at once before any connection stands opens one each.
        let (one, other) = (edge.get(RENDITION).await, edge.get(media).await);
        assert_eq!((one.text(), other.text()), (origin.playlist(), bytes), "{protocol:?}");
        // A hold and a fill at once are two connections of HTTP/1.1, and two streams of one of HTTP/2.
        shield.until("vivid_edge_holds", &[], 1.0).await;
        assert_eq!(edge.get("/live/test/720p/e1/100.m4s").await.status, 200);
        let connections = shield.metric("vivid_edge_connections", &[]);
        assert_eq!(connections == 1.0, protocol == UpstreamProtocol::H2, "{protocol:?}: {connections}");
    }
}

#[tokio::test]
async fn an_upstream_that_cannot_prove_its_name_is_not_believed() {
    let (fake, authority, files) = (anything().await, Authority::new(), Files::new());
    let ca_file = files.path().join("ca.pem");
    std::fs::write(&ca_file, authority.pem()).unwrap();
    let nodes = [("right", "localhost"), ("other", "other.example")].map(|(name, host)| {
        let pair = files.put(name, &authority.issue(host, 2100));
        Node::with(config::Edge { tls: tls(vec![pair]), ..config(name, fake.addr) })
    });
    for (shield, ca_file, status) in
        [(&nodes[0], Some(ca_file.clone()), 200), (&nodes[0], None, 502), (&nodes[1], Some(ca_file.clone()), 502)]
    {
        for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::H2] {
            let edge = edge_of(shield, protocol, ca_file.clone());
            assert_eq!(edge.get("/a").await.status, status, "{protocol:?}");
        }
    }
    let mut config = config("edge", fake.addr);
    config.upstream.ca_file = Some(files.path().join("other.key"));
    let error = edge::Server::bind(config, &prometheus::Registry::new()).err().unwrap().to_string();
    assert!(error.contains("other.key") && error.contains("edge.upstream.ca_file"), "{error}");
}

/// Counts the TLS records that come.
struct Counted {
    socket: TcpStream,
    header: Vec<u8>,
    left: usize,
    records: Arc<AtomicUsize>,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.socket).poll_read(cx, buf);
        for byte in &buf.filled()[before..] {
            if self.left > 0 {
                self.left -= 1;
                continue;
            }
            self.header.push(*byte);
            if let [_, _, _, high, low] = self.header[..] {
                self.left = usize::from(u16::from_be_bytes([high, low]));
                self.header.clear();
                self.records.fetch_add(1, Ordering::Relaxed);
            }
        }
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
