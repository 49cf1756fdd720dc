//! What HTTP asks of a node, and what clients that do not keep to it get.

use crate::support::{Asked, Fake, Node, Origin, RENDITION, Said, Viewer, config, metric, nobody, whole};
use std::time::Duration;

async fn anything() -> Fake {
    Fake::start(|asked: Asked| Box::pin(std::future::ready(whole("text/plain", format!("{}\n", asked.target))))).await
}

#[tokio::test]
async fn methods_other_than_reading_are_refused() {
    let edge = Node::start("edge", anything().await.addr);
    for (request, status) in [
        ("DELETE /a HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        ("BREW /a HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        ("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 413),
        ("GET /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 413),
        ("GET /a HTTP/1.1\r\n\r\n", 400),
        ("GET a HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("nonsense\r\n\r\n", 400),
        ("OPTIONS /a HTTP/1.1\r\nHost: x\r\nOrigin: y\r\n\r\n", 204),
    ] {
        let mut viewer = Viewer::connect(edge.addr).await;
        viewer.send(request.as_bytes()).await;
        let got = viewer.read().await.unwrap();
        assert_eq!(got.status, status, "{request}");
        assert_eq!(got.field("access-control-allow-origin"), "*", "{request}");
        if status == 405 {
            assert_eq!(got.field("allow"), "GET, HEAD, OPTIONS");
        }
    }
}

#[tokio::test]
async fn head_has_the_header_of_get_and_no_body() {
    let edge = Node::start("edge", anything().await.addr);
    let mut viewer = Viewer::connect(edge.addr).await;
    let got = viewer.get("/a").await;
    viewer.send(b"HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let head = viewer.read_head().await.unwrap();
    assert_eq!((head.status, head.field("content-length")), (200, got.field("content-length")));
    assert_eq!(viewer.get("/a").await.body, got.body, "the connection goes on without a body between");
}

#[tokio::test]
async fn every_answer_says_how_it_came_about() {
    let fake = anything().await;
    let shield = Node::start("shield", fake.addr);
    let edge = Node::start("edge", shield.addr);
    let missed = edge.get("/a").await;
    assert_eq!(missed.field("cache-status"), "shield; fwd=miss; stored, edge; fwd=miss; stored");
    let hit = edge.get("/a").await;
    assert_eq!(hit.field("cache-status"), "shield; fwd=miss; stored, edge; hit");
    assert_eq!((hit.field("age"), hit.field("cache-control")), ("0", "public, max-age=60"));
    let (_, ttl) = hit.head.rsplit_once("edge; hit; ttl=").unwrap();
    assert!((1..=60).contains(&ttl.lines().next().unwrap().parse().unwrap()), "{ttl}");
    for (target, expected) in [
        ("/_vivid/livez", "edge; detail=own"),
        ("/_vivid/nothing", "edge; detail=no-such-page"),
        (&*"/long".repeat(1000), "edge; detail=target"),
    ] {
        assert_eq!(edge.get(target).await.field("cache-status"), expected, "{target:.20}");
    }
    let lonely = Node::start("lonely", nobody());
    assert_eq!(lonely.get("/a").await.field("cache-status"), "lonely; fwd=miss; detail=upstream-unreachable");
    let mut viewer = Viewer::connect(edge.addr).await;
    viewer.send(b"BREW /a HTTP/1.1\r\nHost: x\r\n\r\nnonsense\r\n\r\n").await;
    assert_eq!(viewer.read().await.unwrap().field("cache-status"), "edge; detail=unknown-method");
    assert_eq!(viewer.read().await.unwrap().field("cache-status"), "edge; detail=malformed");
}

#[tokio::test]
async fn upstream_is_told_who_asks_and_nothing_of_the_viewer() {
    let fake = anything().await;
    let edge = Node::start("edge", fake.addr);
    let fields =
        "traceparent: 00-1-2-01\r\nCDN-Loop: other; v=1\r\nCookie: a=b\r\nAuthorization: x\r\nUser-Agent: u\r\n";
    Viewer::connect(edge.addr).await.get_with("/a", fields).await;
    let head = fake.asked()[0].head.to_ascii_lowercase();
    for line in ["traceparent: 00-1-2-01\r\n", "cdn-loop: vivid-", "via: 1.1 edge\r\n"] {
        assert!(head.contains(line), "{line} in {head}");
    }
    for field in ["other", "cookie", "authorization", "user-agent", "host: edge"] {
        assert!(!head.contains(field), "{field} in {head}");
    }
}

#[tokio::test]
async fn a_request_that_comes_round_is_refused() {
    let upstream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = upstream.local_addr().unwrap();
    drop(upstream);
    let edge = Node::with(config::Edge { listen: addr, ..config("edge", addr) });
    for target in ["/a", RENDITION] {
        let got = edge.get(target).await;
        assert_eq!((got.status, got.text().contains("edge.name")), (508, true), "{}", got.text());
    }
}

#[tokio::test]
async fn two_nodes_that_ask_each_other_say_so_at_once() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = nobody.local_addr().unwrap();
    drop(nobody);
    let one = Node::start("one", addr);
    let _two = Node::with(config::Edge { listen: addr, ..config("two", one.addr) });
    for target in ["/a", RENDITION] {
        let began = std::time::Instant::now();
        let got = one.get(target).await;
        assert_eq!((got.status, got.text().contains("edge.upstream.url")), (508, true), "{}", got.text());
        assert!(began.elapsed() < Duration::from_secs(2), "{target} took {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn what_one_viewer_says_of_loops_harms_no_other() {
    let origin = Origin::at(100, 1);
    let fake = origin.start().await;
    let shield = Node::start("shield", fake.addr);
    let edge = Node::start("edge", shield.addr);
    let traced = format!("traceparent: {}\r\n", "0".repeat(15_000));
    let mut hostile = Viewer::connect(edge.addr).await;
    for (target, fields) in
        [("/a", "CDN-Loop: shield\r\n"), ("/b", traced.as_str()), (RENDITION, "CDN-Loop: shield\r\n")]
    {
        assert_eq!(hostile.get_with(target, fields).await.status, 200, "{target}");
    }
    let padded = format!("CDN-Loop: {}\r\n", "x".repeat(15_000));
    assert_eq!(hostile.get_with(RENDITION, &padded).await.status, 431);
    assert_eq!(hostile.get_with(RENDITION, "CDN-Loop: edge\r\n").await.status, 508);
    let mut held = Viewer::connect(edge.addr).await;
    held.ask(&format!("{RENDITION}?_HLS_msn=100&_HLS_part=1"), "").await;
    edge.until("vivid_edge_holds", &[], 1.0).await;
    origin.advance();
    assert_eq!(held.read().await.unwrap().text(), origin.playlist());
    assert!(!fake.asked().iter().any(|asked| asked.head.contains("shield,") || asked.head.contains("xxx")));
}

#[tokio::test]
async fn a_header_that_drips_is_cut_and_one_without_end_refused() {
    let fake = anything().await;
    let edge = Node::with(config::Edge { header_timeout: Duration::from_millis(100), ..config("edge", fake.addr) });
    let mut slow = Viewer::connect(edge.addr).await;
    slow.send(b"GET /a HT").await;
    assert_eq!(slow.read().await.unwrap().status, 408);
    slow.ended().await;
    let mut endless = Viewer::connect(edge.addr).await;
    endless.send(format!("GET /a HTTP/1.1\r\nHost: x\r\nA: {}", "x".repeat(20_000)).as_bytes()).await;
    assert_eq!(endless.read().await.unwrap().status, 431);
    edge.until("vivid_edge_bounds_total", &["header_timeout"], 1.0).await;
    edge.until("vivid_edge_bounds_total", &["header_bytes_max"], 1.0).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let fake = anything().await;
    let edge = Node::with(config::Edge { keepalive_timeout: Duration::from_millis(50), ..config("edge", fake.addr) });
    let mut viewer = Viewer::connect(edge.addr).await;
    assert_eq!(viewer.get("/a").await.status, 200);
    viewer.ended().await;
}

#[tokio::test]
async fn requests_that_come_before_their_turn_are_answered_in_order() {
    let edge = Node::start("edge", anything().await.addr);
    let mut viewer = Viewer::connect(edge.addr).await;
    let requests: String = (0..20).map(|at| format!("GET /{at} HTTP/1.1\r\nHost: x\r\n\r\n")).collect();
    viewer.send(requests.as_bytes()).await;
    for at in 0..20 {
        assert_eq!(viewer.read().await.unwrap().text(), format!("/{at}\n"));
    }
}

#[tokio::test]
async fn playlists_are_packed_once_for_those_who_take_it() {
    let origin = Origin::at(100, 1);
    let edge = Node::start("edge", origin.start().await.addr);
    let mut viewer = Viewer::connect(edge.addr).await;
    let plain = viewer.get(RENDITION).await;
    assert_eq!((plain.text(), plain.field("content-encoding")), (origin.playlist(), ""));
    assert_eq!((plain.field("cache-control"), plain.field("vary")), ("public, max-age=1", "Accept-Encoding"));
    let packed = viewer.get_with(RENDITION, "Accept-Encoding: gzip, br;q=0.5\r\n").await;
    assert_eq!(packed.field("content-encoding"), "gzip");
    let mut unpacked = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed.body[..]), &mut unpacked).unwrap();
    assert_eq!(unpacked, plain.body);
    let smaller = viewer.get_with(RENDITION, "Accept-Encoding: gzip, deflate, br, zstd\r\n").await;
    assert_eq!((smaller.field("content-encoding"), smaller.field("vary")), ("br", "Accept-Encoding"));
    unpacked.clear();
    brotli::BrotliDecompress(&mut &smaller.body[..], &mut unpacked).unwrap();
    assert_eq!(unpacked, plain.body);
    let tags = [&plain, &packed, &smaller].map(|got| got.field("etag").to_owned());
    assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[2] != tags[0], "other bytes, other tag: {tags:?}");
    let condition = format!("If-None-Match: {}\r\n", plain.field("etag"));
    assert_eq!(viewer.get_with(RENDITION, &condition).await.status, 304);
    let directed = viewer.get(&format!("{RENDITION}?_HLS_msn=99")).await;
    assert_eq!(directed.field("cache-control"), "public, max-age=12");
    let ranged = viewer.get_with(RENDITION, "Range: bytes=0-\r\n").await;
    assert_eq!((ranged.status, ranged.text()), (206, origin.playlist()));
}

#[tokio::test]
async fn a_port_in_use_and_a_url_without_host_are_told_plainly() {
    let edge = Node::start("edge", anything().await.addr);
    let taken = config::Edge { listen: edge.addr, ..config("edge", edge.addr) };
    let error = edge::Server::bind(taken, &prometheus::Registry::new()).err().unwrap().to_string();
    assert!(error.contains("edge.listen"), "{error}");
    let mut config = config("edge", edge.addr);
    config.upstream.peers[0].url = "no-url at all".to_owned();
    let error = edge::Server::bind(config, &prometheus::Registry::new()).err().unwrap().to_string();
    assert!(error.contains("edge.upstream.url"), "{error}");
}

#[tokio::test]
async fn the_nodes_own_pages_are_there() {
    let edge = Node::start("edge", anything().await.addr);
    assert_eq!(edge.get("/_vivid/livez").await.status, 200);
    assert_eq!(edge.get("/_vivid/readyz").await.status, 200);
    assert_eq!(edge.get("/_vivid/nothing").await.status, 404);
    let time = edge.get("/_vivid/time").await;
    assert_eq!((time.text().len(), time.field("cache-control")), ("2026-11-21T02:00:00.500Z".len(), "no-store"));
    let metrics = edge.get("/_vivid/metrics").await;
    assert!(metrics.text().contains("vivid_edge_connections"), "{}", metrics.text());
}

#[tokio::test]
async fn a_drain_does_not_wait_for_a_request_that_is_not_whole() {
    let edge = Node::start("edge", anything().await.addr);
    let registry = edge.registry.clone();
    let mut viewer = Viewer::connect(edge.addr).await;
    viewer.send(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHo").await;
    assert_eq!(viewer.read().await.unwrap().text(), "/a\n");
    edge.stop().await;
    viewer.ended().await;
    assert_eq!(metric(&registry, "vivid_edge_bounds_total", &["drain"]), 0.0, "nobody had to be cut");
}

#[tokio::test]
async fn a_stop_does_not_wait_long_for_a_viewer_that_dawdles() {
    let (sender, bytes) = tokio::sync::mpsc::unbounded_channel();
    let bytes = std::sync::Mutex::new(Some(bytes));
    let fake = Fake::start(move |_| {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n".to_owned();
        let said = Said::Raw(head, bytes.lock().unwrap().take().unwrap());
        Box::pin(std::future::ready(said))
    })
    .await;
    let edge = Node::start("edge", fake.addr);
    let registry = edge.registry.clone();
    let mut viewer = Viewer::connect(edge.addr).await;
    viewer.ask("/a", "").await;
    sender.send(b"half".to_vec()).unwrap();
    viewer.read_head().await.unwrap();
    let began = std::time::Instant::now();
    edge.stop().await;
    // 2.5 s, and some for a machine that is shared.
    assert!(began.elapsed() < Duration::from_millis(3500), "took {:?}", began.elapsed());
    assert_eq!(metric(&registry, "vivid_edge_bounds_total", &["drain"]), 1.0);
}
