//! The few calls that `ffmpeg-next` has no safe way for; all `unsafe` on codecs is here.

mod surfaces;

use super::WorkError;
use ffmpeg_next::codec::Context;
use ffmpeg_next::software::resampling;
use ffmpeg_next::{Codec, Dictionary, Error, ffi, frame};
use std::ptr;
pub(super) use surfaces::Surfaces;

/// Gives a decoder its configuration record.
pub(super) fn set_extradata(context: &mut Context, record: &[u8]) -> Result<(), Error> {
    let padded = record.len() + ffi::AV_INPUT_BUFFER_PADDING_SIZE as usize;
    // SAFETY: the context is not open yet and owns no extradata; it frees what `av_mallocz` gave when it is dropped.
    // The copy stays in the allocation, whose padding is zeroed as libavcodec asks.
    unsafe {
        let data = ffi::av_mallocz(padded).cast::<u8>();
        if data.is_null() {
            return Err(Error::Other { errno: libc::ENOMEM });
        }
        ptr::copy_nonoverlapping(record.as_ptr(), data, record.len());
        let context = context.as_mut_ptr();
        (*context).extradata = data;
        (*context).extradata_size = record.len() as i32;
    }
    Ok(())
}

/// Has a decoder refuse larger pictures, whatever the source says in its own stream.
pub(super) fn set_pixels_max(context: &mut Context, pixels: u32) {
    // SAFETY: the context lives, and the field is a number of its own.
    unsafe { (*context.as_mut_ptr()).max_pixels = i64::from(pixels) }
}

/// Gives a picture some data beside it. Without memory for it the picture has none.
pub(super) fn set_side_data(picture: &mut frame::Video, kind: frame::side_data::Type, data: &[u8]) {
    let Some(mut side) = picture.new_side_data(kind, data.len()) else { return };
    // SAFETY: libavutil has just allocated `data.len()` bytes there, which nobody else refers to.
    unsafe { ptr::copy_nonoverlapping(data.as_ptr(), (*side.as_mut_ptr()).data, data.len()) }
}

/// Gives a picture the shape of another one's samples. A picture that is scaled to a whole number of pixels has them a little
/// off; squares stay squares.
pub(super) fn copy_aspect(picture: &mut frame::Video, from: &frame::Video) {
    // SAFETY: both frames live, and a ratio of two numbers owns nothing.
    unsafe { (*picture.as_mut_ptr()).sample_aspect_ratio = (*from.as_ptr()).sample_aspect_ratio }
}

/// Gives a picture all that is said of another one: its time, its colours, what lies beside it.
pub(super) fn copy_properties(picture: &mut frame::Video, from: &frame::Video) -> Result<(), Error> {
    // SAFETY: both frames live; what libavutil copies belongs to `picture` and is freed with it.
    match unsafe { ffi::av_frame_copy_props(picture.as_mut_ptr(), from.as_ptr()) } {
        0.. => Ok(()),
        error => Err(Error::from(error)),
    }
}

/// What an opened encoder wants in the track's header.
pub(super) fn extradata(context: &Context) -> &[u8] {
    // SAFETY: libavcodec keeps pointer and size in step, and neither changes while the context is borrowed.
    unsafe {
        let context = context.as_ptr();
        if (*context).extradata.is_null() {
            return &[];
        }
        std::slice::from_raw_parts((*context).extradata, (*context).extradata_size as usize)
    }
}

/// Samples that an opened audio encoder puts before the first that it got.
pub(super) fn initial_padding(context: &Context) -> i32 {
    // SAFETY: the context lives, and libavcodec sets the field while it opens it.
    unsafe { (*context.as_ptr()).initial_padding }
}

/// The samples of a frame of 32-bit floats whose channels are interleaved.
pub(super) fn samples_mut(frame: &mut frame::Audio) -> &mut [f32] {
    let count = if frame.is_packed() { frame.samples() * usize::from(frame.channels()) } else { 0 };
    // SAFETY: `ffmpeg-next` gives the plane of a packed frame as samples, as many as one channel has, or as bytes; libavutil
    // allocated `count` floats there, aligned for any of its formats, and they are borrowed with the frame.
    unsafe { std::slice::from_raw_parts_mut((*frame.as_mut_ptr()).data[0].cast::<f32>(), count) }
}

/// Opens an encoder and makes sure that it took every option: `ffmpeg-next` throws unused ones away unseen.
pub(super) fn open(
    context: &mut Context,
    codec: Codec,
    encoder: &'static str,
    options: Dictionary,
) -> Result<(), WorkError> {
    // SAFETY: both pointers are valid; `avcodec_open2` replaces the dictionary by what it did not use, and `own` frees
    // that. A context that failed to open is still freed by its owner.
    let (result, unused) = unsafe {
        let mut options = options.disown();
        let result = ffi::avcodec_open2(context.as_mut_ptr(), codec.as_ptr(), &raw mut options);
        (result, Dictionary::own(options))
    };
    if result < 0 {
        return Err(WorkError::Codec { what: "open an encoder", source: Error::from(result) });
    }
    match unused.iter().next() {
        Some((option, _)) => Err(WorkError::Option { encoder, option: option.to_owned() }),
        None => Ok(()),
    }
}

/// Makes the next `over` samples `by` more, or fewer, than they would be: so slowly that nobody hears it.
pub(super) fn stretch(context: &mut resampling::Context, by: i32, over: i32) -> Result<(), Error> {
    // SAFETY: the context is initialised and lives; libswresample checks the figures and sets itself up to resample.
    match unsafe { ffi::swr_set_compensation(context.as_mut_ptr(), by, over) } {
        0.. => Ok(()),
        error => Err(Error::from(error)),
    }
}

/// Another handle on the same pixels, with a time and a type of its own.
pub(super) fn share(picture: &frame::Video) -> Result<frame::Video, Error> {
    let mut shared = frame::Video::empty();
    // SAFETY: `shared` is a fresh, empty frame; libavutil counts the references to the pixels.
    match unsafe { ffi::av_frame_ref(shared.as_mut_ptr(), picture.as_ptr()) } {
        0 => Ok(shared),
        error => Err(Error::from(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ffmpeg_next::encoder;
    use ffmpeg_next::format::Pixel;

    fn open_with(option: (&str, &str)) -> Result<(), WorkError> {
        let codec = encoder::find_by_name("libx264").unwrap();
        let mut video = Context::new_with_codec(codec).encoder().video().unwrap();
        video.set_width(64);
        video.set_height(64);
        video.set_format(Pixel::YUV420P);
        video.set_time_base((1, 30));
        open(&mut video.0, codec, "libx264", Dictionary::from_iter([option]))
    }

    #[test]
    fn a_misspelt_option_is_not_ignored() {
        open_with(("forced-idr", "1")).unwrap();
        let error = open_with(("force-idr", "1")).unwrap_err();
        assert_eq!(error.to_string(), "the encoder libx264 does not know the option force-idr");
        assert!(matches!(open_with(("preset", "swift")), Err(WorkError::Codec { .. })));
    }

    #[test]
    fn extradata_goes_in_and_comes_out() {
        let mut context = Context::new();
        assert_eq!(extradata(&context), b"");
        set_extradata(&mut context, b"record").unwrap();
        assert_eq!(extradata(&context), b"record");
    }
}
