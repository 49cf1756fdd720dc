//! `[edge.access]`: who may have what. Everything is off by default.

mod key;
mod limits;

pub use key::{CatKey, Secret, UrlKey, Verifier};
pub use limits::Limits;

use crate::Problem;
use crate::bounded::within;
use ipnet::IpNet;
use serde::Deserialize;
use std::net::IpAddr;

#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// The first one signs. With a key of either kind, every request needs a token.
    pub url_keys: Vec<UrlKey>,
    pub cat_keys: Vec<CatKey>,
    /// Whom a Common Access Token with `aud` must name.
    pub cat_audience: String,
    pub countries: Countries,
    pub addresses: Addresses,
    /// Tokens that need not be verified again.
    pub verified_tokens_max: usize,
    pub limits: Limits,
}

/// Two letters each (ISO 3166-1), upper case.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Countries {
    /// Empty: all that are not denied.
    pub allow: Vec<String>,
    pub deny: Vec<String>,
    pub unknown: UnknownCountry,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Addresses {
    /// Empty: all that are not denied.
    pub allow: Vec<IpNet>,
    pub deny: Vec<IpNet>,
}

/// What happens to a viewer whose country nobody knows, where a country decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum UnknownCountry {
    #[default]
    #[serde(rename = "deny")]
    Deny,
    #[serde(rename = "allow")]
    Allow,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    url_keys: Vec<key::RawUrlKey>,
    cat_keys: Vec<key::RawCatKey>,
    cat_audience: String,
    countries_allow: Vec<String>,
    countries_deny: Vec<String>,
    unknown_country: UnknownCountry,
    addresses_allow: Vec<String>,
    addresses_deny: Vec<String>,
    verified_tokens_max: usize,
    limits: limits::Raw,
}

/// Each is looked at for every request.
const PREFIXES_MAX: usize = 1000;

impl Default for Raw {
    fn default() -> Self {
        Self {
            url_keys: Vec::new(),
            cat_keys: Vec::new(),
            cat_audience: String::new(),
            countries_allow: Vec::new(),
            countries_deny: Vec::new(),
            unknown_country: UnknownCountry::Deny,
            addresses_allow: Vec::new(),
            addresses_deny: Vec::new(),
            verified_tokens_max: 20_000,
            limits: limits::Raw::default(),
        }
    }
}

impl Access {
    /// Whether a request needs a token.
    pub fn needs_token(&self) -> bool {
        !self.url_keys.is_empty() || !self.cat_keys.is_empty()
    }
}

impl Countries {
    /// Whether a country decides.
    pub fn is_ruled(&self) -> bool {
        !self.allow.is_empty() || !self.deny.is_empty()
    }
}

impl Raw {
    pub(super) fn valid(self, problems: &mut Vec<Problem>) -> Access {
        let max = self.verified_tokens_max;
        Access {
            url_keys: key::url_keys(problems, self.url_keys),
            cat_keys: key::cat_keys(problems, self.cat_keys),
            cat_audience: self.cat_audience,
            countries: Countries {
                allow: countries(problems, "edge.access.countries_allow", self.countries_allow),
                deny: countries(problems, "edge.access.countries_deny", self.countries_deny),
                unknown: self.unknown_country,
            },
            addresses: Addresses {
                allow: prefixes(problems, "edge.access.addresses_allow", &self.addresses_allow),
                deny: prefixes(problems, "edge.access.addresses_deny", &self.addresses_deny),
            },
            verified_tokens_max: within(problems, "edge.access.verified_tokens_max", max, 1..=1_000_000),
            limits: self.limits.valid(problems),
        }
    }
}

fn countries(problems: &mut Vec<Problem>, key: &str, codes: Vec<String>) -> Vec<String> {
    for code in &codes {
        if code.len() != 2 || !code.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            let message = format!("{code:?} is no country of ISO 3166-1; write two letters, for example \"DE\"");
            problems.push(Problem::new(key, message));
        }
    }
    codes.into_iter().map(|code| code.to_ascii_uppercase()).collect()
}

/// Addresses and prefixes such as `203.0.113.7`, `203.0.113.0/24`, `2001:db8::/32`.
fn prefixes(problems: &mut Vec<Problem>, key: &str, texts: &[String]) -> Vec<IpNet> {
    if texts.len() > PREFIXES_MAX {
        let message =
            format!("has {} entries; write at most {PREFIXES_MAX}, and leave more to a firewall", texts.len());
        problems.push(Problem::new(key, message));
    }
    let read = |text: &String| text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    let mut found = Vec::with_capacity(texts.len());
    for text in texts {
        match read(text) {
            Some(prefix) => found.push(prefix),
            None => problems.push(Problem::new(
                key,
                format!("{text:?} is no address or prefix; write for example \"203.0.113.0/24\""),
            )),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::Config;

    fn told(text: &str) -> Vec<String> {
        Config::parse(text, []).err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn rules_are_read() {
        let text = "[edge.geo]\ncountry_database = \"c.mmdb\"\n[edge.access]\ncountries_allow = [\"de\"]\naddresses_deny = [\"203.0.113.7\", \"2001:db8::/32\"]\n";
        let access = Config::parse(text, []).ok().and_then(|config| config.edge).expect("valid").access;
        assert_eq!(access.countries.allow, ["DE"]);
        let denied: Vec<_> = access.addresses.deny.iter().map(ToString::to_string).collect();
        assert_eq!(denied, ["203.0.113.7/32", "2001:db8::/32"]);
        assert!(!access.needs_token());
    }

    #[test]
    fn what_is_no_country_or_prefix_is_told() {
        let found = told(
            "[edge]\n[edge.access]\ncountries_deny = [\"DEU\"]\naddresses_allow = [\"10.0.0.0/33\", \"x\"]\n\
             unknown_country = \"maybe\"\n",
        );
        assert_eq!(found.len(), 5, "{found:?}");
        assert!(found[3].contains("unknown variant `maybe`"), "{found:?}");
        let found =
            told("[edge]\n[edge.access]\ncountries_deny = [\"DEU\"]\naddresses_allow = [\"10.0.0.0/33\", \"x\"]\n");
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found[3].contains("edge.geo.country_database: must name a database"), "{found:?}");
        assert!(found[0].contains("line 3: edge.access.countries_deny: \"DEU\" is no country"), "{found:?}");
        assert!(found[1].contains("line 4: edge.access.addresses_allow: \"10.0.0.0/33\" is no address"), "{found:?}");
    }
}
