//! What a decoder must be told before the first frame: AVC and AAC configuration records.

use crate::{Timescale, TrackKind};
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

/// AAC set-up, from an AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AacConfig {
    /// The config itself: what an FLV sequence header carries and an `esds` box holds.
    pub record: Bytes,
    /// Samples per second, of the core coder.
    pub sample_rate: u32,
    pub channels: u16,
}

/// One track as a packager sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrackConfig {
    Avc { config: AvcConfig, timescale: Timescale },
    Aac { config: AacConfig },
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
            Self::Avc { .. } => TrackKind::Video,
            Self::Aac { .. } => TrackKind::Audio,
        }
    }

    /// The codec as RFC 6381 names it, for `CODECS` attributes and MIME types.
    pub fn codec(&self) -> String {
        match self {
            Self::Avc { config, .. } => config.codec(),
            Self::Aac { config } => config.codec(),
        }
    }

    /// Ticks per second of the frames of this track; for audio, its sample rate.
    pub fn timescale(&self) -> Timescale {
        match self {
            Self::Avc { timescale, .. } => *timescale,
            Self::Aac { config } => Timescale(config.sample_rate),
        }
    }
}
