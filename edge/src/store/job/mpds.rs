//! Fills of MPDs: what the rules make of one, and what goes with its former life.

use super::Job;
use crate::dash::{Came, Verdict, key_of};
use crate::key::Class;
use crate::metrics::PlaylistNews;
use crate::moment::Moment;
use crate::object::Object;
use crate::store::Store;
use crate::store::purge::Purge;
use crate::upstream::{PeerId, Promise};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is served as an MPD and is none, or cannot be followed, is not kept longer.
const NOT_FOLLOWED: Duration = Duration::from_secs(1);

impl Job {
    /// What the last MPD promises of this one, which is about to be asked for.
    pub(super) fn promise_of_mpd(&self) -> Option<Promise> {
        let Store { dash, upstreams, .. } = &*self.store;
        let key = key_of(&self.url)?;
        dash.promise(&key, upstreams.home(&key), Instant::now())
    }

    /// What viewers get of an MPD that came.
    pub(super) async fn mpd(&self, mut object: Object, source: PeerId) -> Arc<Object> {
        let (store, came) = (&self.store, Moment::now());
        let (now, unix_ms) = (came.instant, came.unix_ms() as i64);
        let key = key_of(&self.url).unwrap_or_else(|| self.key.clone());
        let asked = self.promise.and_then(|promise| Some((promise.due?.at, promise.source)));
        let came = Came { key: &key, object: &object, source, asked, now, unix_ms };
        match store.dash.came(&came, &store.rules) {
            Verdict::Live(shown) => {
                store.metrics.followed(PlaylistNews::Newer);
                return shown;
            }
            Verdict::NewLife(shown, names) => {
                tracing::info!(key = %self.key, "the stream has begun anew");
                store.metrics.followed(PlaylistNews::Newer);
                // Viewers do not wait for files to be deleted.
                store.take_out(&Arc::new(Purge::of_names(names))).await;
                return shown;
            }
            Verdict::Backwards(shown) => {
                tracing::warn!(key = %self.key, "upstream's MPD went backwards; kept the newer one");
                store.metrics.followed(PlaylistNews::Backwards);
                return shown;
            }
            Verdict::Static => {}
            Verdict::Unreadable(last) => {
                tracing::warn!(key = %self.key, length = object.length, "upstream's MPD cannot be read");
                store.metrics.followed(PlaylistNews::Unreadable);
                if let Some(shown) = last {
                    return shown;
                }
                object.end(now + NOT_FOLLOWED);
            }
            Verdict::Full(bound) => {
                store.metrics.bit(bound);
                object.end(now + NOT_FOLLOWED);
            }
        }
        Arc::new(object)
    }
}

/// By its name or by its type.
pub(super) fn is_mpd(object: &Object) -> bool {
    object.layout.is_none() && (object.head.class == Class::Mpd || object.head.is_mpd())
}
