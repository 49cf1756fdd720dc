//! The keys that tokens are verified with: several at once, each found by its id and bound to one algorithm.

use config::Verifier;
use ring::hmac;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

/// All keys of a node.
pub struct Keys {
    urls: Vec<(Box<str>, hmac::Key)>,
    cats: Vec<(Box<str>, CatKey)>,
    /// Whom a Common Access Token with `aud` must name.
    pub audience: Box<str>,
}

pub enum CatKey {
    Hs256(hmac::Key),
    Es256(UnparsedPublicKey<Box<[u8]>>),
}

impl Keys {
    pub fn new(config: &config::Access) -> Self {
        let urls = config.url_keys.iter().map(|key| (key.id.as_str().into(), url_key(key)));
        let cats = config.cat_keys.iter().map(|key| (key.id.as_str().into(), CatKey::new(&key.verifier)));
        Self { urls: urls.collect(), cats: cats.collect(), audience: config.cat_audience.as_str().into() }
    }

    pub fn url(&self, id: &str) -> Option<&hmac::Key> {
        self.urls.iter().find_map(|(known, key)| (**known == *id).then_some(key))
    }

    pub fn cat(&self, id: &[u8]) -> Option<&CatKey> {
        self.cats.iter().find_map(|(known, key)| (known.as_bytes() == id).then_some(key))
    }
}

/// The key as it signs and verifies URLs.
pub fn url_key(key: &config::UrlKey) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, key.secret.bytes())
}

impl CatKey {
    fn new(verifier: &Verifier) -> Self {
        match verifier {
            Verifier::Hs256(secret) => Self::Hs256(hmac::Key::new(hmac::HMAC_SHA256, secret.bytes())),
            Verifier::Es256(point) => {
                Self::Es256(UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, Box::from(&point[..])))
            }
        }
    }
}
