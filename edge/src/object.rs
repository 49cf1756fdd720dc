//! An answer of upstream as it is kept: its header fields serialised once, its body shared and never copied.

use crate::coding::Coding;
use crate::key::Class;
use crate::playlists::PLAYLIST_BYTES_MAX;
use crate::qoe::cmsd;
use crate::store::freshness::{self, CDN_CACHE_CONTROL, Lease, Unstored};
use crate::store::layout::Layout;
use crate::store::purge::Tags;
use crate::upstream::PeerId;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName};
use http::{HeaderValue, StatusCode};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

mod packed;

use packed::{Packed, is_packable, with_vary};

/// What is known of an object before its body: everything a growing answer starts with.
#[derive(Debug)]
pub struct Head {
    pub status: StatusCode,
    pub class: Class,
    /// Length of the whole body in bytes, where upstream said it.
    pub length: Option<u64>,
    pub etag: Option<Bytes>,
    pub last_modified: Option<Bytes>,
    /// When it was as good as new: arrival less the age it came with.
    pub born: Instant,
    /// For how long it may be used, or why it must not be stored.
    pub lease: Result<Lease, Unstored>,
    /// By which it may be purged.
    pub tags: Tags,
    /// It was read from this node's disk.
    pub disk: bool,
    /// Its answers say the time at which they are given, as viewers set their clocks by it; they have no age.
    pub dated: bool,
    /// Which upstream gave it.
    pub source: Option<PeerId>,
    /// The field lines of every answer with this object, each ended by CRLF, without framing and without `Age`.
    pub fields: Bytes,
    /// What the nodes before this one said of the path of this answer: for those who waited for it, and nobody else.
    pub cmsd: Option<Bytes>,
    /// The same fields for transports that do not carry text, made when one asks.
    map: OnceLock<HeaderMap>,
}

/// A whole object.
#[derive(Clone, Debug)]
pub struct Object {
    pub head: Arc<Head>,
    /// Status line, fields and `Content-Length` of the whole answer: a hit copies this and adds what is its own.
    pub start: Bytes,
    pub chunks: Box<[Bytes]>,
    /// Sum of the chunks' lengths, in bytes.
    pub length: u64,
    pub fresh_until: Instant,
    pub stale: Stale,
    /// It is kept in pieces: this is its head, `length` is that of the whole, and there are no chunks.
    pub layout: Option<Layout>,
    /// A manifest in the codings that viewers have taken it in.
    packed: Option<Packed>,
    /// The text of a manifest that is packed.
    plain: Option<Bytes>,
}

/// What may happen to an object that is not fresh any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale {
    /// Shown until then, while it is asked for anew behind the viewers' backs.
    pub revalidating_until: Instant,
    /// Shown until then if upstream fails.
    pub error_until: Instant,
    /// Upstream is not asked again before.
    pub ask_from: Instant,
    /// From then on it is of no use.
    pub kept_until: Instant,
}

impl Head {
    /// Takes over what upstream said, less what concerned only that connection (RFC 9110, 7.6.1) or one viewer.
    pub fn from_upstream(
        rules: &config::Cache,
        status: StatusCode,
        headers: &HeaderMap,
        class: Class,
        now: Instant,
    ) -> Self {
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let mut lines = fields(headers);
        if is_packable(status, class, headers) {
            lines = with_vary(&lines, headers);
        }
        Self {
            status,
            class,
            length,
            etag: value(headers, &header::ETAG),
            last_modified: value(headers, &header::LAST_MODIFIED),
            born: now.checked_sub(freshness::age(headers)).unwrap_or(now),
            lease: freshness::judge(rules, status, headers, class),
            tags: Tags::read(headers),
            source: None,
            cmsd: cmsd::before(headers),
            disk: false,
            dated: false,
            fields: lines,
            map: OnceLock::new(),
        }
    }

    /// The same with other fields.
    fn with_fields(&self, headers: &HeaderMap) -> Self {
        Self {
            status: self.status,
            class: self.class,
            length: None,
            etag: value(headers, &header::ETAG),
            last_modified: value(headers, &header::LAST_MODIFIED),
            born: self.born,
            lease: self.lease,
            tags: self.tags.clone(),
            source: self.source,
            dated: self.dated,
            disk: self.disk,
            cmsd: self.cmsd.clone(),
            fields: fields(headers),
            map: OnceLock::new(),
        }
    }

    /// What a 304 makes of it (RFC 9111, 3.2 and 4.3.4); `None` if the 304 is about another version.
    fn refreshed(&self, rules: &config::Cache, headers: &HeaderMap, now: Instant) -> Option<Self> {
        let etag = value(headers, &header::ETAG);
        if etag.is_some() && etag != self.etag {
            return None;
        }
        let mut merged = self.map().clone();
        for name in headers.keys().filter(|name| !OF_THE_BODY.contains(name)) {
            merged.remove(name);
            headers.get_all(name).iter().for_each(|value| {
                merged.append(name, value.clone());
            });
        }
        let head = Self::from_upstream(rules, self.status, &merged, self.class, now);
        Some(Self { length: self.length, source: self.source, ..head })
    }

    pub fn is_mpd(&self) -> bool {
        self.field("content-type").is_some_and(is_dash)
    }

    /// Nobody but who asks may be shown what is made of it. `no-store` for all caches, as many origins say of what changes all the
    /// time, forbids no more than keeping it (RFC 9111, 5.2.2.5); said to this kind of node alone (RFC 9213), it is meant.
    pub fn is_not_to_be_followed(&self) -> bool {
        match self.lease {
            Err(Unstored::Private) => true,
            Err(Unstored::NoStore) => self.field(CDN_CACHE_CONTROL).is_some(),
            _ => false,
        }
    }

    /// It is its requester's alone. An error that must not be stored tells nothing of whom it is for, and a herd that meets
    /// one is not sent upstream.
    pub fn is_for_one(&self) -> bool {
        match self.lease {
            Err(Unstored::Private | Unstored::Cookie) => true,
            Err(Unstored::NoStore) => !self.status.is_client_error() && !self.status.is_server_error(),
            Err(Unstored::Useless | Unstored::Vary | Unstored::Status | Unstored::Purged) | Ok(_) => false,
        }
    }

    /// How long it is fresh from its arrival on; `None` if it is not.
    pub fn lifetime(&self) -> Option<Duration> {
        self.lease.ok().map(|lease| lease.fresh).filter(|fresh| !fresh.is_zero())
    }

    /// The first value of a field, by its name in lower case.
    pub fn field(&self, name: &str) -> Option<&str> {
        let lines = std::str::from_utf8(&self.fields).ok()?.split("\r\n");
        lines.filter_map(|line| line.split_once(": ")).find_map(|(known, value)| (known == name).then_some(value))
    }

    /// `fields` as a map.
    pub fn map(&self) -> &HeaderMap {
        self.map.get_or_init(|| {
            let mut map = HeaderMap::new();
            put_lines(&mut map, &self.fields);
            map
        })
    }

    /// A head that this node makes itself.
    pub fn own(class: Class, now: Instant, lifetime: Duration, pairs: &[(HeaderName, &str)]) -> Self {
        let mut headers = HeaderMap::with_capacity(pairs.len());
        for (name, value) in pairs {
            // Values are this node's own text; one that is no field value is left out rather than sent.
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.append(name.clone(), value);
            }
        }
        Self {
            status: StatusCode::OK,
            class,
            length: None,
            etag: value(&headers, &header::ETAG),
            last_modified: value(&headers, &header::LAST_MODIFIED),
            born: now,
            lease: Ok(Lease::fresh(lifetime)),
            tags: Tags::default(),
            source: None,
            cmsd: None,
            disk: false,
            dated: false,
            fields: fields(&headers),
            map: OnceLock::new(),
        }
    }
}

impl Object {
    /// `arrived`: when its head came, from which its lifetime counts.
    pub fn new(head: Arc<Head>, chunks: Vec<Bytes>, arrived: Instant) -> Self {
        let length = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        Self::with(head, chunks.into_boxed_slice(), length, arrived)
    }

    /// What is kept of an object in pieces besides those.
    pub fn in_pieces(head: Arc<Head>, layout: Layout, arrived: Instant) -> Self {
        Self { layout: Some(layout.clone()), ..Self::with(head, Box::default(), layout.length, arrived) }
    }

    fn with(head: Arc<Head>, chunks: Box<[Bytes]>, length: u64, arrived: Instant) -> Self {
        let mut start = BytesMut::with_capacity(head.fields.len() + 96);
        put_status_line(&mut start, head.status);
        start.put_slice(&head.fields);
        put_number(&mut start, b"Content-Length: ", length);
        let lease = head.lease.unwrap_or_default();
        let fresh_until = arrived + lease.fresh;
        let stale = Stale {
            revalidating_until: fresh_until + lease.while_revalidating,
            error_until: fresh_until + lease.if_error,
            ask_from: fresh_until,
            kept_until: arrived + lease.whole(),
        };
        let packed = is_packable(head.status, head.class, head.map()) && (1..=PLAYLIST_BYTES_MAX).contains(&length);
        let packed = packed.then(Packed::default);
        Self { start: start.freeze(), chunks, length, fresh_until, stale, layout: None, packed, plain: None, head }
    }

    /// The same bytes under a head that a 304 brought up to date; `None` if the 304 is about another version.
    pub fn refreshed(&self, rules: &config::Cache, headers: &HeaderMap, now: Instant) -> Option<Self> {
        let head = self.head.refreshed(rules, headers, now)?;
        let new = Self::with(Arc::new(head), self.chunks.clone(), self.length, now);
        Some(Self { layout: self.layout.clone(), ..new })
    }

    /// The same object after upstream failed at `now`: shown at once for as long as errors allow, and asked for again
    /// after `pause`.
    pub fn after_failure(&self, now: Instant, pause: Duration) -> Self {
        let stale = Stale {
            revalidating_until: self.stale.error_until.max(self.stale.revalidating_until),
            ask_from: now + pause,
            ..self.stale
        };
        Self { stale, ..self.unpacked() }
    }

    /// The same object, not fresh any more from `now` on.
    pub fn expired(&self, now: Instant) -> Self {
        let lease = self.head.lease.unwrap_or_default();
        let until = |until: Instant, longer: Duration| until.min(now + longer);
        let stale = Stale {
            revalidating_until: until(self.stale.revalidating_until, lease.while_revalidating),
            error_until: until(self.stale.error_until, lease.if_error),
            ask_from: now,
            kept_until: until(self.stale.kept_until, lease.whole() - lease.fresh),
        };
        Self { stale, fresh_until: self.fresh_until.min(now), ..self.unpacked() }
    }

    /// Of no use after `end`, whatever upstream said.
    pub fn end(&mut self, end: Instant) {
        self.fresh_until = self.fresh_until.min(end);
        let Stale { revalidating_until, error_until, kept_until, .. } = &mut self.stale;
        for until in [revalidating_until, error_until, kept_until] {
            *until = (*until).min(end);
        }
    }

    /// What keeping it costs, in bytes: the body, the header block, the tags.
    pub fn weight(&self) -> u64 {
        let codings = if self.packed.is_some() { Coding::ALL.len() as u64 } else { 1 };
        let length = if self.layout.is_some() { 0 } else { self.length * codings };
        length + (self.start.len() + self.head.fields.len() + self.head.tags.bytes()) as u64
    }

    pub fn is_fresh(&self, now: Instant) -> bool {
        now < self.fresh_until
    }
}

/// Fields that describe the body as it is stored, which a 304 does not bring; and one that is for its requester.
const OF_THE_BODY: [HeaderName; 4] =
    [header::CONTENT_LENGTH, header::CONTENT_ENCODING, header::CONTENT_RANGE, header::SET_COOKIE];

fn value(headers: &HeaderMap, name: &HeaderName) -> Option<Bytes> {
    headers.get(name).map(|value| Bytes::copy_from_slice(value.as_bytes()))
}

/// Whether a Content-Type is that of MPDs, which ISO/IEC 23009-1, annex C registers.
pub fn is_dash(content_type: &str) -> bool {
    content_type.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/dash+xml"))
}

/// `HTTP/1.1 200 OK` and its end of line.
pub fn put_status_line(out: &mut impl BufMut, status: StatusCode) {
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(status.as_str().as_bytes());
    out.put_slice(b" ");
    out.put_slice(status.canonical_reason().unwrap_or("").as_bytes());
    out.put_slice(b"\r\n");
}

/// `name`, which ends in `": "`, the number in decimal, and the end of line.
pub fn put_number(out: &mut impl BufMut, name: &[u8], number: u64) {
    out.put_slice(name);
    put_decimal(out, number);
    out.put_slice(b"\r\n");
}

pub fn put_decimal(out: &mut impl BufMut, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.put_slice(&digits[at..]);
}

/// Adds field lines to a map.
pub fn put_lines(map: &mut HeaderMap, lines: &[u8]) {
    for line in lines.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // A field name holds no colon, and a value may.
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) =
            (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(line[colon + 1..].trim_ascii()));
        if let (Ok(name), Ok(value)) = (name, value) {
            // More fields than a map can hold are left out.
            let _ = map.try_append(name, value);
        }
    }
}

/// The fields that stay, and those that every answer to a browser needs.
fn fields(headers: &HeaderMap) -> Bytes {
    let mut out = BytesMut::with_capacity(64 * (headers.len() + 3));
    for (name, value) in headers {
        if !is_private(name) {
            put_field(&mut out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    if !headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        put_field(&mut out, b"access-control-allow-origin", b"*");
    }
    if !exposes_all(headers) {
        put_field(&mut out, b"access-control-expose-headers", EXPOSED);
    }
    if !headers.contains_key("timing-allow-origin") {
        put_field(&mut out, b"timing-allow-origin", b"*");
    }
    out.freeze()
}

/// What pages may read of an answer, besides what upstream lets them. CMSD is of no use to a player that cannot.
const EXPOSED: &[u8] = b"Age, Cache-Status, CMSD-Dynamic, CMSD-Static, Content-Length, Content-Range, Date";

fn exposes_all(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCESS_CONTROL_EXPOSE_HEADERS).iter().any(|value| {
        let mut names = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        names.any(|name| name == b"*" || name.eq_ignore_ascii_case(cmsd::DYNAMIC.as_bytes()))
    })
}

fn put_field(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    // A field value with a line end would let upstream write our header; the parser refuses it, and so do we.
    if value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return;
    }
    out.put_slice(name);
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

/// Fields of one connection, of one viewer, or that this node says itself.
fn is_private(name: &HeaderName) -> bool {
    const OTHERS: [&str; 7] = [
        "keep-alive",
        "proxy-connection",
        "alt-svc",
        "strict-transport-security",
        "x-accel-expires",
        "nel",
        cmsd::DYNAMIC,
    ];
    [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::TE,
        header::TRAILER,
        header::UPGRADE,
        header::PROXY_AUTHENTICATE,
        header::CONTENT_LENGTH,
        header::CONTENT_RANGE,
        header::ACCEPT_RANGES,
        header::AGE,
        header::SET_COOKIE,
    ]
    .contains(name)
        || OTHERS.contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> config::Cache {
        config::Config::parse("[edge]", []).unwrap().edge.unwrap().cache
    }

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn what_upstream_said_to_us_alone_is_left_out() {
        let headers = headers(&[
            ("content-type", "video/mp4"),
            ("set-cookie", "a=b"),
            ("connection", "close"),
            ("content-length", "4"),
            ("age", "7"),
            ("cache-status", "shield; hit"),
            ("cmsd-dynamic", "\"shield\";etp=5"),
            ("cache-control", "public, max-age=9"),
        ]);
        let now = Instant::now() + Duration::from_secs(60);
        let head = Head::from_upstream(&rules(), StatusCode::OK, &headers, Class::Part, now);
        assert_eq!(
            (head.length, head.born, head.lifetime()),
            (Some(4), now - Duration::from_secs(7), Some(Duration::from_secs(2)))
        );
        let object = Object::new(Arc::new(head), vec![Bytes::from_static(b"ab"), Bytes::from_static(b"cd")], now);
        let start = std::str::from_utf8(&object.start).unwrap();
        assert_eq!(
            start,
            "HTTP/1.1 200 OK\r\ncontent-type: video/mp4\r\ncache-status: shield; hit\r\ncache-control: public, max-age=9\r\n\
             access-control-allow-origin: *\r\n\
             access-control-expose-headers: \
             Age, Cache-Status, CMSD-Dynamic, CMSD-Static, Content-Length, Content-Range, Date\r\n\
             timing-allow-origin: *\r\nContent-Length: 4\r\n"
        );
        assert!(object.is_fresh(now) && !object.is_fresh(now + Duration::from_secs(2)));
    }

    #[test]
    fn a_304_brings_the_head_up_to_date_and_leaves_the_body() {
        let (rules, now) = (rules(), Instant::now() + Duration::from_secs(60));
        let old = headers(&[
            ("content-type", "video/mp4"),
            ("content-length", "2"),
            ("etag", "\"a\""),
            ("cache-control", "max-age=9"),
            ("x-two", "1"),
            ("x-two", "2"),
        ]);
        let head = Head::from_upstream(&rules, StatusCode::OK, &old, Class::Other, now);
        let object = Object::new(Arc::new(head), vec![Bytes::from_static(b"ab")], now);
        let later = now + Duration::from_secs(20);
        let said = headers(&[
            ("cache-control", "max-age=30"),
            ("age", "10"),
            ("content-length", "0"),
            ("x-two", "3"),
            ("set-cookie", "a=b"),
        ]);
        let new = object.refreshed(&rules, &said, later).unwrap();
        assert_eq!(
            (new.fresh_until, new.head.born),
            (later + Duration::from_secs(20), later - Duration::from_secs(10))
        );
        assert_eq!((new.length, new.head.length, &new.chunks[0][..]), (2, Some(2), &b"ab"[..]));
        let start = std::str::from_utf8(&new.start).unwrap();
        for line in ["content-type: video/mp4", "cache-control: max-age=30", "x-two: 3", "Content-Length: 2"] {
            assert_eq!(start.matches(&format!("{line}\r\n")).count(), 1, "{line} in {start}");
        }
        assert!(!start.contains("x-two: 1") && !start.contains("max-age=9") && !start.contains("cookie"), "{start}");
        assert_eq!(start.matches("access-control-allow-origin").count(), 1);
        assert!(object.refreshed(&rules, &headers(&[("etag", "\"b\"")]), later).is_none(), "another version");
    }

    #[test]
    fn what_failed_upstream_is_shown_for_as_long_as_errors_allow() {
        let (rules, now) = (rules(), Instant::now());
        let said = headers(&[("cache-control", "max-age=1, stale-while-revalidate=2, stale-if-error=9")]);
        let head = Head::from_upstream(&rules, StatusCode::OK, &said, Class::Other, now);
        let mut object = Object::new(Arc::new(head), Vec::new(), now);
        let at = |seconds| now + Duration::from_secs(seconds);
        assert_eq!((object.stale.revalidating_until, object.stale.error_until), (at(3), at(10)));
        let failed = object.after_failure(at(4), Duration::from_secs(1));
        assert_eq!(
            (failed.fresh_until, failed.stale.revalidating_until, failed.stale.ask_from),
            (at(1), at(10), at(5))
        );
        let expired = object.expired(now);
        assert_eq!(
            (expired.fresh_until, expired.stale.revalidating_until, expired.stale.error_until),
            (now, at(2), at(9))
        );
        object.end(at(2));
        assert_eq!(
            (object.fresh_until, object.stale.revalidating_until, object.stale.kept_until),
            (at(1), at(2), at(2))
        );
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 7, 10, 4096, u64::MAX] {
            let mut out = Vec::new();
            put_decimal(&mut out, number);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }
}
