//! One rung: scales what the rung above hands down, hands it on, encodes it, writes it out.

use super::WorkError;
use super::output::Output;
use super::scaler::Scaler;
use super::x264::{Settings, X264};
use crate::wire::FromWorker;
use ffmpeg_next::frame::Video;
use media::{Frame, TrackConfig, TrackKind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

/// A picture at its place on the grid.
#[derive(Clone)]
pub(super) struct Picture {
    pub(super) index: i64,
    pub(super) pixels: Arc<Video>,
}

/// Pictures that wait for a rung: enough to even out an IDR picture, too few to hide that the machine is too slow.
pub(super) const PICTURES_MAX: usize = 8;

/// Where a rung hands its pictures down to, and which: one of `every` on the grid.
pub(super) struct Below {
    pub(super) pictures: SyncSender<Picture>,
    pub(super) every: u32,
}

pub(super) struct Rung {
    settings: Settings,
    rendition: u16,
    below: Option<Below>,
    output: Output,
}

impl Rung {
    pub(super) fn new(settings: Settings, rendition: u16, below: Option<Below>, output: Output) -> Self {
        Self { settings, rendition, below, output }
    }

    pub(super) fn run(self, pictures: &Receiver<Picture>) -> Result<(), WorkError> {
        let mut scaler = Scaler::new(self.settings.encoding.width, self.settings.encoding.height);
        let mut encoder = None;
        while let Ok(Picture { index, pixels }) = pictures.recv() {
            let pixels = scaler.scale(&pixels)?;
            if let Some(below) = self.below.as_ref().filter(|below| index % i64::from(below.every) == 0) {
                let picture = Picture { index, pixels: Arc::clone(&pixels) };
                below.pictures.send(picture).map_err(|_| WorkError::Panicked)?;
            }
            let encoder = match &mut encoder {
                Some(encoder) => encoder,
                none => none.insert(self.open(&pixels)?),
            };
            encoder.encode(&pixels, index)?;
            self.write(encoder)?;
        }
        match &mut encoder {
            Some(encoder) => {
                encoder.finish()?;
                self.write(encoder)
            }
            None => Ok(()),
        }
    }

    fn open(&self, first: &Video) -> Result<X264, WorkError> {
        let encoder = X264::open(&self.settings, first)?;
        let config = TrackConfig::Avc { config: encoder.config().clone(), timescale: self.settings.grid.timescale() };
        self.output.send(&FromWorker::Track { rendition: self.rendition, config })?;
        Ok(encoder)
    }

    fn write(&self, encoder: &mut X264) -> Result<(), WorkError> {
        while let Some(coded) = encoder.coded()? {
            let time = coded.index * i64::from(self.settings.grid.frame_ticks());
            let frame = Frame { kind: TrackKind::Video, dts: time, pts: time, keyframe: coded.idr, data: coded.data };
            self.output.send(&FromWorker::Frame { rendition: self.rendition, frame })?;
        }
        Ok(())
    }
}
