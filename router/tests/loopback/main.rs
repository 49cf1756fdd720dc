//! The router on loopback, among CDNs and an origin that do what a test tells them.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod fakes;
mod playlists;
mod server;
mod steering;
mod world;
