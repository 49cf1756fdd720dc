//! What the ladder adds to the glass: a source at its own pace, and for each picture when the last rung gave it back.

use super::clip::{self, FPS};
use super::side::{job, program};
use anyhow::{Context, ensure};
use media::TrackKind;
use prometheus::Registry;
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;
use transcode::{EndReason, Input, Limits, Made, Metrics, Worker};

/// Microseconds of each picture, in order of size, but for those of the first second: encoders start in it.
pub(crate) async fn measure(path: &Path) -> anyhow::Result<Vec<u64>> {
    let clip = clip::read(path)?;
    let job = job(&clip);
    let rungs = job.plan.renditions.iter().filter(|rendition| rendition.make.encoding().is_some()).count();
    let metrics = Metrics::register(&Registry::new())?;
    let (input, mut made) = Worker::start(&program()?, &job, &Limits::default(), &metrics)?;
    let begun = Instant::now();
    let due = |pts: i64, ticks: u32| Duration::from_secs_f64(pts as f64 / f64::from(ticks));
    let (ticks, audio) = (job.plan.rate.timescale().0, transcode::AUDIO_RATE);
    let feed = async {
        for frame in clip.inputs {
            let at = match &frame {
                Input::Video(frame) => due(frame.dts, ticks),
                Input::Audio(frame) => due(frame.dts, audio),
                Input::Finish => break,
            };
            tokio::time::sleep_until(begun + at).await;
            input.send(frame).await?;
        }
        input.send(Input::Finish).await?;
        anyhow::Ok(())
    };
    let take = async {
        let mut waits: HashMap<i64, usize> = HashMap::new();
        let mut delays = Vec::new();
        loop {
            match made.recv().await.context("the worker said nothing of its end")? {
                Made::Frame { frame, .. } if frame.kind == TrackKind::Video => {
                    let back = waits.entry(frame.pts).or_default();
                    *back += 1;
                    if *back == rungs && frame.pts >= i64::from(ticks) {
                        delays.push(begun.elapsed().saturating_sub(due(frame.dts, ticks)).as_micros() as u64);
                    }
                }
                Made::Ended { reason } => {
                    ensure!(reason == EndReason::Finished, "the worker ended: {reason}");
                    delays.sort_unstable();
                    return anyhow::Ok(delays);
                }
                Made::Frame { .. } | Made::Track { .. } | Made::Thumbnails { .. } | Made::Turn { .. } => {}
            }
        }
    };
    Ok(tokio::try_join!(feed, take)?.1)
}

/// Two frames, in milliseconds.
pub(crate) const BOUND_MS: f64 = 2.0 * 1000.0 / FPS as f64;
