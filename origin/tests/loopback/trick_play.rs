//! I-frame playlists: what their byte ranges hold, and that they are followed like others.

use crate::clip::Recipe;
use crate::follower::Follower;
use crate::world::{World, config};
use http::Method;
use manifest::follow::{self, Followed};
use mp4_atom::{Atom, Decode, Header, Moof, Prft};

#[tokio::test(flavor = "multi_thread")]
async fn each_range_ends_with_the_key_frame_of_its_segment() {
    let world = World::start(config(|_| {}));
    let playing = world.play("a", Recipe::regular(8).clip(), 3.0);
    let mut follower = Follower::join(&world.client, "a", "180p").await;
    let multivariant = world.client.get("/live/a/index.m3u8").await;
    for rendition in ["180p", "90p"] {
        assert!(multivariant.text().contains(&format!("URI=\"{rendition}/iframes.m3u8\"")), "{}", multivariant.text());
    }
    let next = follower.media.head.next.msn;
    // A blocking reload that names a part, as a player has it of the other playlists, waits for the whole segment.
    let path = format!("/live/a/180p/iframes.m3u8?_HLS_msn={next}&_HLS_part=0");
    let (answer, _) = tokio::join!(world.client.get(&path), follower.step());
    let Ok(Followed::Media(media)) = follow::read(answer.text()) else { panic!("{}", answer.text()) };
    assert!(media.head.next.msn > next, "{}", answer.text());
    let mut ranges = 0;
    let lines: Vec<&str> = answer.text().lines().collect();
    for pair in lines.windows(2) {
        let Some(length) = pair[0].strip_prefix("#EXT-X-BYTERANGE:").and_then(|range| range.strip_suffix("@0")) else {
            continue;
        };
        let length: usize = length.parse().unwrap();
        let range = format!("bytes=0-{}", length - 1);
        let path = format!("/live/a/180p/{}", pair[1]);
        let bytes = world.client.send(Method::GET, &path, &[("range", &range)]).await.body;
        assert_eq!(bytes.len(), length);
        let mut rest: &[u8] = &bytes;
        Prft::decode(&mut rest).unwrap();
        let moof = Moof::decode(&mut rest).unwrap();
        let first = &moof.traf[0].trun[0].samples.get(0).unwrap();
        assert_eq!(first.flags.unwrap() & 0x0001_0000, 0, "a sync sample");
        let mdat = Header::decode(&mut rest).unwrap();
        assert_eq!(mdat.kind, mp4_atom::Mdat::KIND);
        assert_eq!(rest.len() as u32, first.size.unwrap(), "the frame and nothing after it");
        ranges += 1;
    }
    assert!(ranges >= 2, "{}", answer.text());
    assert_eq!(world.client.get("/live/a/audio/iframes.m3u8").await.status, 404);
    playing.abort();
}
