//! `[origin.segment]`, `[origin.ladder]` and `[origin.worker]`: how a source is cut, what is encoded from it, and how far
//! the process that does so may fall behind.

use crate::Problem;
use crate::bounded::within;
use crate::origin::Thumbnails;
use serde::Deserialize;
use std::time::Duration;

/// How long segments and parts aim to be. The plan rounds both to whole frames, and segments to whole source GOPs.
#[derive(Clone, Debug, PartialEq)]
pub struct Segmenting {
    pub segment: Duration,
    pub part: Duration,
    /// How long ingest waits for the second key frame to learn the source's GOP.
    pub analysis_max: Duration,
}

/// What is made from the source. The top rendition is the source itself where its key frames allow it.
#[derive(Clone, Debug, PartialEq)]
pub struct Ladder {
    /// Rungs below the source, tallest first. Those at or above the source's height are left out.
    pub rungs: Vec<Rung>,
    pub audio: Audio,
    /// Used where the source cannot be passed through: bits per second of the top rung for each pixel of a frame per second.
    pub top_bits_per_pixel: f64,
    /// An x264 preset, for every encoded rung.
    pub preset: String,
    /// Beside the rungs, where any is encoded.
    pub thumbnails: Option<Thumbnails>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rung {
    /// Picture height in pixels; the width follows the source's aspect. The rendition is named `{height}p`.
    pub height: u32,
    /// Target, in bits per second.
    pub bitrate: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audio {
    /// AAC-LC, 48 kHz; in bits per second.
    pub bitrate: u32,
}

/// How far the process that encodes a stream may fall behind before it is ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Coded source frames of both media that may come while one waits.
    pub queue_frames: usize,
    /// Being fed for so long without making anything; also the time it has to end.
    pub hang: Duration,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawWorker {
    queue_frames: usize,
    hang_ms: u64,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawSegmenting {
    target_ms: u64,
    part_ms: u64,
    analysis_max_ms: u64,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawLadder {
    rungs: Vec<RawRung>,
    audio_bitrate: u32,
    top_bits_per_pixel: f64,
    preset: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRung {
    height: u32,
    bitrate: u32,
}

impl Default for RawSegmenting {
    fn default() -> Self {
        Self { target_ms: 2000, part_ms: 267, analysis_max_ms: 4000 }
    }
}

impl Default for RawLadder {
    fn default() -> Self {
        Self {
            rungs: vec![RawRung { height: 360, bitrate: 800_000 }],
            audio_bitrate: 128_000,
            top_bits_per_pixel: 0.1,
            preset: "veryfast".to_owned(),
        }
    }
}

impl Default for RawWorker {
    fn default() -> Self {
        Self { queue_frames: 512, hang_ms: 5000 }
    }
}

impl RawWorker {
    pub(crate) fn valid(&self, problems: &mut Vec<Problem>) -> Worker {
        let hang = within(problems, "origin.worker.hang_ms", self.hang_ms, 500..=60_000);
        Worker {
            queue_frames: within(problems, "origin.worker.queue_frames", self.queue_frames, 16..=100_000),
            hang: Duration::from_millis(hang),
        }
    }
}

impl RawSegmenting {
    pub(crate) fn valid(&self, problems: &mut Vec<Problem>) -> Segmenting {
        let segment = within(problems, "origin.segment.target_ms", self.target_ms, 1000..=10_000);
        let part = within(problems, "origin.segment.part_ms", self.part_ms, 100..=2000);
        if part > segment {
            problems.push(Problem::new("origin.segment.part_ms", "must not exceed origin.segment.target_ms"));
        }
        Segmenting {
            segment: Duration::from_millis(segment),
            part: Duration::from_millis(part),
            analysis_max: Duration::from_millis(within(
                problems,
                "origin.segment.analysis_max_ms",
                self.analysis_max_ms,
                500..=20_000,
            )),
        }
    }
}

impl RawLadder {
    pub(crate) fn valid(self, problems: &mut Vec<Problem>) -> Ladder {
        let rungs: Vec<_> = self.rungs.iter().enumerate().map(|(i, rung)| rung.valid(i, problems)).collect();
        if !rungs.windows(2).all(|pair| pair[0].height > pair[1].height) {
            problems.push(Problem::new(
                "origin.ladder.rungs",
                "must go from the tallest to the smallest, each height once",
            ));
        }
        within(problems, "origin.ladder.top_bits_per_pixel", self.top_bits_per_pixel, 0.01..=1.0);
        within(problems, "origin.ladder.audio_bitrate", self.audio_bitrate, 16_000..=512_000);
        if !PRESETS.contains(&self.preset.as_str()) {
            let message = format!("{:?} is not an x264 preset; write one of {}", self.preset, PRESETS.join(", "));
            problems.push(Problem::new("origin.ladder.preset", message));
        }
        Ladder {
            rungs,
            audio: Audio { bitrate: self.audio_bitrate },
            top_bits_per_pixel: self.top_bits_per_pixel,
            preset: self.preset,
            thumbnails: None,
        }
    }
}

impl RawRung {
    fn valid(&self, index: usize, problems: &mut Vec<Problem>) -> Rung {
        let key = |name: &str| format!("origin.ladder.rungs[{index}].{name}");
        if self.height % 2 == 1 {
            problems.push(Problem::new(key("height"), "must be even: H.264 with 4:2:0 has no odd sizes"));
        }
        Rung {
            height: within(problems, &key("height"), self.height, 90..=4320),
            bitrate: within(problems, &key("bitrate"), self.bitrate, 30_000..=100_000_000),
        }
    }
}

const PRESETS: [&str; 9] =
    ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"];
