//! One source in, an aligned ladder out: the plan, the FFmpeg worker in a process of its own, its supervision.

mod hardware;
mod keeping;
mod metrics;
mod pausing;
mod plan;
mod quality;
mod remote;
mod supervise;
mod trial;
pub mod wire;
pub mod worker;

pub use hardware::Trial;
pub use keeping::{Keeping, Shed};
pub use metrics::Metrics;
pub use pausing::Pausing;
pub use plan::{
    ACCESS_UNIT_SAMPLES, AUDIO_RATE, Encoding, Make, Plan, Rendition, Source, Thumbnails, channels, plan, plan_after,
};
pub use quality::Quality;
pub use remote::{Relay, RelayError, Remote};
pub use supervise::{EndReason, Input, Limits, Made, Worker, WorkerError, WorkerInput, WorkerProgram};
pub use trial::{trials, try_encoder};
pub use wire::Job;
pub use worker::{MissingEncoder, check_encoders};
