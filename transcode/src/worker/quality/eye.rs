//! Decodes what a rung encodes, as its viewers do.

use crate::worker::ffi;
use bytes::Bytes;
use config::VideoCodec;
use ffmpeg_next::codec::{Context, Flags, Id, threading};
use ffmpeg_next::frame::Video;
use ffmpeg_next::{Error, Packet, decoder};
use media::TrackConfig;
use std::sync::{Arc, OnceLock};

/// Of one rung.
pub(super) struct Eye {
    codec: VideoCodec,
    track: Arc<OnceLock<TrackConfig>>,
    decoder: Option<decoder::Video>,
    /// It has seen all since a key frame.
    is_open: bool,
    /// It was said that there is no decoder.
    is_blind: bool,
}

impl Eye {
    pub(super) fn new(codec: VideoCodec, track: Arc<OnceLock<TrackConfig>>) -> Self {
        Self { codec, track, decoder: None, is_open: false, is_blind: false }
    }

    /// Takes a coded picture of the grid, which may be a key frame, and the last that is needed of its segment. What can be
    /// seen now, with its place on the grid.
    ///
    /// # Errors
    /// It cannot be decoded, and nothing behind it up to the next key frame can.
    pub(super) fn see(
        &mut self,
        (index, key, last): (i64, bool, bool),
        data: &[u8],
    ) -> Result<Vec<(i64, Video)>, Error> {
        if key {
            self.begin()?;
        }
        if !self.is_open {
            return Ok(Vec::new());
        }
        self.is_open = false;
        let pictures = self.decode((index, last), data)?;
        self.is_open = !last;
        Ok(pictures)
    }

    /// A key frame comes.
    fn begin(&mut self) -> Result<(), Error> {
        self.is_open = false;
        if let Some(decoder) = &mut self.decoder {
            decoder.flush();
        } else if !self.is_blind {
            self.decoder = self.open().inspect_err(|error| {
                self.is_blind = true;
                eprintln!("pictures of a rung cannot be decoded to measure them: {error}");
            })?;
        }
        self.is_open = self.decoder.is_some();
        Ok(())
    }

    /// `None` while there is no track: a rung tells that before its first picture.
    fn open(&self) -> Result<Option<decoder::Video>, Error> {
        let Some(track) = self.track.get() else { return Ok(None) };
        let id = match self.codec {
            VideoCodec::H264 => Id::H264,
            VideoCodec::Hevc => Id::HEVC,
            VideoCodec::Av1 => Id::AV1,
            VideoCodec::Vp9 => Id::VP9,
        };
        let codec = decoder::find(id).ok_or(Error::DecoderNotFound)?;
        let mut context = Context::new_with_codec(codec);
        ffi::set_extradata(&mut context, record(track))?;
        context.set_threading(threading::Config { kind: threading::Type::None, count: 1, ..Default::default() });
        context.set_flags(Flags::LOW_DELAY);
        context.decoder().video().map(Some)
    }

    fn decode(&mut self, (index, last): (i64, bool), data: &[u8]) -> Result<Vec<(i64, Video)>, Error> {
        let Some(decoder) = &mut self.decoder else { return Ok(Vec::new()) };
        let mut packet = Packet::copy(data);
        packet.set_pts(Some(index));
        packet.set_dts(Some(index));
        decoder.send_packet(&packet)?;
        if last {
            decoder.send_eof()?;
        }
        let mut pictures = Vec::new();
        loop {
            let mut picture = Video::empty();
            match decoder.receive_frame(&mut picture) {
                Ok(()) => pictures.extend(picture.pts().map(|index| (index, picture))),
                Err(Error::Other { errno: libc::EAGAIN } | Error::Eof) => return Ok(pictures),
                Err(error) => return Err(error),
            }
        }
    }
}

/// What a decoder is told before the first picture; VP9's tells all that itself.
fn record(track: &TrackConfig) -> &Bytes {
    static NONE: Bytes = Bytes::new();
    match track {
        TrackConfig::Avc { config, .. } => &config.record,
        TrackConfig::Hevc { config, .. } | TrackConfig::Av1 { config, .. } => &config.record,
        TrackConfig::Vp9 { .. } | TrackConfig::Aac { .. } | TrackConfig::Opus { .. } => &NONE,
    }
}
