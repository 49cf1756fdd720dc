//! H.264, HEVC and AV1 by NVIDIA's devices. It takes pictures as they are, and brings them to the device itself.

use super::{Codec, Settings, Takes, svt_av1, x264, x265};
use crate::hardware::Engine;
use config::VideoCodec;
use ffmpeg_next::Dictionary;

const GENERAL: Codec = Codec {
    engine: Engine::Nvenc,
    codec: VideoCodec::H264,
    counts: false,
    takes: Takes::Planar,
    options,
    track: x264::track,
    coded: x264::coded,
};
pub(super) const H264: Codec = GENERAL;
pub(super) const HEVC: Codec = Codec { codec: VideoCodec::Hevc, track: x265::track, coded: x265::coded, ..GENERAL };
pub(super) const AV1: Codec = Codec { codec: VideoCodec::Av1, track: svt_av1::track, coded: svt_av1::coded, ..GENERAL };

fn options(settings: &Settings, preset: &str) -> Dictionary<'static> {
    let mut options = Dictionary::new();
    let quality = settings.encoding.quality;
    super::general(settings, &mut options);
    options.set("preset", speed(preset));
    // Ultra-low latency: no look-ahead, and each picture is given as soon as it is coded.
    options.set("tune", "ull");
    options.set("delay", "0");
    options.set("zerolatency", "1");
    options.set("forced-idr", "1");
    // Only a variable rate knows a least quantizer, which a quality is.
    options.set("rc", if quality.is_some() { "vbr" } else { "cbr" });
    options
}

/// Its presets go from the fastest, 1, to 7. The names are those of x264 and x265; SVT-AV1's numbers have no like here.
fn speed(preset: &str) -> &'static str {
    match preset {
        "ultrafast" => "p1",
        "superfast" => "p2",
        "veryfast" => "p3",
        "medium" => "p5",
        "slow" => "p6",
        "slower" | "veryslow" => "p7",
        _ => "p4",
    }
}
