//! Coded media as values: time, codec set-up, frames, FLV payloads, fragmented MP4. Pure: no I/O, no clock, no async.

mod aac;
pub mod av1;
mod avc;
mod bits;
mod captions;
mod codec;
pub mod flv;
pub mod fmp4;
mod frame;
pub mod hevc;
mod opus;
#[cfg(test)]
mod samples;
pub mod slice;
mod sps;
mod time;
pub mod vp9;

pub use captions::Captions;
pub use codec::{AacConfig, AvcConfig, CodecError, OpusConfig, TrackConfig, VideoConfig};
pub use frame::{Frame, TrackKind};
pub use time::{FrameRate, Timescale};
