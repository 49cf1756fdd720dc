//! Short sources: made by the `ffmpeg` program, read from FLV as ingest would see them.

use bytes::Bytes;
use ffmpeg_next::{codec, ffi, format, media::Type};
use media::{AacConfig, AvcConfig, Frame, FrameRate, Timescale, TrackKind};
use std::path::Path;
use std::process::Command;
use transcode::{Input, Source};

/// What a publisher would send.
pub(crate) struct Clip {
    pub(crate) source: Source,
    /// In the order it came.
    pub(crate) inputs: Vec<Input>,
}

/// What makes one clip different from another.
pub(crate) struct Recipe {
    pub(crate) size: (u32, u32),
    pub(crate) rate: (u32, u32),
    pub(crate) seconds: u32,
    /// Arguments for the video encoder.
    pub(crate) video: &'static [&'static str],
    /// An audio source for FFmpeg's `lavfi`.
    pub(crate) audio: &'static str,
    pub(crate) gop: Option<u32>,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            size: (640, 480),
            rate: (30, 1),
            seconds: 4,
            video: &["-tune", "zerolatency", "-g", "60", "-sc_threshold", "0"],
            audio: "sine=frequency=440:sample_rate=48000,pan=stereo|c0=c0|c1=c0",
            gop: Some(60),
        }
    }
}

impl Recipe {
    pub(crate) fn clip(&self) -> Clip {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.flv");
        self.make(&path);
        self.read(&path)
    }

    fn make(&self, path: &Path) {
        let Self { size: (width, height), rate: (num, den), seconds, .. } = self;
        let picture = format!("testsrc2=size={width}x{height}:rate={num}/{den}:duration={seconds}");
        let sound = format!("{},atrim=duration={seconds}", self.audio);
        let output = Command::new("ffmpeg")
            .args(["-v", "error", "-nostdin", "-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &sound])
            .args(["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"])
            .args(self.video)
            .args(["-c:a", "aac", "-b:a", "128k", "-f", "flv"])
            .arg(path)
            .output()
            .expect("the tests need Debian's ffmpeg");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn read(&self, path: &Path) -> Clip {
        ffmpeg_next::init().unwrap();
        let mut file = format::input(path).unwrap();
        let rate = FrameRate::new(self.rate.0, self.rate.1).unwrap();
        let stream = |file: &format::context::Input, kind| {
            let stream = file.streams().best(kind).unwrap();
            (stream.index(), extradata(&stream.parameters()))
        };
        let (video, avc) = stream(&file, Type::Video);
        let (audio, aac) = stream(&file, Type::Audio);
        let config = AacConfig::parse(aac).unwrap();
        let source = Source { video: AvcConfig::parse(avc).unwrap(), audio: Some(config), rate, gop: self.gop };

        let packets: Vec<_> = file
            .packets()
            .map(|(stream, packet)| {
                let data = Bytes::copy_from_slice(packet.data().unwrap());
                (stream.index(), packet.pts().unwrap(), packet.dts().unwrap(), packet.is_key(), data)
            })
            .collect();
        let zero = packets.iter().find(|packet| packet.0 == video).unwrap().1;
        let inputs = packets.into_iter().map(|(index, pts, dts, keyframe, data)| {
            let (pts, dts) = (pts - zero, dts - zero);
            if index == audio {
                let at = pts * 48;
                Input::Audio(Frame { kind: TrackKind::Audio, dts: at, pts: at, keyframe: true, data })
            } else {
                let ticks = |ms| rate.index_of_ms(ms) * i64::from(rate.frame_ticks());
                Input::Video(Frame { kind: TrackKind::Video, dts: ticks(dts), pts: ticks(pts), keyframe, data })
            }
        });
        Clip { source, inputs: inputs.collect() }
    }
}

impl Clip {
    pub(crate) fn video(&mut self) -> impl Iterator<Item = &mut Frame> {
        self.inputs.iter_mut().filter_map(|input| match input {
            Input::Video(frame) => Some(frame),
            _ => None,
        })
    }

    /// Keeps the audio for which `keep` is true; it may move it, in samples from zero.
    pub(crate) fn edit_audio(&mut self, mut keep: impl FnMut(&mut Frame) -> bool) {
        self.inputs.retain_mut(|input| match input {
            Input::Audio(frame) => keep(frame),
            _ => true,
        });
    }

    pub(crate) fn edit_video(&mut self, mut keep: impl FnMut(&mut Frame) -> bool) {
        self.inputs.retain_mut(|input| match input {
            Input::Video(frame) => keep(frame),
            _ => true,
        });
    }
}

/// The index of a frame on the grid.
pub(crate) fn index(frame: &Frame, rate: FrameRate) -> i64 {
    assert_eq!(frame.pts % i64::from(rate.frame_ticks()), 0, "off the grid");
    frame.pts / i64::from(rate.frame_ticks())
}

/// How many samples at 48 kHz so many frames last.
pub(crate) fn samples(frames: i64, rate: FrameRate) -> i64 {
    rate.ticks_of_index(frames, Timescale(48_000))
}

fn extradata(parameters: &codec::Parameters) -> Bytes {
    // SAFETY: libavformat keeps pointer and size in step for as long as the parameters live.
    unsafe {
        let parameters: *const ffi::AVCodecParameters = parameters.as_ptr();
        Bytes::copy_from_slice(std::slice::from_raw_parts(
            (*parameters).extradata,
            (*parameters).extradata_size as usize,
        ))
    }
}
