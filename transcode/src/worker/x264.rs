//! One x264 encoder: no delay, IDR pictures where the grid says and nowhere else.

use super::{WorkError, annexb, ffi};
use crate::{Make, Plan};
use bytes::Bytes;
use ffmpeg_next::codec::Context;
use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame::Video;
use ffmpeg_next::{Dictionary, Error, Packet, Rational, encoder, picture};
use media::{AvcConfig, FrameRate};

const ENCODER: &str = "libx264";

/// What an encoder of one rung must know.
pub(super) struct Settings {
    pub(super) width: u32,
    pub(super) height: u32,
    /// Target and peak, in bits per second.
    pub(super) bitrate: u32,
    pub(super) peak: u32,
    pub(super) preset: String,
    pub(super) rate: FrameRate,
    pub(super) segment_frames: u32,
}

impl Settings {
    /// Those of a rendition that is to be encoded; `None` for another.
    pub(super) fn of(plan: &Plan, make: &Make) -> Option<Self> {
        let Make::Video { width, height, bitrate, preset } = make else { return None };
        Some(Self {
            width: *width,
            height: *height,
            bitrate: *bitrate,
            peak: make.peak_bitrate().unwrap_or(*bitrate),
            preset: preset.clone(),
            rate: plan.rate,
            segment_frames: plan.segment_frames,
        })
    }
}

pub(super) struct X264 {
    encoder: encoder::video::Encoder,
    config: AvcConfig,
    segment_frames: i64,
}

/// A coded picture.
pub(super) struct Coded {
    pub(super) index: i64,
    pub(super) idr: bool,
    /// With 4-byte lengths.
    pub(super) data: Bytes,
}

impl X264 {
    /// Opens an encoder for pictures that look like `first`.
    pub(super) fn open(settings: &Settings, first: &Video) -> Result<Self, WorkError> {
        let codec = encoder::find_by_name(ENCODER).ok_or(WorkError::Missing("x264"))?;
        let mut video = Context::new_with_codec(codec)
            .encoder()
            .video()
            .map_err(|source| WorkError::Codec { what: "set up x264", source })?;
        // The wire refuses rates whose terms exceed a million.
        let (num, den) = (settings.rate.num() as i32, settings.rate.den() as i32);
        video.set_width(settings.width);
        video.set_height(settings.height);
        video.set_format(Pixel::YUV420P);
        video.set_time_base(Rational::new(den, num));
        video.set_frame_rate(Some(Rational::new(num, den)));
        video.set_aspect_ratio(first.aspect_ratio());
        video.set_colorspace(first.color_space());
        video.set_color_primaries(first.color_primaries());
        video.set_color_transfer_characteristic(first.color_transfer_characteristic());
        ffi::open(&mut video.0, codec, ENCODER, options(settings))?;
        let encoder = encoder::video::Encoder(video);
        let record = annexb::record(ffi::extradata(&encoder)).ok_or(WorkError::Bitstream)?;
        let config = AvcConfig { record, width: settings.width, height: settings.height };
        Ok(Self { encoder, config, segment_frames: i64::from(settings.segment_frames) })
    }

    pub(super) fn config(&self) -> &AvcConfig {
        &self.config
    }

    /// Encodes a picture as the one at `index` of the grid.
    pub(super) fn encode(&mut self, picture: &Video, index: i64) -> Result<(), WorkError> {
        let failed = |source| WorkError::Codec { what: "encode a picture", source };
        let mut picture = ffi::share(picture).map_err(failed)?;
        picture.set_pts(Some(index));
        // The decoder left the source's picture type, which x264 would obey.
        let at_start = index % self.segment_frames == 0;
        picture.set_kind(if at_start { picture::Type::I } else { picture::Type::None });
        self.encoder.send_frame(&picture).map_err(failed)
    }

    pub(super) fn finish(&mut self) -> Result<(), WorkError> {
        self.encoder.send_eof().map_err(|source| WorkError::Codec { what: "finish encoding", source })
    }

    /// The next coded picture, if there is one yet.
    pub(super) fn coded(&mut self) -> Result<Option<Coded>, WorkError> {
        let mut packet = Packet::empty();
        match self.encoder.receive_packet(&mut packet) {
            Ok(()) => (),
            Err(Error::Other { errno: libc::EAGAIN } | Error::Eof) => return Ok(None),
            Err(source) => return Err(WorkError::Codec { what: "take a coded picture", source }),
        }
        let (Some(index), Some(data)) = (packet.pts(), packet.data()) else { return Err(WorkError::Bitstream) };
        Ok(Some(Coded { index, idr: packet.is_key(), data: annexb::with_lengths(data) }))
    }
}

fn options(settings: &Settings) -> Dictionary<'static> {
    let mut options = Dictionary::new();
    let segment = settings.segment_frames.to_string();
    // Zerolatency: no look-ahead, no B-frames, threads on slices of one picture instead of on several pictures.
    options.set("preset", &settings.preset);
    options.set("tune", "zerolatency");
    options.set("bf", "0");
    // IDR where it is asked for, and no other key frame: no scene cuts, no open GOPs.
    options.set("forced-idr", "1");
    options.set("g", &segment);
    options.set("keyint_min", &segment);
    options.set("sc_threshold", "0");
    options.set("flags", "+cgop+global_header");
    // Capped VBR: a buffer of about one second at the peak.
    options.set("b", &settings.bitrate.to_string());
    options.set("maxrate", &settings.peak.to_string());
    options.set("bufsize", &settings.peak.to_string());
    options.set("threads", threads(settings.height));
    options
}

/// Slices cost quality, so small pictures, which one core encodes many times faster than live, have one.
fn threads(height: u32) -> &'static str {
    match height {
        0..720 => "1",
        720..1440 => "2",
        _ => "4",
    }
}
