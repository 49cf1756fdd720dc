//! One request as it came over HTTP/1.1, read once. Bodies are refused, so no two parsers can disagree on framing; the two
//! pages that take a body take it only with a plain `Content-Length`.

use crate::coding::Accepted;
use crate::refusal::Refusal;
use crate::upstream::Passed;
use bytes::{Buf, Bytes, BytesMut};
use cmcd::Cmcd;

/// What the edge needs of a request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The header block, which the ranges below point into.
    head: Bytes,
    target: Span,
    host: Span,
    /// `CTA-Common-Access-Token`.
    cat: Span,
    cookie: Span,
    pub method: Method,
    pub http10: bool,
    pub keep_alive: bool,
    pub codings: Accepted,
    pub range: Option<Bytes>,
    pub if_none_match: Option<Bytes>,
    pub if_modified_since: Option<Bytes>,
    pub if_range: Option<Bytes>,
    pub passed: Passed,
    /// Values of the `CMCD-*` fields.
    pub cmcd: Vec<Bytes>,
    pub authorization: Option<Bytes>,
    /// Bytes of body that follow the header; none but the pages that take one have any.
    pub body_length: usize,
    pub body: Bytes,
}

/// A place in the header block; empty where there is no such field.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: u32,
    end: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    #[default]
    Get,
    Head,
    Options,
    /// Only for the pages that take a body.
    Post,
    /// A method of RFC 9110 that this node does not serve.
    Other,
    Unknown,
}

/// Fields that browsers and players send, several times over.
const FIELDS_MAX: usize = 64;
/// The pages that take a body, in this very spelling.
pub const PURGE_PAGE: &str = "/_vivid/purge";
pub const CMCD_PAGE: &str = "/_vivid/cmcd";
/// Some hundreds of URLs.
pub const BODY_BYTES_MAX: usize = 64 << 10;

impl Request {
    /// Takes the first request off the bytes so far; `None` while its header is not whole.
    ///
    /// # Errors
    /// `Malformed`, `HeaderTooLarge`, or `Body` if a body is announced.
    pub fn take(bytes: &mut BytesMut) -> Result<Option<Self>, Refusal> {
        // RFC 9112, 2.2: empty lines before a request are passed over.
        let empty = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        bytes.advance(empty);
        let Some(end) = header_end(bytes) else { return Ok(None) };
        Self::read(bytes.split_to(end).freeze()).map(Some)
    }

    /// Reads a whole header.
    ///
    /// # Errors
    /// `Malformed`, `HeaderTooLarge`, or `Body` if a body is announced.
    pub fn read(head: Bytes) -> Result<Self, Refusal> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut parsed = httparse::Request::new(&mut fields);
        match parsed.parse(&head) {
            Ok(httparse::Status::Complete(_)) => {}
            Err(httparse::Error::TooManyHeaders) => return Err(Refusal::HeaderTooLarge),
            Ok(httparse::Status::Partial) | Err(_) => return Err(Refusal::Malformed),
        }
        let target = parsed.path.ok_or(Refusal::Malformed)?;
        let http10 = parsed.version == Some(0);
        let mut request = Self {
            target: Span::of(target.as_bytes(), &head),
            method: Method::read(parsed.method.unwrap_or_default()),
            http10,
            keep_alive: !http10,
            ..Self::default()
        };
        let mut hosts = 0;
        let mut lengths = 0;
        for field in parsed.headers.iter() {
            hosts += usize::from(field.name.eq_ignore_ascii_case("host"));
            lengths += usize::from(field.name.eq_ignore_ascii_case("content-length"));
            request.locate(field.name, Span::of(field.value, &head));
            request.field(field.name, field.value, |value| head.slice_ref(value))?;
        }
        // RFC 9112, 3.2.
        if hosts > 1 || (hosts == 0 && !http10) {
            return Err(Refusal::Malformed);
        }
        request.head = head;
        // RFC 9112, 6.3: two lengths, even equal ones, are two ways to frame what follows.
        if lengths > 1 || (request.body_length > 0 && !request.may_have_body()) {
            return Err(Refusal::Body);
        }
        Ok(request)
    }

    /// The request target as it came; UTF-8, or it would not have been read.
    pub fn target(&self) -> &str {
        self.text(self.target).unwrap_or("/")
    }

    /// Whether its answer can only be all of what it asks for, and another may follow: GET of HTTP/1.1, no range, no
    /// condition.
    pub fn takes_whole_answers(&self) -> bool {
        let conditions = [&self.range, &self.if_none_match, &self.if_modified_since, &self.if_range];
        self.method == Method::Get && !self.http10 && self.keep_alive && conditions.iter().all(|field| field.is_none())
    }

    /// Whom the client asked, without a port; empty where it named nobody.
    pub fn host(&self) -> &str {
        let host = self.text(self.host).unwrap_or_default();
        // RFC 3986, 3.2.2: the colons of an address stand in brackets.
        match host.rfind(':') {
            Some(colon) if !host[colon..].contains(']') => &host[..colon],
            _ => host,
        }
    }

    /// The value of a field of the header block, by its name. For what is rarely wanted: the block is read again.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let mut lines = self.head.split(|byte| *byte == b'\n').skip(1);
        lines.find_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            line[..colon].eq_ignore_ascii_case(name.as_bytes()).then(|| line[colon + 1..].trim_ascii())
        })
    }

    /// What the player says of itself beside the request (CTA-5004): in the query, else in fields.
    pub fn said(&self) -> Option<Cmcd> {
        let (_, query) = self.target().split_once('?').unwrap_or_default();
        if query.contains("CMCD=") {
            return Cmcd::from_query(query);
        }
        let values = self.cmcd.iter().filter_map(|value| std::str::from_utf8(value).ok());
        (!self.cmcd.is_empty()).then(|| Cmcd::from_headers(values))
    }

    pub fn cat(&self) -> Option<&str> {
        self.text(self.cat)
    }

    pub fn cookie(&self) -> Option<&str> {
        self.text(self.cookie)
    }

    fn text(&self, span: Span) -> Option<&str> {
        let bytes = self.head.get(span.start as usize..span.end as usize)?;
        std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty())
    }

    /// Reads what a framed transport carried, HTTP/2 or HTTP/3.
    ///
    /// # Errors
    /// `Malformed` if the target is no text, `Body` if a body is announced.
    pub fn from_parts(parts: &http::request::Parts) -> Result<Self, Refusal> {
        let target = parts.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
        let mut head = target.as_bytes().to_vec();
        let mut request = Self {
            target: Span { start: 0, end: target.len() as u32 },
            method: Method::read(parts.method.as_str()),
            keep_alive: true,
            ..Self::default()
        };
        // RFC 9113, 8.3.1: the authority goes before a Host field.
        if let Some(authority) = parts.uri.authority() {
            request.put(&mut head, "host", authority.as_str().as_bytes());
        }
        for (name, value) in &parts.headers {
            request.put(&mut head, name.as_str(), value.as_bytes());
            request.field(name.as_str(), value.as_bytes(), Bytes::copy_from_slice)?;
        }
        request.head = head.into();
        if request.body_length > 0 && !request.may_have_body() {
            return Err(Refusal::Body);
        }
        Ok(request)
    }

    /// A body is taken by two pages, and by those only in one spelling.
    pub fn may_have_body(&self) -> bool {
        self.method == Method::Post && matches!(self.target(), PURGE_PAGE | CMCD_PAGE)
    }

    /// Remembers where the fields are that only access control reads. The first one of a name counts.
    fn locate(&mut self, name: &str, span: Span) {
        if let Some(place) = self.place(name).filter(|place| place.is_empty()) {
            *place = span;
        }
    }

    /// The same for a transport that gives no whole header block: the values are put into one.
    fn put(&mut self, head: &mut Vec<u8>, name: &str, value: &[u8]) {
        let Some(place) = self.place(name) else { return };
        if place.is_empty() {
            place.start = head.len() as u32;
        } else if name == "cookie" {
            // RFC 9113, 8.2.3: a client may cut its cookies up; their pieces come one after the other.
            head.extend_from_slice(b"; ");
        } else {
            return;
        }
        head.extend_from_slice(value);
        place.end = head.len() as u32;
    }

    fn place(&mut self, name: &str) -> Option<&mut Span> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is("host") => Some(&mut self.host),
            6 if is("cookie") => Some(&mut self.cookie),
            23 if is("cta-common-access-token") => Some(&mut self.cat),
            _ => None,
        }
    }

    /// `keep` makes shared bytes of the value, if it is wanted at all.
    fn field(&mut self, name: &str, value: &[u8], keep: impl Fn(&[u8]) -> Bytes) -> Result<(), Refusal> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        // Most names differ in length, which decides before any letter is looked at.
        match name.len() {
            5 if is("range") => self.range = Some(keep(value)),
            8 if is("if-range") => self.if_range = Some(keep(value)),
            8 if is("cdn-loop") => self.passed.cdn_loop = Some(joined(self.passed.cdn_loop.take(), keep(value))),
            10 if is("connection") => self.connection(value),
            11 if is("traceparent") => self.passed.traceparent = Some(keep(value)),
            11 | 12 if cmcd::HEADERS.iter().any(|known| is(known)) => self.cmcd.push(keep(value)),
            13 if is("authorization") => self.authorization = Some(keep(value)),
            13 if is("if-none-match") => self.if_none_match = Some(keep(value)),
            14 if is("content-length") => self.body_length = body_length(value).ok_or(Refusal::Body)?,
            15 if is("accept-encoding") => self.codings.add(value),
            17 if is("if-modified-since") => self.if_modified_since = Some(keep(value)),
            17 if is("transfer-encoding") => return Err(Refusal::Body),
            _ => {}
        }
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) {
        for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if option.eq_ignore_ascii_case(b"close") {
                self.keep_alive = false;
            } else if self.http10 && option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            }
        }
    }
}

impl Span {
    /// `part` is within `whole`, which is no longer than a header block may be.
    fn of(part: &[u8], whole: &[u8]) -> Self {
        let start = (part.as_ptr() as usize - whole.as_ptr() as usize) as u32;
        Self { start, end: start + part.len() as u32 }
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }
}

impl Method {
    pub fn read(method: &str) -> Self {
        match method {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "OPTIONS" => Self::Options,
            "POST" => Self::Post,
            "PUT" | "DELETE" | "CONNECT" | "TRACE" | "PATCH" => Self::Other,
            _ => Self::Unknown,
        }
    }
}

/// RFC 9110, 8.6: digits and nothing else. `None` also for more than is taken.
fn body_length(value: &[u8]) -> Option<usize> {
    let digits = std::str::from_utf8(value.trim_ascii()).ok()?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|length| plain && *length <= BODY_BYTES_MAX)
}

/// Where the header ends: behind the first empty line.
fn header_end(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(found) = bytes[from..].iter().position(|byte| *byte == b'\n') {
        from += found + 1;
        match &bytes[from..] {
            [b'\n', ..] => return Some(from + 1),
            [b'\r', b'\n', ..] => return Some(from + 2),
            _ => {}
        }
    }
    None
}

/// Several lines of one field are one list (RFC 9110, 5.3).
fn joined(before: Option<Bytes>, value: Bytes) -> Bytes {
    match before {
        Some(before) => Bytes::from([&before, &b", "[..], &value].concat()),
        None => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coding::Coding;

    fn read(text: &str) -> Result<Request, Refusal> {
        Request::read(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn a_browsers_request_is_read() {
        let request = read(
            "GET /a?b HTTP/1.1\r\nHost: x\r\nRange: bytes=0-\r\nAccept-Encoding: gzip;q=1, br\r\n\
             CDN-Loop: a\r\ncdn-loop: b; x\r\nCMCD-Status: bs\r\nIf-None-Match: \"x\"\r\n\r\n",
        )
        .unwrap();
        assert_eq!(
            (request.target(), request.method, request.keep_alive, request.codings.best()),
            ("/a?b", Method::Get, true, Coding::Brotli)
        );
        assert_eq!(request.range.as_deref(), Some(&b"bytes=0-"[..]));
        assert_eq!(request.passed.cdn_loop.as_deref(), Some(&b"a, b; x"[..]));
        assert_eq!(request.cmcd, [Bytes::from_static(b"bs")]);
    }

    #[test]
    fn requests_are_taken_one_by_one_when_whole() {
        let mut bytes = BytesMut::from("\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\nHost: x\n\nGET /c HT");
        let mut next = || Request::take(&mut bytes).unwrap().map(|request| request.target().to_owned());
        assert_eq!((next(), next(), next()), (Some("/a".to_owned()), Some("/b".to_owned()), None));
    }

    #[test]
    fn host_and_tokens_are_found_whatever_the_transport() {
        let one = read(
            "GET /a HTTP/1.1\r\nHost: edge.example:8083\r\nCookie: a=b\r\nCTA-Common-Access-Token: T\r\n\
             cta-common-access-token: U\r\n\r\n",
        )
        .unwrap();
        let framed = http::Request::get("https://edge.example:8443/a?b")
            .header("host", "other.example")
            .header("cookie", "a=b")
            .header("range", "bytes=0-")
            .header("cta-common-access-token", "T")
            .header("cookie", "c=d")
            .body(())
            .unwrap();
        let two = Request::from_parts(&framed.into_parts().0).unwrap();
        assert_eq!((one.host(), one.cookie(), one.cat()), ("edge.example", Some("a=b"), Some("T")));
        assert_eq!((two.host(), two.cookie(), two.cat()), ("edge.example", Some("a=b; c=d"), Some("T")));
        assert_eq!(two.target(), "/a?b");
        let bare = read("GET /a HTTP/1.0\r\n\r\n").unwrap();
        assert_eq!((bare.host(), bare.cookie(), bare.cat()), ("", None, None));
        assert_eq!(read("GET /a HTTP/1.1\r\nHost: [2001:db8::1]\r\n\r\n").unwrap().host(), "[2001:db8::1]");
    }

    #[test]
    fn keep_alive_follows_version_and_option() {
        for (text, expected) in [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: x\r\nConnection: x, Close\r\n\r\n", false),
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
        ] {
            assert_eq!(read(text).unwrap().keep_alive, expected, "{text}");
        }
    }

    #[test]
    fn nothing_that_could_be_framed_two_ways_is_read() {
        for (text, refusal) in [
            ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", Refusal::Body),
            ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 7\r\n\r\n", Refusal::Body),
            ("GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", Refusal::Body),
            ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", Refusal::Body),
            ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: +0\r\n\r\n", Refusal::Body),
            ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0, 0\r\n\r\n", Refusal::Body),
            ("GET /_vivid/purge HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", Refusal::Body),
            ("POST /_vivid/purge?x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", Refusal::Body),
            ("POST /%5Fvivid/purge HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", Refusal::Body),
            ("POST /_vivid/purge HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n", Refusal::Body),
            ("POST /_vivid/purge HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", Refusal::Body),
            (
                "POST /_vivid/purge HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                Refusal::Body,
            ),
            ("GET / HTTP/1.1\r\n\r\n", Refusal::Malformed),
            ("GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", Refusal::Malformed),
            ("GET / HTTP/2.0\r\nHost: x\r\n\r\n", Refusal::Malformed),
            ("GET\r\n\r\n", Refusal::Malformed),
        ] {
            assert_eq!(read(text).err(), Some(refusal), "{text}");
        }
        let purge = read("POST /_vivid/purge HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n").unwrap();
        assert_eq!((purge.method, purge.body_length), (Method::Post, 5));
        let fields = "a: b\r\n".repeat(FIELDS_MAX + 1);
        assert_eq!(read(&format!("GET / HTTP/1.1\r\n{fields}\r\n")).err(), Some(Refusal::HeaderTooLarge));
    }

    #[test]
    fn seeded_garbage_never_panics() {
        let good =
            b"GET /live/a/index.m3u8?_HLS_msn=1 HTTP/1.1\r\nHost: x\r\nRange: bytes=0-\r\nConnection: close\r\n\r\n";
        let mut state = 0x1234_5678_9abc_def1_u64;
        for _ in 0..20_000 {
            let mut bytes = good.to_vec();
            for _ in 0..4 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let at = (state as usize >> 8) % bytes.len();
                bytes[at] = state as u8;
            }
            if let Ok(Some(request)) = Request::take(&mut BytesMut::from(&bytes[..])) {
                assert!(!request.target().is_empty());
            }
        }
    }
}
