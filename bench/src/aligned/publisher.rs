//! A publisher of 29.97 pictures a second whose clock jitters and whose encoder leaves pictures out.

use crate::ladder::clip;
use anyhow::{Context, ensure};
use bytes::Bytes;
use media::{Frame, FrameRate, TrackKind};
use std::process::Command;
use transcode::{ACCESS_UNIT_SAMPLES, AUDIO_RATE, Input, Source};

pub(super) struct Publisher {
    source: Source,
    /// Of one GOP, its key frame first.
    pictures: Vec<Bytes>,
    sounds: Vec<Bytes>,
    random: Random,
    dropped: u64,
}

/// The source's own time of its first picture.
const BEGIN_MS: f64 = 7000.0;
/// Either way, in milliseconds: what an encoder that stamps on arrival shows.
const JITTER_MS: f64 = 12.0;
const SOUND_JITTER_MS: f64 = 5.0;
/// One picture of so many is left out.
const DROPPED: u64 = 100;
const RATE: (u32, u32) = (30_000, 1001);

impl Publisher {
    pub(super) fn new(seed: u64) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("clip.flv");
        let (num, den) = RATE;
        let gop = super::GOP.to_string();
        let picture = format!("testsrc2=size=320x180:rate={num}/{den}:duration=4");
        let output = Command::new("ffmpeg")
            .args(["-v", "error", "-nostdin", "-f", "lavfi", "-i", &picture])
            .args(["-f", "lavfi", "-i", &format!("sine=frequency=440:sample_rate={AUDIO_RATE}:duration=4")])
            .args(["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-pix_fmt", "yuv420p"])
            .args(["-g", &gop, "-keyint_min", &gop, "-sc_threshold", "0", "-c:a", "aac", "-b:a", "64k"])
            .args(["-y", "-f", "flv"])
            .arg(&path)
            .output()
            .context("ffmpeg cannot be run; install Debian's ffmpeg")?;
        ensure!(output.status.success(), "ffmpeg made no clip: {}", String::from_utf8_lossy(&output.stderr));
        let clip = clip::read(&path)?;
        let rate = FrameRate::new(num, den).context("a rate")?;
        let source = Source { rate, gop: Some(super::GOP), ..clip.source };
        let (mut pictures, mut sounds) = (Vec::new(), Vec::new());
        for input in clip.inputs {
            match input {
                Input::Video(frame) if pictures.len() < super::GOP as usize => pictures.push(frame.data),
                Input::Audio(frame) => sounds.push(frame.data),
                Input::Video(_) | Input::Finish => {}
            }
        }
        ensure!(pictures.len() == super::GOP as usize && !sounds.is_empty(), "the clip is too short");
        Ok(Self { source, pictures, sounds, random: Random(seed), dropped: 0 })
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// When the first key frame is stamped: it does not jitter.
    pub(super) fn key_ms(&self) -> i64 {
        BEGIN_MS as i64
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// What it sends in so many seconds, in the order in which it does; times in whole milliseconds.
    pub(super) fn frames(&mut self, seconds: u32) -> impl Iterator<Item = Frame> {
        let (pictures, mut sounds) = (i64::from(seconds) * i64::from(RATE.0) / i64::from(RATE.1), 0_i64);
        let mut coded = 0;
        (0..pictures).flat_map(move |index| {
            let mut frames = Vec::new();
            let due_ms = index as f64 * 1000.0 / self.source.rate.hz();
            let keyframe = index % i64::from(super::GOP) == 0;
            if keyframe {
                coded = 0;
            }
            if keyframe || self.random.below(DROPPED) > 0 {
                let jitter_ms = if index == 0 { 0.0 } else { self.random.either_way(JITTER_MS) };
                let data = self.pictures[coded].clone();
                coded += 1;
                frames.push(frame(TrackKind::Video, due_ms + jitter_ms, keyframe, data));
            } else {
                self.dropped += 1;
            }
            let next_ms = (index + 1) as f64 * 1000.0 / self.source.rate.hz();
            loop {
                let at_ms = (sounds * i64::from(ACCESS_UNIT_SAMPLES)) as f64 * 1000.0 / f64::from(AUDIO_RATE);
                if at_ms >= next_ms {
                    return frames;
                }
                let jitter_ms = if sounds == 0 { 0.0 } else { self.random.either_way(SOUND_JITTER_MS) };
                let data = self.sounds[sounds as usize % self.sounds.len()].clone();
                frames.push(frame(TrackKind::Audio, at_ms + jitter_ms, true, data));
                sounds += 1;
            }
        })
    }
}

fn frame(kind: TrackKind, ms: f64, keyframe: bool, data: Bytes) -> Frame {
    let at = (BEGIN_MS + ms).round() as i64;
    Frame { kind, dts: at, pts: at, keyframe, data }
}

/// Numbers that look like chance and are the same in every run: `SplitMix64`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn either_way(&mut self, most: f64) -> f64 {
        (self.next() as f64 / u64::MAX as f64 * 2.0 - 1.0) * most
    }
}
