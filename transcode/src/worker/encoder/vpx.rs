//! VP9 by libvpx.

use super::{Codec, Settings, Takes, Unit, pixel_aspect, threads};
use crate::hardware::Engine;
use bytes::Bytes;
use config::VideoCodec;
use ffmpeg_next::Dictionary;
use ffmpeg_next::color::Range;
use ffmpeg_next::ffi::{AVColorPrimaries, AVColorSpace, AVColorTransferCharacteristic};
use ffmpeg_next::frame::Video;
use media::{CodecError, TrackConfig, VideoConfig, vp9};

pub(super) const CODEC: Codec = Codec {
    engine: Engine::Software,
    codec: VideoCodec::Vp9,
    counts: false,
    takes: Takes::Planar,
    options,
    track,
    coded,
};

fn options(settings: &Settings, preset: &str) -> Dictionary<'static> {
    let mut options = Dictionary::new();
    let Settings { encoding, .. } = settings;
    let threads = threads(encoding.height).to_string();
    options.set("deadline", "realtime");
    options.set("cpu-used", preset);
    // No look-ahead, and so no pictures that are not shown.
    options.set("lag-in-frames", "0");
    options.set("auto-alt-ref", "0");
    // Key frames where they are asked for, and nowhere else. Told of an interval, libvpx counts the pictures that it gets from the
    // first on, whatever was asked for since: where some are left out, its key frames come later each time.
    options.set("g", NEVER);
    // All alike, they mean a constant bit rate, which is the only one that it keeps to. A quality is then the least
    // quantizer, below which it spends no bits.
    let bitrate = encoding.bitrate.to_string();
    ["b", "minrate", "maxrate"].iter().for_each(|name| options.set(name, &bitrate));
    if let Some(quality) = encoding.quality {
        options.set("qmin", &quality.to_string());
    }
    // What a segment of two seconds may borrow, up to the peak.
    options.set("bufsize", &(encoding.bitrate / 2).to_string());
    options.set("threads", &threads);
    options.set("row-mt", "1");
    options.set("tile-columns", if encoding.height < 720 { "0" } else { "1" });
    options
}

/// More pictures than an encoder of a live stream gets before its next key frame.
const NEVER: &str = "100000";

/// Nothing in the bitstream tells the level, and the header has no more than the size.
pub(super) fn track(settings: &Settings, _: &[u8], first: &Video) -> Result<TrackConfig, CodecError> {
    let Settings { encoding, rate, grid, peak, .. } = settings;
    let color = vp9::Color {
        primaries: AVColorPrimaries::from(first.color_primaries()) as u8,
        transfer: AVColorTransferCharacteristic::from(first.color_transfer_characteristic()) as u8,
        matrix: AVColorSpace::from(first.color_space()) as u8,
        full_range: first.color_range() == Range::JPEG,
    };
    let config = vp9::config((encoding.width, encoding.height), *rate, *peak, color);
    let config = VideoConfig { pixel_aspect: pixel_aspect(first), ..config };
    Ok(TrackConfig::Vp9 { config, timescale: grid.timescale() })
}

pub(super) fn coded(packet: &[u8]) -> Option<Unit> {
    Some(Unit { key: vp9::is_key(packet), data: Bytes::copy_from_slice(packet) })
}
