//! Follows one rendition by blocking reloads as a player does, and checks every playlist and part on the way.

use crate::http::Client;
use bytes::{Bytes, BytesMut};
use manifest::Position;
use manifest::follow::{self, Class, Followed, Media};
use std::collections::HashMap;
use std::time::Duration;

pub(crate) struct Follower {
    client: Client,
    /// `/live/{stream}/{rendition}/`.
    folder: String,
    pub(crate) media: Media,
    pub(crate) text: String,
    hint: Option<String>,
    parts: HashMap<String, Bytes>,
    pub(crate) segments_checked: usize,
    pub(crate) parts_seen: usize,
}

impl Follower {
    /// Waits until the stream is there, by asking for it again and again.
    pub(crate) async fn join(client: &Client, stream: &str, rendition: &str) -> Self {
        let folder = format!("/live/{stream}/{rendition}/");
        let playlist = format!("{folder}index.m3u8");
        let mut clock = tokio::time::interval(Duration::from_millis(20));
        let answer = loop {
            let answer = client.get(&playlist).await;
            if answer.status == 200 {
                break answer;
            }
            assert_eq!(answer.status, 404, "{}", answer.text());
            clock.tick().await;
        };
        let text = answer.text().to_owned();
        let media = media(&text);
        let mut follower = Self {
            client: client.clone(),
            folder,
            hint: None,
            media,
            text,
            parts: HashMap::new(),
            segments_checked: 0,
            parts_seen: 0,
        };
        follower.check().await;
        follower
    }

    /// Reloads once, blocking until the next part; false at the end of the stream.
    pub(crate) async fn step(&mut self) -> bool {
        if self.media.head.ended {
            return false;
        }
        let before = self.media.head.next;
        let path = format!("{}index.m3u8?_HLS_msn={}&_HLS_part={}", self.folder, before.msn, before.part);
        let answer = self.client.get(&path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(answer.header("cache-control"), "public, max-age=12");
        self.text = answer.text().to_owned();
        self.media = media(&self.text);
        assert!(self.media.head.ended || self.media.head.next > before, "{path} was answered with an old playlist");
        self.check().await;
        true
    }

    /// Every part that was listed, by its URI.
    pub(crate) fn into_parts(self) -> HashMap<String, Bytes> {
        self.parts
    }

    /// Follows until the position is there.
    pub(crate) async fn until(&mut self, at: Position) {
        while self.media.head.next <= at && self.step().await {}
        assert!(self.media.head.next > at, "the stream ended before {at}");
    }

    pub(crate) async fn follow_to_end(&mut self) {
        while self.step().await {}
    }

    /// `/live/{stream}/{rendition}/{uri}`.
    pub(crate) async fn bytes(&self, uri: &str) -> Bytes {
        let answer = self.client.get(&format!("{}{uri}", self.folder)).await;
        assert_eq!(answer.status, 200, "{uri}: {}", answer.text());
        assert_eq!(answer.header("cache-control"), "public, max-age=31536000, immutable");
        assert_eq!(answer.header("content-length"), answer.body.len().to_string());
        answer.body
    }

    async fn check(&mut self) {
        let uris = |class| self.media.objects.iter().filter(move |object| object.class == class);
        let parts: Vec<String> = uris(Class::Part).map(|object| object.uri.clone()).collect();
        let segments: Vec<String> = uris(Class::Segment).map(|object| object.uri.clone()).collect();
        let hint = uris(Class::Hint).map(|object| object.uri.clone()).next();
        for uri in parts {
            if !self.parts.contains_key(&uri) {
                self.parts_seen += 1;
                let bytes = self.bytes(&uri).await;
                self.parts.insert(uri, bytes);
            }
        }
        let goes_on = !["EXT-X-DISCONTINUITY\n", "EXT-X-GAP\n"].iter().any(|tag| self.text.contains(tag));
        if let Some(hinted) = self.hint.take().filter(|_| goes_on) {
            let came = self.parts.contains_key(&hinted);
            let still = hint.as_ref() == Some(&hinted) || self.is_gap(&hinted);
            assert!(came || self.media.head.ended || still, "{hinted} was hinted at in vain");
        }
        self.hint = hint;
        self.check_last_segment(segments.last()).await;
        for line in self.text.lines().filter(|line| line.starts_with("#EXT-X-PART:")) {
            let duration: f64 = line.split(['=', ',']).nth(1).unwrap().parse().unwrap();
            assert!(duration <= self.media.part_target_s.unwrap() + 1e-9, "{line}");
        }
    }

    /// Whether a part is listed as one that is not to come.
    fn is_gap(&self, uri: &str) -> bool {
        self.text.lines().any(|line| line.contains(uri) && line.contains("GAP=YES"))
    }

    /// The newest segment is its parts, one after the other.
    async fn check_last_segment(&mut self, uri: Option<&String>) {
        let Some(stem) = uri.and_then(|uri| uri.strip_suffix(".m4s")) else { return };
        let mut whole = BytesMut::new();
        for index in 0.. {
            let Some(part) = self.parts.get(&format!("{stem}.{index}.m4s")) else { break };
            whole.extend_from_slice(part);
        }
        if !whole.is_empty() && self.parts.contains_key(&format!("{stem}.0.m4s")) {
            assert_eq!(self.bytes(&format!("{stem}.m4s")).await, whole, "{stem}");
            self.segments_checked += 1;
        }
    }
}

fn media(text: &str) -> Media {
    match follow::read(text) {
        Ok(Followed::Media(media)) => media,
        other => panic!("not a media playlist: {other:?}\n{text}"),
    }
}
