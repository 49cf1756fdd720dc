//! A node that goes: told to stop, or handed over to a successor.

use crate::support::{Node, Origin, RENDITION, Viewer, config, in_time};
use prometheus::Registry;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const NEXT: &str = "/live/test/720p/index.m3u8?_HLS_msn=100&_HLS_part=1";

#[tokio::test]
async fn a_node_that_stops_lets_its_holds_be_released() {
    let origin = Origin::at(100, 1);
    let edge = Node::start("edge", origin.start().await.addr);
    let (mut held, mut idle) = (Viewer::connect(edge.addr).await, Viewer::connect(edge.addr).await);
    assert_eq!(idle.get(RENDITION).await.status, 200);
    held.ask(NEXT, "").await;
    edge.until("vivid_edge_holds", &[], 1.0).await;
    edge.order_stop();
    idle.ended().await;
    origin.advance();
    let got = held.read().await.unwrap();
    assert_eq!((got.status, got.text(), got.field("connection")), (200, origin.playlist(), "close"));
    held.ended().await;
    edge.gone().await;
}

#[tokio::test]
async fn holds_that_nothing_releases_end_with_503_when_a_node_stops() {
    let edge = Node::start("edge", Origin::at(100, 1).start().await.addr);
    let mut held = Viewer::connect(edge.addr).await;
    held.ask(NEXT, "").await;
    edge.until("vivid_edge_holds", &[], 1.0).await;
    let began = Instant::now();
    edge.order_stop();
    let got = held.read().await.unwrap();
    assert_eq!((got.status, got.field("retry-after"), got.field("connection")), (503, "1", "close"));
    held.ended().await;
    edge.gone().await;
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_node_that_is_handed_over_loses_no_request() {
    let origin = Origin::at(100, 1);
    let config = config("edge", origin.start().await.addr);
    let server = edge::Server::bind(config.clone(), &Registry::new()).unwrap();
    let sockets = server.sockets().unwrap();
    let (addr, handed_over, stop) = (server.addr(), server.handed_over(), CancellationToken::new());
    let old = tokio::spawn(server.run(stop.clone()));

    let (mut held, mut idle) = (Viewer::connect(addr).await, Viewer::connect(addr).await);
    assert_eq!(idle.get(RENDITION).await.field("connection"), "");
    held.ask(NEXT, "").await;
    let registry = Registry::new();
    let new = edge::Server::bind_with(config::Edge { listen: addr, ..config }, &registry, sockets).unwrap();
    assert_eq!(new.addr(), addr, "both listen on the same socket");
    let new = tokio::spawn(new.run(stop.clone()));
    handed_over.cancel();

    let asked_late = idle.get(RENDITION).await;
    assert_eq!(
        (asked_late.status, asked_late.field("connection")),
        (200, "close"),
        "an idle connection has its answer"
    );
    let mut newcomer = Viewer::connect(addr).await;
    assert_eq!(newcomer.get(RENDITION).await.field("connection"), "", "whoever connects now meets the successor");
    origin.advance();
    let released = held.read().await.unwrap();
    assert_eq!((released.status, released.text(), released.field("connection")), (200, origin.playlist(), "close"));
    in_time(old).await.unwrap();
    assert_eq!(newcomer.get(RENDITION).await.status, 200);
    stop.cancel();
    in_time(new).await.unwrap();
}

#[tokio::test]
async fn a_node_that_is_handed_over_waits_for_nobody_for_ever() {
    let origin = Origin::at(100, 1);
    let edge =
        Node::with(config::Edge { hold_max: Duration::from_millis(100), ..config("edge", origin.start().await.addr) });
    let mut idle = Viewer::connect(edge.addr).await;
    assert_eq!(idle.get(RENDITION).await.status, 200);
    edge.hand_over();
    idle.ended().await;
    edge.gone().await;
}
