//! RTMP ingest: a listener, and behind it per connection a chunk guard, the command protocol and a reader of FLV payloads.

mod amf;
mod chunk;
mod command;
mod connection;
mod cue_point;
mod listener;
mod media_reader;
mod metrics;
mod protocol;
mod session;
mod text_data;

pub use amf::AmfError;
pub use chunk::ChunkError;
pub use listener::{ListenError, Listener};
pub use protocol::ProtocolError;
pub use session::{Closed, Dropped, Event, Session};

use crate::ingest::{Cue, Said};

/// The cue point in the payload of a data message about `at_ms`.
pub(crate) fn cue(payload: &[u8], at_ms: i64) -> Option<Cue> {
    cue_point::cue_point(&amf::read(payload).ok()?, at_ms)
}

/// The text in the payload of a data message, said at `at_ms`.
pub(crate) fn text(payload: &[u8], at_ms: i64) -> Option<Said> {
    text_data::text_data(&amf::read(payload).ok()?, at_ms)
}
