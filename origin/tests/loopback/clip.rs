//! Recorded publishers: made by the `ffmpeg` program, read from FLV as RTMP ingest would.

use bytes::{Buf, Bytes};
use media::flv::{AudioTag, VideoTag, VideoTags};
use media::{Frame, TrackKind};
use origin::{Announced, Ingested};
use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex, OnceLock};

/// What a publisher sends, in its order.
#[derive(Clone)]
pub(crate) struct Clip {
    pub(crate) items: Vec<Ingested>,
}

/// A picture with a tone, unless `silent`. `video` are further arguments of x264.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Recipe {
    pub(crate) seconds: u32,
    pub(crate) size: (u32, u32),
    /// Frames per second, as FFmpeg reads it.
    pub(crate) rate: &'static str,
    pub(crate) video: &'static [&'static str],
    pub(crate) silent: bool,
}

/// A key frame every two seconds and nothing else.
pub(crate) const REGULAR: &[&str] = &["-g", "60", "-sc_threshold", "0", "-bf", "0"];

/// Those that were made: many tests want the same.
static MADE: LazyLock<Mutex<HashMap<Recipe, Arc<OnceLock<Clip>>>>> = LazyLock::new(Mutex::default);

impl Recipe {
    pub(crate) fn regular(seconds: u32) -> Self {
        Self { seconds, size: (320, 180), rate: "30", video: REGULAR, silent: false }
    }

    pub(crate) fn clip(&self) -> Clip {
        let made = MADE.lock().unwrap().entry(self.clone()).or_default().clone();
        made.get_or_init(|| self.make()).clone()
    }

    fn make(&self) -> Clip {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.flv");
        self.write(&path);
        Clip { items: read(std::fs::read(&path).unwrap().into(), self.rate.parse().ok()) }
    }

    /// The same as a file.
    pub(crate) fn write(&self, path: &Path) {
        let (width, height) = self.size;
        let picture = format!("testsrc2=size={width}x{height}:rate={}:duration={}", self.rate, self.seconds);
        let sound = format!("sine=frequency=440:sample_rate=48000:duration={}", self.seconds);
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-v", "error", "-nostdin", "-f", "lavfi", "-i", &picture]);
        if !self.silent {
            ffmpeg.args(["-f", "lavfi", "-i", &sound, "-c:a", "aac", "-b:a", "96k", "-ac", "2"]);
        }
        ffmpeg.args(["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]).args(self.video);
        let made = ffmpeg.args(["-f", "flv"]).arg(path).output().expect("the tests need Debian's ffmpeg");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
}

impl Clip {
    /// The same publisher after so many milliseconds of its own time.
    pub(crate) fn later(&self, ms: i64) -> Self {
        let shift = |item: &Ingested| match item {
            Ingested::Frame(frame) => {
                Ingested::Frame(Frame { dts: frame.dts + ms, pts: frame.pts + ms, ..frame.clone() })
            }
            other => other.clone(),
        };
        Self { items: self.items.iter().map(shift).collect() }
    }

    /// What comes before the frames, and the frames up to this time of the clip.
    pub(crate) fn until(&self, ms: i64) -> Self {
        self.only(|frame| frame.dts < ms)
    }

    pub(crate) fn only(&self, keep: impl Fn(&Frame) -> bool) -> Self {
        let kept = |item: &&Ingested| !matches!(item, Ingested::Frame(frame) if !keep(frame));
        Self { items: self.items.iter().filter(kept).cloned().collect() }
    }
}

/// FLV: a header of 9 bytes, then tags of 11 bytes and a payload, each followed by its size.
fn read(mut file: Bytes, frame_rate_hz: Option<f64>) -> Vec<Ingested> {
    let mut items = vec![Ingested::Announced(Announced { frame_rate_hz, ..Announced::default() })];
    let mut video_tags = VideoTags::default();
    file.advance(9 + 4);
    while file.len() > 15 {
        let kind = file.get_u8();
        let length = file.get_uint(3) as usize;
        let dts = (file.get_uint(3) | u64::from(file.get_u8()) << 24) as i64;
        file.advance(3);
        let payload = file.split_to(length);
        file.advance(4);
        let frame = |kind, pts, keyframe, data| Ingested::Frame(Frame { kind, dts, pts, keyframe, data });
        match kind {
            8 => match AudioTag::parse(payload).unwrap() {
                AudioTag::Config(config) => items.push(Ingested::Audio(config)),
                AudioTag::Frame(data) => items.push(frame(TrackKind::Audio, dts, true, data)),
                AudioTag::Ignored => {}
            },
            9 => match video_tags.read(payload).unwrap() {
                VideoTag::Config(config) => items.push(Ingested::Video(config)),
                VideoTag::Frame { keyframe, composition_ms, data } => {
                    items.push(frame(TrackKind::Video, dts + i64::from(composition_ms), keyframe, data));
                }
                VideoTag::End | VideoTag::Ignored => {}
            },
            _ => {}
        }
    }
    items
}
