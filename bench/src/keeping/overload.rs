//! A machine that suddenly has twice the work it can do: how late the live edge gets, what is left out, and when all is back.

use super::site::{Follower, Site};
use crate::ladder::clip;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use transcode::{Input, Job, Make};

/// Heights and bits per second, below the source that is passed through.
const RUNGS: [(u32, u32); 4] = [(720, 3_000_000), (540, 2_000_000), (432, 1_500_000), (360, 800_000)];
/// Slowest last. The slowest that the machine just does alone is taken.
const PRESETS: [&str; 6] = ["superfast", "veryfast", "faster", "fast", "medium", "slow"];
/// Of a machine that has nothing else to do.
const SHARE: f64 = 0.85;
const RECOVER: Duration = Duration::from_secs(4);
const TWICE: f64 = 2.0;

#[derive(Debug, Default, Serialize)]
pub(crate) struct Found {
    pub(crate) preset: String,
    /// How long the machine takes for a second of the ladder, alone and beside the other work.
    pub(crate) alone: f64,
    pub(crate) beside: f64,
    pub(crate) other_threads: usize,
    /// By rendition: how late any of its parts was told, in milliseconds, before, during and after.
    pub(crate) late_ms: Vec<(String, [i64; 3])>,
    /// What was left out, as it changed: seconds since the other work began, and the step.
    pub(crate) steps: Vec<(f64, String)>,
    /// Renditions in the order in which they went, with seconds since the other work began.
    pub(crate) gone: Vec<(String, f64)>,
    /// From the end of the other work until nothing was left out.
    pub(crate) recovered_s: Option<f64>,
    pub(crate) workers_ended: f64,
}

/// The times of each phase: before, with the other work, and after at most.
pub(super) const PHASES: [Duration; 3] = [Duration::from_secs(12), Duration::from_secs(40), Duration::from_secs(60)];

pub(super) fn measure(path: &Path) -> anyhow::Result<Found> {
    let mut found = calibrate(path)?;
    let rungs = RUNGS
        .iter()
        .map(|(height, bitrate)| format!("[[origin.ladder.rungs]]\nheight = {height}\nbitrate = {bitrate}\n"));
    let text = format!(
        "[origin.worker]\nrecover_ms = {}\n[origin.ladder]\npreset = \"{}\"\nrate_control = \"bitrate\"\n{}",
        RECOVER.as_millis(),
        found.preset,
        rungs.collect::<String>()
    );
    let site = Site::start(&text, path)?;
    let names = site.renditions()?;
    let followers: Vec<Follower> = names.iter().map(|name| site.follow(name)).collect();
    std::thread::sleep(PHASES[0]);
    let burner = Burner::start(found.other_threads);
    let begins = site.now();
    let mut step = String::new();
    watch(&site, PHASES[1], |site| {
        note(site, begins, &mut step, &mut found.steps);
        false
    });
    drop(burner);
    let ends = site.now();
    watch(&site, PHASES[2], |site| {
        note(site, begins, &mut step, &mut found.steps);
        let all = step.is_empty();
        if all {
            found.recovered_s = Some((site.now() - ends).as_secs_f64());
        }
        all
    });
    found.workers_ended = site.metric("vivid_transcode_workers_ended_total", "");
    for follower in &followers {
        let told = follower.told();
        let worst = |from: Duration, to: Duration| {
            told.iter().filter(|told| told.at >= from && told.at < to).map(|told| told.late_ms).max().unwrap_or(0)
        };
        let late = [worst(Duration::ZERO, begins), worst(begins, ends), worst(ends, Duration::MAX)];
        found.late_ms.push((follower.rendition.clone(), late));
        if let Some(gap) = told.iter().find(|told| told.gap && told.at >= begins) {
            found.gone.push((follower.rendition.clone(), (gap.at - begins).as_secs_f64()));
        }
    }
    found.gone.sort_by(|a, b| a.1.total_cmp(&b.1));
    Ok(found)
}

/// Looks every 50 ms, until `done` says so or the time is up.
fn watch(site: &Site, most: Duration, mut done: impl FnMut(&Site) -> bool) {
    let until = Instant::now() + most;
    while Instant::now() < until && !done(site) {
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn note(site: &Site, begins: Duration, step: &mut String, steps: &mut Vec<(f64, String)>) {
    let now = ["rungs", "frames", "presets"]
        .into_iter()
        .find(|step| site.metric("vivid_transcode_shedding_workers", step) > 0.0);
    let now = now.unwrap_or_default();
    if now != step {
        now.clone_into(step);
        let named = if now.is_empty() { "nothing" } else { now };
        steps.push(((site.now() - begins).as_secs_f64(), named.to_owned()));
    }
}

/// The slowest preset that the machine does alone, and how much other work makes the same take twice what there is.
fn calibrate(path: &Path) -> anyhow::Result<Found> {
    let mut found = Found::default();
    for preset in PRESETS {
        let ratio = ratio(path, preset)?;
        eprintln!("{preset}: {ratio:.2} s for a second");
        if ratio > SHARE && !found.preset.is_empty() {
            break;
        }
        (found.preset, found.alone) = (preset.to_owned(), ratio);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for threads in (cores..=8 * cores).step_by(cores.max(1)) {
        let burner = Burner::start(threads);
        (found.beside, found.other_threads) = (ratio(path, &found.preset)?, threads);
        drop(burner);
        eprintln!("with {threads} threads beside it: {:.2} s for a second", found.beside);
        if found.beside >= TWICE {
            break;
        }
    }
    Ok(found)
}

/// Seconds for a second of the ladder, as fast as it goes and with nothing left out.
fn ratio(path: &Path, preset: &str) -> anyhow::Result<f64> {
    let mut clip = clip::read(path)?;
    let job = job(&clip, preset);
    let pictures = 3 * clip::FPS as usize;
    let mut seen = 0;
    clip.inputs.retain(|input| {
        seen += usize::from(matches!(input, Input::Video(_)));
        seen <= pictures
    });
    let begun = Instant::now();
    crate::ladder::on_runtime(crate::ladder::side::through(job, clip.inputs))?;
    Ok(begun.elapsed().as_secs_f64() / 3.0)
}

fn job(clip: &clip::Clip, preset: &str) -> Job {
    let mut job = crate::ladder::side::job_of(clip, &RUNGS);
    for rendition in &mut job.plan.renditions {
        if let Make::Video(encoding) = &mut rendition.make {
            preset.clone_into(&mut encoding.preset);
        }
    }
    job
}

/// Threads that do nothing of use as fast as they can.
struct Burner {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Burner {
    fn start(threads: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let burn = |stop: Arc<AtomicBool>| {
            move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            }
        };
        let threads = (0..threads).map(|_| std::thread::spawn(burn(Arc::clone(&stop)))).collect();
        Self { stop, threads }
    }
}

impl Drop for Burner {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It cannot panic.
            let _ = thread.join();
        }
    }
}
