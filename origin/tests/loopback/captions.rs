//! Captions in the publisher's bitstream: announced, and in every rung that is made from it.

use crate::clip::Recipe;
use crate::follower::Follower;
use crate::world::{World, config};
use media::TrackKind;
use origin::Ingested;

/// An SEI message with a pair of CEA-608 in field 1 (ATSC A/53, part 4), as a NAL unit with its length.
const CAPTION: &[u8] =
    &[0, 0, 0, 18, 6, 4, 14, 0xb5, 0, 0x31, b'G', b'A', b'9', b'4', 3, 0x41, 0xff, 0xfc, 0x94, 0x20, 0xff, 0x80];

#[tokio::test(flavor = "multi_thread")]
async fn captions_of_the_source_are_announced_and_in_every_rung() {
    let world = World::start(config(|_| {}));
    let mut clip = Recipe::regular(8).clip();
    for item in &mut clip.items {
        if let Ingested::Frame(frame) = item
            && frame.kind == TrackKind::Video
        {
            frame.data = [CAPTION, &frame.data].concat().into();
        }
    }
    let playing = world.play("a", clip, 2.0);
    for rendition in ["180p", "90p"] {
        let follower = Follower::join(&world.client, "a", rendition).await;
        let segment = follower.text.lines().find(|line| !line.starts_with('#')).unwrap().to_owned();
        let bytes = follower.bytes(&segment).await;
        let carried = bytes.windows(4).filter(|window| window == b"GA94").count();
        assert!(carried >= 55, "{carried} of 60 pictures of {rendition} have captions");
    }
    let text = world.client.get("/live/a/index.m3u8").await.text().to_owned();
    assert!(text.contains("TYPE=CLOSED-CAPTIONS,GROUP-ID=\"captions\",NAME=\"CC1\""), "{text}");
    assert_eq!(text.matches(",CLOSED-CAPTIONS=\"captions\"\n").count(), 2, "{text}");
    let mpd = world.client.get("/live/a/index.mpd").await.text().to_owned();
    let told = "<Accessibility schemeIdUri=\"urn:scte:dash:cc:cea-608:2015\" value=\"CC1=und\"/>";
    assert_eq!(mpd.matches(told).count(), 1, "of pictures, not of sound: {mpd}");
    playing.abort();
}
