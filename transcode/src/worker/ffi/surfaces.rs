//! Pictures in the memory of a device of VA-API, for encoders that take no others.

use super::{Context, Error, ffi, frame};
use std::ptr;

/// Where pictures of one size are brought to. The device is let go with the last reference to it.
pub(in crate::worker) struct Surfaces(*mut ffi::AVBufferRef);

// SAFETY: the pointer is a reference of its own to a pool that libavutil shares between threads: counted atomically, and locked.
unsafe impl Send for Surfaces {}

impl Surfaces {
    /// Opens the first device there is, for pictures of 4:2:0 with 8 bits whose chroma is interleaved (NV12).
    pub(in crate::worker) fn open((width, height): (u32, u32)) -> Result<Self, Error> {
        let mut device = ptr::null_mut();
        // SAFETY: libavutil writes a reference or null; no name and no options mean its defaults.
        let opened = unsafe {
            let kind = ffi::AVHWDeviceType::AV_HWDEVICE_TYPE_VAAPI;
            ffi::av_hwdevice_ctx_create(&raw mut device, kind, ptr::null(), ptr::null_mut(), 0)
        };
        check(opened)?;
        // SAFETY: `device` is a reference that was just given; the pool takes one of its own, so this one is let go.
        let frames = unsafe {
            let frames = ffi::av_hwframe_ctx_alloc(device);
            ffi::av_buffer_unref(&raw mut device);
            frames
        };
        if frames.is_null() {
            return Err(Error::Other { errno: libc::ENOMEM });
        }
        let surfaces = Self(frames);
        // SAFETY: what a reference to a pool points at is an AVHWFramesContext, which nobody else has yet; its fields are set
        // before it is initialised, as libavutil asks. The pool grows as it is used.
        let initialised = unsafe {
            let context = (*frames).data.cast::<ffi::AVHWFramesContext>();
            (*context).format = ffi::AVPixelFormat::AV_PIX_FMT_VAAPI;
            (*context).sw_format = ffi::AVPixelFormat::AV_PIX_FMT_NV12;
            (*context).width = width as i32;
            (*context).height = height as i32;
            ffi::av_hwframe_ctx_init(frames)
        };
        check(initialised)?;
        Ok(surfaces)
    }

    /// Tells an encoder that is not open yet where its pictures will be.
    pub(in crate::worker) fn give_to(&self, encoder: &mut Context) -> Result<(), Error> {
        // SAFETY: the encoder owns the reference that it is given, and lets it go when it is dropped.
        unsafe {
            let reference = ffi::av_buffer_ref(self.0);
            if reference.is_null() {
                return Err(Error::Other { errno: libc::ENOMEM });
            }
            (*encoder.as_mut_ptr()).hw_frames_ctx = reference;
        }
        Ok(())
    }

    /// Brings a picture to the device, with all that is said of it.
    pub(in crate::worker) fn upload(&self, picture: &frame::Video) -> Result<frame::Video, Error> {
        let mut surface = frame::Video::empty();
        // SAFETY: all three live; `surface` is empty, and what libavutil puts into it is freed with it.
        unsafe {
            check(ffi::av_hwframe_get_buffer(self.0, surface.as_mut_ptr(), 0))?;
            check(ffi::av_hwframe_transfer_data(surface.as_mut_ptr(), picture.as_ptr(), 0))?;
        }
        super::copy_properties(&mut surface, picture)?;
        Ok(surface)
    }
}

impl Drop for Surfaces {
    fn drop(&mut self) {
        // SAFETY: the reference is this value's own, and not used after.
        unsafe { ffi::av_buffer_unref(&raw mut self.0) }
    }
}

fn check(result: i32) -> Result<(), Error> {
    if result < 0 { Err(Error::from(result)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where there is one, this is the test that it opens and takes a picture.
    #[test]
    fn a_device_that_is_not_there_is_an_error_and_one_that_is_takes_a_picture() {
        ffmpeg_next::init().unwrap();
        match Surfaces::open((64, 64)) {
            Err(error) => assert_ne!(error, Error::Bug),
            Ok(surfaces) => {
                let picture = frame::Video::new(ffmpeg_next::format::Pixel::NV12, 64, 64);
                let surface = surfaces.upload(&picture).unwrap();
                assert_eq!((surface.width(), surface.height()), (64, 64));
            }
        }
    }
}
