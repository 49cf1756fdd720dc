//! The origin: RTMP in; parts, segments and playlists out; a live window in memory.

mod archive;
mod causes;
mod clock;
mod epoch;
#[cfg(test)]
mod hour;
mod http;
mod ingest;
mod keys;
mod medium;
mod metrics;
#[doc(hidden)]
pub mod outside;
pub mod rtmp;
mod segmenter;
mod server;
mod slate;
mod store;
mod streams;
#[cfg(test)]
mod testing;
mod twin;
mod window;

pub use ingest::{Announced, Cue, Ingested, PublishRequest, Publisher, Publishing, Refusal, Said, StreamClosed, admit};
pub use server::{OriginError, Server};
pub use slate::{SlateError, check_slate};
