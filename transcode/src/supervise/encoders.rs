//! Which encoder each rung of a worker has, as logs and metrics show it, and whether a device is to blame for its end.

use super::EndReason;
use crate::hardware::Engine;
use crate::wire::WireError;
use crate::{Metrics, Plan};
use config::VideoCodec;

/// Of one worker.
pub(super) struct Encoders {
    metrics: Metrics,
    /// By rendition; none before it has begun, and where nothing is encoded.
    rungs: Vec<Rung>,
}

struct Rung {
    name: String,
    is_encoded: bool,
    /// This machine would begin it on a device.
    tries_device: bool,
    encoder: Option<(Engine, &'static str)>,
}

impl Encoders {
    /// `tries` says of which codecs this machine has encoders on a device.
    pub(super) fn new(plan: &Plan, metrics: &Metrics, tries: impl Fn(VideoCodec) -> bool) -> Self {
        let rung = |rendition: &crate::Rendition| {
            let encoding = rendition.make.encoding();
            let tries_device = encoding.is_some_and(|encoding| tries(encoding.codec));
            Rung { name: rendition.name.clone(), is_encoded: encoding.is_some(), tries_device, encoder: None }
        };
        Self { metrics: metrics.clone(), rungs: plan.renditions.iter().map(rung).collect() }
    }

    /// A rung has begun. Its encoder is one of those that there are, and it begins once.
    pub(super) fn begin(&mut self, rendition: usize, encoder: &str, why: &str) -> Result<(), WireError> {
        let known = Engine::of(encoder).map(|(engine, _, name)| (engine, name));
        let rung = self.rungs.get_mut(rendition).filter(|rung| rung.is_encoded && rung.encoder.is_none());
        let (rung, (engine, name)) = rung.zip(known).ok_or(WireError::Invalid("encoder"))?;
        tracing::info!(rung = rung.name, encoder = name, why, "a rung is encoded");
        rung.encoder = Some((engine, name));
        self.metrics.rungs.with_label_values(&[name]).inc();
        Ok(())
    }

    /// A worker that died or hung while a device worked for it, or was about to, may have done so in the device's driver. One of
    /// another machine is not known to have died: its connection has.
    pub(super) fn blamed(&self, reason: EndReason, is_here: bool) -> EndReason {
        let on_device = self.rungs.iter().any(|rung| match rung.encoder {
            Some((engine, _)) => engine != Engine::Software,
            None => is_here && rung.tries_device,
        });
        match reason {
            EndReason::Died(_) if !is_here => reason,
            EndReason::Died(_) | EndReason::Hung(_) if on_device => EndReason::Device(reason.to_string()),
            reason => reason,
        }
    }

    /// The worker has ended.
    pub(super) fn end(&mut self) {
        for (_, name) in self.rungs.iter_mut().filter_map(|rung| rung.encoder.take()) {
            self.metrics.rungs.with_label_values(&[name]).dec();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Encoding, Make, Rendition};
    use media::FrameRate;
    use prometheus::Registry;
    use std::time::Duration;

    fn encoders(metrics: &Metrics) -> Encoders {
        encoders_that(metrics, false)
    }

    fn encoders_that(metrics: &Metrics, tries: bool) -> Encoders {
        let (codec, preset) = (VideoCodec::H264, String::new());
        let rung = Encoding { codec, width: 2, height: 2, every: 1, bitrate: 1, quality: None, preset };
        let makes = [Make::Passthrough, Make::Video(rung.clone()), Make::Video(rung)];
        let plan = Plan {
            rate: FrameRate::new(30, 1).unwrap(),
            segment_frames: 60,
            part_frames: 10,
            target_duration_s: 2,
            part_target: Duration::from_millis(334),
            renditions: makes.map(|make| Rendition { name: "x".to_owned(), make }).into(),
            thumbnails: None,
        };
        Encoders::new(&plan, metrics, |_| tries)
    }

    #[test]
    fn rungs_are_counted_by_their_encoder_until_the_worker_ends() {
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let count = |encoder: &str| metrics.rungs.with_label_values(&[encoder]).get();
        let mut encoders = encoders(&metrics);
        encoders.begin(1, "h264_qsv", "its trial succeeded").unwrap();
        encoders.begin(2, "libx264", "a device takes no more").unwrap();
        assert_eq!((count("h264_qsv"), count("libx264")), (1, 1));
        for (rendition, encoder) in [(0, "libx264"), (1, "libx264"), (3, "libx264"), (2, "made-up")] {
            assert!(encoders.begin(rendition, encoder, "").is_err(), "{rendition} {encoder}");
        }
        encoders.end();
        assert_eq!((count("h264_qsv"), count("libx264")), (0, 0));
    }

    #[test]
    fn a_device_is_blamed_for_what_may_be_its_driver_s_fault() {
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let (mut on_device, mut software) = (encoders(&metrics), encoders(&metrics));
        on_device.begin(1, "h264_nvenc", "").unwrap();
        software.begin(1, "libx264", "").unwrap();
        let died = || EndReason::Died("signal: 11".to_owned());
        assert!(matches!(on_device.blamed(died(), true), EndReason::Device(why) if why.contains("signal: 11")));
        assert_eq!(on_device.blamed(died(), false), died(), "a connection is no device");
        for is_here in [true, false] {
            let hung = EndReason::Hung(Duration::from_secs(5));
            assert!(matches!(on_device.blamed(hung, is_here), EndReason::Device(_)));
            assert_eq!(on_device.blamed(EndReason::Finished, is_here), EndReason::Finished);
            assert_eq!(software.blamed(died(), is_here), died());
        }
        let mut opening = encoders_that(&metrics, true);
        assert!(matches!(opening.blamed(died(), true), EndReason::Device(_)), "it may have died in opening one");
        opening.begin(1, "libx264", "").unwrap();
        opening.begin(2, "libx264", "").unwrap();
        assert_eq!(opening.blamed(died(), true), died());
    }
}
