//! An origin of several tenants, each in a folder of its own: what one writes opens nothing of another's, and what is meant
//! for one viewer is given to no second one.

use crate::support::{Asked, Fake, Node, Said, Viewer, in_time, text, until, whole};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;
use tokio::task::JoinSet;

const LIVE: &str = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:1\n#EXTINF:1,\n";
const MPD: &str = "<MPD type=\"dynamic\" availabilityStartTime=\"2026-11-21T02:00:00Z\"><Period start=\"PT0S\">\
    <UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:http-iso:2014\" value=\"/a/time\"/>\
    <AdaptationSet><SegmentTemplate duration=\"2\" media=\"$Number$.ts\"/><Representation id=\"v\"/></AdaptationSet>\
    </Period></MPD>";

#[tokio::test]
async fn a_playlist_speaks_for_its_own_folder_alone() {
    let fake = Fake::start(|asked: Asked| {
        let said = match asked.target.split('?').next().unwrap() {
            "/b/live.m3u8" => {
                let uris = "/a/1.ts?token=b\n#EXTINF:1,\n../a/2.ts?token=b\n#EXTINF:1,\n1.ts?token=b\n";
                whole("application/vnd.apple.mpegurl", format!("{LIVE}{uris}"))
            }
            "/b/all.m3u8" => {
                let uri = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n/a/live.m3u8?token=b\n";
                whole("application/vnd.apple.mpegurl", uri)
            }
            "/a/live.m3u8" => whole("application/vnd.apple.mpegurl", format!("{LIVE}1.ts\n")),
            _ => whole("video/mp2t", asked.target),
        };
        Box::pin(std::future::ready(said))
    })
    .await;
    let edge = Node::start("edge", fake.addr);
    let mut viewer = Viewer::connect(edge.addr).await;
    for playlist in ["/b/live.m3u8", "/b/all.m3u8", "/a/live.m3u8?token=a"] {
        assert_eq!(viewer.get(playlist).await.status, 200);
    }
    assert_eq!(fake.count("/a/live.m3u8?token=b"), 0, "{:?}", fake.asked());
    for token in ["a", "c", "a"] {
        let target = format!("/a/2.ts?token={token}");
        assert_eq!(viewer.get(&target).await.text(), target, "each token is upstream's to judge");
    }
    assert_eq!(fake.count("/a/2.ts"), 2);
    assert_eq!(viewer.get("/b/1.ts?token=x").await.text(), "/b/1.ts?token=b");
    assert_eq!(viewer.get("/a/1.ts?token=x").await.text(), "/a/1.ts", "its own playlist speaks for it");
}

/// A segment that a live playlist or MPD names: the first request is answered at once, the others of a wave when all of them
/// have come. Whoever waits for another's answer waits for ever.
async fn in_waves(field: (&'static str, &'static str), wave: usize) -> (Fake, Arc<AtomicUsize>) {
    let asked_for = Arc::new(AtomicUsize::new(0));
    let (count, came) = (asked_for.clone(), watch::Sender::new(0));
    let fake = Fake::start(move |asked: Asked| {
        let (count, came) = (count.clone(), came.clone());
        Box::pin(async move {
            match asked.target.rsplit('.').next() {
                Some("m3u8") => return whole("application/vnd.apple.mpegurl", format!("{LIVE}7.ts\n")),
                Some("mpd") => return whole("application/dash+xml", MPD),
                _ => {}
            }
            let round = count.fetch_add(1, Ordering::SeqCst);
            came.send_replace(round + 1);
            if round > 0 {
                let all = (round / wave + 1) * wave;
                came.subscribe().wait_for(|came| *came >= all).await.unwrap();
            }
            Said::Whole(200, vec![(field.0, field.1.to_owned())], format!("for viewer {round}").into_bytes())
        })
    })
    .await;
    (fake, asked_for)
}

#[tokio::test]
async fn what_is_for_one_is_given_to_no_second_viewer_whoever_names_it() {
    const WAVE: usize = 10;
    let fields = [
        ("Cache-Control", "private"),
        ("Cache-Control", "public, no-store"),
        ("Cache-Control", "\"no-store"),
        ("Set-Cookie", "viewer=1"),
    ];
    for (field, manifest) in fields.into_iter().flat_map(|field| [(field, "/a/x.m3u8"), (field, "/a/x.mpd")]) {
        let (fake, asked_for) = in_waves(field, WAVE).await;
        let edge = Node::start("edge", fake.addr);
        assert_eq!(edge.get(manifest).await.status, 200);
        let mut seen = Vec::new();
        for wave in 1..=2 {
            let mut viewers = JoinSet::new();
            for _ in 0..WAVE {
                let addr = edge.addr;
                viewers.spawn(async move { Viewer::connect(addr).await.get("/a/7.ts?token=t").await });
            }
            while let Some(got) = in_time(viewers.join_next()).await {
                let got = got.unwrap();
                assert_eq!((got.status, got.field("set-cookie")), (200, ""), "{field:?} {manifest}");
                seen.push(got.text());
            }
            seen.sort();
            seen.dedup();
            let asked = asked_for.load(Ordering::SeqCst);
            assert_eq!((seen.len(), asked), (wave * WAVE, wave * WAVE), "{field:?} {manifest}");
        }
        assert_eq!(edge.metric("vivid_edge_live_bytes", &[]), 0.0);
    }
}

#[tokio::test]
async fn a_clock_outside_of_the_folder_of_its_mpd_is_an_object_as_others() {
    let (fake, _) = in_waves(("Cache-Control", "max-age=60"), 1).await;
    let edge = Node::start("edge", fake.addr);
    assert_eq!(edge.get("/b/x.mpd").await.status, 200);
    for _ in 0..3 {
        edge.get("/a/time").await;
    }
    assert_eq!(fake.count("/a/time"), 1);
    assert_eq!(edge.get("/a/x.mpd").await.status, 200);
    for _ in 0..3 {
        edge.get("/a/time").await;
    }
    assert_eq!(fake.count("/a/time"), 4, "in its own folder it is not kept");
}

#[tokio::test]
async fn tokens_of_a_multivariant_playlist_that_is_for_one_are_used_for_nobody_else() {
    for control in ["private", "no-store"] {
        let sessions = AtomicUsize::new(0);
        let fake = Fake::start(move |asked: Asked| {
            let said = match asked.target.split_once('?') {
                None if asked.target == "/a/all.m3u8" => {
                    let session = sessions.fetch_add(1, Ordering::SeqCst);
                    let body = format!("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nv.m3u8?token=s{session}\n");
                    Said::Whole(200, vec![("Cache-Control", control.to_owned())], body.into_bytes())
                }
                Some(("/a/v.m3u8", token)) => {
                    whole("application/vnd.apple.mpegurl", format!("{LIVE}1.ts\n# for {token}\n"))
                }
                _ => text(403, "no token\n"),
            };
            Box::pin(std::future::ready(said))
        })
        .await;
        let edge = Node::start("edge", fake.addr);
        for session in 0..3 {
            let all = edge.get("/a/all.m3u8").await.text();
            assert!(all.contains(&format!("?token=s{session}\n")), "{control}: {all}");
            let got = edge.get(&format!("/a/v.m3u8?token=s{session}")).await;
            assert!(got.text().ends_with(&format!("for token=s{session}\n")), "{control}: {}", got.text());
        }
        assert_eq!(edge.get("/a/v.m3u8").await.status, 403, "{control}");
    }
}

#[tokio::test]
async fn a_live_playlist_is_followed_whatever_is_said_of_storing_it_until_it_is_private() {
    let fields = Arc::new(Mutex::new(vec![("Cache-Control", "no-store".to_owned()), ("Set-Cookie", "a=b".to_owned())]));
    let said = fields.clone();
    let fake = Fake::start(move |_: Asked| {
        let said = Said::Whole(200, said.lock().unwrap().clone(), format!("{LIVE}1.ts\n").into_bytes());
        Box::pin(std::future::ready(said))
    })
    .await;
    let edge = Node::start("edge", fake.addr);
    let mut viewer = Viewer::connect(edge.addr).await;
    for _ in 0..50 {
        let got = viewer.get("/a/live.m3u8").await;
        assert_eq!((got.status, got.field("set-cookie")), (200, ""));
    }
    assert!(fake.asked().len() < 10, "{}", fake.asked().len());
    assert_eq!(edge.metric("vivid_edge_subscriptions", &[]), 1.0);
    // RFC 9213: what is said to this kind of node is meant for it.
    for (field, value) in [("Cache-Control", "private"), ("CDN-Cache-Control", "no-store")] {
        *fields.lock().unwrap() = vec![("Cache-Control", "no-store".to_owned())];
        viewer.get("/a/live.m3u8").await;
        until(|| edge.metric("vivid_edge_subscriptions", &[]) == 1.0, "it is followed").await;
        *fields.lock().unwrap() = vec![(field, value.to_owned())];
        until(|| edge.metric("vivid_edge_subscriptions", &[]) == 0.0, "it is not followed any more").await;
        let asked = fake.asked().len();
        for viewers in 1..4 {
            assert_eq!(viewer.get("/a/live.m3u8").await.status, 200);
            assert_eq!(fake.asked().len(), asked + viewers, "{field}");
        }
    }
}
