//! What may be done with an answer of upstream: how long it is fresh, how long it may be shown after that, whether it may
//! be stored, and whether it may be shared at all (RFC 9111, RFC 9213, RFC 5861).

use crate::key::Class;
pub use crate::metrics::Unstored;
use config::Cache as Rules;
use http::header::{self, HeaderName};
use http::{HeaderMap, StatusCode};
use sfv::{BareItem, Dictionary, ListEntry, Parser};
use std::time::{Duration, SystemTime};

/// For how long an answer may be used, from its arrival on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    pub fresh: Duration,
    /// Shown while it is asked for anew, this much longer than it is fresh (RFC 5861, 3).
    pub while_revalidating: Duration,
    /// Shown while upstream fails, this much longer than it is fresh (RFC 5861, 4).
    pub if_error: Duration,
    /// Kept for its validator, this much longer than it is fresh.
    pub revalidate: Duration,
}

impl Lease {
    pub fn fresh(fresh: Duration) -> Self {
        Self { fresh, ..Self::default() }
    }

    /// How long there is any use for the answer.
    pub fn whole(&self) -> Duration {
        self.fresh + self.while_revalidating.max(self.if_error).max(self.revalidate)
    }
}

/// Nothing is trusted to stay the same for longer.
const YEAR: Duration = Duration::from_secs(31_536_000);
/// RFC 9213, 3.1.
pub const CDN_CACHE_CONTROL: &str = "cdn-cache-control";

/// Judges an answer of upstream.
///
/// # Errors
/// Why it must not be stored.
pub fn judge(rules: &Rules, status: StatusCode, headers: &HeaderMap, class: Class) -> Result<Lease, Unstored> {
    let said = Said::read(headers);
    if said.private {
        return Err(Unstored::Private);
    }
    if headers.contains_key(header::SET_COOKIE) && !said.shared() {
        return Err(Unstored::Cookie);
    }
    if varies(headers) {
        return Err(Unstored::Vary);
    }
    match status.as_u16() {
        200 => granted(rules, &said, headers, class),
        // A herd on a stream that is about to begin asks once, whatever the answer says of storing.
        404 | 410 => negative(rules.missing),
        _ if said.no_store => Err(Unstored::NoStore),
        400..500 => negative(rules.refused),
        500..600 => negative(rules.failed),
        _ => Err(Unstored::Status),
    }
}

/// How old the answer already was when it came (RFC 9111, 5.1).
pub fn age(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(header::AGE).and_then(|value| value.to_str().ok()?.trim().parse().ok()).unwrap_or(0);
    Duration::from_secs(seconds).min(YEAR)
}

/// Upstream's failures for which something stale may be shown (RFC 5861, 4).
pub fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

fn negative(life: Duration) -> Result<Lease, Unstored> {
    if life.is_zero() { Err(Unstored::Status) } else { Ok(Lease::fresh(life)) }
}

fn granted(rules: &Rules, said: &Said, headers: &HeaderMap, class: Class) -> Result<Lease, Unstored> {
    if said.no_store {
        return Err(Unstored::NoStore);
    }
    let life = said.lifetime(headers).unwrap_or_else(|| default(rules, class)).min(YEAR);
    let age = age(headers);
    let overdue = age.saturating_sub(life);
    let stale = |asked: Option<Duration>, silent: Duration, max: Duration| {
        let silent = if said.s_maxage.is_some() || life.is_zero() { Duration::ZERO } else { silent };
        // RFC 9111, 5.2.2.2, 5.2.2.4, 5.2.2.8: no answer of these without asking upstream first.
        let allowed = if said.revalidate || said.no_cache { Duration::ZERO } else { asked.unwrap_or(silent).min(max) };
        allowed.saturating_sub(overdue)
    };
    let validator = headers.contains_key(header::ETAG) || headers.contains_key(header::LAST_MODIFIED);
    let lease = Lease {
        fresh: if said.no_cache { Duration::ZERO } else { life.saturating_sub(age) },
        while_revalidating: stale(
            said.while_revalidating,
            rules.stale_while_revalidate,
            rules.stale_while_revalidate_max,
        ),
        if_error: stale(said.if_error, rules.stale_if_error, rules.stale_if_error_max),
        revalidate: if validator { rules.revalidate } else { Duration::ZERO },
    };
    if lease.whole().is_zero() { Err(Unstored::Useless) } else { Ok(lease) }
}

/// For origins that say nothing: media does not change under its name; of the rest little is known.
fn default(rules: &Rules, class: Class) -> Duration {
    match class {
        Class::Playlist | Class::Mpd => rules.playlist,
        Class::Init | Class::Segment | Class::Part => rules.media,
        Class::Other => rules.other,
    }
}

/// This node asks upstream for identity and passes on nothing of where a request came from, so for it these are
/// constants. By other fields an answer may differ in ways that it cannot know.
fn varies(headers: &HeaderMap) -> bool {
    const CONSTANT: [HeaderName; 4] = [
        header::ACCEPT_ENCODING,
        header::ORIGIN,
        header::ACCESS_CONTROL_REQUEST_HEADERS,
        header::ACCESS_CONTROL_REQUEST_METHOD,
    ];
    headers.get_all(header::VARY).iter().any(|value| {
        let mut fields = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        fields.any(|field| {
            !field.is_empty() && !CONSTANT.iter().any(|known| known.as_str().as_bytes().eq_ignore_ascii_case(field))
        })
    })
}

/// The directives of an answer, of the field that speaks to this node.
#[derive(Debug, Default)]
struct Said {
    /// `CDN-Cache-Control` decides, and nothing else (RFC 9213, 2.2).
    targeted: bool,
    no_store: bool,
    private: bool,
    public: bool,
    no_cache: bool,
    /// `must-revalidate` or `proxy-revalidate`.
    revalidate: bool,
    s_maxage: Option<Duration>,
    max_age: Option<Duration>,
    while_revalidating: Option<Duration>,
    if_error: Option<Duration>,
}

impl Said {
    fn read(headers: &HeaderMap) -> Self {
        Self::targeted(headers).unwrap_or_else(|| Self::untargeted(headers))
    }

    /// RFC 9213, 2.1: a structured field; empty or malformed, it is as if it were not there. A known directive with a value
    /// that is not of its type may have meant to forbid.
    fn targeted(headers: &HeaderMap) -> Option<Self> {
        let lines: Vec<&[u8]> = headers.get_all(CDN_CACHE_CONTROL).iter().map(|value| value.as_bytes()).collect();
        if lines.is_empty() {
            return None;
        }
        let directives: Dictionary = Parser::new(&lines.join(&b", "[..])).parse().ok()?;
        let mut said = Self { targeted: true, ..Self::default() };
        for (name, value) in &directives {
            let name = name.as_str();
            let item = if let ListEntry::Item(item) = value { Some(&item.bare_item) } else { None };
            match item {
                Some(BareItem::Boolean(true)) if is_flag(name) => said.flag(name),
                Some(BareItem::Boolean(false)) if is_flag(name) => {}
                Some(BareItem::String(_)) if matches!(name, "no-cache" | "private") => said.flag(name),
                Some(BareItem::Integer(seconds)) if is_seconds(name) => {
                    said.seconds(name, || u64::try_from(i64::from(*seconds)).unwrap_or(0));
                }
                _ => said.no_store |= is_flag(name) || is_seconds(name),
            }
        }
        (!directives.is_empty()).then_some(said)
    }

    fn untargeted(headers: &HeaderMap) -> Self {
        let mut said = Self::default();
        for value in headers.get_all(header::CACHE_CONTROL) {
            match value.to_str() {
                Ok(text) => directives(text).for_each(|directive| said.directive(directive)),
                // What cannot be read may have forbidden it.
                Err(_) => said.no_store = true,
            }
        }
        said
    }

    fn directive(&mut self, directive: &str) {
        let (name, value) = match directive.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim())),
            None => (directive, None),
        };
        let readable = is_token(name) && value.is_none_or(|value| is_token(value) || is_quoted(value));
        if !readable {
            // It may have been one that forbids.
            self.no_store |= !directive.is_empty();
            return;
        }
        let name = name.to_ascii_lowercase();
        self.flag(&name);
        self.seconds(&name, || delta_seconds(value.unwrap_or_default().trim_matches('"')));
    }

    fn flag(&mut self, name: &str) {
        match name {
            "no-store" => self.no_store = true,
            "private" => self.private = true,
            "public" => self.public = true,
            "no-cache" => self.no_cache = true,
            "must-revalidate" | "proxy-revalidate" => self.revalidate = true,
            _ => {}
        }
    }

    fn seconds(&mut self, name: &str, seconds: impl Fn() -> u64) {
        let of = match name {
            "s-maxage" => &mut self.s_maxage,
            "max-age" => &mut self.max_age,
            "stale-while-revalidate" => &mut self.while_revalidating,
            "stale-if-error" => &mut self.if_error,
            _ => return,
        };
        // RFC 9111, 4.2.1: of two that differ, the first.
        of.get_or_insert_with(|| Duration::from_secs(seconds()));
    }

    /// RFC 9111, 4.2.1. `None` where upstream says nothing.
    fn lifetime(&self, headers: &HeaderMap) -> Option<Duration> {
        self.s_maxage.or(self.max_age).or_else(|| if self.targeted { None } else { until_expiry(headers) })
    }

    /// Upstream says in so many words that a shared cache may have it.
    fn shared(&self) -> bool {
        self.targeted || self.public || self.s_maxage.is_some()
    }
}

/// `Expires` less `Date` (RFC 9111, 4.2.1). An `Expires` that is no date is in the past (5.3); one without `Date` is
/// passed over, as rules know no clock.
fn until_expiry(headers: &HeaderMap) -> Option<Duration> {
    let date = |name: HeaderName| headers.get(name).map(|value| httpdate::parse_http_date(value.to_str().ok()?).ok());
    let expires: Option<SystemTime> = date(header::EXPIRES)?;
    let Some(expires) = expires else { return Some(Duration::ZERO) };
    let now = date(header::DATE).flatten()?;
    Some(expires.duration_since(now).unwrap_or_default())
}

/// RFC 9111, 1.2.2: more than can be held is very long; what is no number counts as stale (4.2.1).
fn delta_seconds(value: &str) -> u64 {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    if digits { value.parse().unwrap_or(u64::MAX).min(YEAR.as_secs()) } else { 0 }
}

fn is_flag(name: &str) -> bool {
    matches!(name, "no-store" | "private" | "public" | "no-cache" | "must-revalidate" | "proxy-revalidate")
}

fn is_seconds(name: &str) -> bool {
    matches!(name, "s-maxage" | "max-age" | "stale-while-revalidate" | "stale-if-error")
}

/// RFC 9110, 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// RFC 9110, 5.6.4; nothing that this node reads has a quote within it.
fn is_quoted(text: &str) -> bool {
    text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).is_some_and(|inner| !inner.contains('"'))
}

/// The directives of a line; a comma inside quotes separates nothing.
fn directives(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |letter| {
        quoted ^= letter == '"';
        letter == ',' && !quoted
    })
    .map(str::trim)
}

#[cfg(test)]
#[path = "freshness_tests.rs"]
mod tests;
