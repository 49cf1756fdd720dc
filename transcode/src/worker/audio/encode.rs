//! FFmpeg's AAC-LC encoder, without the access unit of silence that it starts with.

use super::super::{WorkError, ffi};
use crate::{ACCESS_UNIT_SAMPLES, AUDIO_RATE};
use bytes::Bytes;
use ffmpeg_next::codec::Context;
use ffmpeg_next::format::Sample;
use ffmpeg_next::format::sample::Type;
use ffmpeg_next::{ChannelLayout, Dictionary, Error, Packet, Rational, encoder, frame};
use media::{AacConfig, Frame, TrackKind};

const ENCODER: &str = "aac";

pub(super) struct Aac {
    encoder: encoder::audio::Encoder,
    channels: u16,
}

impl Aac {
    pub(super) fn open(channels: u16, bitrate: u32) -> Result<Self, WorkError> {
        let codec = encoder::find_by_name(ENCODER).ok_or(WorkError::Missing("AAC encoder"))?;
        let mut audio = Context::new_with_codec(codec)
            .encoder()
            .audio()
            .map_err(|source| WorkError::Codec { what: "set up the AAC encoder", source })?;
        audio.set_rate(AUDIO_RATE as i32);
        audio.set_format(Sample::F32(Type::Planar));
        audio.set_channel_layout(if channels == 1 { ChannelLayout::MONO } else { ChannelLayout::STEREO });
        audio.set_time_base(Rational::new(1, AUDIO_RATE as i32));
        let mut options = Dictionary::new();
        options.set("b", &bitrate.to_string());
        options.set("flags", "+global_header");
        ffi::open(&mut audio.0, codec, ENCODER, options)?;
        let encoder = encoder::audio::Encoder(audio);
        if encoder.frame_size() != ACCESS_UNIT_SAMPLES {
            return Err(WorkError::Missing("AAC encoder with access units of 1024 samples"));
        }
        Ok(Self { encoder, channels })
    }

    pub(super) fn config(&self) -> AacConfig {
        let record = Bytes::copy_from_slice(ffi::extradata(&self.encoder));
        AacConfig { record, sample_rate: AUDIO_RATE, channels: self.channels }
    }

    pub(super) fn encode(&mut self, unit: &frame::Audio) -> Result<(), WorkError> {
        self.encoder.send_frame(unit).map_err(|source| WorkError::Codec { what: "encode audio", source })
    }

    pub(super) fn finish(&mut self) -> Result<(), WorkError> {
        self.encoder.send_eof().map_err(|source| WorkError::Codec { what: "finish encoding audio", source })
    }

    /// The next access unit, if there is one yet.
    pub(super) fn coded(&mut self) -> Result<Option<Frame>, WorkError> {
        loop {
            let mut packet = Packet::empty();
            match self.encoder.receive_packet(&mut packet) {
                Ok(()) => (),
                Err(Error::Other { errno: libc::EAGAIN } | Error::Eof) => return Ok(None),
                Err(source) => return Err(WorkError::Codec { what: "take coded audio", source }),
            }
            let (Some(pts), Some(data)) = (packet.pts(), packet.data()) else { return Err(WorkError::Bitstream) };
            // The encoder's priming lies before zero. A live track has no edit list to hide it, so it is not sent; the
            // first access unit then fades in over its 21 ms.
            if pts >= 0 {
                let data = Bytes::copy_from_slice(data);
                return Ok(Some(Frame { kind: TrackKind::Audio, dts: pts, pts, keyframe: true, data }));
            }
        }
    }
}
