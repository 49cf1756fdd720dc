//! Delivery directives (RFC 8216bis, 6.2.5): delta updates of this node's own making, and how long it holds.

use crate::support::{Asked, Fake, Node, Origin, RENDITION, Said, Viewer, config, text, whole};
use manifest::delta::delta_update;
use manifest::{Directives, Skip};
use std::time::{Duration, Instant};
use tokio::sync::watch;

const PLAYLIST: &str = "/foreign/v/media.m3u8";

/// Segments of one second up to `next`, from an origin that offers delta updates and never sees that one is asked for.
fn long_playlist(next: u64) -> String {
    windowed(0, next)
}

/// The same from the segment `first` on.
fn windowed(first: u64, next: u64) -> String {
    let mut playlist = format!(
        "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:1\n\
         #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=6.0\n#EXT-X-MEDIA-SEQUENCE:{first}\n\
         #EXT-X-MAP:URI=\"i.mp4\"\n"
    );
    (first..next).for_each(|msn| playlist.push_str(&format!("#EXTINF:1.0,\n{msn}.m4s\n")));
    playlist
}

/// An origin that answers with Delta Updates where they are asked for: its playlist as of a position, and the one that its
/// updates are made from.
async fn updating(
    next: watch::Receiver<u64>,
    at: impl Fn(u64) -> (String, String) + Clone + Send + Sync + 'static,
) -> Fake {
    Fake::start(move |asked: Asked| {
        let (mut next, at) = (next.clone(), at.clone());
        Box::pin(async move {
            let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
            if path != PLAYLIST {
                return whole("video/mp4", vec![1; 1000]);
            }
            let directives = Directives::from_query(query).unwrap();
            let now = match directives.wait {
                Some(manifest::Wait::Segment(msn)) => *next.wait_for(|next| *next > msn).await.unwrap(),
                _ => *next.borrow(),
            };
            let (full, updated) = at(now);
            let delta = delta_update(&updated, 6.0).filter(|_| directives.skip == Skip::Segments);
            whole("application/vnd.apple.mpegurl", delta.unwrap_or(full))
        })
    })
    .await
}

async fn foreign(next: watch::Receiver<u64>) -> Fake {
    Fake::start(move |asked: Asked| {
        let mut next = next.clone();
        Box::pin(async move {
            let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
            if path != PLAYLIST {
                return text(404, "");
            }
            let at = match Directives::from_query(query).unwrap().wait {
                Some(manifest::Wait::Segment(msn)) => *next.wait_for(|next| *next > msn).await.unwrap(),
                _ => *next.borrow(),
            };
            whole("application/vnd.apple.mpegurl", long_playlist(at))
        })
    })
    .await
}

#[tokio::test]
async fn delta_updates_are_made_here_and_upstream_is_asked_for_whole_playlists_only() {
    let (next, shown) = watch::channel(10);
    let fake = foreign(shown).await;
    let edge = Node::start("edge", fake.addr);
    let mut viewer = Viewer::connect(edge.addr).await;
    let full = viewer.get(PLAYLIST).await;
    assert_eq!(full.text(), long_playlist(10));
    for query in ["_HLS_skip=YES", "_HLS_msn=9&_HLS_skip=YES"] {
        let delta = viewer.get(&format!("{PLAYLIST}?{query}")).await;
        let text = delta.text();
        assert!(text.contains("#EXT-X-VERSION:9\n"), "{query}: {text}");
        assert!(
            text.contains("#EXT-X-SKIP:SKIPPED-SEGMENTS=4\n#EXT-X-MAP:URI=\"i.mp4\"\n#EXTINF:1.0,\n4.m4s\n"),
            "{text}"
        );
        assert_ne!(delta.field("etag"), full.field("etag"), "other bytes, other tag");
    }
    // Of what left just before this node looked nobody here knows.
    for query in ["_HLS_skip=NO", "_HLS_skip=v2"] {
        assert_eq!(viewer.get(&format!("{PLAYLIST}?{query}")).await.text(), long_playlist(10), "{query}");
    }

    let (mut with, mut without) = (Viewer::connect(edge.addr).await, Viewer::connect(edge.addr).await);
    with.ask(&format!("{PLAYLIST}?_HLS_msn=10&_HLS_skip=YES"), "Accept-Encoding: gzip\r\n").await;
    without.ask(&format!("{PLAYLIST}?_HLS_msn=10"), "").await;
    edge.until("vivid_edge_holds", &[], 2.0).await;
    next.send_replace(11);
    let packed = with.read().await.unwrap();
    let mut unpacked = String::new();
    let mut decoder = flate2::read::GzDecoder::new(&packed.body[..]);
    std::io::Read::read_to_string(&mut decoder, &mut unpacked).unwrap();
    assert!(unpacked.contains("SKIPPED-SEGMENTS=5\n"), "{unpacked}");
    assert_eq!(without.read().await.unwrap().text(), long_playlist(11));
    assert_eq!((fake.count("_HLS_skip"), fake.count("_HLS_msn=10")), (0, 1), "{:?}", fake.asked());
}

#[tokio::test]
async fn of_a_long_playlist_upstream_is_asked_for_what_is_new_and_viewers_get_it_whole() {
    let (next, shown) = watch::channel(2000);
    // Once it gives an update of something else: its window has moved by more than the edge has.
    let fake = updating(shown, |at| {
        let full = long_playlist(at);
        let updated = if at == 2002 { full.replace("SEQUENCE:0", "SEQUENCE:5000") } else { full.clone() };
        (full, updated)
    })
    .await;
    let edge = Node::start("edge", fake.addr);
    let mut viewer = Viewer::connect(edge.addr).await;
    assert_eq!(viewer.get(PLAYLIST).await.text(), long_playlist(2000));
    for msn in 2000..2005 {
        viewer.ask(&format!("{PLAYLIST}?_HLS_msn={msn}"), "").await;
        edge.until("vivid_edge_holds", &[], 1.0).await;
        next.send_replace(msn + 1);
        // The update stands for the same playlist, in a version that knows of updates.
        let told = viewer.read().await.unwrap();
        assert_eq!(told.text().replace("VERSION:9", "VERSION:6"), long_playlist(msn + 1), "{:?}", fake.asked());
    }
    let asked = fake.asked();
    let skipping = asked.iter().filter(|asked| asked.target.contains("&_HLS_skip=YES")).count();
    let plain = asked.iter().filter(|asked| !asked.target.contains('?')).count();
    assert!(skipping >= 4 && plain <= 2, "{asked:?}");
}

#[tokio::test]
async fn names_of_a_long_window_come_and_go_with_it_and_its_updates_are_passed_on() {
    const LENGTH: u64 = 1500;
    let (next, shown) = watch::channel(LENGTH);
    let moving = |at: u64| windowed(at - LENGTH, at);
    let fake = updating(shown, move |at| (moving(at), moving(at))).await;
    let edge = Node::start("edge", fake.addr);
    let (mut viewer, mut skipping) = (Viewer::connect(edge.addr).await, Viewer::connect(edge.addr).await);
    viewer.get(PLAYLIST).await;
    for msn in LENGTH..LENGTH + 100 {
        viewer.ask(&format!("{PLAYLIST}?_HLS_msn={msn}"), "").await;
        skipping.ask(&format!("{PLAYLIST}?_HLS_msn={msn}&_HLS_skip=YES"), "").await;
        edge.until("vivid_edge_holds", &[], 2.0).await;
        next.send_replace(msn + 1);
        let expected = windowed(msn + 1 - LENGTH, msn + 1);
        assert_eq!(skipping.read().await.unwrap().text(), delta_update(&expected, 6.0).unwrap());
        assert_eq!(viewer.read().await.unwrap().text().replace("VERSION:9", "VERSION:6"), expected);
    }
    // Both are kept as live objects are: the one has long been left out of updates, the other leaves the window now.
    for msn in [LENGTH / 2, 100] {
        assert_eq!(viewer.get(&format!("/foreign/v/{msn}.m4s")).await.status, 200);
    }
    let told: serde_json::Value = serde_json::from_slice(&edge.get("/_vivid/streams/foreign/v").await.body).unwrap();
    let rendition = &told["renditions"][0];
    assert_eq!((&rendition["objects_named"], &rendition["objects_kept"]), (&(LENGTH + 1).into(), &2.into()), "{told}");
    assert!(fake.asked().iter().filter(|asked| asked.target.contains("&_HLS_skip=YES")).count() >= 99);
}

#[tokio::test]
async fn an_update_that_names_segments_otherwise_is_of_another_playlist() {
    let (next, shown) = watch::channel(2000);
    // As where a shield goes from one origin to another that has the same numbers.
    let named = |at: u64| if at >= 2003 { long_playlist(at).replace(".m4s", ".b.m4s") } else { long_playlist(at) };
    let fake = updating(shown, move |at| (named(at), named(at))).await;
    let edge = Node::start("edge", fake.addr);
    let mut viewer = Viewer::connect(edge.addr).await;
    viewer.get(PLAYLIST).await;
    for msn in 2000..2006 {
        viewer.ask(&format!("{PLAYLIST}?_HLS_msn={msn}"), "").await;
        edge.until("vivid_edge_holds", &[], 1.0).await;
        next.send_replace(msn + 1);
        let told = viewer.read().await.unwrap().text().to_owned();
        let names = |of: &str| told.lines().filter(|line| line.ends_with(of)).count();
        let (all, others) = (names(".m4s"), names(".b.m4s"));
        assert_eq!((all as u64, others), (msn + 1, if msn >= 2002 { all } else { 0 }), "{msn}");
    }
}

#[tokio::test]
async fn where_upstream_offers_no_delta_updates_everybody_gets_the_whole_playlist() {
    let origin = Origin::at(100, 1);
    let edge = Node::start("edge", origin.start().await.addr);
    assert_eq!(edge.get(&format!("{RENDITION}?_HLS_skip=YES")).await.text(), origin.playlist());
}

#[tokio::test]
async fn nobody_is_held_for_more_than_three_target_durations() {
    let (_next, shown) = watch::channel(10);
    let fake = foreign(shown).await;
    let edge = Node::with(config::Edge { hold_max: Duration::from_secs(60), ..config("edge", fake.addr) });
    let mut viewer = Viewer::connect(edge.addr).await;
    assert_eq!(viewer.get(PLAYLIST).await.status, 200);
    let began = Instant::now();
    let got = viewer.get(&format!("{PLAYLIST}?_HLS_msn=10")).await;
    assert_eq!((got.status, got.field("retry-after")), (503, "1"), "{}", got.text());
    assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_playlist_of_what_ended_knows_no_directives() {
    let fake = Fake::start(|_| {
        let ended = long_playlist(20) + "#EXT-X-ENDLIST\n";
        Box::pin(std::future::ready(Said::Whole(200, Vec::new(), ended.into_bytes())))
    })
    .await;
    let edge = Node::start("edge", fake.addr);
    for query in ["", "?_HLS_skip=YES", "?_HLS_msn=99", "?_HLS_msn=99&_HLS_part=3&_HLS_skip=v2"] {
        let got = edge.get(&format!("{PLAYLIST}{query}")).await;
        assert!(got.status == 200 && got.text().ends_with("#EXT-X-ENDLIST\n"), "{query}: {}", got.text());
    }
}

/// Half of its Skip Boundary has to pass, so it is a short one.
#[tokio::test]
async fn date_ranges_are_left_out_for_who_asks_for_that() {
    let said = |at: u64| {
        let ids: &[&str] = if at < 12 { &["a", "b"] } else { &["b", "c"] };
        let dates: String = ids.iter().map(|id| format!("#EXT-X-DATERANGE:ID=\"{id}\"\n")).collect();
        long_playlist(at).replace("CAN-SKIP-UNTIL=6.0", "CAN-SKIP-UNTIL=1.0,CAN-SKIP-DATERANGES=YES") + &dates
    };
    let (next, shown) = watch::channel(10);
    let fake = updating(shown, move |at| (said(at), said(at))).await;
    let edge = Node::start("edge", fake.addr);
    let mut viewer = Viewer::connect(edge.addr).await;
    assert_eq!(viewer.get(PLAYLIST).await.text(), said(10));
    let mut msn = 10;
    let mut until = async |is_there: fn(&str) -> bool| loop {
        viewer.ask(&format!("{PLAYLIST}?_HLS_msn={msn}&_HLS_skip=v2"), "").await;
        edge.until("vivid_edge_holds", &[], 1.0).await;
        msn += 1;
        next.send_replace(msn);
        let told = viewer.read().await.unwrap().text().to_owned();
        if is_there(&told) {
            break told;
        }
        assert!(told == said(msn) || told.contains("RECENTLY-REMOVED-DATERANGES"), "{told}");
    };
    let update = until(|told| told.contains("#EXT-X-SKIP:")).await;
    assert!(update.contains("#EXT-X-VERSION:10\n") && update.contains("-DATERANGES=\"a\"\n"), "{update}");
    let update = until(|told| !told.contains("#EXT-X-DATERANGE:")).await;
    assert!(update.contains("-DATERANGES=\"\"\n"), "{update}");
}
