//! HEVC as ISO/IEC 14496-15 stores it: the configuration record from an encoder's parameter sets.

mod sets;
mod slice;

pub(crate) use slice::SliceReader;

use crate::bits::BitReader;
use crate::sps::unescape;
use crate::{CodecError, VideoConfig};
use bytes::{BufMut, BytesMut};

/// nal_unit_type (ISO/IEC 23008-2, table 7-1).
pub const NAL_VPS: u8 = 32;
pub const NAL_SPS: u8 = 33;
pub const NAL_PPS: u8 = 34;
pub const NAL_AUD: u8 = 35;

/// The type of a NAL unit; that of an empty one is 63, which is of no use to anybody.
pub fn nal_type(nal: &[u8]) -> u8 {
    nal.first().map_or(63, |header| header >> 1 & 0x3F)
}

/// Whether a NAL unit is of a picture that decoding can start at, and nothing after which needs what was before: IDR_W_RADL
/// and IDR_N_LP.
pub fn is_idr(nal: &[u8]) -> bool {
    matches!(nal_type(nal), 19 | 20)
}

/// An HEVCDecoderConfigurationRecord (8.3.3.1) with 4-byte lengths, from NAL units among which are the parameter sets.
/// 4:2:0 with 8 bits is all that is made here.
///
/// # Errors
/// A parameter set is missing, or the sequence parameter set cannot be read.
pub fn config<'a>(nals: impl IntoIterator<Item = &'a [u8]>) -> Result<VideoConfig, CodecError> {
    let nals: Vec<&[u8]> = nals.into_iter().collect();
    let sets = |kind: u8| nals.iter().copied().filter(move |nal| nal_type(nal) == kind);
    let sps =
        sets(NAL_SPS).next().ok_or(CodecError::Invalid("HEVC configuration: it has no sequence parameter set"))?;
    let syntax = Sequence::read(sps).ok_or(CodecError::Truncated("HEVC"))?;
    let mut record = BytesMut::with_capacity(64 + sps.len());
    record.put_u8(1);
    record.put_slice(&syntax.profile_tier_level);
    // min_spatial_segmentation_idc, parallelismType: nothing is told of either.
    record.put_slice(&[0xF0, 0, 0xFC]);
    record.put_slice(&[0xFC | syntax.chroma_format, 0xF8 | syntax.luma_depth, 0xF8 | syntax.chroma_depth]);
    // No rate is told; then layers, whether they nest, and lengths of four bytes.
    record.put_slice(&[0, 0, (syntax.layers << 3) | u8::from(syntax.nests) << 2 | 3, 3]);
    for kind in [NAL_VPS, NAL_SPS, NAL_PPS] {
        let count = sets(kind).count();
        if count == 0 {
            return Err(CodecError::Invalid("HEVC configuration: a parameter set is missing"));
        }
        // array_completeness: pictures bring none.
        record.put_u8(0x80 | kind);
        record.put_u16(count as u16);
        for nal in sets(kind) {
            record.put_u16(u16::try_from(nal.len()).map_err(|_| CodecError::Invalid("HEVC parameter set"))?);
            record.put_slice(nal);
        }
    }
    Ok(VideoConfig { record: record.freeze(), width: syntax.width, height: syntax.height, pixel_aspect: None })
}

/// The NAL units in a configuration record; `None` where it breaks off.
fn parameter_sets(record: &[u8]) -> Option<Vec<&[u8]>> {
    let (&arrays, mut rest) = record.get(RECORD_HEAD..)?.split_first()?;
    let mut sets = Vec::new();
    for _ in 0..arrays {
        let ([_, count @ ..], after) = rest.split_first_chunk::<3>()?;
        rest = after;
        for _ in 0..u16::from_be_bytes(*count) {
            let (length, after) = rest.split_first_chunk::<2>()?;
            let (set, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            sets.push(set);
            rest = after;
        }
    }
    Some(sets)
}

/// Bytes of a record before it counts its arrays.
const RECORD_HEAD: usize = 22;

/// `hvc1.1.6.L93.90` is Main profile, main tier, level 3.1 (ISO/IEC 14496-15, annex E.3).
pub(crate) fn codec(record: &[u8]) -> String {
    let byte = |index: usize| record.get(index).copied().unwrap_or_default();
    let space = ["", "A", "B", "C"][usize::from(byte(1) >> 6)];
    let compatibility = u32::from_be_bytes([byte(2), byte(3), byte(4), byte(5)]).reverse_bits();
    let tier = if byte(1) & 0x20 == 0 { 'L' } else { 'H' };
    let constraints: Vec<u8> = (6..12).map(byte).collect();
    let told = constraints.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let constraints: String = constraints[..told].iter().map(|byte| format!(".{byte:X}")).collect();
    format!("hvc1.{space}{}.{compatibility:X}.{tier}{}{constraints}", byte(1) & 0x1F, byte(12))
}

/// The fields of a sequence parameter set that a record repeats.
struct Sequence {
    /// From general_profile_space to general_level_idc, as they are coded.
    profile_tier_level: [u8; 12],
    layers: u8,
    nests: bool,
    id: u32,
    chroma_format: u8,
    separate_planes: bool,
    luma_depth: u8,
    chroma_depth: u8,
    width: u32,
    height: u32,
    /// Width and height before cropping.
    coded: (u32, u32),
}

impl Sequence {
    /// ISO/IEC 23008-2, 7.3.2.2.
    fn read(nal: &[u8]) -> Option<Self> {
        let rbsp = unescape(nal.get(2..)?);
        Self::begin(&mut BitReader::new(&rbsp), &rbsp)
    }

    /// Up to bit_depth_chroma_minus8.
    fn begin(bits: &mut BitReader<'_>, rbsp: &[u8]) -> Option<Self> {
        bits.bits(4)?;
        let layers_above = bits.bits(3)?;
        let nests = bits.flag()?;
        let profile_tier_level = *rbsp.get(1..)?.first_chunk::<12>()?;
        for _ in 0..profile_tier_level.len() {
            bits.bits(8)?;
        }
        skip_layers(bits, layers_above)?;
        let id = bits.ue()?;
        let chroma_format = bits.ue()?;
        let separate_planes = chroma_format == 3 && bits.flag()?;
        let coded = (bits.ue()?, bits.ue()?);
        let (mut width, mut height) = coded;
        if bits.flag()? {
            let (across, down) = match chroma_format {
                1 => (2, 2),
                2 => (2, 1),
                _ => (1, 1),
            };
            for (side, unit) in [(&mut width, across), (&mut height, down)] {
                let cropped = bits.ue()?.checked_add(bits.ue()?)?.checked_mul(unit)?;
                *side = side.checked_sub(cropped)?;
            }
        }
        Some(Self {
            profile_tier_level,
            layers: layers_above as u8 + 1,
            nests,
            id,
            separate_planes,
            coded,
            chroma_format: u8::try_from(chroma_format).ok().filter(|&format| format <= 3)?,
            luma_depth: u8::try_from(bits.ue()?).ok().filter(|&depth| depth <= 7)?,
            chroma_depth: u8::try_from(bits.ue()?).ok().filter(|&depth| depth <= 7)?,
            width,
            height,
        })
    }
}

/// What profile_tier_level says of layers below the highest (7.3.3).
fn skip_layers(bits: &mut BitReader<'_>, layers: u32) -> Option<()> {
    if layers == 0 {
        return Some(());
    }
    let mut told = Vec::new();
    for _ in 0..layers {
        told.push((bits.flag()?, bits.flag()?));
    }
    bits.bits(2 * (8 - layers))?;
    for (profile, level) in told {
        for _ in 0..if profile { 11 } else { 0 } + if level { 1 } else { 0 } {
            bits.bits(8)?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::bytes;

    #[test]
    fn codecs_are_told_as_annex_e_has_them() {
        for (record, expected) in [
            ("01 01 60000000 900000000000 5d", "hvc1.1.6.L93.90"),
            ("01 22 20000000 b00000000000 99", "hvc1.2.4.H153.B0"),
            ("01 04 08000000 9e0800000000 78", "hvc1.4.10.L120.9E.8"),
            ("01 41 60000000 000000000000 1e", "hvc1.A1.6.L30"),
        ] {
            assert_eq!(codec(&bytes(record)), expected);
        }
    }

    #[test]
    fn types_of_nal_units_are_in_six_bits() {
        assert_eq!(nal_type(&[0x40, 1]), NAL_VPS);
        assert_eq!(nal_type(&[0x46, 1]), NAL_AUD);
        assert!(is_idr(&[0x26, 1]) && is_idr(&[0x28, 1]) && !is_idr(&[0x02, 1]) && !is_idr(&[0x2A, 1]) && !is_idr(&[]));
    }

    #[test]
    fn a_parameter_set_that_is_missing_is_told() {
        let sps = bytes("4201 01 01600000030090000003000003005d a00280802d16");
        assert!(config([&sps[..]]).is_err());
        assert!(config([&[0x42, 1, 1][..]]).is_err());
        assert!(config([]).is_err());
    }
}
