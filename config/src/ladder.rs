//! `[origin.ladder]` and `origin.ladders`: what is encoded from a source, in general and by the name of a stream.

mod codec;
mod edit;
mod named;

pub use codec::{AudioCodec, VideoCodec};

use crate::Problem;
use crate::bounded::within;
use crate::origin::{ANY_STREAM, Thumbnails};
use crate::streams::Streams;
use codec::Preset;
pub use edit::{LadderEdit, LadderWords};
use named::Rungs;
use serde::{Deserialize, Serialize};

/// What is made from the source. The top rendition is the source itself where its key frames allow it.
#[derive(Clone, Debug, PartialEq)]
pub struct Ladder {
    /// Tallest first, and of one height the fastest first; the same in another codec may stand beside it. Those above the
    /// source are left out.
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
    pub codec: VideoCodec,
    /// The quantizer of the encoder that no picture is finer than; `None` spends the bit rate.
    pub quality: Option<u8>,
    /// One that the encoder knows.
    pub preset: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audio {
    /// Of one or two channels, at 48 kHz; in bits per second.
    pub bitrate: u32,
    /// Each is a rendition of its own.
    pub codecs: Vec<AudioCodec>,
    /// 1, 2 or 6: what has more channels is mixed down to so many.
    pub channels_max: u16,
}

/// The streams that it names have this ladder, where it names a publisher only those that this one sends.
#[derive(Clone, Debug, PartialEq)]
pub struct LadderRule {
    pub streams: Streams,
    /// [`crate::PublishRule::name`].
    pub publisher: Option<String>,
    pub ladder: Ladder,
}

impl LadderRule {
    pub(crate) fn covers(&self, stream: &str, publisher: Option<&str>) -> bool {
        self.streams.cover(stream) && (self.publisher.is_none() || self.publisher.as_deref() == publisher)
    }
}

/// Whether rules name publishers that there are.
pub(crate) fn check_publishers(rules: &[LadderRule], names: &[&str], problems: &mut Vec<Problem>) {
    for (index, rule) in rules.iter().enumerate() {
        let unknown = rule.publisher.as_deref().filter(|publisher| !names.contains(publisher));
        if let Some(publisher) = unknown {
            let text = format!("{publisher:?} is the `name` of no rule in origin.ingest.publishers; give it to one");
            problems.push(Problem::new(format!("origin.ladders[{index}].publisher"), text));
        }
    }
}

impl Ladder {
    /// Every codec that pictures may be encoded in, each once.
    pub fn codecs(&self) -> Vec<VideoCodec> {
        let used = |codec: &VideoCodec| {
            self.coding.codec == *codec || self.rungs.iter().any(|rung| rung.coding.codec == *codec)
        };
        VideoCodec::ALL.into_iter().filter(used).collect()
    }
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
    audio_codecs: Option<Vec<AudioCodec>>,
    audio_channels_max: Option<u16>,
    top_bits_per_pixel: Option<f64>,
    codec: Option<VideoCodec>,
    rate_control: Option<RateControl>,
    quality: Option<u8>,
    preset: Option<Preset>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawRule {
    stream: Option<String>,
    publisher: Option<String>,
    rungs: Option<Rungs>,
    audio_bitrate: Option<u32>,
    audio_codecs: Option<Vec<AudioCodec>>,
    audio_channels_max: Option<u16>,
    top_bits_per_pixel: Option<f64>,
    codec: Option<VideoCodec>,
    rate_control: Option<RateControl>,
    quality: Option<u8>,
    preset: Option<Preset>,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawRung {
    name: Option<String>,
    height: u32,
    fps_max: Option<u32>,
    bitrate: u32,
    codec: Option<VideoCodec>,
    quality: Option<u8>,
    preset: Option<Preset>,
}

impl RawRule {
    pub(crate) fn valid(self, index: usize, general: &Raw, problems: &mut Vec<Problem>) -> LadderRule {
        let Self { stream, publisher, rungs, audio_bitrate, audio_codecs, audio_channels_max, .. } = self;
        let Self { top_bits_per_pixel, codec, rate_control, quality, preset, .. } = self;
        let key = format!("origin.ladders[{index}]");
        let coding = Raw { codec, rate_control, quality, preset, ..Raw::default() };
        let own = Raw { rungs, audio_bitrate, audio_codecs, audio_channels_max, top_bits_per_pixel, ..coding };
        if stream.is_none() && publisher.is_none() {
            problems.push(Problem::new(&*key, "names no stream and no publisher; write stream = \"NAME\""));
        }
        let stream = stream.unwrap_or_else(|| ANY_STREAM.to_owned());
        LadderRule {
            streams: Streams::valid(&format!("{key}.stream"), stream, problems),
            publisher,
            ladder: own.or(general).valid(&key, problems),
        }
    }
}

impl Raw {
    fn usual() -> Self {
        Self {
            rungs: Some(Rungs::Own(vec![RawRung::plain((360, None, 800_000))])),
            audio_bitrate: Some(128_000),
            audio_codecs: Some(vec![AudioCodec::Aac]),
            audio_channels_max: Some(CHANNELS[2]),
            top_bits_per_pixel: Some(0.1),
            codec: Some(VideoCodec::H264),
            rate_control: Some(RateControl::Quality),
            // Each codec has its own.
            quality: None,
            preset: None,
        }
    }

    fn or(self, other: &Self) -> Self {
        // Numbers and presets of one encoder mean nothing to another.
        let same = self.codec.is_none_or(|codec| codec == other.codec.unwrap_or_default());
        Self {
            rungs: self.rungs.or_else(|| other.rungs.clone()),
            audio_bitrate: self.audio_bitrate.or(other.audio_bitrate),
            audio_codecs: self.audio_codecs.or_else(|| other.audio_codecs.clone()),
            audio_channels_max: self.audio_channels_max.or(other.audio_channels_max),
            top_bits_per_pixel: self.top_bits_per_pixel.or(other.top_bits_per_pixel),
            codec: self.codec.or(other.codec),
            rate_control: self.rate_control.or(other.rate_control),
            quality: self.quality.or_else(|| other.quality.filter(|_| same)),
            preset: self.preset.or_else(|| other.preset.clone().filter(|_| same)),
        }
    }

    /// `key` is where it stands in the file.
    pub(crate) fn valid(self, key: &str, problems: &mut Vec<Problem>) -> Ladder {
        let usual = self.or(&Self::usual());
        let own = |name: &str| format!("{key}.{name}");
        let audio = usual.audio(key, problems);
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
        Ladder {
            rungs,
            audio,
            top_bits_per_pixel: within(problems, &own("top_bits_per_pixel"), bits, 0.01..=1.0),
            coding,
            thumbnails: None,
        }
    }

    fn coding(&self, key: &str, problems: &mut Vec<Problem>) -> Coding {
        let codec = self.codec.unwrap_or_default();
        let quality = self.quality.unwrap_or_else(|| codec.usual_quality());
        let quality = within(problems, &format!("{key}.quality"), quality, codec.qualities());
        let preset = self.preset.clone().map_or_else(|| codec.usual_preset().to_owned(), |preset| preset.0);
        Coding {
            codec,
            quality: Some(quality).filter(|_| matches!(self.rate_control, Some(RateControl::Quality))),
            preset: codec.preset(preset, &format!("{key}.preset"), problems),
        }
    }

    fn audio(&self, key: &str, problems: &mut Vec<Problem>) -> Audio {
        let own = |name: &str| format!("{key}.{name}");
        let codecs = self.audio_codecs.clone().unwrap_or_default();
        if codecs.is_empty() || (1..codecs.len()).any(|index| codecs[..index].contains(&codecs[index])) {
            let text = "must name \"aac\", \"opus\" or both, each once";
            problems.push(Problem::new(own("audio_codecs"), text));
        }
        let channels_max = self.audio_channels_max.unwrap_or_default();
        if !CHANNELS.contains(&channels_max) {
            let text = format!("{channels_max} is no layout that is made here; write 1, 2 or 6");
            problems.push(Problem::new(own("audio_channels_max"), text));
        }
        let bitrate = self.audio_bitrate.unwrap_or_default();
        Audio { bitrate: within(problems, &own("audio_bitrate"), bitrate, 16_000..=512_000), codecs, channels_max }
    }
}

impl RawRung {
    /// Height in pixels, frames per second at most, bits per second.
    fn plain((height, fps_max, bitrate): (u32, Option<u32>, u32)) -> Self {
        Self { name: None, height, fps_max, bitrate, codec: None, quality: None, preset: None }
    }

    /// `aims` says whether rungs aim at a quality; `general` holds what the rung does not say.
    fn valid(self, key: &str, (aims, general): (bool, &Coding), problems: &mut Vec<Problem>) -> Rung {
        let key = |name: &str| format!("{key}.{name}");
        if self.height % 2 == 1 {
            problems.push(Problem::new(key("height"), "must be even: 4:2:0 has no odd sizes"));
        }
        if self.quality.is_some() && !aims {
            problems.push(Problem::new(key("quality"), "needs rate_control = \"quality\""));
        }
        let codec = self.codec.unwrap_or(general.codec);
        let quality = self.quality.map(|quality| within(problems, &key("quality"), quality, codec.qualities()));
        let preset = self.preset.map(|preset| codec.preset(preset.0, &key("preset"), problems));
        let inherited = if codec == general.codec {
            general.clone()
        } else {
            let quality = Some(codec.usual_quality()).filter(|_| aims);
            Coding { codec, quality, preset: codec.usual_preset().to_owned() }
        };
        Rung {
            name: name(self.name, (self.height, self.fps_max, codec), &key("name"), problems),
            height: within(problems, &key("height"), self.height, 90..=4320),
            fps_max: self.fps_max.map(|fps| within(problems, &key("fps_max"), fps, 1..=120)),
            bitrate: within(problems, &key("bitrate"), self.bitrate, 30_000..=100_000_000),
            coding: Coding {
                codec,
                quality: quality.or(inherited.quality),
                preset: preset.unwrap_or(inherited.preset),
            },
        }
    }
}

/// `360p`, with a limit of the frame rate `1080p30`, in another codec than H.264 `720p-av1`, unless it has a name of its own.
fn name(
    own: Option<String>,
    (height, fps_max, codec): (u32, Option<u32>, VideoCodec),
    key: &str,
    problems: &mut Vec<Problem>,
) -> String {
    let Some(own) = own else { return usual_name((height, fps_max, codec)) };
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !(1..=32).contains(&own.len()) || !own.bytes().all(plain) {
        let text = format!("{own:?} cannot stand in a URL; write 1 to 32 small letters, digits or hyphens");
        problems.push(Problem::new(key, text));
    } else if RESERVED.iter().any(|taken| own.starts_with(taken)) {
        problems.push(Problem::new(key, format!("{own:?} is taken: no rung begins with {}", RESERVED.join(", "))));
    }
    own
}

fn usual_name((height, fps_max, codec): (u32, Option<u32>, VideoCodec)) -> String {
    let fps = fps_max.map(|fps| fps.to_string()).unwrap_or_default();
    match codec {
        VideoCodec::H264 => format!("{height}p{fps}"),
        other => format!("{height}p{fps}-{}", other.name()),
    }
}

fn in_order(rungs: &[Rung], key: &str, problems: &mut Vec<Problem>) {
    let place = |rung: &Rung| (rung.height, rung.fps_max.unwrap_or(u32::MAX));
    let same = |a: &Rung, b: &Rung| place(a) == place(b) && a.coding.codec == b.coding.codec;
    let falls = rungs.windows(2).all(|pair| place(&pair[0]) >= place(&pair[1]));
    let differ = (1..rungs.len()).all(|index| !rungs[..index].iter().any(|before| same(before, &rungs[index])));
    if !(falls && differ) {
        let text = "must go from the tallest to the smallest, and of one height from the fastest to the slowest; only codecs \
                    may differ beside each other";
        problems.push(Problem::new(key, text));
    }
    for (index, rung) in rungs.iter().enumerate() {
        if rungs[..index].iter().any(|before| before.name == rung.name) {
            problems.push(Problem::new(format!("{key}[{index}].name"), format!("{:?} is there twice", rung.name)));
        }
    }
}

/// Mono, stereo, 5.1.
const CHANNELS: [u16; 3] = [1, 2, 6];
/// What else has a folder beside the rungs, or may get one.
const RESERVED: [&str; 5] = ["audio", "text", "thumbs", "keys", "source"];

#[cfg(test)]
mod tests;
