//! Coded media as values: time, codec set-up, frames, FLV payloads, fragmented MP4. Pure: no I/O, no clock, no async.

mod aac;
mod avc;
mod bits;
mod captions;
mod codec;
pub mod flv;
pub mod fmp4;
mod frame;
#[cfg(test)]
mod samples;
pub mod slice;
mod sps;
mod time;

pub use captions::Captions;
pub use codec::{AacConfig, AvcConfig, CodecError, TrackConfig};
pub use frame::{Frame, TrackKind};
pub use time::{FrameRate, Timescale};
