//! A source for ladders: made by the `ffmpeg` program, read from FLV as ingest would see it.

use anyhow::{Context, ensure};
use bytes::Bytes;
use media::flv::file::{TagKind, Tags};
use media::flv::{AudioTag, VideoTag, VideoTags};
use media::{Frame, FrameRate, TrackKind};
use std::path::Path;
use std::process::Command;
use transcode::{AUDIO_RATE, Input, Source};

pub(crate) const FPS: u32 = 30;
/// Frames from one key frame to the next.
pub(crate) const GOP: u32 = 60;

/// What a publisher would send, in its order; times as [`Input`] wants them.
pub(crate) struct Clip {
    pub(crate) source: Source,
    pub(crate) inputs: Vec<Input>,
}

/// 1080p30 with moving shapes, a little noise as cameras have, and a tone.
pub(crate) fn make(path: &Path, seconds: u32) -> anyhow::Result<()> {
    let picture = format!("testsrc2=size=1920x1080:rate={FPS}:duration={seconds},noise=alls=6:allf=t:all_seed=1");
    let sound = format!("sine=frequency=440:sample_rate={AUDIO_RATE}:duration={seconds}");
    let gop = GOP.to_string();
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &sound])
        .args(["-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency", "-pix_fmt", "yuv420p"])
        .args(["-g", &gop, "-sc_threshold", "0", "-b:v", "6M", "-maxrate", "6M", "-bufsize", "6M"])
        .args(["-c:a", "aac", "-b:a", "128k", "-ac", "2", "-y", "-f", "flv"])
        .arg(path)
        .output()
        .context("ffmpeg cannot be run; install Debian's ffmpeg")?;
    ensure!(output.status.success(), "ffmpeg made no clip: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

pub(crate) fn read(path: &Path) -> anyhow::Result<Clip> {
    let rate = FrameRate::new(FPS, 1).context("a rate")?;
    let (mut video, mut audio, mut inputs) = (None, None, Vec::new());
    let mut tags = VideoTags::default();
    for tag in Tags::of(Bytes::from(std::fs::read(path)?))? {
        let ms = i64::from(tag.timestamp_ms);
        match tag.kind {
            TagKind::Video => match tags.read(tag.payload)? {
                VideoTag::Config(config) => video = Some(config),
                VideoTag::Frame { keyframe, composition_ms, data } => {
                    let ticks = |ms| rate.index_of_ms(ms) * i64::from(rate.frame_ticks());
                    let (dts, pts) = (ticks(ms), ticks(ms + i64::from(composition_ms)));
                    inputs.push(Input::Video(Frame { kind: TrackKind::Video, dts, pts, keyframe, data }));
                }
                VideoTag::End | VideoTag::Ignored => {}
            },
            TagKind::Audio => match AudioTag::parse(tag.payload)? {
                AudioTag::Config(config) => audio = Some(config),
                AudioTag::Frame(data) => {
                    let at = ms * i64::from(AUDIO_RATE) / 1000;
                    inputs.push(Input::Audio(Frame { kind: TrackKind::Audio, dts: at, pts: at, keyframe: true, data }));
                }
                AudioTag::Ignored => {}
            },
            TagKind::Other => {}
        }
    }
    let video = video.context("the clip has no picture")?;
    Ok(Clip { source: Source { video, audio, rate, gop: Some(GOP) }, inputs })
}
