//! The first message to a worker: what the source is and what to make of it.

use super::cursor::{Reader, put_bytes};
use super::{Job, WireError};
use crate::{Encoding, Make, Plan, Rendition, Source, Thumbnails};
use bytes::{BufMut, BytesMut};
use config::{AudioCodec, VideoCodec};
use media::{AacConfig, AvcConfig, FrameRate, OpusConfig, VideoConfig};
use std::time::Duration;

/// More renditions than any ladder has.
const RENDITIONS_MAX: u16 = 64;
/// Of a thumbnail, in pixels, and of those beside each other.
const IMAGE_MAX: u32 = 4096;
const PLACES_MAX: u32 = 16;
/// Keeps every product of frames and ticks far inside 64 bits.
const RATE_TERM_MAX: u32 = 1_000_000;

pub(super) fn put(out: &mut BytesMut, job: &Job) {
    put_source(out, &job.source);
    put_plan(out, &job.plan);
}

pub(super) fn read(reader: &mut Reader) -> Result<Job, WireError> {
    let source = read_source(reader)?;
    let plan = read_plan(reader)?;
    Ok(Job { source, plan })
}

fn put_source(out: &mut BytesMut, source: &Source) {
    put_avc(out, &source.video);
    out.put_u8(u8::from(source.audio.is_some()));
    if let Some(audio) = &source.audio {
        put_aac(out, audio);
    }
    put_rate(out, source.rate);
    out.put_u32(source.gop.unwrap_or(0));
}

fn read_source(reader: &mut Reader) -> Result<Source, WireError> {
    let video = read_avc(reader)?;
    let audio = if reader.flag()? { Some(read_aac(reader)?) } else { None };
    let rate = read_rate(reader)?;
    let gop = Some(reader.u32()?).filter(|&gop| gop > 0);
    Ok(Source { video, audio, rate, gop })
}

fn put_rate(out: &mut BytesMut, rate: FrameRate) {
    out.put_u32(rate.num());
    out.put_u32(rate.den());
}

fn read_rate(reader: &mut Reader) -> Result<FrameRate, WireError> {
    let (num, den) = (reader.u32()?, reader.u32()?);
    if num > RATE_TERM_MAX || den > RATE_TERM_MAX {
        return Err(WireError::Invalid("frame rate"));
    }
    FrameRate::new(num, den).ok_or(WireError::Invalid("frame rate"))
}

pub(super) fn put_avc(out: &mut BytesMut, config: &AvcConfig) {
    put_bytes(out, &config.record);
    out.put_u32(config.width);
    out.put_u32(config.height);
}

pub(super) fn read_avc(reader: &mut Reader) -> Result<AvcConfig, WireError> {
    Ok(AvcConfig { record: reader.bytes()?, width: reader.u32()?, height: reader.u32()? })
}

pub(super) fn put_aac(out: &mut BytesMut, config: &AacConfig) {
    put_bytes(out, &config.record);
    out.put_u32(config.sample_rate);
    out.put_u16(config.channels);
}

pub(super) fn read_aac(reader: &mut Reader) -> Result<AacConfig, WireError> {
    Ok(AacConfig { record: reader.bytes()?, sample_rate: reader.u32()?, channels: reader.u16()? })
}

pub(super) fn put_video(out: &mut BytesMut, config: &VideoConfig) {
    put_bytes(out, &config.record);
    out.put_u32(config.width);
    out.put_u32(config.height);
    let (width, height) = config.pixel_aspect.unwrap_or_default();
    out.put_u32(width);
    out.put_u32(height);
}

pub(super) fn read_video(reader: &mut Reader) -> Result<VideoConfig, WireError> {
    let (record, width, height) = (reader.bytes()?, reader.u32()?, reader.u32()?);
    let pixel_aspect = Some((reader.u32()?, reader.u32()?)).filter(|(width, height)| *width > 0 && *height > 0);
    Ok(VideoConfig { record, width, height, pixel_aspect })
}

pub(super) fn put_opus(out: &mut BytesMut, config: &OpusConfig) {
    put_bytes(out, &config.record);
    out.put_u16(config.channels);
}

pub(super) fn read_opus(reader: &mut Reader) -> Result<OpusConfig, WireError> {
    Ok(OpusConfig { record: reader.bytes()?, channels: reader.u16()? })
}

fn put_plan(out: &mut BytesMut, plan: &Plan) {
    put_rate(out, plan.rate);
    out.put_u32(plan.segment_frames);
    out.put_u32(plan.part_frames);
    out.put_u64(plan.target_duration_s);
    out.put_u64(plan.part_target.as_nanos() as u64);
    out.put_u16(plan.renditions.len() as u16);
    for rendition in &plan.renditions {
        put_bytes(out, rendition.name.as_bytes());
        put_make(out, &rendition.make);
    }
    out.put_u8(u8::from(plan.thumbnails.is_some()));
    if let Some(Thumbnails { width, height, columns, rows, quantizer }) = plan.thumbnails {
        [width, height, columns, rows, quantizer].into_iter().for_each(|value| out.put_u32(value));
    }
}

fn read_plan(reader: &mut Reader) -> Result<Plan, WireError> {
    let rate = read_rate(reader)?;
    let (segment_frames, part_frames) = (reader.u32()?, reader.u32()?);
    if part_frames == 0 || segment_frames == 0 || !segment_frames.is_multiple_of(part_frames) {
        return Err(WireError::Invalid("segment length"));
    }
    let target_duration_s = reader.u64()?;
    let part_target = Duration::from_nanos(reader.u64()?);
    let count = reader.u16()?;
    if count > RENDITIONS_MAX {
        return Err(WireError::Invalid("number of renditions"));
    }
    let mut renditions = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let rendition = Rendition { name: reader.text()?, make: read_make(reader)? };
        if rendition.make.every() == 0 || !part_frames.is_multiple_of(rendition.make.every()) {
            return Err(WireError::Invalid("frame rate of a rendition"));
        }
        renditions.push(rendition);
    }
    let thumbnails = if reader.flag()? { Some(read_thumbnails(reader)?) } else { None };
    Ok(Plan { rate, segment_frames, part_frames, target_duration_s, part_target, renditions, thumbnails })
}

fn read_thumbnails(reader: &mut Reader) -> Result<Thumbnails, WireError> {
    let (width, height) = (reader.u32()?, reader.u32()?);
    let (columns, rows, quantizer) = (reader.u32()?, reader.u32()?, reader.u32()?);
    let sane = |value: u32, max: u32| (1..=max).contains(&value);
    if !(sane(width, IMAGE_MAX) && sane(height, IMAGE_MAX) && sane(columns, PLACES_MAX) && sane(rows, PLACES_MAX)) {
        return Err(WireError::Invalid("size of thumbnails"));
    }
    Ok(Thumbnails { width, height, columns, rows, quantizer })
}

fn put_make(out: &mut BytesMut, make: &Make) {
    match make {
        Make::Passthrough => out.put_u8(0),
        Make::Video(Encoding { codec, width, height, every, bitrate, quality, preset }) => {
            out.put_u8(1);
            out.put_u8(VideoCodec::ALL.iter().position(|known| known == codec).unwrap_or_default() as u8);
            [*width, *height, *every, *bitrate].into_iter().for_each(|value| out.put_u32(value));
            out.put_u8(quality.unwrap_or(0));
            put_bytes(out, preset.as_bytes());
        }
        Make::Audio { codec, bitrate, channels } => {
            out.put_u8(match codec {
                AudioCodec::Aac => 2,
                AudioCodec::Opus => 3,
            });
            out.put_u32(*bitrate);
            out.put_u16(*channels);
        }
    }
}

fn read_make(reader: &mut Reader) -> Result<Make, WireError> {
    match reader.u8()? {
        0 => Ok(Make::Passthrough),
        1 => Ok(Make::Video(Encoding {
            codec: *VideoCodec::ALL.get(usize::from(reader.u8()?)).ok_or(WireError::Invalid("codec"))?,
            width: reader.u32()?,
            height: reader.u32()?,
            every: reader.u32()?,
            bitrate: reader.u32()?,
            quality: Some(reader.u8()?).filter(|&quality| quality > 0),
            preset: reader.text()?,
        })),
        kind @ (2 | 3) => {
            let codec = if kind == 2 { AudioCodec::Aac } else { AudioCodec::Opus };
            let (bitrate, channels) = (reader.u32()?, reader.u16()?);
            if !matches!(channels, 1 | 2 | 6) {
                return Err(WireError::Invalid("number of channels"));
            }
            Ok(Make::Audio { codec, bitrate, channels })
        }
        _ => Err(WireError::Invalid("kind of rendition")),
    }
}
