//! The system seen from outside: what the tests of whole tiers share.

pub mod conformance;
mod dev;
mod http;

pub use dev::{Dev, Ended, run_vivid, vivid_binary};
pub use http::{Answer, get, get_with, metric, post, post_with};
