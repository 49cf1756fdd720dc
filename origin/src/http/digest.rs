//! A hash of what is sent, for those who compare origins that are fed alike (RFC 9530). Made only where it is wanted.

use axum::http::{HeaderMap, HeaderName};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ring::digest::{Context, SHA256};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Of the whole object, whichever range of it is sent.
pub(super) const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const WANT_REPR_DIGEST: &str = "want-repr-digest";

/// Whether the request has `Want-Repr-Digest: sha-256=N`, N from 1 to 10.
pub(super) fn wanted(request: &HeaderMap) -> bool {
    let lists = request.get_all(WANT_REPR_DIGEST).iter().filter_map(|value| value.to_str().ok());
    let mut wishes = lists.flat_map(|list| list.split(',')).filter_map(|wish| wish.trim().split_once('='));
    wishes.any(|(name, weight)| name == "sha-256" && weight.parse::<u8>().is_ok_and(|weight| weight > 0))
}

/// Makes hashes on threads that may take their time, few at once.
#[derive(Debug)]
pub(super) struct Digests(Arc<Semaphore>);

/// At once: a segment takes some milliseconds of a core.
const HASHES_MAX: usize = 2;
/// An answer is not later than this for want of a hash; it goes without.
const PATIENCE: Duration = Duration::from_secs(1);

impl Default for Digests {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(HASHES_MAX)))
    }
}

impl Digests {
    /// The value of [`REPR_DIGEST`]; `None` where too many want one.
    pub(super) async fn of(&self, pieces: &[Bytes]) -> Option<String> {
        let place = timeout(PATIENCE, Arc::clone(&self.0).acquire_owned()).await.ok()?.ok()?;
        let pieces = pieces.to_vec();
        let hash = move || {
            let _place = place;
            of(&pieces)
        };
        spawn_blocking(hash).await.ok()
    }
}

fn of(pieces: &[Bytes]) -> String {
    let mut hash = Context::new(&SHA256);
    pieces.iter().for_each(|piece| hash.update(piece));
    format!("sha-256=:{}:", STANDARD.encode(hash.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_hash_is_made_for_those_who_want_it() {
        for (value, expected) in [
            ("sha-256=1", true),
            ("sha-512=3, sha-256=10", true),
            ("sha-256=0", false),
            ("sha-512=10", false),
            ("sha-256", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(WANT_REPR_DIGEST, HeaderValue::from_static(value));
            assert_eq!(wanted(&headers), expected, "{value}");
        }
        assert!(!wanted(&HeaderMap::new()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_wants_too_many_gets_none() {
        let digests = Digests::default();
        let pieces = [Bytes::from_static(b"abc")];
        assert_eq!(digests.of(&pieces).await, Some(of(&pieces)));
        let _all = digests.0.acquire_many(HASHES_MAX as u32).await.unwrap();
        assert_eq!(digests.of(&pieces).await, None);
    }

    #[test]
    fn the_hash_is_that_of_the_whole() {
        let [whole, cut] = [&["abc"][..], &["a", "bc"]]
            .map(|pieces| of(&pieces.iter().map(|piece| Bytes::from_static(piece.as_bytes())).collect::<Vec<_>>()));
        assert_eq!(whole, "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:");
        assert_eq!(cut, whole);
    }
}
