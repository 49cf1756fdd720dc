//! Turns what x264 writes (H.264 Annex B, start codes) into what files hold (ISO/IEC 14496-15, lengths). Pure.

use bytes::{BufMut, Bytes, BytesMut};

const TYPE_SPS: u8 = 7;
const TYPE_PPS: u8 = 8;
const TYPE_AUD: u8 = 9;

/// An access unit with 4-byte lengths; without parameter sets and delimiters, which files keep elsewhere or not at all.
pub(super) fn with_lengths(annexb: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(annexb.len() + 16);
    for nal in nals(annexb).filter(|nal| !matches!(kind(nal), TYPE_SPS | TYPE_PPS | TYPE_AUD)) {
        out.put_u32(nal.len() as u32);
        out.put_slice(nal);
    }
    out.freeze()
}

/// An AVCDecoderConfigurationRecord (5.3.3.1) from parameter sets; `None` if one is missing or no such thing.
pub(super) fn record(headers: &[u8]) -> Option<Bytes> {
    let sps = nals(headers).find(|nal| kind(nal) == TYPE_SPS)?;
    let pps = nals(headers).find(|nal| kind(nal) == TYPE_PPS)?;
    let [_, profile, compatibility, level, ..] = *sps else { return None };
    let mut record = BytesMut::new();
    record.put_slice(&[1, profile, compatibility, level, 0xFF, 0xE1]);
    record.put_u16(u16::try_from(sps.len()).ok()?);
    record.put_slice(sps);
    record.put_u8(1);
    record.put_u16(u16::try_from(pps.len()).ok()?);
    record.put_slice(pps);
    if !matches!(profile, 66 | 77 | 88) {
        // 4:2:0 with 8 bits, which is all that is encoded here, and no SPS extensions.
        record.put_slice(&[0xFD, 0xF8, 0xF8, 0]);
    }
    Some(record.freeze())
}

fn kind(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |header| header & 0x1F)
}

/// NAL units between start codes of 3 or 4 bytes.
fn nals(annexb: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = start_code(annexb).map(|(_, after)| &annexb[after..]);
    std::iter::from_fn(move || {
        let from = rest.take()?;
        let Some((end, after)) = start_code(from) else { return Some(from) };
        rest = Some(&from[after..]);
        Some(&from[..end])
    })
    .filter(|nal| !nal.is_empty())
}

/// Where the first start code begins, with the zero bytes before it, and where it ends.
fn start_code(bytes: &[u8]) -> Option<(usize, usize)> {
    let at = bytes.windows(3).position(|window| window == [0, 0, 1])?;
    // trailing_zero_8bits (B.1) belong to no NAL unit: none ends with a zero byte.
    let zeros = bytes[..at].iter().rev().take_while(|&&byte| byte == 0).count();
    Some((at - zeros, at + 3))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPS: [u8; 6] = [0x67, 100, 0, 31, 0xAC, 0xD9];
    const PPS: [u8; 3] = [0x68, 0xEB, 0xE3];

    fn annexb(nals: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for (index, nal) in nals.iter().enumerate() {
            out.extend_from_slice(if index % 2 == 0 { &[0, 0, 0, 1] } else { &[0, 0, 1] });
            out.extend_from_slice(nal);
        }
        out
    }

    #[test]
    fn start_codes_become_lengths() {
        let unit = annexb(&[&[9, 0xF0], &SPS, &PPS, &[6, 5, 1], &[0x65, 0, 0, 3, 1, 0x80], &[0x65, 7]]);
        let expected = [&[0, 0, 0, 3, 6, 5, 1][..], &[0, 0, 0, 6, 0x65, 0, 0, 3, 1, 0x80], &[0, 0, 0, 2, 0x65, 7]];
        assert_eq!(with_lengths(&unit), expected.concat());
    }

    #[test]
    fn what_is_no_access_unit_is_empty() {
        for bytes in [&[][..], &[0], &[0, 0, 1], &[0, 0, 0, 1, 0, 0, 1], &[1, 2, 3]] {
            assert!(with_lengths(bytes).is_empty(), "{bytes:?}");
            assert_eq!(record(bytes), None);
        }
    }

    #[test]
    fn the_record_holds_both_parameter_sets() {
        let record = record(&annexb(&[&SPS, &PPS, &[6, 5, 1]])).unwrap();
        let expected = [&[1, 100, 0, 31, 0xFF, 0xE1, 0, 6][..], &SPS, &[1, 0, 3], &PPS, &[0xFD, 0xF8, 0xF8, 0]];
        assert_eq!(record, expected.concat());
        let baseline = [0x67, 66, 0xC0, 30, 1];
        let record = super::record(&annexb(&[&baseline, &PPS])).unwrap();
        assert!(record.ends_with(&PPS), "profiles below High have no chroma fields");
        assert_eq!(super::record(&annexb(&[&SPS])), None);
    }
}
