//! What the bench origin answers: pure, one request in, one reply out. The driver holds and releases.

use crate::stream;
use bytes::Bytes;
use manifest::{Directives, Position, Verdict, Wait};
use std::collections::BTreeMap;

/// Where the runner asks and commands; not counted.
pub(crate) const PUBLISH: &str = "/_bench/publish";
pub(crate) const COUNTS: &str = "/_bench/counts";
/// More URLs than any case asks for; requests for others are summed under one name.
const URLS_MAX: usize = 10_000;
/// The sizes of one run, and the parts that a prefetching edge asks for.
const OBJECTS_MAX: usize = 64;

#[derive(Debug)]
pub(crate) struct Site {
    next: Position,
    playlist: Bytes,
    counts: BTreeMap<String, u64>,
    /// Answers made once, so that the floor of case `hit` is a write and no arithmetic.
    objects: BTreeMap<String, Bytes>,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Reply {
    /// This is the whole answer, head and body.
    Now(Bytes),
    /// Hold until the playlist has come this far.
    Hold(Wait),
    /// Publish the next part, release who waits for it, and say when.
    Publish,
}

impl Site {
    pub(crate) fn new() -> Self {
        let playlist = blocked_answer(stream::FIRST);
        Self { next: stream::FIRST, playlist, counts: BTreeMap::new(), objects: BTreeMap::new() }
    }

    pub(crate) fn reply(&mut self, method: &str, target: &str) -> Reply {
        match (method, target) {
            ("POST", PUBLISH) => return Reply::Publish,
            ("GET", COUNTS) => return Reply::Now(json(&self.counts)),
            ("GET", _) => {}
            _ => return Reply::Now(refusal("405 Method Not Allowed")),
        }
        self.count(target);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if path == stream::PLAYLIST { self.reload(query) } else { Reply::Now(self.object(path)) }
    }

    fn reload(&self, query: &str) -> Reply {
        let Ok(directives) = Directives::from_query(query) else { return Reply::Now(refusal("400 Bad Request")) };
        let Some(wait) = directives.wait else {
            let text = stream::playlist(self.next);
            return Reply::Now(answer("application/vnd.apple.mpegurl", "public, max-age=1", text.as_bytes()));
        };
        match stream::head(self.next).admit(Some(wait), stream::advance_limit()) {
            Verdict::Now => Reply::Now(self.playlist.clone()),
            Verdict::Hold => Reply::Hold(wait),
            Verdict::TooFar => Reply::Now(refusal("400 Bad Request")),
        }
    }

    /// Publishes the next part. What every hold for it is answered is ready from then on.
    pub(crate) fn publish(&mut self) {
        self.next = stream::after(self.next);
        self.playlist = blocked_answer(self.next);
    }

    /// The answer to a hold, once it may go.
    pub(crate) fn released(&self, wait: Wait) -> Option<Bytes> {
        let verdict = stream::head(self.next).admit(Some(wait), stream::advance_limit());
        (verdict == Verdict::Now).then(|| self.playlist.clone())
    }

    fn object(&mut self, path: &str) -> Bytes {
        if let Some(answer) = self.objects.get(path) {
            return answer.clone();
        }
        let answer = object(path);
        if self.objects.len() < OBJECTS_MAX {
            self.objects.insert(path.to_owned(), answer.clone());
        }
        answer
    }

    fn count(&mut self, target: &str) {
        let known = self.counts.contains_key(target) || self.counts.len() < URLS_MAX;
        *self.counts.entry(if known { target.to_owned() } else { "(more)".to_owned() }).or_default() += 1;
    }
}

/// How often the position `at` was asked for, whatever the spelling of the query.
pub(crate) fn requests_for(counts: &BTreeMap<String, u64>, at: Position) -> u64 {
    let asks = |target: &str| {
        let (path, query) = target.split_once('?')?;
        let wait = Directives::from_query(query).ok()?.wait?;
        (path == stream::PLAYLIST && wait == Wait::Part(at)).then_some(())
    };
    counts.iter().filter(|(target, _)| asks(target).is_some()).map(|(_, count)| count).sum()
}

/// As the origin tier: an answer to a blocking request may be kept for six target durations.
fn blocked_answer(next: Position) -> Bytes {
    answer("application/vnd.apple.mpegurl", "public, max-age=12", stream::playlist(next).as_bytes())
}

fn object(path: &str) -> Bytes {
    match stream::media(path) {
        Some(body) => answer("video/iso.segment", "public, max-age=31536000, immutable", &body),
        None => refusal("404 Not Found"),
    }
}

pub(crate) fn refusal(status: &str) -> Bytes {
    Bytes::from(format!("HTTP/1.1 {status}\r\ncache-control: no-store\r\ncontent-length: 0\r\n\r\n"))
}

pub(crate) fn json(value: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(value)
        .map_or_else(|_| refusal("500 Internal Server Error"), |body| answer("application/json", "no-store", &body))
}

fn answer(content_type: &str, cache_control: &str, body: &[u8]) -> Bytes {
    let mut whole = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\ncache-control: {cache_control}\r\n\
         access-control-allow-origin: *\r\n\r\n",
        body.len()
    )
    .into_bytes();
    whole.extend_from_slice(body);
    Bytes::from(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(reply: Reply) -> String {
        match reply {
            Reply::Now(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_next_part_is_held_until_it_is_published() {
        let mut site = Site::new();
        let target = stream::blocking_target(stream::FIRST);
        let Reply::Hold(wait) = site.reply("GET", &target) else { panic!("not held") };
        assert_eq!(site.released(wait), None);
        site.publish();
        let answer = site.released(wait).unwrap();
        assert!(answer.ends_with(stream::playlist(stream::after(stream::FIRST)).as_bytes()));
        assert_eq!(site.reply("GET", &target), Reply::Now(answer));
    }

    #[test]
    fn requests_are_counted_whatever_their_spelling() {
        let mut site = Site::new();
        let Position { msn, part } = stream::FIRST;
        site.reply("GET", &stream::blocking_target(stream::FIRST));
        site.reply("GET", &stream::blocking_target(stream::FIRST));
        site.reply("GET", &format!("{}?_HLS_part={part}&_HLS_msn={msn}&x=1", stream::PLAYLIST));
        site.reply("GET", stream::PLAYLIST);
        assert_eq!(requests_for(&site.counts, stream::FIRST), 3);
        let counts = now(site.reply("GET", COUNTS));
        assert!(counts.contains(&format!("\"{}\":1", stream::PLAYLIST)) && !counts.contains(COUNTS), "{counts}");
    }

    #[test]
    fn refusals_are_answers() {
        let mut site = Site::new();
        let far = Position { msn: stream::FIRST.msn + 9, part: 0 };
        assert!(now(site.reply("GET", &stream::blocking_target(far))).starts_with("HTTP/1.1 400"));
        assert!(now(site.reply("GET", "/live/bench/720p/index.m3u8?_HLS_part=1")).starts_with("HTTP/1.1 400"));
        assert!(now(site.reply("GET", "/other")).starts_with("HTTP/1.1 404"));
        assert!(now(site.reply("DELETE", "/")).starts_with("HTTP/1.1 405"));
        assert_eq!(site.reply("POST", PUBLISH), Reply::Publish);
    }

    #[test]
    fn urls_are_bounded() {
        let mut site = Site::new();
        for index in 0..URLS_MAX + 50 {
            site.count(&format!("/{index}"));
        }
        assert_eq!((site.counts.len(), site.counts["(more)"]), (URLS_MAX + 1, 50));
    }
}
