//! HEVC by x265.

use super::{Codec, Settings, Takes, Unit, annexb, threads};
use crate::hardware::Engine;
use config::VideoCodec;
use ffmpeg_next::Dictionary;
use ffmpeg_next::frame::Video;
use media::hevc::{self, NAL_AUD, NAL_PPS, NAL_SPS, NAL_VPS, nal_type};
use media::{CodecError, TrackConfig};

pub(super) const CODEC: Codec = Codec {
    engine: Engine::Software,
    codec: VideoCodec::Hevc,
    counts: false,
    takes: Takes::Planar,
    options,
    track,
    coded,
};

fn options(settings: &Settings, preset: &str) -> Dictionary<'static> {
    let mut options = Dictionary::new();
    let Settings { encoding, peak, segment_pictures, .. } = settings;
    let segment = segment_pictures.to_string();
    // Zerolatency: no look-ahead, no B-frames, one picture at a time.
    options.set("preset", preset);
    options.set("tune", "zerolatency");
    options.set("bf", "0");
    options.set("forced-idr", "1");
    options.set("g", &segment);
    options.set("keyint_min", &segment);
    options.set("flags", "+cgop+global_header");
    options.set("b", &encoding.bitrate.to_string());
    ["maxrate", "bufsize"].iter().for_each(|name| options.set(name, &peak.to_string()));
    options.set("x265-params", &params(threads(encoding.height), encoding.quality));
    options
}

/// What FFmpeg has no options of its own for. Of a name that x265 does not know it only warns, and goes on.
fn params(threads: u32, finest: Option<u8>) -> String {
    // Rows of one picture side by side, by a pool of so many threads. A pool of one thread waits for its turn at every row: on a
    // busy machine it took ten times as long as none.
    let rows = if threads > 1 { format!("pools={threads}:wpp=1") } else { "pools=none:wpp=0".to_owned() };
    // No scene cuts, no open GOPs. Little is printed, and the settings are not in every stream.
    // As with x264 a quality is the least quantizer, below which no bits are spent.
    let finest = finest.map(|finest| format!(":qpmin={finest}")).unwrap_or_default();
    format!("scenecut=0:open-gop=0:frame-threads=1:{rows}{finest}:log-level=warning:info=0")
}

pub(super) fn track(settings: &Settings, header: &[u8], _: &Video) -> Result<TrackConfig, CodecError> {
    let config = hevc::config(annexb::nals(header))?;
    Ok(TrackConfig::Hevc { config, timescale: settings.grid.timescale() })
}

pub(super) fn coded(packet: &[u8]) -> Option<Unit> {
    let data = annexb::with_lengths(packet, |nal| !matches!(nal_type(nal), NAL_VPS | NAL_SPS | NAL_PPS | NAL_AUD));
    Some(Unit { key: annexb::nals(packet).any(hevc::is_idr), data })
}
