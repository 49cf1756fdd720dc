//! Keys of tokens: each with an id, so that several are taken at once while one follows another.

use crate::Problem;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::fmt;

/// Signs and verifies URLs, by HMAC with SHA-256.
#[derive(Clone, Debug, PartialEq)]
pub struct UrlKey {
    pub id: String,
    pub secret: Secret,
}

/// Verifies Common Access Tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct CatKey {
    /// `kid` of the tokens.
    pub id: String,
    pub verifier: Verifier,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Verifier {
    /// HMAC with SHA-256.
    Hs256(Secret),
    /// ECDSA on P-256 with SHA-256: the point, uncompressed.
    Es256([u8; POINT_BYTES]),
}

/// Bytes that no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawUrlKey {
    id: String,
    secret: String,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawCatKey {
    id: String,
    hs256: Option<String>,
    es256: Option<String>,
}

/// One in use, one that follows it, and as many again for other issuers.
const KEYS_MAX: usize = 16;
const ID_BYTES_MAX: usize = 64;
/// RFC 2104, 3: a key shorter than the hash's output weakens it. Longer than a block it is hashed first, and gains nothing.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 32..=64;
const POINT_BYTES: usize = 65;
/// What stands before the point in the public key of P-256 (RFC 5480, 2).
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

impl Secret {
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

pub(super) fn url_keys(problems: &mut Vec<Problem>, raw: Vec<RawUrlKey>) -> Vec<UrlKey> {
    let key = "edge.access.url_keys";
    check_ids(problems, key, raw.iter().map(|raw| raw.id.as_str()));
    raw.into_iter().map(|raw| UrlKey { secret: secret(problems, key, &raw.id, &raw.secret), id: raw.id }).collect()
}

pub(super) fn cat_keys(problems: &mut Vec<Problem>, raw: Vec<RawCatKey>) -> Vec<CatKey> {
    let key = "edge.access.cat_keys";
    check_ids(problems, key, raw.iter().map(|raw| raw.id.as_str()));
    let mut keys = Vec::with_capacity(raw.len());
    for RawCatKey { id, hs256, es256 } in raw {
        let verifier = match (hs256, es256) {
            (Some(hex), None) => Verifier::Hs256(secret(problems, key, &id, &hex)),
            (None, Some(pem)) => Verifier::Es256(point(&pem).unwrap_or_else(|| {
                let message = format!(
                    "the es256 of {id:?} is no public key of P-256 in PEM; write what `openssl ec -pubout` prints"
                );
                problems.push(Problem::new(key, message));
                [0; POINT_BYTES]
            })),
            (None, None) | (Some(_), Some(_)) => {
                problems
                    .push(Problem::new(key, format!("{id:?} needs one of hs256 and es256; write the other one apart")));
                continue;
            }
        };
        keys.push(CatKey { id, verifier });
    }
    keys
}

fn check_ids<'a>(problems: &mut Vec<Problem>, key: &str, ids: impl Iterator<Item = &'a str>) {
    let mut seen = Vec::new();
    for id in ids {
        let plain = id.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte));
        if id.is_empty() || id.len() > ID_BYTES_MAX || !plain {
            let message = format!("{id:?} is no id; write 1 to {ID_BYTES_MAX} letters, digits or marks");
            problems.push(Problem::new(key, message));
        } else if seen.contains(&id) {
            problems.push(Problem::new(key, format!("two keys have the id {id:?}; give each its own")));
        }
        seen.push(id);
    }
    if seen.len() > KEYS_MAX {
        problems.push(Problem::new(key, format!("has {} keys; write at most {KEYS_MAX}", seen.len())));
    }
}

fn secret(problems: &mut Vec<Problem>, key: &str, id: &str, hex: &str) -> Secret {
    match unhex(hex).filter(|bytes| SECRET_BYTES.contains(&bytes.len())) {
        Some(bytes) => Secret(bytes.into()),
        None => {
            // What was written may be a secret all the same, and is not repeated.
            let message = format!(
                "the secret of {id:?} must be 64 to 128 hexadecimal digits, which are 32 bytes at least; write what `openssl rand -hex 32` prints"
            );
            problems.push(Problem::new(key, message));
            Secret(Box::default())
        }
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    digits.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// The point of a public key in PEM (RFC 7468, 13).
fn point(pem: &str) -> Option<[u8; POINT_BYTES]> {
    let inner = pem.trim().strip_prefix("-----BEGIN PUBLIC KEY-----")?.strip_suffix("-----END PUBLIC KEY-----")?;
    let base64: String = inner.split_ascii_whitespace().collect();
    let der = STANDARD.decode(base64).ok()?;
    let point: [u8; POINT_BYTES] = der.strip_prefix(&P256)?.try_into().ok()?;
    // SEC 1, 2.3.3: an uncompressed point begins with 4.
    (point[0] == 4).then_some(point)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    /// Made once by `openssl ecparam -name prime256v1 -genkey | openssl ec -pubout`.
    const PEM: &str = "-----BEGIN PUBLIC KEY-----\n\
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEQUv5akdNniX0lpLdnlXaBkeaPMgz\n\
        nyQaR7f1BJMRyavn/6GTM29x5QdBYojlug0UQ3IsjQHQf40Z9ShcuXZFgw==\n\
        -----END PUBLIC KEY-----\n";

    fn told(keys: &str) -> Vec<String> {
        let text = format!("[edge]\n[edge.access]\n{keys}\n");
        Config::parse(&text, []).err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn keys_of_each_kind_are_read() {
        let hex = "00112233445566778899aabbccddeeff".repeat(2);
        let text = format!(
            "[edge]\n[edge.access]\nurl_keys = [{{ id = \"a\", secret = \"{hex}\" }}]\n\
             cat_keys = [{{ id = \"b\", hs256 = \"{hex}\" }}, {{ id = \"c\", es256 = \"\"\"{PEM}\"\"\" }}]\n"
        );
        let access = Config::parse(&text, []).ok().and_then(|config| config.edge).expect("valid").access;
        assert_eq!(access.url_keys[0].secret.bytes()[..3], [0x00, 0x11, 0x22]);
        assert!(matches!(&access.cat_keys[0].verifier, Verifier::Hs256(secret) if secret.bytes().len() == 32));
        assert!(matches!(access.cat_keys[1].verifier, Verifier::Es256(point) if point[0] == 4));
        assert!(access.needs_token());
        assert!(!format!("{access:?}").contains("17, 34"), "a secret is not for logs: {access:?}");
    }

    #[test]
    fn what_is_no_key_is_told_and_not_repeated() {
        let hex = "ab".repeat(32);
        for (keys, expected) in [
            ("url_keys = [{ id = \"a\", secret = \"sesame\" }]".to_owned(), "the secret of \"a\" must be 64 to 128"),
            (format!("url_keys = [{{ secret = \"{hex}\" }}]"), "\"\" is no id"),
            (format!("url_keys = [{{ id = \"a b\", secret = \"{hex}\" }}]"), "\"a b\" is no id"),
            (
                format!("url_keys = [{{ id = \"a\", secret = \"{hex}\" }}, {{ id = \"a\", secret = \"{hex}\" }}]"),
                "two keys have the id \"a\"",
            ),
            ("cat_keys = [{ id = \"a\" }]".to_owned(), "\"a\" needs one of hs256 and es256"),
            ("cat_keys = [{ id = \"a\", es256 = \"x\" }]".to_owned(), "is no public key of P-256"),
        ] {
            let found = told(&keys);
            assert!(found.len() == 1 && found[0].contains(expected), "{keys}: {found:?}");
            assert!(!found[0].contains("sesame"), "{found:?}");
        }
    }

    #[test]
    fn hexadecimal_digits_come_in_pairs() {
        assert_eq!(unhex("0aFf"), Some(vec![0x0a, 0xff]));
        for bad in ["0", "0g", "é", "+1"] {
            assert_eq!(unhex(bad), None, "{bad}");
        }
    }
}
