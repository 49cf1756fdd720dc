//! Keys of encrypted streams: which one a segment has, where they come from, and what players are told of them.

mod answer;
mod derive;
mod name;
mod ring;
mod server;
mod told;

pub(crate) use answer::read as read_key_answer;
pub(crate) use name::{KeyName, hex, unhex};
pub(crate) use ring::{KeyRing, LEAD};
pub(crate) use server::KeyMetrics;
pub(crate) use told::{KeyAccess, Told, segment_iv};

use crate::streams::Stream;
use config::{Encryption, EncryptionMethod, KeySource, Origin};
use derive::Deriver;
use parking_lot::Mutex;
use server::{Fetching, Server};
use std::sync::Arc;
use std::time::Duration;

/// What all streams' keys are made or fetched by.
pub(crate) struct Keys {
    config: Encryption,
    deriver: Option<Arc<Deriver>>,
    server: Option<Server>,
    /// How long a segment is to be, by which periods are counted.
    segment: Duration,
}

/// How one stream is encrypted.
pub(crate) struct Protection {
    pub(crate) method: EncryptionMethod,
    pub(crate) ring: Arc<Mutex<KeyRing>>,
    /// Goes on for as long as this is there.
    _fetching: Option<Fetching>,
}

impl Keys {
    pub(crate) fn new(config: &Origin, metrics: &KeyMetrics) -> Self {
        let (encryption, segment) = (config.encryption.clone(), config.segment.segment);
        let (deriver, server) = match &encryption.keys {
            KeySource::None => (None, None),
            KeySource::Secret(secret) => (Some(Deriver::new(secret.as_bytes())), None),
            // Ids need no secret; those of another server are others.
            KeySource::Server(server) => {
                (Some(Deriver::new(server.uri.as_bytes())), Some(Server::new(server, metrics.clone())))
            }
        };
        Self { config: encryption, deriver: deriver.map(Arc::new), server, segment }
    }

    /// Of a stream that is to be encrypted. What a server makes is fetched from now on.
    pub(crate) fn protection(&self, stream: &Arc<Stream>) -> Option<Protection> {
        let (method, deriver) = (self.config.method(&stream.name)?, self.deriver.as_ref()?);
        let ring = KeyRing::new(&stream.name, Arc::clone(deriver), self.segments_per_key(), self.server.is_none());
        let ring = Arc::new(Mutex::new(ring));
        stream.set_ring(&ring);
        let fetching = self.server.as_ref().map(|server| server.fetch_for(stream, &ring, self.segment));
        Some(Protection { method, ring, _fetching: fetching })
    }

    /// What players are told of a stream's keys.
    pub(crate) fn told(&self, stream: &str) -> Option<Told> {
        let method = self.config.method(stream)?;
        Some(Told::new(method, stream, KeyAccess::of(&self.config), self.segments_per_key()))
    }

    /// The key of this id, if it is made here: whoever asks must know that the stream has it.
    pub(crate) fn made_here(&self, stream: &str, id: &[u8; 16]) -> Option<[u8; 16]> {
        self.deriver.as_ref().filter(|_| self.makes_here()).map(|deriver| deriver.key(stream, id))
    }

    /// Whether there are keys to be had here at all.
    pub(crate) fn makes_here(&self) -> bool {
        self.deriver.is_some() && self.server.is_none()
    }

    /// What whoever is given keys here must send.
    pub(crate) fn token(&self) -> Option<&str> {
        self.config.token.as_deref()
    }

    /// Counted in segments as they are to be, so that two origins change keys alike whatever the plans of their epochs.
    fn segments_per_key(&self) -> Option<u64> {
        let rotate = self.config.rotate?;
        Some((rotate.as_secs_f64() / self.segment.as_secs_f64()).round().max(1.0) as u64)
    }
}
