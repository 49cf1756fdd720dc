//! Payloads of FLV tags, which RTMP carries as audio and video messages (Adobe FLV 10.1, annex E; Enhanced RTMP v2).

pub mod file;

use crate::avc::{access_unit, nal_length_size};
use crate::{AacConfig, AvcConfig, CodecError};
use bytes::{Buf, Bytes};

/// What a video tag says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VideoTag {
    /// The sequence header: it holds for the frames after it.
    Config(AvcConfig),
    Frame {
        /// The picture is an IDR: decided by its NAL units, for encoders also flag pictures one cannot start at.
        keyframe: bool,
        /// Presentation minus decoding time, in milliseconds, -2^23 to 2^23 - 1.
        composition_ms: i32,
        /// NAL units with 4-byte lengths, at least one.
        data: Bytes,
    },
    /// The publisher says that no frame follows.
    End,
    /// Nothing to decode: a command frame, colour metadata, an empty picture.
    Ignored,
}

/// What an audio tag says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AudioTag {
    /// The sequence header: it holds for the frames after it.
    Config(AacConfig),
    /// One raw access unit, never empty.
    Frame(Bytes),
    Ignored,
}

/// Why a tag was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlvError {
    #[error("the {0} tag ends too early")]
    Truncated(&'static str),
    #[error("the stream's video is {0}; set the encoder to H.264")]
    UnsupportedVideo(&'static str),
    #[error("the stream's audio is {0}; set the encoder to AAC")]
    UnsupportedAudio(&'static str),
    #[error("the NAL units of a picture do not fill it")]
    InvalidPicture,
    #[error("a picture came before the sequence header")]
    NoSequenceHeader,
    #[error(transparent)]
    Codec(#[from] CodecError),
}

impl FlvError {
    /// Whether every later tag of this medium will fail as well: the publisher has to change its settings.
    pub fn is_lasting(&self) -> bool {
        matches!(self, Self::UnsupportedVideo(_) | Self::UnsupportedAudio(_) | Self::Codec(CodecError::Unsupported(_)))
    }
}

/// Reads the video tags of one publisher in their order: a picture needs the length size of the last sequence header.
#[derive(Clone, Debug, Default)]
pub struct VideoTags {
    nal_length_size: Option<usize>,
}

impl VideoTags {
    pub fn read(&mut self, mut payload: Bytes) -> Result<VideoTag, FlvError> {
        const TRUNCATED: FlvError = FlvError::Truncated("video");
        let header = payload.try_get_u8().map_err(|_| TRUNCATED)?;
        let is_enhanced = header & 0x80 != 0;
        let frame_type = header >> 4 & 7;
        if is_enhanced {
            let packet = enhanced_video_packet(header & 0xF, &mut payload)?;
            return if frame_type == FRAME_TYPE_COMMAND { Ok(VideoTag::Ignored) } else { self.packet(packet, payload) };
        }
        if frame_type == FRAME_TYPE_COMMAND {
            return Ok(VideoTag::Ignored);
        }
        if header & 0xF != CODEC_ID_AVC {
            return Err(FlvError::UnsupportedVideo(legacy_video_name(header & 0xF)));
        }
        let packet = match payload.try_get_u8().map_err(|_| TRUNCATED)? {
            0 => Packet::Config,
            1 => Packet::Picture,
            2 => Packet::End,
            _ => Packet::Other,
        };
        if packet == Packet::Picture {
            return self.packet(packet, payload);
        }
        payload.try_get_uint(3).map_err(|_| TRUNCATED)?;
        self.packet(packet, payload)
    }

    fn packet(&mut self, packet: Packet, mut payload: Bytes) -> Result<VideoTag, FlvError> {
        match packet {
            Packet::Config => {
                self.nal_length_size = None;
                let length_size = nal_length_size(&payload);
                let config = AvcConfig::parse(payload)?;
                self.nal_length_size = length_size;
                Ok(VideoTag::Config(config))
            }
            Packet::Picture => {
                let field = payload.try_get_uint(3).map_err(|_| FlvError::Truncated("video"))? as i32;
                // 24 bits in two's complement: the shifts carry the sign up.
                self.picture(field << 8 >> 8, payload)
            }
            Packet::PictureAtDecodingTime => self.picture(0, payload),
            Packet::End => Ok(VideoTag::End),
            Packet::Other => Ok(VideoTag::Ignored),
        }
    }

    fn picture(&self, composition_ms: i32, data: Bytes) -> Result<VideoTag, FlvError> {
        if data.is_empty() {
            return Ok(VideoTag::Ignored);
        }
        let length_size = self.nal_length_size.ok_or(FlvError::NoSequenceHeader)?;
        let unit = access_unit(data, length_size).ok_or(FlvError::InvalidPicture)?;
        Ok(VideoTag::Frame { keyframe: unit.idr, composition_ms, data: unit.data })
    }
}

impl AudioTag {
    pub fn parse(mut payload: Bytes) -> Result<Self, FlvError> {
        const TRUNCATED: FlvError = FlvError::Truncated("audio");
        let header = payload.try_get_u8().map_err(|_| TRUNCATED)?;
        let packet = match header >> 4 {
            SOUND_FORMAT_AAC => payload.try_get_u8().map_err(|_| TRUNCATED)?,
            SOUND_FORMAT_ENHANCED => {
                let packet = header & 0xF;
                if packet == AUDIO_MULTITRACK || packet == AUDIO_MOD_EX {
                    return Err(FlvError::UnsupportedAudio("multitrack or extended (Enhanced RTMP)"));
                }
                let four_cc = payload.try_get_u32().map_err(|_| TRUNCATED)?.to_be_bytes();
                if &four_cc != b"mp4a" {
                    return Err(FlvError::UnsupportedAudio(enhanced_audio_name(&four_cc)));
                }
                packet
            }
            format => return Err(FlvError::UnsupportedAudio(legacy_audio_name(format))),
        };
        match packet {
            0 => Ok(Self::Config(AacConfig::parse(payload)?)),
            1 if !payload.is_empty() => Ok(Self::Frame(payload)),
            _ => Ok(Self::Ignored),
        }
    }
}

/// Packet types of both forms of the video tag.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Packet {
    Config,
    /// A composition time of three bytes comes before the NAL units.
    Picture,
    PictureAtDecodingTime,
    End,
    Other,
}

/// Enhanced RTMP v2, ExVideoTagHeader. Leaves the payload behind the FourCC.
fn enhanced_video_packet(packet_type: u8, payload: &mut Bytes) -> Result<Packet, FlvError> {
    if packet_type == VIDEO_MULTITRACK || packet_type == VIDEO_MOD_EX {
        return Err(FlvError::UnsupportedVideo("multitrack or extended (Enhanced RTMP)"));
    }
    let four_cc = payload.try_get_u32().map_err(|_| FlvError::Truncated("video"))?.to_be_bytes();
    if &four_cc != b"avc1" {
        return Err(FlvError::UnsupportedVideo(enhanced_video_name(&four_cc)));
    }
    Ok(match packet_type {
        0 => Packet::Config,
        1 => Packet::Picture,
        2 => Packet::End,
        3 => Packet::PictureAtDecodingTime,
        _ => Packet::Other,
    })
}

fn enhanced_video_name(four_cc: &[u8; 4]) -> &'static str {
    match four_cc {
        b"hvc1" => "HEVC",
        b"vvc1" => "VVC",
        b"av01" => "AV1",
        b"vp09" => "VP9",
        b"vp08" => "VP8",
        _ => "of an unknown codec",
    }
}

fn legacy_video_name(codec_id: u8) -> &'static str {
    match codec_id {
        2 => "Sorenson H.263",
        3 | 6 => "Screen Video",
        4 | 5 => "VP6",
        12 => "HEVC",
        13 => "AV1",
        _ => "of an unknown codec",
    }
}

fn enhanced_audio_name(four_cc: &[u8; 4]) -> &'static str {
    match four_cc {
        b"Opus" => "Opus",
        b"fLaC" => "FLAC",
        b"ac-3" => "AC-3",
        b"ec-3" => "E-AC-3",
        b".mp3" => "MP3",
        _ => "of an unknown codec",
    }
}

fn legacy_audio_name(sound_format: u8) -> &'static str {
    match sound_format {
        0 | 3 => "PCM",
        1 => "ADPCM",
        2 | 14 => "MP3",
        4..=6 => "Nellymoser",
        7 | 8 => "G.711",
        11 => "Speex",
        _ => "of an unknown codec",
    }
}

const FRAME_TYPE_COMMAND: u8 = 5;
const CODEC_ID_AVC: u8 = 7;
const SOUND_FORMAT_AAC: u8 = 10;
const SOUND_FORMAT_ENHANCED: u8 = 9;
const VIDEO_MULTITRACK: u8 = 6;
const VIDEO_MOD_EX: u8 = 7;
const AUDIO_MULTITRACK: u8 = 5;
const AUDIO_MOD_EX: u8 = 7;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    fn hex(text: &str) -> Bytes {
        samples::bytes(text)
    }

    fn configured() -> VideoTags {
        let mut tags = VideoTags::default();
        let header = format!("17 00 000000 {}", samples::AVC[0].0);
        assert!(matches!(tags.read(hex(&header)), Ok(VideoTag::Config(config)) if config.width == 1920));
        tags
    }

    #[test]
    fn pictures_carry_composition_time_and_idr() {
        let mut tags = configured();
        let frame = |keyframe, composition_ms, data| Ok(VideoTag::Frame { keyframe, composition_ms, data: hex(data) });
        assert_eq!(tags.read(hex("17 01 000042 0000000165")), frame(true, 66, "0000000165"));
        assert_eq!(tags.read(hex("27 01 ffffff 0000000141")), frame(false, -1, "0000000141"));
        // Flagged as a key frame, but not an IDR.
        assert_eq!(tags.read(hex("17 01 000000 0000000141")), frame(false, 0, "0000000141"));
    }

    #[test]
    fn the_enhanced_form_of_avc_is_read_alike() {
        let mut tags = VideoTags::default();
        let header = format!("90 61766331 {}", samples::AVC[1].0);
        assert!(matches!(tags.read(hex(&header)), Ok(VideoTag::Config(config)) if config.width == 426));
        let frame = |composition_ms| Ok(VideoTag::Frame { keyframe: true, composition_ms, data: hex("0000000165") });
        assert_eq!(tags.read(hex("91 61766331 000021 0000000165")), frame(33));
        assert_eq!(tags.read(hex("93 61766331 0000000165")), frame(0));
        assert_eq!(tags.read(hex("92 61766331")), Ok(VideoTag::End));
        assert_eq!(tags.read(hex("94 61766331 0203")), Ok(VideoTag::Ignored));
    }

    #[test]
    fn what_carries_no_picture() {
        let mut tags = configured();
        assert_eq!(tags.read(hex("17 02 000000")), Ok(VideoTag::End));
        assert_eq!(tags.read(hex("57 00")), Ok(VideoTag::Ignored));
        assert_eq!(tags.read(hex("27 01 000000")), Ok(VideoTag::Ignored));
    }

    #[test]
    fn errors_name_the_codec_and_last_where_settings_are_wrong() {
        let mut tags = VideoTags::default();
        let mut video = |text| tags.read(hex(text)).unwrap_err();
        assert_eq!(video("90 68766331 00"), FlvError::UnsupportedVideo("HEVC"));
        assert_eq!(video("1c 00 000000"), FlvError::UnsupportedVideo("HEVC"));
        assert_eq!(video("22 00"), FlvError::UnsupportedVideo("Sorenson H.263"));
        assert!(video("90 61763031 00").is_lasting());
        assert_eq!(video("17 01 000000 0000000165"), FlvError::NoSequenceHeader);
        assert_eq!(video(""), FlvError::Truncated("video"));
        assert!(!video("17 00").is_lasting());
        assert_eq!(configured().read(hex("27 01 000000 0000000941")), Err(FlvError::InvalidPicture));
    }

    #[test]
    fn audio_in_both_forms() {
        let config = AacConfig::parse(hex("1190")).unwrap();
        for (text, tag) in [
            ("af 00 1190", AudioTag::Config(config.clone())),
            ("90 6d703461 1190", AudioTag::Config(config)),
            ("af 01 2100", AudioTag::Frame(hex("2100"))),
            ("91 6d703461 2100", AudioTag::Frame(hex("2100"))),
            ("af 01", AudioTag::Ignored),
            ("92 6d703461", AudioTag::Ignored),
        ] {
            assert_eq!(AudioTag::parse(hex(text)), Ok(tag), "{text}");
        }
        assert_eq!(AudioTag::parse(hex("2f 00")), Err(FlvError::UnsupportedAudio("MP3")));
        assert_eq!(AudioTag::parse(hex("90 4f707573")), Err(FlvError::UnsupportedAudio("Opus")));
        assert_eq!(AudioTag::parse(hex("")), Err(FlvError::Truncated("audio")));
    }

    #[test]
    fn mutated_tags_never_panic() {
        let seeds = [
            format!("17 00 000000 {}", samples::AVC[0].0),
            format!("90 61766331 {}", samples::AVC[2].0),
            "17 01 000042 0000000165 0000000541 00112233".to_owned(),
            "af 00 2b118800".to_owned(),
        ];
        let seed = 0x5EED_F1F0_u64;
        let mut random = seed;
        let mut next = move || {
            // xorshift64: enough disorder, and the same on every run.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random as usize
        };
        let mut read = 0;
        for round in 0..20_000 {
            let mut bytes = hex(&seeds[round % seeds.len()]).to_vec();
            for _ in 0..1 + next() % 4 {
                let at = next() % bytes.len();
                bytes[at] = next() as u8;
            }
            bytes.truncate(1 + next() % bytes.len());
            let mut tags = VideoTags { nal_length_size: Some(1 << (next() % 3)) };
            read += usize::from(tags.read(bytes.clone().into()).is_ok());
            read += usize::from(AudioTag::parse(bytes.into()).is_ok());
        }
        assert!(read > 100, "seed {seed:#x}: the mutations reach no more than the first checks: {read}");
    }
}
