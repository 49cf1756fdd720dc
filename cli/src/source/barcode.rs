//! The time of a frame as a bar that a program can read off the screen: 40 cells, 32 bits and a check. Pure.
//!
//! Cell 0 is white and cell 1 black, for reference. Cells 2 to 33 are the low 32 bits of Unix milliseconds, most
//! significant first, white for one. Cells 34 to 39 are a CRC-6 of those 32 bits: polynomial x^6 + x + 1, initial
//! value 0, most significant bit first. The player's reader is tested with the same numbers as this file.

/// Cells of a bar, each as wide as the picture divided by this.
pub(crate) const CELLS: usize = 40;

/// The bar of a time: true for white.
pub(crate) fn cells(ms: u32) -> [bool; CELLS] {
    let mut cells = [false; CELLS];
    cells[0] = true;
    for (cell, bit) in cells[2..34].iter_mut().zip((0..32).rev()) {
        *cell = ms >> bit & 1 == 1;
    }
    for (cell, bit) in cells[34..].iter_mut().zip((0..6).rev()) {
        *cell = crc6(ms) >> bit & 1 == 1;
    }
    cells
}

/// CRC-6 with polynomial x^6 + x + 1 of 32 bits.
pub(crate) fn crc6(bits: u32) -> u8 {
    let mut register = 0_u8;
    for bit in (0..32).rev() {
        let feedback = (register >> 5 & 1) ^ (bits >> bit & 1) as u8;
        register = register << 1 & 0x3F;
        if feedback == 1 {
            register ^= 0b000011;
        }
    }
    register
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What a reader does with one row of luma samples across the bar: `None` if the check fails.
    pub(crate) fn read(row: &[u8]) -> Option<u32> {
        let cell = |index: usize| {
            let (from, to) = (index * row.len() / CELLS, (index + 1) * row.len() / CELLS);
            let quarter = (to - from) / 4;
            let middle = &row[from + quarter..to - quarter];
            middle.iter().map(|&luma| u32::from(luma)).sum::<u32>() as f32 / middle.len() as f32
        };
        let threshold = (cell(0) + cell(1)) / 2.0;
        let number = |cells: std::ops::Range<usize>| {
            cells.fold(0_u32, |number, index| number << 1 | u32::from(cell(index) > threshold))
        };
        let ms = number(2..34);
        (number(34..CELLS) == u32::from(crc6(ms))).then_some(ms)
    }

    #[test]
    fn checks_are_those_the_player_expects() {
        for (ms, crc) in [(0, 0), (1, 3), (0x1234_5678, 31), (0x8000_0000, 44), (0xDEAD_BEEF, 26), (0xFFFF_FFFF, 8)] {
            assert_eq!(crc6(ms), crc, "{ms:#x}");
        }
    }

    #[test]
    fn every_wrong_bit_and_every_wrong_pair_is_noticed() {
        let ms = 0x1234_5678;
        for first in 0..32 {
            assert_ne!(crc6(ms), crc6(ms ^ 1 << first));
            for second in 0..first {
                assert_ne!(crc6(ms), crc6(ms ^ 1 << first ^ 1 << second), "{first} and {second}");
            }
        }
    }

    #[test]
    fn a_bar_can_be_read_in_any_width_and_contrast() {
        for ms in [0, 1, 0xDEAD_BEEF, u32::MAX] {
            for width in [160, 640, 1279, 1920] {
                let luma = |x: usize| if cells(ms)[(x * CELLS / width).min(CELLS - 1)] { 180 } else { 60 };
                let row: Vec<_> = (0..width).map(luma).collect();
                assert_eq!(read(&row), Some(ms));
            }
        }
    }
}
