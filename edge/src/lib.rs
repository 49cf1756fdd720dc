//! The edge: live fan-out and cache of a CDN, as edge or as shield by configuration.
//!
//! Rules (pure: no socket, no clock): [`subscription`], [`dash`], [`live`], [`key`], [`cdn_loop`], [`range`], [`conditions`],
//! [`store::freshness`], [`store::layout`], [`store::purge`], [`store::disk::header`], [`access`], [`send_rate`], [`variants`],
//! [`object`], [`client`], [`releases`], [`request`], [`reply`], [`refusal`], [`cache_status`], [`qoe::cmsd`],
//! [`qoe::pacing`], [`access_log::line`], [`access_log::sample`], and those of [`steer`].
//! Drivers: [`playlists`] follows renditions, [`store`] finds and fetches objects, [`upstream`] asks, [`answer`] decides,
//! [`connection`] and [`h2`] read and write a [`stream`], which may be [`tls`], [`server`] listens, and
//! goes in the steps of a [`departure`].

pub mod access;
pub mod access_log;
pub mod answer;
pub mod cache_status;
pub mod cdn_loop;
pub mod client;
pub mod coding;
pub mod conditions;
pub mod connection;
pub mod dash;
pub mod departure;
pub mod fill;
pub mod h2;
pub mod key;
pub mod live;
pub mod metrics;
pub mod moment;
pub mod object;
pub mod playlists;
pub mod qoe;
pub mod range;
pub mod refusal;
pub mod releases;
pub mod reply;
pub mod request;
pub mod send_rate;
pub mod server;
pub mod steer;
pub mod store;
pub mod stream;
pub mod subscription;
pub mod tls;
pub mod upstream;
pub mod variants;

pub use server::{EdgeError, Server};
