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

pub use amf::AmfError;
pub use chunk::ChunkError;
pub use listener::{ListenError, Listener};
pub use protocol::ProtocolError;
pub use session::{Closed, Dropped, Event, Session};
