//! An object that the bench origin lets grow: which one a path names, and the bytes of each piece. Pure.

use bytes::{BufMut, Bytes, BytesMut};
use std::time::Duration;

const FOLDER: &str = "/live/bench/grow/";
/// From the first request to the first piece, so that every reader has asked by then.
const LEAD: Duration = Duration::from_millis(700);
/// No case needs a longer one.
const BYTES_MAX: usize = 16 << 20;

/// How an object grows, and how it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Growth {
    pub(crate) pieces: u32,
    pub(crate) piece_bytes: usize,
    pub(crate) period_ms: u64,
    /// The connection is closed after so many pieces; 0: never.
    pub(crate) dies_after: u32,
    /// Without a length, as live media is sent.
    pub(crate) chunked: bool,
}

impl Growth {
    /// The path of one such object, told from others of its kind by `name`.
    pub(crate) fn path(&self, name: &str) -> String {
        let Self { pieces, piece_bytes, period_ms, dies_after, chunked } = self;
        let framing = if *chunked { "chunked" } else { "sized" };
        format!("{FOLDER}{pieces}/{piece_bytes}/{period_ms}/{dies_after}/{framing}/{name}.m4s")
    }

    pub(crate) fn from_path(path: &str) -> Option<Self> {
        let mut names = path.strip_prefix(FOLDER)?.split('/');
        let mut number = || names.next()?.parse::<u64>().ok();
        let (pieces, piece_bytes, period_ms, dies_after) = (number()?, number()?, number()?, number()?);
        let growth = Self {
            pieces: u32::try_from(pieces).ok()?,
            piece_bytes: usize::try_from(piece_bytes).ok()?,
            period_ms,
            dies_after: u32::try_from(dies_after).ok()?,
            chunked: names.next()? == "chunked",
        };
        let bytes = growth.piece_bytes.checked_mul(usize::try_from(growth.pieces).ok()?)?;
        (growth.pieces > 0 && (1..=BYTES_MAX).contains(&bytes)).then_some(growth)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.piece_bytes * self.pieces as usize
    }

    /// When piece `index` is there, after the first request.
    pub(crate) fn due(&self, index: u32) -> Duration {
        LEAD + Duration::from_millis(self.period_ms * u64::from(index))
    }

    pub(crate) fn head(&self) -> Bytes {
        let framing = match self.chunked {
            true => "transfer-encoding: chunked".to_owned(),
            false => format!("content-length: {}", self.bytes()),
        };
        Bytes::from(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: video/iso.segment\r\n{framing}\r\n\
             cache-control: public, max-age=31536000, immutable\r\n\r\n"
        ))
    }

    /// One piece as it is written. The last one of a chunked body brings the end with it.
    pub(crate) fn piece(&self, index: u32) -> Bytes {
        let body = self.body(index);
        if !self.chunked {
            return Bytes::from(body);
        }
        let mut out = BytesMut::with_capacity(body.len() + 32);
        out.put_slice(format!("{:x}\r\n", body.len()).as_bytes());
        out.put_slice(&body);
        out.put_slice(if index + 1 == self.pieces { b"\r\n0\r\n\r\n" } else { b"\r\n" });
        out.freeze()
    }

    /// What the bytes of a piece are.
    pub(crate) fn body(&self, index: u32) -> Vec<u8> {
        let start = index as usize * self.piece_bytes;
        (start..start + self.piece_bytes).map(|at| (at * 31 + at / 251) as u8).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROWTH: Growth = Growth { pieces: 3, piece_bytes: 300, period_ms: 100, dies_after: 2, chunked: true };

    #[test]
    fn a_path_says_how_its_object_grows() {
        assert_eq!(Growth::from_path(&GROWTH.path("x")), Some(GROWTH));
        let sized = Growth { chunked: false, ..GROWTH };
        assert_eq!(Growth::from_path(&sized.path("x")), Some(sized));
        for path in
            ["/live/bench/grow/", "/live/bench/grow/0/1/1/0/sized/x", "/live/bench/grow/99999/99999/1/0/sized/x"]
        {
            assert_eq!(Growth::from_path(path), None, "{path}");
        }
    }

    #[test]
    fn pieces_are_framed_as_the_head_says() {
        assert!(GROWTH.piece(0).starts_with(b"12c\r\n") && GROWTH.piece(1).ends_with(b"\r\n"));
        assert!(GROWTH.piece(2).ends_with(b"\r\n0\r\n\r\n") && !GROWTH.piece(1).ends_with(b"0\r\n\r\n"));
        let sized = Growth { chunked: false, ..GROWTH };
        assert_eq!(sized.piece(1), sized.body(1));
        assert!(String::from_utf8_lossy(&sized.head()).contains("content-length: 900\r\n"));
        assert_eq!(sized.due(2) - sized.due(0), Duration::from_millis(200));
    }
}
