//! One coded picture or audio access unit, with the times at which it is decoded and shown.

use bytes::Bytes;

/// Which of the two media a frame or track belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrackKind {
    Video,
    Audio,
}

/// A coded frame. Times are in ticks of the [`Timescale`](crate::Timescale) of its track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: TrackKind,
    /// When the decoder takes it.
    pub dts: i64,
    /// When it is shown; at or after `dts`.
    pub pts: i64,
    /// Whether decoding can start here: an IDR picture; always true for audio.
    pub keyframe: bool,
    /// H.264 and HEVC: NAL units with 4-byte lengths (ISO/IEC 14496-15); AV1: OBUs with their sizes, without temporal
    /// delimiters; AAC: one raw access unit without ADTS; VP9 and Opus: as coded.
    pub data: Bytes,
}
