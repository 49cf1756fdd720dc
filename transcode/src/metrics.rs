//! What the origin counts about its workers.

mod by_rung;

use crate::wire::Repair;
use crate::{EndReason, Make, Plan};
use by_rung::ByRung;
pub(crate) use by_rung::RungHistogram;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, Result, histogram_opts,
    opts,
};

/// Registered once per process and shared by all workers.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) frames_in: IntCounterVec,
    pub(crate) frames_out: IntCounterVec,
    pub(crate) repairs: IntCounterVec,
    pub(crate) thumbnails: IntCounter,
    pub(crate) refused: IntCounter,
    pub(crate) started: IntCounter,
    pub(crate) ended: IntCounterVec,
    pub(crate) running: IntGauge,
    pub(crate) lag: Histogram,
    pub(crate) rung_lag: ByRung,
    pub(crate) rungs: IntGaugeVec,
    pub(crate) shedding: IntGaugeVec,
    pub(crate) steps: IntCounterVec,
    pub(crate) presets_refused: IntCounter,
    pub(crate) ssim: ByRung,
    pub(crate) psnr: ByRung,
    pub(crate) paused: IntGauge,
    pub(crate) pauses: IntCounter,
    pub(crate) stderr_suppressed: IntCounter,
    pub(crate) remote_idle: IntGauge,
    pub(crate) remote_jobs: IntCounter,
    pub(crate) remote_refused: IntCounter,
}

impl Metrics {
    pub fn register(registry: &Registry) -> Result<Self> {
        let metrics = Self {
            frames_in: IntCounterVec::new(
                opts!("vivid_transcode_frames_in_total", "coded source frames given to workers, by medium"),
                &["medium"],
            )?,
            frames_out: IntCounterVec::new(
                opts!(
                    "vivid_transcode_frames_out_total",
                    "coded frames made by workers, by medium and picture height (0 for audio)"
                ),
                &["medium", "height"],
            )?,
            repairs: IntCounterVec::new(
                opts!("vivid_transcode_repairs_total", "source frames that were lost, late or twice, by what was done"),
                &["repair"],
            )?,
            thumbnails: counter("vivid_transcode_thumbnails_total", "images of thumbnails made, one for each segment")?,
            refused: counter(
                "vivid_transcode_frames_refused_total",
                "source frames not taken because a worker's queue was full; the worker is ended and may be started anew",
            )?,
            started: counter("vivid_transcode_workers_started_total", "workers started, here and on other machines")?,
            ended: IntCounterVec::new(
                opts!("vivid_transcode_workers_ended_total", "workers that ended, by reason"),
                &["reason"],
            )?,
            running: IntGauge::with_opts(opts!(
                "vivid_transcode_workers_running",
                "workers alive now, here and on other machines"
            ))?,
            lag: Histogram::with_opts(lag_opts())?,
            rung_lag: ByRung::new(rung_lag_opts())?,
            rungs: rungs()?,
            shedding: shedding()?,
            steps: IntCounterVec::new(
                opts!(
                    "vivid_transcode_shedding_steps_total",
                    "times that a worker began to leave more out (down) or less (up) to keep up"
                ),
                &["direction"],
            )?,
            presets_refused: counter(
                "vivid_transcode_presets_refused_total",
                "faster presets that a rung did not take, as its viewers would have needed another init section",
            )?,
            ssim: ByRung::new(ssim_opts())?,
            psnr: ByRung::new(psnr_opts())?,
            paused: IntGauge::with_opts(opts!(
                "vivid_transcode_paused_rungs",
                "rungs that are left out, as the next one below them looks as good on what there is to see"
            ))?,
            pauses: counter("vivid_transcode_pauses_total", "times that a rung was left out for what there is to see")?,
            stderr_suppressed: counter(
                "vivid_transcode_log_lines_suppressed_total",
                "lines of workers that were not logged because they came too fast",
            )?,
            remote_idle: IntGauge::with_opts(opts!(
                "vivid_transcode_remote_waiting",
                "workers of other machines that wait for a job"
            ))?,
            remote_jobs: counter("vivid_transcode_remote_jobs_total", "jobs given to workers of other machines")?,
            remote_refused: counter(
                "vivid_transcode_remote_refused_total",
                "workers of other machines that were sent away: wrong token, other release, or more than may wait",
            )?,
        };
        metrics.register_all(registry)?;
        Ok(metrics)
    }

    fn register_all(&self, registry: &Registry) -> Result<()> {
        for vec in [&self.frames_in, &self.frames_out, &self.repairs, &self.ended, &self.steps] {
            registry.register(Box::new(vec.clone()))?;
        }
        let counters = [&self.thumbnails, &self.refused, &self.started, &self.stderr_suppressed, &self.presets_refused];
        for counter in counters.into_iter().chain([&self.remote_jobs, &self.remote_refused, &self.pauses]) {
            registry.register(Box::new(counter.clone()))?;
        }
        registry.register(Box::new(self.running.clone()))?;
        registry.register(Box::new(self.remote_idle.clone()))?;
        registry.register(Box::new(self.lag.clone()))?;
        for rungs in [&self.rung_lag, &self.ssim, &self.psnr] {
            registry.register(rungs.collector())?;
        }
        registry.register(Box::new(self.paused.clone()))?;
        registry.register(Box::new(self.shedding.clone()))?;
        registry.register(Box::new(self.rungs.clone()))?;
        // A series that exists from the start can be alerted on before it first moves.
        for repair in Repair::ALL {
            self.repairs.with_label_values(&[label_of_repair(repair)]);
        }
        for reason in EndReason::LABELS {
            self.ended.with_label_values(&[reason]);
        }
        for step in ["presets", "frames", "rungs"] {
            self.shedding.with_label_values(&[step]);
        }
        for direction in ["down", "up"] {
            self.steps.with_label_values(&[direction]);
        }
        Ok(())
    }

    /// The counter of frames made for one rendition. Heights are those of the configured ladder and of sources.
    pub(crate) fn frames_out_of(&self, make: &Make) -> IntCounter {
        let (medium, height) = match make {
            Make::Audio { .. } => ("audio", 0),
            Make::Video(video) => ("video", video.height),
            Make::Passthrough => ("passthrough", 0),
        };
        self.frames_out.with_label_values(&[medium, &height.to_string()])
    }

    /// Of one rendition, by its rung's name; `None` where nothing is encoded.
    pub(crate) fn lag_of(&self, plan: &Plan, index: usize) -> Option<RungHistogram> {
        Some(self.rung_lag.of(rung_name(plan, index)?))
    }

    /// SSIM and PSNR of one rendition, named in the same way.
    pub(crate) fn quality_of(&self, plan: &Plan, index: usize) -> Option<(RungHistogram, RungHistogram)> {
        let name = rung_name(plan, index)?;
        Some((self.ssim.of(name), self.psnr.of(name)))
    }

    pub(crate) fn repaired(&self, repair: Repair, count: u32) {
        self.repairs.with_label_values(&[label_of_repair(repair)]).inc_by(u64::from(count));
    }
}

fn rungs() -> Result<IntGaugeVec> {
    IntGaugeVec::new(
        opts!(
            "vivid_transcode_rungs",
            "rungs that are encoded now, by the encoder as FFmpeg calls it: libx264 and others of software, or a device's"
        ),
        &["encoder"],
    )
}

fn shedding() -> Result<IntGaugeVec> {
    IntGaugeVec::new(
        opts!(
            "vivid_transcode_shedding_workers",
            "workers that leave something out to keep up, by the furthest step: presets, frames or rungs"
        ),
        &["step"],
    )
}

fn lag_opts() -> HistogramOpts {
    // From less than one frame at 60 fps to the seconds of backlog at which a worker is given up.
    let buckets = vec![0.005, 0.01, 0.02, 0.035, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];
    histogram_opts!(
        "vivid_transcode_lag_seconds",
        "from a video frame being given to a worker to its coded picture coming back, each rendition",
        buckets
    )
}

/// The name of a top rung comes from the source.
fn rung_name(plan: &Plan, index: usize) -> Option<&str> {
    let rendition = plan.renditions.get(index).filter(|rendition| rendition.make.encoding().is_some())?;
    Some(if index > 0 { rendition.name.as_str() } else { "top" })
}

fn rung_lag_opts() -> HistogramOpts {
    // As above, and up to where less is encoded: a third of a second.
    let buckets = vec![0.01, 0.02, 0.035, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0];
    histogram_opts!(
        "vivid_transcode_rung_lag_seconds",
        "the worst delay of a rung in each half second, while it is encoded: from a source picture's arrival in the worker to its coded picture",
        buckets
    )
}

fn ssim_opts() -> HistogramOpts {
    // Past 0.99 nobody sees a difference; below 0.8 everybody does. Steps of about a decibel.
    let buckets = vec![0.8, 0.84, 0.87, 0.9, 0.92, 0.937, 0.95, 0.96, 0.968, 0.975, 0.98, 0.984, 0.9874, 0.99, 0.995];
    histogram_opts!(
        "vivid_transcode_ssim",
        "structural similarity of luma between sampled segments of a rung and what they were encoded from",
        buckets
    )
}

fn psnr_opts() -> HistogramOpts {
    // From what is hardly to be recognised to what is the same to the eye; 100 is the same to the bit.
    let buckets = vec![24.0, 27.0, 30.0, 32.0, 34.0, 36.0, 38.0, 40.0, 42.0, 44.0, 46.0, 48.0, 50.0];
    histogram_opts!(
        "vivid_transcode_psnr_db",
        "peak signal to noise ratio of luma, in decibels, of sampled segments of a rung",
        buckets
    )
}

fn counter(name: &str, help: &str) -> Result<IntCounter> {
    IntCounter::with_opts(Opts::new(name, help))
}

fn label_of_repair(repair: Repair) -> &'static str {
    match repair {
        Repair::VideoUndecodable => "video_undecodable",
        Repair::VideoGap => "video_gap_filled",
        Repair::VideoDuplicate => "video_duplicate_dropped",
        Repair::AudioUndecodable => "audio_undecodable",
        Repair::AudioGap => "audio_gap_filled",
        Repair::AudioMisplaced => "audio_misplaced_dropped",
        Repair::ThumbnailsLost => "thumbnails_lost",
        Repair::VideoLeftOut => "video_left_out",
        Repair::QualityUnseen => "quality_unseen",
    }
}
