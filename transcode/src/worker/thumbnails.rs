//! Small pictures for seek bars: one JPEG for each segment. What goes wrong here costs an image, and no rendition anything.

mod canvas;
mod places;

use super::WorkError;
use super::output::Output;
use super::rung::Picture;
use super::scaler::Scaler;
use crate::Thumbnails;
use crate::wire::{FromWorker, Repair};
use canvas::Canvas;
use ffmpeg_next::frame::Video;
use places::Places;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

pub(super) struct Thumbnailer {
    places: Places,
    segment_frames: u64,
    scaler: Scaler,
    canvas: Canvas,
    output: Output,
    /// The segment whose image is being made, and how many of its frames have come.
    open: Option<(u64, u64)>,
    /// It cannot be made: nothing more is tried before the next.
    spoilt: bool,
}

impl Thumbnailer {
    pub(super) fn new(thumbnails: &Thumbnails, segment_frames: u32, output: Output) -> Self {
        Self {
            places: Places::new(thumbnails, segment_frames),
            segment_frames: u64::from(segment_frames),
            scaler: Scaler::new(thumbnails.width, thumbnails.height),
            canvas: Canvas::new(thumbnails.clone()),
            output,
            open: None,
            spoilt: false,
        }
    }

    /// Takes every picture of the smallest rung, and looks at few.
    pub(super) fn run(mut self, pictures: &Receiver<Picture>) -> Result<(), WorkError> {
        while let Ok(Picture { index, pixels, .. }) = pictures.recv() {
            let Ok(index) = u64::try_from(index) else { continue };
            let (segment, within) = self.places.segment(index);
            self.open = Some((segment, within + 1));
            let places = self.places.of(index);
            if !places.is_empty() && !self.spoilt {
                let placed = self.place(places, &pixels);
                self.spoil(placed)?;
            }
            if within + 1 == self.segment_frames {
                self.write()?;
            }
        }
        self.write()
    }

    fn place(&mut self, places: std::ops::Range<u64>, pixels: &Arc<Video>) -> Result<(), WorkError> {
        let pixels = self.scaler.scale(pixels)?;
        for place in places {
            self.canvas.draw(place as usize, &pixels)?;
        }
        Ok(())
    }

    /// The image of the open segment, if there is one.
    fn write(&mut self) -> Result<(), WorkError> {
        let Some((segment, frames)) = self.open.take() else { return Ok(()) };
        if !std::mem::take(&mut self.spoilt) {
            match self.canvas.encode() {
                Ok(data) => {
                    let frames = frames as u32;
                    self.output.send(&FromWorker::Thumbnails { segment, frames, data })?;
                }
                failed @ Err(_) => self.spoil(failed.map(drop))?,
            }
        }
        self.spoilt = false;
        self.canvas.clear();
        Ok(())
    }

    fn spoil(&mut self, done: Result<(), WorkError>) -> Result<(), WorkError> {
        let Err(error) = done else { return Ok(()) };
        eprintln!("a segment has no thumbnails: {error}");
        self.spoilt = true;
        self.output.repaired(Repair::ThumbnailsLost, 1)
    }
}
