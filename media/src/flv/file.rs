//! FLV files (Adobe FLV 10.1, annex E): a header, then tags, each followed by its size. Pure.

use bytes::{Buf, Bytes};

/// The tags of a file, in its order. What is cut off at the end is none.
#[derive(Clone, Debug)]
pub struct Tags {
    rest: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    pub kind: TagKind,
    /// Decoding time, in milliseconds.
    pub timestamp_ms: u32,
    /// As [`super::VideoTags`] and [`super::AudioTag`] read it.
    pub payload: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagKind {
    Audio,
    Video,
    /// Script data, or nothing that is known.
    Other,
}

/// The file does not begin as FLV does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the file is no FLV; make one with ffmpeg -f flv")]
pub struct NoFlv;

/// Of a tag, before its payload; after that its size follows in four bytes more.
const TAG_HEADER_BYTES: usize = 11;
const TAG_SIZE_BYTES: usize = 4;

impl Tags {
    pub fn of(mut file: Bytes) -> Result<Self, NoFlv> {
        if !file.starts_with(b"FLV\x01") || file.len() < 9 {
            return Err(NoFlv);
        }
        file.advance(5);
        // E.2: where the body begins, counted from the file's start.
        let offset = file.get_u32() as usize;
        let body = offset.checked_sub(9).and_then(|more| more.checked_add(TAG_SIZE_BYTES)).ok_or(NoFlv)?;
        if file.len() < body {
            return Err(NoFlv);
        }
        file.advance(body);
        Ok(Self { rest: file })
    }
}

impl Iterator for Tags {
    type Item = Tag;

    fn next(&mut self) -> Option<Tag> {
        if self.rest.len() < TAG_HEADER_BYTES {
            return None;
        }
        let kind = match self.rest.get_u8() & 0x1F {
            8 => TagKind::Audio,
            9 => TagKind::Video,
            _ => TagKind::Other,
        };
        let size = self.rest.get_uint(3) as usize;
        let low = self.rest.get_uint(3) as u32;
        let timestamp_ms = u32::from(self.rest.get_u8()) << 24 | low;
        self.rest.advance(3);
        if self.rest.len() < size {
            self.rest.clear();
            return None;
        }
        let payload = self.rest.split_to(size);
        self.rest.advance(TAG_SIZE_BYTES.min(self.rest.len()));
        Some(Tag { kind, timestamp_ms, payload })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] = b"FLV\x01\x05\0\0\0\x09\0\0\0\0";
    const TAG: &[u8] = b"\x09\0\0\x03\x01\x02\x03\x04\0\0\0abc\0\0\0\x0e";

    fn tags(file: &[&[u8]]) -> Result<Vec<Tag>, NoFlv> {
        Tags::of(Bytes::from(file.concat())).map(Iterator::collect)
    }

    #[test]
    fn tags_are_read_and_one_that_is_cut_off_is_none() {
        let tag = Tag { kind: TagKind::Video, timestamp_ms: 0x0401_0203, payload: Bytes::from_static(b"abc") };
        assert_eq!(tags(&[HEADER, TAG, TAG]), Ok(vec![tag.clone(), tag.clone()]));
        assert_eq!(tags(&[HEADER]), Ok(Vec::new()));
        let file = [HEADER, TAG].concat();
        for cut in HEADER.len()..file.len() - TAG_SIZE_BYTES {
            assert_eq!(tags(&[&file[..cut]]), Ok(Vec::new()), "{cut}");
        }
        assert_eq!(tags(&[&file[..file.len() - 1]]), Ok(vec![tag]));
    }

    #[test]
    fn what_does_not_begin_as_flv_is_refused() {
        for file in [
            &b""[..],
            b"FLV",
            b"FLV\x01\x05\0\0\0\x08\0\0\0\0",
            b"FLV\x01\x05\xff\xff\xff\xff\0\0\0\0",
            b"ftypisom.....",
        ] {
            assert_eq!(tags(&[file]), Err(NoFlv), "{file:?}");
        }
    }
}
