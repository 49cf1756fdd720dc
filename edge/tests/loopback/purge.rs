//! Objects that are taken out of a node: who may, what goes, and what is never put back.

use crate::support::{Asked, Fake, Got, Node, Origin, RENDITION, Said, Viewer, config, in_time, text, until, whole};
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::upstreams::peer::HttpPeer;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::watch;

const TOKEN: &str = "0123456789abcdef";

fn guarded(upstream: SocketAddr) -> config::Edge {
    let mut config = config("edge", upstream);
    config.purge.token = Some(TOKEN.to_owned());
    config
}

async fn purge(edge: &Node, body: &str) -> Got {
    purge_as(edge, &format!("Authorization: Bearer {TOKEN}\r\n"), body).await
}

async fn purge_as(edge: &Node, fields: &str, body: &str) -> Got {
    let mut viewer = Viewer::connect(edge.addr).await;
    let head = format!("POST /_vivid/purge HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n{fields}\r\n", body.len());
    viewer.send(format!("{head}{body}").as_bytes()).await;
    viewer.read().await.unwrap()
}

/// Each object says which request it came from; names with a colour carry it as their tag.
async fn coloured() -> Fake {
    let rounds = AtomicUsize::new(0);
    Fake::start(move |asked: Asked| {
        let round = rounds.fetch_add(1, Ordering::Relaxed);
        let colour = ["red", "blue"].into_iter().find(|colour| asked.target.contains(colour)).unwrap_or("none");
        let fields = vec![
            ("Cache-Control", "max-age=60, stale-while-revalidate=60".to_owned()),
            ("Surrogate-Key", format!("all {colour}")),
        ];
        Box::pin(std::future::ready(Said::Whole(200, fields, format!("{round}").into_bytes())))
    })
    .await
}

#[tokio::test]
async fn what_is_meant_goes_and_the_rest_stays() {
    for (body, purged, fetched) in [
        (
            r#"{"urls": ["/vod/red/1?b=1&a=2", "https://host/%6Fther", "/unknown"]}"#,
            2,
            ["/vod/red/1?a=2&b=1", "/other"].as_slice(),
        ),
        (r#"{"prefixes": ["/vod/"]}"#, 3, &["/vod/red/1?a=2&b=1", "/vod/red/2", "/vod/blue"]),
        (r#"{"tags": ["red"]}"#, 2, &["/vod/red/1?a=2&b=1", "/vod/red/2"]),
        (r#"{"tags": ["all"]}"#, 4, &["/vod/red/1?a=2&b=1", "/vod/red/2", "/vod/blue", "/other"]),
        (r#"{"tags": ["green"], "prefixes": ["/none"]}"#, 0, &[]),
    ] {
        let fake = coloured().await;
        let edge = Node::with(guarded(fake.addr));
        let all = ["/vod/red/1?a=2&b=1", "/vod/red/2", "/vod/blue", "/other"];
        for target in all {
            edge.get(target).await;
        }
        let got = purge(&edge, body).await;
        assert_eq!((got.status, got.text()), (200, format!("{{\"purged\":{purged}}}\n")), "{body}");
        for target in all {
            let hit = edge.get(target).await.field("cache-status") == "edge; hit";
            assert_eq!(hit, !fetched.contains(&target), "{target} after {body}");
        }
        assert_eq!(edge.metric("vivid_edge_purged_objects_total", &[]), f64::from(purged));
    }
}

#[tokio::test]
async fn what_is_softly_purged_is_shown_once_more_while_it_is_asked_for_anew() {
    let fake = coloured().await;
    let edge = Node::with(guarded(fake.addr));
    assert_eq!(edge.get("/vod/red").await.text(), "0");
    assert_eq!(purge(&edge, r#"{"tags": ["red"], "soft": true}"#).await.text(), "{\"purged\":1}\n");
    let stale = edge.get("/vod/red").await;
    assert_eq!((stale.text().as_str(), stale.field("cache-status")), ("0", "edge; hit; detail=stale"));
    edge.until("vivid_edge_fills_total", &["whole"], 2.0).await;
    let new = edge.get("/vod/red").await;
    assert_eq!((new.text().as_str(), new.field("cache-status")), ("1", "edge; hit"));
}

#[tokio::test]
async fn a_missing_object_that_is_purged_is_asked_for_at_once() {
    let fake = Fake::start(|_| Box::pin(std::future::ready(text(404, "not yet\n")))).await;
    let mut config = guarded(fake.addr);
    config.cache.missing = std::time::Duration::from_secs(60);
    let edge = Node::with(config);
    for _ in 0..2 {
        assert_eq!(edge.get("/vod/a").await.status, 404);
    }
    assert_eq!(purge(&edge, r#"{"urls": ["/vod/a"]}"#).await.text(), "{\"purged\":1}\n");
    assert_eq!(edge.get("/vod/a").await.status, 404);
    assert_eq!(fake.asked().len(), 2);
}

#[tokio::test]
async fn what_was_being_fetched_when_it_was_purged_is_not_kept() {
    for body in [r#"{"urls": ["/vod/a"]}"#, r#"{"prefixes": ["/vod"]}"#, r#"{"tags": ["red"]}"#] {
        let (gate, open) = watch::channel(false);
        let fake = Fake::start(move |_| {
            let mut open = open.clone();
            Box::pin(async move {
                open.wait_for(|open| *open).await.unwrap();
                let fields = vec![("Cache-Control", "max-age=60".to_owned()), ("Cache-Tag", "red,blue".to_owned())];
                Said::Whole(200, fields, b"old".to_vec())
            })
        })
        .await;
        let edge = Node::with(guarded(fake.addr));
        let mut early = Viewer::connect(edge.addr).await;
        early.ask("/vod/a", "").await;
        until(|| fake.asked().len() == 1, "upstream is asked").await;
        assert_eq!(purge(&edge, body).await.text(), "{\"purged\":0}\n");
        gate.send_replace(true);
        assert_eq!(early.read().await.unwrap().text(), "old", "who asked before gets it");
        edge.until("vivid_edge_unstored_total", &["purged"], 1.0).await;
        edge.get("/vod/a").await;
        assert_eq!(fake.asked().len(), 2, "{body}");
    }
}

#[tokio::test]
async fn live_objects_are_purged_and_fetched_anew() {
    let fake = Origin::at(100, 1).start().await;
    let edge = Node::with(guarded(fake.addr));
    assert_eq!(edge.get(RENDITION).await.status, 200);
    let part = "/live/test/720p/e1/99.0.m4s";
    for _ in 0..2 {
        assert_eq!(edge.get(part).await.status, 200);
    }
    assert_eq!(fake.count(part), 1);
    assert_eq!(purge(&edge, r#"{"prefixes": ["/live/test/"]}"#).await.text(), "{\"purged\":1}\n");
    for _ in 0..2 {
        assert_eq!(edge.get(part).await.status, 200);
    }
    assert_eq!(fake.count(part), 2);
}

#[tokio::test]
async fn only_who_has_the_token_may_purge() {
    let fake = Fake::start(|_| Box::pin(std::future::ready(whole("text/plain", "fine")))).await;
    let edge = Node::with(guarded(fake.addr));
    edge.get("/a").await;
    let body = r#"{"urls": ["/a"]}"#;
    for fields in [
        "",
        "Authorization: Bearer\r\n",
        "Authorization: Bearer 0123456789abcde\r\n",
        "Authorization: Bearer 0123456789abcdefg\r\n",
        "Authorization: Basic 0123456789abcdef\r\n",
        "Authorization: 0123456789abcdef\r\n",
    ] {
        let got = purge_as(&edge, fields, body).await;
        assert_eq!((got.status, got.field("www-authenticate")), (401, "Bearer"), "{fields}");
    }
    assert_eq!(edge.get("/a").await.field("cache-status"), "edge; hit");
    assert_eq!(purge_as(&edge, &format!("authorization: bearer  {TOKEN}\r\n"), body).await.status, 200);
    edge.until("vivid_edge_purges_total", &["unauthorized"], 6.0).await;

    let open = Node::start("open", fake.addr);
    assert_eq!(purge(&open, body).await.status, 404, "without a token in the configuration there is no such page");
}

#[tokio::test]
async fn a_body_that_says_nothing_is_refused_with_a_reason() {
    let fake = coloured().await;
    let edge = Node::with(guarded(fake.addr));
    for (body, reason) in [
        ("", "JSON"),
        ("{\"urls\": 1}", "JSON"),
        ("{}", "nothing to purge"),
        ("{\"urls\": [\"a\"]}", "path"),
        ("{\"prefixes\": [\"*\"]}", "prefix"),
        ("{\"tags\": [\"a b\"]}", "tag"),
    ] {
        let got = purge(&edge, body).await;
        assert_eq!((got.status, got.text().contains(reason)), (400, true), "{body}: {}", got.text());
    }
    edge.until("vivid_edge_purges_total", &["malformed"], 6.0).await;
}

#[tokio::test]
async fn a_body_is_framed_in_one_way_and_ends_where_it_says() {
    let edge = Node::with(guarded(coloured().await.addr));
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    let mut viewer = Viewer::connect(edge.addr).await;
    let body = r#"{"urls": ["/a"]}"#;
    let first =
        format!("POST /_vivid/purge HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n{bearer}\r\n{body}", body.len());
    // In pieces, with the next request right behind it.
    let (head, rest) = first.split_at(first.len() - 5);
    viewer.send(head.as_bytes()).await;
    viewer.send(format!("{rest}GET /b HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
    assert_eq!(viewer.read().await.unwrap().text(), "{\"purged\":0}\n");
    assert_eq!(viewer.read().await.unwrap().text(), "0");
    for fields in [
        "Content-Length: 16\r\nContent-Length: 16\r\n",
        "Content-Length: 16\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Content-Length: 0x10\r\n",
        "Content-Length: 70000\r\n",
    ] {
        let mut viewer = Viewer::connect(edge.addr).await;
        viewer.send(format!("POST /_vivid/purge HTTP/1.1\r\nHost: x\r\n{bearer}{fields}\r\n").as_bytes()).await;
        assert_eq!(viewer.read().await.unwrap().status, 413, "{fields}");
        viewer.ended().await;
    }
}

#[tokio::test]
async fn http2_carries_a_purge_too() {
    let fake = coloured().await;
    let edge = Node::with(guarded(fake.addr));
    edge.get("/vod/red").await;
    let (huge, fine) = ("x".repeat(100_000), r#"{"tags": ["red"]}"#.to_owned());
    for (body, status) in [(fine, Some(200)), (huge, None)] {
        let mut peer = HttpPeer::new(edge.addr, false, String::new());
        peer.options.set_http_version(2, 2);
        let (mut session, _) = Connector::new(None).get_http_session(&peer).await.unwrap();
        let mut request = RequestHeader::build("POST", b"/_vivid/purge", None).unwrap();
        request.insert_header("Host", "edge").unwrap();
        request.insert_header("Authorization", format!("Bearer {TOKEN}")).unwrap();
        session.write_request_header(Box::new(request)).await.unwrap();
        let answered = async {
            session.write_request_body(body.into(), true).await.ok()?;
            session.read_response_header().await.ok()?;
            session.response_header().map(|header| header.status.as_u16())
        };
        assert_eq!(in_time(answered).await, status);
    }
    assert_eq!(edge.get("/vod/red").await.text(), "1");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let mut config = guarded(coloured().await.addr);
    config.header_timeout = std::time::Duration::from_millis(100);
    let edge = Node::with(config);
    let mut viewer = Viewer::connect(edge.addr).await;
    viewer.send(b"POST /_vivid/purge HTTP/1.1\r\nHost: x\r\nContent-Length: 16\r\n\r\n{").await;
    assert_eq!(viewer.read().await.unwrap().status, 408);
}
