//! Configuration records of real encoders, for the tests of this crate.

use bytes::Bytes;

/// An AVCDecoderConfigurationRecord in hexadecimal, the picture size and the codec it stands for.
pub(crate) type AvcSample = (&'static str, (u32, u32), &'static str);

/// From x264: High with cropping, Baseline, 4:4:4, Main with interlaced coding, 4:2:2, High with scaling lists.
pub(crate) const AVC: [AvcSample; 6] = [
    (
        "01640028 ffe1001b 67640028acd940780227e5c0440000030004000003 00f03c60c658 01000668ebe3cb22c0 fdf8f800",
        (1920, 1080),
        "avc1.640028",
    ),
    (
        "0142c015 ffe10019 6742c015d901b1fe4f0110000003001000000303c0f162e480 01000568cb83cb20",
        (426, 240),
        "avc1.42c015",
    ),
    (
        "01f4001e ffe1001b 67f4001e919b281405ff1380880000030008000003 01e078b16cb0 01000668ebe3c44844 fff8f800",
        (640, 360),
        "avc1.f4001e",
    ),
    ("014d401f ffe10018 674d401feca05a126c0440000003004000000f07c58b6580 01000568fba3cb20", (720, 576), "avc1.4d401f"),
    (
        "017a000d ffe1001b 677a000dbcd941519e222f0110000003001000000303c0f1429960 01000668ebe3cb22c0 fef8f800",
        (322, 182),
        "avc1.7a000d",
    ),
    (
        "0164001e ffe1001a 6764001eacd940a02ff9701100000300010000030 03c0f162d96 01000768ebe3cb3002c0 fdf8f800",
        (640, 360),
        "avc1.64001e",
    ),
];

/// Bytes of a hexadecimal text; blanks are for the reader.
pub(crate) fn bytes(hex: &str) -> Bytes {
    let digits: Vec<u8> = hex.chars().filter(|c| *c != ' ').map(|c| c.to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
