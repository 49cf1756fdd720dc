//! Common Access Tokens (CTA-5007): a CWT (RFC 8392) in COSE_Mac0 or COSE_Sign1 (RFC 9052), in base64url.

mod claims;

use super::denial::Denial;
use super::grant::Grant;
use super::keys::{CatKey, Keys};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use coset::cbor::value::Value;
use coset::iana::Algorithm;
use coset::{AsCborValue, CoseMac0, CoseSign1, Header, ProtectedHeader, RegisteredLabelWithPrivate};
use ring::hmac;

/// A token in its envelope, with nothing verified.
pub enum Message {
    Mac(CoseMac0),
    Sign(CoseSign1),
}

/// RFC 8392, 6.
const CWT: u64 = 61;
/// RFC 9052, 2.
const COSE_MAC0: u64 = 17;
const COSE_SIGN1: u64 = 18;
/// A claim about a URL is the deepest that there is: map, part, match, text.
const DEPTH_MAX: usize = 16;

/// Verifies a token.
///
/// # Errors
/// `Unreadable`, `UnknownKey`, `Signature`, or `Claim` if it says what this node cannot check.
pub fn verify(token: &str, keys: &Keys) -> Result<Grant, Denial> {
    // RFC 4648, 3.2: some issuers pad.
    let token = token.trim_end_matches('=');
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| Denial::Unreadable)?;
    let message = Message::read(&bytes)?;
    message.check(keys)?;
    message.grant(&keys.audience)
}

impl Message {
    /// # Errors
    /// `Unreadable`, or `Claim` if a header must be understood that is not.
    pub fn read(bytes: &[u8]) -> Result<Self, Denial> {
        let message = match untagged(CWT, item(bytes)?) {
            Value::Tag(COSE_MAC0, value) => CoseMac0::from_cbor_value(*value).map(Self::Mac),
            Value::Tag(COSE_SIGN1, value) => CoseSign1::from_cbor_value(*value).map(Self::Sign),
            _ => return Err(Denial::Unreadable),
        };
        let message = message.map_err(|_| Denial::Unreadable)?;
        let (protected, unprotected) = message.headers();
        // RFC 9052, 3.1: what stands in crit must be understood. This node understands the algorithm and the key's id.
        if !protected.header.crit.is_empty() || !unprotected.crit.is_empty() {
            return Err(Denial::Claim);
        }
        Ok(message)
    }

    /// What it allows, if its signature is right.
    ///
    /// # Errors
    /// `Unreadable` or `Claim`.
    pub fn grant(&self, audience: &str) -> Result<Grant, Denial> {
        claims::grant(item(self.payload().ok_or(Denial::Unreadable)?)?, audience)
    }

    /// The algorithm is the key's: a token cannot choose one.
    fn check(&self, keys: &Keys) -> Result<(), Denial> {
        let (protected, unprotected) = self.headers();
        let id = [&protected.header.key_id, &unprotected.key_id].into_iter().find(|id| !id.is_empty());
        let key = id.and_then(|id| keys.cat(id)).ok_or(Denial::UnknownKey)?;
        let said = protected.header.alg.as_ref();
        let is = |algorithm| said == Some(&RegisteredLabelWithPrivate::Assigned(algorithm));
        let (unreadable, wrong) = (|| Denial::Unreadable, |_| Denial::Signature);
        match (self, key) {
            (Self::Mac(token), CatKey::Hs256(key)) if is(Algorithm::HMAC_256_256) => {
                token.verify_payload_tag(&[], unreadable, |tag, data| hmac::verify(key, data, tag).map_err(wrong))
            }
            (Self::Sign(token), CatKey::Es256(key)) if is(Algorithm::ES256) => {
                token.verify_signature(&[], |signature, data| key.verify(data, signature).map_err(wrong))
            }
            _ => Err(Denial::Signature),
        }
    }

    fn headers(&self) -> (&ProtectedHeader, &Header) {
        match self {
            Self::Mac(token) => (&token.protected, &token.unprotected),
            Self::Sign(token) => (&token.protected, &token.unprotected),
        }
    }

    fn payload(&self) -> Option<&[u8]> {
        match self {
            Self::Mac(token) => token.payload.as_deref(),
            Self::Sign(token) => token.payload.as_deref(),
        }
    }
}

/// The one item that the bytes are.
fn item(bytes: &[u8]) -> Result<Value, Denial> {
    let mut rest = bytes;
    let value = coset::cbor::de::from_reader_with_recursion_limit(&mut rest, DEPTH_MAX);
    value.ok().filter(|_| rest.is_empty()).ok_or(Denial::Unreadable)
}

fn untagged(tag: u64, value: Value) -> Value {
    match value {
        Value::Tag(found, value) if found == tag => *value,
        value => value,
    }
}

#[cfg(test)]
#[path = "cat/tests.rs"]
mod tests;
