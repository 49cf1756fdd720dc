//! What is to be taken out of a node: by URL, by prefix, by tag.

use crate::key::{Target, normalized};
use http::HeaderMap;
use serde::Deserialize;
use std::collections::HashSet;
use std::sync::Arc;

/// A request to forget.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Purge {
    keys: HashSet<String>,
    prefixes: Vec<String>,
    tags: HashSet<String>,
    /// How paths begin and end.
    names: Vec<(String, String)>,
    /// What matches stays, but is not fresh any more.
    pub soft: bool,
}

/// Why a request cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PurgeError {
    #[error(
        "the body must be JSON such as {{\"urls\": [\"/a\"], \"prefixes\": [\"/b/\"], \"tags\": [\"c\"], \"soft\": false}}"
    )]
    Malformed,
    #[error("a URL to purge must be a path that begins with '/', or begin with http:// or https://")]
    Url,
    #[error("a prefix to purge must be a path that begins with '/' and has no query")]
    Prefix,
    #[error("a tag to purge must not be empty, and holds no space and no comma")]
    Tag,
    #[error("nothing to purge; name at least one URL, prefix or tag")]
    Nothing,
}

/// The names under which upstream groups its objects, from `Surrogate-Key` and `Cache-Tag`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Box<str>);

/// Divides the key of a large object from what names one of its pieces; no request target can hold it.
pub const PIECE: char = '\0';

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Raw {
    urls: Vec<String>,
    prefixes: Vec<String>,
    tags: Vec<String>,
    soft: bool,
}

impl Purge {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// What is wrong with it; then nothing of it is done.
    pub fn read(body: &[u8]) -> Result<Self, PurgeError> {
        let raw: Raw = serde_json::from_slice(body).map_err(|_| PurgeError::Malformed)?;
        let mut purge = Self { soft: raw.soft, ..Self::default() };
        for url in &raw.urls {
            let normalized = normalized(url);
            let target = Target::read(&normalized).map_err(|_| PurgeError::Url)?;
            // Whether it was asked for as part of a live stream is not known here.
            purge.keys.insert(target.whole_key().into_owned());
            purge.keys.insert(target.live_key().into_owned());
        }
        for prefix in &raw.prefixes {
            let prefix = normalized(prefix);
            if !prefix.starts_with('/') || prefix.contains(['?', '#']) {
                return Err(PurgeError::Prefix);
            }
            purge.prefixes.push(prefix.into_owned());
        }
        for tag in raw.tags {
            if tag.is_empty() || tag.contains(is_between_tags) {
                return Err(PurgeError::Tag);
            }
            purge.tags.insert(tag);
        }
        if purge.keys.is_empty() && !purge.needs_a_look_at_all() {
            return Err(PurgeError::Nothing);
        }
        Ok(purge)
    }

    /// Everything whose path begins and ends in one of these ways.
    pub fn of_names(names: Vec<(String, String)>) -> Self {
        Self { names, ..Self::default() }
    }

    /// Of all that is known under these keys.
    pub fn of(keys: &[Arc<str>]) -> Self {
        Self { keys: keys.iter().map(|key| key.to_string()).collect(), ..Self::default() }
    }

    /// Whether an object is meant.
    pub fn takes(&self, key: &str, tags: &Tags) -> bool {
        self.takes_key(key) || (!self.tags.is_empty() && tags.iter().any(|tag| self.tags.contains(tag)))
    }

    /// Whether it is meant whatever its tags are.
    pub fn takes_key(&self, key: &str) -> bool {
        let whole = key.split(PIECE).next().unwrap_or(key);
        let path = whole.split('?').next().unwrap_or(whole);
        self.keys.contains(whole)
            || self.prefixes.iter().any(|prefix| whole.starts_with(prefix.as_str()))
            || self.names.iter().any(|(first, last)| path.starts_with(first.as_str()) && path.ends_with(last.as_str()))
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(String::as_str)
    }

    /// Whether every key must be looked at.
    pub fn needs_a_look_at_all(&self) -> bool {
        !self.prefixes.is_empty() || !self.tags.is_empty() || !self.names.is_empty()
    }
}

impl Tags {
    pub fn read(headers: &HeaderMap) -> Self {
        let lines = ["surrogate-key", "cache-tag"].into_iter().flat_map(|name| headers.get_all(name));
        let lines: Vec<&str> = lines.filter_map(|value| value.to_str().ok()).collect();
        Self(lines.join(" ").into_boxed_str())
    }

    /// As they were given, divided by spaces or commas.
    pub fn text(&self) -> &str {
        &self.0
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split(is_between_tags).filter(|tag| !tag.is_empty())
    }

    pub fn bytes(&self) -> usize {
        self.0.len()
    }
}

impl From<&str> for Tags {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

/// Fastly divides by spaces, Cloudflare and Akamai by commas; no tag of either holds the other's mark.
fn is_between_tags(letter: char) -> bool {
    letter == ',' || letter.is_whitespace()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(fields: &[(&'static str, &str)]) -> Tags {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        Tags::read(&headers)
    }

    #[test]
    fn objects_are_meant_by_url_prefix_and_tag() {
        let body =
            r#"{"urls": ["https://cdn/%61?y=1&x=2", "/b?token=t"], "prefixes": ["/vod/./film"], "tags": ["red"]}"#;
        let purge = Purge::read(body.as_bytes()).unwrap();
        let none = Tags::default();
        for (key, taken) in [
            ("/a?x=2&y=1", true),
            ("/a", false),
            ("/b?token=t", true),
            ("/b", true),
            ("/vod/film/1.mp4", true),
            ("/vod/film2", true),
            ("/vod/fil", false),
            ("/vod/film\u{0}7.0", true),
            ("/a?x=2&y=1\u{0}7.0", true),
            ("/other", false),
        ] {
            assert_eq!(purge.takes(key, &none), taken, "{key}");
        }
        for (fields, taken) in [
            (&[("surrogate-key", "blue red")][..], true),
            (&[("cache-tag", "blue,red")], true),
            (&[("surrogate-key", "blue"), ("surrogate-key", "red")], true),
            (&[("surrogate-key", "redder")], false),
            (&[("cache-tag", ", ,")], false),
        ] {
            assert_eq!(purge.takes("/other", &tags(fields)), taken, "{fields:?}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_whole() {
        for (body, error) in [
            ("", PurgeError::Malformed),
            ("7", PurgeError::Malformed),
            (r#"{"url": ["/a"]}"#, PurgeError::Malformed),
            (r#"{"urls": "/a"}"#, PurgeError::Malformed),
            (r#"{"urls": ["a"]}"#, PurgeError::Url),
            (r#"{"urls": ["/a"], "prefixes": ["*"]}"#, PurgeError::Prefix),
            (r#"{"prefixes": ["/a?b"]}"#, PurgeError::Prefix),
            (r#"{"prefixes": [""]}"#, PurgeError::Prefix),
            (r#"{"tags": [""]}"#, PurgeError::Tag),
            (r#"{"tags": ["a b"]}"#, PurgeError::Tag),
            ("{}", PurgeError::Nothing),
            (r#"{"soft": true}"#, PurgeError::Nothing),
        ] {
            assert_eq!(Purge::read(body.as_bytes()), Err(error), "{body}");
        }
        assert!(Purge::read(br#"{"tags": ["a"], "soft": true}"#).unwrap().soft);
    }
}
