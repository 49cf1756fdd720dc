//! Steering: a viewer who asks for a manifest is sent to the nearest edge of the fleet that can take it. Whatever goes wrong
//! here, the viewer stays and is served.

use crate::cache_status::Note;
use crate::client::Client;
use crate::key::{Target, normalized};
use crate::metrics::{Metrics, Steered as Counted};
use crate::reply::{Body, Reply};
use crate::request::Request;
use fleet::Fleet;
use geo::Geo;
use load::{Load, is_full};
use manifest::Manifest;
use nearest::{Decision, Own, Viewer, Why, decide};
use parking_lot::RwLock;
use said::Steered;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio_util::sync::CancellationToken;

pub mod fleet;
pub mod health;
pub mod load;
pub mod manifest;
pub mod nearest;
mod page;
pub mod said;
mod watch;

/// What this node knows of its fleet, and whom it sends where.
pub struct Steering {
    name: String,
    rules: config::Fleet,
    geo: Arc<Geo>,
    metrics: Arc<Metrics>,
    draining: CancellationToken,
    /// The last good fleet file, with what polls have found out since.
    fleet: RwLock<Option<Fleet>>,
    full: AtomicBool,
}

impl Steering {
    pub fn new(config: &config::Edge, geo: Arc<Geo>, metrics: Arc<Metrics>, draining: CancellationToken) -> Self {
        Self {
            name: config.name.clone(),
            rules: config.fleet.clone(),
            geo,
            metrics,
            draining,
            fleet: RwLock::new(None),
            full: AtomicBool::new(false),
        }
    }

    /// The reply, or where else the viewer is to have it.
    pub fn steer(&self, request: &Request, client: Client, reply: Reply) -> Reply {
        // Whoever asks for others is a node of a CDN: it would keep a redirect and give it to all of them.
        if self.rules.file.is_none() || request.passed.cdn_loop.is_some() {
            return reply;
        }
        let Some(manifest) = Manifest::of(reply.class, &reply.body) else { return reply };
        // As it was sent: what lets the viewer in here is to let it in there.
        let target = normalized(request.target());
        let Ok(target) = Target::read(&target) else { return reply };
        match self.elsewhere(manifest, &target, client, &reply.body) {
            Some(steered) => Reply { body: Body::Steered(Box::new(steered)), note: Note::Steered, ..reply },
            None => reply,
        }
    }

    /// Whether this node had as many viewers as it may when that was looked at last.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// What this node says of itself to the others.
    pub fn load(&self) -> Load {
        let fleet = self.fleet.read();
        let own = self.own(fleet.as_ref());
        let here = fleet.as_ref().map(Fleet::own);
        Load {
            name: self.name.clone(),
            viewers: self.viewers(),
            viewers_max: here.map(|edge| edge.viewers_max),
            full: own.full,
            draining: own.draining || here.is_some_and(|edge| edge.drain),
        }
    }

    fn elsewhere(&self, manifest: Manifest, target: &Target<'_>, client: Client, body: &Body) -> Option<Steered> {
        if target.is_steered() {
            return self.stays(Counted::Marked);
        }
        let Some(place) = self.geo.place(client.address).found() else { return self.stays(Counted::Unplaced) };
        let viewer = Viewer { place, country: self.geo.country(client.address).found() };
        let fleet = self.fleet.read();
        let Some(fleet) = fleet.as_ref() else { return self.stays(Counted::Unlisted) };
        let (edge, why) = match decide(fleet, &viewer, self.own(Some(fleet)), self.rules.margin_km) {
            Decision::Near => return self.stays(Counted::Near),
            Decision::Alone => return self.stays(Counted::Alone),
            Decision::Send(edge, why) => (edge, why),
        };
        edge.send();
        self.metrics.fleet.steered(match why {
            Why::Far => Counted::Far,
            Why::Full => Counted::Full,
            Why::Draining => Counted::Draining,
            Why::Country => Counted::Country,
        });
        let rewritten = match (self.rules.mode, manifest) {
            (config::SteerMode::Rewrite, Manifest::Multivariant) => {
                Steered::rewrite(edge, why, &fleet.own().url, target, body)
            }
            _ => None,
        };
        Some(rewritten.unwrap_or_else(|| Steered::redirect(edge, why, &self.name, target)))
    }

    fn stays(&self, why: Counted) -> Option<Steered> {
        self.metrics.fleet.steered(why);
        None
    }

    fn own(&self, fleet: Option<&Fleet>) -> Own {
        let full = fleet.is_some_and(|fleet| {
            let full = is_full(self.full.load(Ordering::Relaxed), self.viewers(), fleet.own().viewers_max);
            self.full.store(full, Ordering::Relaxed);
            full
        });
        Own { draining: self.draining.is_cancelled(), full }
    }

    fn viewers(&self) -> u64 {
        u64::try_from(self.metrics.connections.get()).unwrap_or(0)
    }
}
