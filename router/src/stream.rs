//! The name of a live stream, as URLs carry it.

use std::fmt;
use std::sync::Arc;

/// 1 to 64 of `[A-Za-z0-9_-]`: safe in any URL, label and log line as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StreamName(Arc<str>);

impl StreamName {
    pub fn parse(name: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        (1..=64).contains(&name.len()).then(|| name.bytes().all(allowed).then(|| Self(name.into())))?
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_a_url_can_carry_unchanged() {
        for good in ["a", "Match_1-b", &"x".repeat(64)] {
            assert_eq!(StreamName::parse(good).map(|name| name.to_string()).as_deref(), Some(good));
        }
        for bad in ["", "a/b", "..", "a b", "é", "a%20", &"x".repeat(65)] {
            assert_eq!(StreamName::parse(bad), None, "{bad}");
        }
    }
}
