//! Reads bit fields and Exp-Golomb codes; every read past the end says so.

/// A position in bytes, most significant bit first.
pub(crate) struct BitReader<'a> {
    data: &'a [u8],
    /// In bits, from the start of `data`.
    position: usize,
}

impl<'a> BitReader<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self { data, position: 0 }
    }

    /// Bits read so far.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    pub(crate) fn bit(&mut self) -> Option<u32> {
        let byte = *self.data.get(self.position / 8)?;
        let bit = byte >> (7 - self.position % 8) & 1;
        self.position += 1;
        Some(u32::from(bit))
    }

    pub(crate) fn flag(&mut self) -> Option<bool> {
        Some(self.bit()? == 1)
    }

    /// An unsigned field of `width` bits; at most 32.
    pub(crate) fn bits(&mut self, width: u32) -> Option<u32> {
        debug_assert!(width <= 32);
        let mut value = 0;
        for _ in 0..width {
            value = value << 1 | self.bit()?;
        }
        Some(value)
    }

    /// `ue(v)` of ISO/IEC 14496-10, 9.1. `None` also for codes above 32 bits, which no standard syntax holds.
    pub(crate) fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1 << zeros) - 1 + self.bits(zeros)?)
    }

    /// `se(v)` of ISO/IEC 14496-10, 9.1.1.
    pub(crate) fn se(&mut self) -> Option<i64> {
        let code = i64::from(self.ue()?);
        Some(if code % 2 == 1 { (code + 1) / 2 } else { -code / 2 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_codes_of_the_standard_s_table() {
        // 1, 010, 011, 00100, 00101: the first five codes of table 9-2, then padding.
        let bytes = [0b1010_0110, 0b0100_0010, 0b1000_0000];
        let mut unsigned = BitReader::new(&bytes);
        assert_eq!([(); 5].map(|()| unsigned.ue()), [Some(0), Some(1), Some(2), Some(3), Some(4)]);
        let mut signed = BitReader::new(&bytes);
        assert_eq!([(); 5].map(|()| signed.se()), [Some(0), Some(1), Some(-1), Some(2), Some(-2)]);
    }

    #[test]
    fn the_end_and_endless_zeros_are_none() {
        assert_eq!(BitReader::new(&[]).bit(), None);
        assert_eq!(BitReader::new(&[0xFF]).bits(9), None);
        assert_eq!(BitReader::new(&[0; 16]).ue(), None);
        assert_eq!(BitReader::new(&[0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF]).ue(), Some(u32::MAX - 1));
    }
}
