//! One rung: scales what the rung above hands down, hands it on, encodes it, writes it out. What it leaves out for want of
//! time, it leaves out from where a segment begins.

use super::WorkError;
use super::encoder::{Encoder, Settings};
use super::output::Output;
use super::pace::{Pace, Report};
use super::quality::Tap;
use super::scaler::Scaler;
use crate::hardware::Engine;
use crate::keeping::{self, Shed};
use crate::pausing::Paused;
use crate::wire::{FromWorker, Repair};
use ffmpeg_next::frame::Video;
use media::{Frame, TrackConfig, TrackKind};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

/// A picture at its place on the grid.
#[derive(Clone)]
pub(super) struct Picture {
    pub(super) index: i64,
    pub(super) pixels: Arc<Video>,
    /// When its frame of the source was read.
    pub(super) came: Instant,
    /// What is left out of its segment, for want of time and for what there is to see.
    pub(super) shed: Shed,
    pub(super) paused: Paused,
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
    /// Among the encoded rungs, the tallest first.
    place: usize,
    below: Option<Below>,
    output: Output,
    pace: Pace,
    report: Report,
    /// Where its quality is measured.
    tap: Option<Tap>,
    encoder: Option<Encoder>,
    /// What its viewers have: every encoder must fit it.
    track: Option<TrackConfig>,
    /// Why it has the encoder that it has.
    why: String,
    /// How it is encoded now: by a preset that is so many steps faster, one of so many pictures of the grid.
    faster: u8,
    /// 0 where it is away.
    every: u32,
    /// When the open segment's first picture was taken.
    begun: Instant,
    /// When the frames came whose pictures are in the encoder.
    came: VecDeque<(i64, Instant)>,
}

impl Rung {
    pub(super) fn new(
        settings: Settings,
        (rendition, place, why): (u16, usize, String),
        below: Option<Below>,
        (output, pace, tap): (Output, Pace, Option<Tap>),
    ) -> Self {
        Self {
            every: settings.encoding.every,
            settings,
            rendition,
            place,
            below,
            output,
            pace,
            report: Report::new(),
            tap,
            encoder: None,
            track: None,
            why,
            faster: 0,
            begun: Instant::now(),
            came: VecDeque::new(),
        }
    }

    pub(super) fn run(mut self, pictures: &Receiver<Picture>) -> Result<(), WorkError> {
        let mut scaler = Scaler::new(self.settings.encoding.width, self.settings.encoding.height);
        while let Ok(Picture { index, pixels, came, shed, paused }) = pictures.recv() {
            let begun = Instant::now();
            if index % self.settings.segment_frames() == 0 {
                self.begun = begun;
                self.turn(index, &pixels, (shed, paused))?;
            }
            let pixels = self.scale(&mut scaler, (index, pixels))?;
            let scaled = begun.elapsed();
            if let Some(below) = self.below.as_ref().filter(|below| index % i64::from(below.every) == 0) {
                let picture = Picture { index, pixels: Arc::clone(&pixels), came, shed, paused };
                below.pictures.send(picture).map_err(|_| WorkError::Panicked)?;
            }
            let begun = Instant::now();
            if self.every > 0 && index % i64::from(self.every) == 0 {
                if self.brakes(index, came) {
                    self.output.repaired(Repair::VideoLeftOut, 1)?;
                } else {
                    self.encode(&pixels, (index, came))?;
                }
            }
            self.pace.worked(self.place, scaled + begun.elapsed());
        }
        self.close()
    }

    /// To the rung's size. What goes through a rung that is away is scaled by the one below.
    fn scale(&mut self, scaler: &mut Scaler, (index, pixels): (i64, Arc<Video>)) -> Result<Arc<Video>, WorkError> {
        let is_away = self.every == 0;
        let mut tap = self.tap.as_mut().filter(|tap| tap.wants(index));
        if is_away && tap.is_none() {
            return Ok(pixels);
        }
        let scaled = scaler.scale(&pixels)?;
        if let Some(tap) = &mut tap {
            tap.given(index, &scaled)?;
        }
        Ok(if is_away { pixels } else { scaled })
    }

    fn encode(&mut self, pixels: &Video, (index, came): (i64, Instant)) -> Result<(), WorkError> {
        let mut encoder = match self.encoder.take() {
            Some(encoder) => encoder,
            None => self.open(pixels)?,
        };
        self.came.push_back((index, came));
        encoder.encode(pixels, index)?;
        self.write(&mut encoder)?;
        self.encoder = Some(encoder);
        Ok(())
    }

    /// Whether a picture is left out because it is too late, and the boundary at which less can be encoded is not there yet.
    fn brakes(&self, index: i64, came: Instant) -> bool {
        let within = index.rem_euclid(self.settings.segment_frames());
        let lasts = Duration::from_secs_f64(within as f64 / self.settings.grid.hz());
        // The smallest of several costs the least, and is what is left to viewers.
        let is_spared = self.place > 0 && self.place + 1 == self.pace.rungs();
        !is_spared
            // Its key frames would be elsewhere.
            && !self.settings.counts()
            && index % self.settings.few() != 0
            && keeping::brakes((came.elapsed(), self.pace.bearable), (self.begun.elapsed(), lasts))
    }

    /// The first encoder, or the next after a rung was away.
    fn open(&mut self, first: &Video) -> Result<Encoder, WorkError> {
        let encoder = match (Encoder::open(&self.settings, (self.faster, self.every), first), self.settings.device()) {
            // As when a device takes no more streams at once. Nobody knows of the rung yet.
            (Err(error), Some(_)) if self.track.is_none() => {
                self.settings = self.settings.clone().by(Engine::Software);
                self.why = error.to_string();
                Encoder::open(&self.settings, (self.faster, self.every), first)?
            }
            (opened, _) => opened?,
        };
        let config = encoder.track().clone();
        match &self.track {
            Some(track) if *track == config => Ok(encoder),
            Some(_) => {
                self.output.send(&FromWorker::TurnRefused { rendition: self.rendition })?;
                Encoder::open(&self.settings, (0, self.every), first)
            }
            None => {
                self.track = Some(config.clone());
                self.tap.iter().for_each(|tap| tap.track(&config));
                let (name, why) = (self.settings.encoder().to_owned(), std::mem::take(&mut self.why));
                self.output.send(&FromWorker::Encoder { rendition: self.rendition, encoder: name, why })?;
                self.output.send(&FromWorker::Track { rendition: self.rendition, config })?;
                Ok(encoder)
            }
        }
    }

    /// A segment begins, of which so much is to be left out.
    fn turn(&mut self, index: i64, pixels: &Video, (shed, paused): (Shed, Paused)) -> Result<(), WorkError> {
        let own = self.settings.encoding.every;
        let is_shed = usize::from(shed.away) > self.place;
        if let Some(tap) = &mut self.tap {
            tap.turn(index, is_shed, paused);
        }
        let every = match is_shed || paused.away.holds(self.place) {
            true => 0,
            false if shed.thinned && self.place == 0 => 2 * own,
            false => own,
        };
        if every != self.every {
            self.every = every;
            if every == 0 || self.settings.counts() {
                self.close()?;
            }
            if every == 0 {
                self.pace.left(self.place, Duration::ZERO);
            }
            let segment = (index / self.settings.segment_frames()).unsigned_abs();
            self.output.send(&FromWorker::Turn { rendition: self.rendition, segment, every })?;
        }
        if shed.faster != self.faster {
            self.hasten(shed.faster, pixels)?;
        }
        Ok(())
    }

    /// Encodes by another preset from here on, if what viewers have been told of the track is still true then.
    fn hasten(&mut self, faster: u8, pixels: &Video) -> Result<(), WorkError> {
        let before = std::mem::replace(&mut self.faster, faster);
        if self.encoder.is_none() || !self.settings.differ(before, faster) {
            return Ok(());
        }
        let next = Encoder::open(&self.settings, (faster, self.every), pixels)?;
        if self.track.as_ref() == Some(next.track()) {
            self.close()?;
            self.encoder = Some(next);
            return Ok(());
        }
        self.output.send(&FromWorker::TurnRefused { rendition: self.rendition })
    }

    /// What the encoder still holds comes out.
    fn close(&mut self) -> Result<(), WorkError> {
        let Some(mut encoder) = self.encoder.take() else { return Ok(()) };
        encoder.finish()?;
        self.write(&mut encoder)
    }

    fn write(&mut self, encoder: &mut Encoder) -> Result<(), WorkError> {
        while let Some(coded) = encoder.coded()? {
            if let Some(tap) = &mut self.tap {
                tap.coded(&coded)?;
            }
            let time = coded.index * i64::from(self.settings.grid.frame_ticks());
            let frame = Frame { kind: TrackKind::Video, dts: time, pts: time, keyframe: coded.key, data: coded.data };
            self.output.send(&FromWorker::Frame { rendition: self.rendition, frame })?;
            self.left(coded.index)?;
        }
        Ok(())
    }

    fn left(&mut self, index: i64) -> Result<(), WorkError> {
        let Some(came) = self.came.iter().find(|(of, _)| *of == index).map(|(_, came)| *came) else { return Ok(()) };
        self.came.retain(|(of, _)| *of > index);
        let now = Instant::now();
        let lag = now.saturating_duration_since(came);
        self.pace.left(self.place, lag);
        match self.report.left(lag, now) {
            Some(worst) => self.output.send(&FromWorker::Lag { rendition: self.rendition, worst }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
