//! `[origin.segment]` and `[origin.worker]`: how a source is cut, and how far the process that encodes it may fall behind.

use crate::Problem;
use crate::bounded::within;
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

/// How far the process that encodes a stream may fall behind before it is ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Coded source frames of both media that may come while one waits.
    pub queue_frames: usize,
    /// Being fed for so long without making anything; also the time it has to end.
    pub hang: Duration,
    /// A picture that leaves later than this after its source came is behind, and less is encoded.
    pub behind: Duration,
    /// So long without delay before more is encoded again, each time.
    pub recover: Duration,
    /// How many presets faster rungs may be encoded.
    pub preset_steps: u8,
    /// No rung gets fewer pictures a second.
    pub fps_min: u32,
    pub hardware: Hardware,
}

/// Which devices of the machine that works may encode pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hardware {
    /// Whatever is there and works.
    #[default]
    Auto,
    /// None: x264 and its like alone.
    Off,
    /// NVIDIA's.
    Nvenc,
    /// Of Intel and AMD, through VA-API.
    Vaapi,
    /// Intel's Quick Sync Video.
    Qsv,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawWorker {
    queue_frames: usize,
    hang_ms: u64,
    behind_ms: u64,
    recover_ms: u64,
    preset_steps: u8,
    fps_min: u32,
    hardware: Hardware,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawSegmenting {
    target_ms: u64,
    part_ms: u64,
    analysis_max_ms: u64,
}

impl Default for RawSegmenting {
    fn default() -> Self {
        Self { target_ms: 2000, part_ms: 267, analysis_max_ms: 4000 }
    }
}

impl Default for RawWorker {
    fn default() -> Self {
        Self {
            queue_frames: 512,
            hang_ms: 5000,
            behind_ms: 300,
            recover_ms: 20_000,
            preset_steps: 2,
            fps_min: 12,
            hardware: Hardware::Auto,
        }
    }
}

impl RawWorker {
    pub(crate) fn valid(&self, problems: &mut Vec<Problem>) -> Worker {
        let mut ms = |key: &str, value, range| {
            Duration::from_millis(within(problems, &format!("origin.worker.{key}"), value, range))
        };
        let hang = ms("hang_ms", self.hang_ms, 500..=60_000);
        let behind = ms("behind_ms", self.behind_ms, 100..=60_000);
        let recover = ms("recover_ms", self.recover_ms, 2000..=3_600_000);
        Worker {
            queue_frames: within(problems, "origin.worker.queue_frames", self.queue_frames, 16..=100_000),
            hang,
            behind,
            recover,
            preset_steps: within(problems, "origin.worker.preset_steps", self.preset_steps, 0..=4),
            fps_min: within(problems, "origin.worker.fps_min", self.fps_min, 1..=120),
            hardware: self.hardware,
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
