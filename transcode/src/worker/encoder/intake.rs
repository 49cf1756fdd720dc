//! Brings pictures into the form and the place that an encoder wants.

use crate::worker::{WorkError, ffi};
use ffmpeg_next::Error;
use ffmpeg_next::codec::Context;
use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame::Video;

/// How an encoder wants its pictures, all of 4:2:0 with 8 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// As rungs have them.
    Planar,
    /// The two kinds of chroma in turns (NV12).
    Interleaved,
    /// The same, in the memory of the device.
    Surfaces,
}

pub(super) struct Intake {
    takes: Takes,
    surfaces: Option<ffi::Surfaces>,
}

impl Takes {
    pub(super) fn pixels(self) -> Pixel {
        match self {
            Self::Planar => Pixel::YUV420P,
            Self::Interleaved => Pixel::NV12,
            Self::Surfaces => Pixel::VAAPI,
        }
    }
}

impl Intake {
    /// Of an encoder that is not open yet.
    pub(super) fn open(takes: Takes, size: (u32, u32), encoder: &mut Context) -> Result<Self, WorkError> {
        let unreachable = |source| WorkError::Codec { what: "reach the device", source };
        let surfaces = match takes {
            Takes::Surfaces => Some(ffi::Surfaces::open(size).map_err(unreachable)?),
            Takes::Planar | Takes::Interleaved => None,
        };
        if let Some(surfaces) = &surfaces {
            surfaces.give_to(encoder).map_err(unreachable)?;
        }
        Ok(Self { takes, surfaces })
    }

    /// Another handle on the picture, or a copy of it, with all that is said of it.
    pub(super) fn take(&self, picture: &Video) -> Result<Video, WorkError> {
        let taken = match (self.takes, &self.surfaces) {
            (Takes::Planar, _) => ffi::share(picture),
            (_, None) => interleaved(picture),
            (_, Some(surfaces)) => interleaved(picture).and_then(|picture| surfaces.upload(&picture)),
        };
        taken.map_err(|source| WorkError::Codec { what: "give a picture to an encoder", source })
    }
}

/// A planar picture with its two planes of chroma in one.
fn interleaved(picture: &Video) -> Result<Video, Error> {
    if picture.format() != Pixel::YUV420P {
        return Err(Error::InvalidData);
    }
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let mut out = Video::new(Pixel::NV12, picture.width(), picture.height());
    let stride = out.stride(0);
    for (to, from) in out.data_mut(0).chunks_mut(stride).zip(picture.data(0).chunks(picture.stride(0))).take(height) {
        to[..width].copy_from_slice(&from[..width]);
    }
    let stride = out.stride(1);
    let (blue, red) = (picture.data(1).chunks(picture.stride(1)), picture.data(2).chunks(picture.stride(2)));
    for (to, (blue, red)) in out.data_mut(1).chunks_mut(stride).zip(blue.zip(red)).take(height.div_ceil(2)) {
        for (to, (blue, red)) in to.chunks_exact_mut(2).zip(blue.iter().zip(red)).take(width.div_ceil(2)) {
            to.copy_from_slice(&[*blue, *red]);
        }
    }
    ffi::copy_properties(&mut out, picture)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chroma_is_put_in_turns_and_all_else_stays() {
        let mut picture = Video::new(Pixel::YUV420P, 6, 4);
        for plane in 0..3 {
            let stride = picture.stride(plane);
            for (y, line) in picture.data_mut(plane).chunks_mut(stride).enumerate() {
                line.iter_mut().enumerate().for_each(|(x, sample)| *sample = (100 * plane + 10 * y + x) as u8);
            }
        }
        picture.set_pts(Some(7));
        let out = interleaved(&picture).unwrap();
        let line = |plane: usize, y: usize| out.data(plane)[y * out.stride(plane)..][..6].to_vec();
        assert_eq!((out.format(), out.pts()), (Pixel::NV12, Some(7)));
        assert_eq!((line(0, 0), line(0, 3)), (vec![0, 1, 2, 3, 4, 5], vec![30, 31, 32, 33, 34, 35]));
        assert_eq!((line(1, 0), line(1, 1)), (vec![100, 200, 101, 201, 102, 202], vec![110, 210, 111, 211, 112, 212]));
        assert!(interleaved(&out).is_err());
    }
}
