//! What a file on disk says of the object in it, and how its bytes are known to be those that were written.
//!
//! A file is eight bytes that name the format, the length of the head in four, the SHA-256 of the head, the head as JSON,
//! and the body. The head has the SHA-256 of each block of the body: **no byte is used before its block was checked.**
//! Pure.

use crate::key::Class;
use crate::object::{Head, Object, put_lines};
use crate::store::freshness::Lease;
use crate::store::layout::Layout;
use crate::store::purge::{PIECE, Tags};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::AGE;
use http::{HeaderMap, HeaderValue, StatusCode};
use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN, digest};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::time::{Duration, Instant};

/// What is kept on disk, and everything about it that outlives this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub key: String,
    pub class: Class,
    /// Unix time in ms at which the object was as good as new.
    born_ms: u64,
    /// Unix time in ms at which the file was written.
    written_ms: u64,
    /// Of the object, as every answer begins with them.
    fields: Bytes,
    pub tags: Tags,
    /// Of the body in this file, in bytes: none if the object is kept in pieces.
    pub length: u64,
    pub layout: Option<Layout>,
    blocks: Bytes,
}

/// Why the beginning of a file is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It may be one; so many bytes of the file tell.
    Short(usize),
    Torn,
}

/// What is read and checked at once, in bytes: little enough to go out early, enough for a disk to stream.
pub const BLOCK_BYTES: u64 = 256 << 10;
/// The longest header of a file. The fields of an answer are bounded; a GiB has 4096 blocks.
pub const HEADER_BYTES_MAX: usize = 1 << 20;

const FORMAT: &[u8; 8] = b"vivid o1";
const PREFIX_BYTES: usize = FORMAT.len() + 4 + SHA256_OUTPUT_LEN;
/// Longest body of a file, and of an object in pieces.
const LENGTH_MAX: u64 = 1 << 30;
const WHOLE_LENGTH_MAX: u64 = 1 << 53;
/// A clock that was set back by more than this says nothing of how old a file is.
const CLOCK_SLACK_MS: u64 = 60_000;
/// Older than anything that is of use.
const AGELESS_S: u64 = 31_536_000;

/// The head as JSON; what may hold any byte is base64.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    key: String,
    class: String,
    born_ms: u64,
    written_ms: u64,
    fields: String,
    tags: String,
    length: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    layout: Option<SaidLayout>,
    blocks: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SaidLayout {
    version: u64,
    piece_bytes: u64,
    length: u64,
    etag: bool,
    validator: String,
}

impl Header {
    /// Of an object that is about to be written.
    pub fn of(key: &str, object: &Object, now: Instant, now_ms: u64) -> Self {
        let head = &object.head;
        let age = u64::try_from(now.saturating_duration_since(head.born).as_millis()).unwrap_or(u64::MAX);
        Self {
            key: key.to_owned(),
            class: head.class,
            born_ms: now_ms.saturating_sub(age),
            written_ms: now_ms,
            fields: head.fields.clone(),
            tags: head.tags.clone(),
            length: if object.layout.is_some() { 0 } else { object.length },
            layout: object.layout.clone(),
            blocks: hashes(&object.chunks),
        }
    }

    /// The beginning of the file; `None` if there is more to say than a file may.
    pub fn render(&self) -> Option<Bytes> {
        let said = Said {
            key: self.key.clone(),
            class: self.class.label().to_owned(),
            born_ms: self.born_ms,
            written_ms: self.written_ms,
            fields: BASE64_STANDARD.encode(&self.fields),
            tags: self.tags.text().to_owned(),
            length: self.length,
            layout: self.layout.as_ref().map(SaidLayout::of),
            blocks: BASE64_STANDARD.encode(&self.blocks),
        };
        Self::framed(&serde_json::to_vec(&said).ok()?)
    }

    /// The beginning of a file with that head; `None` if it is too long.
    pub fn framed(said: &[u8]) -> Option<Bytes> {
        let length = u32::try_from(said.len()).ok().filter(|_| PREFIX_BYTES + said.len() <= HEADER_BYTES_MAX)?;
        let mut out = BytesMut::with_capacity(PREFIX_BYTES + said.len());
        out.put_slice(FORMAT);
        out.put_u32(length);
        out.put_slice(digest(&SHA256, said).as_ref());
        out.put_slice(said);
        Some(out.freeze())
    }

    /// Reads the beginning of a file; returns how many of its bytes that was too.
    ///
    /// # Errors
    /// What keeps it from being a header.
    pub fn read(file: &[u8]) -> Result<(Self, usize), Unreadable> {
        let prefix = file.get(..PREFIX_BYTES).ok_or(Unreadable::Short(PREFIX_BYTES))?;
        let (format, rest) = prefix.split_at(FORMAT.len());
        let (mut length, sum) = rest.split_at(4);
        let end = PREFIX_BYTES + length.get_u32() as usize;
        if format != FORMAT || end > HEADER_BYTES_MAX {
            return Err(Unreadable::Torn);
        }
        let said = file.get(PREFIX_BYTES..end).ok_or(Unreadable::Short(end))?;
        if digest(&SHA256, said).as_ref() != sum {
            return Err(Unreadable::Torn);
        }
        let said: Said = serde_json::from_slice(said).map_err(|_| Unreadable::Torn)?;
        Ok((said.header().ok_or(Unreadable::Torn)?, end))
    }

    /// The head of the object now: with the age that it has come to, judged by the rules that hold now.
    pub fn head(&self, rules: &config::Cache, now: Instant, now_ms: u64) -> Head {
        let mut fields = HeaderMap::new();
        put_lines(&mut fields, &self.fields);
        fields.insert(AGE, HeaderValue::from(self.age_s(now_ms)));
        let mut head = Head::from_upstream(rules, StatusCode::OK, &fields, self.class, now);
        head.length = Some(self.layout.as_ref().map_or(self.length, |layout| layout.length));
        head.tags = self.tags.clone();
        head.disk = true;
        head
    }

    /// For how long there will be any use for the file.
    pub fn life(&self, rules: &config::Cache, now: Instant, now_ms: u64) -> Duration {
        if self.key.contains(PIECE) {
            // Found only by what is known of the whole, which has a life of its own.
            return Duration::from_secs(AGELESS_S.saturating_sub(self.age_s(now_ms)));
        }
        self.head(rules, now, now_ms).lease.as_ref().map_or(Duration::ZERO, Lease::whole)
    }

    /// Where a block lies in the body; `None` behind the last one.
    pub fn block(&self, index: u64) -> Option<Range<u64>> {
        let first = index.checked_mul(BLOCK_BYTES).filter(|first| *first < self.length)?;
        Some(first..(first + BLOCK_BYTES).min(self.length))
    }

    /// Whether these are the bytes of that block.
    pub fn is_block(&self, index: u64, bytes: &[u8]) -> bool {
        let known = usize::try_from(index).ok().and_then(|index| self.blocks.chunks(SHA256_OUTPUT_LEN).nth(index));
        let whole = self.block(index).is_some_and(|range| range.end - range.start == bytes.len() as u64);
        whole && known.is_some_and(|known| digest(&SHA256, bytes).as_ref() == known)
    }

    fn age_s(&self, now_ms: u64) -> u64 {
        if now_ms.saturating_add(CLOCK_SLACK_MS) < self.written_ms {
            return AGELESS_S;
        }
        now_ms.saturating_sub(self.born_ms).div_ceil(1000)
    }
}

impl Said {
    fn header(self) -> Option<Header> {
        let bytes = |text: &str| BASE64_STANDARD.decode(text).ok().map(Bytes::from);
        let header = Header {
            class: Class::ALL.into_iter().find(|class| class.label() == self.class)?,
            key: self.key,
            born_ms: self.born_ms,
            written_ms: self.written_ms,
            fields: bytes(&self.fields)?,
            tags: Tags::from(self.tags.as_str()),
            length: self.length,
            layout: match self.layout {
                Some(layout) => Some(layout.layout()?),
                None => None,
            },
            blocks: bytes(&self.blocks)?,
        };
        let fits = header.length <= LENGTH_MAX
            && header.blocks.len() as u64 == header.length.div_ceil(BLOCK_BYTES) * SHA256_OUTPUT_LEN as u64;
        fits.then_some(header)
    }
}

impl SaidLayout {
    fn of(layout: &Layout) -> Self {
        let (etag, validator) = layout.validator();
        let validator = BASE64_STANDARD.encode(validator);
        Self { version: layout.version, piece_bytes: layout.piece_bytes, length: layout.length, etag, validator }
    }

    fn layout(self) -> Option<Layout> {
        let validator = Bytes::from(BASE64_STANDARD.decode(&self.validator).ok()?);
        let sound = (1..=LENGTH_MAX).contains(&self.piece_bytes) && self.length <= WHOLE_LENGTH_MAX;
        sound.then(|| Layout::known(self.version, self.piece_bytes, self.length, (self.etag, validator)))
    }
}

/// The SHA-256 of each block, one after the other.
fn hashes(chunks: &[Bytes]) -> Bytes {
    let mut out = BytesMut::new();
    let (mut context, mut room) = (Context::new(&SHA256), BLOCK_BYTES as usize);
    for chunk in chunks {
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            let (part, behind) = rest.split_at(room.min(rest.len()));
            context.update(part);
            (rest, room) = (behind, room - part.len());
            if room == 0 {
                out.put_slice(std::mem::replace(&mut context, Context::new(&SHA256)).finish().as_ref());
                room = BLOCK_BYTES as usize;
            }
        }
    }
    if room < BLOCK_BYTES as usize {
        out.put_slice(context.finish().as_ref());
    }
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> config::Cache {
        config::Config::parse("[edge]\n", []).unwrap().edge.unwrap().cache
    }

    fn object(bytes: usize, fields: &[(&'static str, &str)], now: Instant) -> Object {
        let headers: HeaderMap =
            fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let head = Head::from_upstream(&rules(), StatusCode::OK, &headers, Class::Segment, now);
        let body: Vec<u8> = (0..bytes).map(|at| (at * 7 % 251) as u8).collect();
        Object::new(head.into(), body.chunks(100_001).map(Bytes::copy_from_slice).collect(), now)
    }

    const FIELDS: &[(&str, &str)] =
        &[("cache-control", "max-age=100"), ("etag", "\"v\""), ("cache-tag", "a,b"), ("age", "10"), ("x", "\u{e9}")];

    #[test]
    fn what_is_written_is_read_again() {
        let now = Instant::now();
        for bytes in [0, 1, BLOCK_BYTES as usize, BLOCK_BYTES as usize + 1, 3 * BLOCK_BYTES as usize] {
            let object = object(bytes, FIELDS, now);
            let header = Header::of("/a\u{0}7.1", &object, now, 1_000_000);
            let file = header.render().unwrap();
            assert_eq!(Header::read(&file), Ok((header.clone(), file.len())));
            let body: Vec<u8> = object.chunks.concat();
            let mut index = 0;
            while let Some(range) = header.block(index) {
                let (first, end) = (range.start as usize, range.end as usize);
                assert!(header.is_block(index, &body[first..end]), "block {index} of {bytes}");
                assert!(
                    !header.is_block(index, &body[first..end - 1]) && !header.is_block(index + 1, &body[first..end])
                );
                let mut wrong = body[first..end].to_vec();
                wrong[0] ^= 1;
                assert!(!header.is_block(index, &wrong));
                index += 1;
            }
            assert_eq!(index, (bytes as u64).div_ceil(BLOCK_BYTES));
        }
    }

    #[test]
    fn an_object_is_as_old_as_the_time_between_says() {
        let (now, rules) = (Instant::now(), rules());
        let header = Header::of("/a", &object(3, FIELDS, now), now, 1_000_000);
        let lifetime = |now_ms| header.head(&rules, now, now_ms).lifetime().map(|lifetime| lifetime.as_secs());
        assert_eq!(lifetime(1_000_000), Some(90));
        assert_eq!(lifetime(1_030_001), Some(59), "rounded to be older");
        assert_eq!(lifetime(1_090_000), None);
        assert_eq!(lifetime(999_000), Some(91), "a clock may be corrected by a little");
        assert_eq!(lifetime(900_000), None, "a clock that was set back says nothing");
        let head = header.head(&rules, now, 1_030_000);
        assert_eq!((head.etag.as_deref(), head.length, head.disk), (Some(&b"\"v\""[..]), Some(3), true));
        assert_eq!(head.born, now.checked_sub(Duration::from_secs(40)).unwrap());
        assert!(!head.field("age").is_some_and(|_| true), "Age is told anew");
        // Confirmed by its validator for as long as memory would keep it.
        assert_eq!(header.life(&rules, now, 1_000_000), Duration::from_secs(90) + rules.revalidate);
        assert_eq!(
            header.life(&rules, now, 1_000_000 + 80_000_000),
            rules.revalidate.min(header.life(&rules, now, 81_000_000))
        );
    }

    #[test]
    fn an_object_in_pieces_keeps_its_layout() {
        let now = Instant::now();
        let pairs = [("accept-ranges", "bytes"), ("etag", "\"v\""), ("cache-control", "max-age=100")];
        let headers: HeaderMap =
            pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect();
        let layout = Layout::of(&headers, 1000, 0xab, 64).unwrap();
        let head = Head::from_upstream(&rules(), StatusCode::OK, &headers, Class::Other, now);
        let object = Object::in_pieces(head.into(), layout.clone(), now);
        let header = Header::of("/film", &object, now, 5);
        let (again, _) = Header::read(&header.render().unwrap()).unwrap();
        assert_eq!((again.layout.as_ref(), again.length, again.block(0)), (Some(&layout), 0, None));
        assert_eq!(again.head(&rules(), now, 5).length, Some(1000));
    }

    #[test]
    fn a_torn_or_changed_header_is_none() {
        let now = Instant::now();
        let file = Header::of("/a", &object(3, FIELDS, now), now, 1).render().unwrap();
        for cut in 0..file.len() {
            let needed = if cut < PREFIX_BYTES { PREFIX_BYTES } else { file.len() };
            assert_eq!(Header::read(&file[..cut]).unwrap_err(), Unreadable::Short(needed));
        }
        for at in 0..file.len() {
            let mut wrong = file.to_vec();
            wrong[at] ^= 0x20;
            assert!(Header::read(&wrong).is_err(), "byte {at}");
        }
        let mut endless = file.to_vec();
        endless[8..12].fill(0xff);
        assert_eq!(Header::read(&endless).unwrap_err(), Unreadable::Torn);
    }
}
