//! Who may have what: one decision per request, made before anything is looked up.

pub mod bucket;
pub mod cat;
pub mod clients;
pub mod denial;
pub mod grant;
pub mod keys;
pub mod place;
pub mod signed_url;

use crate::client::Client;
use crate::key::is_ambiguous;
use crate::metrics::{Bound, Metrics, Verified};
use crate::request::{Method, Request};
use config::UnknownCountry;
use core::net::IpAddr;
use denial::Denial;
use grant::{Asked, Grant};
use ipnet::IpNet;
use keys::Keys;
use moka::notification::RemovalCause;
use place::{Parted, part};
use std::borrow::Cow;
use std::sync::Arc;

pub use geo::Country;

/// Where an address is, if anyone knows.
pub type Countries = Arc<dyn Fn(IpAddr) -> Option<Country> + Send + Sync>;

/// The rules of a node that has some.
pub struct Gate {
    /// `None` where no token is needed.
    tokens: Option<Tokens>,
    addresses: Rule<IpNet>,
    countries: Rule<Country>,
    unknown_country: UnknownCountry,
    locate: Countries,
    metrics: Arc<Metrics>,
}

struct Tokens {
    keys: Keys,
    /// By their text. Only tokens with a right signature come here, so nobody can fill it with others. That a look-up takes
    /// a different time for a known token tells nothing: whoever can send it has it.
    verified: moka::sync::Cache<Box<str>, Arc<Grant>>,
}

/// Denied goes before allowed; where nothing is allowed by name, everything is.
struct Rule<T> {
    allow: Vec<T>,
    deny: Vec<T>,
}

/// More than the longest token that fits a URL beside anything else.
pub const TOKEN_BYTES_MAX: usize = 2048;

impl Gate {
    /// `None` where the configuration has no rule: then a request costs nothing.
    pub fn new(config: &config::Access, locate: Countries, metrics: Arc<Metrics>) -> Option<Self> {
        let codes = |codes: &[String]| codes.iter().filter_map(|code| Country::new(code)).collect();
        let countries = Rule { allow: codes(&config.countries.allow), deny: codes(&config.countries.deny) };
        let addresses = Rule { allow: config.addresses.allow.clone(), deny: config.addresses.deny.clone() };
        if !config.needs_token() && countries.is_empty() && addresses.is_empty() {
            return None;
        }
        let tokens = config.needs_token().then(|| Tokens::new(config, metrics.clone()));
        Some(Self { tokens, addresses, countries, unknown_country: config.countries.unknown, locate, metrics })
    }

    /// Lets a request in, and gives back its target without a token. `target` is in its normal spelling, `now` in seconds
    /// since 1970.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn enter<'t>(
        &self,
        request: &'t Request,
        client: Client,
        target: Cow<'t, str>,
        now: u64,
    ) -> Result<Cow<'t, str>, Denial> {
        let (rest, admitted) = match target {
            Cow::Borrowed(target) => {
                let parted = self.part(target, request);
                let admitted = self.admit(request, client, &parted, now);
                (parted.target, admitted)
            }
            Cow::Owned(target) => {
                let parted = self.part(&target, request);
                let admitted = self.admit(request, client, &parted, now);
                (Cow::Owned(parted.target.into_owned()), admitted)
            }
        };
        admitted.inspect_err(|denial| self.metrics.denied(*denial))?;
        Ok(rest)
    }

    fn part<'t>(&self, target: &'t str, request: &'t Request) -> Parted<'t> {
        match self.tokens {
            Some(_) => part(target, request),
            None => Parted { target: Cow::Borrowed(target), token: None },
        }
    }

    fn admit(&self, request: &Request, client: Client, parted: &Parted<'_>, now: u64) -> Result<(), Denial> {
        let path = parted.target.split(['?', '#']).next().unwrap_or_default();
        // Whoever watches this node is no viewer, and a browser that asks whether it may ask has no token yet.
        if path.starts_with("/_vivid/") || request.method == Method::Options {
            return Ok(());
        }
        if !self.addresses.admits(|prefix| prefix.contains(&client.address)) {
            return Err(Denial::Address);
        }
        let country = || (self.locate)(client.address);
        if !self.countries.is_empty() && !self.serves(country()) {
            return Err(Denial::Country);
        }
        let Some(tokens) = &self.tokens else { return Ok(()) };
        // Upstream may decode what this node compares as it stands.
        if is_ambiguous(path) {
            return Err(Denial::Ambiguous);
        }
        let grant = tokens.grant(parted.token.ok_or(Denial::NoToken)?, &self.metrics)?;
        let asked = Asked {
            path,
            host: request.host(),
            secure: client.secure,
            method: request.method,
            address: client.address,
            country: &country,
        };
        grant.admit(&asked, now)
    }

    fn serves(&self, country: Option<Country>) -> bool {
        match country {
            Some(country) => self.countries.admits(|one| *one == country),
            None => self.unknown_country == UnknownCountry::Allow,
        }
    }
}

impl Tokens {
    fn new(config: &config::Access, metrics: Arc<Metrics>) -> Self {
        let evicted = move |_, _, cause| {
            if cause == RemovalCause::Size {
                metrics.bit(Bound::VerifiedTokens);
            }
        };
        let verified = moka::sync::Cache::builder().max_capacity(config.verified_tokens_max as u64);
        Self { keys: Keys::new(config), verified: verified.eviction_listener(evicted).build() }
    }

    fn grant(&self, token: &str, metrics: &Metrics) -> Result<Arc<Grant>, Denial> {
        if let Some(grant) = self.verified.get(token) {
            metrics.verified(Verified::Known);
            return Ok(grant);
        }
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Denial::Unreadable);
        }
        // No letter of base64url is a dot.
        let grant = match token.contains('.') {
            true => signed_url::verify(token, &self.keys)?,
            false => cat::verify(token, &self.keys)?,
        };
        metrics.verified(Verified::Now);
        let grant = Arc::new(grant);
        self.verified.insert(token.into(), grant.clone());
        Ok(grant)
    }
}

impl<T> Rule<T> {
    fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }

    fn admits(&self, fits: impl Fn(&T) -> bool) -> bool {
        !self.deny.iter().any(&fits) && (self.allow.is_empty() || self.allow.iter().any(fits))
    }
}

#[cfg(test)]
#[path = "access/tests.rs"]
mod tests;
