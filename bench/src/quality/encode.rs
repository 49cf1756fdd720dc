//! Encodes a scene by Vivid's worker in many ways at once, each into a file of its own.

use crate::ladder::{clip, on_runtime, side};
use anyhow::{Context, ensure};
use config::Coding;
use media::fmp4::{self, Sample};
use media::{Frame, TrackConfig};
use prometheus::Registry;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::Semaphore;
use transcode::{Encoding, EndReason, Input, Job, Made as Given, Make, Metrics, Plan, Rendition, Worker};

pub(crate) const WIDTH: u32 = 1280;
pub(crate) const HEIGHT: u32 = 720;
pub(crate) const FPS: u32 = clip::FPS;
pub(crate) const GOP: u32 = clip::GOP;

/// One way to encode a scene, of its own size.
pub(crate) struct Trial {
    pub(crate) bitrate: u32,
    pub(crate) coding: Coding,
}

/// What came of one.
pub(crate) struct Made {
    pub(crate) path: PathBuf,
    /// Of coded pictures, without their container.
    pub(crate) bits_per_s: f64,
    pub(crate) pictures: usize,
}

/// What the worker gave of one rendition.
#[derive(Default)]
struct Track {
    config: Option<TrackConfig>,
    frames: Vec<Frame>,
}

/// In the order of the trials, which work at once, each in a thread or more of its own.
pub(crate) fn all(source: &Path, trials: &[Trial], folder: &Path) -> anyhow::Result<Vec<Made>> {
    let clip = clip::read(source)?;
    let tracks = on_runtime(worker(Job { plan: plan(&clip, trials), source: clip.source }, clip.inputs))?;
    let file = |index: usize| folder.join(format!("{index}.mp4"));
    tracks.iter().enumerate().map(|(index, track)| track.write(file(index))).collect()
}

fn plan(clip: &clip::Clip, trials: &[Trial]) -> Plan {
    let rendition = |(index, trial): (usize, &Trial)| Rendition {
        name: format!("trial-{index}"),
        make: Make::Video(Encoding {
            codec: trial.coding.codec,
            width: WIDTH,
            height: HEIGHT,
            every: 1,
            bitrate: trial.bitrate,
            quality: trial.coding.quality,
            preset: trial.coding.preset.clone(),
        }),
    };
    Plan {
        rate: clip.source.rate,
        segment_frames: GOP,
        part_frames: GOP / 4,
        target_duration_s: u64::from(GOP / FPS),
        part_target: Duration::from_millis(500),
        renditions: trials.iter().enumerate().map(rendition).collect(),
        thumbnails: None,
    }
}

async fn worker(job: Job, inputs: Vec<Input>) -> anyhow::Result<Vec<Track>> {
    let metrics = Metrics::register(&Registry::new())?;
    let (input, mut made) = Worker::start(&side::program()?, &job, &side::patient(), &metrics)?;
    let last = job.plan.renditions.len() - 1;
    // As many pictures at once as come in a second: no trial is far behind another, since each hands its pictures on.
    let room = Semaphore::new(FPS as usize);
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
        let mut tracks: Vec<Track> = job.plan.renditions.iter().map(|_| Track::default()).collect();
        loop {
            match made.recv().await.context("the worker said nothing of its end")? {
                Given::Track { rendition, config } => tracks[rendition].config = Some(config),
                Given::Frame { rendition, frame } => {
                    tracks[rendition].frames.push(frame);
                    if rendition == last {
                        room.add_permits(1);
                    }
                }
                Given::Thumbnails { .. } | Given::Turn { .. } => {}
                Given::Ended { reason } => {
                    ensure!(reason == EndReason::Finished, "the worker ended: {reason}");
                    return anyhow::Ok(tracks);
                }
            }
        }
    };
    Ok(tokio::try_join!(feed, take)?.1)
}

impl Track {
    fn write(&self, path: PathBuf) -> anyhow::Result<Made> {
        let config = self.config.as_ref().context("the worker told no track")?;
        let first = self.frames.first().context("the worker made no picture")?;
        let ticks = config.timescale().0 / FPS;
        let sample = |frame: &Frame| Sample {
            duration: ticks,
            composition_offset: 0,
            keyframe: frame.keyframe,
            data: frame.data.clone(),
        };
        let samples: Vec<Sample> = self.frames.iter().map(sample).collect();
        let mut bytes = fmp4::init(config)?.to_vec();
        bytes.extend_from_slice(&fmp4::fragment(1, first.dts as u64, None, &samples)?);
        std::fs::write(&path, bytes)?;
        let coded: usize = self.frames.iter().map(|frame| frame.data.len()).sum();
        let seconds = self.frames.len() as f64 / f64::from(FPS);
        Ok(Made { path, bits_per_s: coded as f64 * 8.0 / seconds, pictures: self.frames.len() })
    }
}
