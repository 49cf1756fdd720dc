//! What is said to a viewer who is sent to another edge: where, and why.

use super::fleet::Edge;
use super::nearest::Why;
use crate::key::{STEERED, Target};
use crate::reply::Body;
use bytes::BufMut;
use http::StatusCode;
use manifest::rewrite::{Source, relocate};
use std::fmt::Write;

/// The answer to a viewer who is sent elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steered {
    to: To,
    /// The value of `Vivid-Steer`: which edge, and why.
    why: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum To {
    /// The manifest there.
    Location(String),
    /// The multivariant playlist from here, its URIs there.
    Playlist(String),
}

impl Steered {
    /// 302 to the same manifest there, marked so that nobody sends its viewer on. The query goes along: it may hold what
    /// lets the viewer in.
    pub fn redirect(edge: &Edge, why: Why, own: &str, target: &Target<'_>) -> Self {
        let query = if target.query.is_empty() { String::new() } else { format!("{}&", target.query) };
        let there = format!("{}{}?{query}{STEERED}={own}", edge.url, target.path);
        Self { to: To::Location(ascii(&there)), why: told(edge, why) }
    }

    /// The multivariant playlist with its URIs there; `None` if it cannot be rewritten.
    pub fn rewrite(edge: &Edge, why: Why, own_url: &str, target: &Target<'_>, body: &Body) -> Option<Self> {
        let (Body::Object(object) | Body::Slice(object, _) | Body::NotModified(object)) = body else { return None };
        let bytes = object.text()?;
        let source = Source { playlist_url: &format!("{own_url}{}", target.path), base_url: own_url };
        let moved = relocate(std::str::from_utf8(&bytes).ok()?, &source, &edge.url).ok()?;
        Some(Self { to: To::Playlist(moved), why: told(edge, why) })
    }

    pub fn status(&self) -> StatusCode {
        match self.to {
            To::Location(_) => StatusCode::FOUND,
            To::Playlist(_) => StatusCode::OK,
        }
    }

    pub fn text(&self) -> &str {
        match &self.to {
            To::Location(_) => "",
            To::Playlist(text) => text,
        }
    }

    pub fn into_text(self) -> String {
        match self.to {
            To::Location(_) => String::new(),
            To::Playlist(text) => text,
        }
    }

    /// Its field lines. Not for any cache: the next viewer may be somewhere else.
    pub fn put_fields(&self, out: &mut Vec<u8>) {
        let (name, value) = match &self.to {
            To::Location(uri) => ("Location", uri.as_str()),
            To::Playlist(_) => ("Content-Type", "application/vnd.apple.mpegurl"),
        };
        for (name, value) in [
            (name, value),
            ("Vivid-Steer", &self.why),
            ("Cache-Control", "no-store"),
            ("Access-Control-Allow-Origin", "*"),
            ("Access-Control-Expose-Headers", "Cache-Status, Vivid-Steer"),
        ] {
            [name, ": ", value, "\r\n"].iter().for_each(|piece| out.put_slice(piece.as_bytes()));
        }
    }
}

fn told(edge: &Edge, why: Why) -> String {
    format!("nearest={}; reason={}", edge.name, why.label())
}

/// A request target may hold any byte that is no space or control; a field of HTTP/2 may not.
fn ascii(uri: &str) -> String {
    let mut out = String::with_capacity(uri.len());
    for byte in uri.bytes() {
        if byte.is_ascii_graphic() {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Class;
    use crate::object::{Head, Object};
    use crate::steer::fleet::Fleet;
    use crate::steer::manifest::Manifest;
    use bytes::Bytes;
    use http::header::CONTENT_TYPE;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    const FLEET: &str = "[[edges]]\nname = \"a\"\nurl = \"http://a.example\"\nlatitude = 0\nlongitude = 0\n\
        viewers_max = 1\n[[edges]]\nname = \"b\"\nurl = \"https://b.example/cdn\"\nlatitude = 0\nlongitude = 0\n\
        viewers_max = 1\n";

    fn fleet() -> Fleet {
        Fleet::new(config::FleetFile::parse(FLEET).unwrap(), "a", None).unwrap()
    }

    fn object(class: Class, content_type: &str, chunks: &[&str]) -> Body {
        let now = Instant::now();
        let head = Head::own(class, now, Duration::from_secs(1), &[(CONTENT_TYPE, content_type)]);
        let chunks = chunks.iter().map(|chunk| Bytes::copy_from_slice(chunk.as_bytes())).collect();
        Body::Object(Arc::new(Object::new(Arc::new(head), chunks, now)))
    }

    fn fields(steered: &Steered) -> String {
        let mut out = Vec::new();
        steered.put_fields(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_redirect_keeps_the_query_and_is_marked() {
        let fleet = fleet();
        let edge = fleet.others().next().unwrap();
        for (target, location) in [
            ("/live/x/index.m3u8", "https://b.example/cdn/live/x/index.m3u8?_vivid_steered=a"),
            ("/m.mpd?token=x%2F&y", "https://b.example/cdn/m.mpd?token=x%2F&y&_vivid_steered=a"),
            ("/é.m3u8", "https://b.example/cdn/%C3%A9.m3u8?_vivid_steered=a"),
        ] {
            let steered = Steered::redirect(edge, Why::Far, "a", &Target::read(target).unwrap());
            assert_eq!((steered.status().as_u16(), steered.text()), (302, ""));
            let fields = fields(&steered);
            assert!(fields.starts_with(&format!("Location: {location}\r\nVivid-Steer: nearest=b; reason=far\r\n")));
            assert!(fields.contains("Cache-Control: no-store\r\nAccess-Control-Allow-Origin: *\r\n"), "{fields}");
        }
    }

    #[test]
    fn a_rewritten_playlist_has_its_uris_there() {
        let fleet = fleet();
        let edge = fleet.others().next().unwrap();
        let target = Target::read("/live/x/index.m3u8?token=y").unwrap();
        let text = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n720p/index.m3u8\n";
        let body = object(Class::Playlist, "application/vnd.apple.mpegurl", &[&text[..20], &text[20..]]);
        let steered = Steered::rewrite(edge, Why::Full, &fleet.own().url, &target, &body).unwrap();
        assert_eq!(steered.status().as_u16(), 200);
        assert_eq!(steered.text(), text.replace("720p", "https://b.example/cdn/live/x/720p"));
        assert!(fields(&steered).contains("nearest=b; reason=full\r\nCache-Control: no-store"));
        let broken = object(Class::Playlist, "application/vnd.apple.mpegurl", &["#EXTM3U\n"]);
        assert_eq!(Steered::rewrite(edge, Why::Full, &fleet.own().url, &target, &broken), None);
    }

    #[test]
    fn what_an_answer_is_does_not_hang_on_its_name() {
        let hls = "application/vnd.apple.mpegurl";
        for (class, content_type, chunks, expected) in [
            (Class::Playlist, hls, &["#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na\n"][..], Some(Manifest::Multivariant)),
            (Class::Other, "text/plain", &["#EXTM3U\n", "#EXT-X-MEDIA:TYPE=AUDIO\n"], Some(Manifest::Multivariant)),
            (Class::Playlist, hls, &["#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-STREAM-INF:\n"], None),
            (Class::Playlist, hls, &["#EXTM3U\n"], None),
            (Class::Playlist, hls, &["<html>"], None),
            (Class::Playlist, hls, &[], None),
            (Class::Other, "Application/DASH+XML; charset=utf-8", &["<MPD/>"], Some(Manifest::Mpd)),
            (Class::Other, "video/mp4", &["#EXT-X-STREAM-INF:"], None),
            (Class::Segment, "application/dash+xml", &["<MPD/>"], None),
        ] {
            assert_eq!(Manifest::of(class, &object(class, content_type, chunks)), expected, "{chunks:?}");
        }
        let refused = Body::Refusal(crate::refusal::Refusal::Draining);
        assert_eq!(Manifest::of(Class::Playlist, &refused), None);
    }
}
