//! What no upstream has a reason to hold, and one is silent about: MPDs, their segments, playlists that are polled.

use crate::dash::{Live, MPD, Origin};
use crate::support::{Asked, Fake, Node, Said, Saying, Viewer, config_with, in_time, until};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Two upstreams that say the same; the first one falls silent when told, except to probes.
async fn pair(answer: impl Fn(&Asked) -> Said + Clone + Send + Sync + 'static) -> ([Fake; 2], watch::Sender<bool>) {
    let (silence, silent) = watch::channel(false);
    let first = {
        let answer = answer.clone();
        Fake::start(move |asked: Asked| -> Saying {
            let (said, mut silent) = (answer(&asked), silent.clone());
            Box::pin(async move {
                if !asked.target.starts_with("/_vivid/") {
                    silent.wait_for(|silent| !silent).await.unwrap();
                }
                said
            })
        })
        .await
    };
    let second = Fake::start(move |asked: Asked| Box::pin(std::future::ready(answer(&asked)))).await;
    ([first, second], silence)
}

fn media(fake: &Fake) -> usize {
    fake.asked().iter().filter(|asked| !asked.target.starts_with("/_vivid/")).count()
}

/// Asks until upstream has been asked so often in all.
async fn ask_until(viewer: &mut Viewer, target: &str, fakes: &[Fake], times: usize) {
    in_time(async {
        while fakes.iter().map(|fake| fake.count(target)).sum::<usize>() < times {
            assert_eq!(viewer.get(target).await.status, 200);
        }
    })
    .await;
}

#[tokio::test]
async fn an_mpd_and_a_segment_that_are_late_are_asked_for_elsewhere_once() {
    let origin = Origin::new(Live::now());
    origin.change(|live| live.period = "PT0.5S");
    let (fakes, silence) = pair({
        let origin = origin.clone();
        move |asked| origin.answer(asked)
    })
    .await;
    let edge = Node::with(config_with("edge", &[fakes[0].addr, fakes[1].addr]));
    let mut viewer = Viewer::connect(edge.addr).await;
    ask_until(&mut viewer, MPD, &fakes, 12).await;
    assert_eq!(viewer.get("/dash/v1/40.m4s").await.status, 200);
    assert_eq!(media(&fakes[1]), 0, "answers in good time cause no second request");

    silence.send_replace(true);
    let asked = fakes[0].count(MPD);
    origin.change(|live| live.published_s += 1);
    let newest = origin.mpd();
    let (began, mut player) = (Instant::now(), Viewer::connect(edge.addr).await);
    player.ask("/dash/v1/41.m4s", "").await;
    in_time(async { while viewer.get(MPD).await.text() != newest {} }).await;
    // Two chunks of half a second after it was asked for, and before that it was fresh for a quarter.
    assert!(began.elapsed() > Duration::from_millis(900), "{:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(3), "the last one is shown for six: {:?}", began.elapsed());
    assert!(in_time(player.read()).await.unwrap().text().ends_with("of /dash/v1/41.m4s"));
    assert_eq!((fakes[0].count("/41."), fakes[1].count("/41."), fakes[1].count(MPD)), (1, 1, 1));
    let hedges = |end| edge.metric("vivid_edge_hedges_total", &[end]);
    assert_eq!((hedges("won"), hedges("lost")), (2.0, 0.0));
    assert_eq!(edge.metric("vivid_edge_failovers_total", &["late"]), 2.0);

    // The stream stays where it was answered, and so does what its MPD names.
    ask_until(&mut viewer, MPD, &fakes[1..], 4).await;
    assert_eq!(viewer.get("/dash/v2/41.m4s").await.status, 200);
    assert_eq!((fakes[0].count(MPD), fakes[0].count("/v2/41.")), (asked + 1, 0));
    assert_eq!(hedges("won"), 2.0);
}

#[tokio::test]
async fn a_playlist_that_is_polled_and_late_is_asked_for_elsewhere_once() {
    let (next, shown) = watch::channel(10_u64);
    let (fakes, silence) = pair(move |_| {
        let first = *shown.borrow();
        let segments: String = (first..first + 3).map(|msn| format!("#EXTINF:1,\n{msn}.ts\n")).collect();
        let head = format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:{first}\n");
        Said::Whole(200, Vec::new(), (head + &segments).into_bytes())
    })
    .await;
    let edge = Node::with(config_with("edge", &[fakes[0].addr, fakes[1].addr]));
    let (mut viewer, list) = (Viewer::connect(edge.addr).await, "/plain/live.m3u8");
    assert_eq!(viewer.get(list).await.status, 200);
    silence.send_replace(true);
    next.send_replace(11);
    in_time(async { while !viewer.get(list).await.text().contains("\n13.ts") {} }).await;
    assert_eq!((fakes[1].count(list), edge.metric("vivid_edge_hedges_total", &["won"])), (1, 1.0));
    until(|| fakes[1].count(list) == 2, "the next poll goes there").await;
}
