//! The origin from outside: a recorded publisher goes in, HTTP comes out, and other people's players read it.

#![expect(clippy::unwrap_used, reason = "a test ends where something is missing")]

mod archive;
mod archive_tiers;
mod away;
mod beside;
mod captions;
mod clip;
mod codecs;
mod dash;
mod dvr;
mod encryption;
mod faults;
mod follower;
mod http;
mod ladders;
mod life;
mod markers;
mod players;
mod process;
mod rates;
mod requests;
mod returns;
mod slates;
mod trick_play;
mod twins;
mod workers;
mod world;
