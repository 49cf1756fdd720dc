//! A trial of one encoder: whether it gives every picture of a few segments, with key frames where those begin.

use super::{Encoder, Settings};
use crate::hardware::Engine;
use crate::worker::WorkError;
use crate::{Encoding, Make, Plan};
use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame::Video;
use media::FrameRate;
use std::time::Duration;

/// Larger than the least that devices take.
const SIZE: (u32, u32) = (640, 360);
const SEGMENT: u32 = 8;
const PICTURES: i64 = 20;

/// Encodes some pictures by the encoder that FFmpeg calls so, of a device or of software.
///
/// # Errors
/// There is no such encoder, or it does not do what a rung needs.
pub(in crate::worker) fn trial(encoder: &str) -> Result<(), WorkError> {
    let settings = settings(encoder).ok_or(WorkError::Missing("encoder of this name"))?;
    let mut picture = Video::new(Pixel::YUV420P, SIZE.0, SIZE.1);
    let mut encoder = Encoder::open(&settings, (0, 1), &picture)?;
    let mut made = 0;
    for index in 0..=PICTURES {
        if index < PICTURES {
            for plane in 0..3 {
                picture.data_mut(plane).fill(128 + index as u8);
            }
            encoder.encode(&picture, index)?;
            // What an encoder still reads is not written to.
            picture = Video::new(Pixel::YUV420P, SIZE.0, SIZE.1);
        } else {
            encoder.finish()?;
        }
        while let Some(coded) = encoder.coded()? {
            // The place of its key frames has been looked at.
            if coded.index != made {
                return Err(WorkError::Misplaced { index: coded.index });
            }
            made += 1;
        }
    }
    if made == PICTURES { Ok(()) } else { Err(WorkError::Bitstream) }
}

fn settings(encoder: &str) -> Option<Settings> {
    let (engine, codec, _) = Engine::of(encoder)?;
    // Numbers for those of software that count; devices take any.
    let preset = if Engine::Software.encoder(codec)?.starts_with("libx26") { "veryfast" } else { "8" };
    let (width, height) = SIZE;
    let (quality, preset) = (None, preset.to_owned());
    let make = Make::Video(Encoding { codec, width, height, every: 1, bitrate: 800_000, quality, preset });
    let plan = Plan {
        rate: FrameRate::new(30, 1)?,
        segment_frames: SEGMENT,
        part_frames: SEGMENT / 2,
        target_duration_s: 1,
        part_target: Duration::from_millis(134),
        renditions: Vec::new(),
        thumbnails: None,
    };
    Settings::of(&plan, &make).map(|settings| settings.by(engine))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoder_of_software_passes_and_an_unknown_one_is_told() {
        ffmpeg_next::init().unwrap();
        for encoder in ["libx264", "libx265", "libsvtav1", "libvpx-vp9"] {
            trial(encoder).unwrap_or_else(|error| panic!("{encoder}: {error}"));
        }
        assert!(matches!(trial("h264_v4l2m2m"), Err(WorkError::Missing(_))));
    }
}
