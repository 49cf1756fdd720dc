//! Common Encryption (ISO/IEC 23001-7), scheme `cbcs`: the init section that announces it, and samples encrypted in place.
//!
//! Of each slice, what comes behind its header is encrypted, one block of sixteen bytes in ten; of sound every block. The
//! rest of a last block stays clear, so no byte is added and every part is decrypted by itself.

use super::{Fmp4Error, Sample};
use crate::slice::SliceReader;
use crate::{AvcConfig, TrackConfig, hevc};
use aes::Aes128;
use aes::cipher::{Block, BlockCipherEncrypt, KeyInit};
use bytes::{BufMut, Bytes};
use std::fmt;
use std::ops::Range;

/// Names a content key.
pub type KeyId = [u8; 16];

/// What media are encrypted with.
#[derive(Clone, PartialEq, Eq)]
pub struct ContentKey {
    pub id: KeyId,
    /// No log shows it.
    pub key: [u8; 16],
    /// The constant IV of `cbcs`.
    pub iv: [u8; 16],
}

/// Encrypts the samples of one track.
#[derive(Clone, Debug)]
pub struct Protector {
    /// `None` for sound.
    slices: Option<Slices>,
}

/// What the slices of pictures are read by.
#[derive(Clone, Debug)]
enum Slices {
    Avc(SliceReader),
    Hevc(hevc::SliceReader),
}

/// What a fragment says of the encryption of its samples.
#[derive(Debug, Default)]
pub(super) struct Subsamples {
    samples: Vec<Vec<Span>>,
}

/// Bytes that are clear, then bytes that are encrypted by the pattern.
type Span = (u16, u32);

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContentKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Protector {
    /// # Errors
    /// The pictures are neither H.264 nor HEVC. Where a header of AV1 or VP9 ends depends on the pictures before it, down to
    /// their sizes, and of AV1 each tile is encrypted by itself.
    pub fn new(track: &TrackConfig) -> Result<Self, Fmp4Error> {
        match track {
            TrackConfig::Avc { config, .. } => Ok(Self::pictures(config)),
            TrackConfig::Hevc { config, .. } => Ok(Self { slices: Some(Slices::Hevc(hevc::SliceReader::new(config))) }),
            TrackConfig::Av1 { .. } | TrackConfig::Vp9 { .. } => Err(Fmp4Error::Unprotectable(track.codec())),
            TrackConfig::Aac { .. } | TrackConfig::Opus { .. } => Ok(Self { slices: None }),
        }
    }

    /// For pictures of H.264 with this configuration.
    pub fn pictures(config: &AvcConfig) -> Self {
        Self { slices: Some(Slices::Avc(SliceReader::new(config))) }
    }

    /// The samples encrypted, and what the fragment has to say of that; nothing of sound.
    pub(super) fn protect(&self, key: &ContentKey, samples: &[Sample]) -> (Vec<Sample>, Option<Subsamples>) {
        let cipher = Cbc { aes: Aes128::new(&key.key.into()), iv: key.iv };
        let mut subsamples = self.slices.as_ref().map(|_| Subsamples::default());
        let samples = samples.iter().map(|sample| {
            let mut data = sample.data.to_vec();
            match (&self.slices, &mut subsamples) {
                (Some(slices), Some(told)) => {
                    let spans = spans(slices, &data);
                    let mut at = 0;
                    for &(clear, protected) in &spans {
                        at += usize::from(clear);
                        let end = at + protected as usize;
                        cipher.encrypt(&mut data[at..end], PATTERN);
                        at = end;
                    }
                    told.samples.push(spans);
                }
                _ => cipher.encrypt(&mut data, EVERY_BLOCK),
            }
            Sample { data: data.into(), ..sample.clone() }
        });
        (samples.collect(), subsamples)
    }

    /// `sgpd` and `sbgp` of a fragment with so many samples, which name its key (ISO/IEC 23001-7, 6).
    pub(super) fn key_boxes(&self, key: &ContentKey, samples: usize) -> Vec<u8> {
        let (encrypted, clear) = if self.slices.is_some() { PATTERN } else { EVERY_BLOCK };
        let mut out = Vec::with_capacity(96);
        full_box(&mut out, b"sgpd", 1 << 24, |out| {
            out.put_slice(b"seig");
            out.put_u32(20 + 1 + key.iv.len() as u32);
            out.put_u32(1);
            out.put_slice(&[0, encrypted << 4 | clear, 1, 0]);
            out.put_slice(&key.id);
            out.put_u8(key.iv.len() as u8);
            out.put_slice(&key.iv);
        });
        full_box(&mut out, b"sbgp", 0, |out| {
            out.put_slice(b"seig");
            out.put_u32(1);
            out.put_u32(samples as u32);
            out.put_u32(OF_FRAGMENT + 1);
        });
        out
    }
}

/// Blocks encrypted, and blocks left clear after them.
type Pattern = (u8, u8);

/// ISO/IEC 23001-7, 10.4.1: of pictures, one block in ten.
const PATTERN: Pattern = (1, 9);
/// 10.4.2: of all other tracks, whole samples.
const EVERY_BLOCK: Pattern = (0, 0);
const BLOCK: usize = 16;
/// `saiz` counts the bytes of a sample's spans in eight bits: two, and six of each.
const SPANS_MAX: usize = 42;
/// Samples have spans.
const SENC_SUBSAMPLES: u32 = 2;
/// ISO/IEC 14496-12, 8.9.4: descriptions above are those of the fragment itself.
const OF_FRAGMENT: u32 = 0x1_0000;
/// 1077efec-c0b2-4d02-ace3-3c1e52e2fb4b: W3C, Common PSSH Box.
const COMMON_SYSTEM: [u8; 16] =
    [0x10, 0x77, 0xef, 0xec, 0xc0, 0xb2, 0x4d, 0x02, 0xac, 0xe3, 0x3c, 0x1e, 0x52, 0xe2, 0xfb, 0x4b];

struct Cbc {
    aes: Aes128,
    iv: [u8; BLOCK],
}

impl Cbc {
    /// One span: the chain begins anew with the IV (10.4.1), and goes on over blocks that are left clear.
    fn encrypt(&self, data: &mut [u8], (encrypted, clear): Pattern) {
        let mut last = self.iv;
        let period = usize::from(encrypted) + usize::from(clear);
        for (index, block) in data.chunks_exact_mut(BLOCK).enumerate() {
            if period > 0 && index % period >= usize::from(encrypted) {
                continue;
            }
            block.iter_mut().zip(last).for_each(|(byte, before)| *byte ^= before);
            if let Ok(block) = <&mut Block<Aes128>>::try_from(&mut *block) {
                self.aes.encrypt_block(block);
            }
            last.copy_from_slice(block);
        }
    }
}

/// All of `data`, encrypted as METHOD=AES-128 of HLS has it (RFC 8216bis, 4.4.4.4): CBC, and padding of 1 to 16 bytes
/// (RFC 5652, 6.3).
pub fn encrypt_whole(data: &[Bytes], key: &[u8; 16], iv: [u8; 16]) -> Bytes {
    let length: usize = data.iter().map(Bytes::len).sum();
    let padding = BLOCK - length % BLOCK;
    let mut out = Vec::with_capacity(length + padding);
    data.iter().for_each(|piece| out.put_slice(piece));
    out.put_bytes(padding as u8, padding);
    Cbc { aes: Aes128::new(&(*key).into()), iv }.encrypt(&mut out, EVERY_BLOCK);
    out.into()
}

/// What is clear and what is encrypted of an access unit of NAL units with 4-byte lengths (9.5.2.2 and 10.4.1): all of a
/// slice behind its header, and nothing of what decoders and packagers read besides. Of a slice that cannot be read all but
/// its type is encrypted: a stream that is to be encrypted has no picture in the clear.
fn spans(slices: &Slices, data: &[u8]) -> Vec<Span> {
    let (mut spans, mut clear, mut rest) = (Vec::new(), 0, data);
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (nal, after) = after.split_at((u32::from_be_bytes(*length) as usize).min(after.len()));
        let kept = slices.clear_bytes(nal).min(nal.len());
        clear += 4 + kept;
        let protected = nal.len() - kept;
        if protected < BLOCK {
            clear += protected;
        } else {
            push_clear(&mut spans, &mut clear);
            spans.push((std::mem::take(&mut clear) as u16, protected as u32));
        }
        rest = after;
    }
    clear += rest.len();
    push_clear(&mut spans, &mut clear);
    if clear > 0 {
        spans.push((clear as u16, 0));
    }
    if spans.len() > SPANS_MAX {
        // More than a sample can say. What plays it decrypts first and looks for NAL units then.
        let clear = data.len().min(4 + slices.head());
        return vec![(clear as u16, (data.len() - clear) as u32)];
    }
    spans
}

impl Slices {
    /// Bytes of a NAL unit's own header.
    fn head(&self) -> usize {
        match self {
            Self::Avc(_) => 1,
            Self::Hevc(_) => 2,
        }
    }

    /// Bytes of a NAL unit that stay clear.
    fn clear_bytes(&self, nal: &[u8]) -> usize {
        match (self, nal.first()) {
            // ISO/IEC 14496-10, table 7-1: slices; slices in partitions, of auxiliary pictures and of extensions.
            (Self::Avc(slices), Some(first)) => match first & 0x1F {
                1 | 5 => slices.header_bytes(nal).unwrap_or_else(|| self.head()),
                2..=4 | 19..=21 => self.head(),
                _ => nal.len(),
            },
            // ISO/IEC 23008-2, table 7-1: all below 32 are slices, or will be.
            (Self::Hevc(slices), Some(_)) if hevc::nal_type(nal) < 32 => {
                slices.header_bytes(nal).unwrap_or_else(|| self.head())
            }
            _ => nal.len(),
        }
    }
}

/// So that what is left of `clear` fits in sixteen bits.
fn push_clear(spans: &mut Vec<Span>, clear: &mut usize) {
    while *clear > usize::from(u16::MAX) {
        *clear -= usize::from(u16::MAX);
        spans.push((u16::MAX, 0));
    }
}

impl Subsamples {
    /// `saiz`, `saio` and `senc` (7.2, and ISO/IEC 14496-12, 8.7.8), which go into the moof at `offset`.
    pub(super) fn boxes(&self, offset: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + 9 * self.samples.len());
        let count = self.samples.len() as u32;
        full_box(&mut out, b"saiz", 0, |out| {
            out.put_u8(0);
            out.put_u32(count);
            self.samples.iter().for_each(|spans| out.put_u8((2 + 6 * spans.len()) as u8));
        });
        // It counts from the moof to behind this box and the head of the next: its own 20 bytes, 12, and a count.
        let first = offset + out.len() + 20 + 12 + 4;
        full_box(&mut out, b"saio", 0, |out| {
            out.put_u32(1);
            out.put_u32(first as u32);
        });
        full_box(&mut out, b"senc", SENC_SUBSAMPLES, |out| {
            out.put_u32(count);
            for spans in &self.samples {
                out.put_u16(spans.len() as u16);
                for (clear, protected) in spans {
                    out.put_u16(*clear);
                    out.put_u32(*protected);
                }
            }
        });
        out
    }
}

/// The same init section for media that are encrypted: its sample entry becomes `encv` or `enca` with a `sinf`
/// (ISO/IEC 14496-12, 8.12), and a `pssh` of the common system names the key (23001-7, 8.1).
///
/// # Errors
/// `clear` is no init section that [`super::init`] writes.
pub fn protected_init(clear: &[u8], id: KeyId, iv: [u8; 16]) -> Result<Bytes, Fmp4Error> {
    const PATH: [&[u8; 4]; 6] = [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"];
    const STRANGE: Fmp4Error = Fmp4Error::Config(mp4_atom::Error::OutOfBounds);
    let mut out = clear.to_vec();
    let (mut span, mut path) = (0..out.len(), Vec::new());
    for name in PATH {
        let found = find(&out, span, name).ok_or(STRANGE)?;
        path.push(found.start);
        // A table of sample entries has a version and a count before them.
        let head = if name == b"stsd" { 16 } else { 8 };
        span = found.start + head..found.end;
    }
    let entry = box_at(&out, span).ok_or(STRANGE)?;
    let kind: [u8; 4] = out[entry.start + 4..entry.start + 8].try_into().map_err(|_| STRANGE)?;
    let (name, pattern) = match &kind {
        b"mp4a" | b"Opus" => (b"enca", EVERY_BLOCK),
        _ => (b"encv", PATTERN),
    };
    out[entry.start + 4..entry.start + 8].copy_from_slice(name);
    path.push(entry.start);

    let (sinf, pssh) = (sinf(kind, (id, iv), pattern), pssh(id));
    let end = find(&out, 0..out.len(), b"moov").ok_or(STRANGE)?.end;
    out.splice(end..end, pssh.iter().copied());
    grow(&mut out, path[0], pssh.len());
    out.splice(entry.end..entry.end, sinf.iter().copied());
    path.iter().for_each(|&at| grow(&mut out, at, sinf.len()));
    Ok(out.into())
}

fn sinf(kind: [u8; 4], (id, iv): (KeyId, [u8; 16]), (encrypted, clear): Pattern) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    plain_box(&mut out, b"sinf", |out| {
        plain_box(out, b"frma", |out| out.put_slice(&kind));
        full_box(out, b"schm", 0, |out| {
            out.put_slice(b"cbcs");
            out.put_u32(0x0001_0000);
        });
        plain_box(out, b"schi", |out| {
            // Version 1 has a pattern. No IV per sample: the constant one is here.
            full_box(out, b"tenc", 1 << 24, |out| {
                out.put_slice(&[0, encrypted << 4 | clear, 1, 0]);
                out.put_slice(&id);
                out.put_u8(iv.len() as u8);
                out.put_slice(&iv);
            });
        });
    });
    out
}

fn pssh(id: KeyId) -> Vec<u8> {
    let mut out = Vec::with_capacity(52);
    full_box(&mut out, b"pssh", 1 << 24, |out| {
        out.put_slice(&COMMON_SYSTEM);
        out.put_u32(1);
        out.put_slice(&id);
        out.put_u32(0);
    });
    out
}

fn plain_box(out: &mut Vec<u8>, name: &[u8; 4], body: impl FnOnce(&mut Vec<u8>)) {
    let begin = out.len();
    out.put_u32(0);
    out.put_slice(name);
    body(out);
    let size = (out.len() - begin) as u32;
    out[begin..begin + 4].copy_from_slice(&size.to_be_bytes());
}

fn full_box(out: &mut Vec<u8>, name: &[u8; 4], version_and_flags: u32, body: impl FnOnce(&mut Vec<u8>)) {
    plain_box(out, name, |out| {
        out.put_u32(version_and_flags);
        body(out);
    });
}

/// Adds to the size of the box at `at`.
pub(super) fn grow(out: &mut [u8], at: usize, bytes: usize) {
    let Some(size) = out.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<4>()) else { return };
    *size = (u32::from_be_bytes(*size) + bytes as u32).to_be_bytes();
}

/// The first box of this name in a span of boxes.
fn find(data: &[u8], mut span: Range<usize>, name: &[u8; 4]) -> Option<Range<usize>> {
    loop {
        let found = box_at(data, span.clone())?;
        if &data[found.start + 4..found.start + 8] == name {
            return Some(found);
        }
        span.start = found.end;
    }
}

fn box_at(data: &[u8], span: Range<usize>) -> Option<Range<usize>> {
    let inside = data.get(span.clone())?;
    let size = u32::from_be_bytes(*inside.first_chunk::<4>()?) as usize;
    (8..=inside.len()).contains(&size).then(|| span.start..span.start + size)
}

#[cfg(test)]
mod tests;
