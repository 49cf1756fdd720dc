//! The renditions of sound: decoded once, put on one gapless line of samples at 48 kHz, encoded in each codec.

mod encode;
mod resample;
mod timeline;

use super::output::Output;
use super::{WorkError, ffi};
use crate::ACCESS_UNIT_SAMPLES;
use crate::wire::{FromWorker, Repair};
use config::AudioCodec;
use encode::Encoder;
pub(super) use encode::is_there;
use ffmpeg_next::codec::{Context, Id};
use ffmpeg_next::{Error, Packet, decoder, frame};
use media::{AacConfig, Frame};
use resample::Line;
use std::sync::mpsc::Receiver;
use timeline::{DRIFT_MAX, Place, Timeline};

pub(super) enum Input {
    Frame(Frame),
    /// The video has come so far, in samples at 48 kHz. Audio that lags far behind it is lost, and silence goes on.
    VideoReached(i64),
}

/// Inputs that wait for the audio thread: about a second of both media.
pub(super) const INPUTS_MAX: usize = 128;

pub(super) struct Audio {
    decoder: decoder::Audio,
    timeline: Timeline,
    line: Line,
    /// At least one.
    tracks: Vec<Track>,
    /// Samples of silence put in and not reported yet: less than one access unit.
    silent: i64,
    output: Output,
}

struct Track {
    rendition: u16,
    encoder: Encoder,
}

/// What one rendition is to be: its place in the plan, and what goes in.
pub(super) struct Wanted {
    pub(super) rendition: u16,
    pub(super) codec: AudioCodec,
    pub(super) bitrate: u32,
}

impl Audio {
    /// Decodes what `config` says, into as many channels for each of the `wanted`.
    pub(super) fn new(config: &AacConfig, channels: u16, wanted: &[Wanted], output: Output) -> Result<Self, WorkError> {
        let codec = decoder::find(Id::AAC).ok_or(WorkError::Missing("AAC decoder"))?;
        let failed = |source| WorkError::Codec { what: "open the AAC decoder", source };
        let mut context = Context::new_with_codec(codec);
        ffi::set_extradata(&mut context, &config.record).map_err(failed)?;
        let decoder = context.decoder().audio().map_err(failed)?;
        let mut tracks = Vec::new();
        for &Wanted { rendition, codec, bitrate } in wanted {
            let encoder = Encoder::open(codec, channels, bitrate)?;
            output.send(&FromWorker::Track { rendition, config: encoder.track().clone() })?;
            tracks.push(Track { rendition, encoder });
        }
        let (timeline, line) = (Timeline::default(), Line::new(channels));
        Ok(Self { decoder, timeline, line, tracks, silent: 0, output })
    }

    pub(super) fn run(mut self, inputs: &Receiver<Input>) -> Result<(), WorkError> {
        while let Ok(input) = inputs.recv() {
            match input {
                Input::Frame(frame) => self.decode(&frame)?,
                Input::VideoReached(position) => {
                    let missing = self.timeline.missing(position, self.line.end());
                    self.fill(missing)?;
                }
            }
            self.encode()?;
        }
        self.line.finish()?;
        // Each ends with a whole access unit; what one needs behind that of another is silence.
        let samples = self.line.written();
        let ends: Vec<i64> = self.tracks.iter().map(|track| track.encoder.end(samples)).collect();
        for (track, end) in self.tracks.iter_mut().zip(ends) {
            self.line.pad(end)?;
            track.encode(&self.line, end, &self.output)?;
            track.encoder.finish()?;
            track.write(&self.output)?;
        }
        Ok(())
    }

    fn decode(&mut self, frame: &Frame) -> Result<(), WorkError> {
        let mut packet = Packet::copy(&frame.data);
        packet.set_pts(Some(frame.pts));
        packet.set_dts(Some(frame.pts));
        let mut result = self.decoder.send_packet(&packet);
        while result.is_ok() {
            let mut decoded = frame::Audio::empty();
            result = self.decoder.receive_frame(&mut decoded);
            if result.is_ok() {
                self.lay(&decoded)?;
            }
        }
        match result {
            Ok(()) | Err(Error::Other { errno: libc::EAGAIN } | Error::Eof) => Ok(()),
            Err(error) => {
                eprintln!("an audio access unit of the source cannot be decoded: {error}");
                self.output.repaired(Repair::AudioUndecodable, 1)
            }
        }
    }

    /// Puts decoded samples where their time says.
    fn lay(&mut self, decoded: &frame::Audio) -> Result<(), WorkError> {
        let end = self.line.end();
        match self.timeline.place(decoded.timestamp().unwrap_or(end), resample::length(decoded), end) {
            Place::Follow => self.line.append(decoded, 0),
            Place::Stretch { by } => {
                self.line.stretch(by)?;
                self.line.append(decoded, 0)
            }
            Place::After { silence } => {
                self.fill(silence)?;
                self.line.append(decoded, 0)
            }
            Place::Cut { skip } => {
                if skip > DRIFT_MAX {
                    self.output.repaired(Repair::AudioMisplaced, 1)?;
                }
                self.line.append(decoded, skip)
            }
            Place::Drop => self.output.repaired(Repair::AudioMisplaced, 1),
        }
    }

    fn fill(&mut self, silence: i64) -> Result<(), WorkError> {
        self.silent += silence;
        let units = self.silent / i64::from(ACCESS_UNIT_SAMPLES);
        self.silent %= i64::from(ACCESS_UNIT_SAMPLES);
        if units > 0 {
            self.output.repaired(Repair::AudioGap, units as u32)?;
        }
        self.line.silence(silence)
    }

    fn encode(&mut self) -> Result<(), WorkError> {
        let mut needed = i64::MAX;
        for track in &mut self.tracks {
            track.encode(&self.line, i64::MAX, &self.output)?;
            needed = needed.min(track.encoder.position());
        }
        self.line.forget(needed);
        Ok(())
    }
}

impl Track {
    /// Encodes what the line has, up to `end`.
    fn encode(&mut self, line: &Line, end: i64, output: &Output) -> Result<(), WorkError> {
        while self.encoder.position() < end && self.encoder.take(line)? {
            self.write(output)?;
        }
        Ok(())
    }

    fn write(&mut self, output: &Output) -> Result<(), WorkError> {
        while let Some(frame) = self.encoder.coded()? {
            output.send(&FromWorker::Frame { rendition: self.rendition, frame })?;
        }
        Ok(())
    }
}
