//! FFmpeg's AAC-LC encoder and libopus, without what they send before the sound begins.

use super::super::{WorkError, ffi};
use super::resample::{Line, layout};
use crate::AUDIO_RATE;
use bytes::Bytes;
use config::AudioCodec;
use ffmpeg_next::codec::Context;
use ffmpeg_next::format::Sample;
use ffmpeg_next::format::sample::Type;
use ffmpeg_next::{Dictionary, Error, Packet, Rational, encoder};
use media::{AacConfig, CodecError, Frame, OpusConfig, TrackConfig, TrackKind};

/// What differs from codec to codec.
struct Codec {
    /// The encoder's name in FFmpeg, and as people know it.
    encoder: &'static str,
    known_as: &'static str,
    /// Of its input.
    format: Sample,
    options: &'static [(&'static str, &'static str)],
    /// Samples of an access unit.
    unit: u32,
    /// The track, from what the opened encoder gives for its header.
    track: fn(&[u8], u16) -> Result<TrackConfig, CodecError>,
}

/// Encodes one track from a line of samples.
pub(super) struct Encoder {
    encoder: encoder::audio::Encoder,
    codec: &'static Codec,
    track: TrackConfig,
    /// Where on the line the next access unit begins.
    next: i64,
}

const AAC: Codec = Codec {
    encoder: "aac",
    known_as: "AAC encoder",
    format: Sample::F32(Type::Planar),
    options: &[("flags", "+global_header")],
    unit: AacConfig::UNIT_SAMPLES,
    track: |header, channels| {
        let record = Bytes::copy_from_slice(header);
        Ok(TrackConfig::Aac { config: AacConfig { record, sample_rate: AUDIO_RATE, channels } })
    },
};

const OPUS: Codec = Codec {
    encoder: "libopus",
    known_as: "Opus encoder",
    format: Sample::F32(Type::Packed),
    // No second takes more than the bit rate; a packet is 20 ms.
    options: &[("vbr", "constrained"), ("frame_duration", "20"), ("application", "audio")],
    unit: OpusConfig::UNIT_SAMPLES,
    track: |header, _| Ok(TrackConfig::Opus { config: OpusConfig::of_head(header)? }),
};

impl Codec {
    fn of(codec: AudioCodec) -> &'static Self {
        match codec {
            AudioCodec::Aac => &AAC,
            AudioCodec::Opus => &OPUS,
        }
    }
}

/// Whether this build of FFmpeg has an encoder of sound in `codec`.
pub(in super::super) fn is_there(codec: AudioCodec) -> bool {
    encoder::find_by_name(Codec::of(codec).encoder).is_some()
}

impl Encoder {
    pub(super) fn open(codec: AudioCodec, channels: u16, bitrate: u32) -> Result<Self, WorkError> {
        let codec = Codec::of(codec);
        let found = encoder::find_by_name(codec.encoder).ok_or(WorkError::Missing(codec.known_as))?;
        let mut audio = Context::new_with_codec(found)
            .encoder()
            .audio()
            .map_err(|source| WorkError::Codec { what: "set up an audio encoder", source })?;
        audio.set_rate(AUDIO_RATE as i32);
        audio.set_format(codec.format);
        audio.set_channel_layout(layout(channels));
        audio.set_time_base(Rational::new(1, AUDIO_RATE as i32));
        let mut options = Dictionary::new();
        options.set("b", &bitrate.to_string());
        codec.options.iter().for_each(|(name, value)| options.set(name, value));
        ffi::open(&mut audio.0, found, codec.encoder, options)?;
        let encoder = encoder::audio::Encoder(audio);
        if encoder.frame_size() != codec.unit {
            return Err(WorkError::Missing("audio encoder with access units of the usual length"));
        }
        let track = (codec.track)(ffi::extradata(&encoder), channels)?;
        // What a packet holds lies so many samples before what went in. Where that is no whole access unit, sound goes in so
        // much later, behind silence, that packets begin where access units are to begin.
        let unit = i64::from(codec.unit);
        let held = i64::from(ffi::initial_padding(&encoder)).rem_euclid(unit);
        let next = if held == 0 { 0 } else { held - unit };
        Ok(Self { encoder, codec, track, next })
    }

    pub(super) fn track(&self) -> &TrackConfig {
        &self.track
    }

    /// The end of the access unit that holds the last of so many samples.
    pub(super) fn end(&self, samples: i64) -> i64 {
        let unit = i64::from(self.codec.unit);
        self.next + (samples - self.next + unit - 1).div_euclid(unit).max(0) * unit
    }

    /// What it has not taken of the line yet begins here.
    pub(super) fn position(&self) -> i64 {
        self.next
    }

    /// Takes the next access unit, if the line has it.
    pub(super) fn take(&mut self, line: &Line) -> Result<bool, WorkError> {
        let Some(unit) = line.unit(self.next, self.codec.unit as usize, self.codec.format) else { return Ok(false) };
        self.next += i64::from(self.codec.unit);
        self.encoder.send_frame(&unit).map_err(|source| WorkError::Codec { what: "encode audio", source })?;
        Ok(true)
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
