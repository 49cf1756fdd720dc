//! HTTP/2 by prior knowledge: upwards to anyone's origin, and between an edge and its shield.

use crate::support::{Node, Origin, RENDITION, Viewer, config, in_time};
use config::UpstreamProtocol::H2c;
use std::net::SocketAddr;
use tokio::task::JoinSet;

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
    crate::support::until(|| shield.metric("vivid_edge_holds", &[]) == 0.0, "the shield is rid of the hold").await;
    shield.stop().await;
}
