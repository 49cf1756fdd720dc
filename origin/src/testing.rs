//! Values that the unit tests of this crate start from.

use bytes::Bytes;
use config::{AudioCodec, VideoCodec};
use media::{AacConfig, AvcConfig, FrameRate, Timescale, TrackConfig};
use transcode::{Encoding, Make, Plan, Rendition, Source};

/// A small seeded generator (xorshift64*), for tests that draw many cases and must name the one that failed.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }
}

/// x264, 320x180, high profile.
const AVCC: &[u8] = &[
    1, 100, 0, 13, 0xff, 0xe1, 0, 25, 0x67, 0x64, 0, 0x0d, 0xac, 0xd9, 0x41, 0x41, 0x9f, 0x9e, 0x10, 0, 0, 3, 0, 0x10,
    0, 0, 3, 3, 0xc0, 0xf1, 0x42, 0x99, 0x60, 1, 0, 6, 0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0, 0xfd, 0xf8, 0xf8, 0,
];

pub(crate) fn avc_config() -> AvcConfig {
    AvcConfig { record: Bytes::from_static(AVCC), width: 320, height: 180 }
}

pub(crate) fn aac_config() -> AacConfig {
    AacConfig { record: Bytes::from_static(&[0x11, 0x90]), sample_rate: 48_000, channels: 2 }
}

pub(crate) fn avc(timescale: Timescale) -> TrackConfig {
    TrackConfig::Avc { config: avc_config(), timescale }
}

pub(crate) fn aac() -> TrackConfig {
    TrackConfig::Aac { config: aac_config() }
}

/// What the ladder makes of a picture, at every frame of the grid.
pub(crate) fn rung(width: u32, height: u32, bitrate: u32) -> Make {
    let (codec, preset) = (VideoCodec::H264, "veryfast".to_owned());
    Make::Video(Encoding { codec, width, height, every: 1, bitrate, quality: Some(23), preset })
}

/// A plan whose grid is given: passthrough and audio.
pub(crate) fn plan(fps: u32, segment_frames: u32, part_frames: u32) -> Plan {
    let rate = FrameRate::new(fps, 1).unwrap();
    let source = Source { video: avc_config(), audio: Some(aac_config()), rate, gop: Some(segment_frames) };
    let origin = config::Config::parse("[origin]\n", []).unwrap().origin.unwrap();
    Plan {
        segment_frames,
        part_frames,
        target_duration_s: (f64::from(segment_frames) / rate.hz()).round() as u64,
        part_target: longest_part(rate, part_frames),
        renditions: vec![
            Rendition { name: "180p".to_owned(), make: Make::Passthrough },
            Rendition {
                name: "audio".to_owned(),
                make: Make::Audio { codec: AudioCodec::Aac, bitrate: 128_000, channels: 2 },
            },
        ],
        ..transcode::plan(&source, &origin.segment, &origin.ladder)
    }
}

fn longest_part(rate: FrameRate, part_frames: u32) -> std::time::Duration {
    let samples = (f64::from(part_frames) / rate.hz() * 48_000.0 / 1024.0 - 1e-9).ceil() * 1024.0;
    std::time::Duration::from_millis((samples / 48.0).ceil() as u64)
}

/// Compares with the file `golden/{name}` of this crate; `UPDATE_GOLDEN=1` rewrites it instead.
pub(crate) fn golden(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{name} differs; UPDATE_GOLDEN=1 rewrites it if the change is meant");
}
