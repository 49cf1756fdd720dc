//! H.264 as ISO/IEC 14496-15 stores it: the configuration record, and pictures as length-prefixed NAL units.

use crate::sps::picture_size;
use crate::{AvcConfig, CodecError};
use bytes::{BufMut, Bytes, BytesMut};

impl AvcConfig {
    /// The largest picture that a level allows (H.264, table A-1: MaxFS of level 6.2), in luma samples before cropping.
    pub const PIXELS_MAX: u32 = 139_264 * 256;

    /// Reads an AVCDecoderConfigurationRecord of at most 4096 bytes. The record kept is the one given, except that it
    /// announces 4-byte NAL unit lengths: what [`Frame::data`](crate::Frame::data) holds, whatever the source used.
    pub fn parse(record: Bytes) -> Result<Self, CodecError> {
        if record.len() > RECORD_BYTES_MAX {
            return Err(CodecError::Invalid("H.264 configuration record: it is longer than 4096 bytes"));
        }
        if record.first().is_some_and(|version| *version != 1) {
            return Err(CodecError::Unsupported("version of the H.264 configuration record"));
        }
        let length = nal_length_size(&record).ok_or(CodecError::Truncated("H.264"))?;
        let (width, height) = picture_size(first_parameter_set(&record)?)?;
        let record = if length == 4 { record } else { with_four_byte_lengths(&record) };
        Ok(Self { record, width, height })
    }

    /// The codec as RFC 6381 names it: `avc1.64001f` is High profile, level 3.1.
    pub fn codec(&self) -> String {
        let byte = |index| self.record.get(index).copied().unwrap_or_default();
        format!("avc1.{:02x}{:02x}{:02x}", byte(1), byte(2), byte(3))
    }

    /// Whether the decoders of browsers and phones take it: Baseline, Main and High, whose pictures have 8 bits and no
    /// more colour than 4:2:0.
    pub fn is_widely_decoded(&self) -> bool {
        self.record.get(1).is_some_and(|profile| WIDE_PROFILES.contains(profile))
    }
}

/// Bytes of each NAL unit length of the source: 1, 2 or 4. `None` for a record that ends before it says so.
pub(crate) fn nal_length_size(record: &[u8]) -> Option<usize> {
    let size = usize::from(record.get(4)? & 3) + 1;
    Some(if size == 3 { 4 } else { size })
}

/// One access unit with 4-byte NAL unit lengths, and whether it holds an IDR picture.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AccessUnit {
    pub(crate) data: Bytes,
    pub(crate) idr: bool,
}

/// Checks that NAL units fill `data` exactly. Shares `data` where its lengths have 4 bytes already.
/// `None` where a length runs past the end.
pub(crate) fn access_unit(data: Bytes, length_size: usize) -> Option<AccessUnit> {
    let mut rewritten = (length_size != 4).then(|| BytesMut::with_capacity(data.len() + 64));
    let mut idr = false;
    let mut rest = &data[..];
    while !rest.is_empty() {
        let (prefix, after) = rest.split_at_checked(length_size)?;
        let length = prefix.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        let (nal, after) = after.split_at_checked(length)?;
        idr |= nal.first().is_some_and(|header| header & 0x1F == NAL_TYPE_IDR);
        if let Some(out) = &mut rewritten {
            out.put_u32(u32::try_from(length).ok()?);
            out.put_slice(nal);
        }
        rest = after;
    }
    Some(AccessUnit { data: rewritten.map_or(data, BytesMut::freeze), idr })
}

/// The first SPS; checks that at least one PPS follows, for without it nothing can be decoded.
fn first_parameter_set(record: &[u8]) -> Result<&[u8], CodecError> {
    const TRUNCATED: CodecError = CodecError::Truncated("H.264");
    let (sequences, pictures) = parameter_sets(record).ok_or(TRUNCATED)?;
    if pictures.is_empty() {
        return Err(CodecError::Invalid("H.264 configuration record: it has no picture parameter set"));
    }
    sequences
        .first()
        .copied()
        .ok_or(CodecError::Invalid("H.264 configuration record: it has no sequence parameter set"))
}

/// Parameter sets as NAL units.
type Sets<'a> = Vec<&'a [u8]>;

/// All sequence and picture parameter sets of a configuration record; `None` where it ends too early.
pub(crate) fn parameter_sets(record: &[u8]) -> Option<(Sets<'_>, Sets<'_>)> {
    let (sequences, rest) = sets(record.get(5..)?, 0x1F)?;
    let (pictures, _) = sets(rest, 0xFF)?;
    Some((sequences, pictures))
}

/// A count, in the bits of `mask`, and so many sets; and what comes after them.
fn sets(data: &[u8], mask: u8) -> Option<(Sets<'_>, &[u8])> {
    let (count, mut rest) = data.split_first()?;
    let mut sets = Vec::new();
    for _ in 0..count & mask {
        let (set, after) = parameter_set(rest)?;
        sets.push(set);
        rest = after;
    }
    Some((sets, rest))
}

fn parameter_set(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = data.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

fn with_four_byte_lengths(record: &[u8]) -> Bytes {
    let mut record = record.to_vec();
    record[4] |= 3;
    record.into()
}

/// profile_idc of Baseline, Main and High.
const WIDE_PROFILES: [u8; 3] = [66, 77, 100];
const NAL_TYPE_IDR: u8 = 5;
/// Real records have 40 to 60 bytes.
const RECORD_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn picture_sizes_and_codecs_of_x264_s_records() {
        for (record, size, codec) in samples::AVC {
            let config = AvcConfig::parse(samples::bytes(record)).unwrap();
            assert_eq!(((config.width, config.height), config.codec()), (size, codec.to_owned()));
            assert_eq!(config.record, samples::bytes(record));
        }
    }

    #[test]
    fn more_than_8_bits_or_4_2_0_is_not_for_every_decoder() {
        for (record, _, codec) in samples::AVC {
            let config = AvcConfig::parse(samples::bytes(record)).unwrap();
            let wide = !["avc1.f4", "avc1.7a"].iter().any(|high| codec.starts_with(high));
            assert_eq!(config.is_widely_decoded(), wide, "{codec}");
        }
    }

    #[test]
    fn every_truncation_is_an_error() {
        for (record, ..) in samples::AVC {
            let record = samples::bytes(record);
            let high = if record[1] >= 100 { 4 } else { 0 };
            for end in 0..record.len() - high {
                assert!(AvcConfig::parse(record.slice(..end)).is_err(), "{end}");
            }
        }
    }

    #[test]
    fn a_record_without_parameter_sets_is_refused() {
        let refused = |bytes: &'static [u8]| AvcConfig::parse(Bytes::from_static(bytes)).unwrap_err().to_string();
        assert!(refused(&[1, 100, 0, 31, 0xFF, 0xE0, 0]).contains("no picture parameter set"));
        assert!(refused(&[1, 100, 0, 31, 0xFF, 0xE0, 1, 0, 1, 0x68]).contains("no sequence parameter set"));
        assert!(refused(&[2, 100, 0, 31, 0xFF, 0xE0, 0]).contains("version"));
    }

    #[test]
    fn short_lengths_become_four_bytes_in_record_and_picture() {
        let mut record = samples::bytes(samples::AVC[0].0).to_vec();
        record[4] = 0xFD;
        assert_eq!(nal_length_size(&record), Some(2));
        let config = AvcConfig::parse(record.into()).unwrap();
        assert_eq!(config.record, samples::bytes(samples::AVC[0].0));

        let picture = access_unit(Bytes::from_static(&[0, 2, 0x65, 1, 0, 1, 0x06]), 2).unwrap();
        assert_eq!(picture.data, &[0, 0, 0, 2, 0x65, 1, 0, 0, 0, 1, 0x06][..]);
        assert!(picture.idr);
    }

    #[test]
    fn an_idr_is_found_wherever_it_is_and_a_bad_length_refused() {
        let unit = |bytes: &'static [u8]| access_unit(Bytes::from_static(bytes), 4);
        assert!(unit(&[0, 0, 0, 1, 0x06, 0, 0, 0, 2, 0x25, 9]).unwrap().idr);
        assert!(!unit(&[0, 0, 0, 1, 0x41]).unwrap().idr);
        assert_eq!(unit(&[0, 0, 0, 2, 0x41]), None);
        assert_eq!(unit(&[0, 0, 1]), None);
        assert_eq!(unit(&[0xFF, 0xFF, 0xFF, 0xFF, 0x65]), None);
    }
}
