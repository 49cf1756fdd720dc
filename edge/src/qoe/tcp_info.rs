//! Asks the kernel about the path to a viewer, no more often than it may.

use super::cmsd::{Path, Sample};
use crate::stream::Meter;
use pingora::protocols::l4::ext::TCP_INFO;
use std::time::{Duration, Instant};

/// What one connection's kernel has said of its path.
pub struct Probe {
    meter: Meter,
    /// In a box: a viewer who only waits for playlists never needs it.
    seen: Option<Box<(Instant, Path)>>,
}

impl Probe {
    pub fn new(meter: Meter) -> Self {
        Self { meter, seen: None }
    }

    /// The path as it is, or as it was less than `refresh` ago if it was known then; `None` where the kernel does not say.
    pub fn look(&mut self, now: Instant, refresh: Duration) -> Option<Path> {
        if let Some(seen) = &self.seen
            && now.saturating_duration_since(seen.0) < refresh
            && seen.1.throughput_kbps > 0
        {
            return Some(seen.1);
        }
        let path = Path::of(sample(&self.meter.tcp_info()?));
        let seen = match &mut self.seen {
            Some(seen) => {
                **seen = (now, path.after(seen.1));
                seen
            }
            unseen => unseen.insert(Box::new((now, path))),
        };
        Some(seen.1)
    }
}

fn sample(info: &TCP_INFO) -> Sample {
    let own = u64::from(info.tcpi_snd_cwnd) * u64::from(info.tcpi_snd_mss);
    // A kernel that does not know the other end's window says 0.
    let theirs = Some(u64::from(info.tcpi_snd_wnd)).filter(|window| *window > 0).unwrap_or(u64::MAX);
    Sample {
        rtt_us: info.tcpi_rtt,
        delivered_per_s: info.tcpi_delivery_rate,
        // The first bit of the three that share this byte in linux/tcp.h.
        idle: info.tcpi_delivery_rate_app_limited & 1 == 1,
        window: own.min(theirs),
    }
}
