//! VP9 in MP4 (VP Codec ISO Media File Format Binding): the configuration record, and which frames decoding can start at.

use crate::{FrameRate, VideoConfig};
use bytes::{BufMut, BytesMut};

/// Colour as ISO/IEC 23091-2 counts it; 2 is unspecified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Color {
    pub primaries: u8,
    pub transfer: u8,
    pub matrix: u8,
    pub full_range: bool,
}

/// The set-up of profile 0, 8 bits and 4:2:0, whose level follows from size, rate and bits per second: bitstreams do not
/// tell it.
pub fn config((width, height): (u32, u32), rate: FrameRate, bitrate: u32, color: Color) -> VideoConfig {
    let Color { primaries, transfer, matrix, full_range } = color;
    let mut record = BytesMut::with_capacity(8);
    record.put_slice(&[0, level((width, height), rate, bitrate)]);
    record.put_u8(8 << 4 | SAMPLED_WITH_LUMA << 1 | u8::from(full_range));
    record.put_slice(&[primaries, transfer, matrix]);
    record.put_u16(0);
    VideoConfig { record: record.freeze(), width, height, pixel_aspect: None }
}

/// Whether a frame is a key frame: frame_marker, profile, show_existing_frame and frame_type are the first bits
/// (VP9, 6.2).
pub fn is_key(frame: &[u8]) -> bool {
    frame.first().is_some_and(|first| first >> 6 == 2 && first >> 4 & 3 != 3 && first & 0x0C == 0)
}

/// `vp09.00.31.08` is profile 0, level 3.1, 8 bits.
pub(crate) fn codec(record: &[u8]) -> String {
    let byte = |index: usize| record.get(index).copied().unwrap_or_default();
    format!("vp09.{:02}.{:02}.{:02}", byte(0), byte(1), byte(2) >> 4)
}

/// The least that allows so many luma samples per second and per picture, samples of a side, and bits per second.
fn level((width, height): (u32, u32), rate: FrameRate, bitrate: u32) -> u8 {
    let picture = u64::from(width) * u64::from(height);
    let per_second = (picture as f64 * rate.hz()).ceil() as u64;
    let fits = |&&(_, samples, size, side, kilobits): &&Level| {
        per_second <= samples && picture <= size && width.max(height) <= side && u64::from(bitrate) <= kilobits * 1000
    };
    LEVELS.iter().find(fits).map_or(HIGHEST, |level| level.0)
}

/// Its number; luma samples per second, and of a picture; samples of a side; kilobits per second.
type Level = (u8, u64, u64, u32, u64);

const LEVELS: [Level; 14] = [
    (10, 829_440, 36_864, 512, 200),
    (11, 2_764_800, 73_728, 768, 800),
    (20, 4_608_000, 122_880, 960, 1800),
    (21, 9_216_000, 245_760, 1344, 3600),
    (30, 20_736_000, 552_960, 2048, 7200),
    (31, 36_864_000, 983_040, 2752, 12_000),
    (40, 83_558_400, 2_228_224, 4160, 18_000),
    (41, 160_432_128, 2_228_224, 4160, 30_000),
    (50, 311_951_360, 8_912_896, 8384, 60_000),
    (51, 588_251_136, 8_912_896, 8384, 120_000),
    (52, 1_176_502_272, 8_912_896, 8384, 180_000),
    (60, 1_176_502_272, 35_651_584, 16_832, 180_000),
    (61, 2_353_004_544, 35_651_584, 16_832, 240_000),
    (62, 4_706_009_088, 35_651_584, 16_832, 480_000),
];
const HIGHEST: u8 = 62;
/// Chroma subsampling 4:2:0, colocated with the first luma sample.
const SAMPLED_WITH_LUMA: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    const UNSPECIFIED: Color = Color { primaries: 2, transfer: 2, matrix: 2, full_range: false };

    #[test]
    fn the_level_is_the_least_that_holds() {
        for (size, rate, bitrate, expected) in [
            ((640, 360), 30, 800_000, "vp09.00.21.08"),
            ((1280, 720), 30, 3_000_000, "vp09.00.31.08"),
            ((1280, 720), 60, 3_000_000, "vp09.00.40.08"),
            ((1920, 1080), 30, 20_000_000, "vp09.00.41.08"),
            ((16_384, 16_384), 120, 1, "vp09.00.62.08"),
        ] {
            let config = config(size, FrameRate::new(rate, 1).unwrap(), bitrate, UNSPECIFIED);
            assert_eq!(codec(&config.record), expected);
        }
    }

    #[test]
    fn the_record_tells_depth_sampling_and_colour() {
        let color = Color { primaries: 1, transfer: 1, matrix: 1, full_range: true };
        let config = config((640, 360), FrameRate::USUAL, 1, color);
        assert_eq!(config.record, &[0, 21, 0x83, 1, 1, 1, 0, 0][..]);
    }

    #[test]
    fn key_frames_are_known_by_their_first_byte() {
        assert!(is_key(&[0x82, 0x49, 0x83, 0x42]));
        assert!(!is_key(&[0x86]), "an inter frame");
        assert!(!is_key(&[0x88]), "an earlier frame, shown again");
        assert!(!is_key(&[0x42]) && !is_key(&[]));
    }
}
