//! The audio rendition: decoded, put on one gapless line of samples, encoded as AAC-LC at 48 kHz.

mod encode;
mod resample;
mod timeline;

use super::output::Output;
use super::{WorkError, ffi};
use crate::ACCESS_UNIT_SAMPLES;
use crate::wire::{FromWorker, Repair};
use encode::Aac;
use ffmpeg_next::codec::{Context, Id};
use ffmpeg_next::{Error, Packet, decoder, frame};
use media::{AacConfig, Frame, TrackConfig};
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
    encoder: Aac,
    /// Samples of silence put in and not reported yet: less than one access unit.
    silent: i64,
    rendition: u16,
    output: Output,
}

impl Audio {
    pub(super) fn new(config: &AacConfig, bitrate: u32, rendition: u16, output: Output) -> Result<Self, WorkError> {
        let codec = decoder::find(Id::AAC).ok_or(WorkError::Missing("AAC decoder"))?;
        let failed = |source| WorkError::Codec { what: "open the AAC decoder", source };
        let mut context = Context::new_with_codec(codec);
        ffi::set_extradata(&mut context, &config.record).map_err(failed)?;
        let decoder = context.decoder().audio().map_err(failed)?;
        let channels = channels(config);
        let encoder = Aac::open(channels, bitrate)?;
        let config = TrackConfig::Aac { config: encoder.config() };
        output.send(&FromWorker::Track { rendition, config })?;
        let (timeline, line) = (Timeline::default(), Line::new(channels));
        Ok(Self { decoder, timeline, line, encoder, silent: 0, rendition, output })
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
        self.line.pad(ACCESS_UNIT_SAMPLES as usize)?;
        self.encode()?;
        self.encoder.finish()?;
        self.write()
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
        while let Some(unit) = self.line.take(ACCESS_UNIT_SAMPLES as usize) {
            self.encoder.encode(&unit)?;
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), WorkError> {
        while let Some(frame) = self.encoder.coded()? {
            self.output.send(&FromWorker::Frame { rendition: self.rendition, frame })?;
        }
        Ok(())
    }
}

/// Channels of the rendition. Mono stays mono; all else becomes stereo, also a source whose frames alone tell its
/// channels, and parametric stereo, which is coded as one channel and decoded as two.
fn channels(config: &AacConfig) -> u16 {
    if config.channels == 1 && config.codec() != PARAMETRIC_STEREO { 1 } else { 2 }
}

/// HE-AAC v2 (ISO/IEC 14496-3, table 1.17: object type 29).
const PARAMETRIC_STEREO: &str = "mp4a.40.29";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parametric_stereo_is_no_mono() {
        // AAC-LC 44.1 kHz mono; 48 kHz stereo; 5.1; HE-AAC 24/48 kHz stereo; HE-AAC v2 24/48 kHz.
        for (record, expected) in [
            (&[0x12, 0x08][..], 1),
            (&[0x11, 0x90], 2),
            (&[0x11, 0xb0], 2),
            (&[0x2b, 0x11, 0x88, 0x00], 2),
            (&[0xeb, 0x09, 0x88, 0x00], 2),
        ] {
            let config = AacConfig::parse(record.to_vec().into()).unwrap();
            assert_eq!(channels(&config), expected, "{record:x?}");
        }
    }
}
