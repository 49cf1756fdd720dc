//! One encoder of a rung: no delay, key frames where the grid says and nowhere else, whatever the codec.

mod annexb;
mod intake;
mod nvenc;
mod qsv;
#[cfg(test)]
mod read_back;
mod svt_av1;
mod trial;
mod vaapi;
mod vpx;
mod x264;
mod x265;

use super::{WorkError, ffi};
use crate::hardware::Engine;
use crate::keeping::faster_preset;
use crate::{Encoding, Make, Plan};
use bytes::Bytes;
use config::VideoCodec;
use ffmpeg_next::codec::Context;
use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame::Video;
use ffmpeg_next::{Dictionary, Error, Packet, Rational, encoder, picture};
use intake::{Intake, Takes};
use media::{CodecError, FrameRate, TrackConfig};
pub(super) use trial::trial;

/// What an encoder of one rung must know.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) encoding: Encoding,
    /// What no segment exceeds, and players are told: in bits per second. A leaky bucket that holds a second of it keeps an
    /// encoder below.
    peak: u32,
    /// Of the grid, not of the rung.
    pub(super) grid: FrameRate,
    /// Of the rung's pictures.
    rate: FrameRate,
    segment_pictures: u32,
    segment_frames: u32,
    part_frames: u32,
    /// Faster presets have the parameter sets of the rung's own.
    pinned: bool,
    engine: Engine,
}

/// What differs from codec to codec.
struct Codec {
    engine: Engine,
    codec: VideoCodec,
    takes: Takes,
    /// It takes no request for a key frame, but counts: a GOP is a segment.
    counts: bool,
    /// By a preset that may be faster than the rung's own.
    options: fn(&Settings, &str) -> Dictionary<'static>,
    /// The track, from what the opened encoder gives for its header.
    track: fn(&Settings, &[u8], &Video) -> Result<TrackConfig, CodecError>,
    /// A packet as files hold it.
    coded: fn(&[u8]) -> Option<Unit>,
}

/// A coded picture without its place.
struct Unit {
    key: bool,
    data: Bytes,
}

pub(super) struct Encoder {
    codec: &'static Codec,
    intake: Intake,
    encoder: encoder::video::Encoder,
    track: TrackConfig,
    segment_pictures: i64,
    every: i64,
    /// The place among the rung's own pictures that comes next, once there was one.
    next: Option<i64>,
}

/// A coded picture.
pub(super) struct Coded {
    /// Of the grid.
    pub(super) index: i64,
    /// Decoding can start here.
    pub(super) key: bool,
    /// As [`media::Frame`] has it.
    pub(super) data: Bytes,
}

impl Settings {
    /// Those of a rendition that is to be encoded; `None` for another.
    pub(super) fn of(plan: &Plan, make: &Make) -> Option<Self> {
        let encoding = make.encoding()?.clone();
        Some(Self {
            peak: make.peak_bitrate().unwrap_or(encoding.bitrate),
            grid: plan.rate,
            rate: make.rate(plan.rate),
            segment_pictures: plan.segment_frames / encoding.every,
            segment_frames: plan.segment_frames,
            part_frames: plan.part_frames,
            pinned: true,
            engine: Engine::Software,
            encoding,
        })
    }

    /// The same, to be encoded by what was chosen.
    pub(super) fn by(self, engine: Engine) -> Self {
        Self { engine, ..self }
    }

    /// What encodes it, as FFmpeg calls it, if a device does.
    pub(super) fn device(&self) -> Option<&'static str> {
        self.engine.encoder(self.encoding.codec).filter(|_| self.engine != Engine::Software)
    }

    /// What encodes it, as FFmpeg calls it.
    pub(super) fn encoder(&self) -> &'static str {
        self.engine.encoder(self.encoding.codec).unwrap_or_default()
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
        // What a preset of a device costs is not of the processor.
        self.engine == Engine::Software && self.preset(one) != self.preset(other)
    }

    fn preset(&self, faster: u8) -> &str {
        faster_preset(self.encoding.codec, &self.encoding.preset, faster)
    }

    /// Whether the encoder has to begin anew where the rung gets more pictures or fewer.
    pub(super) fn counts(&self) -> bool {
        self.codec().is_ok_and(|codec| codec.counts)
    }

    fn codec(&self) -> Result<&'static Codec, WorkError> {
        Codec::of(self.engine, self.encoding.codec).ok_or(WorkError::Missing("such an encoder"))
    }

    /// The same for one of `every` pictures of the grid.
    fn thinned(&self, every: u32) -> Self {
        let encoding = Encoding { every, ..self.encoding.clone() };
        let rate = Make::Video(encoding.clone()).rate(self.grid);
        Self { encoding, rate, segment_pictures: self.segment_frames / every, ..self.clone() }
    }
}

impl Codec {
    fn of(engine: Engine, codec: VideoCodec) -> Option<&'static Self> {
        use VideoCodec::{Av1, H264, Hevc, Vp9};
        Some(match (engine, codec) {
            (Engine::Software, H264) => &x264::CODEC,
            (Engine::Software, Hevc) => &x265::CODEC,
            (Engine::Software, Av1) => &svt_av1::CODEC,
            (Engine::Software, Vp9) => &vpx::CODEC,
            (Engine::Nvenc, H264) => &nvenc::H264,
            (Engine::Nvenc, Hevc) => &nvenc::HEVC,
            (Engine::Nvenc, Av1) => &nvenc::AV1,
            (Engine::Nvenc, Vp9) => return None,
            (Engine::Qsv, H264) => &qsv::H264,
            (Engine::Qsv, Hevc) => &qsv::HEVC,
            (Engine::Qsv, Av1) => &qsv::AV1,
            (Engine::Qsv, Vp9) => &qsv::VP9,
            (Engine::Vaapi, H264) => &vaapi::H264,
            (Engine::Vaapi, Hevc) => &vaapi::HEVC,
            (Engine::Vaapi, Av1) => &vaapi::AV1,
            (Engine::Vaapi, Vp9) => &vaapi::VP9,
        })
    }

    /// As FFmpeg calls it.
    fn name(&self) -> &'static str {
        self.engine.encoder(self.codec).unwrap_or_default()
    }
}

/// What encoders of devices have in common: no pictures ahead, key frames at segments, and a bit rate that is kept to.
fn general(settings: &Settings, options: &mut Dictionary<'static>) {
    let Settings { encoding, peak, segment_pictures, .. } = settings;
    options.set("bf", "0");
    options.set("g", &segment_pictures.to_string());
    options.set("flags", "+cgop+global_header");
    options.set("b", &encoding.bitrate.to_string());
    // A bit rate that is kept to needs no other; a quality leaves bits that busy pictures may take.
    let most = if encoding.quality.is_some() { *peak } else { encoding.bitrate };
    options.set("maxrate", &most.to_string());
    options.set("bufsize", &peak.to_string());
    if let Some(finest) = encoding.quality {
        options.set("qmin", &finest.to_string());
    }
}

/// Whether this build of FFmpeg has an encoder of pictures in `codec`.
pub(super) fn is_there(codec: VideoCodec) -> bool {
    Engine::Software.encoder(codec).and_then(encoder::find_by_name).is_some()
}

impl Encoder {
    /// Opens an encoder for pictures that look like `first`, by a preset that is so many steps faster than the rung's, for one
    /// of `every` pictures of the grid. The first one that it gets must be at the start of a segment.
    pub(super) fn open(settings: &Settings, (faster, every): (u8, u32), first: &Video) -> Result<Self, WorkError> {
        let thinned = settings.thinned(every);
        let settings = if settings.counts() && every != settings.encoding.every { &thinned } else { settings };
        Self::of(settings, faster, first).map_err(|error| error.of_device(settings.device()))
    }

    fn of(settings: &Settings, faster: u8, first: &Video) -> Result<Self, WorkError> {
        let Encoding { codec: coding, width, height, every, .. } = settings.encoding;
        let codec = settings.codec()?;
        let found = encoder::find_by_name(codec.name()).ok_or_else(|| WorkError::Missing(coding.encoder()))?;
        let mut video = Context::new_with_codec(found)
            .encoder()
            .video()
            .map_err(|source| WorkError::Codec { what: "set up an encoder", source })?;
        // The wire refuses rates whose terms exceed a million.
        let (num, den) = (settings.rate.num() as i32, settings.rate.den() as i32);
        video.set_width(width);
        video.set_height(height);
        video.set_format(codec.takes.pixels());
        video.set_time_base(Rational::new(den, num));
        video.set_frame_rate(Some(Rational::new(num, den)));
        video.set_aspect_ratio(first.aspect_ratio());
        video.set_colorspace(first.color_space());
        video.set_color_primaries(first.color_primaries());
        video.set_color_transfer_characteristic(first.color_transfer_characteristic());
        let intake = Intake::open(codec.takes, (width, height), &mut video.0)?;
        ffi::open(&mut video.0, found, codec.name(), (codec.options)(settings, settings.preset(faster)))?;
        let encoder = encoder::video::Encoder(video);
        let track = (codec.track)(settings, ffi::extradata(&encoder), first)?;
        let (segment_pictures, every) = (i64::from(settings.segment_pictures), i64::from(every));
        Ok(Self { codec, intake, encoder, track, segment_pictures, every, next: None })
    }

    /// What a player must know before the first picture. It says all that a decoder is set up with: encoders of one rung
    /// whose tracks are equal can follow each other in one epoch.
    pub(super) fn track(&self) -> &TrackConfig {
        &self.track
    }

    /// Encodes a picture as the one at `index` of the grid, if the rung has one there.
    ///
    /// # Errors
    /// The pictures do not follow each other from the start of a segment. An encoder that counts pictures to its next key
    /// frame gets every one: behind a gap another has to begin at a segment.
    pub(super) fn encode(&mut self, picture: &Video, index: i64) -> Result<(), WorkError> {
        self.take(picture, index).map_err(|error| error.of_device(self.device()))
    }

    fn take(&mut self, picture: &Video, index: i64) -> Result<(), WorkError> {
        let failed = |source| WorkError::Codec { what: "encode a picture", source };
        if index % self.every != 0 {
            return Ok(());
        }
        let own = index / self.every;
        let at_start = own % self.segment_pictures == 0;
        // A rung that has fewer pictures for want of time leaves some out.
        let follows = |next| if self.codec.counts { own == next } else { own >= next };
        if !self.next.map_or(at_start, follows) {
            return Err(WorkError::Misplaced { index });
        }
        self.next = Some(own + 1);
        let mut picture = self.intake.take(picture)?;
        picture.set_pts(Some(own));
        // The decoder left the source's picture type, which encoders would obey.
        picture.set_kind(if at_start { picture::Type::I } else { picture::Type::None });
        self.encoder.send_frame(&picture).map_err(failed)
    }

    /// No more pictures come; what the encoder holds is to be had of [`Encoder::coded`].
    pub(super) fn finish(&mut self) -> Result<(), WorkError> {
        let device = self.device();
        let failed = |source| WorkError::Codec { what: "finish encoding", source }.of_device(device);
        self.encoder.send_eof().map_err(failed)
    }

    fn device(&self) -> Option<&'static str> {
        Some(self.codec.name()).filter(|_| self.codec.engine != Engine::Software)
    }

    /// All that is left in it, to nobody.
    fn drain(&mut self) {
        if self.encoder.send_eof().is_ok() {
            let mut packet = Packet::empty();
            while self.encoder.receive_packet(&mut packet).is_ok() {}
        }
    }

    /// The next coded picture, if there is one yet.
    ///
    /// # Errors
    /// The encoder put a key frame elsewhere than at the start of a segment, or none there: no rendition could be switched to.
    pub(super) fn coded(&mut self) -> Result<Option<Coded>, WorkError> {
        self.give().map_err(|error| error.of_device(self.device()))
    }

    fn give(&mut self) -> Result<Option<Coded>, WorkError> {
        let mut packet = Packet::empty();
        match self.encoder.receive_packet(&mut packet) {
            Ok(()) => (),
            Err(Error::Other { errno: libc::EAGAIN } | Error::Eof) => return Ok(None),
            Err(source) => return Err(WorkError::Codec { what: "take a coded picture", source }),
        }
        let (Some(own), Some(data)) = (packet.pts(), packet.data()) else { return Err(WorkError::Bitstream) };
        let Unit { key, data } = (self.codec.coded)(data).ok_or(WorkError::Bitstream)?;
        let index = own * self.every;
        if key != (own % self.segment_pictures == 0) {
            return Err(WorkError::Misplaced { index });
        }
        Ok(Some(Coded { index, key, data }))
    }
}

/// SVT-AV1 waits for ever for an end that nobody has told it, and for one without a picture before it.
impl Drop for Encoder {
    fn drop(&mut self) {
        if self.codec.engine == Engine::Software && self.codec.codec == VideoCodec::Av1 {
            if self.next.is_none() {
                let mut blank = Video::new(Pixel::YUV420P, self.encoder.width(), self.encoder.height());
                blank.set_pts(Some(0));
                // One that it does not take leaves it as it was.
                let _ = self.encoder.send_frame(&blank);
            }
            self.drain();
        }
    }
}

/// Of a sample of a picture, where it is no square.
fn pixel_aspect(picture: &Video) -> Option<(u32, u32)> {
    let aspect = picture.aspect_ratio();
    let (width, height) = (u32::try_from(aspect.numerator()).ok()?, u32::try_from(aspect.denominator()).ok()?);
    Some((width, height)).filter(|(width, height)| *width > 0 && *height > 0 && width != height)
}

/// Cuts cost quality, so small pictures, which one core encodes many times faster than live, are not cut.
fn threads(height: u32) -> u32 {
    match height {
        0..720 => 1,
        720..1440 => 2,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn settings(codec: VideoCodec, preset: &str, quality: Option<u8>) -> Settings {
        let preset = preset.to_owned();
        let make =
            Make::Video(Encoding { codec, width: 640, height: 360, every: 1, bitrate: 800_000, quality, preset });
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
                let settings = settings(VideoCodec::H264, preset, quality);
                let own = Encoder::open(&settings, (0, 1), &picture).unwrap();
                for faster in (1..=4).filter(|&faster| settings.differ(0, faster)) {
                    let other = Encoder::open(&settings, (faster, 1), &picture).unwrap();
                    assert_eq!(own.track(), other.track(), "{preset} and {faster} steps faster, {quality:?}");
                }
            }
        }
    }

    #[test]
    fn an_encoder_that_counts_gets_every_picture_from_the_start_of_a_segment() {
        ffmpeg_next::init().unwrap();
        let picture = Video::new(Pixel::YUV420P, 640, 360);
        let encoded = |codec, indices: &[i64]| {
            let preset = if codec == VideoCodec::Av1 { "12" } else { "ultrafast" };
            let mut encoder = Encoder::open(&settings(codec, preset, None), (0, 1), &picture).unwrap();
            indices.iter().all(|&index| encoder.encode(&picture, index).is_ok())
        };
        for codec in [VideoCodec::H264, VideoCodec::Av1] {
            assert!(encoded(codec, &[60, 61]));
            assert!(!encoded(codec, &[61]), "{codec:?} begins in the middle");
            assert!(!encoded(codec, &[60, 60]), "{codec:?} gets one twice");
        }
        assert!(encoded(VideoCodec::H264, &[0, 2]));
        assert!(!encoded(VideoCodec::Av1, &[0, 2]), "a picture is missing");
    }
}
