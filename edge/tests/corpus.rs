//! Replays the seeds of the fuzz targets for viewers' requests, tokens, followed playlists, resumed answers and files on
//! disk.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use bytes::{Bytes, BytesMut};
use edge::access::cat::Message;
use edge::access::denial::Denial;
use edge::access::signed_url::Claims;
use edge::key::{Class, Target, resolve};
use edge::qoe::cmsd::{DYNAMIC, before};
use edge::range::{Growing, Range, Slice};
use edge::request::Request;
use edge::steer::load::Load;
use edge::store::disk::header::Header;
use edge::store::freshness::{Unstored, age, judge};
use edge::subscription::{Brought, Effect, Heard, Step, Subscription, Viewers};
use edge::upstream::PeerId;
use edge::upstream::rendezvous::recording;
use edge::upstream::resume::Torn;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use manifest::Directives;
use manifest::follow::{Followed, Media, read};
use std::time::{Duration, Instant};

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = format!("{}/../fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect()
}

#[test]
fn viewer_requests() {
    let (mut requests, mut holds, mut ranges, mut recordings) = (0, 0, 0, 0);
    for seed in seeds("viewer_request") {
        let mut bytes = BytesMut::from(&seed[..]);
        while let Ok(Some(request)) = Request::take(&mut bytes) {
            requests += 1;
            let target = Target::read(request.target()).unwrap();
            holds += usize::from(Directives::from_query(target.query).is_ok_and(|asked| asked.wait.is_some()));
            let range = request.range.as_deref().and_then(|range| Range::read(std::str::from_utf8(range).ok()?));
            ranges += usize::from(range.is_some());
            recordings += usize::from(recording(request.target()) == Some("/archive/show/1795226400500"));
        }
    }
    assert_eq!((requests, holds, ranges, recordings), (4, 1, 1, 1));
}

#[test]
fn signed_urls() {
    let mut read: Vec<_> = seeds("signed_url")
        .into_iter()
        .map(|seed| {
            let claims = Claims::read(std::str::from_utf8(&seed).unwrap());
            claims
                .inspect(|claims| assert_eq!(Claims::read(&claims.text()).as_ref(), Ok(claims)))
                .map(|claims| claims.key)
        })
        .collect();
    read.sort_by_key(|read| format!("{read:?}"));
    let expected = [Err(Denial::Claim), Err(Denial::Unreadable), Ok("2026-11".to_owned()), Ok("a".to_owned())];
    assert_eq!(read, expected);
}

#[test]
fn common_access_tokens() {
    let mut read: Vec<_> = seeds("cat")
        .iter()
        .map(|seed| Message::read(seed).and_then(|message| message.grant("here")).map(|grant| grant.url.len()))
        .collect();
    read.sort_by_key(|read| format!("{read:?}"));
    let (claim, unreadable) = (Err(Denial::Claim), Err(Denial::Unreadable));
    assert_eq!(read, [claim, claim, unreadable, unreadable, Ok(5)]);
}

#[test]
fn followed_playlists() {
    let (mut followed, mut published, mut backwards, mut names) = (0, 0, 0, 0);
    for seed in seeds("playlist_follow") {
        let text = String::from_utf8(seed).unwrap();
        let media: Vec<Media> = text
            .split("\n==\n")
            .filter_map(|text| match read(text) {
                Ok(Followed::Media(media)) => Some(media),
                Ok(Followed::Multivariant(_)) | Err(_) => None,
            })
            .collect();
        let start = Instant::now();
        let mut rules = Subscription::new(&media[0], None, PeerId::default(), Duration::from_secs(10), start);
        for (second, media) in (1..).zip(&media) {
            followed += 1;
            names += media.objects.iter().filter(|object| resolve("/a/b.m3u8", &object.uri).is_some()).count();
            let now = start + Duration::from_secs(second);
            if let Step::Ask(ask) = rules.step(Viewers { last_asked: now, held: 1 }, now) {
                match rules.heard(
                    ask,
                    Heard::Playlist(Brought { media, lifetime: None, source: PeerId::default() }),
                    now,
                ) {
                    Effect::Publish => published += 1,
                    Effect::Backwards => backwards += 1,
                    Effect::Keep | Effect::Gone | Effect::OtherCut => panic!("a playlist is shown or it is older"),
                }
            }
        }
    }
    assert!(
        followed >= 14 && published >= 6 && backwards >= 3 && names >= 40,
        "{followed} {published} {backwards} {names}"
    );
}

#[test]
fn resumed_answers() {
    let known: Vec<u8> = (0..3000).map(|at| at as u8).collect();
    let torn = Torn::new(known.chunks(700).map(Bytes::copy_from_slice).collect(), None, Some(Bytes::from("\"v1\"")));
    let (mut joined, mut whole, mut other) = (0, 0, 0);
    for seed in seeds("resumed_answer") {
        let end = seed.windows(2).position(|window| window == b"\n\n").unwrap();
        let head = String::from_utf8(seed[..end].to_vec()).unwrap();
        let mut lines = head.lines();
        let status = StatusCode::from_bytes(lines.next().unwrap().as_bytes()).unwrap();
        let fields = lines.map(|line| line.split_once(": ").unwrap());
        let headers: HeaderMap =
            fields.map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect();
        let Ok(mut joint) = torn.joint(status, &headers) else { continue };
        joined += 1;
        let pieces = seed[end + 2..].chunks(97).map(|piece| joint.take(Bytes::copy_from_slice(piece)));
        match pieces.map(|new| new.map(|new| new.len() as u64)).sum::<Result<u64, _>>() {
            Ok(new) => whole += usize::from(joint.is_whole(3000 + new)),
            Err(_) => other += 1,
        }
    }
    assert_eq!((joined, whole, other), (3, 2, 1));
}

#[test]
fn ranges() {
    let read = |seed: Vec<u8>| Range::read(std::str::from_utf8(&seed).unwrap());
    let ranges: Vec<Range> = seeds("range").into_iter().filter_map(read).collect();
    assert_eq!(ranges.len(), 6, "several ranges, and one that runs backwards, are none");
    let (mut within, mut ready) = (0, 0);
    for range in ranges {
        for length in [0, 1, 1000, u64::MAX - 1, u64::MAX] {
            if let Ok(slice) = range.of(length) {
                let (first, last) = slice.ends();
                assert!(first <= last && last < length && slice.length().is_some(), "{range:?} of {length}");
                within += 1;
            }
            match range.of_growing(length) {
                Growing::Ready(slice) => {
                    let ((first, last), bytes) = (slice.ends(), slice.length());
                    assert!(first < length && first <= last, "{range:?} of {length} so far");
                    assert!(bytes.is_none_or(|bytes| first + bytes <= length), "{range:?} of {length} so far");
                    ready += usize::from(matches!(slice, Slice::From { .. }));
                }
                Growing::Wait { bytes } => assert!(bytes > length || length == u64::MAX, "{range:?} of {length}"),
                Growing::Whole | Growing::WaitForEnd => {}
            }
        }
    }
    assert_eq!((within, ready), (16, 5));
}

#[test]
fn lifetimes() {
    let rules = config::Config::parse("[edge]\n", []).unwrap().edge.unwrap().cache;
    let year = Duration::from_secs(31_536_000);
    let mut refused = Vec::new();
    for seed in seeds("cache_control") {
        let mut headers = HeaderMap::new();
        for line in String::from_utf8(seed).unwrap().lines() {
            let (name, value) = line.split_once(": ").unwrap();
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap());
        }
        assert!(age(&headers) <= year);
        for class in Class::ALL {
            match judge(&rules, StatusCode::OK, &headers, class) {
                Ok(lease) => assert!(lease.fresh <= year && lease.if_error <= rules.stale_if_error_max),
                Err(why) => refused.push(why),
            }
        }
    }
    refused.sort();
    refused.dedup();
    assert_eq!(refused, [Unstored::NoStore, Unstored::Private, Unstored::Cookie, Unstored::Vary]);
}

#[test]
fn load_pages() {
    let mut names: Vec<_> =
        seeds("load_page").iter().filter_map(|seed| Load::read(seed)).map(|load| load.name).collect();
    names.sort();
    assert_eq!(names, ["lon1", "par1"]);
}

#[test]
fn files_on_disk() {
    let mut read: Vec<_> = seeds("disk_header")
        .iter()
        .filter_map(|seed| {
            let framed = Header::framed(seed).unwrap();
            let (header, end) = Header::read(seed).or_else(|_| Header::read(&framed)).ok()?;
            assert_eq!(Header::read(&header.render().unwrap()).unwrap().0, header);
            Some((header.key.clone(), header.is_block(0, &seed[end.min(seed.len())..])))
        })
        .collect();
    read.sort();
    let expected = [("/a\u{0}7.1", false), ("/film", false), ("/film", false), ("/vod/a.mp4?x=1", true)];
    assert_eq!(read, expected.map(|(key, first)| (key.to_owned(), first)));
}

#[test]
fn paths_that_upstream_tells() {
    let told = |seed: &[u8]| {
        let lines = seed.split(|byte| *byte == b'\n').map(|line| HeaderValue::from_bytes(line).unwrap());
        let headers = lines.map(|value| (HeaderName::from_static(DYNAMIC), value));
        let mut map = HeaderMap::new();
        headers.for_each(|(name, value)| {
            map.append(name, value);
        });
        before(&map)
    };
    let passed: Vec<_> = seeds("cmsd").iter().filter_map(|seed| told(seed)).collect();
    assert_eq!(passed, [r#""origin";etp=76;rtt=32, "shield";du;com.example-x=1.5"#]);
}
