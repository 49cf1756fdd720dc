//! Asks every upstream, again and again, whether it is there.

use super::health::Sign;
use super::{Member, PeerId, Upstreams};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How upstreams are probed.
pub(super) struct Probing {
    pub(super) path: Option<String>,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

impl Upstreams {
    /// Probes until it is dropped. Where there is no choice there is nothing to find out.
    pub async fn probe(&self) {
        let Some(path) = self.probing.path.as_deref().filter(|_| self.are_several()) else {
            return std::future::pending().await;
        };
        let probes = self.members.iter().enumerate().map(|(index, member)| self.probe_one(index, member, path));
        let mut probes: FuturesUnordered<_> = probes.collect();
        while probes.next().await.is_some() {}
    }

    async fn probe_one(&self, index: usize, member: &Member, path: &str) {
        let mut tick = interval(self.probing.interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            // Whoever answers at all is there; not every origin knows this page.
            let sign = match timeout(self.probing.timeout, member.peer.probe(path)).await {
                Ok(Ok(status)) if status.is_server_error() => Sign::Failing,
                Ok(Ok(_)) => Sign::Good,
                Ok(Err(_)) | Err(_) => Sign::Dead,
            };
            self.change(PeerId(index as u8), |health, now| health.probed(sign, now));
        }
    }
}
