//! What a decoder must be told before the first frame: configuration records of pictures and of sound.

use crate::{Timescale, TrackKind, av1, hevc, vp9};
use bytes::Bytes;

/// H.264 set-up, from an AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvcConfig {
    /// The record itself: what an FLV sequence header carries and an `avcC` box holds.
    pub record: Bytes,
    /// Picture size in luma samples, after cropping.
    pub width: u32,
    pub height: u32,
}

/// Set-up of HEVC, AV1 or VP9, which are only made here and never taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoConfig {
    /// What an `hvcC`, an `av1C` or a `vpcC` box holds; of the last, behind its version and flags.
    pub record: Bytes,
    /// Picture size in luma samples.
    pub width: u32,
    pub height: u32,
    /// Width and height of a sample as it is shown, where it is no square and the bitstream does not tell.
    pub pixel_aspect: Option<(u32, u32)>,
}

/// AAC set-up, from an AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AacConfig {
    /// The config itself: what an FLV sequence header carries and an `esds` box holds.
    pub record: Bytes,
    /// Samples per second, of the core coder.
    pub sample_rate: u32,
    pub channels: u16,
}

/// Opus set-up. It always counts 48,000 samples per second (RFC 6716, 2.1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpusConfig {
    /// What a `dOps` box holds (Encapsulation of Opus in ISO Base Media File Format, 4.3.2).
    pub record: Bytes,
    pub channels: u16,
}

/// One track as a packager sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrackConfig {
    Avc { config: AvcConfig, timescale: Timescale },
    Hevc { config: VideoConfig, timescale: Timescale },
    Av1 { config: VideoConfig, timescale: Timescale },
    Vp9 { config: VideoConfig, timescale: Timescale },
    Aac { config: AacConfig },
    Opus { config: OpusConfig },
}

/// Why a configuration record was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("the {0} configuration record ends too early")]
    Truncated(&'static str),
    #[error("unsupported {0}")]
    Unsupported(&'static str),
    #[error("invalid {0}")]
    Invalid(&'static str),
}

impl TrackConfig {
    pub fn kind(&self) -> TrackKind {
        match self {
            Self::Avc { .. } | Self::Hevc { .. } | Self::Av1 { .. } | Self::Vp9 { .. } => TrackKind::Video,
            Self::Aac { .. } | Self::Opus { .. } => TrackKind::Audio,
        }
    }

    /// The codec as RFC 6381 names it, for `CODECS` attributes and MIME types.
    pub fn codec(&self) -> String {
        match self {
            Self::Avc { config, .. } => config.codec(),
            Self::Hevc { config, .. } => hevc::codec(&config.record),
            Self::Av1 { config, .. } => av1::codec(&config.record),
            Self::Vp9 { config, .. } => vp9::codec(&config.record),
            Self::Aac { config } => config.codec(),
            // RFC 6381 takes the four characters of the sample entry; browsers know them in small letters alone.
            Self::Opus { .. } => "opus".to_owned(),
        }
    }

    /// Ticks per second of the frames of this track; for audio, its sample rate.
    pub fn timescale(&self) -> Timescale {
        match self {
            Self::Avc { timescale, .. }
            | Self::Hevc { timescale, .. }
            | Self::Av1 { timescale, .. }
            | Self::Vp9 { timescale, .. } => *timescale,
            Self::Aac { config } => Timescale(config.sample_rate),
            Self::Opus { .. } => Timescale(OpusConfig::SAMPLE_RATE),
        }
    }

    /// Width and height of its pictures; `None` for sound.
    pub fn size(&self) -> Option<(u32, u32)> {
        match self {
            Self::Avc { config, .. } => Some((config.width, config.height)),
            Self::Hevc { config, .. } | Self::Av1 { config, .. } | Self::Vp9 { config, .. } => {
                Some((config.width, config.height))
            }
            Self::Aac { .. } | Self::Opus { .. } => None,
        }
    }

    /// Channels of its sound; `None` for pictures.
    pub fn channels(&self) -> Option<u16> {
        match self {
            Self::Aac { config } => Some(config.channels),
            Self::Opus { config } => Some(config.channels),
            Self::Avc { .. } | Self::Hevc { .. } | Self::Av1 { .. } | Self::Vp9 { .. } => None,
        }
    }

    /// Samples of one access unit of its sound; `None` for pictures.
    pub fn unit_samples(&self) -> Option<u32> {
        match self {
            Self::Aac { .. } => Some(AacConfig::UNIT_SAMPLES),
            Self::Opus { .. } => Some(OpusConfig::UNIT_SAMPLES),
            Self::Avc { .. } | Self::Hevc { .. } | Self::Av1 { .. } | Self::Vp9 { .. } => None,
        }
    }
}
