//! Measures CDNs, decides for each viewer which is best, and says it in playlists and steering documents.
//!
//! Rules are pure: [`sample`], [`evidence`], [`snapshot`] and [`rank`] take values and the time, and return decisions,
//! and so do `round`, `watched` and [`session`]. The rest drives them: prober, origin's playlists, HTTP.

pub mod evidence;
mod fetch;
mod metrics;
mod origin;
mod pages;
mod prober;
pub mod rank;
mod report;
mod round;
pub mod sample;
mod serve;
mod server;
pub mod session;
pub mod snapshot;
mod state;
mod stream;
mod watched;

pub use server::{RouterError, Server};
pub use stream::StreamName;
