//! An hour of a source that jitters and drops pictures, through the origin's rules and a worker, as fast as that goes: whether every
//! rendition is cut at the same places, and sound stays with its picture.

mod boundaries;
mod publisher;

use crate::case::{self, Verdict};
use crate::ladder::{on_runtime, side};
use crate::machine::{self, Machine};
use crate::report::give;
use crate::{sys, table};
use anyhow::{Context, ensure};
use boundaries::{Boundaries, Found};
use media::{Frame, TrackKind};
use origin::outside::Epoch;
use prometheus::Registry;
use publisher::Publisher;
use serde::Serialize;
use std::cell::RefCell;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use transcode::{AUDIO_RATE, Encoding, EndReason, Input, Job, Made, Make, Metrics, Plan, Rendition, Worker};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Stream time, in seconds
    #[arg(long, default_value_t = 3600, value_parser = clap::value_parser!(u32).range(10..=36_000))]
    seconds: u32,
    /// Of the jitter and of what is dropped
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A Markdown page to put the results into, between its two marks
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Everything that was found
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) const MARKS: (&str, &str) = ("<!-- bench:aligned -->", "<!-- /bench:aligned -->");
/// Small pictures: what is looked for does not depend on their size. 29.97 a second, parts of 15, segments of 60.
const RUNGS: [(u32, u32); 2] = [(256, 144), (160, 90)];
const GOP: u32 = 60;
const PART_FRAMES: u32 = 15;
/// Pictures in the worker at once: a second's.
const IN_WORK: i64 = 30;

#[derive(Debug, Serialize)]
struct Report {
    command: String,
    date: String,
    machine: Machine,
    seconds: u32,
    dropped: u64,
    took_s: f64,
    found: Found,
    /// How the source was mended, by kind and count.
    repairs: Vec<(String, u64)>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let command = std::env::args().skip(1).fold("bench".to_owned(), |all, argument| format!("{all} {argument}"));
    let (machine, date) = (Machine::look(sys::raise_open_files()), machine::date());
    let began = Instant::now();
    let mut publisher = Publisher::new(arguments.seed)?;
    let (found, repairs) = on_runtime(hour(&mut publisher, arguments.seconds))?;
    let (seconds, dropped, took_s) = (arguments.seconds, publisher.dropped(), began.elapsed().as_secs_f64());
    let report = Report { command, date, machine, seconds, dropped, took_s, found, repairs };
    let files = (arguments.json.as_deref(), arguments.write.as_deref());
    give((&report, &report.machine), &report.markdown(), MARKS, files)
}

async fn hour(publisher: &mut Publisher, seconds: u32) -> anyhow::Result<(Found, Vec<(String, u64)>)> {
    let plan = plan(publisher);
    let job = Job { source: publisher.source().clone(), plan: plan.clone() };
    let registry = Registry::new();
    let metrics = Metrics::register(&registry)?;
    let (input, mut made) = Worker::start(&side::program()?, &job, &side::patient(), &metrics)?;
    let epoch = Epoch::new(&job.source, &plan, publisher.key_ms()).map_err(|error| anyhow::anyhow!(error))?;
    let (epoch, boundaries) = (RefCell::new(epoch), RefCell::new(Boundaries::new(&plan)));
    let (done, mut reached) = watch::channel(0_i64);
    let (last, ticks) = (RUNGS.len(), i64::from(plan.rate.frame_ticks()));
    let feed = async {
        for frame in publisher.frames(seconds) {
            let placed = epoch.borrow_mut().source(&frame).map_err(|error| anyhow::anyhow!(error))?;
            boundaries.borrow_mut().take(epoch.borrow_mut().take())?;
            let Some(placed) = placed else { continue };
            let index = placed.pts / ticks;
            let video = placed.kind == TrackKind::Video;
            let input_frame = if video { Input::Video(placed) } else { Input::Audio(placed) };
            if video {
                reached.wait_for(|&done| index - done < IN_WORK).await?;
            } else {
                boundaries.borrow_mut().heard();
            }
            input.send(input_frame).await?;
        }
        input.send(Input::Finish).await?;
        anyhow::Ok(())
    };
    let take = async {
        loop {
            match made.recv().await.context("the worker said nothing of its end")? {
                Made::Track { rendition, config } => {
                    epoch.borrow_mut().track(rendition, config).map_err(|error| anyhow::anyhow!(error))?;
                }
                Made::Frame { rendition, frame } => {
                    let Frame { pts, kind, .. } = frame;
                    epoch.borrow_mut().made(rendition, frame).map_err(|error| anyhow::anyhow!(error))?;
                    match kind {
                        TrackKind::Video if rendition == last => {
                            done.send_replace(pts / ticks);
                        }
                        TrackKind::Video => {}
                        TrackKind::Audio => boundaries.borrow_mut().said(),
                    }
                }
                Made::Thumbnails { .. } | Made::Turn { .. } => {}
                Made::Ended { reason } => {
                    ensure!(reason == EndReason::Finished, "the worker ended: {reason}");
                    break;
                }
            }
            let cut = epoch.borrow_mut().take();
            boundaries.borrow_mut().take(cut)?;
        }
        anyhow::Ok(())
    };
    tokio::try_join!(feed, take)?;
    Ok((boundaries.into_inner().found(), repairs(&registry)))
}

fn plan(publisher: &Publisher) -> Plan {
    let rung = |&(width, height): &(u32, u32)| {
        let preset = "veryfast".to_owned();
        let codec = config::VideoCodec::H264;
        let encoding = Encoding { codec, width, height, every: 1, bitrate: 200_000, quality: Some(23), preset };
        Rendition { name: format!("{height}p"), make: Make::Video(encoding) }
    };
    let mut renditions = vec![Rendition { name: "source".to_owned(), make: Make::Passthrough }];
    renditions.extend(RUNGS.iter().map(rung));
    let sound = Make::Audio { codec: config::AudioCodec::Aac, bitrate: 64_000, channels: 2 };
    renditions.push(Rendition { name: "audio".to_owned(), make: sound });
    Plan {
        rate: publisher.source().rate,
        segment_frames: GOP,
        part_frames: PART_FRAMES,
        target_duration_s: 2,
        part_target: Duration::from_millis(513),
        renditions,
        thumbnails: None,
    }
}

/// The samples of `vivid_transcode_repairs_total` that are not 0.
fn repairs(registry: &Registry) -> Vec<(String, u64)> {
    let families = registry.gather();
    let of = families.iter().filter(|family| family.name() == "vivid_transcode_repairs_total");
    let samples = of.flat_map(|family| family.get_metric());
    let told = samples.map(|metric| {
        let label = metric.get_label().first().map(|label| label.value().to_owned()).unwrap_or_default();
        (label, metric.get_counter().get_value() as u64)
    });
    told.filter(|(_, count)| *count > 0).collect()
}

impl Report {
    fn verdicts(&self) -> [Verdict; 2] {
        let missed = Some(self.found.misaligned as f64);
        let drift = Some(self.found.drift_ms().abs());
        let parts = format!("boundaries of {} parts that are not the same in all renditions", self.found.parts);
        [
            Verdict::at_most("L5", parts, missed, 0.0, ""),
            Verdict::at_most("L5", "sound moved against its picture".to_owned(), drift, 1.0, " ms"),
        ]
    }

    fn markdown(&self) -> String {
        let mut out = self.machine.heading(&self.command, &self.date);
        let found = &self.found;
        out.push_str(&format!("\n{}\n", case::markdown(&self.verdicts())));
        let mut rows = vec![
            vec!["stream time, s".to_owned(), self.seconds.to_string()],
            vec!["took, s".to_owned(), format!("{:.0}", self.took_s)],
            vec!["pictures that never came".to_owned(), self.dropped.to_string()],
            vec!["segments, each in every rendition".to_owned(), found.segments.to_string()],
            vec!["samples of sound in, out".to_owned(), format!("{}, {}", found.samples_in, found.samples_out)],
        ];
        rows.extend(self.repairs.iter().map(|(repair, count)| vec![format!("mended: {repair}"), count.to_string()]));
        let rate = f64::from(AUDIO_RATE) / 1000.0;
        out.push_str(&format!(
            "### The hour\n\n{}",
            table::render(&["29.97 fps, a hundredth dropped", "count"], &rows)
        ));
        out.push_str(&format!("\nSound counts {rate} samples a millisecond.\n"));
        out
    }
}
