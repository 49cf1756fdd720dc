//! RTMP ingest over real loopback sockets: well-behaved encoders, FFmpeg, and everyone else.

#![expect(clippy::unwrap_used, reason = "a test ends where something is missing")]

mod encoder;
mod ffmpeg;
mod hostile;
mod publishing;
mod world;
