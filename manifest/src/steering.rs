//! The steering document (HLS Content Steering, RFC 8216bis 7.1) in the one form that no shipping player stumbles over.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The media type of a steering document. The charset-free form is what every player accepts.
pub const CONTENT_TYPE: &str = "application/vnd.apple.steering-list";

/// The query parameters that a client adds when it asks: the pathway in use, and what it delivered in bit/s.
pub const PATHWAY_PARAMETER: &str = "_HLS_pathway";
pub const THROUGHPUT_PARAMETER: &str = "_HLS_throughput";

/// A CDN as players name it: 1 to 64 of `[A-Za-z0-9.\-_]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathwayId(Arc<str>);

/// An answer to a steering request: which pathways to use, best first, and when to ask again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SteeringList {
    ttl_s: u64,
    reload_uri: Option<ServerUri>,
    priority: Vec<PathwayId>,
}

/// Where a player asks for steering: an absolute http or https URL. Absolute, since players resolve a relative one
/// against three different bases; without `_HLS_` and `_DASH_` parameters, since those are the player's to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUri(String);

/// Why a steering document must not be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SteeringError {
    #[error("{0:?} is no pathway id; use 1 to 64 letters, digits, '.', '-' or '_'")]
    BadId(String),
    #[error("a steering list needs at least two pathways: with one, players switch off their own failover")]
    TooFew,
    #[error("pathway {0} is listed twice; strict players refuse the whole list")]
    Repeated(PathwayId),
    #[error(
        "{0:?} is no steering URL; use an absolute http or https URL without quotes and _HLS_ or _DASH_ parameters"
    )]
    BadServerUri(String),
}

impl PathwayId {
    pub fn new(id: &str) -> Result<Self, SteeringError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if id.is_empty() || id.len() > 64 || !id.bytes().all(allowed) {
            return Err(SteeringError::BadId(id.to_owned()));
        }
        Ok(Self(id.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PathwayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ServerUri {
    pub fn new(uri: String) -> Result<Self, SteeringError> {
        let authority = uri.strip_prefix("https://").or_else(|| uri.strip_prefix("http://"));
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&byte);
        let reserved = uri.contains("_HLS_") || uri.contains("_DASH_");
        if reserved || !uri.bytes().all(plain) || authority.is_none_or(|rest| rest.is_empty() || rest.starts_with('/'))
        {
            return Err(SteeringError::BadServerUri(uri));
        }
        Ok(Self(uri))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SteeringList {
    /// `priority` is every declared pathway, best first. `ttl` is rounded up to whole seconds and is at least
    /// [`TTL_MIN`]: some players refuse a fraction, and all poll as often as they are told.
    pub fn new(ttl: Duration, priority: Vec<PathwayId>) -> Result<Self, SteeringError> {
        if priority.len() < 2 {
            return Err(SteeringError::TooFew);
        }
        if let Some(at) = (1..priority.len()).find(|&at| priority[..at].contains(&priority[at])) {
            return Err(SteeringError::Repeated(priority[at].clone()));
        }
        let ttl = ttl.max(TTL_MIN);
        let ttl_s = ttl.as_secs().saturating_add(u64::from(ttl.subsec_nanos() > 0));
        Ok(Self { ttl_s, reload_uri: None, priority })
    }

    /// Where to ask next time.
    pub fn reload_at(mut self, uri: ServerUri) -> Self {
        self.reload_uri = Some(uri);
        self
    }

    pub fn priority(&self) -> &[PathwayId] {
        &self.priority
    }

    /// The document. It has no `PATHWAY-CLONES`: all pathways are declared, and an empty array voids the list for some.
    pub fn to_json(&self) -> Vec<u8> {
        let priority: Vec<_> = self.priority.iter().map(PathwayId::as_str).collect();
        let mut document = serde_json::json!({ "VERSION": 1, "TTL": self.ttl_s, "PATHWAY-PRIORITY": priority });
        if let Some(uri) = &self.reload_uri {
            document["RELOAD-URI"] = uri.as_str().into();
        }
        document.to_string().into_bytes()
    }
}

/// Players that ask more often than this gain nothing: a probe round and two polls must fit in a player's buffer.
pub const TTL_MIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn ids(names: &[&str]) -> Vec<PathwayId> {
        names.iter().map(|name| PathwayId::new(name).unwrap()).collect()
    }

    fn parsed(list: &SteeringList) -> Value {
        serde_json::from_slice(&list.to_json()).unwrap()
    }

    #[test]
    fn the_document_is_what_the_standard_says() {
        let list = SteeringList::new(Duration::from_secs(10), ids(&["cdn-b", "cdn-a"])).unwrap();
        let list = list.reload_at(ServerUri::new("https://r.example/steer/x?s=0f".to_owned()).unwrap());
        let expected = serde_json::json!({
            "VERSION": 1, "TTL": 10, "RELOAD-URI": "https://r.example/steer/x?s=0f", "PATHWAY-PRIORITY": ["cdn-b", "cdn-a"]
        });
        assert_eq!(parsed(&list), expected);
    }

    /// Whatever goes in: VERSION 1, an integer TTL of 5 or more, at least two ids without a repetition, no clones.
    #[test]
    fn every_document_that_can_be_made_obeys_the_rules_of_players() {
        let names = ["a", "b", "cdn-a", "x.y_z", "a"];
        let mut state = 7_u64;
        let mut made = 0;
        for _ in 0..5000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let count = (state >> 60) as usize % 5;
            let chosen: Vec<_> = (0..count).map(|n| names[(state >> (20 + 7 * n)) as usize % names.len()]).collect();
            let Ok(list) = SteeringList::new(Duration::from_millis(state >> 46), ids(&chosen)) else {
                let repeated = chosen.iter().enumerate().any(|(at, id)| chosen[..at].contains(id));
                assert!(repeated || chosen.len() < 2, "{chosen:?} was refused");
                continue;
            };
            made += 1;
            let document = parsed(&list);
            assert_eq!(document["VERSION"], 1);
            assert!(document["TTL"].as_u64().unwrap() >= 5);
            assert!(document.get("PATHWAY-CLONES").is_none() && document.get("RELOAD-URI").is_none());
            let listed: Vec<_> = document["PATHWAY-PRIORITY"].as_array().unwrap().iter().collect();
            assert!(listed.len() >= 2 && (1..listed.len()).all(|at| !listed[..at].contains(&listed[at])));
        }
        assert!(made > 500, "only {made} documents were made");
    }

    #[test]
    fn a_ttl_is_rounded_up_to_whole_seconds() {
        for (ms, ttl_s) in [(0, 5), (5000, 5), (5001, 6), (9999, 10), (300_000, 300)] {
            let list = SteeringList::new(Duration::from_millis(ms), ids(&["a", "b"])).unwrap();
            assert_eq!(parsed(&list)["TTL"], ttl_s, "{ms} ms");
        }
    }

    #[test]
    fn a_steering_url_is_absolute_and_leaves_the_clients_parameters_to_the_client() {
        for bad in [
            "/steer/x",
            "steer",
            "ftp://r/steer",
            "https://",
            "https:///x",
            "https://r/x?_HLS_pathway=a",
            "https://r/x?_DASH_pathway=a",
            "https://r/a b",
            "https://r/\"",
            "https://r/x\n",
            "https://r/é",
        ] {
            assert_eq!(ServerUri::new(bad.to_owned()), Err(SteeringError::BadServerUri(bad.to_owned())), "{bad}");
        }
    }

    #[test]
    fn ids_outside_the_charset_are_refused() {
        for bad in ["", "a b", "a\"", "é", "a/b", &"a".repeat(65)] {
            assert!(PathwayId::new(bad).is_err(), "{bad}");
        }
    }
}
