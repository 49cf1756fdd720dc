//! What HEVC parameter sets declare that slice headers are read by (ISO/IEC 23008-2, 7.3.2.2 and 7.3.2.3).

use super::{NAL_PPS, NAL_SPS, Sequence, nal_type};
use crate::bits::BitReader;
use crate::sps::unescape;

/// The fields of a sequence parameter set that decide which fields a slice header has, and how long those are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SequenceSyntax {
    pub(super) id: u32,
    pub(super) separate_planes: bool,
    /// ChromaArrayType is not 0.
    pub(super) chroma: bool,
    /// Of a slice's address, in bits.
    pub(super) address: u32,
    /// Of slice_pic_order_cnt_lsb, in bits.
    pub(super) order: u32,
    /// sample_adaptive_offset_enabled_flag.
    pub(super) adaptive_offset: bool,
    pub(super) short_term: Vec<References>,
    /// Of each long-term reference, whether pictures that name it use it; `None` where there are no such references.
    pub(super) long_term: Option<Vec<bool>>,
    /// sps_temporal_mvp_enabled_flag.
    pub(super) temporal: bool,
}

/// The same of a picture parameter set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PictureSyntax {
    pub(super) id: u32,
    pub(super) sequence: u32,
    pub(super) dependent_slices: bool,
    pub(super) tells_output: bool,
    /// num_extra_slice_header_bits.
    pub(super) extra: u32,
    pub(super) cabac_init: bool,
    /// Of list 0 and list 1, where the slice does not say so.
    pub(super) references: [u32; 2],
    /// pps_slice_chroma_qp_offsets_present_flag.
    pub(super) chroma_offsets: bool,
    /// chroma_qp_offset_list_enabled_flag.
    pub(super) chroma_offset_lists: bool,
    pub(super) weighted: bool,
    pub(super) biweighted: bool,
    /// Tiles or rows of a slice that can be entered.
    pub(super) entries: bool,
    /// pps_loop_filter_across_slices_enabled_flag.
    pub(super) filters_across: bool,
    pub(super) overrides_deblocking: bool,
    pub(super) no_deblocking: bool,
    pub(super) modifies_lists: bool,
    pub(super) extension: bool,
}

/// A short-term reference picture set (7.3.7): distances from the picture in the order of output, and whether it is referred to;
/// those before it first, nearest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct References {
    before: Vec<(i64, bool)>,
    after: Vec<(i64, bool)>,
}

/// More sets, or references, no sequence has (7.4.3.2.1 and 7.4.8).
const SETS_MAX: u32 = 64;
const REFERENCES_MAX: u32 = 16;
const LONG_TERM_MAX: u32 = 32;
/// Screen content coding, whose slice headers have fields of their own.
const SCREEN_PROFILES: [u8; 2] = [9, 11];

impl SequenceSyntax {
    pub(super) fn read(nal: &[u8]) -> Option<Self> {
        let rbsp = unescape(nal.get(2..).filter(|_| nal_type(nal) == NAL_SPS)?);
        let mut bits = BitReader::new(&rbsp);
        let sequence = Sequence::begin(&mut bits, &rbsp)?;
        if SCREEN_PROFILES.contains(&(sequence.profile_tier_level[0] & 0x1F)) {
            return None;
        }
        let order = bits.ue()?.checked_add(4).filter(|&order| order <= 16)?;
        let told = bits.flag()?;
        for _ in 0..if told { sequence.layers } else { 1 } {
            skip_codes(&mut bits, 3)?;
        }
        // Coding blocks of the least size, and how much larger the largest is.
        let block = bits.ue()?.checked_add(3)?.checked_add(bits.ue()?).filter(|&block| block <= 6)?;
        skip_codes(&mut bits, 4)?;
        if bits.flag()? && bits.flag()? {
            skip_scaling_lists(&mut bits)?;
        }
        bits.bit()?;
        let adaptive_offset = bits.flag()?;
        if bits.flag()? {
            bits.bits(4 + 4)?;
            skip_codes(&mut bits, 2)?;
            bits.bit()?;
        }
        let short_term = read_sets(&mut bits)?;
        let long_term = if bits.flag()? { Some(read_long_term(&mut bits, order)?) } else { None };
        let temporal = bits.flag()?;
        let (width, height) = sequence.coded;
        let blocks = u64::from(width.div_ceil(1 << block)) * u64::from(height.div_ceil(1 << block));
        Some(Self {
            id: sequence.id,
            separate_planes: sequence.separate_planes,
            chroma: sequence.chroma_format != 0 && !sequence.separate_planes,
            address: u32::try_from(blocks).ok().map(width_of)?,
            order,
            adaptive_offset,
            short_term,
            long_term,
            temporal,
        })
    }
}

impl PictureSyntax {
    /// `None` as well for one with extensions that change slice headers in ways that nobody here makes.
    pub(super) fn read(nal: &[u8]) -> Option<Self> {
        let rbsp = unescape(nal.get(2..).filter(|_| nal_type(nal) == NAL_PPS)?);
        let bits = &mut BitReader::new(&rbsp);
        let (id, sequence) = (bits.ue()?, bits.ue()?);
        let (dependent_slices, tells_output, extra) = (bits.flag()?, bits.flag()?, bits.bits(3)?);
        bits.bit()?;
        let cabac_init = bits.flag()?;
        let references = [bits.ue()?.checked_add(1)?, bits.ue()?.checked_add(1)?];
        bits.se()?;
        bits.bit()?;
        let skips_transform = bits.flag()?;
        if bits.flag()? {
            bits.ue()?;
        }
        bits.se()?;
        bits.se()?;
        let (chroma_offsets, weighted, biweighted) = (bits.flag()?, bits.flag()?, bits.flag()?);
        bits.bit()?;
        let (tiles, rows) = (bits.flag()?, bits.flag()?);
        if tiles {
            skip_tiles(bits)?;
        }
        let filters_across = bits.flag()?;
        let (overrides_deblocking, no_deblocking) = if bits.flag()? { read_deblocking(bits)? } else { (false, false) };
        if bits.flag()? {
            skip_scaling_lists(bits)?;
        }
        let modifies_lists = bits.flag()?;
        bits.ue()?;
        let extension = bits.flag()?;
        let chroma_offset_lists = bits.flag()? && read_extensions(bits, skips_transform)?;
        Some(Self {
            id,
            sequence,
            dependent_slices,
            tells_output,
            extra,
            cabac_init,
            references,
            chroma_offsets,
            chroma_offset_lists,
            weighted,
            biweighted,
            entries: tiles || rows,
            filters_across,
            overrides_deblocking,
            no_deblocking,
            modifies_lists,
            extension,
        })
    }
}

impl References {
    /// The set `index` of a sequence that has had those `before` it; one more than there are is that of a slice.
    pub(super) fn read(bits: &mut BitReader<'_>, index: u32, sets: &[Self], of_slice: bool) -> Option<Self> {
        if index > 0 && bits.flag()? {
            let back = if of_slice { bits.ue()?.checked_add(1)? } else { 1 };
            let from = sets.get(index.checked_sub(back)? as usize)?;
            return Self::predicted(bits, from);
        }
        let (before, after) = (bits.ue()?, bits.ue()?);
        if before > REFERENCES_MAX || after > REFERENCES_MAX {
            return None;
        }
        Some(Self { before: distances(bits, before, -1)?, after: distances(bits, after, 1)? })
    }

    /// Equations 7-61 and 7-62.
    fn predicted(bits: &mut BitReader<'_>, from: &Self) -> Option<Self> {
        let sign = if bits.flag()? { -1 } else { 1 };
        let moved = sign * (i64::from(bits.ue()?) + 1);
        let mut flags = Vec::new();
        for _ in 0..=from.before.len() + from.after.len() {
            let is_used = bits.flag()?;
            flags.push((is_used, is_used || bits.flag()?));
        }
        let (of_before, rest) = flags.split_at(from.before.len());
        let (of_after, own) = rest.split_at(from.after.len());
        let kept = |(&(distance, _), &(is_used, stays)): (&(i64, bool), &(bool, bool))| {
            stays.then_some((distance + moved, is_used))
        };
        let (before, after) = (from.before.iter().zip(of_before), from.after.iter().zip(of_after));
        let own = own.first().filter(|(_, stays)| *stays).map(|(is_used, _)| (moved, *is_used));
        let is_before = |one: &(i64, bool)| one.0 < 0;
        let is_after = |one: &(i64, bool)| one.0 > 0;
        Some(Self {
            before: after
                .clone()
                .rev()
                .filter_map(kept)
                .chain(own)
                .chain(before.clone().filter_map(kept))
                .filter(is_before)
                .collect(),
            after: before.rev().filter_map(kept).chain(own).chain(after.filter_map(kept)).filter(is_after).collect(),
        })
        .filter(|set: &Self| set.before.len().max(set.after.len()) <= REFERENCES_MAX as usize)
    }

    /// How many of them the picture refers to.
    pub(super) fn used(&self) -> u32 {
        self.before.iter().chain(&self.after).filter(|(_, is_used)| *is_used).count() as u32
    }
}

fn distances(bits: &mut BitReader<'_>, count: u32, sign: i64) -> Option<Vec<(i64, bool)>> {
    let mut distance = 0;
    let mut read = || {
        distance += sign * (i64::from(bits.ue()?) + 1);
        Some((distance, bits.flag()?))
    };
    (0..count).map(|_| read()).collect()
}

fn read_sets(bits: &mut BitReader<'_>) -> Option<Vec<References>> {
    let count = bits.ue()?;
    let mut sets = Vec::new();
    for index in 0..count {
        if count > SETS_MAX {
            return None;
        }
        sets.push(References::read(bits, index, &sets, false)?);
    }
    Some(sets)
}

fn read_long_term(bits: &mut BitReader<'_>, order: u32) -> Option<Vec<bool>> {
    let count = bits.ue().filter(|&count| count <= LONG_TERM_MAX)?;
    let mut used = Vec::new();
    for _ in 0..count {
        bits.bits(order)?;
        used.push(bits.flag()?);
    }
    Some(used)
}

/// pps_range_extension (7.3.2.3.2) alone: whether slices say that they use lists of chroma offsets.
fn read_extensions(bits: &mut BitReader<'_>, skips_transform: bool) -> Option<bool> {
    let range = bits.flag()?;
    // Layers, depth, screen content, and what is not defined yet.
    if bits.bits(3 + 4)? != 0 {
        return None;
    }
    if !range {
        return Some(false);
    }
    if skips_transform {
        bits.ue()?;
    }
    bits.bit()?;
    bits.flag()
}

/// Whether slices may say otherwise, and whether there is none.
fn read_deblocking(bits: &mut BitReader<'_>) -> Option<(bool, bool)> {
    let told = (bits.flag()?, bits.flag()?);
    if !told.1 {
        bits.se()?;
        bits.se()?;
    }
    Some(told)
}

fn skip_tiles(bits: &mut BitReader<'_>) -> Option<()> {
    let borders = [bits.ue()?, bits.ue()?];
    if !bits.flag()? {
        for count in borders {
            skip_codes(bits, count)?;
        }
    }
    bits.bit().map(|_| ())
}

/// scaling_list_data (7.3.4).
fn skip_scaling_lists(bits: &mut BitReader<'_>) -> Option<()> {
    for size in 0..4 {
        for _ in 0..if size == 3 { 2 } else { 6 } {
            if !bits.flag()? {
                bits.ue()?;
                continue;
            }
            let coefficients = 64.min(1 << (4 + 2 * size)) + i32::from(size > 1);
            for _ in 0..coefficients {
                bits.se()?;
            }
        }
    }
    Some(())
}

fn skip_codes(bits: &mut BitReader<'_>, count: u32) -> Option<()> {
    for _ in 0..count {
        bits.ue()?;
    }
    Some(())
}

/// Ceil(Log2()) of how many values there are: the bits that one of them takes.
pub(super) fn width_of(values: u32) -> u32 {
    values.checked_sub(1).map_or(0, |last| u32::BITS - last.leading_zeros())
}
