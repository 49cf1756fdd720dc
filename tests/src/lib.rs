//! The system seen from outside: what the tests of whole tiers share.

pub mod conformance;
mod dev;
mod http;

pub use dev::{Dev, Ended, free_ports, run_vivid, vivid_binary, wait_until};
pub use http::{Answer, get, get_with, metric, post, post_with};
