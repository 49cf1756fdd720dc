//! Replays the seeds of the fuzz targets for viewers' requests, tokens and followed playlists.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use bytes::BytesMut;
use edge::access::cat::Message;
use edge::access::denial::Denial;
use edge::access::signed_url::Claims;
use edge::key::{Target, resolve};
use edge::range::Range;
use edge::request::Request;
use edge::subscription::{Effect, Heard, Step, Subscription, Viewers};
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
    let (mut requests, mut holds, mut ranges) = (0, 0, 0);
    for seed in seeds("viewer_request") {
        let mut bytes = BytesMut::from(&seed[..]);
        while let Ok(Some(request)) = Request::take(&mut bytes) {
            requests += 1;
            let target = Target::read(request.target()).unwrap();
            holds += usize::from(Directives::from_query(target.query).is_ok_and(|asked| asked.wait.is_some()));
            let range = request.range.as_deref().and_then(|range| Range::read(std::str::from_utf8(range).ok()?));
            ranges += usize::from(range.is_some());
        }
    }
    assert_eq!((requests, holds, ranges), (3, 1, 1));
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
        let mut rules = Subscription::new(&media[0], None, Duration::from_secs(10), start);
        for (second, media) in (1..).zip(&media) {
            followed += 1;
            names += media.objects.iter().filter(|object| resolve("/a/b.m3u8", &object.uri).is_some()).count();
            let now = start + Duration::from_secs(second);
            if let Step::Ask(ask) = rules.step(Viewers { last_asked: now, held: 1 }, now) {
                match rules.heard(ask, Heard::Playlist { media, lifetime: None }, now) {
                    Effect::Publish => published += 1,
                    Effect::Backwards => backwards += 1,
                    Effect::Keep | Effect::Gone => panic!("a playlist is shown or it is older"),
                }
            }
        }
    }
    assert!(
        followed >= 14 && published >= 6 && backwards >= 3 && names >= 40,
        "{followed} {published} {backwards} {names}"
    );
}
