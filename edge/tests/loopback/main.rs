//! The edge through real sockets on loopback: a scripted upstream, one or two nodes, and viewers that read byte for byte.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod access;
mod access_log;
mod admin;
mod cache;
mod dash;
mod departure;
mod directives;
mod disk;
mod fanout;
mod fills;
mod floods;
mod foreign;
mod half_closed;
mod http;
mod http2;
mod keys;
mod late;
mod malformed;
mod noise;
mod origins;
mod pieces;
mod purge;
mod qoe;
mod recordings;
mod resumes;
mod secure;
mod shields;
mod steering;
mod streams;
mod support;
mod tenants;
mod tls;
mod transports;
mod trouble;
mod variants;
