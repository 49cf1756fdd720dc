//! What the rungs of workers look like, and which are left out for it, as logs and metrics show it.

use crate::metrics::RungHistogram;
use crate::{Metrics, Plan};

/// Of one worker.
pub(super) struct Seen {
    metrics: Metrics,
    /// Of each rendition that is encoded pictures.
    rungs: Vec<Option<Rung>>,
}

struct Rung {
    name: String,
    ssim: RungHistogram,
    psnr: RungHistogram,
    paused: bool,
}

impl Seen {
    pub(super) fn new(plan: &Plan, metrics: &Metrics) -> Self {
        let rung = |index: usize| {
            let (ssim, psnr) = metrics.quality_of(plan, index)?;
            Some(Rung { name: plan.renditions[index].name.clone(), ssim, psnr, paused: false })
        };
        Self { metrics: metrics.clone(), rungs: (0..plan.renditions.len()).map(rung).collect() }
    }

    /// A segment of a rendition looks like this: SSIM in millionths, PSNR in thousandths of a decibel. `None` if it is no rung.
    pub(super) fn measured(&mut self, rendition: u16, (ssim_ppm, psnr_mdb): (u32, u32)) -> Option<()> {
        let rung = self.rung(rendition)?;
        rung.ssim.observe(f64::from(ssim_ppm) / 1e6);
        rung.psnr.observe(f64::from(psnr_mdb) / 1e3);
        Some(())
    }

    /// A rendition is to be left out, or to come back. `None` if it is no rung.
    pub(super) fn turned(&mut self, rendition: u16, paused: bool, ssim_ppm: u32) -> Option<()> {
        let metrics = self.metrics.clone();
        let rung = self.rung(rendition)?;
        let ssim_below = f64::from(ssim_ppm) / 1e6;
        match (std::mem::replace(&mut rung.paused, paused), paused) {
            (false, true) => {
                metrics.paused.inc();
                metrics.pauses.inc();
                tracing::info!(rung = %rung.name, ssim_below, "rung left out: the next one below looks as good");
            }
            (true, false) => {
                metrics.paused.dec();
                tracing::info!(rung = %rung.name, ssim_below, "rung encoded again: there is something else to see");
            }
            (true, true) | (false, false) => {}
        }
        Some(())
    }

    /// The worker has ended.
    pub(super) fn end(&mut self) {
        for rung in self.rungs.iter_mut().flatten().filter(|rung| rung.paused) {
            rung.paused = false;
            self.metrics.paused.dec();
        }
    }

    fn rung(&mut self, rendition: u16) -> Option<&mut Rung> {
        self.rungs.get_mut(usize::from(rendition))?.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Encoding, Make, Rendition};
    use config::VideoCodec;
    use media::FrameRate;
    use prometheus::Registry;
    use std::time::Duration;

    fn plan() -> Plan {
        let (codec, preset) = (VideoCodec::H264, String::new());
        let encoding = Encoding { codec, width: 640, height: 360, every: 1, bitrate: 1, quality: None, preset };
        let rendition = |name: &str, make| Rendition { name: name.to_owned(), make };
        let rungs = ["720p", "360p"].map(|name| rendition(name, Make::Video(encoding.clone())));
        Plan {
            rate: FrameRate::new(30, 1).unwrap(),
            segment_frames: 60,
            part_frames: 10,
            target_duration_s: 2,
            part_target: Duration::from_millis(334),
            renditions: std::iter::once(rendition("source", Make::Passthrough)).chain(rungs).collect(),
            thumbnails: None,
        }
    }

    #[test]
    fn figures_are_those_of_their_rung_and_pauses_end_with_the_worker() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let mut seen = Seen::new(&plan(), &metrics);
        seen.measured(2, (987_654, 41_200)).unwrap();
        assert_eq!((seen.measured(0, (0, 0)), seen.measured(3, (0, 0))), (None, None));
        let figures = |name: &str| {
            let family = registry.gather().into_iter().find(|family| family.name() == name).unwrap();
            let figure = |metric: &prometheus::proto::Metric| {
                let histogram = metric.get_histogram();
                (metric.get_label()[0].value().to_owned(), histogram.get_sample_count(), histogram.get_sample_sum())
            };
            family.get_metric().iter().map(figure).collect::<Vec<_>>()
        };
        let rung = |name: &str, count, sum| (name.to_owned(), count, sum);
        assert_eq!(figures("vivid_transcode_ssim"), [rung("360p", 1, 0.987_654), rung("720p", 0, 0.0)]);
        assert_eq!(figures("vivid_transcode_psnr_db"), [rung("360p", 1, 41.2), rung("720p", 0, 0.0)]);

        let counts = || (metrics.paused.get(), metrics.pauses.get());
        for (paused, expected) in [(true, (1, 1)), (true, (1, 1)), (false, (0, 1)), (false, (0, 1)), (true, (1, 2))] {
            seen.turned(1, paused, 991_000).unwrap();
            assert_eq!(counts(), expected);
        }
        assert_eq!(seen.turned(0, true, 0), None);
        seen.end();
        assert_eq!(counts(), (0, 2));
    }
}
