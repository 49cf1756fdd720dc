//! How a rendition of an epoch was made and set up, as a journal has it. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use config::{AudioCodec, VideoCodec};
use media::{AacConfig, AvcConfig, OpusConfig, Timescale, TrackConfig, VideoConfig};
use serde::{Deserialize, Serialize};
use transcode::{Encoding, Make};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Making {
    Passthrough,
    Video {
        /// By name; journals of before know H.264 alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        codec: Option<String>,
        width: u32,
        height: u32,
        #[serde(default = "each")]
        every: u32,
        bitrate: u32,
        #[serde(default)]
        quality: Option<u8>,
        preset: String,
    },
    Audio {
        /// By name; journals of before know AAC alone, in one or two channels.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        codec: Option<String>,
        #[serde(default = "two", skip_serializing_if = "is_two")]
        channels: u16,
        bitrate: u32,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Track {
    Avc {
        config: String,
        width: u32,
        height: u32,
        timescale: u32,
    },
    Hevc {
        config: String,
        width: u32,
        height: u32,
        timescale: u32,
    },
    Av1 {
        config: String,
        width: u32,
        height: u32,
        timescale: u32,
        /// Of a sample: width and height. None in journals of before, and where it is a square.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        aspect: Option<(u32, u32)>,
    },
    Vp9 {
        config: String,
        width: u32,
        height: u32,
        timescale: u32,
        /// Of a sample: width and height. None in journals of before, and where it is a square.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        aspect: Option<(u32, u32)>,
    },
    Aac {
        config: String,
        sample_rate: u32,
        channels: u16,
    },
    Opus {
        config: String,
        channels: u16,
    },
}

fn each() -> u32 {
    1
}

fn two() -> u16 {
    2
}

fn is_two(channels: &u16) -> bool {
    *channels == two()
}

impl Making {
    pub(super) fn of(make: &Make) -> Self {
        match make.clone() {
            Make::Passthrough => Self::Passthrough,
            Make::Video(Encoding { codec, width, height, every, bitrate, quality, preset }) => {
                let codec = Some(codec).filter(|codec| *codec != VideoCodec::H264).map(|codec| codec.name().to_owned());
                Self::Video { codec, width, height, every, bitrate, quality, preset }
            }
            Make::Audio { codec, bitrate, channels } => {
                let codec = Some(codec).filter(|codec| *codec != AudioCodec::Aac).map(|codec| codec.name().to_owned());
                Self::Audio { codec, channels, bitrate }
            }
        }
    }

    /// `None` for a codec that nobody here knows.
    pub(super) fn make(&self) -> Option<Make> {
        Some(match self.clone() {
            Self::Passthrough => Make::Passthrough,
            Self::Video { codec, width, height, every, bitrate, quality, preset } => {
                let codec = codec.map_or(Some(VideoCodec::H264), |name| VideoCodec::named(&name))?;
                Make::Video(Encoding { codec, width, height, every: every.max(1), bitrate, quality, preset })
            }
            Self::Audio { codec, channels, bitrate } => {
                let codec = codec.map_or(Some(AudioCodec::Aac), |name| AudioCodec::named(&name))?;
                Make::Audio { codec, bitrate, channels }
            }
        })
    }
}

impl Track {
    pub(super) fn of(track: &TrackConfig) -> Self {
        match track {
            TrackConfig::Avc { config, timescale } => Self::Avc {
                config: STANDARD.encode(&config.record),
                width: config.width,
                height: config.height,
                timescale: timescale.0,
            },
            TrackConfig::Hevc { config, timescale: Timescale(timescale) } => {
                let &VideoConfig { width, height, .. } = config;
                Self::Hevc { config: STANDARD.encode(&config.record), width, height, timescale: *timescale }
            }
            TrackConfig::Av1 { config, timescale: Timescale(timescale) } => {
                let &VideoConfig { width, height, pixel_aspect: aspect, .. } = config;
                Self::Av1 { config: STANDARD.encode(&config.record), width, height, timescale: *timescale, aspect }
            }
            TrackConfig::Vp9 { config, timescale: Timescale(timescale) } => {
                let &VideoConfig { width, height, pixel_aspect: aspect, .. } = config;
                Self::Vp9 { config: STANDARD.encode(&config.record), width, height, timescale: *timescale, aspect }
            }
            TrackConfig::Aac { config } => Self::Aac {
                config: STANDARD.encode(&config.record),
                sample_rate: config.sample_rate,
                channels: config.channels,
            },
            TrackConfig::Opus { config } => {
                Self::Opus { config: STANDARD.encode(&config.record), channels: config.channels }
            }
        }
    }

    pub(super) fn config(&self) -> Option<TrackConfig> {
        let record = |text: &String| STANDARD.decode(text).ok().map(Bytes::from);
        let scale = |ticks: &u32| Some(Timescale(Some(*ticks).filter(|&ticks| ticks > 0)?));
        let video = |text: &String, (width, height): (u32, u32), pixel_aspect: Option<(u32, u32)>| {
            Some(VideoConfig { record: record(text)?, width, height, pixel_aspect })
        };
        Some(match self {
            Self::Avc { config, width, height, timescale } => TrackConfig::Avc {
                config: AvcConfig { record: record(config)?, width: *width, height: *height },
                timescale: scale(timescale)?,
            },
            Self::Hevc { config, width, height, timescale } => {
                TrackConfig::Hevc { config: video(config, (*width, *height), None)?, timescale: scale(timescale)? }
            }
            Self::Av1 { config, width, height, timescale, aspect } => {
                TrackConfig::Av1 { config: video(config, (*width, *height), *aspect)?, timescale: scale(timescale)? }
            }
            Self::Vp9 { config, width, height, timescale, aspect } => {
                TrackConfig::Vp9 { config: video(config, (*width, *height), *aspect)?, timescale: scale(timescale)? }
            }
            Self::Aac { config, sample_rate, channels } => TrackConfig::Aac {
                config: AacConfig { record: record(config)?, sample_rate: *sample_rate, channels: *channels },
            },
            Self::Opus { config, channels } => {
                TrackConfig::Opus { config: OpusConfig { record: record(config)?, channels: *channels } }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renditions_of_every_codec_survive() {
        let video = VideoConfig { record: Bytes::from_static(b"record"), width: 640, height: 360, pixel_aspect: None };
        let (config, timescale) = (|| video.clone(), Timescale(30_000));
        let anamorphic = VideoConfig { pixel_aspect: Some((16, 11)), ..config() };
        for track in [
            TrackConfig::Hevc { config: config(), timescale },
            TrackConfig::Av1 { config: config(), timescale },
            TrackConfig::Vp9 { config: config(), timescale },
            TrackConfig::Vp9 { config: anamorphic, timescale },
            TrackConfig::Opus { config: OpusConfig { record: Bytes::from_static(b"record"), channels: 6 } },
        ] {
            assert_eq!(Track::of(&track).config(), Some(track));
        }
        let encoding = Encoding {
            codec: VideoCodec::Av1,
            width: 640,
            height: 360,
            every: 2,
            bitrate: 1,
            quality: None,
            preset: "10".to_owned(),
        };
        let sound = Make::Audio { codec: AudioCodec::Opus, bitrate: 1, channels: 6 };
        for make in [Make::Passthrough, Make::Video(encoding), sound] {
            let text = serde_json::to_string(&Making::of(&make)).unwrap();
            assert_eq!(serde_json::from_str::<Making>(&text).unwrap().make(), Some(make), "{text}");
        }
    }

    #[test]
    fn what_was_written_before_there_were_codecs_is_read_and_written_alike() {
        for text in [
            r#"{"video":{"width":640,"height":360,"every":1,"bitrate":800000,"quality":23,"preset":"veryfast"}}"#,
            r#"{"audio":{"bitrate":128000}}"#,
        ] {
            let making: Making = serde_json::from_str(text).unwrap();
            assert!(making.make().is_some());
            assert_eq!(serde_json::to_string(&Making::of(&making.make().unwrap())).unwrap(), text);
        }
        let unknown = r#"{"audio":{"codec":"flac","bitrate":128000}}"#;
        assert_eq!(serde_json::from_str::<Making>(unknown).unwrap().make(), None);
    }
}
