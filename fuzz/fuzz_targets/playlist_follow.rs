//! What an upstream says of one rendition: playlists, each ended by a line of `==`, a second apart.
#![no_main]

use edge::key::resolve;
use edge::subscription::{Brought, Effect, Heard, Step, Subscription, Viewers};
use edge::upstream::PeerId;
use libfuzzer_sys::fuzz_target;
use manifest::Wait;
use manifest::follow::{Followed, Media, read};
use std::time::{Duration, Instant};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut playlists = text.split("\n==\n").filter_map(|text| match read(text) {
        Ok(Followed::Media(media)) => Some(media),
        Ok(Followed::Multivariant(_)) | Err(_) => None,
    });
    let Some(first) = playlists.next() else { return };
    let (start, idle) = (Instant::now(), Duration::from_secs(10));
    let mut rules = Subscription::new(&first, None, PeerId::default(), idle, start);
    names(&first);
    for (second, media) in (1..60).zip(playlists) {
        let now = start + Duration::from_secs(second);
        let before = rules.standing().head.next;
        if let Step::Ask(ask) = rules.step(Viewers { last_asked: now, held: 1 }, now) {
            let effect = rules.heard(ask, Heard::Playlist(Brought { media: &media, lifetime: None, source: PeerId::default() }), now);
            assert!(effect == Effect::Publish || rules.standing().head.next == before);
        }
        let _ = rules.standing().decide(Some(Wait::Segment(media.first_msn)), now);
        names(&media);
    }
});

fn names(media: &Media) {
    for object in &media.objects {
        assert!(resolve("/live/a/v/index.m3u8", &object.uri).is_none_or(|url| url.starts_with('/')));
    }
}
