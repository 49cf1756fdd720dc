//! Where the header of an H.264 slice ends (ISO/IEC 14496-10, 7.3.3): what may be encrypted begins there.

use crate::AvcConfig;
use crate::avc::parameter_sets;
use crate::bits::BitReader;
use crate::sps::{OrderCount, SliceSyntax, slice_syntax, unescape};

/// What the slices of a stream are read by.
#[derive(Clone, Debug, Default)]
pub struct SliceReader {
    sequences: Vec<SliceSyntax>,
    pictures: Vec<Picture>,
}

/// The fields of a picture parameter set that decide which fields a slice header has (7.3.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Picture {
    id: u32,
    sequence: u32,
    cabac: bool,
    /// bottom_field_pic_order_in_frame_present_flag.
    bottom_order: bool,
    /// Of list 0 and list 1, where the slice does not say so.
    references: [u32; 2],
    weighted: bool,
    /// weighted_bipred_idc.
    biweighted: u32,
    deblocking: bool,
    redundant: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    P,
    B,
    I,
    Sp,
    Si,
}

/// Headers take some 10 bytes, with tables of weights some 200.
const HEADER_BYTES_MAX: usize = 1024;
/// No list has more entries (7.4.3).
const REFERENCES_MAX: u32 = 32;
/// No header holds more commands of one sort; more would run into the end of the data anyway.
const COMMANDS_MAX: usize = 128;
const NAL_TYPE_IDR: u8 = 5;

impl SliceReader {
    /// Of the sets in a stream's configuration record. Sets that cannot be read are left out: slices that name them have
    /// headers of unknown length.
    pub fn new(config: &AvcConfig) -> Self {
        let (sequences, pictures) = parameter_sets(&config.record).unwrap_or_default();
        Self {
            sequences: sequences.into_iter().filter_map(slice_syntax).collect(),
            pictures: pictures.into_iter().filter_map(Picture::read).collect(),
        }
    }

    /// Bytes of the slice's NAL unit up to the end of its header, the NAL unit's own header and emulation prevention
    /// included: a byte that the header shares with what follows counts. `None` where the slice cannot be read.
    pub fn header_bytes(&self, nal: &[u8]) -> Option<usize> {
        let (&first, rest) = nal.split_first()?;
        let rest = &rest[..rest.len().min(HEADER_BYTES_MAX)];
        let rbsp = unescape(rest);
        let mut bits = BitReader::new(&rbsp);
        self.read(&mut bits, first)?;
        Some(1 + escaped_length(rest, bits.position().div_ceil(8)))
    }

    fn read(&self, bits: &mut BitReader<'_>, nal: u8) -> Option<()> {
        let (idr, reference) = (nal & 0x1F == NAL_TYPE_IDR, nal & 0x60 != 0);
        bits.ue()?;
        let kind = Kind::of(bits.ue()?)?;
        let id = bits.ue()?;
        let picture = self.pictures.iter().find(|picture| picture.id == id)?;
        let sequence = self.sequences.iter().find(|sequence| sequence.id == picture.sequence)?;
        if sequence.separate_planes {
            bits.bits(2)?;
        }
        bits.bits(sequence.frame_num.min(32))?;
        let field = !sequence.frame_mbs_only && bits.flag()?;
        if field {
            bits.bit()?;
        }
        if idr {
            bits.ue()?;
        }
        read_order(bits, sequence.order_count, picture.bottom_order && !field)?;
        if picture.redundant {
            bits.ue()?;
        }
        let references = read_references(bits, kind, picture.references)?;
        read_weights(bits, kind, (picture, sequence), references)?;
        if reference {
            read_marking(bits, idr)?;
        }
        if picture.cabac && !matches!(kind, Kind::I | Kind::Si) {
            bits.ue()?;
        }
        bits.se()?;
        if kind == Kind::Sp {
            bits.bit()?;
        }
        if matches!(kind, Kind::Sp | Kind::Si) {
            bits.se()?;
        }
        if picture.deblocking && bits.ue()? != 1 {
            bits.se()?;
            bits.se()?;
        }
        Some(())
    }
}

impl Kind {
    /// Table 7-6.
    fn of(slice_type: u32) -> Option<Self> {
        const KINDS: [Kind; 5] = [Kind::P, Kind::B, Kind::I, Kind::Sp, Kind::Si];
        KINDS.get((slice_type % 5) as usize).copied().filter(|_| slice_type < 10)
    }

    /// Lists of references that its pictures are predicted from.
    fn lists(self) -> usize {
        match self {
            Self::P | Self::Sp => 1,
            Self::B => 2,
            Self::I | Self::Si => 0,
        }
    }
}

impl Picture {
    /// `None` as well for one with several slice groups, which no encoder in use makes.
    fn read(nal: &[u8]) -> Option<Self> {
        let rbsp = unescape(nal.get(1..)?);
        let mut bits = BitReader::new(&rbsp);
        let (id, sequence) = (bits.ue()?, bits.ue()?);
        let (cabac, bottom_order) = (bits.flag()?, bits.flag()?);
        if bits.ue()? != 0 {
            return None;
        }
        let references = [bits.ue()?.checked_add(1)?, bits.ue()?.checked_add(1)?];
        let (weighted, biweighted) = (bits.flag()?, bits.bits(2)?);
        for _ in 0..3 {
            bits.se()?;
        }
        let deblocking = bits.flag()?;
        bits.bit()?;
        let redundant = bits.flag()?;
        Some(Self { id, sequence, cabac, bottom_order, references, weighted, biweighted, deblocking, redundant })
    }
}

/// The picture's place in the order of output; `bottom` where that of a second field may be told as well.
fn read_order(bits: &mut BitReader<'_>, count: OrderCount, bottom: bool) -> Option<()> {
    match count {
        OrderCount::Coded { bits: width } => bits.bits(width.min(32)).map(|_| ())?,
        OrderCount::Deltas { always_zero: false } => bits.se().map(|_| ())?,
        OrderCount::Deltas { always_zero: true } | OrderCount::Implied => return Some(()),
    }
    if bottom {
        bits.se()?;
    }
    Some(())
}

/// How many references each list has, and how the lists are reordered (7.3.3.1).
fn read_references(bits: &mut BitReader<'_>, kind: Kind, usual: [u32; 2]) -> Option<[u32; 2]> {
    if kind == Kind::B {
        bits.bit()?;
    }
    let mut references = usual;
    if kind.lists() > 0 && bits.flag()? {
        for count in &mut references[..kind.lists()] {
            *count = bits.ue()?.checked_add(1)?;
        }
    }
    if references.iter().any(|&count| count > REFERENCES_MAX) {
        return None;
    }
    for _ in 0..kind.lists() {
        if bits.flag()? {
            commands(bits, 3, |bits, _| bits.ue().map(|_| ()))?;
        }
    }
    Some(references)
}

/// pred_weight_table (7.3.3.2), where there is one.
fn read_weights(
    bits: &mut BitReader<'_>,
    kind: Kind,
    (picture, sequence): (&Picture, &SliceSyntax),
    references: [u32; 2],
) -> Option<()> {
    let weighted = match kind {
        Kind::P | Kind::Sp => picture.weighted,
        Kind::B => picture.biweighted == 1,
        Kind::I | Kind::Si => false,
    };
    if !weighted {
        return Some(());
    }
    let colour = sequence.chroma_array_type != 0;
    bits.ue()?;
    if colour {
        bits.ue()?;
    }
    for count in &references[..kind.lists()] {
        for _ in 0..*count {
            // A weight and an offset of luma, and of each of two chroma planes.
            for pairs in [1, 2].into_iter().take(1 + usize::from(colour)) {
                if bits.flag()? {
                    for _ in 0..2 * pairs {
                        bits.se()?;
                    }
                }
            }
        }
    }
    Some(())
}

/// dec_ref_pic_marking (7.3.3.3).
fn read_marking(bits: &mut BitReader<'_>, idr: bool) -> Option<()> {
    if idr {
        return bits.bits(2).map(|_| ());
    }
    if !bits.flag()? {
        return Some(());
    }
    commands(bits, 0, |bits, operation| {
        let values = match operation {
            3 => 2,
            5 => 0,
            _ => 1,
        };
        (0..values).try_for_each(|_| bits.ue().map(|_| ()))
    })
}

/// Operations with their values, up to the one that `end`s them.
fn commands(bits: &mut BitReader<'_>, end: u32, read: impl Fn(&mut BitReader<'_>, u32) -> Option<()>) -> Option<()> {
    for _ in 0..COMMANDS_MAX {
        let operation = bits.ue()?;
        if operation == end {
            return Some(());
        }
        read(bits, operation)?;
    }
    None
}

/// Bytes of `data` that `length` bytes without emulation prevention take.
pub(crate) fn escaped_length(data: &[u8], length: usize) -> usize {
    let (mut zeros, mut left) = (0, length);
    for (index, &byte) in data.iter().enumerate() {
        if left == 0 {
            return index;
        }
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        left -= 1;
    }
    data.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::bytes;

    /// Six streams of x264: see the file.
    const HEADERS: &str = include_str!("slice/headers.txt");

    #[test]
    fn headers_end_where_ffmpeg_says() {
        let (mut reader, mut read) = (SliceReader::default(), 0);
        for line in HEADERS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let fields: Vec<_> = line.split(' ').collect();
            if let ["set", sequence, picture] = fields[..] {
                let sequences = vec![slice_syntax(&bytes(sequence)).unwrap()];
                reader = SliceReader { sequences, pictures: vec![Picture::read(&bytes(picture)).unwrap()] };
                continue;
            }
            let (nal, bits) = (bytes(fields[0]), fields[1].parse::<usize>().unwrap());
            let expected = 1 + escaped_length(&nal[1..], bits.div_ceil(8) - 1);
            assert_eq!(reader.header_bytes(&nal), Some(expected), "{line}");
            read += 1;
        }
        assert!(read > 25, "{read} headers");
    }

    #[test]
    fn what_no_set_is_known_for_or_what_breaks_off_has_no_end() {
        let config = AvcConfig { record: bytes(crate::samples::AVC[0].0), width: 0, height: 0 };
        let reader = SliceReader::new(&config);
        assert_eq!((reader.sequences.len(), reader.pictures.len()), (1, 1));
        let idr = bytes("6588840021bfffef5e");
        assert!(reader.header_bytes(&idr).is_some_and(|bytes| bytes < idr.len()));
        assert_eq!(SliceReader::default().header_bytes(&idr), None);
        assert_eq!(reader.header_bytes(&idr[..2]), None);
        assert_eq!(reader.header_bytes(&[]), None);
    }

    #[test]
    fn emulation_prevention_counts_where_it_stands() {
        assert_eq!(escaped_length(&[1, 0, 0, 3, 1, 9], 3), 3);
        assert_eq!(escaped_length(&[1, 0, 0, 3, 1, 9], 4), 5);
        assert_eq!(escaped_length(&[1, 2], 9), 2);
    }
}
