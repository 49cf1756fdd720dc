//! An answer of upstream as it is kept: its header fields serialised once, its body shared and never copied.

use crate::freshness;
use crate::key::Class;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName};
use http::{HeaderValue, StatusCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is known of an object before its body: everything a growing answer starts with.
#[derive(Debug)]
pub struct Head {
    pub status: StatusCode,
    pub class: Class,
    /// Length of the whole body in bytes, where upstream said it.
    pub length: Option<u64>,
    pub etag: Option<Bytes>,
    /// When it was as good as new: arrival less the age it came with.
    pub born: Instant,
    /// `None`: must not be stored.
    pub lifetime: Option<Duration>,
    /// The field lines of every answer with this object, each ended by CRLF, without framing and without `Age`.
    pub fields: Bytes,
}

/// A whole object.
#[derive(Debug)]
pub struct Object {
    pub head: Arc<Head>,
    /// Status line, fields and `Content-Length` of the whole answer: a hit copies this and adds what is its own.
    pub start: Bytes,
    pub chunks: Box<[Bytes]>,
    /// Sum of the chunks' lengths, in bytes.
    pub length: u64,
    pub fresh_until: Instant,
}

impl Head {
    /// Takes over what upstream said, less what concerned only that connection (RFC 9110, 7.6.1) or one viewer.
    pub fn from_upstream(status: StatusCode, headers: &HeaderMap, class: Class, now: Instant) -> Self {
        let negative = matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE);
        let lifetime = match status {
            StatusCode::OK => freshness::lifetime(headers, class),
            _ if negative => Some(freshness::NEGATIVE),
            _ => None,
        };
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let etag = headers.get(header::ETAG).map(|value| Bytes::copy_from_slice(value.as_bytes()));
        let born = now.checked_sub(freshness::age(headers)).unwrap_or(now);
        Self { status, class, length, etag, born, lifetime, fields: fields(headers) }
    }

    /// The first value of a field, by its name in lower case.
    pub fn field(&self, name: &str) -> Option<&str> {
        let lines = std::str::from_utf8(&self.fields).ok()?.split("\r\n");
        lines.filter_map(|line| line.split_once(": ")).find_map(|(known, value)| (known == name).then_some(value))
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
        let etag = headers.get(header::ETAG).map(|value| Bytes::copy_from_slice(value.as_bytes()));
        Self {
            status: StatusCode::OK,
            class,
            length: None,
            etag,
            born: now,
            lifetime: Some(lifetime),
            fields: fields(&headers),
        }
    }
}

impl Object {
    /// `arrived`: when its head came, from which its lifetime counts.
    pub fn new(head: Arc<Head>, chunks: Vec<Bytes>, arrived: Instant) -> Self {
        let length = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let mut start = BytesMut::with_capacity(head.fields.len() + 96);
        put_status_line(&mut start, head.status);
        start.put_slice(&head.fields);
        put_number(&mut start, b"Content-Length: ", length);
        let fresh_until = arrived + head.lifetime.unwrap_or(Duration::ZERO);
        Self { start: start.freeze(), chunks: chunks.into_boxed_slice(), length, fresh_until, head }
    }

    /// What keeping it costs, in bytes: the body and the header block.
    pub fn weight(&self) -> u64 {
        self.length + self.start.len() as u64 + self.head.fields.len() as u64
    }

    pub fn is_fresh(&self, now: Instant) -> bool {
        now < self.fresh_until
    }
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
    if !headers.contains_key(header::ACCESS_CONTROL_EXPOSE_HEADERS) {
        put_field(
            &mut out,
            b"access-control-expose-headers",
            b"Age, Cache-Status, Content-Length, Content-Range, Date",
        );
    }
    if !headers.contains_key("timing-allow-origin") {
        put_field(&mut out, b"timing-allow-origin", b"*");
    }
    out.freeze()
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
    const OTHERS: [&str; 6] =
        ["keep-alive", "proxy-connection", "alt-svc", "strict-transport-security", "x-accel-expires", "nel"];
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

    #[test]
    fn what_upstream_said_to_us_alone_is_left_out() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "video/mp4"),
            ("set-cookie", "a=b"),
            ("connection", "close"),
            ("content-length", "4"),
            ("age", "7"),
            ("cache-status", "shield; hit"),
            ("cache-control", "max-age=9"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        let now = Instant::now() + Duration::from_secs(60);
        let head = Head::from_upstream(StatusCode::OK, &headers, Class::Part, now);
        assert_eq!(
            (head.length, head.born, head.lifetime),
            (Some(4), now - Duration::from_secs(7), Some(Duration::from_secs(2)))
        );
        let object = Object::new(Arc::new(head), vec![Bytes::from_static(b"ab"), Bytes::from_static(b"cd")], now);
        let start = std::str::from_utf8(&object.start).unwrap();
        assert_eq!(
            start,
            "HTTP/1.1 200 OK\r\ncontent-type: video/mp4\r\ncache-status: shield; hit\r\ncache-control: max-age=9\r\n\
             access-control-allow-origin: *\r\n\
             access-control-expose-headers: Age, Cache-Status, Content-Length, Content-Range, Date\r\n\
             timing-allow-origin: *\r\nContent-Length: 4\r\n"
        );
        assert!(object.is_fresh(now) && !object.is_fresh(now + Duration::from_secs(2)));
    }

    #[test]
    fn only_what_was_found_or_is_missing_is_kept() {
        let life = |status| Head::from_upstream(status, &HeaderMap::new(), Class::Part, Instant::now()).lifetime;
        assert_eq!(life(StatusCode::NOT_FOUND), Some(freshness::NEGATIVE));
        for status in [StatusCode::BAD_REQUEST, StatusCode::SERVICE_UNAVAILABLE, StatusCode::PARTIAL_CONTENT] {
            assert_eq!(life(status), None, "{status}");
        }
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
