//! Runs a clip through a worker and collects what it makes.

use crate::clip::Clip;
use config::{Audio, AudioCodec, Coding, Ladder, Rung, Segmenting, VideoCodec};
use media::{Frame, TrackConfig};
use prometheus::Registry;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc;
use transcode::{
    EndReason, Input, Job, Keeping, Limits, Made, Metrics, Plan, Source, Worker, WorkerInput, WorkerProgram, plan,
};

/// Far beyond what anything here takes, even on a loaded machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

pub(crate) struct Outcome {
    pub(crate) job: Job,
    /// One for each rendition; without a track if nothing was made of it.
    pub(crate) renditions: Vec<Collected>,
    pub(crate) reason: EndReason,
    pub(crate) registry: Registry,
}

#[derive(Default)]
pub(crate) struct Collected {
    pub(crate) track: Option<TrackConfig>,
    pub(crate) frames: Vec<Frame>,
    /// From which segment on it has one of how many pictures.
    pub(crate) turns: Vec<(u64, u32)>,
}

pub(crate) fn job(source: &Source, heights: &[u32]) -> Job {
    let segmenting = Segmenting {
        segment: Duration::from_secs(2),
        part: Duration::from_millis(267),
        analysis_max: Duration::from_secs(4),
    };
    Job { source: source.clone(), plan: plan(source, &segmenting, &ladder(heights)) }
}

/// Rungs that take little time to encode.
pub(crate) fn ladder(heights: &[u32]) -> Ladder {
    let coding = Coding { codec: VideoCodec::H264, quality: None, preset: "ultrafast".to_owned() };
    let rung = |&height| Rung {
        name: format!("{height}p"),
        height,
        fps_max: None,
        bitrate: height * 2000,
        coding: coding.clone(),
    };
    Ladder {
        rungs: heights.iter().map(rung).collect(),
        audio: Audio { bitrate: 128_000, codecs: vec![AudioCodec::Aac], channels_max: 6 },
        top_bits_per_pixel: 0.1,
        coding: coding.clone(),
        thumbnails: Some(config::Thumbnails { height: 90, columns: 2, rows: 1, quantizer: 4 }),
    }
}

pub(crate) fn program() -> WorkerProgram {
    WorkerProgram { path: PathBuf::from(env!("CARGO_BIN_EXE_transcode-worker")), args: Vec::new() }
}

/// No test's clip is too long to wait, and nothing of it is left out for want of time.
pub(crate) fn patient() -> Limits {
    let keeping = Keeping { behind: DEADLINE, ..Limits::default().keeping };
    Limits { hang: DEADLINE, queue: 10_000, keeping, ..Limits::default() }
}

/// A worker of its own registry.
pub(crate) fn start(
    program: &WorkerProgram,
    job: &Job,
    limits: &Limits,
) -> (WorkerInput, mpsc::Receiver<Made>, Registry) {
    let registry = Registry::new();
    let metrics = Metrics::register(&registry).unwrap();
    let (input, made) = Worker::start(program, job, limits, &metrics).unwrap();
    (input, made, registry)
}

/// Feeds the whole clip, as fast as the worker takes it.
pub(crate) async fn transcode(clip: &Clip, heights: &[u32]) -> Outcome {
    transcode_as(clip, heights, |_| {}).await
}

/// The same by another plan.
pub(crate) async fn transcode_as(clip: &Clip, heights: &[u32], change: impl FnOnce(&mut Plan)) -> Outcome {
    transcode_by(&program(), clip, heights, change).await
}

/// The same by another worker.
pub(crate) async fn transcode_by(
    program: &WorkerProgram,
    clip: &Clip,
    heights: &[u32],
    change: impl FnOnce(&mut Plan),
) -> Outcome {
    let mut job = job(&clip.source, heights);
    change(&mut job.plan);
    let (input, made, registry) = start(program, &job, &patient());
    let feed = async {
        for frame in &clip.inputs {
            if input.send(frame.clone()).await.is_err() {
                return;
            }
        }
        // A worker that ended by itself says why in its last message.
        let _ = input.send(Input::Finish).await;
    };
    let (renditions, (), reason) = tokio::time::timeout(DEADLINE, async {
        let ((renditions, reason), ()) = tokio::join!(collect(made, job.plan.renditions.len()), feed);
        (renditions, (), reason)
    })
    .await
    .expect("the worker came to no end");
    Outcome { job, renditions, reason, registry }
}

/// All that comes until the end.
pub(crate) async fn collect(mut made: mpsc::Receiver<Made>, renditions: usize) -> (Vec<Collected>, EndReason) {
    let mut collected: Vec<Collected> = (0..renditions).map(|_| Collected::default()).collect();
    while let Some(made) = made.recv().await {
        match made {
            Made::Track { rendition, config } => {
                let before = collected[rendition].track.replace(config);
                assert_eq!(before, None, "a rendition has one track");
                assert!(collected[rendition].frames.is_empty(), "the track comes before its frames");
            }
            Made::Frame { rendition, frame } => collected[rendition].frames.push(frame),
            Made::Turn { rendition, segment, every } => collected[rendition].turns.push((segment, every)),
            Made::Thumbnails { .. } => {}
            Made::Ended { reason } => return (collected, reason),
        }
    }
    panic!("the last message must say why the worker ended");
}

impl Outcome {
    pub(crate) fn named(&self, name: &str) -> &Collected {
        let index = self.job.plan.renditions.iter().position(|rendition| rendition.name == name);
        &self.renditions[index.unwrap_or_else(|| panic!("no rendition {name}"))]
    }

    /// The value of a counter with one label.
    pub(crate) fn counted(&self, name: &str, label: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap();
        let labelled = |metric: &&prometheus::proto::Metric| metric.get_label().iter().any(|l| l.value() == label);
        family.get_metric().iter().find(labelled).map_or(0.0, |metric| metric.get_counter().get_value())
    }

    pub(crate) fn repaired(&self, repair: &str) -> f64 {
        self.counted("vivid_transcode_repairs_total", repair)
    }
}
