//! Encrypted streams: playlists go through as they are, and nobody keeps a key.

use crate::support::{Fake, Node, Said, whole};

const KEY: &str = "#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"../keys/00112233445566778899aabbccddeeff\",IV=0x000102030405060708090a0b0c0d0e0f\n\
    #EXT-X-MAP:URI=\"e/init.00112233445566778899aabbccddeeff.mp4\"\n";

fn playlist() -> String {
    format!(
        "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n\
         #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=12.000,PART-HOLD-BACK=1.50000\n\
         #EXT-X-PART-INF:PART-TARGET=0.50000\n#EXT-X-MEDIA-SEQUENCE:7\n{KEY}\
         #EXT-X-PROGRAM-DATE-TIME:2026-11-21T02:00:00.500Z\n#EXTINF:2.00000,\ne/7.m4s\n#EXT-X-ENDLIST\n"
    )
}

#[tokio::test]
async fn a_key_is_asked_for_each_time_and_its_playlist_is_as_the_origin_says() {
    let fake = Fake::start(|asked| {
        let said = if asked.target.contains("/keys/") {
            let kind = ("Content-Type", "application/octet-stream".to_owned());
            Said::Whole(200, vec![kind, ("Cache-Control", "no-store".to_owned())], vec![7; 16])
        } else if asked.target.contains("/init.") {
            whole("video/mp4", "init")
        } else {
            whole("application/vnd.apple.mpegurl", playlist())
        };
        Box::pin(std::future::ready(said))
    })
    .await;
    let edge = Node::start("edge", fake.addr);
    for count in 1..=3 {
        let key = edge.get("/live/pay/keys/00112233445566778899aabbccddeeff").await;
        assert_eq!((key.status, key.text().as_bytes(), key.field("cache-control")), (200, &[7; 16][..], "no-store"));
        assert_eq!(fake.count("/keys/"), count, "no copy is kept");
    }
    for _ in 0..2 {
        let init = edge.get("/live/pay/720p/e/init.00112233445566778899aabbccddeeff.mp4").await;
        assert_eq!((init.status, init.text().as_str()), (200, "init"));
    }
    assert_eq!(fake.count("/init."), 1, "an init section is kept as any other");
    let got = edge.get("/live/pay/720p/index.m3u8").await;
    assert!(got.status == 200 && got.text().contains(KEY), "{}", got.text());
}
