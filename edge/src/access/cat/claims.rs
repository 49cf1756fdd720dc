//! The claims of a Common Access Token as a grant. A claim that is not known may be a limit, so it refuses the token.

use super::super::denial::Denial;
use super::super::grant::{Grant, How, Part, UrlRule};
use super::untagged;
use crate::request::Method;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use coset::cbor::value::Value;
use geo::Country;
use ipnet::IpNet;

/// RFC 8392, 4, and CTA-5007, as registered with IANA.
const ISS: i128 = 1;
const SUB: i128 = 2;
const AUD: i128 = 3;
const EXP: i128 = 4;
const NBF: i128 = 5;
const IAT: i128 = 6;
const CTI: i128 = 7;
const CATREPLAY: i128 = 308;
const CATV: i128 = 310;
const CATNIP: i128 = 311;
const CATU: i128 = 312;
const CATM: i128 = 313;
const CATGEOISO3166: i128 = 316;
const CATIF: i128 = 322;
const CATR: i128 = 323;

/// The version of CTA-5007 that is known.
const VERSION: i128 = 1;
/// RFC 9164.
const IPV4: u64 = 52;
const IPV6: u64 = 54;
/// RFC 8949, 3.4.2: seconds since 1970.
const EPOCH_TIME: u64 = 1;

pub(super) fn grant(claims: Value, audience: &str) -> Result<Grant, Denial> {
    let Value::Map(claims) = claims else { return Err(Denial::Unreadable) };
    let mut seen = Vec::with_capacity(claims.len());
    let mut grant =
        Grant { not_before: 0, expires: 0, url: Vec::new(), methods: None, addresses: None, countries: None };
    for (name, value) in claims {
        // A claim with a name of its own is nobody's standard.
        let name = integer(&name).ok_or(Denial::Claim)?;
        if seen.contains(&name) {
            return Err(Denial::Unreadable);
        }
        seen.push(name);
        match name {
            EXP => grant.expires = seconds(value)?,
            NBF => grant.not_before = seconds(value)?,
            AUD => names(value, audience)?,
            CATV if integer(&value) == Some(VERSION) => {}
            CATU => grant.url = url_rules(value)?,
            CATM => grant.methods = Some(methods(value)?),
            CATNIP => grant.addresses = Some(prefixes(value)?),
            CATGEOISO3166 => grant.countries = Some(countries(value)?),
            // 0 is that it may be used again and again.
            CATREPLAY if integer(&value) == Some(0) => {}
            // Who issued it to whom and when, and how to renew it or what to say when it fails: no limits.
            ISS | SUB | IAT | CTI | CATIF | CATR => {}
            _ => return Err(Denial::Claim),
        }
    }
    // Without an end, a token that gets into wrong hands can only be ended by taking its key out.
    if seen.contains(&EXP) { Ok(grant) } else { Err(Denial::Claim) }
}

fn integer(value: &Value) -> Option<i128> {
    value.as_integer().map(i128::from)
}

/// RFC 8392, 2: an integer or a float. What lies before 1970 is 0.
fn seconds(value: Value) -> Result<u64, Denial> {
    match untagged(EPOCH_TIME, value) {
        Value::Integer(seconds) => Ok(i128::from(seconds).clamp(0, i128::from(u64::MAX)) as u64),
        // The cast saturates.
        Value::Float(seconds) if seconds.is_finite() => Ok(seconds as u64),
        _ => Err(Denial::Unreadable),
    }
}

/// RFC 8392, 3.1.3: who is not named must refuse it.
fn names(value: Value, audience: &str) -> Result<(), Denial> {
    let is = |value: &Value| value.as_text().is_some_and(|text| !audience.is_empty() && text == audience);
    let named = match &value {
        Value::Array(values) => values.iter().any(is),
        value => is(value),
    };
    if named { Ok(()) } else { Err(Denial::Claim) }
}

/// Parts of a URL, each with one or more ways in which it must match.
fn url_rules(value: Value) -> Result<Vec<UrlRule>, Denial> {
    let mut rules = Vec::new();
    for (part, matches) in map(value)? {
        let part = match integer(&part) {
            Some(0) => Part::Scheme,
            Some(1) => Part::Host,
            Some(3) => Part::Path,
            Some(8) => Part::Extension,
            // Port, query, parent path, file name, stem.
            _ => return Err(Denial::Claim),
        };
        for (how, text) in map(matches)? {
            let how = match integer(&how) {
                Some(0) => How::Exact,
                Some(1) => How::Prefix,
                Some(2) => How::Suffix,
                Some(3) => How::Contains,
                // Regular expressions and hashes.
                _ => return Err(Denial::Claim),
            };
            let text = text.into_text().map_err(|_| Denial::Unreadable)?.into();
            rules.push(UrlRule { part, how, text });
        }
    }
    Ok(rules)
}

fn methods(value: Value) -> Result<Vec<Method>, Denial> {
    array(value)?.iter().map(|name| name.as_text().map(Method::read).ok_or(Denial::Unreadable)).collect()
}

/// Addresses and prefixes (RFC 9164, 3). Numbers of networks are passed over: nobody is admitted by them.
fn prefixes(value: Value) -> Result<Vec<IpNet>, Denial> {
    let mut found = Vec::new();
    for value in array(value)? {
        match value {
            Value::Tag(family @ (IPV4 | IPV6), value) => found.push(prefix(family, *value).ok_or(Denial::Unreadable)?),
            Value::Integer(_) => {}
            _ => return Err(Denial::Claim),
        }
    }
    Ok(found)
}

/// An address as bytes, or a prefix as its length and the bytes without zeros at the end.
fn prefix(family: u64, value: Value) -> Option<IpNet> {
    match value {
        Value::Bytes(bytes) => address(family, &bytes, false).map(IpNet::from),
        Value::Array(pair) => match <[Value; 2]>::try_from(pair).ok()? {
            [Value::Integer(length), Value::Bytes(bytes)] => {
                IpNet::new(address(family, &bytes, true)?, u8::try_from(i128::from(length)).ok()?).ok()
            }
            _ => None,
        },
        _ => None,
    }
}

fn address(family: u64, bytes: &[u8], cut: bool) -> Option<IpAddr> {
    let size = if family == IPV4 { 4 } else { 16 };
    if bytes.len() > size || (bytes.len() < size && !cut) {
        return None;
    }
    let mut octets = [0; 16];
    octets[..bytes.len()].copy_from_slice(bytes);
    let [a, b, c, d, ..] = octets;
    Some(if family == IPV4 { Ipv4Addr::new(a, b, c, d).into() } else { Ipv6Addr::from(octets).into() })
}

/// Subdivisions such as `US-CA` admit nobody: what is known of a viewer is a country.
fn countries(value: Value) -> Result<Vec<Country>, Denial> {
    let mut found = Vec::new();
    for code in array(value)? {
        found.extend(Country::new(code.as_text().ok_or(Denial::Unreadable)?));
    }
    Ok(found)
}

fn map(value: Value) -> Result<Vec<(Value, Value)>, Denial> {
    value.into_map().map_err(|_| Denial::Unreadable)
}

fn array(value: Value) -> Result<Vec<Value>, Denial> {
    value.into_array().map_err(|_| Denial::Unreadable)
}
