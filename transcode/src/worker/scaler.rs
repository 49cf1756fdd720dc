//! Scales pictures to one size, in 4:2:0 with 8 bits. Stays in the thread that made it: libswscale's context must.

use super::{WorkError, ffi};
use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame::Video;
use ffmpeg_next::frame::side_data::Type;
use ffmpeg_next::software::scaling::{Context, Flags};
use std::sync::Arc;

pub(super) struct Scaler {
    width: u32,
    height: u32,
    context: Option<Context>,
    /// What came in last and what became of it: a repeated picture is scaled once.
    last: Option<(Arc<Video>, Arc<Video>)>,
}

impl Scaler {
    pub(super) fn new(width: u32, height: u32) -> Self {
        Self { width, height, context: None, last: None }
    }

    pub(super) fn scale(&mut self, picture: &Arc<Video>) -> Result<Arc<Video>, WorkError> {
        if picture.format() == Pixel::YUV420P && (picture.width(), picture.height()) == (self.width, self.height) {
            return Ok(Arc::clone(picture));
        }
        if let Some((_, scaled)) = self.last.as_ref().filter(|(from, _)| Arc::ptr_eq(from, picture)) {
            return Ok(Arc::clone(scaled));
        }
        let mut scaled = Video::empty();
        self.context(picture)?
            .run(picture, &mut scaled)
            .map_err(|source| WorkError::Codec { what: "scale a picture", source })?;
        describe(&mut scaled, picture);
        let scaled = Arc::new(scaled);
        self.last = Some((Arc::clone(picture), Arc::clone(&scaled)));
        Ok(scaled)
    }

    /// A context for pictures like this one: sources may change size or format without notice.
    fn context(&mut self, picture: &Video) -> Result<&mut Context, WorkError> {
        let fits = |context: &Context| {
            let input = context.input();
            (input.format, input.width, input.height) == (picture.format(), picture.width(), picture.height())
        };
        let context = match self.context.take().filter(fits) {
            Some(context) => context,
            None => Context::get(
                picture.format(),
                picture.width(),
                picture.height(),
                Pixel::YUV420P,
                self.width,
                self.height,
                Flags::BICUBIC,
            )
            .map_err(|source| WorkError::Codec { what: "set up scaling", source })?,
        };
        Ok(self.context.insert(context))
    }
}

/// Carries over what scaling does not change.
fn describe(scaled: &mut Video, from: &Video) {
    scaled.set_color_space(from.color_space());
    scaled.set_color_primaries(from.color_primaries());
    scaled.set_color_transfer_characteristic(from.color_transfer_characteristic());
    ffi::copy_aspect(scaled, from);
    // Captions of the source, which the encoder writes into its own bitstream.
    if let Some(captions) = from.side_data(Type::A53CC) {
        ffi::set_side_data(scaled, Type::A53CC, captions.data());
    }
}
