//! How an answer that broke off is continued by another one: what to ask for, and whether the two are one object.
//!
//! **Readers get bytes of one version, or an error.** The rest is asked for with some bytes that are there already, and
//! these must agree, as must the length and the entity tag; what does not agree is not used. Pure.

use bytes::{Buf, Bytes};
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName};

/// What is there of an object whose answer broke off.
#[derive(Debug)]
pub struct Torn {
    chunks: Vec<Bytes>,
    bytes: u64,
    /// Length of the whole, where it is known.
    length: Option<u64>,
    etag: Option<Bytes>,
}

/// Where the next answer joins: what of it is there already, and has to agree.
#[derive(Debug)]
pub struct Joint {
    known: Vec<Bytes>,
    at: usize,
    /// Length of the whole, where it is known.
    pub length: Option<u64>,
}

/// The two answers are not the same object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    #[error("its status is {0}")]
    Status(StatusCode),
    #[error("it is another range than the one asked for")]
    Range,
    #[error("its length is another one")]
    Length,
    #[error("its entity tag is another one")]
    Tag,
    #[error("its bytes are other ones")]
    Bytes,
}

/// The last byte of a range that goes on to the end of an object that grows (RFC 8673): 2^53 - 1.
const GROWING: u64 = 9_007_199_254_740_991;
/// Asked for again and compared. Two versions of a media object that agree in length and in so many bytes of compressed
/// sound or picture are the same.
const OVERLAP: u64 = 1024;

impl Torn {
    /// `chunks` from the first byte on.
    pub fn new(chunks: Vec<Bytes>, length: Option<u64>, etag: Option<Bytes>) -> Self {
        let bytes = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        Self { chunks, bytes, length, etag }
    }

    /// The fields of the request for the rest (RFC 9110, 14.2 and 13.1.5).
    pub fn fields(&self) -> Vec<(HeaderName, Bytes)> {
        let range = (header::RANGE, Bytes::from(format!("bytes={}-", self.first())));
        let condition = self.strong_etag().map(|etag| (header::IF_RANGE, etag.clone()));
        std::iter::once(range).chain(condition).collect()
    }

    /// Whether an answer to that request continues this one.
    ///
    /// # Errors
    /// What does not agree.
    pub fn joint(&self, status: StatusCode, headers: &HeaderMap) -> Result<Joint, Mismatch> {
        self.tag_agrees(headers)?;
        let (first, length) = match status {
            StatusCode::PARTIAL_CONTENT => {
                let (first, last, length) = content_range(headers).ok_or(Mismatch::Range)?;
                if first != self.first() || last != length.map_or(Some(GROWING), |length| length.checked_sub(1)) {
                    return Err(Mismatch::Range);
                }
                (first, length)
            }
            // It cannot give ranges, or has not got all itself yet: then all of it comes, and all of it is compared.
            StatusCode::OK => (0, number(headers, header::CONTENT_LENGTH)),
            status => return Err(Mismatch::Status(status)),
        };
        match (length, self.length) {
            (Some(said), Some(known)) if said != known => return Err(Mismatch::Length),
            (Some(said), None) if said < self.bytes => return Err(Mismatch::Length),
            _ => {}
        }
        Ok(Joint { known: self.from(first), at: 0, length: length.or(self.length) })
    }

    fn first(&self) -> u64 {
        self.bytes.saturating_sub(OVERLAP)
    }

    fn from(&self, first: u64) -> Vec<Bytes> {
        let mut skip = first;
        let mut known = Vec::new();
        for chunk in &self.chunks {
            let skipped = skip.min(chunk.len() as u64);
            skip -= skipped;
            known.push(chunk.slice(skipped as usize..));
        }
        known
    }

    fn strong_etag(&self) -> Option<&Bytes> {
        self.etag.as_ref().filter(|etag| !etag.starts_with(b"W/"))
    }

    fn tag_agrees(&self, headers: &HeaderMap) -> Result<(), Mismatch> {
        let said = headers.get(header::ETAG).map(|value| value.as_bytes());
        let agrees = match (self.etag.as_deref(), said) {
            (Some(known), Some(said)) => known == said,
            (Some(_), None) => self.strong_etag().is_none(),
            (None, _) => true,
        };
        if agrees { Ok(()) } else { Err(Mismatch::Tag) }
    }
}

impl Joint {
    /// Of the first answer, which joins nothing.
    pub fn whole(length: Option<u64>) -> Self {
        Self { known: Vec::new(), at: 0, length }
    }

    /// Of another whole answer, all of which is to agree with what is there.
    pub fn again(known: Vec<Bytes>, length: u64) -> Self {
        Self { known, at: 0, length: Some(length) }
    }

    /// Takes the next bytes of the answer; returns what of them is new.
    ///
    /// # Errors
    /// If they differ from what is there.
    pub fn take(&mut self, mut bytes: Bytes) -> Result<Bytes, Mismatch> {
        while let Some(known) = self.known.get_mut(self.at) {
            let count = known.len().min(bytes.len());
            if known[..count] != bytes[..count] {
                return Err(Mismatch::Bytes);
            }
            known.advance(count);
            bytes.advance(count);
            if !known.is_empty() {
                break;
            }
            self.at += 1;
        }
        Ok(bytes)
    }

    /// Whether all that is there already has been found to agree.
    pub fn is_compared(&self) -> bool {
        self.known[self.at..].iter().all(Bytes::is_empty)
    }

    /// Whether the object is whole at the end of the answer, with so many bytes.
    pub fn is_whole(&self, bytes: u64) -> bool {
        self.is_compared() && self.length.is_none_or(|length| length == bytes)
    }
}

/// `bytes FIRST-LAST/LENGTH` (RFC 9110, 14.4), where the length may be `*`.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>, Option<u64>)> {
    let text = headers.get(header::CONTENT_RANGE)?.to_str().ok()?.trim().strip_prefix("bytes ")?;
    let (range, length) = text.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let length = if length.trim() == "*" { None } else { Some(length.trim().parse().ok()?) };
    Some((first.trim().parse().ok()?, Some(last.trim().parse().ok()?), length))
}

fn number(headers: &HeaderMap, name: HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &Bytes) -> &str {
        std::str::from_utf8(value).unwrap()
    }

    fn object() -> Vec<u8> {
        (0..5000_u32).map(|at| (at * 7 % 251) as u8).collect()
    }

    /// The first `bytes` of the object, in chunks of 700.
    fn torn(bytes: usize, length: Option<u64>, etag: Option<&'static str>) -> Torn {
        let chunks = object()[..bytes].chunks(700).map(Bytes::copy_from_slice).collect();
        Torn::new(chunks, length, etag.map(Bytes::from))
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn answered(torn: &Torn, status: u16, pairs: &[(&'static str, &str)]) -> Result<Joint, Mismatch> {
        torn.joint(StatusCode::from_u16(status).unwrap(), &headers(pairs))
    }

    /// What the joint lets through of an answer that comes in pieces of `size`.
    fn rest(mut joint: Joint, answer: &[u8], size: usize) -> Result<Vec<u8>, Mismatch> {
        let mut out = Vec::new();
        for piece in answer.chunks(size) {
            out.extend_from_slice(&joint.take(Bytes::copy_from_slice(piece))?);
        }
        assert!(joint.is_whole(5000));
        Ok(out)
    }

    #[test]
    fn the_rest_is_asked_for_with_some_bytes_to_compare() {
        let range = |torn: Torn| {
            torn.fields().iter().map(|(name, value)| format!("{name}: {}", text(value))).collect::<Vec<_>>()
        };
        assert_eq!(range(torn(3000, None, None)), ["range: bytes=1976-"]);
        assert_eq!(range(torn(100, None, Some("W/\"a\""))), ["range: bytes=0-"]);
        assert_eq!(range(torn(3000, None, Some("\"a\""))), ["range: bytes=1976-", "if-range: \"a\""]);
    }

    #[test]
    fn a_range_or_the_whole_continues_where_it_broke_off() {
        let object = object();
        for size in [1, 333, 700, 5000] {
            for known in [0, 1, 700, 1023, 1400, 3000, 5000] {
                let torn = torn(known, Some(5000), None);
                let first = known.saturating_sub(1024);
                let range = format!("bytes {first}-4999/5000");
                let joint = answered(&torn, 206, &[("content-range", &range)]).unwrap();
                assert_eq!(rest(joint, &object[first..], size).unwrap(), object[known..], "{size} {known}");
                let joint = answered(&torn, 200, &[("content-length", "5000")]).unwrap();
                assert_eq!(rest(joint, &object, size).unwrap(), object[known..], "{size} {known}");
            }
        }
    }

    #[test]
    fn other_bytes_are_not_joined() {
        let mut other = object();
        other[2500] ^= 1;
        let torn = torn(3000, None, None);
        let joint = answered(&torn, 206, &[("content-range", "bytes 1976-4999/5000")]).unwrap();
        assert_eq!(rest(joint, &other[1976..], 100), Err(Mismatch::Bytes));
        let joint = answered(&torn, 200, &[]).unwrap();
        assert_eq!(rest(joint, &other, 5000), Err(Mismatch::Bytes));
    }

    #[test]
    fn an_answer_that_ends_within_what_is_known_is_seen() {
        let mut joint = answered(&torn(3000, None, None), 200, &[]).unwrap();
        joint.take(Bytes::from(object()[..2999].to_vec())).unwrap();
        assert!(!joint.is_whole(3000));
    }

    #[test]
    fn what_does_not_agree_is_told() {
        use Mismatch::{Length, Range, Status, Tag};
        let good = "bytes 1976-4999/5000";
        for (length, etag, status, fields, expected) in [
            (Some(5000), None, 206, &[("content-range", "bytes 1976-5999/6000")][..], Length),
            (Some(5000), None, 200, &[("content-length", "4999")], Length),
            (None, None, 200, &[("content-length", "2999")], Length),
            (None, None, 206, &[("content-range", "bytes 1975-4999/5000")], Range),
            (None, None, 206, &[("content-range", "bytes 1976-4998/5000")], Range),
            (None, None, 206, &[("content-range", "bytes 1976-4999/*")], Range),
            (None, None, 206, &[("content-range", "bytes 1976-18446744073709551615/0")], Range),
            (Some(5000), None, 206, &[("content-range", "bytes 1976-4998/*")], Range),
            (None, None, 206, &[("content-range", "seconds 1-2/3")], Range),
            (None, None, 206, &[], Range),
            (None, Some("\"a\""), 206, &[("content-range", good), ("etag", "\"b\"")], Tag),
            (None, Some("\"a\""), 206, &[("content-range", good)], Tag),
            (None, Some("W/\"a\""), 200, &[("etag", "W/\"b\"")], Tag),
            (None, None, 404, &[], Status(StatusCode::NOT_FOUND)),
            (None, None, 416, &[("content-range", "bytes */3000")], Status(StatusCode::RANGE_NOT_SATISFIABLE)),
        ] {
            let told = answered(&torn(3000, length, etag), status, fields).map(|_| ());
            assert_eq!(told, Err(expected), "{status} {fields:?}");
        }
        let agreed = [("content-range", good), ("etag", "\"a\"")];
        assert_eq!(answered(&torn(3000, None, Some("\"a\"")), 206, &agreed).unwrap().length, Some(5000));
        assert!(answered(&torn(3000, None, Some("W/\"a\"")), 206, &agreed[..1]).is_ok());
        assert!(answered(&torn(3000, None, None), 206, &agreed).is_ok());
        let growing = [("content-range", "bytes 1976-9007199254740991/*")];
        assert_eq!(answered(&torn(3000, Some(5000), None), 206, &growing).unwrap().length, Some(5000));
        assert_eq!(answered(&torn(3000, None, None), 206, &growing).unwrap().length, None);
    }
}
