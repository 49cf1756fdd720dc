//! What requests and the prober share: the rules, the last snapshot, and who asked for what.

use crate::evidence::Account;
use crate::metrics::Metrics;
use crate::origin::Playlists;
use crate::rank::Rules;
use crate::sample::Scope;
use crate::session::Sessions;
use crate::snapshot::{Snapshot, Standing};
use crate::watched::Watched;
use arc_swap::ArcSwap;
use geo::Geo;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tracing::{info, warn};

pub(crate) struct State {
    pub(crate) config: config::Router,
    pub(crate) rules: Rules,
    pub(crate) playlists: Playlists,
    pub(crate) watched: Mutex<Watched>,
    pub(crate) snapshot: ArcSwap<Snapshot>,
    /// Its version, for whoever waits for the next round.
    pub(crate) version: watch::Sender<u64>,
    pub(crate) sessions: Sessions,
    pub(crate) geo: Geo,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) registry: prometheus::Registry,
    pub(crate) began: Instant,
}

impl State {
    /// Monotonic, from the router's start.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn publish(&self, snapshot: Snapshot, refused_samples: u64) {
        let previous = self.snapshot.load();
        let healths = snapshot.healths(Scope::EVERYWHERE).iter();
        for (health, before) in healths.zip(previous.healths(Scope::EVERYWHERE)) {
            let loss = health.account.as_ref().map_or(f64::NAN, |account| account.loss);
            self.metrics.loss.with_label_values(&[health.cdn.as_str()]).set(loss);
            if health.standing != before.standing {
                say(&health.cdn, health.standing, health.account.as_ref());
            }
        }
        let counted = self.metrics.refused_samples.get();
        self.metrics.refused_samples.inc_by(refused_samples.saturating_sub(counted));
        let version = snapshot.version;
        self.snapshot.store(Arc::new(snapshot));
        self.version.send_replace(version);
    }
}

fn say(cdn: &manifest::steering::PathwayId, standing: Standing, account: Option<&Account>) {
    let loss = account.map(|account| account.loss);
    match standing {
        Standing::Down | Standing::Worse => {
            let last = account.map(|account| &account.last);
            warn!(%cdn, ?standing, ?loss, ?last, "cdn falls behind");
        }
        Standing::Good | Standing::Unknown => info!(%cdn, ?standing, ?loss, "cdn changes its standing"),
    }
}
