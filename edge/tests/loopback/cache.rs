//! What is kept of upstream's answers: for how long, for whom, and what happens when it is not fresh any more.

use crate::support::{Asked, Fake, Got, Node, Said, Viewer, config, in_time, until};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// What an upstream answers now; tests change it.
#[derive(Clone)]
struct Answers(Arc<Mutex<Answer>>);

#[derive(Clone)]
struct Answer {
    status: u16,
    fields: Vec<(&'static str, String)>,
    body: &'static str,
}

impl Answers {
    fn new(fields: &[(&'static str, &str)], body: &'static str) -> Self {
        let answers = Self(Arc::new(Mutex::new(Answer { status: 200, fields: Vec::new(), body })));
        answers.set(200, fields, body);
        answers
    }

    fn set(&self, status: u16, fields: &[(&'static str, &str)], body: &'static str) {
        let fields = fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        *self.0.lock().unwrap() = Answer { status, fields, body };
    }

    /// 304 to a request whose condition names the validator that would be sent.
    fn say(&self, asked: &Asked) -> Said {
        let answer = self.0.lock().unwrap().clone();
        let condition = |name: &str, field: &str| {
            let validator = answer.fields.iter().find(|(known, _)| *known == name).map(|(_, value)| value);
            validator
                .is_some_and(|value| asked.head.to_lowercase().contains(&format!("{field}: {}", value.to_lowercase())))
        };
        if condition("ETag", "if-none-match") || condition("Last-Modified", "if-modified-since") {
            return Said::Whole(304, answer.fields, Vec::new());
        }
        Said::Whole(answer.status, answer.fields, answer.body.into())
    }

    async fn start(&self) -> Fake {
        let answers = self.clone();
        Fake::start(move |asked| {
            let said = answers.say(&asked);
            Box::pin(std::future::ready(said))
        })
        .await
    }
}

fn told(got: &Got) -> (u16, String, &str) {
    (got.status, got.text(), got.field("cache-status"))
}

#[tokio::test]
async fn what_must_be_confirmed_each_time_is_confirmed_and_not_sent_again() {
    for validator in [("ETag", "\"v1\""), ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT")] {
        let answers = Answers::new(&[("Cache-Control", "no-cache"), validator], "first");
        let fake = answers.start().await;
        let edge = Node::start("edge", fake.addr);
        assert_eq!(told(&edge.get("/a").await), (200, "first".into(), "edge; fwd=miss; stored"));
        assert_eq!(told(&edge.get("/a").await), (200, "first".into(), "edge; fwd=stale"));
        assert_eq!(edge.metric("vivid_edge_fills_total", &["confirmed"]), 1.0, "{validator:?}");

        // A 304 brings a new lifetime with it.
        answers.set(200, &[("Cache-Control", "max-age=60"), ("X-New", "1"), validator], "first");
        let got = edge.get("/a").await;
        assert_eq!((told(&got), got.field("x-new")), ((200, "first".into(), "edge; fwd=stale"), "1"));
        assert_eq!(told(&edge.get("/a").await), (200, "first".into(), "edge; hit"));
        assert_eq!(fake.asked().len(), 3);
    }
}

#[tokio::test]
async fn a_changed_object_replaces_the_stored_one_whole() {
    let answers = Answers::new(&[("Cache-Control", "no-cache"), ("ETag", "\"v1\"")], "first");
    let fake = answers.start().await;
    let edge = Node::start("edge", fake.addr);
    assert_eq!(edge.get("/a").await.text(), "first");
    answers.set(200, &[("Cache-Control", "max-age=60"), ("ETag", "\"v2\"")], "second");
    for status in ["edge; fwd=stale", "edge; hit"] {
        let got = edge.get("/a").await;
        assert_eq!((told(&got), got.field("etag")), ((200, "second".into(), status), "\"v2\""));
    }
}

#[tokio::test]
async fn a_304_about_another_version_confirms_nothing() {
    let answers = Answers::new(&[("Cache-Control", "no-cache"), ("ETag", "\"v1\"")], "first");
    let fake = answers.start().await;
    let edge = Node::start("edge", fake.addr);
    assert_eq!(edge.get("/a").await.status, 200);
    answers.set(304, &[("ETag", "\"v2\"")], "");
    assert_eq!(edge.get("/a").await.status, 502);
    // Nor does one that nobody asked for.
    assert_eq!(edge.get("/b").await.status, 502);
}

#[tokio::test]
async fn while_one_asks_anew_all_are_shown_the_stale_one_at_once() {
    let (gate, open) = watch::channel(true);
    let rounds = Arc::new(AtomicUsize::new(0));
    let fake = Fake::start(move |_| {
        let (mut open, round) = (open.clone(), rounds.fetch_add(1, Ordering::Relaxed));
        Box::pin(async move {
            open.wait_for(|open| *open).await.unwrap();
            let control = ["max-age=0, stale-while-revalidate=60", "max-age=60"][round.min(1)];
            Said::Whole(200, vec![("Cache-Control", control.to_owned())], format!("round {round}").into_bytes())
        })
    })
    .await;
    let edge = Node::start("edge", fake.addr);
    assert_eq!(edge.get("/a").await.text(), "round 0");
    gate.send_replace(false);
    for _ in 0..20 {
        assert_eq!(told(&edge.get("/a").await), (200, "round 0".into(), "edge; hit; detail=stale"));
    }
    until(|| fake.asked().len() == 2, "upstream is asked in the background").await;
    gate.send_replace(true);
    edge.until("vivid_edge_fills_total", &["whole"], 2.0).await;
    assert_eq!(told(&edge.get("/a").await), (200, "round 1".into(), "edge; hit"));
    assert_eq!(fake.asked().len(), 2, "one asked for all");
    assert_eq!(edge.metric("vivid_edge_lookups_total", &["stale"]), 20.0);
}

#[tokio::test]
async fn an_upstream_that_fails_is_bridged_by_what_is_stored_for_as_long_as_it_allows() {
    for failure in [Some(500), Some(503), None] {
        let answers = Answers::new(&[("Cache-Control", "max-age=0, stale-if-error=60")], "stored");
        let fake = answers.start().await;
        let mut config = config("edge", fake.addr);
        config.cache.failed = Duration::from_secs(60);
        let edge = Node::with(config);
        assert_eq!(edge.get("/a").await.text(), "stored");
        match failure {
            Some(status) => answers.set(status, &[], "upstream's trouble"),
            None => fake.die().await,
        }
        for _ in 0..5 {
            assert_eq!(told(&edge.get("/a").await), (200, "stored".into(), "edge; hit; detail=stale"), "{failure:?}");
        }
        // After the first failure nobody waits for upstream, and it is not asked again before its time.
        assert_eq!(edge.metric("vivid_edge_fills_total", &["stale"]), 1.0);
        assert_eq!(edge.metric("vivid_edge_lookups_total", &["stale"]), 4.0);
    }
}

#[tokio::test]
async fn what_must_not_be_shown_stale_is_an_error_when_upstream_fails() {
    for control in ["no-cache", "max-age=0, must-revalidate, stale-if-error=60", "s-maxage=0"] {
        let answers = Answers::new(&[("Cache-Control", control), ("ETag", "\"v1\"")], "stored");
        let fake = answers.start().await;
        let edge = Node::start("edge", fake.addr);
        assert_eq!(edge.get("/a").await.status, 200);
        answers.set(503, &[], "upstream's trouble");
        assert_eq!(edge.get("/a").await.status, 503, "{control}");
    }
}

#[tokio::test]
async fn what_is_gone_upstream_is_gone_here_however_stale_it_may_be_shown() {
    let answers = Answers::new(&[("Cache-Control", "max-age=0, stale-if-error=60")], "stored");
    let fake = answers.start().await;
    let edge = Node::start("edge", fake.addr);
    assert_eq!(edge.get("/a").await.status, 200);
    answers.set(404, &[], "gone\n");
    assert_eq!(edge.get("/a").await.status, 404);
    answers.set(503, &[], "upstream's trouble");
    assert_ne!(edge.get("/a").await.status, 200);
}

#[tokio::test]
async fn bounds_of_the_configuration_go_before_what_upstream_allows() {
    let answers = Answers::new(&[("Cache-Control", "max-age=0, stale-while-revalidate=60, stale-if-error=60")], "old");
    let fake = answers.start().await;
    let mut config = config("edge", fake.addr);
    config.cache.stale_while_revalidate_max = Duration::ZERO;
    config.cache.stale_if_error_max = Duration::ZERO;
    let edge = Node::with(config);
    assert_eq!(edge.get("/a").await.text(), "old");
    answers.set(200, &[], "new");
    assert_eq!(edge.get("/a").await.text(), "new");
    answers.set(500, &[], "");
    assert_eq!(edge.get("/b").await.status, 500);
}

#[tokio::test]
async fn answers_that_are_no_200_are_kept_as_configured_for_their_status() {
    let minute = Duration::from_secs(60);
    for (status, kept) in [(404, true), (410, true), (403, true), (500, true), (503, true), (404, false), (500, false)]
    {
        let answers = Answers::new(&[], "");
        answers.set(status, &[], "upstream's words\n");
        let fake = answers.start().await;
        let mut config = config("edge", fake.addr);
        let life = if kept { minute } else { Duration::ZERO };
        (config.cache.missing, config.cache.refused, config.cache.failed) = (life, life, life);
        let edge = Node::with(config);
        for _ in 0..3 {
            let got = edge.get("/a").await;
            assert_eq!((got.status, got.text().as_str()), (status, "upstream's words\n"));
        }
        assert_eq!(fake.asked().len(), if kept { 1 } else { 3 }, "{status}");
    }
}

#[tokio::test]
async fn a_private_answer_goes_to_its_requester_and_the_others_ask_for_themselves() {
    for field in [("Cache-Control", "private"), ("Cache-Control", "no-store"), ("Set-Cookie", "viewer=1")] {
        let (gate, open) = watch::channel(false);
        let rounds = Arc::new(AtomicUsize::new(0));
        let fake = Fake::start(move |_| {
            let (mut open, round) = (open.clone(), rounds.fetch_add(1, Ordering::Relaxed));
            Box::pin(async move {
                open.wait_for(|open| *open).await.unwrap();
                let fields = vec![(field.0, field.1.to_owned())];
                Said::Whole(200, fields, format!("for viewer {round}").into_bytes())
            })
        })
        .await;
        let edge = Node::start("edge", fake.addr);
        let mut viewers = JoinSet::new();
        for _ in 0..20 {
            let addr = edge.addr;
            viewers.spawn(async move { Viewer::connect(addr).await.get("/account").await });
        }
        edge.until("vivid_edge_lookups_total", &[], 20.0).await;
        until(|| fake.asked().len() == 1, "one asks for all: nobody knows yet").await;
        gate.send_replace(true);
        let mut seen: Vec<String> = Vec::new();
        while let Some(got) = in_time(viewers.join_next()).await {
            let got = got.unwrap();
            assert_eq!((got.status, got.field("set-cookie")), (200, ""));
            seen.push(got.text());
        }
        seen.sort();
        seen.dedup();
        assert_eq!((seen.len(), fake.asked().len()), (20, 20), "{field:?}");
        let again = edge.get("/account").await;
        assert_eq!((again.text().as_str(), again.field("cache-status")), ("for viewer 20", "edge; fwd=miss"));
        assert!(edge.metric("vivid_edge_unstored_total", &[]) >= 20.0);
    }
}

#[tokio::test]
async fn what_cannot_be_kept_is_shared_by_those_who_came_before_it() {
    let senders: Arc<Mutex<Vec<mpsc::UnboundedSender<Vec<u8>>>>> = Arc::default();
    let drips = senders.clone();
    let fake = Fake::start(move |_| {
        let (sender, receiver) = mpsc::unbounded_channel();
        drips.lock().unwrap().push(sender);
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nCache-Control: max-age=0\r\n\r\n";
        Box::pin(std::future::ready(Said::Raw(head.to_owned(), receiver)))
    })
    .await;
    let edge = Node::start("edge", fake.addr);
    let mut early = Viewer::connect(edge.addr).await;
    early.ask("/a", "").await;
    assert_eq!(early.read_head().await.unwrap().status, 200);
    let mut late = Viewer::connect(edge.addr).await;
    late.ask("/a", "").await;
    until(|| senders.lock().unwrap().len() == 2, "who comes after the header asks anew").await;
    let drip = |index: usize, bytes: &[u8]| senders.lock().unwrap()[index].send(bytes.to_vec()).unwrap();
    drip(1, b"late");
    drip(0, b"old!");
    assert_eq!(late.read().await.unwrap().text(), "late");
    assert_eq!(early.bytes(4).await.unwrap(), b"old!");
    assert_eq!(edge.metric("vivid_edge_unstored_total", &["useless"]), 2.0);
}

#[tokio::test]
async fn upstream_says_in_every_way_it_has_what_is_kept() {
    for (fields, kept) in [
        (&[("Cache-Control", "max-age=60")][..], true),
        (&[("Cache-Control", "max-age=60"), ("Age", "60"), ("CDN-Cache-Control", "max-age=90")], true),
        (&[("Cache-Control", "no-store"), ("CDN-Cache-Control", "max-age=60")], true),
        (&[("Cache-Control", "max-age=60"), ("CDN-Cache-Control", "no-store")], false),
        (&[("Date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("Expires", "Sun, 06 Nov 1994 08:50:37 GMT")], true),
        (&[("Expires", "0")], false),
        (&[("Cache-Control", "max-age=60"), ("Vary", "Accept-Encoding")], true),
        (&[("Cache-Control", "max-age=60"), ("Vary", "Cookie")], false),
        (&[("Cache-Control", "max-age=60"), ("Vary", "*")], false),
        (&[], true),
    ] {
        let answers = Answers::new(fields, "bytes");
        let fake = answers.start().await;
        let edge = Node::start("edge", fake.addr);
        for _ in 0..2 {
            assert_eq!(edge.get("/a").await.text(), "bytes");
        }
        assert_eq!(fake.asked().len(), if kept { 1 } else { 2 }, "{fields:?}");
    }
}

#[tokio::test]
async fn media_is_known_by_its_name_where_upstream_says_nothing() {
    let fake = Answers::new(&[], "bytes").start().await;
    let mut config = config("edge", fake.addr);
    config.cache.other = Duration::ZERO;
    let edge = Node::with(config);
    for (target, requests) in
        [("/film.mp4?x=1", 1), ("/hls/1.ts", 1), ("/dash/v/7.m4s", 1), ("/text.txt", 2), ("/ts", 2)]
    {
        for _ in 0..2 {
            assert_eq!(edge.get(target).await.text(), "bytes");
        }
        assert_eq!(fake.count(target), requests, "{target}");
    }
}

#[tokio::test]
async fn viewers_and_edges_may_ask_by_date() {
    let modified = "Sun, 06 Nov 1994 08:49:37 GMT";
    let answers = Answers::new(&[("Cache-Control", "no-cache"), ("Last-Modified", modified)], "bytes");
    let fake = answers.start().await;
    let shield = Node::start("shield", fake.addr);
    let edge = Node::start("edge", shield.addr);
    let mut viewer = Viewer::connect(edge.addr).await;
    assert_eq!(viewer.get("/a").await.text(), "bytes");
    for (since, status) in
        [(modified, 304), ("Mon, 07 Nov 1994 00:00:00 GMT", 304), ("Sat, 05 Nov 1994 00:00:00 GMT", 200)]
    {
        let got = viewer.get_with("/a", &format!("If-Modified-Since: {since}\r\n")).await;
        assert_eq!(got.status, status, "{since}");
    }
    let both = format!("If-Modified-Since: {modified}\r\nIf-None-Match: \"other\"\r\n");
    assert_eq!(viewer.get_with("/a", &both).await.status, 200, "an entity tag goes before a date");
    // Every one of these was confirmed along the whole way, and the bytes came once.
    assert_eq!(edge.metric("vivid_edge_fills_total", &["confirmed"]), 4.0);
    assert_eq!(shield.metric("vivid_edge_fills_total", &["confirmed"]), 4.0);
}

#[tokio::test]
async fn playlists_that_are_not_followed_are_packed_once_for_each_coding() {
    let multivariant = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000000,CODECS=\"avc1.64001f\"\n720p.m3u8\n".repeat(20);
    let finished =
        format!("#EXTM3U\n#EXT-X-TARGETDURATION:4\n{}#EXT-X-ENDLIST\n", "#EXTINF:4,\nsegment.ts\n".repeat(40));
    for (text, etag) in [(multivariant, "\"v1\""), (finished, "W/\"v2\"")] {
        let body = text.clone();
        let fake = Fake::start(move |_: Asked| {
            let fields = [("ETag", etag), ("Cache-Control", "max-age=60"), ("Vary", "Origin")];
            let fields = fields.map(|(name, value)| (name, value.to_owned())).to_vec();
            Box::pin(std::future::ready(Said::Whole(200, fields, body.clone().into_bytes())))
        })
        .await;
        let edge = Node::start("edge", fake.addr);
        let mut viewer = Viewer::connect(edge.addr).await;
        let plain = viewer.get("/vod/a.m3u8").await;
        assert_eq!((plain.text(), plain.field("etag"), plain.field("content-encoding")), (text, etag, ""));
        assert_eq!(plain.field("vary"), "Origin, Accept-Encoding");
        for coding in ["br", "gzip"] {
            let fields = format!("Accept-Encoding: {coding}\r\n");
            let packed = viewer.get_with("/vod/a.m3u8", &fields).await;
            assert_eq!((packed.status, packed.field("content-encoding")), (200, coding));
            assert!(packed.body.len() * 2 < plain.body.len());
            let tag = packed.field("etag").to_owned();
            assert_eq!(tag, format!("{}-{coding}\"", etag.strip_suffix('"').unwrap()), "one tag for each coding");
            let again = viewer.get_with("/vod/a.m3u8", &format!("{fields}If-None-Match: {tag}\r\n")).await;
            assert_eq!((again.status, again.field("vary")), (304, "Origin, Accept-Encoding"));
            let other = viewer.get_with("/vod/a.m3u8", &format!("If-None-Match: {tag}\r\n")).await;
            assert_eq!(other.status, 200);
        }
        assert_eq!(fake.asked().len(), 1);
    }
    let fields = [("Cache-Control", "max-age=60, no-transform")];
    let edge_of =
        Answers::new(&fields, "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na\n#EXT-X-STREAM-INF:BANDWIDTH=2\nb\n");
    let fake = edge_of.start().await;
    let edge = Node::start("edge", fake.addr);
    let kept = Viewer::connect(edge.addr).await.get_with("/a.m3u8", "Accept-Encoding: br, gzip\r\n").await;
    assert_eq!((kept.status, kept.field("content-encoding"), kept.field("vary")), (200, "", ""));
}
