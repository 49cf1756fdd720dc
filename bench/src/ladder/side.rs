//! One side of the comparison in a process of its own, so that what its child cost is told by the kernel.

use super::clip::{self, Clip};
use super::{PRESET, RUNGS};
use crate::sys;
use anyhow::{Context, ensure};
use config::{Audio, AudioCodec, Coding, Ladder, Rung, Segmenting, VideoCodec};
use prometheus::Registry;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use transcode::{EndReason, Input, Job, Keeping, Limits, Made, Metrics, Worker, WorkerProgram};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
pub(crate) enum Side {
    /// Vivid's worker
    Vivid,
    /// One ffmpeg command whose rungs are each scaled from the source
    Ffmpeg,
    /// One ffmpeg command whose rungs are each scaled from the one above
    FfmpegCascade,
}

/// What one run cost.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Cost {
    pub(crate) cpu_s: f64,
    pub(crate) memory_mb: f64,
    pub(crate) wall_s: f64,
}

pub(crate) fn run(side: Side, path: &Path) -> anyhow::Result<Cost> {
    let began = Instant::now();
    match side {
        Side::Vivid => super::on_runtime(vivid(path))?,
        Side::Ffmpeg | Side::FfmpegCascade => ffmpeg(side, path)?,
    }
    let (cpu_us, resident_bytes) = sys::children();
    Ok(Cost {
        cpu_s: cpu_us as f64 / 1e6,
        memory_mb: resident_bytes as f64 / 1e6,
        wall_s: began.elapsed().as_secs_f64(),
    })
}

/// The source passed through, three rungs below it, and the sound.
pub(crate) fn job(clip: &Clip) -> Job {
    job_of(clip, &RUNGS)
}

/// The same with rungs of these heights and bit rates.
pub(crate) fn job_of(clip: &Clip, rungs: &[(u32, u32)]) -> Job {
    let coding = Coding { codec: VideoCodec::H264, quality: None, preset: PRESET.to_owned() };
    let rung = |&(height, bitrate)| Rung {
        name: format!("{height}p"),
        height,
        fps_max: None,
        bitrate,
        coding: coding.clone(),
    };
    let ladder = Ladder {
        rungs: rungs.iter().map(rung).collect(),
        audio: Audio { bitrate: 128_000, codecs: vec![AudioCodec::Aac], channels_max: 6 },
        top_bits_per_pixel: 0.1,
        coding: coding.clone(),
        // ffmpeg is not asked for any either.
        thumbnails: None,
    };
    let segmenting = Segmenting {
        segment: Duration::from_secs(2),
        part: Duration::from_millis(267),
        analysis_max: Duration::from_secs(4),
    };
    Job { source: clip.source.clone(), plan: transcode::plan(&clip.source, &segmenting, &ladder) }
}

pub(crate) fn program() -> anyhow::Result<WorkerProgram> {
    Ok(WorkerProgram { path: std::env::current_exe()?, args: vec!["transcode-worker".into()] })
}

/// Of a worker that is given pictures as fast as it takes them: none of these is late, and nothing is to be left out.
pub(crate) fn patient() -> Limits {
    let limits = Limits::default();
    let keeping = Keeping { behind: Duration::from_secs(600), ..limits.keeping };
    Limits { hang: Duration::from_secs(120), keeping, ..limits }
}

async fn vivid(path: &Path) -> anyhow::Result<()> {
    let clip = clip::read(path)?;
    through(job(&clip), clip.inputs).await
}

/// Through a worker with nothing left out, as fast as it comes back: no more pictures are in it than when they come at their
/// own pace.
pub(crate) async fn through(job: Job, inputs: Vec<Input>) -> anyhow::Result<()> {
    let last = job.plan.renditions.iter().rposition(|rendition| rendition.make.encoding().is_some());
    let metrics = Metrics::register(&Registry::new())?;
    let limits = patient();
    let (input, mut made) = Worker::start(&program()?, &job, &limits, &metrics)?;
    let room = Semaphore::new(IN_WORK);
    let feed = async {
        for frame in inputs {
            if matches!(frame, Input::Video(_)) {
                room.acquire().await?.forget();
            }
            input.send(frame).await?;
        }
        input.send(Input::Finish).await?;
        anyhow::Ok(())
    };
    let take = async {
        loop {
            match made.recv().await.context("the worker said nothing of its end")? {
                Made::Frame { rendition, .. } if Some(rendition) == last => room.add_permits(1),
                Made::Ended { reason } => {
                    ensure!(reason == EndReason::Finished, "the worker ended: {reason}");
                    return anyhow::Ok(());
                }
                _ => {}
            }
        }
    };
    tokio::try_join!(feed, take)?;
    Ok(())
}

/// Pictures: a second's.
const IN_WORK: usize = clip::FPS as usize;

fn ffmpeg(side: Side, path: &Path) -> anyhow::Result<()> {
    let clip = clip::read(path)?;
    let job = job(&clip);
    let encoded = |rendition: &transcode::Rendition| {
        let encoding = rendition.make.encoding()?.clone();
        Some((encoding, rendition.make.peak_bitrate()?))
    };
    let rungs: Vec<_> = job.plan.renditions.iter().filter_map(encoded).collect();
    let sizes: Vec<_> = rungs.iter().map(|(rung, _)| (rung.width, rung.height)).collect();
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-y", "-i"]).arg(path);
    command.args(["-filter_complex", &filters(side, &sizes)]);
    let gop = job.plan.segment_frames.to_string();
    for (index, (rung, peak)) in rungs.iter().enumerate() {
        command.args(["-map", &format!("[r{index}]"), "-c:v", "libx264", "-preset", &rung.preset]);
        command.args(["-tune", "zerolatency", "-bf", "0", "-g", &gop, "-keyint_min", &gop, "-sc_threshold", "0"]);
        command.args(["-b:v", &rung.bitrate.to_string(), "-maxrate", &peak.to_string(), "-bufsize", &peak.to_string()]);
        command.args(["-threads", if rung.height < 720 { "1" } else { "2" }, "-f", "flv", "/dev/null"]);
    }
    command.args(["-map", "0:a", "-c:a", "aac", "-b:a", "128k", "-f", "flv", "/dev/null"]);
    let status = command.status().context("ffmpeg cannot be run; install Debian's ffmpeg")?;
    ensure!(status.success(), "ffmpeg ended with {status}");
    Ok(())
}

/// Both scale with libswscale's bicubic filter, as the worker does.
fn filters(side: Side, sizes: &[(u32, u32)]) -> String {
    let scale =
        |from: &str, (width, height): (u32, u32), to: &str| format!("{from}scale={width}:{height}:flags=bicubic{to}");
    let last = sizes.len() - 1;
    let mut steps = Vec::new();
    if side == Side::FfmpegCascade {
        let mut from = "[0:v]".to_owned();
        for (index, &size) in sizes.iter().enumerate() {
            let to = if index == last { format!("[r{index}]") } else { format!(",split[r{index}][d{index}]") };
            steps.push(scale(&from, size, &to));
            from = format!("[d{index}]");
        }
    } else {
        let outputs: String = (0..sizes.len()).map(|index| format!("[s{index}]")).collect();
        steps.push(format!("[0:v]split={}{outputs}", sizes.len()));
        steps.extend(
            sizes.iter().enumerate().map(|(index, &size)| scale(&format!("[s{index}]"), size, &format!("[r{index}]"))),
        );
    }
    steps.join(";")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rung_is_scaled_from_the_source_or_from_the_one_above() {
        let sizes = [(1280, 720), (640, 360)];
        let split = "[0:v]split=2[s0][s1];[s0]scale=1280:720:flags=bicubic[r0];[s1]scale=640:360:flags=bicubic[r1]";
        assert_eq!(filters(Side::Ffmpeg, &sizes), split);
        let cascade = "[0:v]scale=1280:720:flags=bicubic,split[r0][d0];[d0]scale=640:360:flags=bicubic[r1]";
        assert_eq!(filters(Side::FfmpegCascade, &sizes), cascade);
    }
}
