//! What everybody may know of a key: its id, and the IV that goes with it. Pure.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct KeyName {
    pub(crate) id: [u8; 16],
    /// The constant IV of `cbcs`; whole segments have one each.
    pub(crate) iv: [u8; 16],
}

/// A text that names no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no name of a key")]
pub(crate) struct NoKeyName;

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", hex(&self.id), hex(&self.iv))
    }
}

impl FromStr for KeyName {
    type Err = NoKeyName;

    fn from_str(text: &str) -> Result<Self, NoKeyName> {
        let (id, iv) = text.split_at_checked(32).ok_or(NoKeyName)?;
        Ok(Self { id: unhex(id).ok_or(NoKeyName)?, iv: unhex(iv).ok_or(NoKeyName)? })
    }
}

impl From<KeyName> for String {
    fn from(name: KeyName) -> Self {
        name.to_string()
    }
}

impl TryFrom<String> for KeyName {
    type Error = NoKeyName;

    fn try_from(text: String) -> Result<Self, NoKeyName> {
        text.parse()
    }
}

/// 32 digits, as ids stand in URLs.
pub(crate) fn hex(bytes: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(*bytes))
}

/// Only the spelling that [`hex`] gives: one object has one URL.
pub(crate) fn unhex(text: &str) -> Option<[u8; 16]> {
    let plain = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let value = plain.then(|| u128::from_str_radix(text, 16).ok()).flatten()?;
    Some(value.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_in_one_spelling() {
        let name = KeyName { id: [0xab; 16], iv: [1; 16] };
        assert_eq!(name.to_string().parse(), Ok(name));
        let upper = name.to_string().to_uppercase();
        for text in ["", "ab", &upper, &"\u{e4}".repeat(32), &"+".repeat(64)] {
            assert_eq!(text.parse::<KeyName>(), Err(NoKeyName), "{text}");
        }
    }
}
