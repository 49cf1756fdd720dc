//! Where the header of an HEVC slice ends (ISO/IEC 23008-2, 7.3.6): what may be encrypted begins there.

use super::sets::{PictureSyntax, References, SequenceSyntax, width_of};
use super::{NAL_PPS, NAL_SPS, nal_type, parameter_sets};
use crate::VideoConfig;
use crate::bits::BitReader;
use crate::slice::escaped_length;
use crate::sps::unescape;

/// What the slices of a stream are read by.
#[derive(Clone, Debug, Default)]
pub(crate) struct SliceReader {
    sequences: Vec<SequenceSyntax>,
    pictures: Vec<PictureSyntax>,
}

/// slice_type (table 7-7).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    B,
    P,
    I,
}

/// Some 20 bytes; with tables of weights some 200, with an entry for each of the rows of a large picture some 600.
const HEADER_BYTES_MAX: usize = 4096;
/// No list has more entries (7.4.7.1).
const REFERENCES_MAX: u32 = 15;
/// Of slice_segment_header_extension_length (7.4.7.1).
const EXTENSION_MAX: u32 = 256;

impl SliceReader {
    /// Of the sets in a stream's configuration record. Sets that cannot be read are left out: slices that name them have
    /// headers of unknown length.
    pub(crate) fn new(config: &VideoConfig) -> Self {
        let sets = parameter_sets(&config.record).unwrap_or_default();
        let of = |kind| sets.iter().copied().filter(move |nal| nal_type(nal) == kind);
        Self {
            sequences: of(NAL_SPS).filter_map(SequenceSyntax::read).collect(),
            pictures: of(NAL_PPS).filter_map(PictureSyntax::read).collect(),
        }
    }

    /// Bytes of the slice's NAL unit up to the end of its header, the NAL unit's own header and emulation prevention
    /// included. `None` where the slice cannot be read: the bits that fill up a header's last byte are held against it as well.
    pub(crate) fn header_bytes(&self, nal: &[u8]) -> Option<usize> {
        let (_, rest) = nal.split_first_chunk::<2>()?;
        let rest = &rest[..rest.len().min(HEADER_BYTES_MAX)];
        let rbsp = unescape(rest);
        let mut bits = BitReader::new(&rbsp);
        self.read(&mut bits, nal_type(nal))?;
        Some(2 + escaped_length(rest, bits.position() / 8))
    }

    fn read(&self, bits: &mut BitReader<'_>, nal: u8) -> Option<()> {
        if !matches!(nal, 0..=9 | 16..=21) {
            return None;
        }
        let is_first = bits.flag()?;
        if nal >= 16 {
            bits.bit()?;
        }
        let id = bits.ue()?;
        let picture = self.pictures.iter().find(|picture| picture.id == id)?;
        let sequence = self.sequences.iter().find(|sequence| sequence.id == picture.sequence)?;
        let mut is_dependent = false;
        if !is_first {
            is_dependent = picture.dependent_slices && bits.flag()?;
            bits.bits(sequence.address)?;
        }
        if !is_dependent {
            read_own(bits, nal, (picture, sequence))?;
        }
        if picture.entries {
            let count = bits.ue()?;
            let width = if count > 0 { bits.ue()?.checked_add(1).filter(|&width| width <= 32)? } else { 0 };
            // More of them than there are bits run into the end.
            for _ in 0..count {
                bits.bits(width)?;
            }
        }
        if picture.extension {
            for _ in 0..bits.ue().filter(|&bytes| bytes <= EXTENSION_MAX)? {
                bits.bits(8)?;
            }
        }
        read_alignment(bits)
    }
}

/// byte_alignment (7.3.2.12): a one, and zeros up to a whole byte.
fn read_alignment(bits: &mut BitReader<'_>) -> Option<()> {
    let mut is_aligned = bits.flag()?;
    while !bits.position().is_multiple_of(8) {
        is_aligned &= !bits.flag()?;
    }
    is_aligned.then_some(())
}

/// What a slice that depends on none before it says for itself.
fn read_own(bits: &mut BitReader<'_>, nal: u8, (picture, sequence): (&PictureSyntax, &SequenceSyntax)) -> Option<()> {
    bits.bits(picture.extra)?;
    let kind = Kind::of(bits.ue()?)?;
    if picture.tells_output {
        bits.bit()?;
    }
    if sequence.separate_planes {
        bits.bits(2)?;
    }
    let (mut referred, mut temporal) = (0, false);
    if !matches!(nal, 19 | 20) {
        bits.bits(sequence.order)?;
        referred = read_short_term(bits, sequence)? + read_long_term(bits, sequence)?;
        temporal = sequence.temporal && bits.flag()?;
    }
    let mut offset = false;
    if sequence.adaptive_offset {
        offset = bits.flag()?;
        offset |= sequence.chroma && bits.flag()?;
    }
    if kind != Kind::I {
        read_prediction(bits, kind, (picture, sequence), (referred, temporal))?;
    }
    bits.se()?;
    if picture.chroma_offsets {
        bits.se()?;
        bits.se()?;
    }
    if picture.chroma_offset_lists {
        bits.bit()?;
    }
    let mut no_deblocking = picture.no_deblocking;
    if picture.overrides_deblocking && bits.flag()? {
        no_deblocking = bits.flag()?;
        if !no_deblocking {
            bits.se()?;
            bits.se()?;
        }
    }
    if picture.filters_across && (offset || !no_deblocking) {
        bits.bit()?;
    }
    Some(())
}

/// How many short-term references the picture has.
fn read_short_term(bits: &mut BitReader<'_>, sequence: &SequenceSyntax) -> Option<u32> {
    let sets = &sequence.short_term;
    let count = sets.len() as u32;
    if !bits.flag()? {
        return References::read(bits, count, sets, true).map(|set| set.used());
    }
    let index = bits.bits(width_of(count))?;
    sets.get(index as usize).map(References::used)
}

/// The same of long-term ones.
fn read_long_term(bits: &mut BitReader<'_>, sequence: &SequenceSyntax) -> Option<u32> {
    let Some(known) = &sequence.long_term else { return Some(0) };
    let known_here = if known.is_empty() { 0 } else { bits.ue()? };
    let count = known_here.checked_add(bits.ue()?).filter(|&count| count <= 2 * REFERENCES_MAX)?;
    let mut used = 0;
    for index in 0..count {
        let is_used = if index < known_here {
            let at = bits.bits(width_of(known.len() as u32))?;
            *known.get(at as usize)?
        } else {
            bits.bits(sequence.order)?;
            bits.flag()?
        };
        used += u32::from(is_used);
        if bits.flag()? {
            bits.ue()?;
        }
    }
    Some(used)
}

/// What pictures that are predicted say of their references; so many are `referred` to.
fn read_prediction(
    bits: &mut BitReader<'_>,
    kind: Kind,
    (picture, sequence): (&PictureSyntax, &SequenceSyntax),
    (referred, temporal): (u32, bool),
) -> Option<()> {
    let mut lists = picture.references;
    if bits.flag()? {
        for count in &mut lists[..kind.lists()] {
            *count = bits.ue()?.checked_add(1)?;
        }
    }
    let lists = &lists[..kind.lists()];
    if lists.iter().any(|&count| count > REFERENCES_MAX) {
        return None;
    }
    if picture.modifies_lists && referred > 1 {
        for count in lists {
            for _ in 0..if bits.flag()? { *count } else { 0 } {
                bits.bits(width_of(referred))?;
            }
        }
    }
    if kind == Kind::B {
        bits.bit()?;
    }
    if picture.cabac_init {
        bits.bit()?;
    }
    if temporal {
        let list = if kind == Kind::B && !bits.flag()? { 1 } else { 0 };
        if lists[list] > 1 {
            bits.ue()?;
        }
    }
    if (kind == Kind::P && picture.weighted) || (kind == Kind::B && picture.biweighted) {
        read_weights(bits, lists, sequence.chroma)?;
    }
    bits.ue().map(|_| ())
}

/// pred_weight_table (7.3.6.3) of one layer.
fn read_weights(bits: &mut BitReader<'_>, lists: &[u32], chroma: bool) -> Option<()> {
    bits.ue()?;
    if chroma {
        bits.se()?;
    }
    for &count in lists {
        let mut flags = |is_there: bool| (0..count).map(|_| Some(is_there && bits.flag()?)).collect::<Option<Vec<_>>>();
        let (of_luma, of_chroma) = (flags(true)?, flags(chroma)?);
        for (luma, chroma) in of_luma.into_iter().zip(of_chroma) {
            // A weight and an offset of luma, and of each of two chroma planes.
            for _ in 0..if luma { 2 } else { 0 } + if chroma { 4 } else { 0 } {
                bits.se()?;
            }
        }
    }
    Some(())
}

impl Kind {
    fn of(slice_type: u32) -> Option<Self> {
        [Self::B, Self::P, Self::I].get(slice_type as usize).copied()
    }

    /// Lists of references that its pictures are predicted from.
    fn lists(self) -> usize {
        match self {
            Self::B => 2,
            Self::P => 1,
            Self::I => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::bytes;

    /// Streams of x265: see the file.
    const HEADERS: &str = include_str!("headers.txt");

    fn headers(mut each: impl FnMut(&SliceReader, Vec<u8>, usize)) {
        let mut reader = SliceReader::default();
        for line in HEADERS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let fields: Vec<_> = line.split(' ').collect();
            if let ["set", sequence, picture] = fields[..] {
                let sequences = vec![SequenceSyntax::read(&bytes(sequence)).unwrap()];
                reader = SliceReader { sequences, pictures: vec![PictureSyntax::read(&bytes(picture)).unwrap()] };
                continue;
            }
            each(&reader, bytes(fields[0]).to_vec(), fields[1].parse().unwrap());
        }
    }

    #[test]
    fn headers_end_where_ffmpeg_says() {
        let mut read = 0;
        headers(|reader, nal, bits| {
            let expected = 2 + escaped_length(&nal[2..], bits / 8 - 2);
            assert_eq!(reader.header_bytes(&nal), Some(expected), "{nal:02x?}");
            read += 1;
        });
        assert!(read > 60, "{read} headers");
    }

    #[test]
    fn what_breaks_off_or_is_bent_is_no_panic_and_never_longer_than_it_is() {
        headers(|reader, nal, bits| {
            for end in 0..bits / 8 {
                assert_eq!(reader.header_bytes(&nal[..end]), None, "{end} of {nal:02x?}");
            }
            for bit in 0..8 * nal.len() {
                let mut bent = nal.clone();
                bent[bit / 8] ^= 1 << (bit % 8);
                assert!(reader.header_bytes(&bent).is_none_or(|header| header <= bent.len()));
            }
            assert_eq!(SliceReader::default().header_bytes(&nal), None);
        });
    }

    #[test]
    fn sets_that_are_bent_are_no_panic() {
        for line in HEADERS.lines().filter_map(|line| line.strip_prefix("set ")) {
            let (sequence, picture) = line.split_once(' ').unwrap();
            for set in [bytes(sequence), bytes(picture)] {
                for bit in 0..8 * set.len() {
                    let mut bent = set.to_vec();
                    bent[bit / 8] ^= 1 << (bit % 8);
                    for data in [&bent[..], &bent[..bit / 8]] {
                        let _ = SequenceSyntax::read(data);
                        let _ = PictureSyntax::read(data);
                    }
                }
            }
        }
    }
}
