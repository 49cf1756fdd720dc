//! Keys and their names, made from a secret by HKDF with SHA-256 (RFC 5869): the same at two origins, and after a restart,
//! with nothing kept. Pure.

use super::KeyName;
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};

pub(super) struct Deriver(Prk);

/// Keeps what is derived here apart from what else may be of the same secret.
const SALT: &[u8] = b"vivid origin.encryption";

struct Sixteen;

impl KeyType for Sixteen {
    fn len(&self) -> usize {
        16
    }
}

impl Deriver {
    pub(super) fn new(secret: &[u8]) -> Self {
        Self(Salt::new(HKDF_SHA256, SALT).extract(secret))
    }

    /// Of a stream's key for a period.
    pub(super) fn name(&self, stream: &str, period: u64) -> KeyName {
        let id = self.derive(&[b"id", &[0], stream.as_bytes(), &[0], &period.to_be_bytes()]);
        KeyName { id, iv: self.derive(&[b"iv", &[0], stream.as_bytes(), &[0], &id]) }
    }

    /// The key that a stream has under this id.
    pub(super) fn key(&self, stream: &str, id: &[u8; 16]) -> [u8; 16] {
        self.derive(&[b"key", &[0], stream.as_bytes(), &[0], id])
    }

    fn derive(&self, info: &[&[u8]]) -> [u8; 16] {
        let mut out = [0; 16];
        // It fails for lengths above 255 hashes alone.
        let derived = self.0.expand(info, Sixteen).and_then(|material| material.fill(&mut out));
        debug_assert!(derived.is_ok());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_alike_for_who_knows_the_secret_and_differ_for_all_else() {
        let (one, same, other) = (Deriver::new(b"secret"), Deriver::new(b"secret"), Deriver::new(b"another"));
        let name = one.name("show", 7);
        assert_eq!(name, same.name("show", 7));
        assert_eq!(one.key("show", &name.id), same.key("show", &name.id));
        let names = [one.name("show", 8), one.name("shov", 7), other.name("show", 7)];
        assert!(names.iter().all(|other| other.id != name.id && other.iv != name.iv));
        let keys = [one.key("shov", &name.id), one.key("show", &names[0].id), other.key("show", &name.id)];
        assert!(keys.iter().all(|key| *key != one.key("show", &name.id) && *key != name.id && *key != name.iv));
    }

    /// Computed apart, so that no release changes what others have stored.
    #[test]
    fn what_is_derived_never_changes() {
        let name = Deriver::new(b"0123456789abcdef").name("show", 1);
        assert_eq!(name.to_string(), VECTOR_NAME);
        assert_eq!(super::super::hex(&Deriver::new(b"0123456789abcdef").key("show", &name.id)), VECTOR_KEY);
    }

    const VECTOR_NAME: &str = "321ef43de87c50a6a42da5da4b42c0d699d3a3d6ec7b5fd6188419e06794b41c";
    const VECTOR_KEY: &str = "69b88007ae710c9dea53e92432496c28";
}
