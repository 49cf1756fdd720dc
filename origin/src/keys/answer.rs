//! What a key server answers: sixteen bytes, or a JWK set as clear-key licences are (W3C EME, 9.1.3). Pure.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// Why an answer holds no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyAnswerError {
    #[error("it has neither 16 bytes nor the form of a JWK set")]
    Form,
    #[error("it names other keys than the one that was asked for")]
    OtherKey,
    #[error("its key has not 16 bytes")]
    Length,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: String,
    k: String,
}

/// The key of this id.
pub(crate) fn read(answer: &[u8], id: &[u8; 16]) -> Result<[u8; 16], KeyAnswerError> {
    if let Ok(key) = answer.try_into() {
        return Ok(key);
    }
    let set: Set = serde_json::from_slice(answer).map_err(|_| KeyAnswerError::Form)?;
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text.trim_end_matches('='));
    let is_it = |jwk: &&Jwk| jwk.kty == "oct" && bytes(&jwk.kid).is_ok_and(|kid| kid == id);
    let jwk = set.keys.iter().find(is_it).ok_or(KeyAnswerError::OtherKey)?;
    bytes(&jwk.k).ok().and_then(|key| key.try_into().ok()).ok_or(KeyAnswerError::Length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: [u8; 16] = [0xfb; 16];

    #[test]
    fn a_key_comes_bare_or_in_a_set() {
        assert_eq!(read(&[7; 16], &ID), Ok([7; 16]));
        let (kid, key) = (URL_SAFE_NO_PAD.encode(ID), URL_SAFE_NO_PAD.encode([7; 16]));
        let set = |kid: &str, key: &str| {
            format!(
                "{{\"keys\":[{{\"kty\":\"oct\",\"kid\":\"AA\",\"k\":\"AA\"}},{{\"kty\":\"oct\",\"kid\":\"{kid}\",\"k\":\"{key}\"}}],\"type\":\"temporary\"}}"
            )
        };
        assert_eq!(read(set(&kid, &key).as_bytes(), &ID), Ok([7; 16]));
        assert_eq!(read(set(&kid, &format!("{key}==")).as_bytes(), &ID), Ok([7; 16]));
        assert_eq!(read(set(&kid, "AAAA").as_bytes(), &ID), Err(KeyAnswerError::Length));
        assert_eq!(read(set(&key, &key).as_bytes(), &ID), Err(KeyAnswerError::OtherKey));
        for answer in [&b""[..], &[7; 15], &[7; 17], b"<html>no such key</html>", b"{\"keys\":{}}"] {
            assert_eq!(read(answer, &ID), Err(KeyAnswerError::Form));
        }
    }
}
