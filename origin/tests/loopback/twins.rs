//! Two origins that one encoder publishes to: the same names, numbers, times and bytes at both, whoever begins.

mod codecs;

use crate::clip::{Clip, Recipe};
use crate::follower::Follower;
use crate::world::{World, config};
use bytes::Bytes;
use config::{EncryptedStreams, EncryptionMethod, KeySource, Streams};
use media::Frame;
use origin::{Ingested, Publisher};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

/// The way from one origin to the other, known before either is there; none while it is cut.
struct Link {
    addr: SocketAddr,
    target: watch::Sender<Option<SocketAddr>>,
}

impl Link {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (target, mut there) = watch::channel(None);
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let Some(target) = *there.borrow_and_update() else { continue };
                let mut there = there.clone();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(target).await?;
                    tokio::select! {
                        ended = tokio::io::copy_bidirectional(&mut near, &mut far) => ended.map(drop),
                        _ = there.changed() => Ok(()),
                    }
                });
            }
        });
        Self { addr, target }
    }
}

struct Pair {
    worlds: [World; 2],
    links: [Link; 2],
}

fn twin(link: &Link, change: impl Fn(&mut config::Origin)) -> World {
    World::start(config(|config| {
        let url = format!("http://{}", link.addr);
        let (token, deadline) = ("0123456789abcdef".into(), Duration::from_millis(700));
        config.twin = Some(config::Twin { url, token, deadline });
        change(config);
    }))
}

impl Pair {
    async fn start(change: impl Fn(&mut config::Origin)) -> Self {
        let links = [Link::new().await, Link::new().await];
        let worlds = [twin(&links[1], &change), twin(&links[0], &change)];
        for (world, link) in worlds.iter().zip(&links) {
            link.target.send_replace(Some(world.addr));
        }
        Self { worlds, links }
    }

    /// One encoder sends to both: while the time of its clip is in one of the spans, and with time stamps of its own.
    async fn feed(&self, clip: Clip, legs: [(i64, &[Span]); 2]) -> [Option<Publisher>; 2] {
        let mut clock = interval(Duration::from_millis(5));
        clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let (mut now_ms, mut zero_ms) = (0.0, None);
        let mut publishers = [None, None];
        let heads: Vec<_> = clip.items.iter().filter(|item| !matches!(item, Ingested::Frame(_))).cloned().collect();
        for item in &clip.items {
            let Ingested::Frame(frame) = item else { continue };
            let at_ms = frame.dts - *zero_ms.get_or_insert(frame.dts);
            while now_ms < at_ms as f64 {
                clock.tick().await;
                now_ms += 5.0 * SPEED;
            }
            for ((world, publisher), (offset, spans)) in self.worlds.iter().zip(&mut publishers).zip(legs) {
                if !spans.iter().any(|span| (span.0..span.1).contains(&at_ms)) {
                    *publisher = None;
                    continue;
                }
                if publisher.is_none() {
                    let taken = publisher.insert(world.publish_again("a").await);
                    for head in &heads {
                        taken.send(head.clone()).await.unwrap();
                    }
                }
                let sent = Frame { dts: frame.dts + offset, pts: frame.pts + offset, ..frame.clone() };
                publisher.as_ref().unwrap().send(Ingested::Frame(sent)).await.unwrap();
            }
        }
        publishers
    }

    async fn agreements(&self, outcome: &str) -> [f64; 2] {
        let series = format!("vivid_origin_twin_agreements_total{{outcome=\"{outcome}\"}}");
        [self.worlds[0].metric(&series).await, self.worlds[1].metric(&series).await]
    }

    async fn playlists(&self, rendition: &str) -> [String; 2] {
        let path = format!("/live/a/{rendition}/index.m3u8");
        let [a, b] = [self.worlds[0].client.get(&path).await, self.worlds[1].client.get(&path).await];
        [a.text().to_owned(), b.text().to_owned()]
    }

    /// Every segment that both list is the same to the byte; how many those are.
    async fn same_segments(&self, rendition: &str) -> usize {
        let listed = self.playlists(rendition).await.map(|text| listed(&text));
        let mut same = 0;
        for (msn, a) in &listed[0] {
            let Some(b) = listed[1].get(msn) else { continue };
            assert_eq!((a.discontinuities, &a.unix), (b.discontinuities, &b.unix), "{msn}");
            if a.gap || b.gap {
                continue;
            }
            assert_eq!(a, b, "{msn}");
            assert_eq!(self.both(rendition, &a.map).await, [true, true], "init of {msn}");
            let bytes = self.both(rendition, &a.uri).await;
            assert_eq!(bytes, [true, true], "{}", a.uri);
            same += 1;
        }
        same
    }

    /// Whether both have it, and have the same; both also say so.
    async fn both(&self, rendition: &str, uri: &str) -> [bool; 2] {
        let path = format!("/live/a/{rendition}/{uri}");
        let get = |world: &World| {
            let client = world.client.clone();
            let path = path.clone();
            async move { client.send(http::Method::GET, &path, &[("want-repr-digest", "sha-256=1")]).await }
        };
        let [a, b] = [get(&self.worlds[0]).await, get(&self.worlds[1]).await];
        assert!(a.header("repr-digest").starts_with("sha-256=:"), "{:?}", a.headers);
        assert_eq!(a.header("repr-digest") == b.header("repr-digest"), a.body == b.body);
        [a.status == 200, b.status == 200 && a.body == b.body]
    }
}

/// From and up to these milliseconds of a clip.
type Span = (i64, i64);

const SPEED: f64 = 2.5;
const ALL: &[Span] = &[(0, i64::MAX)];

#[derive(Clone, Debug, PartialEq)]
struct Listed {
    discontinuities: u64,
    unix: String,
    duration: String,
    key: String,
    map: String,
    uri: String,
    gap: bool,
}

/// The whole segments of a playlist, by number.
fn listed(text: &str) -> BTreeMap<u64, Listed> {
    let value = |line: &str, tag: &str| line.strip_prefix(tag).map(str::to_owned);
    let (mut listed, mut msn, mut discontinuities) = (BTreeMap::new(), 0, 0);
    let (mut unix, mut duration, mut gap) = (String::new(), String::new(), false);
    let (mut key, mut map) = (String::new(), String::new());
    for line in text.lines() {
        if let Some(first) = value(line, "#EXT-X-MEDIA-SEQUENCE:") {
            msn = first.parse().unwrap();
        } else if let Some(before) = value(line, "#EXT-X-DISCONTINUITY-SEQUENCE:") {
            discontinuities = before.parse().unwrap();
        } else if let Some(uri) = value(line, "#EXT-X-MAP:URI=") {
            map = uri.trim_matches('"').to_owned();
        }
        key = value(line, "#EXT-X-KEY:").unwrap_or(key);
        unix = value(line, "#EXT-X-PROGRAM-DATE-TIME:").unwrap_or(unix);
        duration = value(line, "#EXTINF:").unwrap_or(duration);
        discontinuities += u64::from(line == "#EXT-X-DISCONTINUITY");
        gap |= line == "#EXT-X-GAP";
        if !line.starts_with('#') {
            let (unix, duration, uri) = (unix.clone(), duration.clone(), line.to_owned());
            let (key, map) = (key.clone(), map.clone());
            listed.insert(msn, Listed { discontinuities, unix, duration, key, map, uri, gap });
            (msn, gap) = (msn + 1, false);
        }
    }
    listed
}

/// Follows a rendition at one of the two until a playlist lists this many whole segments; every part it saw.
async fn parts(world: &World, rendition: &str, segments: usize) -> HashMap<String, Bytes> {
    let mut follower = Follower::join(&world.client, "a", rendition).await;
    while listed(&follower.text).len() < segments && follower.step().await {}
    follower.into_parts()
}

fn assert_same_parts(a: &HashMap<String, Bytes>, b: &HashMap<String, Bytes>, least: usize) {
    let common: Vec<_> = a.keys().filter(|uri| b.contains_key(*uri)).collect();
    assert!(common.len() >= least, "{} parts in common", common.len());
    for uri in common {
        assert!(a[uri] == b[uri], "{uri} is not the same at both");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fed_at_once_both_cut_the_same_bytes_under_the_same_names() {
    let pair = Pair::start(|_| {}).await;
    let clip = Recipe::regular(12).clip();
    let following = async {
        tokio::join!(
            parts(&pair.worlds[0], "180p", 5),
            parts(&pair.worlds[1], "180p", 5),
            parts(&pair.worlds[0], "90p", 5),
            parts(&pair.worlds[1], "90p", 5),
            parts(&pair.worlds[0], "audio", 5),
            parts(&pair.worlds[1], "audio", 5)
        )
    };
    // The second connection counts its time from elsewhere, and rounds it otherwise.
    let (_, (a, b, small_a, small_b, sound_a, sound_b)) =
        tokio::join!(pair.feed(clip, [(0, ALL), (1_234_567, ALL)]), following);
    assert_same_parts(&a, &b, 30);
    // What is encoded from the same frames in the same order is the same as well.
    assert_same_parts(&small_a, &small_b, 30);
    assert_same_parts(&sound_a, &sound_b, 30);
    assert!(pair.same_segments("180p").await >= 5);
    assert_eq!(pair.agreements("together").await, [1.0, 1.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_one_secret_both_encrypt_alike() {
    for method in [EncryptionMethod::Cbcs, EncryptionMethod::Aes128] {
        let pair = Pair::start(|config| {
            config.encryption.streams = vec![EncryptedStreams { streams: Streams::of("a"), method }];
            config.encryption.keys = KeySource::Secret("of-both-0123456789".to_owned());
            config.encryption.rotate = Some(Duration::from_secs(4));
        })
        .await;
        let _publishers = pair.feed(Recipe::regular(12).clip(), [(0, ALL), (1_234_567, ALL)]).await;
        for rendition in ["180p", "90p", "audio"] {
            assert!(pair.same_segments(rendition).await >= 4, "{method:?} {rendition}");
        }
        let [a, _] = pair.playlists("180p").await.map(|text| listed(&text));
        // The number of the segment is the IV of a whole one, so that the address tells whether it is another key.
        let uris: BTreeSet<String> =
            a.values().map(|segment| segment.key.split('"').nth(1).unwrap().to_owned()).collect();
        assert!(uris.len() >= 3, "{method:?}: {uris:?}");
        for uri in uris {
            let path = format!("/live/a/{}", uri.trim_start_matches("../"));
            let [one, other] = [&pair.worlds[0], &pair.worlds[1]].map(|world| world.client.clone());
            let (one, other) = (one.get(&path).await, other.get(&path).await);
            assert!(one.status == 200 && one.body.len() == 16 && one.body == other.body, "{path}: {}", one.status);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_later_joins_with_the_same_numbers_whichever_it_is() {
    let clip = Recipe { video: &["-g", "60", "-sc_threshold", "0", "-bf", "2"], ..Recipe::regular(16) }.clip();
    for late in [0, 1] {
        let pair = Pair::start(|_| {}).await;
        let mut legs: [(i64, &[Span]); 2] = [(0, ALL), (0, ALL)];
        legs[late] = (777, &[(4_500, i64::MAX)]);
        let following = async {
            tokio::join!(
                parts(&pair.worlds[late], "180p", 4),
                parts(&pair.worlds[1 - late], "180p", 7),
                parts(&pair.worlds[late], "audio", 4)
            )
        };
        let (_, (a, b, _)) = tokio::join!(pair.feed(clip.clone(), legs), following);
        assert_same_parts(&a, &b, 24);
        assert!(pair.same_segments("180p").await >= 3);
        let [first, second] = pair.playlists("audio").await.map(|text| listed(&text));
        let msn = *[&first, &second][late].keys().next().unwrap();
        assert_eq!(first[&msn].unix, second[&msn].unix);
        let [outcome, alone] = [pair.agreements("together").await, pair.agreements("alone").await];
        assert_eq!((outcome[late], alone[1 - late]), (1.0, 1.0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_loses_its_publisher_goes_on_where_the_other_is() {
    let pair = Pair::start(|config| config.ingest.linger = Duration::from_secs(60)).await;
    let clip = Recipe::regular(18).clip();
    let away: &[Span] = &[(0, 6_700), (9_500, i64::MAX)];
    let whole = parts(&pair.worlds[0], "180p", 8);
    let (_publishers, whole) = tokio::join!(pair.feed(clip, [(0, ALL), (40, away)]), whole);
    // What was cut short when it left is under no name of the other's.
    let again = parts(&pair.worlds[1], "180p", 8).await;
    assert_same_parts(&whole, &again, 12);
    for rendition in ["180p", "90p", "audio"] {
        let [a, b] = pair.playlists(rendition).await;
        assert!(!b.contains("#EXT-X-DISCONTINUITY\n"), "{b}");
        let (a, b) = (listed(&a), listed(&b));
        assert!(a.values().all(|segment| !segment.gap), "the other one missed nothing");
        let gaps: Vec<u64> = b.iter().filter(|(_, segment)| segment.gap).map(|(msn, _)| *msn).collect();
        assert!((1..=3).contains(&gaps.len()), "{rendition}: {gaps:?}");
        assert_eq!(a[&gaps[0]].unix, b[&gaps[0]].unix);
        assert_eq!(a.keys().next_back(), b.keys().next_back(), "{rendition}");
    }
    assert!(pair.same_segments("180p").await >= 5);
    assert_eq!(pair.agreements("together").await, [1.0, 2.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoder_that_connects_anew_to_both_is_one_discontinuity_at_both() {
    let pair = Pair::start(|config| config.ingest.linger = Duration::from_secs(60)).await;
    let clip = Recipe::regular(14).clip();
    // One of them notices a little later.
    let legs: [(i64, &[Span]); 2] = [(0, &[(0, 6_000), (7_900, i64::MAX)]), (5, &[(0, 6_400), (7_900, i64::MAX)])];
    let _publishers = pair.feed(clip, legs).await;
    assert!(pair.same_segments("180p").await >= 3);
    for rendition in ["180p", "90p", "audio"] {
        for text in pair.playlists(rendition).await {
            assert_eq!(text.matches("#EXT-X-DISCONTINUITY\n").count(), 1, "{rendition}: {text}");
        }
    }
    assert_eq!(pair.agreements("together").await, [2.0, 2.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_cannot_reach_the_other_begins_alone_in_time() {
    let pair = Pair::start(|_| {}).await;
    for link in &pair.links {
        link.target.send_replace(None);
    }
    let _publishers = pair.feed(Recipe::regular(8).clip(), [(0, ALL), (0, ALL)]).await;
    for world in &pair.worlds {
        Follower::join(&world.client, "a", "180p").await;
    }
    assert_eq!(pair.agreements("silent").await, [1.0, 1.0]);
    assert_eq!(pair.agreements("together").await, [0.0, 0.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_starts_anew_has_the_numbers_of_the_other() {
    let mut pair = Pair::start(|_| {}).await;
    let clip = Recipe::regular(22).clip();
    let playing = pair.worlds[0].play("a", clip.clone(), SPEED);
    drop(pair.worlds[1].play("a", clip.until(6_000), SPEED).await.unwrap());
    Follower::join(&pair.worlds[1].client, "a", "180p").await;
    // Its process ends, and another one takes its place.
    let again = twin(&pair.links[0], |_| {});
    pair.links[1].target.send_replace(Some(again.addr));
    std::mem::replace(&mut pair.worlds[1], again).stop().await;
    let _publisher = pair.worlds[1].play("a", clip.only(|frame| frame.dts >= 5_900).later(9), SPEED).await.unwrap();
    assert!(pair.same_segments("180p").await >= 3);
    let [a, b] = pair.playlists("180p").await.map(|text| listed(&text));
    assert!(a.keys().next() < b.keys().next(), "it has what came after it was there");
    drop(playing.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_publisher_falls_silent_sends_requests_away_within_a_part() {
    let pair = Pair::start(|_| {}).await;
    let publishers = pair.feed(Recipe::regular(7).clip(), [(0, ALL), (0, ALL)]).await;
    assert!(publishers.iter().all(Option::is_some), "both are connected, and send nothing more");
    let mut follower = Follower::join(&pair.worlds[1].client, "a", "180p").await;
    let (answer, waited) = loop {
        let next = follower.media.head.next;
        let path = format!("/live/a/180p/index.m3u8?_HLS_msn={}&_HLS_part={}", next.msn, next.part);
        let began = tokio::time::Instant::now();
        let answer = pair.worlds[1].client.get(&path).await;
        if answer.status != 200 {
            break (answer, began.elapsed());
        }
        follower.step().await;
    };
    assert_eq!(answer.status, 503);
    assert!(waited < Duration::from_millis(1_500), "{waited:?}: a whole hold is six seconds");
    assert_eq!(pair.worlds[1].metric("vivid_origin_stalls_total").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_twin_may_ask() {
    let pair = Pair::start(|_| {}).await;
    let alone = World::start(config(|_| {}));
    for (world, token, status) in
        [(&pair.worlds[0], "wrong", 401), (&pair.worlds[0], "0123456789abcdef", 400), (&alone, "0123456789abcdef", 404)]
    {
        let field = format!("Bearer {token}");
        let headers = [("authorization", field.as_str())];
        let answer = world.client.send(http::Method::POST, "/_vivid/twin/a", &headers).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(answer.header("cache-control"), "no-store");
    }
}
