//! H.264, HEVC, AV1 and VP9 by Intel's Quick Sync Video. It takes pictures with interleaved chroma, and brings them to the
//! device itself.

use super::{Codec, Settings, Takes, svt_av1, vpx, x264, x265};
use crate::hardware::Engine;
use config::VideoCodec;
use ffmpeg_next::Dictionary;

const GENERAL: Codec = Codec {
    engine: Engine::Qsv,
    codec: VideoCodec::H264,
    counts: false,
    takes: Takes::Interleaved,
    options: with_idr,
    track: x264::track,
    coded: x264::coded,
};
pub(super) const H264: Codec = GENERAL;
pub(super) const HEVC: Codec = Codec { codec: VideoCodec::Hevc, track: x265::track, coded: x265::coded, ..GENERAL };
pub(super) const AV1: Codec =
    Codec { codec: VideoCodec::Av1, track: svt_av1::track, coded: svt_av1::coded, ..COUNTING };
pub(super) const VP9: Codec = Codec { codec: VideoCodec::Vp9, track: vpx::track, coded: vpx::coded, ..COUNTING };
/// Of these no key frame can be asked for, but a GOP is a segment.
const COUNTING: Codec = Codec { counts: true, options, ..GENERAL };

fn with_idr(settings: &Settings, preset: &str) -> Dictionary<'static> {
    let mut options = options(settings, preset);
    options.set("forced_idr", "1");
    options
}

fn options(settings: &Settings, preset: &str) -> Dictionary<'static> {
    let mut options = Dictionary::new();
    super::general(settings, &mut options);
    options.set("preset", speed(preset));
    // One picture at a time: more would be held back.
    options.set("async_depth", "1");
    options
}

/// Its presets have the names of those of x264, but for the fastest two; SVT-AV1's and libvpx's numbers have no like here.
fn speed(preset: &str) -> &'static str {
    match preset {
        "faster" => "faster",
        "fast" => "fast",
        "medium" => "medium",
        "slow" => "slow",
        "slower" => "slower",
        "veryslow" => "veryslow",
        _ => "veryfast",
    }
}
