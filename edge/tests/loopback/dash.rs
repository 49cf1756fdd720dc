//! Live DASH: MPDs that are short-lived and never go back, segments that are live, and what is not there yet.

use crate::support::{Asked, Fake, Got, Node, PATIENCE, Said, Viewer, config, config_with, in_time, text, until};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

pub(crate) const MPD: &str = "/dash/live.mpd";

/// What the origin's MPD says.
#[derive(Clone)]
pub(crate) struct Live {
    kind: &'static str,
    /// `@availabilityStartTime` and `@publishTime`, in seconds since 1970.
    from_s: u64,
    pub(crate) published_s: u64,
    pub(crate) period: &'static str,
    status: u16,
    fields: Vec<(&'static str, String)>,
}

impl Live {
    pub(crate) fn now() -> Self {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let date = "Sun, 06 Nov 1994 08:49:37 GMT".to_owned();
        let fields = vec![("Cache-Control", "no-store".to_owned()), ("Date", date)];
        Self { kind: "dynamic", from_s: now_s - 100, published_s: now_s, period: "PT2S", status: 200, fields }
    }

    fn mpd(&self) -> String {
        format!(
            "<?xml version=\"1.0\"?><MPD type=\"{}\" availabilityStartTime=\"{}\" publishTime=\"{}\" \
             minimumUpdatePeriod=\"{}\" timeShiftBufferDepth=\"PT60S\">\
             <UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:http-xsdate:2014\" value=\"time\"/><Period start=\"PT0S\">\
             <AdaptationSet><SegmentTemplate duration=\"2\" startNumber=\"1\" availabilityTimeOffset=\"1.5\" \
             availabilityTimeComplete=\"false\" initialization=\"$RepresentationID$/init.mp4\" \
             media=\"$RepresentationID$/$Number$.m4s\"/><Representation id=\"v1\"/><Representation id=\"v2\"/>\
             </AdaptationSet></Period></MPD>",
            self.kind,
            iso(self.from_s),
            iso(self.published_s),
            self.period
        )
    }
}

/// xs:dateTime.
fn iso(unix_s: u64) -> String {
    // "Sun, 06 Nov 1994 08:49:37 GMT"
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(unix_s));
    let [_, day, month, year, time, _] = date.split(' ').collect::<Vec<_>>()[..] else { panic!("{date}") };
    let month = "JanFebMarAprMayJunJulAugSepOctNovDec".find(month).unwrap() / 3 + 1;
    format!("{year}-{month:02}-{day}T{time}Z")
}

#[derive(Clone)]
pub(crate) struct Origin {
    live: Arc<Mutex<Live>>,
    rounds: Arc<Mutex<usize>>,
}

impl Origin {
    pub(crate) fn new(live: Live) -> Self {
        Self { live: Arc::new(Mutex::new(live)), rounds: Arc::default() }
    }

    async fn start(&self) -> Fake {
        let origin = self.clone();
        Fake::start(move |asked| Box::pin(std::future::ready(origin.answer(&asked)))).await
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Live)) {
        change(&mut self.live.lock().unwrap());
    }

    pub(crate) fn mpd(&self) -> String {
        self.live.lock().unwrap().mpd()
    }

    pub(crate) fn answer(&self, asked: &Asked) -> Said {
        let live = self.live.lock().unwrap().clone();
        let mut rounds = self.rounds.lock().unwrap();
        *rounds += 1;
        if asked.target.contains(".mpd") {
            if live.status != 200 {
                return text(live.status, "no such MPD\n");
            }
            let mut fields = live.fields.clone();
            fields.push(("Content-Type", "application/dash+xml".to_owned()));
            return Said::Whole(200, fields, live.mpd().into_bytes());
        }
        if asked.target.contains("missing") || asked.target.contains("9999999") {
            return text(404, "not here\n");
        }
        let fields = vec![("Content-Type", "video/mp4".to_owned()), ("Cache-Control", "no-cache".to_owned())];
        Said::Whole(200, fields, format!("round {rounds} of {}", asked.target).into_bytes())
    }
}

async fn started(live: Live) -> (Origin, Fake, Node) {
    let origin = Origin::new(live);
    let fake = origin.start().await;
    let edge = Node::start("edge", fake.addr);
    (origin, fake, edge)
}

#[tokio::test]
async fn an_mpd_is_one_request_however_it_is_spelt_and_lives_for_half_its_period() {
    let (_origin, fake, edge) = started(Live { period: "PT60S", ..Live::now() }).await;
    let mut viewers = JoinSet::new();
    for query in ["", "?CMCD=bl%3D2100", "?token=a", "?session=9&CMCD=x", "?_=1&uid=b"] {
        let (addr, target) = (edge.addr, format!("{MPD}{query}"));
        viewers.spawn(async move { Viewer::connect(addr).await.get(&target).await });
    }
    while let Some(got) = in_time(viewers.join_next()).await {
        let got = got.unwrap();
        // Segments of 2 s, and an origin that forbids storing.
        assert_eq!((got.status, got.field("cache-control")), (200, "public, max-age=1"));
    }
    assert_eq!(fake.count(".mpd"), 1, "{:?}", fake.asked());
    assert_eq!(edge.get(MPD).await.field("cache-status"), "edge; hit");
    assert_eq!(edge.metric("vivid_edge_lookups_total", &["mpd", "miss"]), 1.0);
    edge.get(&format!("{MPD}?start=5")).await;
    assert_eq!(fake.count(".mpd"), 2, "an argument that is not known may choose the content");
}

#[tokio::test]
async fn a_live_mpd_tells_the_time_at_which_it_is_given_and_is_packed() {
    let (_origin, fake, edge) = started(Live::now()).await;
    let mut viewer = Viewer::connect(edge.addr).await;
    let plain = viewer.get(MPD).await;
    let said = httpdate::parse_http_date(plain.field("date")).unwrap();
    assert!(SystemTime::now().duration_since(said).unwrap() < 2 * PATIENCE, "{}", plain.head);
    assert_eq!((plain.field("age"), plain.field("vary")), ("", "Accept-Encoding"));
    for (coding, bytes) in [("br", "br"), ("gzip", "gzip"), ("gzip, br", "br"), ("identity", "")] {
        let packed = viewer.get_with(MPD, &format!("Accept-Encoding: {coding}\r\n")).await;
        assert_eq!((packed.status, packed.field("content-encoding")), (200, bytes), "{coding}");
        assert_eq!(packed.body.len() < plain.body.len(), !bytes.is_empty(), "{coding}");
    }
    let mut unpacked = Vec::new();
    let packed = viewer.get_with(MPD, "Accept-Encoding: gzip\r\n").await;
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed.body[..]), &mut unpacked).unwrap();
    assert_eq!(unpacked, plain.body);
    assert!(fake.count(".mpd") >= 1);
}

#[tokio::test]
async fn while_an_mpd_is_asked_for_anew_viewers_have_the_last_one() {
    let (gate, open) = watch::channel(true);
    let live = Live { period: "PT4S", ..Live::now() };
    let fake = Fake::start(move |_: Asked| {
        let (mut open, body) = (open.clone(), live.mpd().into_bytes());
        Box::pin(async move {
            open.wait_for(|open| *open).await.unwrap();
            Said::Whole(200, Vec::new(), body)
        })
    })
    .await;
    let edge = Node::start("edge", fake.addr);
    assert_eq!(edge.get(MPD).await.status, 200);
    gate.send_replace(false);
    let mut viewer = Viewer::connect(edge.addr).await;
    let stale = in_time(async {
        loop {
            let got = viewer.get(MPD).await;
            if got.field("cache-status") != "edge; hit" {
                return got;
            }
        }
    })
    .await;
    assert_eq!((stale.status, stale.field("cache-status")), (200, "edge; hit; detail=stale"));
    gate.send_replace(true);
    until(|| fake.asked().len() == 2, "one asks anew").await;
}

#[tokio::test]
async fn an_mpd_never_goes_backwards_and_outlives_a_404() {
    let origin = Origin::new(Live::now());
    let fake = origin.start().await;
    let mut config = config("edge", fake.addr);
    config.cache.failed = Duration::from_millis(10);
    let edge = Node::with(config);
    let newest = edge.get(MPD).await.body;
    origin.change(|live| live.published_s -= 50);
    until_asked(&edge, &fake, 2).await;
    edge.until("vivid_edge_followed_playlists_total", &["backwards"], 1.0).await;
    assert_eq!(edge.get(MPD).await.body, newest);
    origin.change(|live| live.status = 404);
    let rounds = fake.asked().len();
    until_asked(&edge, &fake, rounds + 2).await;
    assert_eq!(edge.get(MPD).await.body, newest, "an origin that begins again knows no stream yet");
}

/// Asks for the MPD until upstream has been asked so often.
async fn until_asked(edge: &Node, fake: &Fake, times: usize) {
    let mut viewer = Viewer::connect(edge.addr).await;
    in_time(async {
        while fake.asked().len() < times {
            assert_eq!(viewer.get(MPD).await.status, 200);
        }
    })
    .await;
}

#[tokio::test]
async fn segments_of_a_live_mpd_are_fetched_once_and_no_film_evicts_them() {
    let origin = Origin::new(Live::now());
    let fake = Fake::start({
        let origin = origin.clone();
        move |asked: Asked| {
            let said = match asked.target.starts_with("/vod/") {
                true => Said::Whole(200, vec![("Cache-Control", "max-age=600".to_owned())], vec![7; 200_000]),
                false => origin.answer(&asked),
            };
            Box::pin(std::future::ready(said))
        }
    })
    .await;
    let edge = Node::with(config::Edge { cache_bytes_max: 1 << 20, ..config("edge", fake.addr) });
    let mut viewer = Viewer::connect(edge.addr).await;
    viewer.get(MPD).await;
    let names = ["/dash/v1/init.mp4", "/dash/v1/40.m4s", "/dash/v2/40.m4s"];
    for name in names {
        assert_eq!(viewer.get(name).await.status, 200);
    }
    for film in 0..50 {
        assert_eq!(viewer.get(&format!("/vod/{film}.mp4")).await.status, 200);
    }
    edge.until("vivid_edge_live_bytes", &[], 1.0).await;
    for name in names {
        let got = viewer.get(&format!("{name}?CMCD=x&token=b")).await;
        assert_eq!((got.status, got.field("cache-status")), (200, "edge; hit"), "{name}");
    }
    assert_eq!(fake.count("/dash/v"), 3, "{:?}", fake.asked());
    assert_eq!(edge.metric("vivid_edge_lookups_total", &["segment", "hit"]), 2.0);
}

#[tokio::test]
async fn a_segment_that_is_missing_is_asked_for_again_when_its_cadence_says() {
    let origin = Origin::new(Live::now());
    let fake = origin.start().await;
    let mut config = config("edge", fake.addr);
    config.cache.missing = 3 * PATIENCE;
    let edge = Node::with(config);
    let mut viewer = Viewer::connect(edge.addr).await;
    viewer.get(MPD).await;
    // Half an hour ahead: nothing explains a second request within this test.
    let early = "/dash/v1/9999999.m4s";
    for _ in 0..3 {
        assert_eq!(viewer.get(early).await.status, 404);
    }
    assert_eq!(fake.count(early), 1);
    // Due for long: it may be there any moment, so a quarter of the chunks' half second is all that is explained.
    let late = "/dash/missing/1.m4s";
    in_time(async {
        while fake.count(late) < 3 {
            assert_eq!(viewer.get(late).await.status, 404);
        }
    })
    .await;
    assert_eq!(edge.get("/vod/missing.mp4").await.status, 404);
    assert_eq!(edge.get("/vod/missing.mp4").await.field("cache-status"), "edge; hit");
}

#[tokio::test]
async fn chunks_of_a_segment_reach_all_its_readers_as_they_come() {
    const READERS: usize = 60;
    let (sender, receiver) = mpsc::unbounded_channel();
    let receiver = Arc::new(Mutex::new(Some(receiver)));
    let live = Live::now();
    let fake = Fake::start(move |asked: Asked| {
        let said = match asked.target.ends_with(".m4s") {
            true => {
                let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: no-cache\r\n\r\n";
                Said::Raw(head.to_owned(), receiver.lock().unwrap().take().expect("one request upstream"))
            }
            false => Said::Whole(200, Vec::new(), live.mpd().into_bytes()),
        };
        Box::pin(std::future::ready(said))
    })
    .await;
    let edge = Node::start("edge", fake.addr);
    assert_eq!(edge.get(MPD).await.status, 200);
    let (step, seen) = (Arc::new(tokio::sync::Barrier::new(READERS + 1)), ["moof1", "mdat1", "moof2"]);
    let mut readers = JoinSet::new();
    for reader in 0..READERS {
        let (addr, step) = (edge.addr, step.clone());
        readers.spawn(async move {
            let mut viewer = Viewer::connect(addr).await;
            viewer.ask(&format!("/dash/v1/51.m4s?CMCD=sid%3D{reader}"), "Range: bytes=0-\r\n").await;
            step.wait().await;
            assert_eq!(viewer.read_head().await.unwrap().field("transfer-encoding"), "chunked");
            for chunk in seen {
                assert_eq!(viewer.chunk().await.unwrap(), chunk.as_bytes());
                step.wait().await;
            }
            viewer.chunk().await.unwrap().len()
        });
    }
    in_time(step.wait()).await;
    edge.until("vivid_edge_lookups_total", &["segment"], READERS as f64).await;
    for chunk in seen {
        sender.send(format!("5\r\n{chunk}\r\n").into_bytes()).unwrap();
        // The next chunk is made when everybody has this one.
        in_time(step.wait()).await;
    }
    sender.send(b"0\r\n\r\n".to_vec()).unwrap();
    while let Some(rest) = in_time(readers.join_next()).await {
        assert_eq!(rest.unwrap(), 0);
    }
    assert_eq!(fake.count("51.m4s"), 1);
    let later = edge.get("/dash/v1/51.m4s").await;
    assert_eq!((later.text().as_str(), later.field("cache-status")), ("moof1mdat1moof2", "edge; hit"));
}

#[tokio::test]
async fn who_comes_too_early_shares_the_request_that_upstream_holds() {
    let (gate, open) = watch::channel(false);
    let live = Live::now();
    let fake = Fake::start(move |asked: Asked| {
        let (mut open, body) = (open.clone(), live.mpd().into_bytes());
        Box::pin(async move {
            if asked.target.ends_with(".m4s") {
                open.wait_for(|open| *open).await.unwrap();
            }
            Said::Whole(200, Vec::new(), body)
        })
    })
    .await;
    let edge = Node::start("edge", fake.addr);
    assert_eq!(edge.get(MPD).await.status, 200);
    let mut viewers = JoinSet::new();
    for _ in 0..30 {
        let addr = edge.addr;
        viewers.spawn(async move { Viewer::connect(addr).await.get("/dash/v1/60.m4s").await.status });
    }
    edge.until("vivid_edge_lookups_total", &["segment"], 30.0).await;
    gate.send_replace(true);
    while let Some(status) = in_time(viewers.join_next()).await {
        assert_eq!(status.unwrap(), 200);
    }
    assert_eq!(fake.count("60.m4s"), 1);
}

#[tokio::test]
async fn what_tells_the_time_is_never_kept() {
    let (_origin, fake, edge) = started(Live::now()).await;
    let mut viewer = Viewer::connect(edge.addr).await;
    viewer.get(MPD).await;
    let told: Vec<String> =
        [viewer.get("/dash/time").await, viewer.get("/dash/time").await].iter().map(Got::text).collect();
    assert_ne!(told[0], told[1]);
    viewer.send(b"HEAD /dash/time?x HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(viewer.read_head().await.unwrap().status, 200);
    assert_eq!(fake.count("/time"), 3);
}

#[tokio::test]
async fn a_stream_that_begins_anew_has_none_of_its_old_segments() {
    let (origin, fake, edge) = started(Live::now()).await;
    let mut viewer = Viewer::connect(edge.addr).await;
    viewer.get(MPD).await;
    let old = viewer.get("/dash/v1/1.m4s").await;
    assert_eq!(viewer.get("/dash/v1/1.m4s").await.body, old.body);
    origin.change(|live| {
        live.from_s += 90;
        live.published_s += 5;
    });
    in_time(async {
        while viewer.get("/dash/v1/1.m4s").await.body == old.body {
            viewer.get(MPD).await;
        }
    })
    .await;
    assert_eq!(fake.count("/dash/v1/1.m4s"), 2);
}

#[tokio::test]
async fn an_mpd_is_known_by_its_type_too_and_a_finished_one_lives_as_it_says() {
    let (origin, fake, edge) = started(Live::now()).await;
    origin.change(|live| live.fields = vec![("Cache-Control", "max-age=60".to_owned())]);
    let mut viewer = Viewer::connect(edge.addr).await;
    let at = "/dash/manifest(format=.mpd-time)";
    assert_eq!(viewer.get(&format!("{at}?token=a")).await.field("content-type"), "application/dash+xml");
    edge.until("vivid_edge_followed_playlists_total", &["newer"], 1.0).await;
    for token in ["b", "c", "d"] {
        let got = viewer.get(&format!("{at}?token={token}")).await;
        assert_eq!((got.status, got.field("cache-control")), (200, "public, max-age=1"));
    }
    assert!(fake.count(at) <= 3, "{:?}", fake.asked());

    origin.change(|live| live.kind = "static");
    let got = viewer.get("/film/a.mpd").await;
    assert_eq!(got.field("cache-control"), "max-age=60");
    assert_eq!(viewer.get("/film/v1/1.m4s").await.status, 200);
    viewer.get("/film/v1/1.m4s").await;
    assert_eq!(fake.count("/film/v1/1.m4s"), 2, "what is not live is kept only if upstream lets it");
}

#[tokio::test]
async fn a_bad_mpd_is_passed_through_and_pins_nothing() {
    for body in ["<MPD", "", "<!DOCTYPE a [<!ENTITY b \"b\">]><MPD>&b;</MPD>", "hello"] {
        let fake = Fake::start(move |asked: Asked| {
            let control = if asked.target.ends_with(".mpd") { "max-age=3600" } else { "no-store" };
            let fields = vec![("Cache-Control", control.to_owned())];
            Box::pin(std::future::ready(Said::Whole(200, fields, body.into())))
        })
        .await;
        let edge = Node::start("edge", fake.addr);
        let got = edge.get(MPD).await;
        assert_eq!((got.status, got.text().as_str()), (200, body));
        assert_eq!(edge.metric("vivid_edge_followed_playlists_total", &["unreadable"]), 1.0, "{body}");
        in_time(async {
            while fake.count(".mpd") < 2 {
                edge.get(MPD).await;
            }
        })
        .await;
        for _ in 0..2 {
            edge.get("/dash/v1/1.m4s").await;
        }
        assert_eq!(fake.count("/v1/1.m4s"), 2, "{body}");
    }
}

#[tokio::test]
async fn an_mpd_that_cannot_be_read_is_asked_for_elsewhere() {
    let origin = Origin::new(Live::now());
    let broken = Fake::start(|asked: Asked| {
        let kind = vec![("Content-Type", "application/dash+xml".to_owned())];
        let body = if asked.target.contains("manifest") { "<html>out of order</html>" } else { "<MPD" };
        Box::pin(std::future::ready(Said::Whole(200, kind, body.into())))
    })
    .await;
    let second = origin.start().await;
    let edge = Node::with(config_with("edge", &[broken.addr, second.addr]));
    for path in [MPD, "/other/live.mpd", "/dash/manifest(format=.mpd-time)"] {
        assert_eq!(edge.get(path).await.text(), origin.mpd(), "{path}");
        assert_eq!(broken.count(path), 1);
    }
    assert_eq!(edge.metric("vivid_edge_failovers_total", &["failed"]), 3.0);
    assert_eq!(edge.metric("vivid_edge_followed_playlists_total", &["unreadable"]), 0.0);
    // Where nobody has a better one it is passed through.
    origin.change(|live| live.status = 500);
    assert_eq!(edge.get("/third/live.mpd").await.text(), "<MPD");
}
