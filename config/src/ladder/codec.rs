//! What rungs and sound are encoded as, and what the encoder of each takes.

use crate::Problem;
use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::RangeInclusive;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum VideoCodec {
    /// By x264: what every player decodes.
    #[default]
    H264,
    /// By x265.
    Hevc,
    /// By SVT-AV1.
    Av1,
    /// By libvpx.
    Vp9,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AudioCodec {
    /// AAC-LC: what every player decodes.
    Aac,
    Opus,
}

/// A preset as a file has it: those of x264 and x265 have names, those of the others are numbers.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub(super) struct Preset(pub(super) String);

impl VideoCodec {
    pub const ALL: [Self; 4] = [Self::H264, Self::Hevc, Self::Av1, Self::Vp9];

    /// As it stands in files and names.
    pub fn name(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::Hevc => "hevc",
            Self::Av1 => "av1",
            Self::Vp9 => "vp9",
        }
    }

    /// The codec of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }

    /// The encoder, as people know it.
    pub fn encoder(self) -> &'static str {
        match self {
            Self::H264 => "x264",
            Self::Hevc => "x265",
            Self::Av1 => "SVT-AV1",
            Self::Vp9 => "libvpx",
        }
    }

    /// Quantizers. 0 is lossless with some, which no cap can hold.
    pub(super) fn qualities(self) -> RangeInclusive<u8> {
        match self {
            Self::H264 | Self::Hevc => 1..=51,
            Self::Av1 | Self::Vp9 => 1..=63,
        }
    }

    /// About as good to look at with each.
    pub(super) fn usual_quality(self) -> u8 {
        match self {
            Self::H264 => 23,
            Self::Hevc => 26,
            Self::Av1 => 35,
            Self::Vp9 => 34,
        }
    }

    /// Fast enough for live pictures on a small machine.
    pub(super) fn usual_preset(self) -> &'static str {
        match self {
            Self::H264 => "veryfast",
            Self::Hevc => "superfast",
            Self::Av1 => "10",
            Self::Vp9 => "7",
        }
    }

    fn presets(self) -> &'static [&'static str] {
        match self {
            Self::H264 | Self::Hevc => &NAMES,
            // Slower ones are far from live on any machine.
            Self::Av1 => &NUMBERS[4..=13],
            Self::Vp9 => &NUMBERS[4..=8],
        }
    }

    pub(super) fn preset(self, preset: String, key: &str, problems: &mut Vec<Problem>) -> String {
        if !self.presets().contains(&preset.as_str()) {
            let (encoder, known) = (self.encoder(), self.presets().join(", "));
            let message = format!("{preset:?} is no preset of {encoder}; write one of {known}");
            problems.push(Problem::new(key, message));
        }
        preset
    }
}

impl AudioCodec {
    pub fn name(self) -> &'static str {
        match self {
            Self::Aac => "aac",
            Self::Opus => "opus",
        }
    }

    /// The codec of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Aac, Self::Opus].into_iter().find(|codec| codec.name() == name)
    }
}

impl<'de> Deserialize<'de> for Preset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Form)
    }
}

struct Form;

impl Visitor<'_> for Form {
    type Value = Preset;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a preset such as \"veryfast\" or 10")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Preset, E> {
        Ok(Preset(name.to_owned()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Preset, E> {
        Ok(Preset(number.to_string()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Preset, E> {
        Ok(Preset(number.to_string()))
    }
}

const NAMES: [&str; 9] =
    ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"];
const NUMBERS: [&str; 14] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13"];
