//! Texts that are sent often: in pieces that versions share, each compressed once.

use bytes::Bytes;
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};
use std::io::{self, Write};
use std::sync::{Arc, OnceLock};

/// A playlist or an MPD, ready to be sent.
#[derive(Debug)]
pub(crate) struct Text {
    pieces: Vec<Arc<Piece>>,
    gzip: OnceLock<Vec<Bytes>>,
}

/// Some of a text, that other texts may have too.
#[derive(Debug)]
pub(crate) struct Piece {
    text: Bytes,
    packed: OnceLock<Packed>,
}

#[derive(Debug)]
struct Packed {
    /// Blocks of DEFLATE that refer to nothing before them and end on a byte: others may follow.
    deflate: Bytes,
    crc: Crc,
}

/// A member's header without name and time (RFC 1952, 2.3).
const GZIP_HEAD: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// The last block of DEFLATE, empty (RFC 1951, 3.2.3).
const DEFLATE_END: &[u8] = &[3, 0];

impl Text {
    pub(crate) fn new(text: impl Into<Bytes>) -> Self {
        Self::of([Piece::new(text)])
    }

    pub(crate) fn of(pieces: impl IntoIterator<Item = Arc<Piece>>) -> Self {
        let pieces = pieces.into_iter().filter(|piece| !piece.text.is_empty()).collect();
        Self { pieces, gzip: OnceLock::new() }
    }

    pub(crate) fn plain(&self) -> Vec<Bytes> {
        self.pieces.iter().map(|piece| piece.text.clone()).collect()
    }

    /// `None` if it cannot be compressed, which writing to memory does not let happen.
    pub(crate) fn gzip(&self) -> Option<Vec<Bytes>> {
        if let Some(gzip) = self.gzip.get() {
            return Some(gzip.clone());
        }
        let mut crc = Crc::new();
        let mut out = vec![Bytes::from_static(GZIP_HEAD)];
        for piece in &self.pieces {
            let packed = piece.packed()?;
            crc.combine(&packed.crc);
            out.push(packed.deflate.clone());
        }
        let end = [DEFLATE_END, &crc.sum().to_le_bytes(), &crc.amount().to_le_bytes()].concat();
        out.push(end.into());
        Some(self.gzip.get_or_init(|| out).clone())
    }

    #[cfg(test)]
    pub(crate) fn identity(&self) -> Bytes {
        self.plain().concat().into()
    }
}

impl Piece {
    pub(crate) fn new(text: impl Into<Bytes>) -> Arc<Self> {
        Arc::new(Self { text: text.into(), packed: OnceLock::new() })
    }

    fn packed(&self) -> Option<&Packed> {
        if self.packed.get().is_none() {
            let packed = pack(&self.text).ok()?;
            return Some(self.packed.get_or_init(|| packed));
        }
        self.packed.get()
    }
}

fn pack(text: &[u8]) -> io::Result<Packed> {
    let mut encoder = DeflateEncoder::new(Vec::with_capacity(text.len() / 4 + 64), Compression::default());
    encoder.write_all(text)?;
    encoder.flush()?;
    let deflate = std::mem::take(encoder.get_mut()).into();
    let mut crc = Crc::new();
    crc.update(text);
    Ok(Packed { deflate, crc })
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read;

    #[test]
    fn pieces_that_are_compressed_apart_are_one_text() {
        let shared = Piece::new("#EXTINF:2.00000,\nsegment.m4s\n".repeat(5000));
        for texts in [vec![], vec!["a"], vec!["first\n", "", "second\n"]] {
            let pieces = texts.iter().map(|text| Piece::new(*text)).chain([shared.clone(), shared.clone()]);
            let text = Text::of(pieces);
            let mut read = Vec::new();
            GzDecoder::new(&*text.gzip().unwrap().concat()).read_to_end(&mut read).unwrap();
            assert_eq!(read, text.identity());
        }
        assert!(shared.packed().unwrap().deflate.len() < 5000);
    }

    #[test]
    fn what_texts_share_is_compressed_once() {
        let shared = Piece::new("shared");
        let gzips = ["a", "b"].map(|text| Text::of([Piece::new(text), shared.clone()]).gzip().unwrap());
        assert_eq!(gzips[0][2].as_ptr(), gzips[1][2].as_ptr());
    }
}
