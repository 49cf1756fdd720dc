//! What the origin and a worker say to each other over the worker's standard input and output. Pure.
//!
//! Every message is a length in 32 bits, big-endian, then that many bytes: one for the kind, the rest by kind. The first
//! message each way is a hello with the version, so that a worker of another build is told apart and not misread.

mod cursor;
mod devices;
pub mod greeting;
mod job;
mod pace;
mod quality;
#[cfg(test)]
mod tests;

use crate::{Keeping, Plan, Quality, Shed, Source, Trial};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use config::Hardware;
use cursor::{Reader, put_bytes};
use media::{Frame, Timescale, TrackConfig, TrackKind, VideoConfig};
use std::time::Duration;

/// Changes whenever a message does.
pub const VERSION: u16 = 9;
/// The longest message, without its length. A 4K IDR picture at high quality has a few megabytes.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// One epoch of one stream, for one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub source: Source,
    pub plan: Plan,
}

/// From the origin to the worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToWorker {
    /// `backlog_max` is how many source frames of both media may be read after a picture that still waits for the
    /// encoders; one more, and the worker is to end. Before that it leaves out what `keeping` says.
    Hello { job: Box<Job>, backlog_max: u32, keeping: Keeping, hardware: Hardware, quality: Quality },
    /// A coded frame of the source. Times count from the epoch's zero: video in ticks of the plan's frame rate, on its grid; audio in samples at 48 kHz.
    Frame(Frame),
    /// No more comes: encode what is held and end.
    Finish,
    /// In place of a hello: try an encoder, which FFmpeg calls so, say what came of it, and end.
    Trial { encoder: String },
    /// What trials on the worker's own machine came to. May come before the hello, from whoever runs the worker there.
    Trials(Vec<Trial>),
}

/// From the worker to the origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromWorker {
    Hello,
    /// Comes before the first frame of a rendition.
    Track {
        rendition: u16,
        config: TrackConfig,
    },
    Frame {
        rendition: u16,
        frame: Frame,
    },
    /// So many frames were mended or lost since the last such message.
    Repaired {
        repair: Repair,
        count: u32,
    },
    /// The worker ends, and why, in one sentence.
    Failed {
        reason: String,
    },
    /// The worker ends: it has fallen behind by more than its hello allows.
    Overrun,
    /// The image of a segment, counted from the epoch's first, of so many frames: a JPEG.
    Thumbnails {
        segment: u64,
        frames: u32,
        data: Bytes,
    },
    /// The worst delay of a rendition since the last such message: from a picture of the source being read to its coded
    /// picture being given.
    Lag {
        rendition: u16,
        worst: Duration,
    },
    /// From the next boundaries on so much is left out, since pictures left so late, or are in time again.
    Shed {
        shed: Shed,
        lag: Duration,
    },
    /// From a segment on, counted from the epoch's first, one of so many pictures of the grid is in a rendition: with 0 none,
    /// until the next such message. Comes before the first frame of that segment.
    Turn {
        rendition: u16,
        segment: u64,
        every: u32,
    },
    /// A rung stays as it is: another encoder would have needed another track.
    TurnRefused {
        rendition: u16,
    },
    /// What encodes a rendition from its first picture on, as FFmpeg calls it, and why. Comes before its track.
    Encoder {
        rendition: u16,
        encoder: String,
        why: String,
    },
    /// The worker ends, as the encoder of a device failed: why, in one sentence.
    DeviceFailed {
        reason: String,
    },
    /// What a trial came to: why the encoder is of no use, or nothing.
    Tried {
        fault: Option<String>,
    },
    /// What a segment of a rendition looks like beside what it was made from: SSIM in millionths, PSNR in thousandths of a
    /// decibel, both of luma.
    Quality {
        rendition: u16,
        ssim_ppm: u32,
        psnr_mdb: u32,
    },
    /// From the next boundaries on a rendition is left out, as the next one below looks as good, or is there again. That one has
    /// such an SSIM at its size; 0 if there was no time to look.
    Paused {
        rendition: u16,
        paused: bool,
        ssim_ppm: u32,
    },
}

/// What was wrong with the source and was mended so that every rendition keeps its grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Repair {
    /// A video frame that the decoder refused.
    VideoUndecodable,
    /// A frame index that no source frame had; the frame before was repeated.
    VideoGap,
    /// A source frame whose index had been taken; dropped.
    VideoDuplicate,
    /// An audio access unit that the decoder refused.
    AudioUndecodable,
    /// An access unit of audio that was missing; silence was put in its place.
    AudioGap,
    /// An access unit that overlapped what had been encoded, or lay far ahead; cut or dropped.
    AudioMisplaced,
    /// A segment's image that could not be made; there is none.
    ThumbnailsLost,
    /// A picture that a rung did not encode, as it was too late.
    VideoLeftOut,
    /// A segment of a rung whose quality was to be measured, and was not, for want of time or as it could not be decoded.
    QualityUnseen,
}

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("a message of {0} bytes exceeds the limit of {MESSAGE_BYTES_MAX}")]
    Oversize(usize),
    #[error("a message ends too early")]
    Truncated,
    #[error("a message has an invalid {0}")]
    Invalid(&'static str),
    #[error("the worker speaks version {0} of the protocol, this origin {VERSION}; run both from the same build")]
    Version(u16),
}

/// A message that goes one way.
pub trait Message: Sized {
    /// Appends the message without its length.
    fn put(&self, out: &mut BytesMut);
    /// Reads a whole message without its length.
    fn read(bytes: Bytes) -> Result<Self, WireError>;
}

/// Appends a message with its length. Fails, and appends nothing, if it is over [`MESSAGE_BYTES_MAX`].
pub fn encode(message: &impl Message, out: &mut BytesMut) -> Result<(), WireError> {
    let start = out.len();
    out.put_u32(0);
    message.put(out);
    let length = out.len() - start - 4;
    if length > MESSAGE_BYTES_MAX {
        out.truncate(start);
        return Err(WireError::Oversize(length));
    }
    out[start..start + 4].copy_from_slice(&(length as u32).to_be_bytes());
    Ok(())
}

/// Takes the first whole message from `buffer`; `None` while it is not complete.
pub fn decode<M: Message>(buffer: &mut BytesMut) -> Result<Option<M>, WireError> {
    let Some(prefix) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*prefix) as usize;
    if length > MESSAGE_BYTES_MAX {
        return Err(WireError::Oversize(length));
    }
    if buffer.len() < 4 + length {
        buffer.reserve(4 + length - buffer.len());
        return Ok(None);
    }
    buffer.advance(4);
    M::read(buffer.split_to(length).freeze()).map(Some)
}

impl Message for ToWorker {
    fn put(&self, out: &mut BytesMut) {
        match self {
            Self::Hello { job, backlog_max, keeping, hardware, quality } => {
                out.put_u8(0);
                out.put_u16(VERSION);
                out.put_u32(*backlog_max);
                pace::put_keeping(out, keeping);
                devices::put_hardware(out, *hardware);
                quality::put(out, quality);
                job::put(out, job);
            }
            Self::Frame(frame) => {
                out.put_u8(1);
                put_frame(out, frame);
            }
            Self::Finish => out.put_u8(2),
            Self::Trial { encoder } => {
                out.put_u8(3);
                put_bytes(out, encoder.as_bytes());
            }
            Self::Trials(trials) => {
                out.put_u8(4);
                devices::put_trials(out, trials);
            }
        }
    }

    fn read(bytes: Bytes) -> Result<Self, WireError> {
        let mut reader = Reader(bytes);
        let message = match reader.u8()? {
            0 => {
                read_version(&mut reader)?;
                let (backlog_max, keeping) = (reader.u32()?, pace::read_keeping(&mut reader)?);
                let hardware = devices::read_hardware(&mut reader)?;
                let quality = quality::read(&mut reader)?;
                let job = Box::new(job::read(&mut reader)?);
                Self::Hello { job, backlog_max, keeping, hardware, quality }
            }
            1 => Self::Frame(read_frame(&mut reader)?),
            2 => Self::Finish,
            3 => Self::Trial { encoder: reader.text()? },
            4 => Self::Trials(devices::read_trials(&mut reader)?),
            _ => return Err(WireError::Invalid("kind")),
        };
        reader.end()?;
        Ok(message)
    }
}

impl Message for FromWorker {
    fn put(&self, out: &mut BytesMut) {
        match self {
            Self::Hello => {
                out.put_u8(0);
                out.put_u16(VERSION);
            }
            Self::Track { rendition, config } => {
                put_rendition(out, 1, *rendition);
                put_track(out, config);
            }
            Self::Frame { rendition, frame } => {
                put_rendition(out, 2, *rendition);
                put_frame(out, frame);
            }
            Self::Repaired { repair, count } => {
                out.put_u8(3);
                out.put_u8(repair.code());
                out.put_u32(*count);
            }
            Self::Failed { reason } => {
                out.put_u8(4);
                put_bytes(out, reason.as_bytes());
            }
            Self::Overrun => out.put_u8(5),
            Self::Thumbnails { segment, frames, data } => {
                out.put_u8(6);
                out.put_u64(*segment);
                out.put_u32(*frames);
                out.put_slice(data);
            }
            Self::Lag { rendition, worst } => {
                put_rendition(out, 7, *rendition);
                pace::put_duration(out, *worst);
            }
            Self::Shed { shed, lag } => {
                out.put_u8(8);
                pace::put_shed(out, *shed);
                pace::put_duration(out, *lag);
            }
            Self::Turn { rendition, segment, every } => {
                put_rendition(out, 9, *rendition);
                out.put_u64(*segment);
                out.put_u32(*every);
            }
            Self::TurnRefused { rendition } => {
                put_rendition(out, 10, *rendition);
            }
            Self::Encoder { rendition, encoder, why } => {
                put_rendition(out, 11, *rendition);
                put_bytes(out, encoder.as_bytes());
                put_bytes(out, why.as_bytes());
            }
            Self::DeviceFailed { reason } => {
                out.put_u8(12);
                put_bytes(out, reason.as_bytes());
            }
            Self::Tried { fault } => {
                out.put_u8(13);
                devices::put_fault(out, fault.as_deref());
            }
            Self::Quality { rendition, ssim_ppm, psnr_mdb } => {
                put_rendition(out, 14, *rendition);
                [*ssim_ppm, *psnr_mdb].into_iter().for_each(|value| out.put_u32(value));
            }
            Self::Paused { rendition, paused, ssim_ppm } => {
                put_rendition(out, 15, *rendition);
                out.put_u8(u8::from(*paused));
                out.put_u32(*ssim_ppm);
            }
        }
    }

    fn read(bytes: Bytes) -> Result<Self, WireError> {
        let mut reader = Reader(bytes);
        let message = match reader.u8()? {
            0 => {
                read_version(&mut reader)?;
                Self::Hello
            }
            1 => Self::Track { rendition: reader.u16()?, config: read_track(&mut reader)? },
            2 => Self::Frame { rendition: reader.u16()?, frame: read_frame(&mut reader)? },
            3 => Self::Repaired { repair: Repair::of_code(reader.u8()?)?, count: reader.u32()? },
            4 => Self::Failed { reason: reader.text()? },
            5 => Self::Overrun,
            6 => Self::Thumbnails { segment: reader.u64()?, frames: reader.u32()?, data: reader.rest() },
            7 => Self::Lag { rendition: reader.u16()?, worst: pace::read_duration(&mut reader)? },
            8 => Self::Shed { shed: pace::read_shed(&mut reader)?, lag: pace::read_duration(&mut reader)? },
            9 => Self::Turn { rendition: reader.u16()?, segment: reader.u64()?, every: reader.u32()? },
            10 => Self::TurnRefused { rendition: reader.u16()? },
            11 => Self::Encoder { rendition: reader.u16()?, encoder: reader.text()?, why: reader.text()? },
            12 => Self::DeviceFailed { reason: reader.text()? },
            13 => Self::Tried { fault: devices::read_fault(&mut reader)? },
            14 => Self::Quality { rendition: reader.u16()?, ssim_ppm: reader.u32()?, psnr_mdb: reader.u32()? },
            15 => Self::Paused { rendition: reader.u16()?, paused: reader.flag()?, ssim_ppm: reader.u32()? },
            _ => return Err(WireError::Invalid("kind")),
        };
        reader.end()?;
        Ok(message)
    }
}

impl Repair {
    /// Every kind; its place is its code on the wire.
    pub const ALL: [Self; 9] = [
        Self::VideoUndecodable,
        Self::VideoGap,
        Self::VideoDuplicate,
        Self::AudioUndecodable,
        Self::AudioGap,
        Self::AudioMisplaced,
        Self::ThumbnailsLost,
        Self::VideoLeftOut,
        Self::QualityUnseen,
    ];

    fn code(self) -> u8 {
        self as u8
    }

    fn of_code(code: u8) -> Result<Self, WireError> {
        Self::ALL.get(usize::from(code)).copied().ok_or(WireError::Invalid("repair"))
    }
}

fn read_version(reader: &mut Reader) -> Result<(), WireError> {
    match reader.u16()? {
        VERSION => Ok(()),
        other => Err(WireError::Version(other)),
    }
}

/// The kind of a message about a rendition.
fn put_rendition(out: &mut BytesMut, kind: u8, rendition: u16) {
    out.put_u8(kind);
    out.put_u16(rendition);
}

fn put_frame(out: &mut BytesMut, frame: &Frame) {
    out.put_u8(u8::from(frame.kind == TrackKind::Audio));
    out.put_i64(frame.dts);
    out.put_i64(frame.pts);
    out.put_u8(u8::from(frame.keyframe));
    out.put_slice(&frame.data);
}

fn read_frame(reader: &mut Reader) -> Result<Frame, WireError> {
    let kind = if reader.flag()? { TrackKind::Audio } else { TrackKind::Video };
    let (dts, pts, keyframe) = (reader.i64()?, reader.i64()?, reader.flag()?);
    Ok(Frame { kind, dts, pts, keyframe, data: reader.rest() })
}

fn put_track(out: &mut BytesMut, config: &TrackConfig) {
    match config {
        TrackConfig::Avc { config, timescale } => {
            out.put_u8(0);
            job::put_avc(out, config);
            out.put_u32(timescale.0);
        }
        TrackConfig::Aac { config } => {
            out.put_u8(1);
            job::put_aac(out, config);
        }
        TrackConfig::Opus { config } => {
            out.put_u8(2);
            job::put_opus(out, config);
        }
        TrackConfig::Hevc { config, timescale } => put_video(out, (3, config), *timescale),
        TrackConfig::Av1 { config, timescale } => put_video(out, (4, config), *timescale),
        TrackConfig::Vp9 { config, timescale } => put_video(out, (5, config), *timescale),
    }
}

fn put_video(out: &mut BytesMut, (kind, config): (u8, &VideoConfig), timescale: Timescale) {
    out.put_u8(kind);
    job::put_video(out, config);
    out.put_u32(timescale.0);
}

fn read_track(reader: &mut Reader) -> Result<TrackConfig, WireError> {
    match reader.u8()? {
        0 => Ok(TrackConfig::Avc { config: job::read_avc(reader)?, timescale: Timescale(reader.u32()?) }),
        1 => Ok(TrackConfig::Aac { config: job::read_aac(reader)? }),
        2 => Ok(TrackConfig::Opus { config: job::read_opus(reader)? }),
        3 => Ok(TrackConfig::Hevc { config: job::read_video(reader)?, timescale: Timescale(reader.u32()?) }),
        4 => Ok(TrackConfig::Av1 { config: job::read_video(reader)?, timescale: Timescale(reader.u32()?) }),
        5 => Ok(TrackConfig::Vp9 { config: job::read_video(reader)?, timescale: Timescale(reader.u32()?) }),
        _ => Err(WireError::Invalid("kind of track")),
    }
}
