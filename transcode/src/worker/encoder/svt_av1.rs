//! AV1 by SVT-AV1.
//!
//! Through FFmpeg 5.1 it takes no request for a key frame, so it counts: a GOP is a segment, and the first picture that it gets
//! is at the start of one.

use super::{Codec, Settings, Takes, Unit, pixel_aspect, threads};
use crate::hardware::Engine;
use config::VideoCodec;
use ffmpeg_next::Dictionary;
use ffmpeg_next::frame::Video;
use media::{CodecError, TrackConfig, VideoConfig, av1};

pub(super) const CODEC: Codec = Codec {
    engine: Engine::Software,
    codec: VideoCodec::Av1,
    counts: true,
    takes: Takes::Planar,
    options,
    track,
    coded,
};

fn options(settings: &Settings, preset: &str) -> Dictionary<'static> {
    let mut options = Dictionary::new();
    let Settings { encoding, segment_pictures, .. } = settings;
    options.set("preset", preset);
    options.set("g", &segment_pictures.to_string());
    options.set("flags", "+cgop+global_header");
    // A constant bit rate is the only one that it keeps to without look-ahead: a cap above a constant rate factor was exceeded
    // three times over. A quality is then the least quantizer, below which it spends no bits.
    options.set("b", &encoding.bitrate.to_string());
    if let Some(quality) = encoding.quality {
        options.set("qmin", &quality.to_string());
    }
    options.set("svtav1-params", &params(threads(encoding.height)));
    // A name among the parameters that the encoder does not know is an error, not a warning.
    options.set("err_detect", "explode");
    options
}

/// Low delay: each picture from those before it. No key frames at scene cuts.
fn params(threads: u32) -> String {
    format!("rc=2:pred-struct=1:lookahead=0:scd=0:enable-overlays=0:lp={threads}")
}

pub(super) fn track(settings: &Settings, header: &[u8], first: &Video) -> Result<TrackConfig, CodecError> {
    let config = VideoConfig { pixel_aspect: pixel_aspect(first), ..av1::config(header)? };
    Ok(TrackConfig::Av1 { config, timescale: settings.grid.timescale() })
}

pub(super) fn coded(packet: &[u8]) -> Option<Unit> {
    let av1::TemporalUnit { data, key } = av1::temporal_unit(packet)?;
    Some(Unit { key, data })
}
