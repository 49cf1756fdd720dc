//! H.264, HEVC, AV1 and VP9 by devices of VA-API. Pictures are brought to them first.

use super::{Codec, Settings, Takes, svt_av1, vpx, x264, x265};
use crate::hardware::Engine;
use config::VideoCodec;
use ffmpeg_next::Dictionary;

const GENERAL: Codec = Codec {
    engine: Engine::Vaapi,
    codec: VideoCodec::H264,
    counts: false,
    takes: Takes::Surfaces,
    options,
    track: x264::track,
    coded: x264::coded,
};
pub(super) const H264: Codec = GENERAL;
pub(super) const HEVC: Codec = Codec { codec: VideoCodec::Hevc, track: x265::track, coded: x265::coded, ..GENERAL };
pub(super) const AV1: Codec = Codec { codec: VideoCodec::Av1, track: svt_av1::track, coded: svt_av1::coded, ..GENERAL };
pub(super) const VP9: Codec = Codec { codec: VideoCodec::Vp9, track: vpx::track, coded: vpx::coded, ..GENERAL };

/// Drivers have no presets in common.
fn options(settings: &Settings, _: &str) -> Dictionary<'static> {
    let mut options = Dictionary::new();
    super::general(settings, &mut options);
    options.set("rc_mode", if settings.encoding.quality.is_some() { "VBR" } else { "CBR" });
    // Every key frame is an IDR picture, and no picture is held back for the next.
    options.set("idr_interval", "0");
    options.set("async_depth", "1");
    options
}
