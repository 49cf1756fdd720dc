//! Viewers that send nothing more while they wait: those who read on are answered, and those who left are let go at once.

use crate::secure::{Authority, Files, node, viewer};
use crate::support::{Asked, Fake, Node, Origin, RENDITION, Said, Viewer, until};
use rustls::version::TLS13;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

const NEXT: &str = "/live/test/720p/index.m3u8?_HLS_msn=100&_HLS_part=1";

/// The answer after the interim one, if there is one.
async fn final_answer(viewer: &mut Viewer) -> (u16, String) {
    let mut got = viewer.read_head().await.unwrap();
    if got.status == 100 {
        got = viewer.read_head().await.unwrap();
    }
    let length = got.field("content-length").parse().unwrap();
    (got.status, String::from_utf8(viewer.bytes(length).await.unwrap()).unwrap())
}

#[tokio::test]
async fn who_is_held_and_reads_on_is_answered() {
    let (authority, files) = (Authority::new(), Files::new());
    let client = authority.client(&[&TLS13], &["http/1.1"]);
    for (tls, closes) in [(false, ""), (true, ""), (false, "Connection: close\r\n"), (false, "Range: bytes=0-\r\n")] {
        let origin = Origin::at(100, 1);
        let fake = origin.start().await;
        let edge = node(fake.addr, &authority, &files);
        let mut held = if tls { viewer(&edge, &client).await } else { Viewer::connect(edge.addr).await };
        held.ask(NEXT, closes).await;
        edge.until("vivid_edge_holds", &[], 1.0).await;
        held.finish().await;
        assert_eq!(held.read_head().await.unwrap().status, 100, "it is asked whether it is there");
        assert_eq!(edge.metric("vivid_edge_holds", &[]), 1.0);
        origin.advance();
        let (status, text) = final_answer(&mut held).await;
        assert_eq!((status / 100, text), (2, origin.playlist()));
        held.ended().await;
        edge.until("vivid_edge_holds_ended_total", &["released"], 1.0).await;
    }
}

#[tokio::test]
async fn who_leaves_over_tls_is_let_go_at_once() {
    let (authority, files) = (Authority::new(), Files::new());
    let client = authority.client(&[&TLS13], &["http/1.1"]);
    let fake = Origin::at(100, 1).start().await;
    let edge = node(fake.addr, &authority, &files);
    let mut leaving = viewer(&edge, &client).await;
    leaving.ask(NEXT, "").await;
    edge.until("vivid_edge_holds", &[], 1.0).await;
    leaving.finish().await;
    drop(leaving);
    edge.until("vivid_edge_holds_ended_total", &["left"], 1.0).await;
}

/// The end of what a viewer sends and its answer may cross.
#[tokio::test]
async fn who_ends_as_it_is_released_is_answered_once() {
    let origin = Origin::at(100, 1);
    let fake = origin.start().await;
    let edge = Node::start("edge", fake.addr);
    for _ in 0..60 {
        let next = origin.next();
        let mut held = Viewer::connect(edge.addr).await;
        held.ask(&format!("{RENDITION}?_HLS_msn={}&_HLS_part={}", next.msn, next.part), "").await;
        until(|| edge.metric("vivid_edge_holds", &[]) == 1.0, "it is held").await;
        tokio::join!(held.finish(), async { origin.advance() });
        assert_eq!(final_answer(&mut held).await, (200, origin.playlist()));
        assert!(held.read_head().await.is_err(), "nothing comes after it");
        until(|| edge.metric("vivid_edge_holds", &[]) == 0.0, "its place is free").await;
    }
}

#[tokio::test]
async fn who_reads_what_grows_has_all_of_it() {
    let (sender, receiver) = mpsc::unbounded_channel();
    let receiver = Arc::new(Mutex::new(Some(receiver)));
    let fake = Fake::start(move |_: Asked| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
        Box::pin(std::future::ready(Said::Raw(head, receiver.lock().unwrap().take().unwrap())))
    })
    .await;
    let edge = Node::start("edge", fake.addr);
    let (mut reading, mut old) = (Viewer::connect(edge.addr).await, Viewer::connect(edge.addr).await);
    reading.ask("/a", "").await;
    assert_eq!(reading.read_head().await.unwrap().status, 200);
    reading.finish().await;
    // No interim answer is for HTTP/1.0, which has the object when it is whole.
    old.send(b"GET /a HTTP/1.0\r\n\r\n").await;
    edge.until("vivid_edge_lookups_total", &[], 2.0).await;
    old.finish().await;
    for chunk in ["one", "two"] {
        sender.send(format!("3\r\n{chunk}\r\n").into_bytes()).unwrap();
        assert_eq!(reading.chunk().await.unwrap(), chunk.as_bytes());
    }
    sender.send(b"0\r\n\r\n".to_vec()).unwrap();
    assert!(reading.chunk().await.unwrap().is_empty());
    assert_eq!(old.read().await.unwrap().text(), "onetwo");
}
