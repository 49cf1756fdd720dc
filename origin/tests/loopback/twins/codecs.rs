//! Twins whose ladders have several codecs: what is the same to the byte, and what is not after one has joined.

use super::{ALL, Pair, Span, listed, parts};
use crate::clip::Recipe;
use crate::codecs::{PICTURES, SOUNDS, ladder, patient};
use bytes::Bytes;
use mp4_atom::{Any, Decode};

fn coded(config: &mut config::Origin) {
    config.ladder = ladder(&["h264", "av1", "hevc", "vp9"]);
    patient(config);
}

/// Where each fragment begins, how many samples it has, and how long they last.
fn boundaries(segment: &Bytes) -> Vec<(u64, usize, u64)> {
    let (mut rest, mut found) = (&segment[..], Vec::new());
    while !rest.is_empty() {
        if let Any::Moof(moof) = Any::decode(&mut rest).unwrap() {
            let (traf, run) = (&moof.traf[0], &moof.traf[0].trun[0]);
            let lasts = run.samples.iter().map(|sample| u64::from(sample.duration.unwrap())).sum();
            found.push((traf.tfdt.as_ref().unwrap().base_media_decode_time, run.samples.len(), lasts));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn fed_at_once_every_codec_is_the_same_to_the_byte() {
    let pair = Pair::start(coded).await;
    let _publishers = pair.feed(Recipe::regular(10).clip(), [(0, ALL), (1_234_567, ALL)]).await;
    for (rendition, _) in PICTURES.iter().chain(&SOUNDS) {
        assert!(pair.same_segments(rendition).await >= 3, "{rendition}");
    }
    assert_eq!(pair.agreements("together").await, [1.0, 1.0]);
}

/// The encoders of who came later have seen other pictures before: they make other bytes of the same frames, under the same names.
#[tokio::test(flavor = "multi_thread")]
async fn who_joins_has_every_codec_on_the_same_boundaries_behind_the_same_init_section() {
    let pair = Pair::start(coded).await;
    let legs: [(i64, &[Span]); 2] = [(0, ALL), (777, &[(4_500, i64::MAX)])];
    let following = parts(&pair.worlds[1], "180p", 4);
    let (_publishers, _) = tokio::join!(pair.feed(Recipe::regular(16).clip(), legs), following);
    for (rendition, _) in PICTURES.iter().chain(&SOUNDS) {
        let [first, second] = pair.playlists(rendition).await.map(|text| listed(&text));
        let both = second.iter().filter(|(msn, _)| first.contains_key(msn));
        let mut compared = 0;
        for (msn, segment) in both {
            assert_eq!(&first[msn], segment, "{rendition}");
            assert_eq!(pair.both(rendition, &segment.map).await, [true, true], "init of {rendition}");
            let path = format!("/live/a/{rendition}/{}", segment.uri);
            let (one, other) = (pair.worlds[0].client.get(&path).await, pair.worlds[1].client.get(&path).await);
            assert_eq!(boundaries(&one.body), boundaries(&other.body), "{rendition} {msn}");
            assert!(rendition != &"180p" || one.body == other.body, "what is passed through is the same");
            compared += 1;
        }
        assert!(compared >= 3, "{rendition}: {compared}");
    }
    let [together, alone] = [pair.agreements("together").await, pair.agreements("alone").await];
    assert_eq!((together[1], alone[0]), (1.0, 1.0));
}
