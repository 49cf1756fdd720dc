//! A hash of what is sent, for those who compare origins that are fed alike (RFC 9530). Made only where it is wanted.

use axum::http::{HeaderMap, HeaderName};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ring::digest::{Context, SHA256};

/// Of the whole object, whichever range of it is sent.
pub(super) const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const WANT_REPR_DIGEST: &str = "want-repr-digest";

/// Whether the request has `Want-Repr-Digest: sha-256=N`, N from 1 to 10.
pub(super) fn wanted(request: &HeaderMap) -> bool {
    let lists = request.get_all(WANT_REPR_DIGEST).iter().filter_map(|value| value.to_str().ok());
    let mut wishes = lists.flat_map(|list| list.split(',')).filter_map(|wish| wish.trim().split_once('='));
    wishes.any(|(name, weight)| name == "sha-256" && weight.parse::<u8>().is_ok_and(|weight| weight > 0))
}

/// The value of [`REPR_DIGEST`].
pub(super) fn of(pieces: &[Bytes]) -> String {
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

    #[test]
    fn the_hash_is_that_of_the_whole() {
        let [whole, cut] = [&["abc"][..], &["a", "bc"]]
            .map(|pieces| of(&pieces.iter().map(|piece| Bytes::from_static(piece.as_bytes())).collect::<Vec<_>>()));
        assert_eq!(whole, "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:");
        assert_eq!(cut, whole);
    }
}
