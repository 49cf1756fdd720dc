//! Responses: bodies from shared bytes, encodings, ranges and cache lifetimes.

use super::growing::Growing;
use super::range::{Asked, asked};
use super::refusal::Refusal;
use crate::medium::Medium;
use crate::window::{Name, Text};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use bytes::{Buf, Bytes};
use hyper::body::{Frame, SizeHint};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

/// How long caches may keep a playlist.
#[derive(Clone, Copy, Debug)]
pub(super) enum Caching {
    /// It changes with every part.
    Briefly,
    /// The answer to a blocking request: whoever asks the same may have the same (RFC 8216bis, B.1: six target durations).
    Blocking { target_duration_s: u64 },
}

/// Which of them a text is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Manifest {
    Hls,
    Dash,
    WebVtt,
}

/// A playlist or an MPD, compressed if that is accepted. Ranges are not: what they would be ranges of changes all the time.
pub(super) fn manifest(text: &Text, request: &HeaderMap, (kind, caching): (Manifest, Caching)) -> Response<Body> {
    let gzip = accepts_gzip(request).then(|| text.gzip()).flatten();
    let encoded = gzip.is_some();
    let pieces = gzip.unwrap_or_else(|| text.plain());
    let length = length(&pieces);
    let mut response = Response::new(Body::new(Pieces::new(pieces, 0..length)));
    let headers = response.headers_mut();
    let kind = match kind {
        Manifest::Hls => "application/vnd.apple.mpegurl",
        Manifest::Dash => "application/dash+xml",
        Manifest::WebVtt => "text/vtt; charset=utf-8",
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if encoded {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let age = match caching {
        Caching::Briefly => HeaderValue::from_static("public, max-age=1"),
        Caching::Blocking { target_duration_s } => {
            HeaderValue::from_str(&format!("public, max-age={}", 6 * target_duration_s))
                .unwrap_or(HeaderValue::from_static("public, max-age=1"))
        }
    };
    headers.insert(header::CACHE_CONTROL, age);
    response
}

/// An init section, segment or part: the same bytes under this URL for ever. RFC 9110, 14.2: only GET has ranges.
pub(super) fn object(
    (name, medium): (Name, Medium),
    length: u64,
    (method, request): (&Method, &HeaderMap),
    body: impl FnOnce(Range<u64>) -> Body,
) -> Result<Response<Body>, Refusal> {
    // 13.1.5: a range is for who has the rest of this. No object has a validator, so none that If-Range names is its own.
    let ranged = method == Method::GET && !request.contains_key(header::IF_RANGE);
    let range = request.get(header::RANGE).filter(|_| ranged).and_then(|value| value.to_str().ok());
    let (status, range) = match asked(range, length) {
        Asked::Whole => (StatusCode::OK, None),
        Asked::Part(range) => (StatusCode::PARTIAL_CONTENT, Some(range)),
        Asked::Nothing => return Err(Refusal::Range { length }),
    };
    // Nobody reads for a HEAD; its length stands in the head.
    let body = if *method == Method::HEAD { Body::empty() } else { body(range.clone().unwrap_or(0..length)) };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let is_init = matches!(name, Name::Init(_));
    lasting(headers, if is_init { medium.init_type() } else { medium.content_type() });
    headers.insert(
        header::CONTENT_LENGTH,
        HeaderValue::from(range.as_ref().map_or(length, |range| range.end - range.start)),
    );
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(range) = range {
        set(headers, header::CONTENT_RANGE, &format!("bytes {}-{}/{length}", range.start, range.end - 1));
    }
    Ok(response)
}

/// A segment that is still being made, of a length that nobody knows: each of its parts as it comes (DASH-IF Low-Latency
/// Modes). Ranges of it are not given: their end cannot be told.
pub(super) fn growing(segment: Growing, method: &Method) -> Response<Body> {
    let kind = segment.medium().content_type();
    let body = if *method == Method::HEAD { Body::empty() } else { Body::from_stream(segment.parts()) };
    let mut response = Response::new(body);
    lasting(response.headers_mut(), kind);
    response
}

/// Some of what is in memory.
pub(super) fn pieces(pieces: Vec<Bytes>, range: Range<u64>) -> Body {
    Body::new(Pieces::new(pieces, range))
}

pub(super) fn length(pieces: &[Bytes]) -> u64 {
    pieces.iter().map(|piece| piece.len() as u64).sum()
}

fn lasting(headers: &mut HeaderMap, kind: &'static str) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
}

/// A sentence for people or a page of metrics; never kept by caches.
pub(super) fn text(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(super) fn set(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// RFC 9110, 12.5.3, as far as one coding goes: its weight is not zero. `*` stands only for codings that are not named.
pub(super) fn accepts_gzip(request: &HeaderMap) -> bool {
    let (mut named, mut others) = (None, None);
    let codings = request.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    for coding in codings.flat_map(|value| value.split(',')) {
        let mut fields = coding.split(';').map(str::trim);
        let name = fields.next().unwrap_or_default();
        let weight = fields.find_map(|field| field.strip_prefix("q=").or_else(|| field.strip_prefix("Q=")));
        let accepted = weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0));
        if name.eq_ignore_ascii_case("gzip") {
            named = Some(accepted);
        } else if name == "*" {
            others = Some(accepted);
        }
    }
    named.or(others).unwrap_or(false)
}

/// Given to a connection at once: what a client that takes little holds of it, and what tells that it takes some.
const FRAME_MAX: usize = 128 << 10;

/// A body of shared pieces, of known length; nothing is copied.
struct Pieces {
    pieces: VecDeque<Bytes>,
    left: u64,
}

impl Pieces {
    fn new(pieces: Vec<Bytes>, range: Range<u64>) -> Self {
        let mut pieces = VecDeque::from(pieces);
        let mut skip = range.start;
        while let Some(piece) = pieces.front_mut() {
            if skip < piece.len() as u64 {
                piece.advance(skip as usize);
                break;
            }
            skip -= piece.len() as u64;
            pieces.pop_front();
        }
        Self { pieces, left: range.end - range.start }
    }
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let Some(mut piece) = self.pieces.pop_front() else { return Poll::Ready(None) };
        piece.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        if piece.len() > FRAME_MAX {
            self.pieces.push_front(piece.split_off(FRAME_MAX));
        }
        self.left -= piece.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(range: Range<u64>) -> Bytes {
        let pieces = ["abc", "", "defg", "h"].map(|piece| Bytes::from_static(piece.as_bytes())).to_vec();
        axum::body::to_bytes(Body::new(Pieces::new(pieces, range)), 99).await.unwrap()
    }

    #[tokio::test]
    async fn pieces_are_cut_anywhere() {
        let whole = b"abcdefgh";
        for start in 0..8 {
            for end in start + 1..=8 {
                assert_eq!(read(start..end).await, whole[start as usize..end as usize]);
            }
        }
    }

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        for (value, accepted) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("*", true),
            ("br, deflate", false),
            ("gzip;q=0", false),
            ("gzip; q=0.0", false),
            ("gzip;q=x", false),
            ("gzip;q=0, *", false),
            ("*, gzip;q=0", false),
            ("*;q=0, gzip", true),
            ("br, *;q=0", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            assert_eq!(accepts_gzip(&headers), accepted, "{value:?}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    #[test]
    fn only_get_has_ranges() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, HeaderValue::from_static("bytes=1-2"));
        let answer = |method: Method| {
            let body = |range| pieces(vec![Bytes::from_static(b"abcdef")], range);
            object((Name::Segment(1), Medium::Fragments), 6, (&method, &headers), body).unwrap()
        };
        assert_eq!(answer(Method::GET).status(), StatusCode::PARTIAL_CONTENT);
        let head = answer(Method::HEAD);
        assert_eq!(head.status(), StatusCode::OK);
        assert!(head.headers().get(header::CONTENT_RANGE).is_none());
    }
}
