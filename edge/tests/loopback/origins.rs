//! Two origins that cut the same segments, each under its own names: one goes on where the other has stopped.

use crate::support::{Asked, Fake, Node, Origin, RENDITION, Viewer, config_with, until};
use manifest::Position;
use std::time::Duration;

/// The origins stand at these positions of the same stream.
async fn pair(first: (u64, u32), second: (u64, u32)) -> (Origin, Fake, Origin, Fake, Node) {
    let (one, other) = (Origin::at(first.0, first.1), Origin::at(second.0, second.1));
    other.change(|live| live.epoch = "e2");
    let (one_up, other_up) = (one.start().await, other.start().await);
    let mut config = config_with("edge", &[one_up.addr, other_up.addr]);
    config.upstream.shields.health_interval = Duration::from_millis(50);
    (one, one_up, other, other_up, Node::with(config))
}

fn part(msn: u64, part: u32) -> String {
    format!("{RENDITION}?_HLS_msn={msn}&_HLS_part={part}")
}

/// Where a playlist ends, by the first position that is not in it.
fn end(text: &str) -> Position {
    match manifest::follow::read(text).unwrap() {
        manifest::follow::Followed::Media(media) => media.head.next,
        manifest::follow::Followed::Multivariant(_) => panic!("multivariant"),
    }
}

#[tokio::test]
async fn the_other_origin_goes_on_at_the_end_of_the_segment() {
    let (_one, one_up, other, other_up, edge) = pair((100, 2), (100, 2)).await;
    let mut player = Viewer::connect(edge.addr).await;
    assert!(player.get(RENDITION).await.text().contains("e1/100.1.m4s"));
    player.ask(&part(100, 2), "").await;
    edge.until("vivid_edge_holds", &[], 1.0).await;

    one_up.die().await;
    until(|| other_up.count("_HLS_msn=100&_HLS_part=2") == 1, "the other is asked").await;
    other.advance();
    let end_of_segment = |asked: &Asked| asked.target.ends_with("_HLS_msn=100");
    until(|| other_up.asked().iter().any(end_of_segment), "the edge waits for the end of the segment").await;
    assert_eq!(edge.metric("vivid_edge_followed_playlists_total", &["other_cut"]), 1.0);
    let meanwhile = edge.get(RENDITION).await;
    assert!(meanwhile.text().contains("e1/100.1.m4s") && !meanwhile.text().contains("e2/"));
    assert_eq!(edge.metric("vivid_edge_holds", &[]), 1.0, "the player waits on");

    other.advance();
    let joined = player.read().await.unwrap().text();
    assert_eq!(end(&joined), Position { msn: 101, part: 0 });
    assert!(joined.contains("e2/100.m4s") && !joined.contains("e1/"));
    assert!(!joined.contains("#EXT-X-PART:"), "no part of a segment that players began with the other: {joined}");
    assert!(joined.contains("e2/101.0.m4s"), "the next part is hinted at");

    player.ask(&part(101, 0), "").await;
    edge.until("vivid_edge_holds", &[], 1.0).await;
    other.advance();
    let next = player.read().await.unwrap().text();
    assert!(next.contains("#EXT-X-PART:DURATION=0.50000,URI=\"e2/101.0.m4s\""), "{next}");
    assert_eq!(next.matches("#EXT-X-PART:").count(), 1);
    let media = player.get("/live/test/720p/e2/100.m4s").await;
    assert!(media.text().starts_with("bytes of /live/test/720p/e2/100.m4s"));
}

#[tokio::test]
async fn a_second_origin_that_is_behind_is_waited_for() {
    let (_one, one_up, other, other_up, edge) = pair((101, 2), (100, 3)).await;
    let mut player = Viewer::connect(edge.addr).await;
    let shown = player.get(RENDITION).await.text();
    assert_eq!(end(&shown), Position { msn: 101, part: 2 });
    player.ask(&part(101, 2), "").await;
    edge.until("vivid_edge_holds", &[], 1.0).await;

    one_up.die().await;
    until(|| other_up.count("_HLS_msn=101&_HLS_part=2") > 0, "it is asked to block until it has come as far").await;
    for _ in 0..4 {
        other.advance();
    }
    edge.until("vivid_edge_followed_playlists_total", &["other_cut"], 1.0).await;
    assert_eq!(edge.get(RENDITION).await.text(), shown, "nobody is taken back, or to other parts of a segment");
    other.advance();
    let joined = player.read().await.unwrap().text();
    assert_eq!(end(&joined), Position { msn: 102, part: 0 });
    assert!(!joined.contains("e1/"));
}

#[tokio::test]
async fn a_stalled_origin_is_left_for_one_that_goes_on() {
    let (_one, one_up, other, _other_up, edge) = pair((100, 0), (100, 0)).await;
    let mut player = Viewer::connect(edge.addr).await;
    assert_eq!(end(&player.get(RENDITION).await.text()), Position { msn: 100, part: 0 });
    player.ask(&part(100, 0), "").await;
    edge.until("vivid_edge_holds", &[], 1.0).await;
    other.advance();
    let joined = player.read().await.unwrap().text();
    assert_eq!(end(&joined), Position { msn: 100, part: 1 });
    assert!(joined.contains("e2/100.0.m4s") && !joined.contains("e1/"));
    assert_eq!(edge.metric("vivid_edge_hedges_total", &["won"]), 1.0);
    assert_eq!(edge.metric("vivid_edge_peer_healthy", &[]), 2.0, "one stream that stalls says nothing of others");
    drop(one_up);
}

#[tokio::test]
async fn a_stream_ends_when_no_origin_has_more_of_it() {
    let (one, _one_up, other, _other_up, edge) = pair((100, 0), (100, 2)).await;
    let mut player = Viewer::connect(edge.addr).await;
    assert_eq!(end(&player.get(RENDITION).await.text()), Position { msn: 100, part: 0 });
    player.ask(&part(100, 0), "").await;
    edge.until("vivid_edge_holds", &[], 1.0).await;
    one.change(|live| live.ended = true);
    let joined = player.read().await.unwrap().text();
    assert_eq!(end(&joined), Position { msn: 100, part: 2 });
    assert!(joined.contains("e2/100.1.m4s") && !joined.contains("#EXT-X-ENDLIST"), "{joined}");
    player.ask(&part(100, 2), "").await;
    edge.until("vivid_edge_holds", &[], 1.0).await;
    other.change(|live| live.ended = true);
    assert!(player.read().await.unwrap().text().contains("#EXT-X-ENDLIST"));
}
