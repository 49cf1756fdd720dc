//! AV1 as its binding to ISO Base Media File Format stores it: the configuration record, and temporal units without delimiters.

use crate::bits::BitReader;
use crate::{CodecError, VideoConfig};
use bytes::{BufMut, Bytes, BytesMut};

/// All that is shown at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemporalUnit {
    /// OBUs with their sizes; no temporal delimiters, padding or tile lists (2.4).
    pub data: Bytes,
    /// Decoding can start here (2.4, sync sample): a key frame that is shown, with a sequence header before it.
    pub key: bool,
}

/// Reads OBUs as encoders give them (AV1, 5.2: low-overhead format). `None` where one runs past the end.
pub fn temporal_unit(data: &[u8]) -> Option<TemporalUnit> {
    let mut out = BytesMut::with_capacity(data.len() + 8);
    let (mut sequence, mut first) = (false, None);
    for obu in obus(data) {
        let obu = obu?;
        match obu.kind {
            TEMPORAL_DELIMITER | TILE_LIST | PADDING => continue,
            SEQUENCE_HEADER => sequence = true,
            FRAME | FRAME_HEADER if first.is_none() => first = Some(is_shown_key(obu.payload)),
            _ => {}
        }
        obu.put(&mut out);
    }
    Some(TemporalUnit { data: out.freeze(), key: sequence && first == Some(true) })
}

/// The set-up in the sequence header among the OBUs that an encoder gives for the track's header: an
/// AV1CodecConfigurationRecord (2.3.3).
///
/// # Errors
/// There is no sequence header, or none that can be read.
pub fn config(data: &[u8]) -> Result<VideoConfig, CodecError> {
    let found = obus(data).flatten().find(|obu| obu.kind == SEQUENCE_HEADER);
    let obu = found.ok_or(CodecError::Invalid("AV1 configuration: it has no sequence header"))?;
    let header = SequenceHeader::read(&mut BitReader::new(obu.payload)).ok_or(CodecError::Truncated("AV1"))?;
    let bit = |set: bool, place: u32| u8::from(set) << place;
    let SequenceHeader { profile, level, tier, .. } = header;
    let formats = [(tier, 7), (header.high_depth, 6), (header.twelve_bits, 5), (header.monochrome, 4)];
    let subsampling = [(header.subsampling.0, 3), (header.subsampling.1, 2)];
    let flags = formats.into_iter().chain(subsampling).fold(0, |all, (set, place)| all | bit(set, place));
    let mut record = BytesMut::with_capacity(8 + obu.payload.len());
    record.put_slice(&[MARKER_AND_VERSION, profile << 5 | level, flags | header.chroma_position, 0]);
    obu.put(&mut record);
    Ok(VideoConfig { record: record.freeze(), width: header.width, height: header.height, pixel_aspect: None })
}

/// `av01.0.04M.08` is Main profile, level 3.0, main tier, 8 bits (section 5).
pub(crate) fn codec(record: &[u8]) -> String {
    let byte = |index: usize| record.get(index).copied().unwrap_or_default();
    let (profile, level) = (byte(1) >> 5, byte(1) & 0x1F);
    let tier = if byte(2) & 0x80 == 0 { 'M' } else { 'H' };
    let depth = match byte(2) >> 5 & 3 {
        0 => 8,
        2 => 10,
        _ => 12,
    };
    format!("av01.{profile}.{level:02}{tier}.{depth:02}")
}

struct Obu<'a> {
    kind: u8,
    /// temporal_id and spatial_id, where they are told.
    extension: Option<u8>,
    payload: &'a [u8],
}

impl Obu<'_> {
    fn put(&self, out: &mut BytesMut) {
        out.put_u8(self.kind << 3 | u8::from(self.extension.is_some()) << 2 | HAS_SIZE);
        self.extension.iter().for_each(|extension| out.put_u8(*extension));
        let mut left = self.payload.len();
        while left >= 0x80 {
            out.put_u8(left as u8 | 0x80);
            left >>= 7;
        }
        out.put_u8(left as u8);
        out.put_slice(self.payload);
    }
}

/// Ends with `None` where what is left is no OBU.
fn obus(data: &[u8]) -> impl Iterator<Item = Option<Obu<'_>>> {
    let mut rest = Some(data);
    std::iter::from_fn(move || {
        let data = rest.filter(|data| !data.is_empty())?;
        let read = obu(data);
        rest = read.as_ref().map(|(_, after)| *after);
        Some(read.map(|(obu, _)| obu))
    })
}

/// Clause 5.3.
fn obu(data: &[u8]) -> Option<(Obu<'_>, &[u8])> {
    let (header, rest) = data.split_first()?;
    let (extension, rest) = if header & HAS_EXTENSION == 0 {
        (None, rest)
    } else {
        let (extension, rest) = rest.split_first()?;
        (Some(*extension), rest)
    };
    let (payload, after) = if header & HAS_SIZE == 0 {
        (rest, &rest[rest.len()..])
    } else {
        let (size, rest) = leb128(rest)?;
        rest.split_at_checked(size)?
    };
    Some((Obu { kind: header >> 3 & 0xF, extension, payload }, after))
}

/// Clause 4.10.5: at most eight bytes, of a value in 32 bits.
fn leb128(data: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_u64;
    for (index, byte) in data.iter().take(8).enumerate() {
        value |= u64::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((u32::try_from(value).ok()? as usize, &data[index + 1..]));
        }
    }
    None
}

/// Clause 5.9.2, of a sequence that is no still picture.
fn is_shown_key(header: &[u8]) -> bool {
    let Some(first) = header.first() else { return false };
    let (shows_existing, frame_type, is_shown) = (first >> 7 == 1, first >> 5 & 3, first >> 4 & 1 == 1);
    !shows_existing && frame_type == KEY_FRAME && is_shown
}

/// The fields of a sequence header that a record repeats.
struct SequenceHeader {
    profile: u8,
    /// Of the first operating point, as its tier.
    level: u8,
    tier: bool,
    width: u32,
    height: u32,
    high_depth: bool,
    twelve_bits: bool,
    monochrome: bool,
    subsampling: (bool, bool),
    chroma_position: u8,
}

impl SequenceHeader {
    /// Clause 5.5.1.
    fn read(bits: &mut BitReader<'_>) -> Option<Self> {
        let profile = bits.bits(3)? as u8;
        bits.bit()?;
        let is_still = bits.flag()?;
        let (level, tier) = if is_still { (bits.bits(5)?, false) } else { operating_points(bits)? };
        let (width_bits, height_bits) = (bits.bits(4)? + 1, bits.bits(4)? + 1);
        let (width, height) = (bits.bits(width_bits)? + 1, bits.bits(height_bits)? + 1);
        if !is_still && bits.flag()? {
            bits.bits(4 + 3)?;
        }
        bits.bits(3)?;
        if !is_still {
            skip_tools(bits)?;
        }
        bits.bits(3)?;
        let header = Self {
            profile,
            level: level as u8,
            tier,
            width,
            height,
            high_depth: false,
            twelve_bits: false,
            monochrome: false,
            subsampling: (true, true),
            chroma_position: 0,
        };
        header.with_color(bits)
    }

    /// Clause 5.5.2.
    fn with_color(mut self, bits: &mut BitReader<'_>) -> Option<Self> {
        self.high_depth = bits.flag()?;
        self.twelve_bits = self.profile == 2 && self.high_depth && bits.flag()?;
        self.monochrome = self.profile != 1 && bits.flag()?;
        let description = if bits.flag()? { (bits.bits(8)?, bits.bits(8)?, bits.bits(8)?) } else { UNSPECIFIED };
        if self.monochrome {
            return Some(self);
        }
        if description == SRGB {
            self.subsampling = (false, false);
            return Some(self);
        }
        bits.bit()?;
        self.subsampling = match self.profile {
            0 => (true, true),
            1 => (false, false),
            _ if self.twelve_bits => {
                let across = bits.flag()?;
                (across, across && bits.flag()?)
            }
            _ => (true, false),
        };
        if self.subsampling == (true, true) {
            self.chroma_position = bits.bits(2)? as u8;
        }
        Some(self)
    }
}

/// Level and tier of the first operating point, which decodes everything.
fn operating_points(bits: &mut BitReader<'_>) -> Option<(u32, bool)> {
    let (mut delay_bits, mut has_model) = (0, false);
    if bits.flag()? {
        bits.bits(32)?;
        bits.bits(32)?;
        if bits.flag()? {
            bits.ue()?;
        }
        has_model = bits.flag()?;
        if has_model {
            delay_bits = bits.bits(5)? + 1;
            bits.bits(32)?;
            bits.bits(5 + 5)?;
        }
    }
    let has_display_delay = bits.flag()?;
    let count = bits.bits(5)? + 1;
    let mut first = None;
    for _ in 0..count {
        bits.bits(12)?;
        let level = bits.bits(5)?;
        let tier = level > 7 && bits.flag()?;
        if has_model && bits.flag()? {
            bits.bits(delay_bits)?;
            bits.bits(delay_bits)?;
            bits.bit()?;
        }
        if has_display_delay && bits.flag()? {
            bits.bits(4)?;
        }
        first.get_or_insert((level, tier));
    }
    first
}

/// From enable_interintra_compound to order_hint_bits_minus_1.
fn skip_tools(bits: &mut BitReader<'_>) -> Option<()> {
    bits.bits(4)?;
    let has_order_hint = bits.flag()?;
    if has_order_hint {
        bits.bits(2)?;
    }
    let chooses_screen_content_tools = bits.flag()?;
    let has_screen_content_tools = chooses_screen_content_tools || bits.flag()?;
    if has_screen_content_tools && !bits.flag()? {
        bits.bit()?;
    }
    if has_order_hint {
        bits.bits(3)?;
    }
    Some(())
}

/// obu_type (6.2.2).
const SEQUENCE_HEADER: u8 = 1;
const TEMPORAL_DELIMITER: u8 = 2;
const FRAME_HEADER: u8 = 3;
const FRAME: u8 = 6;
const TILE_LIST: u8 = 8;
const PADDING: u8 = 15;
const HAS_EXTENSION: u8 = 4;
const HAS_SIZE: u8 = 2;
const KEY_FRAME: u8 = 0;
const MARKER_AND_VERSION: u8 = 0x81;
/// Primaries, transfer and matrix (6.4.2).
const UNSPECIFIED: (u32, u32, u32) = (2, 2, 2);
const SRGB: (u32, u32, u32) = (1, 13, 0);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::bytes;

    #[test]
    fn delimiters_go_and_sizes_are_told() {
        // A delimiter, a sequence header, a key frame that is shown, padding, and a tile group without its size.
        let unit = temporal_unit(&[0x12, 0, 0x0A, 2, 7, 8, 0x32, 3, 0x10, 5, 6, 0x7A, 1, 0, 0x20, 9, 9]).unwrap();
        assert_eq!(unit.data, &[0x0A, 2, 7, 8, 0x32, 3, 0x10, 5, 6, 0x22, 2, 9, 9][..]);
        assert!(unit.key);
    }

    #[test]
    fn only_a_shown_key_frame_behind_a_sequence_header_can_be_started_at() {
        let key = |data: &[u8]| temporal_unit(data).unwrap().key;
        assert!(!key(&[0x32, 1, 0x10]), "no sequence header");
        assert!(!key(&[0x0A, 1, 7, 0x32, 1, 0x00]), "not shown");
        assert!(!key(&[0x0A, 1, 7, 0x32, 1, 0x30]), "an inter frame");
        assert!(!key(&[0x0A, 1, 7, 0x1A, 1, 0x90]), "an earlier frame, shown again");
        assert!(!key(&[0x0A, 1, 7, 0x32, 1, 0x30, 0x32, 1, 0x10]), "the key frame is not the first");
        assert!(key(&[0x0A, 1, 7, 0x1A, 1, 0x10]), "its header alone");
    }

    #[test]
    fn sizes_of_several_bytes_and_layers_survive() {
        let payload = vec![0x30; 300];
        let data = [&[0x36, 0x28, 0xAC, 0x02][..], &payload].concat();
        let unit = temporal_unit(&data).unwrap();
        assert_eq!(unit.data, &data[..]);
    }

    #[test]
    fn what_runs_past_the_end_is_no_unit() {
        for data in [&[0x32, 5, 1][..], &[0x32], &[0x36, 0], &[0x0A, 0x80], &[0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]]
        {
            assert_eq!(temporal_unit(data), None, "{data:x?}");
        }
        assert_eq!(temporal_unit(&[]).map(|unit| unit.key), Some(false));
        assert!(config(&[]).is_err());
        assert!(config(&[0x0A, 3, 0, 0, 0]).is_err(), "a header that breaks off");
    }

    #[test]
    fn codecs_are_told_by_profile_level_tier_and_depth() {
        for (record, expected) in
            [("81040c00", "av01.0.04M.08"), ("81 09 4c 00", "av01.0.09M.10"), ("81 50 e0 00", "av01.2.16H.12")]
        {
            assert_eq!(codec(&bytes(record)), expected);
        }
    }
}
