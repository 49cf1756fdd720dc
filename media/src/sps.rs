//! What an H.264 sequence parameter set declares: the picture's size, and what slice headers are read by
//! (ISO/IEC 14496-10, 7.3.2.1.1).

use crate::bits::BitReader;
use crate::{AvcConfig, CodecError};

/// Picture size in luma samples after cropping, from a whole SPS NAL unit, header byte included.
pub(crate) fn picture_size(nal: &[u8]) -> Result<(u32, u32), CodecError> {
    match nal.first() {
        Some(header) if header & 0x1F == NAL_TYPE_SPS => {}
        _ => return Err(CodecError::Invalid("H.264 sequence parameter set")),
    }
    let rbsp = unescape(&nal[1..]);
    let (_, geometry) =
        read(&mut BitReader::new(&rbsp)).ok_or(CodecError::Truncated("H.264 sequence parameter set"))?;
    geometry.size().ok_or(CodecError::Invalid("H.264 picture size"))
}

/// What a slice header is read by, from a whole SPS NAL unit.
pub(crate) fn slice_syntax(nal: &[u8]) -> Option<SliceSyntax> {
    let (header, payload) = nal.split_first()?;
    let rbsp = unescape(payload);
    read(&mut BitReader::new(&rbsp)).map(|(syntax, _)| syntax).filter(|_| header & 0x1F == NAL_TYPE_SPS)
}

/// The fields of an SPS that decide which fields a slice header has, and how long those are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SliceSyntax {
    /// seq_parameter_set_id.
    pub(crate) id: u32,
    pub(crate) separate_planes: bool,
    pub(crate) chroma_array_type: u32,
    /// In bits.
    pub(crate) frame_num: u32,
    pub(crate) order_count: OrderCount,
    pub(crate) frame_mbs_only: bool,
}

/// pic_order_cnt_type, and what goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OrderCount {
    /// pic_order_cnt_lsb, of so many bits.
    Coded { bits: u32 },
    /// Deltas, unless they are said to be always zero.
    Deltas { always_zero: bool },
    /// As decoded.
    Implied,
}

/// The fields of an SPS that decide the picture's size.
struct Geometry {
    chroma_array_type: u32,
    width_mbs: u32,
    height_map_units: u32,
    frame_mbs_only: bool,
    /// Left, right, top, bottom, in crop units.
    crop: [u32; 4],
}

impl Geometry {
    /// Clause 7.4.2.1.1, equations 7-13 to 7-22. `None` for an empty picture, and for one that no level has: above 16384 samples a
    /// side, or [`AvcConfig::PIXELS_MAX`](crate::AvcConfig::PIXELS_MAX) in all.
    fn size(&self) -> Option<(u32, u32)> {
        let field_factor = if self.frame_mbs_only { 1 } else { 2 };
        let (sub_width, sub_height) = match self.chroma_array_type {
            1 => (2, 2),
            2 => (2, 1),
            _ => (1, 1),
        };
        let side = |blocks: u32, factor: u32, unit: u32, [near, far]: [u32; 2]| {
            let full = blocks.checked_mul(16 * factor).filter(|full| *full <= SIDE_MAX)?;
            let cropped = near.checked_add(far)?.checked_mul(unit)?;
            full.checked_sub(cropped).filter(|size| *size > 0)
        };
        let macroblocks = u64::from(self.width_mbs) * u64::from(self.height_map_units) * u64::from(field_factor);
        if macroblocks > u64::from(AvcConfig::PIXELS_MAX / 256) {
            return None;
        }
        let [left, right, top, bottom] = self.crop;
        let width = side(self.width_mbs, 1, sub_width, [left, right])?;
        let height = side(self.height_map_units, field_factor, sub_height * field_factor, [top, bottom])?;
        Some((width, height))
    }
}

fn read(bits: &mut BitReader<'_>) -> Option<(SliceSyntax, Geometry)> {
    let profile = bits.bits(8)?;
    bits.bits(16)?; // Constraint flags and level.
    let id = bits.ue()?;
    let (separate_planes, chroma_array_type) =
        if HIGH_PROFILES.contains(&profile) { read_high_profile(bits)? } else { (false, 1) };
    let frame_num = bits.ue()?.checked_add(4)?;
    let order_count = read_order_count(bits)?;
    bits.ue()?;
    bits.bit()?;
    let width_mbs = bits.ue()?.checked_add(1)?;
    let height_map_units = bits.ue()?.checked_add(1)?;
    let frame_mbs_only = bits.flag()?;
    if !frame_mbs_only {
        bits.bit()?;
    }
    bits.bit()?;
    let mut crop = [0; 4];
    if bits.flag()? {
        for offset in &mut crop {
            *offset = bits.ue()?;
        }
    }
    let syntax = SliceSyntax { id, separate_planes, chroma_array_type, frame_num, order_count, frame_mbs_only };
    Some((syntax, Geometry { chroma_array_type, width_mbs, height_map_units, frame_mbs_only, crop }))
}

/// Returns separate_colour_plane_flag and ChromaArrayType.
fn read_high_profile(bits: &mut BitReader<'_>) -> Option<(bool, u32)> {
    let chroma_format = bits.ue()?;
    let separate_planes = chroma_format == 3 && bits.flag()?;
    bits.ue()?;
    bits.ue()?;
    bits.bit()?;
    if bits.flag()? {
        let lists = if chroma_format == 3 { 12 } else { 8 };
        for list in 0..lists {
            if bits.flag()? {
                skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    Some((separate_planes, if separate_planes { 0 } else { chroma_format }))
}

/// Clause 7.3.2.1.1.1: deltas are coded until one of them makes the next scale zero.
fn skip_scaling_list(bits: &mut BitReader<'_>, size: usize) -> Option<()> {
    let mut scale = 8;
    for _ in 0..size {
        scale = (scale + bits.se()?).rem_euclid(256);
        if scale == 0 {
            break;
        }
    }
    Some(())
}

fn read_order_count(bits: &mut BitReader<'_>) -> Option<OrderCount> {
    Some(match bits.ue()? {
        0 => OrderCount::Coded { bits: bits.ue()?.checked_add(4)? },
        1 => {
            let always_zero = bits.flag()?;
            bits.se()?;
            bits.se()?;
            // At most 255 (clause 7.4.2.1.1); more would run into the end of the data anyway.
            for _ in 0..bits.ue()?.min(256) {
                bits.se()?;
            }
            OrderCount::Deltas { always_zero }
        }
        _ => OrderCount::Implied,
    })
}

/// Takes out the emulation prevention bytes (clause 7.4.1).
pub(crate) fn unescape(data: &[u8]) -> Vec<u8> {
    let mut rbsp = Vec::with_capacity(data.len());
    let mut zeros = 0;
    for &byte in data {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        rbsp.push(byte);
    }
    rbsp
}

const NAL_TYPE_SPS: u8 = 7;
/// Beyond level 6.2, so that no real stream is refused and no size overflows.
const SIDE_MAX: u32 = 16384;
/// Profiles whose SPS carries the chroma format (clause 7.3.2.1.1).
const HIGH_PROFILES: [u32; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emulation_prevention_bytes_are_no_data() {
        assert_eq!(unescape(&[0, 0, 3, 1, 0, 0, 3, 0, 0, 3]), [0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(unescape(&[0, 3, 0, 3]), [0, 3, 0, 3]);
    }

    #[test]
    fn cropping_never_eats_the_whole_picture() {
        let geometry =
            |crop| Geometry { chroma_array_type: 1, width_mbs: 120, height_map_units: 68, frame_mbs_only: true, crop };
        assert_eq!(geometry([0, 0, 0, 4]).size(), Some((1920, 1080)));
        assert_eq!(geometry([960, 0, 0, 0]).size(), None);
        assert_eq!(geometry([u32::MAX, u32::MAX, 0, 0]).size(), None);
        let sized = |width_mbs, height_map_units| Geometry { width_mbs, height_map_units, ..geometry([0; 4]) };
        assert_eq!(sized(512, 272).size(), Some((8192, 4352)), "level 6.2");
        assert_eq!((sized(512, 273).size(), sized(1024, 1024).size()), (None, None));
        let fields = Geometry { height_map_units: 34, frame_mbs_only: false, ..geometry([0, 0, 0, 2]) };
        assert_eq!(fields.size(), Some((1920, 1080)));
    }
}
