//! Quality of experience, as far as an edge can see and help it: what viewers are told of their connection, and how fast it
//! is filled.

pub mod cmsd;
pub mod pacer;
pub mod pacing;
pub mod tcp_info;

use crate::key::Class;
use crate::reply::{Body, Reply};
use crate::request::Request;
use crate::stream::Meter;
use cmsd::{Entry, Identity};
use pacing::Pace;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tcp_info::Probe;

/// What a node tells its viewers beside what they ask for.
pub struct Qoe {
    /// `None` where no CMSD is said.
    identity: Option<Identity>,
    above_bytes: u64,
    refresh: Duration,
    duress_lag: Duration,
    late: AtomicBool,
    /// `None` where nobody is paced.
    pacing: Option<config::Pacing>,
}

impl Qoe {
    pub fn new(config: &config::Edge) -> Self {
        let (qoe, pacing) = (config.qoe, config.pacing);
        // What is sent no faster is played no faster.
        let bounds = [qoe.suggested_bitrate_max, if pacing.enabled { pacing.rate_max } else { 0 }];
        let suggested = bounds.into_iter().filter(|rate| *rate > 0).min().unwrap_or(0);
        Self {
            identity: qoe.cmsd.then(|| Identity::new(&config.name, suggested)),
            above_bytes: qoe.cmsd_above_bytes,
            refresh: qoe.refresh,
            duress_lag: qoe.duress_lag,
            late: AtomicBool::new(false),
            pacing: pacing.enabled.then_some(pacing),
        }
    }

    /// What the answer says of the path to its viewer; most answers say nothing, and cost nothing.
    pub fn entry(
        &self,
        reply: &Reply,
        probe: &mut Probe,
        now: Instant,
        duress: impl FnOnce() -> bool,
    ) -> Option<Entry<'_>> {
        let identity = self.identity.as_ref().filter(|_| is_media(reply, self.above_bytes))?;
        let path = probe.look(now, self.refresh)?;
        Some(Entry { identity, path, duress: self.late.load(Ordering::Relaxed) || duress() })
    }

    /// How fast the answer may go; `None` where it is not media, or nobody is paced.
    pub fn pace(&self, request: &Request, reply: &Reply, meter: Meter) -> Option<Pace> {
        let rules = self.pacing.as_ref().filter(|_| is_media(reply, 0))?;
        Some(pacing::pace(rules, request.said().as_ref(), meter.acknowledged()))
    }

    /// A task that was due ran so much later.
    pub fn ran_late(&self, by: Duration) {
        self.late.store(by > self.duress_lag, Ordering::Relaxed);
    }
}

/// Whether an answer is worth a look at the path. One whose length is not known grows, and live media does that.
fn is_media(reply: &Reply, above_bytes: u64) -> bool {
    let of_upstream = matches!(reply.body, Body::Object(_) | Body::Slice(..) | Body::Growing { .. });
    of_upstream
        && !matches!(reply.class, Class::Playlist | Class::Mpd)
        && reply.status().is_success()
        && reply.length().is_none_or(|length| length > above_bytes)
}
