//! What the bench origin answers: pure, one request in, one reply out. The driver holds and releases.

use super::growth::Growth;
use crate::stream::{self, LiveObject};
use bytes::Bytes;
use manifest::{Directives, Position, Verdict, Wait};
use std::collections::BTreeMap;

/// Where the runner asks and commands; not counted.
pub(crate) const PUBLISH: &str = "/_bench/publish";
pub(crate) const COUNTS: &str = "/_bench/counts";
/// When each part was published, in order; when each piece of what grew was written.
pub(crate) const PUBLISHED: &str = "/_bench/published";
pub(crate) const GROWN: &str = "/_bench/grown";
/// More URLs than any case asks for; requests for others are summed under one name.
const URLS_MAX: usize = 10_000;
/// The sizes of one run, and the parts that a prefetching edge asks for.
const OBJECTS_MAX: usize = 64;

#[derive(Debug)]
pub(crate) struct Site {
    next: Position,
    /// Whether parts are held until they are published. Without a clock that publishes, they would be for ever.
    live: bool,
    /// CLOCK_MONOTONIC in nanoseconds, from the first part on.
    published_ns: Vec<u64>,
    playlist: Bytes,
    counts: BTreeMap<String, u64>,
    /// Answers made once, so that the floor of case `hit` is a write and no arithmetic.
    objects: BTreeMap<String, Bytes>,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Reply {
    /// This is the whole answer, head and body.
    Now(Bytes),
    /// Hold until the stream has come this far.
    Hold(Held),
    /// Give the object of this path as it grows.
    Grow(String, Growth),
    /// Say when what grew did.
    Grown,
    /// Publish the next part, release who waits for it, and say when.
    Publish,
}

/// A request that waits: for a playlist, or for the part that a path names.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Held {
    wait: Wait,
    part: Option<String>,
}

impl Site {
    pub(crate) fn new(live: bool) -> Self {
        let playlist = blocked_answer(stream::FIRST);
        let (counts, objects) = (BTreeMap::new(), BTreeMap::new());
        Self { next: stream::FIRST, live, published_ns: Vec::new(), playlist, counts, objects }
    }

    pub(crate) fn reply(&mut self, method: &str, target: &str) -> Reply {
        match (method, target) {
            ("POST", PUBLISH) => return Reply::Publish,
            ("GET", COUNTS) => return Reply::Now(json(&self.counts)),
            ("GET", PUBLISHED) => return Reply::Now(json(&self.published_ns)),
            ("GET", GROWN) => return Reply::Grown,
            ("GET", _) => {}
            _ => return Reply::Now(refusal("405 Method Not Allowed")),
        }
        self.count(target);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if stream::is_playlist(path) {
            return self.reload(query);
        }
        if let Some(growth) = Growth::from_path(path) {
            return Reply::Grow(path.to_owned(), growth);
        }
        match stream::live_object(path).filter(|_| self.live) {
            Some(LiveObject::Part(at)) if at >= self.next => self.part(path, at),
            Some(LiveObject::Segment(msn)) if msn >= self.next.msn => Reply::Now(refusal("404 Not Found")),
            _ => Reply::Now(self.object(path)),
        }
    }

    /// The part that is hinted at may be asked for already (RFC 8216bis, 4.4.5.3).
    fn part(&self, path: &str, at: Position) -> Reply {
        if at > self.next {
            return Reply::Now(refusal("404 Not Found"));
        }
        Reply::Hold(Held { wait: Wait::Part(at), part: Some(path.to_owned()) })
    }

    fn reload(&self, query: &str) -> Reply {
        let Ok(directives) = Directives::from_query(query) else { return Reply::Now(refusal("400 Bad Request")) };
        let Some(wait) = directives.wait else {
            let text = stream::playlist(self.next);
            return Reply::Now(answer("application/vnd.apple.mpegurl", "public, max-age=1", text.as_bytes()));
        };
        match stream::head(self.next).admit(Some(wait), stream::advance_limit()) {
            Verdict::Now => Reply::Now(self.playlist.clone()),
            Verdict::Hold => Reply::Hold(Held { wait, part: None }),
            Verdict::TooFar => Reply::Now(refusal("400 Bad Request")),
        }
    }

    /// Publishes the next part. What every hold for it is answered is ready from then on.
    pub(crate) fn publish(&mut self, now_ns: u64) {
        self.published_ns.push(now_ns);
        self.next = stream::after(self.next);
        self.playlist = blocked_answer(self.next);
    }

    /// The answer to a hold, once it may go.
    pub(crate) fn released(&mut self, held: &Held) -> Option<Bytes> {
        if stream::head(self.next).admit(Some(held.wait), stream::advance_limit()) != Verdict::Now {
            return None;
        }
        Some(match &held.part {
            Some(path) => self.object(path),
            None => self.playlist.clone(),
        })
    }

    fn object(&mut self, path: &str) -> Bytes {
        if let Some(answer) = self.objects.get(path) {
            return answer.clone();
        }
        let answer = object(path);
        // What is live is asked for once and then no more.
        if self.objects.len() < OBJECTS_MAX && !(self.live && stream::live_object(path).is_some()) {
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
        let mut site = Site::new(false);
        let target = stream::blocking_target(stream::FIRST);
        let Reply::Hold(held) = site.reply("GET", &target) else { panic!("not held") };
        assert_eq!(site.released(&held), None);
        site.publish(7);
        let answer = site.released(&held).unwrap();
        assert!(answer.ends_with(stream::playlist(stream::after(stream::FIRST)).as_bytes()));
        assert_eq!(site.reply("GET", &target), Reply::Now(answer));
    }

    #[test]
    fn a_live_part_is_there_when_it_is_published() {
        let mut site = Site::new(true);
        let next = stream::part_target("a", stream::FIRST);
        let Reply::Hold(held) = site.reply("GET", &next) else { panic!("not held") };
        assert!(
            now(site.reply("GET", &stream::part_target("a", stream::after(stream::FIRST)))).starts_with("HTTP/1.1 404")
        );
        site.publish(7);
        let part = site.released(&held).unwrap();
        assert!(part.ends_with(&stream::media(&next).unwrap()));
        assert_eq!(site.reply("GET", &next), Reply::Now(part));
        assert!(now(site.reply("GET", PUBLISHED)).ends_with("[7]"));
    }

    #[test]
    fn requests_are_counted_whatever_their_spelling() {
        let mut site = Site::new(false);
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
        let mut site = Site::new(false);
        let far = Position { msn: stream::FIRST.msn + 9, part: 0 };
        assert!(now(site.reply("GET", &stream::blocking_target(far))).starts_with("HTTP/1.1 400"));
        assert!(now(site.reply("GET", "/live/bench/720p/index.m3u8?_HLS_part=1")).starts_with("HTTP/1.1 400"));
        assert!(now(site.reply("GET", "/other")).starts_with("HTTP/1.1 404"));
        assert!(now(site.reply("DELETE", "/")).starts_with("HTTP/1.1 405"));
        assert_eq!(site.reply("POST", PUBLISH), Reply::Publish);
    }

    #[test]
    fn urls_are_bounded() {
        let mut site = Site::new(false);
        for index in 0..URLS_MAX + 50 {
            site.count(&format!("/{index}"));
        }
        assert_eq!((site.counts.len(), site.counts["(more)"]), (URLS_MAX + 1, 50));
    }
}
