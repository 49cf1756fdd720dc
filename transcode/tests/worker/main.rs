//! A real worker process, fed with clips that FFmpeg's own program made, and judged by FFmpeg's own decoder.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

mod clip;
mod codecs;
mod devices;
mod keeping;
mod ladder;
mod lifetime;
mod oracle;
mod quality;
mod repair;
mod run;
mod rungs;
mod thumbnails;
