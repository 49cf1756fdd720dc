//! Turns what x264 and x265 write (Annex B of their standards, start codes) into what files hold (ISO/IEC 14496-15,
//! lengths). Pure.

use bytes::{BufMut, Bytes, BytesMut};

/// An access unit with 4-byte lengths, of those NAL units that are to be kept.
pub(super) fn with_lengths(annexb: &[u8], keep: impl Fn(&[u8]) -> bool) -> Bytes {
    let mut out = BytesMut::with_capacity(annexb.len() + 16);
    for nal in nals(annexb).filter(|nal| keep(nal)) {
        out.put_u32(nal.len() as u32);
        out.put_slice(nal);
    }
    out.freeze()
}

/// NAL units between start codes of 3 or 4 bytes.
pub(super) fn nals(annexb: &[u8]) -> impl Iterator<Item = &[u8]> {
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
pub(super) mod tests {
    use super::*;

    pub(crate) fn annexb(nals: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for (index, nal) in nals.iter().enumerate() {
            out.extend_from_slice(if index % 2 == 0 { &[0, 0, 0, 1] } else { &[0, 0, 1] });
            out.extend_from_slice(nal);
        }
        out
    }

    #[test]
    fn start_codes_become_lengths() {
        let unit = annexb(&[&[9, 0xF0], &[6, 5, 1], &[0x65, 0, 0, 3, 1, 0x80], &[0x65, 7]]);
        let expected = [&[0, 0, 0, 3, 6, 5, 1][..], &[0, 0, 0, 6, 0x65, 0, 0, 3, 1, 0x80], &[0, 0, 0, 2, 0x65, 7]];
        assert_eq!(with_lengths(&unit, |nal| nal[0] != 9), expected.concat());
    }

    #[test]
    fn what_is_no_access_unit_is_empty() {
        for bytes in [&[][..], &[0], &[0, 0, 1], &[0, 0, 0, 1, 0, 0, 1], &[1, 2, 3]] {
            assert!(with_lengths(bytes, |_| true).is_empty(), "{bytes:?}");
        }
    }
}
