//! One x264 encoder: no delay, IDR pictures where the grid says and nowhere else.

use super::{WorkError, annexb, ffi};
use crate::keeping::faster_preset;
use crate::{Encoding, Make, Plan};
use bytes::Bytes;
use ffmpeg_next::codec::Context;
use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame::Video;
use ffmpeg_next::{Dictionary, Error, Packet, Rational, encoder, picture};
use media::{AvcConfig, FrameRate};

const ENCODER: &str = "libx264";

/// What an encoder of one rung must know.
pub(super) struct Settings {
    pub(super) encoding: Encoding,
    /// The leaky bucket that no picture may overflow: what runs out in a second, and what it holds, in bits.
    bucket: (u32, u32),
    /// Of the grid, not of the rung.
    pub(super) grid: FrameRate,
    /// Of the rung's pictures.
    rate: FrameRate,
    segment_pictures: u32,
    segment_frames: u32,
    part_frames: u32,
    /// Faster presets have the parameter sets of the rung's own.
    pinned: bool,
}

impl Settings {
    /// Those of a rendition that is to be encoded; `None` for another.
    pub(super) fn of(plan: &Plan, make: &Make) -> Option<Self> {
        let encoding = make.encoding()?.clone();
        Some(Self {
            bucket: bucket(plan, make, &encoding),
            grid: plan.rate,
            rate: make.rate(plan.rate),
            segment_pictures: plan.segment_frames / encoding.every,
            segment_frames: plan.segment_frames,
            part_frames: plan.part_frames,
            pinned: true,
            encoding,
        })
    }

    /// Of the grid.
    pub(super) fn segment_frames(&self) -> i64 {
        i64::from(self.segment_frames)
    }

    /// One of so many pictures of the grid is as few as can be: every part begins with one.
    pub(super) fn few(&self) -> i64 {
        let own = self.encoding.every.max(1);
        let few = [4, 2].into_iter().map(|times| times * own).find(|few| self.part_frames.is_multiple_of(*few));
        i64::from(few.unwrap_or(1))
    }

    /// Faster presets then have other parameter sets.
    #[cfg(test)]
    pub(super) fn force_another_track(&mut self) {
        self.pinned = false;
    }

    /// Whether presets that are so many steps faster are two.
    pub(super) fn differ(&self, one: u8, other: u8) -> bool {
        faster_preset(&self.encoding.preset, one) != faster_preset(&self.encoding.preset, other)
    }
}

pub(super) struct X264 {
    encoder: encoder::video::Encoder,
    config: AvcConfig,
    segment_pictures: i64,
    every: i64,
}

/// A coded picture.
pub(super) struct Coded {
    /// Of the grid.
    pub(super) index: i64,
    pub(super) idr: bool,
    /// With 4-byte lengths.
    pub(super) data: Bytes,
}

impl X264 {
    /// Opens an encoder for pictures that look like `first`, by a preset that is so many steps faster than the rung's.
    pub(super) fn open(settings: &Settings, faster: u8, first: &Video) -> Result<Self, WorkError> {
        let codec = encoder::find_by_name(ENCODER).ok_or(WorkError::Missing("x264"))?;
        let mut video = Context::new_with_codec(codec)
            .encoder()
            .video()
            .map_err(|source| WorkError::Codec { what: "set up x264", source })?;
        // The wire refuses rates whose terms exceed a million.
        let (num, den) = (settings.rate.num() as i32, settings.rate.den() as i32);
        let Encoding { width, height, every, .. } = settings.encoding;
        video.set_width(width);
        video.set_height(height);
        video.set_format(Pixel::YUV420P);
        video.set_time_base(Rational::new(den, num));
        video.set_frame_rate(Some(Rational::new(num, den)));
        video.set_aspect_ratio(first.aspect_ratio());
        video.set_colorspace(first.color_space());
        video.set_color_primaries(first.color_primaries());
        video.set_color_transfer_characteristic(first.color_transfer_characteristic());
        ffi::open(&mut video.0, codec, ENCODER, options(settings, faster))?;
        let encoder = encoder::video::Encoder(video);
        let record = annexb::record(ffi::extradata(&encoder)).ok_or(WorkError::Bitstream)?;
        let config = AvcConfig { record, width, height };
        let (segment_pictures, every) = (i64::from(settings.segment_pictures), i64::from(every));
        Ok(Self { encoder, config, segment_pictures, every })
    }

    pub(super) fn config(&self) -> &AvcConfig {
        &self.config
    }

    /// Encodes a picture as the one at `index` of the grid, if the rung has one there.
    pub(super) fn encode(&mut self, picture: &Video, index: i64) -> Result<(), WorkError> {
        let failed = |source| WorkError::Codec { what: "encode a picture", source };
        if index % self.every != 0 {
            return Ok(());
        }
        let own = index / self.every;
        let mut picture = ffi::share(picture).map_err(failed)?;
        picture.set_pts(Some(own));
        // The decoder left the source's picture type, which x264 would obey.
        let at_start = own % self.segment_pictures == 0;
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
        let (Some(own), Some(data)) = (packet.pts(), packet.data()) else { return Err(WorkError::Bitstream) };
        Ok(Some(Coded { index: own * self.every, idr: packet.is_key(), data: annexb::with_lengths(data) }))
    }
}

/// No segment has more than the peak, which players are told. An encoder that aims at a bit rate keeps below it with a
/// second of the peak. One that aims at a quality would take all that it may for as long as it may, so what it may on
/// average is the bit rate, and a segment may borrow what is between that and the peak.
fn bucket(plan: &Plan, make: &Make, encoding: &Encoding) -> (u32, u32) {
    let peak = make.peak_bitrate().unwrap_or(encoding.bitrate);
    match encoding.quality {
        None => (peak, peak),
        Some(_) => {
            let borrowed = f64::from(peak - encoding.bitrate) * plan.segment().as_secs_f64();
            (encoding.bitrate, borrowed as u32)
        }
    }
}

fn options(settings: &Settings, faster: u8) -> Dictionary<'static> {
    let mut options = Dictionary::new();
    let Settings { encoding, bucket: (runs, holds), segment_pictures, .. } = settings;
    let segment = segment_pictures.to_string();
    // Zerolatency: no look-ahead, no B-frames, threads on slices of one picture instead of on several pictures.
    let preset = faster_preset(&encoding.preset, faster);
    options.set("preset", preset);
    if faster > 0 && settings.pinned {
        pin(&encoding.preset, preset, &mut options);
    }
    options.set("tune", "zerolatency");
    options.set("bf", "0");
    // IDR where it is asked for, and no other key frame: no scene cuts, no open GOPs.
    options.set("forced-idr", "1");
    options.set("g", &segment);
    options.set("keyint_min", &segment);
    options.set("sc_threshold", "0");
    options.set("flags", "+cgop+global_header");
    match encoding.quality {
        Some(quality) => options.set("crf", &quality.to_string()),
        None => options.set("b", &encoding.bitrate.to_string()),
    }
    options.set("maxrate", &runs.to_string());
    options.set("bufsize", &holds.to_string());
    options.set("threads", threads(encoding.height));
    options
}

/// Whatever of a preset is in the parameter sets, which viewers have and which stay: how many pictures are referred to
/// (max_num_ref_frames), CABAC (entropy_coding_mode_flag), transforms of 8x8 and the profile with them, weighted prediction,
/// and how much better chroma is coded (chroma_qp_index_offset), which presets that judge luma by its looks add to.
fn pin(own: &str, used: &str, options: &mut Dictionary) {
    let refs = match own {
        "ultrafast" | "superfast" | "veryfast" => "1",
        "faster" | "fast" => "2",
        "medium" => "3",
        "slow" => "5",
        "slower" => "8",
        _ => "16",
    };
    let is_plain = own == "ultrafast";
    options.set("refs", refs);
    options.set("coder", if is_plain { "cavlc" } else { "cabac" });
    options.set("8x8dct", if is_plain { "0" } else { "1" });
    options.set("weightp", if is_plain { "0" } else { "1" });
    let judges = |preset| !matches!(preset, "ultrafast" | "superfast" | "veryfast" | "faster");
    if judges(own) && !judges(used) {
        options.set("chromaoffset", "-2");
    }
}

/// Slices cost quality, so small pictures, which one core encodes many times faster than live, have one.
fn threads(height: u32) -> &'static str {
    match height {
        0..720 => "1",
        720..1440 => "2",
        _ => "4",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn settings(preset: &str, quality: Option<u8>) -> Settings {
        let preset = preset.to_owned();
        let make = Make::Video(Encoding { width: 640, height: 360, every: 1, bitrate: 800_000, quality, preset });
        let plan = Plan {
            rate: FrameRate::new(30, 1).unwrap(),
            segment_frames: 60,
            part_frames: 10,
            target_duration_s: 2,
            part_target: Duration::from_millis(334),
            renditions: Vec::new(),
            thumbnails: None,
        };
        Settings::of(&plan, &make).unwrap()
    }

    #[test]
    fn a_faster_preset_has_the_parameter_sets_of_the_rung_s_own() {
        ffmpeg_next::init().unwrap();
        let picture = Video::new(Pixel::YUV420P, 640, 360);
        for preset in ["superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"] {
            for quality in [None, Some(23)] {
                let settings = settings(preset, quality);
                let own = X264::open(&settings, 0, &picture).unwrap();
                for faster in (1..=4).filter(|&faster| settings.differ(0, faster)) {
                    let other = X264::open(&settings, faster, &picture).unwrap();
                    assert_eq!(own.config(), other.config(), "{preset} and {faster} steps faster, {quality:?}");
                }
            }
        }
    }
}
