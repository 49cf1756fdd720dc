//! Which rungs of a ladder a source gets, and at what rate. Pure.

use super::{Encoding, Make, Rendition, Source, even_width};
use config::{Ladder, Rung, VideoCodec};
use media::{AvcConfig, FrameRate};

/// A rung that is not above the source.
pub(super) struct Fit<'a> {
    pub(super) rung: &'a Rung,
    every: u32,
}

impl Fit<'_> {
    /// Whether it has the source's own size and rate, whatever its codec.
    pub(super) fn is_source(&self, source: &Source) -> bool {
        self.rung.height == source.video.height && self.every == 1
    }

    pub(super) fn encoding(&self, source: &Source) -> Encoding {
        let AvcConfig { width, height, .. } = source.video;
        let Rung { height: scaled, bitrate, coding, .. } = self.rung;
        Encoding {
            codec: coding.codec,
            width: even_width(width, height, *scaled),
            height: *scaled,
            every: self.every,
            bitrate: *bitrate,
            quality: coding.quality,
            preset: coding.preset.clone(),
        }
    }
}

/// The rungs that are not above the source. Of those that come out alike, as two limits of the frame rate do where the
/// source is below both, only the last is worth its bits.
pub(super) fn fitting<'a>(source: &Source, ladder: &'a Ladder, part_frames: u32) -> Vec<Fit<'a>> {
    let AvcConfig { width, height, .. } = source.video;
    let fits = ladder.rungs.iter().filter(|rung| rung.height <= height);
    let fits = fits.filter(|rung| {
        rung.coding.codec == VideoCodec::H264 || even_width(width, height, rung.height).min(rung.height) >= SIDE_MIN
    });
    let mut fitting: Vec<Fit<'a>> = Vec::new();
    for rung in fits {
        let wanted = every(source.rate, rung.fps_max);
        // A part has a whole number of every rung's pictures, so where the grid cannot have it so, the rung has more of them.
        let every = (1..=wanted).rev().find(|&every| part_frames.is_multiple_of(every)).unwrap_or(1);
        let alike = |fit: &Fit<'_>| (fit.rung.height, fit.every, fit.rung.coding.codec);
        let fit = Fit { rung, every };
        fitting.retain(|before| alike(before) != alike(&fit));
        fitting.push(fit);
    }
    fitting
}

/// What SVT-AV1 and x265 take at the least. A rung that cannot be opened would take all others, and the sound, with it.
const SIDE_MIN: u32 = 64;

/// The least number of frames that holds whole numbers of every rung's pictures.
pub(super) fn pictures_of_all(source: &Source, ladder: &Ladder) -> u32 {
    let fits = ladder.rungs.iter().filter(|rung| rung.height <= source.video.height);
    let all = fits.fold(1, |all, rung| super::lcm(all, u64::from(every(source.rate, rung.fps_max))));
    u32::try_from(all).unwrap_or(1)
}

/// Where the source cannot be passed through: as the rung of its size says, if there is one in the ladder's own codec.
pub(super) fn top(source: &Source, ladder: &Ladder, rungs: &[Fit<'_>]) -> Encoding {
    let is_top = |fit: &&Fit<'_>| fit.is_source(source) && fit.rung.coding.codec == ladder.coding.codec;
    if let Some(fit) = rungs.iter().find(is_top) {
        return fit.encoding(source);
    }
    let AvcConfig { width, height, .. } = source.video;
    let pixels_per_second = f64::from(width) * f64::from(height) * source.rate.hz();
    Encoding {
        codec: ladder.coding.codec,
        width: (width & !1).max(2),
        height: (height & !1).max(2),
        every: 1,
        bitrate: (pixels_per_second * ladder.top_bits_per_pixel).round() as u32,
        quality: ladder.coding.quality,
        preset: ladder.coding.preset.clone(),
    }
}

/// A rung may have been given the name of the source's height.
pub(super) fn tell_apart(renditions: &mut [Rendition]) {
    let Some((top, lower)) = renditions.split_first_mut() else { return };
    if lower.iter().any(|rung| rung.name == top.name) {
        "source".clone_into(&mut top.name);
    }
}

/// One of how many frames keeps a rate within its limit. Nothing but whole numbers keeps motion even; the rates of the
/// field lie a thousandth beside each other.
fn every(rate: FrameRate, fps_max: Option<u32>) -> u32 {
    let Some(fps_max) = fps_max else { return 1 };
    (rate.hz() / (f64::from(fps_max) * 1.01)).ceil().max(1.0) as u32
}

/// What a rendition is made of, for tests and logs.
impl Make {
    pub fn encoding(&self) -> Option<&Encoding> {
        match self {
            Self::Video(video) => Some(video),
            Self::Passthrough | Self::Audio { .. } => None,
        }
    }
}
