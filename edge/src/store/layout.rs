//! How a large object is kept in pieces, and what upstream must answer to a request for one of them (RFC 9110, 14).

use super::purge::PIECE;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName};
use http::{HeaderValue, StatusCode};
use std::time::Duration;

/// The pieces of one version of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Names this version on this node: pieces of two versions never meet.
    pub version: u64,
    /// Length of every piece but the last, in bytes.
    pub piece_bytes: u64,
    /// Length of the whole object, in bytes.
    pub length: u64,
    /// What upstream must still have for a piece to be one of this version.
    validator: Validator,
}

/// The bytes of one piece, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub first: u64,
    pub last: u64,
}

/// RFC 9110, 13.1.5: what `If-Range` may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Validator {
    /// A strong one.
    Etag(Bytes),
    LastModified(Bytes),
}

impl Layout {
    /// For a whole answer to an ordinary request. `None` where upstream does not say that it gives ranges, or has no
    /// validator that would tell one version from the next.
    pub fn of(headers: &HeaderMap, length: u64, version: u64, piece_bytes: u64) -> Option<Self> {
        let ranges = |value: &HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"bytes");
        if !headers.get(header::ACCEPT_RANGES).is_some_and(ranges) {
            return None;
        }
        Some(Self { version, piece_bytes, length, validator: Validator::of(headers)? })
    }

    /// As it was before; `validator` is an entity tag if so said, else a date.
    pub fn known(version: u64, piece_bytes: u64, length: u64, (etag, validator): (bool, Bytes)) -> Self {
        let validator = if etag { Validator::Etag(validator) } else { Validator::LastModified(validator) };
        Self { version, piece_bytes, length, validator }
    }

    /// Whether it is an entity tag that tells this version, and which one; else it is a date.
    pub fn validator(&self) -> (bool, &Bytes) {
        match &self.validator {
            Validator::Etag(etag) => (true, etag),
            Validator::LastModified(date) => (false, date),
        }
    }

    /// How many pieces there are.
    pub fn count(&self) -> u64 {
        self.length.div_ceil(self.piece_bytes)
    }

    pub fn piece(&self, index: u64) -> Option<Piece> {
        let first = index.checked_mul(self.piece_bytes).filter(|first| *first < self.length)?;
        Some(Piece { first, last: (first + self.piece_bytes).min(self.length) - 1 })
    }

    /// The piece that holds a byte.
    pub fn index_of(&self, byte: u64) -> u64 {
        byte / self.piece_bytes
    }

    /// The key of a piece of the object with that key.
    pub fn key(&self, key: &str, index: u64) -> String {
        format!("{key}{PIECE}{:x}.{index}", self.version)
    }

    /// The fields of a request for a piece.
    pub fn conditions(&self, piece: Piece) -> Vec<(HeaderName, Bytes)> {
        let (_, validator) = self.validator();
        let range = format!("bytes={}-{}", piece.first, piece.last);
        vec![(header::RANGE, Bytes::from(range)), (header::IF_RANGE, validator.clone())]
    }

    /// Whether an answer is that piece of this version, byte for byte.
    pub fn is_answer(&self, piece: Piece, status: StatusCode, headers: &HeaderMap) -> bool {
        let Piece { first, last } = piece;
        let range = format!("bytes {first}-{last}/{}", self.length);
        let named = headers.get(header::CONTENT_RANGE).is_some_and(|value| value.as_bytes() == range.as_bytes());
        // A server that heeds If-Range need not repeat the validator (RFC 9110, 15.3.7); one that does must repeat it right.
        let (etag, expected) = self.validator();
        let name = if etag { header::ETAG } else { header::LAST_MODIFIED };
        let same = headers.get(name).is_none_or(|value| value.as_bytes() == &expected[..]);
        status == StatusCode::PARTIAL_CONTENT && named && same
    }
}

impl Piece {
    /// What is left of it after so many bytes.
    pub fn after(self, bytes: u64) -> Option<Self> {
        let first = self.first.checked_add(bytes).filter(|first| *first <= self.last)?;
        Some(Self { first, ..self })
    }

    pub fn length(self) -> u64 {
        self.last - self.first + 1
    }
}

impl Validator {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let value = |name| headers.get(name).map(|value: &HeaderValue| Bytes::copy_from_slice(value.as_bytes()));
        match value(header::ETAG) {
            Some(etag) if etag.starts_with(b"\"") => Some(Self::Etag(etag)),
            _ => value(header::LAST_MODIFIED).filter(|_| has_strong_date(headers)).map(Self::LastModified),
        }
    }
}

/// RFC 9110, 8.8.2.2: a date tells versions apart only where the answer was made at least a second later.
fn has_strong_date(headers: &HeaderMap) -> bool {
    let date = |name| httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok();
    let dates = date(header::DATE).zip(date(header::LAST_MODIFIED));
    dates.is_some_and(|(made, modified)| made >= modified + Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    const RANGES: (&str, &str) = ("accept-ranges", "bytes");

    #[test]
    fn pieces_cover_the_object_once() {
        for (length, piece_bytes) in [(1, 4), (4, 4), (5, 4), (8, 4), (100, 7), (u64::MAX, u64::MAX / 3)] {
            let layout = Layout::of(&headers(&[RANGES, ("etag", "\"v\"")]), length, 1, piece_bytes).unwrap();
            let mut next = 0;
            for index in 0..layout.count() {
                let piece = layout.piece(index).unwrap();
                assert_eq!(
                    (piece.first, layout.index_of(piece.first), layout.index_of(piece.last)),
                    (next, index, index)
                );
                next = piece.last + 1;
            }
            assert_eq!((next, layout.piece(layout.count())), (length, None), "{length} in {piece_bytes}");
        }
    }

    #[test]
    fn what_upstream_does_not_name_surely_is_not_cut() {
        let date = ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");
        let (same, later) = (("date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("date", "Sun, 06 Nov 1994 08:49:38 GMT"));
        for (fields, cut) in [
            (&[RANGES, ("etag", "\"v\"")][..], true),
            (&[RANGES, date, later], true),
            (&[RANGES, ("etag", "W/\"v\""), date, later], true),
            (&[RANGES, date, same], false),
            (&[RANGES, date], false),
            (&[RANGES, ("etag", "W/\"v\"")], false),
            (&[RANGES], false),
            (&[("etag", "\"v\"")], false),
            (&[("accept-ranges", "none"), ("etag", "\"v\"")], false),
        ] {
            assert_eq!(Layout::of(&headers(fields), 100, 1, 10).is_some(), cut, "{fields:?}");
        }
    }

    #[test]
    fn only_that_piece_of_that_version_is_taken() {
        let layout = Layout::of(&headers(&[RANGES, ("etag", "\"v\"")]), 100, 0xab, 40).unwrap();
        let piece = layout.piece(2).unwrap();
        assert_eq!(layout.key("/a", 2), "/a\u{0}ab.2");
        let asked: Vec<_> = layout.conditions(piece).into_iter().map(|(_, value)| value).collect();
        assert_eq!(asked, [&b"bytes=80-99"[..], b"\"v\""]);
        let range = ("content-range", "bytes 80-99/100");
        for (status, fields, taken) in [
            (206, &[range][..], true),
            (206, &[range, ("etag", "\"v\"")], true),
            (206, &[range, ("etag", "\"w\"")], false),
            (206, &[("content-range", "bytes 80-99/101")], false),
            (206, &[("content-range", "bytes 80-98/100")], false),
            (206, &[("content-range", "bytes 80-99/*")], false),
            (206, &[], false),
            (200, &[range], false),
            (416, &[("content-range", "bytes */50")], false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(layout.is_answer(piece, status, &headers(fields)), taken, "{status} {fields:?}");
        }
    }
}
