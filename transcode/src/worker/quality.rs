//! Measures what rungs look like: decodes some segments of what they encode, compares them with what they were given, and
//! says which rungs there is no need of.
//!
//! One thread does that for all rungs, at a lower priority than theirs. What it has no time for is not measured: no rung
//! waits for it.

mod eye;
mod tap;
#[cfg(test)]
mod tests;

use super::WorkError;
use super::output::Output;
use super::scaler::Scaler;
use crate::pausing::{Compared, Paused, Pauser, Places};
use crate::quality::{Luma, Quality, Sampling, Score};
use crate::wire::{FromWorker, Repair};
use crate::{Encoding, Plan};
use bytes::Bytes;
use eye::Eye;
use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame::Video;
use media::TrackConfig;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, OnceLock};
pub(super) use tap::Tap;

/// Which rungs are left out for what there is to see, from the next boundary on. Clones show the same.
#[derive(Clone, Default)]
pub(super) struct Pauses(Arc<Mutex<Paused>>);

impl Pauses {
    pub(super) fn now(&self) -> Paused {
        *self.0.lock()
    }
}

/// From a rung, of a segment that is measured.
enum Sample {
    /// What a picture should look like.
    Given { place: usize, index: i64, pixels: Arc<Video> },
    /// Every coded picture up to the last that is compared.
    Coded { place: usize, index: i64, key: bool, data: Bytes },
}

/// What is to be measured, before there is a thread for it: libswscale's contexts stay in the one that made them.
pub(super) struct Measuring {
    samples: Receiver<Sample>,
    sampling: Sampling,
    /// By place among those that are encoded, which is by the number of the rendition as well.
    rungs: Vec<(u16, Encoding, Arc<OnceLock<TrackConfig>>)>,
    pauser: Option<Pauser>,
    pauses: Pauses,
    output: Output,
}

struct Judge {
    sampling: Sampling,
    rungs: Vec<Judged>,
    /// By place on the grid.
    scenes: BTreeMap<i64, Scene>,
    pauser: Option<Pauser>,
    pauses: Pauses,
    output: Output,
}

/// A rung, by its place among those that are encoded.
struct Judged {
    rendition: u16,
    eye: Eye,
    /// Of the open segment.
    scores: Vec<Score>,
    /// The rung below, at this one's size.
    scaler: Scaler,
}

/// A picture in all rungs, as far as it is known.
#[derive(Default)]
struct Scene {
    given: BTreeMap<usize, Arc<Video>>,
    decoded: BTreeMap<usize, Arc<Video>>,
    own: BTreeMap<usize, f64>,
    compared: Places,
}

/// Samples that wait to be looked at: of a handful of rungs about a second.
const SAMPLES_MAX: usize = 256;

/// Where rungs give their samples, by their place, and who looks at them; `None` where nothing is measured.
pub(super) fn measuring(plan: &Plan, quality: &Quality, output: &Output) -> Option<(Vec<Tap>, Measuring)> {
    if quality.sample_percent == 0 {
        return None;
    }
    let sampling = Sampling::new(plan, quality);
    let (sender, samples) = sync_channel(SAMPLES_MAX);
    let encoded = plan.renditions.iter().enumerate();
    let encoded = encoded.filter_map(|(index, rendition)| Some((index, rendition.make.encoding()?)));
    let (mut taps, mut rungs) = (Vec::new(), Vec::new());
    for (place, (index, encoding)) in encoded.enumerate() {
        let track: Arc<OnceLock<TrackConfig>> = Arc::default();
        taps.push(Tap::new((place, sampling.clone()), sender.clone(), Arc::clone(&track), output.clone()));
        rungs.push((index as u16, encoding.clone(), track));
    }
    let pauser = quality.pausing.as_ref().map(|pausing| Pauser::new(plan, pausing, sampling.pictures()));
    let (pauses, output) = (Pauses::default(), output.clone());
    Some((taps, Measuring { samples, sampling, rungs, pauser, pauses, output }))
}

impl Measuring {
    pub(super) fn pauses(&self) -> Pauses {
        self.pauses.clone()
    }

    /// Until no rung is left that gives it anything.
    pub(super) fn run(self) -> Result<(), WorkError> {
        give_way();
        let Self { samples, sampling, rungs, pauser, pauses, output } = self;
        let rungs = rungs.into_iter().map(|(rendition, Encoding { codec, width, height, .. }, track)| Judged {
            rendition,
            eye: Eye::new(codec, track),
            scores: Vec::new(),
            scaler: Scaler::new(width, height),
        });
        let rungs = rungs.collect();
        let mut judge = Judge { sampling, rungs, scenes: BTreeMap::new(), pauser, pauses, output };
        while let Ok(sample) = samples.recv() {
            match sample {
                Sample::Given { place, index, pixels } => judge.note((place, index), pixels)?,
                Sample::Coded { place, index, key, data } => judge.decode(place, (index, key), &data)?,
            }
        }
        Ok(())
    }
}

impl Judge {
    fn note(&mut self, (place, index): (usize, i64), pixels: Arc<Video>) -> Result<(), WorkError> {
        self.scenes.entry(index).or_default().given.insert(place, pixels);
        let forgotten = self.sampling.forgotten_before(index);
        self.scenes.retain(|index, _| *index >= forgotten);
        let segment = self.sampling.segment(index);
        if let Some(place) = self.pauser.as_mut().and_then(|pauser| pauser.overlooked(segment)) {
            self.turned(place, 0.0)?;
        }
        self.weigh(index)
    }

    fn decode(&mut self, place: usize, (index, key): (i64, bool), data: &[u8]) -> Result<(), WorkError> {
        let Some(rung) = self.rungs.get_mut(place) else { return Ok(()) };
        if key {
            rung.scores.clear();
        }
        let last = self.sampling.is_last(index);
        let Ok(pictures) = rung.eye.see((index, key, last), data) else {
            return self.output.repaired(Repair::QualityUnseen, 1);
        };
        for (index, picture) in pictures {
            if self.sampling.takes_picture(index) {
                self.score(place, index, picture)?;
            }
        }
        Ok(())
    }

    /// A rung has shown a picture like this.
    fn score(&mut self, place: usize, index: i64, picture: Video) -> Result<(), WorkError> {
        let Some((scene, rung)) = self.scenes.get_mut(&index).zip(self.rungs.get_mut(place)) else { return Ok(()) };
        let Some(score) = scene.given.get(&place).and_then(|given| alike(given, &picture)) else { return Ok(()) };
        rung.scores.push(score);
        if let Some(mean) = Score::mean(&rung.scores).filter(|_| rung.scores.len() == self.sampling.pictures()) {
            rung.scores.clear();
            let (ssim_ppm, psnr_mdb) = (ppm(mean.ssim), (mean.psnr_db() * 1e3).round() as u32);
            self.output.send(&FromWorker::Quality { rendition: rung.rendition, ssim_ppm, psnr_mdb })?;
        }
        if self.pauser.is_some() {
            scene.own.insert(place, score.ssim);
            scene.decoded.insert(place, Arc::new(picture));
            return self.weigh(index);
        }
        scene.given.remove(&place);
        Ok(())
    }

    /// Compares rungs with those below them, as far as both are there.
    fn weigh(&mut self, index: i64) -> Result<(), WorkError> {
        let segment = self.sampling.segment(index);
        for place in 0..self.rungs.len() {
            let Self { pauser, scenes, rungs, .. } = &mut *self;
            let Some((pauser, scene)) = pauser.as_mut().zip(scenes.get_mut(&index)) else { return Ok(()) };
            let Some(below) = pauser.below(place).filter(|_| !scene.compared.holds(place)) else { continue };
            let Some((given, shown)) = scene.given.get(&place).zip(scene.decoded.get(&below)) else { continue };
            let own = scene.own.get(&place).copied();
            if own.is_none() && !pauser.paused().away.holds(place) {
                continue;
            }
            scene.compared.insert(place);
            let shown = rungs[place].scaler.scale(shown)?;
            let Some(score) = alike(given, &shown) else { continue };
            if pauser.saw(place, segment, Compared { own, below: score.ssim }) {
                self.turned(place, score.ssim)?;
            }
        }
        Ok(())
    }

    /// A rung is to go or to come back; the one below looks so much like it.
    fn turned(&mut self, place: usize, ssim: f64) -> Result<(), WorkError> {
        let Some(paused) = self.pauser.as_ref().map(Pauser::paused) else { return Ok(()) };
        *self.pauses.0.lock() = paused;
        let (rendition, paused) = (self.rungs[place].rendition, paused.away.holds(place));
        self.output.send(&FromWorker::Paused { rendition, paused, ssim_ppm: ppm(ssim) })
    }
}

/// Nobody would bring a rung back any more.
impl Drop for Judge {
    fn drop(&mut self) {
        *self.pauses.0.lock() = Paused::default();
    }
}

fn ppm(ssim: f64) -> u32 {
    (ssim.max(0.0) * 1e6).round() as u32
}

/// Of luma; `None` of pictures that have none of 8 bits.
fn alike(one: &Video, other: &Video) -> Option<Score> {
    Score::of(luma(one)?, luma(other)?)
}

fn luma(picture: &Video) -> Option<Luma<'_>> {
    if !matches!(picture.format(), Pixel::YUV420P | Pixel::YUVJ420P) {
        return None;
    }
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    Some(Luma { samples: picture.data(0), stride: picture.stride(0), width, height })
}

/// Encoders go first. Where the system does not allow it, they do not.
fn give_way() {
    // SAFETY: no memory is handed over; on Linux 0 is the calling thread.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
}

/// A tenth of the weight of others.
const NICE: i32 = 10;
