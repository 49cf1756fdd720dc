//! An image that pictures are drawn into, and its JPEG encoder.

use crate::Thumbnails;
use crate::worker::{WorkError, ffi};
use bytes::Bytes;
use ffmpeg_next::codec::Context;
use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame::Video;
use ffmpeg_next::util::color;
use ffmpeg_next::{Dictionary, Packet, Rational, encoder};

const ENCODER: &str = "mjpeg";

pub(super) struct Canvas {
    thumbnails: Thumbnails,
    image: Video,
    encoder: Option<encoder::video::Encoder>,
}

impl Canvas {
    pub(super) fn new(thumbnails: Thumbnails) -> Self {
        let (width, height) = thumbnails.image_size();
        let mut image = Video::new(Pixel::YUV420P, width, height);
        image.set_color_range(color::Range::JPEG);
        let mut canvas = Self { thumbnails, image, encoder: None };
        canvas.clear();
        canvas
    }

    /// Black: what a place has that no picture took.
    pub(super) fn clear(&mut self) {
        for (plane, value) in [(0, 0), (1, 128), (2, 128)] {
            self.image.data_mut(plane).fill(value);
        }
    }

    /// Draws a picture of the right size, in 4:2:0 with the range of television.
    pub(super) fn draw(&mut self, place: usize, picture: &Video) -> Result<(), WorkError> {
        let Thumbnails { width, height, columns, .. } = self.thumbnails;
        if (picture.format(), picture.width(), picture.height()) != (Pixel::YUV420P, width, height) {
            return Err(WorkError::Codec { what: "draw a thumbnail", source: ffmpeg_next::Error::InvalidData });
        }
        let (column, row) = (place % columns as usize, place / columns as usize);
        for plane in 0..3 {
            let half = usize::from(plane > 0);
            let (width, height) = (width as usize >> half, height as usize >> half);
            let (from, to) = (picture.stride(plane), self.image.stride(plane));
            let source = picture.data(plane);
            let target = self.image.data_mut(plane);
            for line in 0..height {
                let at = (row * height + line) * to + column * width;
                let line = &source[line * from..line * from + width];
                for (to, &value) in target[at..at + width].iter_mut().zip(line) {
                    *to = if half == 0 { full_luma(value) } else { full_chroma(value) };
                }
            }
        }
        Ok(())
    }

    pub(super) fn encode(&mut self) -> Result<Bytes, WorkError> {
        let failed = |source| WorkError::Codec { what: "encode a JPEG", source };
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => none.insert(open(&self.thumbnails)?),
        };
        let mut packet = Packet::empty();
        let image = ffi::share(&self.image).map_err(failed)?;
        let coded = encoder.send_frame(&image).and_then(|()| encoder.receive_packet(&mut packet));
        // The next image begins with an encoder of its own: this one may hold half a picture.
        coded.inspect_err(|_| self.encoder = None).map_err(failed)?;
        packet.data().map(Bytes::copy_from_slice).ok_or(WorkError::Bitstream)
    }
}

fn open(thumbnails: &Thumbnails) -> Result<encoder::video::Encoder, WorkError> {
    let codec = encoder::find_by_name(ENCODER).ok_or(WorkError::Missing("JPEG encoder"))?;
    let failed = |source| WorkError::Codec { what: "set up a JPEG encoder", source };
    let mut video = Context::new_with_codec(codec).encoder().video().map_err(failed)?;
    let (width, height) = thumbnails.image_size();
    video.set_width(width);
    video.set_height(height);
    video.set_format(Pixel::YUV420P);
    video.set_color_range(color::Range::JPEG);
    video.set_time_base(Rational::new(1, 1));
    // With a shape of pixels there is a JFIF header, which says what the colours are.
    video.set_aspect_ratio(Rational::new(1, 1));
    let mut options = Dictionary::new();
    let quantizer = thumbnails.quantizer.to_string();
    options.set("qmin", &quantizer);
    options.set("qmax", &quantizer);
    // One thread, and the same bytes from every build.
    options.set("threads", "1");
    options.set("flags", "+bitexact");
    ffi::open(&mut video.0, codec, ENCODER, options)?;
    Ok(encoder::video::Encoder(video))
}

/// From 16 to 235, as video has it, to 0 to 255, as JFIF does.
fn full_luma(value: u8) -> u8 {
    stretched(value, 16, 219)
}

/// From 16 to 240 around 128.
fn full_chroma(value: u8) -> u8 {
    let away = (i32::from(value) - 128) * 255;
    (128 + (away + 112 * away.signum()) / 224).clamp(0, 255) as u8
}

fn stretched(value: u8, black: i32, span: i32) -> u8 {
    (((i32::from(value) - black) * 255 + span / 2) / span).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thumbnails() -> Thumbnails {
        Thumbnails { width: 64, height: 36, columns: 2, rows: 2, quantizer: 3 }
    }

    fn picture((luma, u, v): (u8, u8, u8)) -> Video {
        let mut picture = Video::new(Pixel::YUV420P, 64, 36);
        for (plane, value) in [(0, luma), (1, u), (2, v)] {
            picture.data_mut(plane).fill(value);
        }
        picture
    }

    fn decoded(jpeg: &[u8]) -> Video {
        let codec = ffmpeg_next::decoder::find(ffmpeg_next::codec::Id::MJPEG).unwrap();
        let mut decoder = Context::new_with_codec(codec).decoder().video().unwrap();
        decoder.send_packet(&Packet::copy(jpeg)).unwrap();
        let mut image = Video::empty();
        decoder.receive_frame(&mut image).unwrap();
        image
    }

    #[test]
    fn ranges_are_stretched_to_their_ends() {
        for (value, luma) in [(0, 0), (16, 0), (126, 128), (235, 255), (255, 255)] {
            assert_eq!(full_luma(value), luma, "{value}");
        }
        for (value, chroma) in [(0, 0), (16, 0), (128, 128), (127, 127), (129, 129), (240, 255), (255, 255)] {
            assert!(full_chroma(value).abs_diff(chroma) <= 1, "{value}: {}", full_chroma(value));
        }
    }

    #[test]
    fn pictures_are_where_they_were_drawn_and_the_rest_is_black() {
        let mut canvas = Canvas::new(thumbnails());
        for round in 0..3_usize {
            canvas.draw(round, &picture((235, 128, 128))).unwrap();
            let jpeg = canvas.encode().unwrap();
            assert!(jpeg.starts_with(&[0xff, 0xd8]) && jpeg.ends_with(&[0xff, 0xd9]) && jpeg.len() < 4000);
            let image = decoded(&jpeg);
            assert_eq!((image.width(), image.height()), (128, 72));
            for place in 0..4 {
                let (x, y) = (64 * (place % 2) + 32, 36 * (place / 2) + 18);
                let luma = image.data(0)[y * image.stride(0) + x];
                assert!(if place == round { luma > 245 } else { luma < 10 }, "{luma} at {place}");
            }
            canvas.clear();
        }
    }

    #[test]
    fn a_picture_of_another_size_is_refused() {
        let mut canvas = Canvas::new(thumbnails());
        assert!(canvas.draw(0, &Video::new(Pixel::YUV420P, 62, 36)).is_err());
    }
}
