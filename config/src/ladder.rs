//! `[origin.ladder]` and `origin.ladders`: what is encoded from a source, in general and by the name of a stream.

mod edit;
mod named;

use crate::Problem;
use crate::bounded::within;
use crate::origin::Thumbnails;
use crate::streams::Streams;
pub use edit::{LadderEdit, LadderWords};
use named::Rungs;
use serde::{Deserialize, Serialize};

/// What is made from the source. The top rendition is the source itself where its key frames allow it.
#[derive(Clone, Debug, PartialEq)]
pub struct Ladder {
    /// Tallest first, and of one height the fastest first. Those above the source are left out.
    pub rungs: Vec<Rung>,
    pub audio: Audio,
    /// Used where the source cannot be passed through and no rung has its size: bits per second of the top rung for each
    /// pixel of a frame per second.
    pub top_bits_per_pixel: f64,
    /// How such a top rung is encoded.
    pub coding: Coding,
    /// Beside the rungs, where any is encoded.
    pub thumbnails: Option<Thumbnails>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rung {
    /// In URLs: `/live/STREAM/{name}/index.m3u8`.
    pub name: String,
    /// Picture height in pixels; the width follows the source's aspect.
    pub height: u32,
    /// Frames per second at most: of a faster source every second frame is encoded, or every third and so on.
    pub fps_max: Option<u32>,
    /// In bits per second: the target, or where a quality is aimed at, what is not exceeded on average.
    pub bitrate: u32,
    pub coding: Coding,
}

/// What an encoder aims at, and how long it may think about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coding {
    /// x264's constant rate factor, under the cap of the bit rate; `None` aims at the bit rate itself.
    pub quality: Option<u8>,
    /// An x264 preset.
    pub preset: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audio {
    /// AAC-LC, 48 kHz; in bits per second.
    pub bitrate: u32,
}

/// The streams that it names have this ladder.
#[derive(Clone, Debug, PartialEq)]
pub struct LadderRule {
    pub streams: Streams,
    pub ladder: Ladder,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum RateControl {
    /// Still scenes take few bits, and none takes more than the bit rate allows.
    Quality,
    Bitrate,
}

/// What is absent from a rule is as in `[origin.ladder]`, and absent there as in [`Raw::usual`].
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Raw {
    rungs: Option<Rungs>,
    audio_bitrate: Option<u32>,
    top_bits_per_pixel: Option<f64>,
    rate_control: Option<RateControl>,
    quality: Option<u8>,
    preset: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawRule {
    stream: String,
    rungs: Option<Rungs>,
    audio_bitrate: Option<u32>,
    top_bits_per_pixel: Option<f64>,
    rate_control: Option<RateControl>,
    quality: Option<u8>,
    preset: Option<String>,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawRung {
    name: Option<String>,
    height: u32,
    fps_max: Option<u32>,
    bitrate: u32,
    quality: Option<u8>,
    preset: Option<String>,
}

impl RawRule {
    pub(crate) fn valid(self, index: usize, general: &Raw, problems: &mut Vec<Problem>) -> LadderRule {
        let Self { stream, rungs, audio_bitrate, top_bits_per_pixel, rate_control, quality, preset } = self;
        let key = format!("origin.ladders[{index}]");
        let own = Raw { rungs, audio_bitrate, top_bits_per_pixel, rate_control, quality, preset };
        LadderRule {
            streams: Streams::valid(&format!("{key}.stream"), stream, problems),
            ladder: own.or(general).valid(&key, problems),
        }
    }
}

impl Raw {
    fn usual() -> Self {
        let rung = RawRung { name: None, height: 360, fps_max: None, bitrate: 800_000, quality: None, preset: None };
        Self {
            rungs: Some(Rungs::Own(vec![rung])),
            audio_bitrate: Some(128_000),
            top_bits_per_pixel: Some(0.1),
            rate_control: Some(RateControl::Quality),
            quality: Some(23),
            preset: Some("veryfast".to_owned()),
        }
    }

    fn or(self, other: &Self) -> Self {
        Self {
            rungs: self.rungs.or_else(|| other.rungs.clone()),
            audio_bitrate: self.audio_bitrate.or(other.audio_bitrate),
            top_bits_per_pixel: self.top_bits_per_pixel.or(other.top_bits_per_pixel),
            rate_control: self.rate_control.or(other.rate_control),
            quality: self.quality.or(other.quality),
            preset: self.preset.or_else(|| other.preset.clone()),
        }
    }

    /// `key` is where it stands in the file.
    pub(crate) fn valid(self, key: &str, problems: &mut Vec<Problem>) -> Ladder {
        let usual = self.or(&Self::usual());
        let own = |name: &str| format!("{key}.{name}");
        let coding = usual.coding(key, problems);
        let aims = matches!(usual.rate_control, Some(RateControl::Quality));
        let rungs = match usual.rungs {
            Some(Rungs::Own(rungs)) => rungs,
            Some(Rungs::Named(name)) => name.rungs(),
            None => Vec::new(),
        };
        let place = |index: usize| format!("{key}.rungs[{index}]");
        let rungs: Vec<_> = rungs
            .into_iter()
            .enumerate()
            .map(|(index, rung)| rung.valid(&place(index), (aims, &coding), problems))
            .collect();
        in_order(&rungs, &own("rungs"), problems);
        let bits = usual.top_bits_per_pixel.unwrap_or_default();
        let bitrate = usual.audio_bitrate.unwrap_or_default();
        Ladder {
            rungs,
            audio: Audio { bitrate: within(problems, &own("audio_bitrate"), bitrate, 16_000..=512_000) },
            top_bits_per_pixel: within(problems, &own("top_bits_per_pixel"), bits, 0.01..=1.0),
            coding,
            thumbnails: None,
        }
    }

    fn coding(&self, key: &str, problems: &mut Vec<Problem>) -> Coding {
        let quality = self.quality.map(|quality| within(problems, &format!("{key}.quality"), quality, QUALITIES));
        let preset = self.preset.clone().unwrap_or_default();
        Coding {
            quality: quality.filter(|_| matches!(self.rate_control, Some(RateControl::Quality))),
            preset: preset_of_x264(preset, &format!("{key}.preset"), problems),
        }
    }
}

impl RawRung {
    /// `aims` says whether rungs aim at a quality; `general` holds what the rung does not say.
    fn valid(self, key: &str, (aims, general): (bool, &Coding), problems: &mut Vec<Problem>) -> Rung {
        let key = |name: &str| format!("{key}.{name}");
        if self.height % 2 == 1 {
            problems.push(Problem::new(key("height"), "must be even: H.264 with 4:2:0 has no odd sizes"));
        }
        if self.quality.is_some() && !aims {
            problems.push(Problem::new(key("quality"), "needs rate_control = \"quality\""));
        }
        let quality = self.quality.map(|quality| within(problems, &key("quality"), quality, QUALITIES));
        let preset = self.preset.map(|preset| preset_of_x264(preset, &key("preset"), problems));
        Rung {
            name: name(self.name, (self.height, self.fps_max), &key("name"), problems),
            height: within(problems, &key("height"), self.height, 90..=4320),
            fps_max: self.fps_max.map(|fps| within(problems, &key("fps_max"), fps, 1..=120)),
            bitrate: within(problems, &key("bitrate"), self.bitrate, 30_000..=100_000_000),
            coding: Coding {
                quality: quality.or(general.quality),
                preset: preset.unwrap_or_else(|| general.preset.clone()),
            },
        }
    }
}

/// `360p`, or with a limit of the frame rate `1080p30`, unless it has a name of its own.
fn name(own: Option<String>, (height, fps_max): (u32, Option<u32>), key: &str, problems: &mut Vec<Problem>) -> String {
    let Some(own) = own else { return format!("{height}p{}", fps_max.map(|fps| fps.to_string()).unwrap_or_default()) };
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !(1..=32).contains(&own.len()) || !own.bytes().all(plain) {
        let text = format!("{own:?} cannot stand in a URL; write 1 to 32 small letters, digits or hyphens");
        problems.push(Problem::new(key, text));
    } else if RESERVED.iter().any(|taken| own.starts_with(taken)) {
        problems.push(Problem::new(key, format!("{own:?} is taken: no rung begins with {}", RESERVED.join(", "))));
    }
    own
}

fn in_order(rungs: &[Rung], key: &str, problems: &mut Vec<Problem>) {
    let place = |rung: &Rung| (rung.height, rung.fps_max.unwrap_or(u32::MAX));
    if !rungs.windows(2).all(|pair| place(&pair[0]) > place(&pair[1])) {
        let text = "must go from the tallest to the smallest, and of one height from the fastest to the slowest";
        problems.push(Problem::new(key, text));
    }
    for (index, rung) in rungs.iter().enumerate() {
        if rungs[..index].iter().any(|before| before.name == rung.name) {
            problems.push(Problem::new(format!("{key}[{index}].name"), format!("{:?} is there twice", rung.name)));
        }
    }
}

fn preset_of_x264(preset: String, key: &str, problems: &mut Vec<Problem>) -> String {
    if !PRESETS.contains(&preset.as_str()) {
        let message = format!("{preset:?} is not an x264 preset; write one of {}", PRESETS.join(", "));
        problems.push(Problem::new(key, message));
    }
    preset
}

const PRESETS: [&str; 9] =
    ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"];
/// 0 is lossless, which no cap can hold.
const QUALITIES: std::ops::RangeInclusive<u8> = 1..=51;
/// What else has a folder beside the rungs, or may get one.
const RESERVED: [&str; 5] = ["audio", "text", "thumbs", "keys", "source"];

#[cfg(test)]
mod tests;
