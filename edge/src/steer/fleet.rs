//! The edges of the fleet, this one among them: what the file says of each, and what polls say.

use super::health::Health;
use super::load::Load;
use crate::metrics::Polled;
use geo::{Country, Place};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// All edges, in the order of the file.
pub struct Fleet {
    edges: Vec<Edge>,
    own: usize,
}

pub struct Edge {
    pub name: String,
    pub url: String,
    pub place: Place,
    pub viewers_max: u64,
    pub drain: bool,
    /// Empty: all.
    pub countries: Vec<Country>,
    pub health: Health,
    /// Viewers this node has sent there since its last answer, which does not count them yet.
    sent: AtomicU64,
}

/// Why a fleet file is of no use to this node.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    #[error("it does not list {0:?}; list this node under its edge.name, or correct edge.name")]
    NotListed(String),
    #[error("{0:?} has no place; correct its latitude and longitude")]
    Nowhere(String),
}

impl Fleet {
    /// `before`: what polls have found out stays known of edges that keep name and URL.
    ///
    /// # Errors
    /// If the file does not list `own`.
    pub fn new(file: config::FleetFile, own: &str, before: Option<&Self>) -> Result<Self, FleetError> {
        let mut edges = Vec::with_capacity(file.edges.len());
        for listed in file.edges {
            let known = before.and_then(|before| before.edges.iter().find(|edge| edge.is(&listed)));
            let place = Place::new(listed.latitude, listed.longitude);
            edges.push(Edge {
                place: place.ok_or_else(|| FleetError::Nowhere(listed.name.clone()))?,
                viewers_max: listed.viewers_max,
                drain: listed.drain,
                countries: listed.countries.iter().filter_map(|code| Country::new(code)).collect(),
                health: known.map(|edge| edge.health.clone()).unwrap_or_default(),
                sent: AtomicU64::new(known.map_or(0, |edge| edge.sent.load(Ordering::Relaxed))),
                name: listed.name,
                url: listed.url,
            });
        }
        let own =
            edges.iter().position(|edge| edge.name == own).ok_or_else(|| FleetError::NotListed(own.to_owned()))?;
        Ok(Self { edges, own })
    }

    pub fn own(&self) -> &Edge {
        &self.edges[self.own]
    }

    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    pub fn others(&self) -> impl Iterator<Item = &Edge> {
        self.edges.iter().enumerate().filter(|(index, _)| *index != self.own).map(|(_, edge)| edge)
    }

    /// Takes the end of a poll of another edge; one that the file no longer lists is past.
    pub fn polled(&mut self, name: &str, end: Result<Load, Polled>, now: Instant) {
        if let Some(edge) = self.edges.iter_mut().find(|edge| edge.name == name) {
            if end.is_ok() {
                *edge.sent.get_mut() = 0;
            }
            edge.health.polled(end, now);
        }
    }
}

impl Edge {
    /// Whether another edge takes a viewer of this country.
    pub fn takes(&self, country: Option<Country>) -> bool {
        self.health.is_up() && !self.is_draining() && !self.is_full() && self.serves(country)
    }

    /// Where rights end at borders, a viewer who may be anywhere is none of its own.
    pub fn serves(&self, country: Option<Country>) -> bool {
        self.countries.is_empty() || country.is_some_and(|country| self.countries.contains(&country))
    }

    pub fn is_draining(&self) -> bool {
        self.drain || self.health.load.as_ref().is_some_and(|(load, _)| load.draining)
    }

    pub fn is_full(&self) -> bool {
        let Some((load, _)) = &self.health.load else { return false };
        load.full || load.viewers.saturating_add(self.sent()) >= self.viewers_max
    }

    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// A viewer is being sent there.
    pub fn send(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    fn is(&self, listed: &config::FleetEdge) -> bool {
        self.name == listed.name && self.url == listed.url
    }
}
