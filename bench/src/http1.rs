//! As much of HTTP/1.1 as the bench's own tools need: heads of requests and answers, bodies with a length or in chunks.

use std::collections::BTreeMap;

mod chunks;

use chunks::Chunks;

/// More than any head that a server under test writes, or any request that it sends upstream.
pub(crate) const HEAD_BYTES_MAX: usize = 16 << 10;
const FIELDS_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HttpError {
    Malformed,
    HeadTooLong,
    /// Without a length or chunks nobody can know that an answer is whole.
    NoLength,
}

impl std::fmt::Display for HttpError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Malformed => "not HTTP/1.1",
            Self::HeadTooLong => "head over 16 KiB",
            Self::NoLength => "neither Content-Length nor chunks",
        })
    }
}

impl std::error::Error for HttpError {}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    /// How many bytes the head took.
    pub(crate) bytes: usize,
}

/// Reads the head of a request; `None` while it is not whole. Requests here have no body.
pub(crate) fn request(bytes: &[u8]) -> Result<Option<Request>, HttpError> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut fields);
    let status = parsed.parse(bytes).map_err(|_| HttpError::Malformed)?;
    match (status, parsed.method, parsed.path) {
        (httparse::Status::Complete(bytes), Some(method), Some(target)) => {
            Ok(Some(Request { method: method.to_owned(), target: target.to_owned(), bytes }))
        }
        _ if bytes.len() > HEAD_BYTES_MAX => Err(HttpError::HeadTooLong),
        _ => Ok(None),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    head_bytes: usize,
    framing: Framing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
}

fn head(bytes: &[u8]) -> Result<Option<Head>, HttpError> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut fields);
    let status = parsed.parse(bytes).map_err(|_| HttpError::Malformed)?;
    let (httparse::Status::Complete(head_bytes), Some(status)) = (status, parsed.code) else {
        return if bytes.len() > HEAD_BYTES_MAX { Err(HttpError::HeadTooLong) } else { Ok(None) };
    };
    let value = |name: &str| {
        let field = parsed.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
        Some(std::str::from_utf8(field.value).ok()?.trim())
    };
    let framing = match value("transfer-encoding") {
        Some(coding) if coding.eq_ignore_ascii_case("chunked") => Framing::Chunked,
        _ => {
            Framing::Length(value("content-length").and_then(|length| length.parse().ok()).ok_or(HttpError::NoLength)?)
        }
    };
    Ok(Some(Head { status, head_bytes, framing }))
}

/// An answer as it comes in.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// As they came; of a body in chunks only the head.
    bytes: Vec<u8>,
    head: Option<Head>,
    chunks: Chunks,
    /// Bytes of the body that were looked at and let go.
    drained: usize,
}

impl Answer {
    /// Takes bytes in; true once the answer is whole.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<bool, HttpError> {
        if let Some(Head { framing: Framing::Chunked, .. }) = self.head {
            return self.chunks.push(bytes);
        }
        self.bytes.extend_from_slice(bytes);
        if self.head.is_none() {
            self.head = head(&self.bytes)?;
            if let Some(Head { framing: Framing::Chunked, head_bytes, .. }) = self.head {
                let body = self.bytes.split_off(head_bytes);
                return self.chunks.push(&body);
            }
        }
        Ok(self.head.is_some_and(|head| match head.framing {
            Framing::Length(length) => self.bytes.len() + self.drained >= head.head_bytes.saturating_add(length),
            Framing::Chunked => false,
        }))
    }

    /// Forgets the answer and keeps its memory for the next one.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.head = None;
        self.chunks.clear();
        self.drained = 0;
    }

    /// Lets go of what of the body is here; the next look shows what comes after it.
    pub(crate) fn drain(&mut self) {
        let head_bytes = self.head_bytes();
        match self.head {
            Some(Head { framing: Framing::Chunked, .. }) => self.chunks.drain(),
            Some(_) => {
                self.drained += self.bytes.len() - head_bytes;
                self.bytes.truncate(head_bytes);
            }
            None => {}
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// 0 while the head is not whole.
    pub(crate) fn status(&self) -> u16 {
        self.head.map_or(0, |head| head.status)
    }

    pub(crate) fn head_bytes(&self) -> usize {
        self.head.map_or(0, |head| head.head_bytes)
    }

    pub(crate) fn body(&self) -> &[u8] {
        match self.head {
            Some(Head { framing: Framing::Chunked, .. }) => self.chunks.body(),
            Some(_) => self.bytes.get(self.head_bytes()..).unwrap_or_default(),
            None => &[],
        }
    }

    /// Header fields, names in lower case.
    pub(crate) fn fields(&self) -> BTreeMap<String, String> {
        let head = String::from_utf8_lossy(self.bytes.get(..self.head_bytes()).unwrap_or_default());
        let field = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        head.lines().skip(1).filter_map(field).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\ncontent-length: 3\r\n\r\nabc";

    #[test]
    fn a_request_is_read_when_it_is_whole() {
        let bytes = b"GET /a?b=1 HTTP/1.1\r\nHost: h\r\n\r\nGET";
        for cut in 0..bytes.len() - 3 {
            assert_eq!(request(&bytes[..cut]), Ok(None), "{cut}");
        }
        let expected = Request { method: "GET".to_owned(), target: "/a?b=1".to_owned(), bytes: bytes.len() - 3 };
        assert_eq!(request(bytes), Ok(Some(expected)));
        assert_eq!(request(b"\x01\x02 x"), Err(HttpError::Malformed));
        let long = format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(HEAD_BYTES_MAX));
        assert_eq!(request(long.as_bytes()), Err(HttpError::HeadTooLong));
    }

    #[test]
    fn an_answer_is_whole_at_its_last_byte_however_it_is_cut() {
        for cut in 1..ANSWER.len() {
            let mut answer = Answer::default();
            assert_eq!(answer.push(&ANSWER[..cut]), Ok(false), "{cut}");
            assert_eq!(answer.push(&ANSWER[cut..]), Ok(true), "{cut}");
            assert_eq!((answer.status(), answer.body()), (200, b"abc".as_slice()));
            assert_eq!(answer.fields()["content-type"], "a/b");
            answer.clear();
            assert!(answer.is_empty() && answer.push(ANSWER) == Ok(true));
        }
    }

    #[test]
    fn what_is_drained_counts_and_is_not_kept() {
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        for bytes in [ANSWER, chunked] {
            for cut in 1..bytes.len() {
                let (mut answer, mut body) = (Answer::default(), Vec::new());
                for (part, whole) in [(&bytes[..cut], false), (&bytes[cut..], true)] {
                    assert_eq!(answer.push(part), Ok(whole), "{cut}");
                    body.extend_from_slice(answer.body());
                    answer.drain();
                }
                assert_eq!((body.as_slice(), answer.body()), (b"abc".as_slice(), b"".as_slice()), "{cut}");
            }
        }
    }

    #[test]
    fn an_answer_without_length_is_refused() {
        let mut answer = Answer::default();
        assert_eq!(answer.push(b"HTTP/1.1 200 OK\r\n\r\n"), Err(HttpError::NoLength));
    }

    #[test]
    fn chunks_are_put_together_however_they_are_cut() {
        let bytes =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nt: u\r\n\r\n";
        for cut in 1..bytes.len() {
            let mut answer = Answer::default();
            assert_eq!(answer.push(&bytes[..cut]), Ok(false), "{cut}");
            assert_eq!(answer.push(&bytes[cut..]), Ok(true), "{cut}");
            assert_eq!((answer.status(), answer.body()), (200, b"abcde".as_slice()));
        }
    }

    #[test]
    fn damaged_answers_never_panic() {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..20_000 {
            let mut bytes = ANSWER.to_vec();
            for _ in 0..3 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (state >> 33) as usize % bytes.len();
                bytes[at] = (state >> 24) as u8;
            }
            let mut answer = Answer::default();
            let _ = answer.push(&bytes);
            let _ = (answer.body(), answer.fields(), request(&bytes));
        }
    }
}
