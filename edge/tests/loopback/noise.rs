//! Noise from both sides: viewers that send garbage, upstreams that do.

use crate::support::{Asked, Fake, Node, RENDITION, Said, Viewer, whole};
use tokio::sync::mpsc;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }

    fn mutated(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(3) {
                0 => bytes[at] = self.below(256) as u8,
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, self.below(256) as u8),
            }
        }
        bytes
    }
}

#[tokio::test]
async fn viewers_that_send_garbage_end_nothing_but_themselves() {
    let fake = Fake::start(|_| Box::pin(std::future::ready(whole("text/plain", "fine")))).await;
    let edge = Node::start("edge", fake.addr);
    let mut random = Random(0x5eed_0001);
    let good = b"GET /a HTTP/1.1\r\nHost: x\r\nRange: bytes=0-\r\nConnection: close\r\nCDN-Loop: a\r\n\r\n";
    for _ in 0..300 {
        let bytes = random.mutated(good);
        let mut viewer = Viewer::connect(edge.addr).await;
        viewer.send(&bytes).await;
        viewer.finish().await;
        viewer.ended().await;
    }
    assert_eq!(edge.get("/a").await.text(), "fine");
}

#[tokio::test]
async fn upstreams_that_send_garbage_end_nothing_but_their_answers() {
    let playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-PART-INF:PART-TARGET=0.5\n\
        #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES\n#EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-MAP:URI=\"i.mp4\"\n\
        #EXTINF:2,\n7.m4s\n#EXT-X-PART:DURATION=0.5,URI=\"8.0.m4s\"\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"8.1.m4s\"\n";
    let good = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nAge: 1\r\n\r\n{playlist}", playlist.len());
    let fake = Fake::start(move |asked: Asked| {
        // Each name has its own noise, so that a failure can be found again.
        let seed = asked.target.bytes().fold(1, |hash, byte| hash * 31 % 1_000_003 + u64::from(byte));
        let (sender, receiver) = mpsc::unbounded_channel();
        let _ = sender.send(Random(seed).mutated(good.as_bytes()));
        Box::pin(std::future::ready(Said::Raw(String::new(), receiver)))
    })
    .await;
    let edge = Node::start("edge", fake.addr);
    for index in 0..200 {
        for target in [format!("/live/{index}/v/index.m3u8"), format!("/live/{index}/v/e/1.m4s")] {
            let mut viewer = Viewer::connect(edge.addr).await;
            viewer.ask(&target, "Connection: close\r\n").await;
            let got = viewer.read().await;
            assert!(got.as_ref().map_or(true, |got| [200, 206].contains(&got.status) || got.status >= 400), "{got:?}");
        }
    }
    assert_eq!(edge.get("/_vivid/livez").await.status, 200);
    assert_ne!(edge.get(RENDITION).await.status, 0);
}
