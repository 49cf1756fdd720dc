//! Several upstreams: who is asked, who stands in, and what is asked twice.

use crate::support::{
    Asked, Fake, Node, Origin, RENDITION, Said, Saying, Viewer, config_with, in_time, nobody, text, until, whole,
};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// An upstream whose every answer is this.
async fn says(said: impl Fn() -> Said + Send + Sync + 'static) -> Fake {
    Fake::start(move |_| Box::pin(std::future::ready(said()))).await
}

fn requests(fake: &Fake) -> usize {
    fake.asked().iter().filter(|asked| !asked.target.starts_with("/_vivid/")).count()
}

#[tokio::test]
async fn every_edge_sends_all_of_a_stream_to_the_same_shield() {
    let shields = [says(|| whole("video/mp4", "a")).await, says(|| whole("video/mp4", "b")).await];
    let mut config = config_with("edge", &[shields[0].addr, shields[1].addr]);
    config.upstream.peers[0].weight = 1.0;
    let mut turned = config.clone();
    turned.upstream.peers.reverse();
    let edges = [Node::with(config), Node::with(turned)];
    for number in 0..30 {
        let mut bodies = HashSet::new();
        for (edge, object) in [(0, "v/e/1.m4s"), (1, "v/e/1.m4s"), (0, "a/e/2.0.m4s"), (1, "v/e/init.mp4")] {
            bodies.insert(edges[edge].get(&format!("/live/s{number}/{object}")).await.text());
        }
        assert_eq!(bodies.len(), 1, "stream {number} came from both");
    }
    assert!(shields.iter().all(|shield| requests(shield) >= 20), "and both have a share of the streams");
}

#[tokio::test]
async fn a_dead_shield_costs_no_answer_and_is_soon_left_alone() {
    let (dead, alive) = (nobody(), says(|| whole("video/mp4", "fine")).await);
    let mut config = config_with("edge", &[dead, alive.addr]);
    config.upstream.shields.health_path = None;
    let edge = Node::with(config);
    for number in 0..20 {
        assert_eq!(edge.get(&format!("/vod/{number}")).await.text(), "fine");
    }
    let url = format!("http://{dead}");
    assert_eq!(edge.metric("vivid_edge_peer_healthy", &[&url]), 0.0);
    assert_eq!(edge.metric("vivid_edge_peer_requests_total", &[&url, "unreachable"]), 2.0);
    assert_eq!(edge.metric("vivid_edge_failovers_total", &["failed"]), 2.0);
    assert_eq!(edge.metric("vivid_edge_peer_requests_total", &["ok"]), 20.0);
}

#[tokio::test]
async fn a_shield_that_cannot_answer_is_asked_elsewhere_and_a_clear_no_is_not() {
    for (status, elsewhere) in [(500, true), (502, true), (503, true), (504, true), (404, false), (403, false)] {
        let first = says(move || text(status, "first")).await;
        let second = says(|| whole("video/mp4", "second")).await;
        let edge = Node::with(config_with("edge", &[first.addr, second.addr]));
        let got = edge.get("/vod/a").await;
        assert_eq!(got.text(), if elsewhere { "second" } else { "first" }, "{status}");
        assert_eq!(requests(&second), usize::from(elsewhere), "{status}");
    }
}

#[tokio::test]
async fn where_all_are_down_the_first_choice_is_asked_all_the_same() {
    let well = Arc::new(AtomicBool::new(false));
    let answers = |well: Arc<AtomicBool>| {
        says(move || if well.load(Ordering::Relaxed) { whole("video/mp4", "fine") } else { text(500, "broken") })
    };
    let fakes = [answers(well.clone()).await, answers(well.clone()).await];
    let mut config = config_with("edge", &[fakes[0].addr, fakes[1].addr]);
    config.upstream.shields.health_path = None;
    let edge = Node::with(config);
    for _ in 0..6 {
        assert_eq!(edge.get("/vod/a").await.status, 500);
    }
    assert_eq!(edge.metric("vivid_edge_peer_healthy", &[]), 0.0);
    well.store(true, Ordering::Relaxed);
    assert_eq!(edge.get("/vod/a").await.text(), "fine");
    assert_eq!(edge.metric("vivid_edge_peer_healthy", &[&format!("http://{}", fakes[0].addr)]), 1.0);
}

#[tokio::test]
async fn requests_asked_again_are_bounded() {
    let (first, second) = (says(|| text(500, "no")).await, says(|| whole("video/mp4", "fine")).await);
    let mut config = config_with("edge", &[first.addr, second.addr]);
    config.upstream.shields.retry_percent = 0;
    let edge = Node::with(config);
    assert_eq!(edge.get("/vod/a").await.status, 500);
    assert_eq!((requests(&second), edge.metric("vivid_edge_bounds_total", &["retry_percent"])), (0, 1.0));
}

#[tokio::test]
async fn looks_for_what_is_missing_are_bounded() {
    let (first, second) = (says(|| text(404, "no")).await, says(|| whole("video/mp4", "fine")).await);
    let mut config = config_with("edge", &[first.addr, second.addr]);
    config.upstream.shields.retry_percent = 0;
    let edge = Node::with(config);
    assert_eq!(edge.get("/live/none/index.m3u8").await.status, 404);
    assert_eq!((requests(&second), edge.metric("vivid_edge_bounds_total", &["look_percent"])), (0, 1.0));
}

#[tokio::test]
async fn probes_take_a_shield_out_and_bring_it_back() {
    let ready = Arc::new(AtomicBool::new(true));
    let draining = ready.clone();
    let first = Fake::start(move |asked: Asked| {
        let refuses = asked.target == "/ready" && !draining.load(Ordering::Relaxed);
        Box::pin(std::future::ready(if refuses { text(503, "draining") } else { whole("video/mp4", "first") }))
    })
    .await;
    // Whoever does not know the page is there all the same.
    let second = Fake::start(|asked: Asked| {
        let knows = asked.target != "/ready";
        Box::pin(std::future::ready(if knows { whole("video/mp4", "second") } else { text(404, "") }))
    })
    .await;
    let mut config = config_with("edge", &[first.addr, second.addr]);
    config.upstream.shields.health_path = Some("/ready".to_owned());
    config.upstream.shields.health_interval = Duration::from_millis(20);
    let edge = Node::with(config);
    let healthy = |url: &Fake| edge.metric("vivid_edge_peer_healthy", &[&format!("http://{}", url.addr)]);
    assert_eq!(edge.get("/vod/1").await.text(), "first");
    ready.store(false, Ordering::Relaxed);
    until(|| healthy(&first) == 0.0, "the first is out").await;
    assert_eq!((edge.get("/vod/2").await.text().as_str(), healthy(&second)), ("second", 1.0));
    ready.store(true, Ordering::Relaxed);
    until(|| healthy(&first) == 1.0, "the first is back").await;
    assert_eq!(edge.get("/vod/3").await.text(), "first");
    assert_eq!(edge.metric("vivid_edge_failovers_total", &[]), 0.0, "no viewer's request found it out");
}

#[tokio::test]
async fn whoever_waits_for_a_shield_that_vanishes_goes_elsewhere_when_it_is_noticed() {
    // It takes connections and never says a word, as a machine does that is cut off.
    let first = Fake::start(|_| Box::pin(std::future::pending::<Said>())).await;
    let second = says(|| whole("video/mp4", "second")).await;
    let mut config = config_with("edge", &[first.addr, second.addr]);
    config.upstream.shields.health_interval = Duration::from_millis(100);
    config.upstream.shields.health_timeout = Duration::from_millis(50);
    let edge = Node::with(config);
    let began = Instant::now();
    assert_eq!(edge.get("/vod/a").await.text(), "second");
    assert!(began.elapsed() < Duration::from_secs(10), "that is the time-out of the request: {:?}", began.elapsed());
}

#[tokio::test]
async fn a_playlist_that_one_origin_does_not_know_may_be_another_ones() {
    let origin = Origin::at(100, 1);
    let (none, knows) = (says(|| text(404, "no such stream")).await, origin.start().await);
    let edge = Node::with(config_with("edge", &[none.addr, knows.addr]));
    assert_eq!(edge.get(RENDITION).await.text(), origin.playlist());
    // What its playlist names is asked of whoever gave it.
    assert_eq!(edge.get("/live/test/720p/e1/99.m4s").await.status, 200);
    assert_eq!((none.count(".m4s"), none.count(".m3u8")), (0, 1));
    assert_eq!(edge.get("/live/test/720p/e9/99.m4s").await.status, 404, "nobody promised this");
    assert_eq!((none.count("e9"), knows.count("e9")), (1, 0));
}

/// Two upstreams in front of one origin; the first one stops answering when told.
async fn pair(origin: &Origin) -> ([Fake; 2], watch::Sender<bool>) {
    let (stall, stalled) = watch::channel(false);
    let of = origin.clone();
    let first = Fake::start(move |asked: Asked| -> Saying {
        let (origin, mut stalled) = (of.clone(), stalled.clone());
        let probe = asked.target.starts_with("/_vivid/");
        Box::pin(async move {
            let said = if probe { whole("text/plain", "ready") } else { origin.answer(asked).await };
            if !probe {
                stalled.wait_for(|stalled| !stalled).await.unwrap();
            }
            said
        })
    })
    .await;
    ([first, origin.start().await], stall)
}

fn next(origin: &Origin) -> String {
    let at = origin.next();
    format!("{RENDITION}?_HLS_msn={}&_HLS_part={}", at.msn, at.part)
}

/// Publishes so many parts, each once the edge waits for it.
async fn publish(origin: &Origin, edge: &Node, player: &mut Viewer, parts: usize) {
    for _ in 0..parts {
        player.ask(&next(origin), "").await;
        edge.until("vivid_edge_holds", &[], 1.0).await;
        origin.advance();
        assert_eq!(player.read().await.unwrap().text(), origin.playlist());
    }
}

#[tokio::test]
async fn a_healthy_pair_is_asked_once_for_each_object() {
    let origin = Origin::at(100, 1);
    let (fakes, _stall) = pair(&origin).await;
    let edge = Node::with(config_with("edge", &[fakes[0].addr, fakes[1].addr]));
    let mut player = Viewer::connect(edge.addr).await;
    publish(&origin, &edge, &mut player, 40).await;
    edge.until("vivid_edge_fills_total", &["whole"], 40.0).await;
    let asked: Vec<String> = fakes.iter().flat_map(Fake::asked).map(|asked| asked.target).collect();
    let asked: Vec<_> = asked.into_iter().filter(|target| !target.starts_with("/_vivid/")).collect();
    assert_eq!(asked.iter().collect::<HashSet<_>>().len(), asked.len(), "1.00 for each object: {asked:?}");
    assert_eq!(requests(&fakes[1]), 0);
}

#[tokio::test]
async fn a_late_playlist_and_a_late_part_are_asked_for_elsewhere_and_the_stream_stays_there() {
    let origin = Origin::at(100, 1);
    let (fakes, stall) = pair(&origin).await;
    let edge = Node::with(config_with("edge", &[fakes[0].addr, fakes[1].addr]));
    let mut player = Viewer::connect(edge.addr).await;
    publish(&origin, &edge, &mut player, 10).await;
    assert_eq!(requests(&fakes[1]), 0);

    stall.send_replace(true);
    let hinted = format!("/live/test/720p/e1/{}.{}.m4s", origin.next().msn, origin.next().part);
    let mut part = Viewer::connect(edge.addr).await;
    part.ask(&hinted, "").await;
    let began = Instant::now();
    publish(&origin, &edge, &mut player, 1).await;
    let late = began.elapsed();
    assert!(late > Duration::from_millis(900) && late < Duration::from_secs(3), "two part targets, not {late:?}");
    assert!(in_time(part.read()).await.unwrap().text().starts_with(&format!("bytes of {hinted}")));
    edge.until("vivid_edge_hedges_total", &["won"], 2.0).await;
    until(|| fakes[1].count(".m3u8") == 2, "the next one is asked for there").await;
    assert_eq!(fakes[1].count(&hinted), 1);

    let began = Instant::now();
    publish(&origin, &edge, &mut player, 3).await;
    assert!(began.elapsed() < Duration::from_millis(900), "it does not wait for the first one again");
    assert_eq!(edge.metric("vivid_edge_failovers_total", &["late"]), 2.0);
}

#[tokio::test]
async fn without_a_budget_nothing_is_asked_twice_for_being_late() {
    let origin = Origin::at(100, 1);
    let (fakes, stall) = pair(&origin).await;
    let mut config = config_with("edge", &[fakes[0].addr, fakes[1].addr]);
    config.upstream.shields.hedge_percent = 0;
    let edge = Node::with(config);
    let mut player = Viewer::connect(edge.addr).await;
    publish(&origin, &edge, &mut player, 10).await;
    stall.send_replace(true);
    player.ask(&next(&origin), "").await;
    edge.until("vivid_edge_bounds_total", &["hedge_percent"], 1.0).await;
    assert_eq!(requests(&fakes[1]), 0);
}

#[tokio::test]
async fn a_loop_through_ten_nodes_is_refused_at_once() {
    let last = nobody();
    let mut nodes = vec![Node::start("n0", last)];
    for number in 1..9 {
        nodes.push(Node::start(&format!("n{number}"), nodes[number - 1].addr));
    }
    let closes = crate::support::config("n9", nodes[8].addr);
    let _tenth = Node::with(config::Edge { listen: last, ..closes });
    for target in ["/a", RENDITION] {
        let began = Instant::now();
        assert_eq!(nodes[8].get(target).await.status, 508);
        assert!(began.elapsed() < Duration::from_secs(5), "{target} took {:?}", began.elapsed());
    }
}
