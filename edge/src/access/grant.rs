//! What a verified token allows, and whether a request is within it: rules over values, whatever the token looked like.

use super::denial::Denial;
use crate::request::Method;
use core::net::IpAddr;
use geo::Country;
use ipnet::IpNet;

/// A request as far as a token may limit it.
pub struct Asked<'a> {
    /// In its normal spelling, without a token.
    pub path: &'a str,
    /// As the client named it, without a port; empty where it named none.
    pub host: &'a str,
    /// Whether it came over TLS.
    pub secure: bool,
    pub method: Method,
    pub address: IpAddr,
    /// Looked up only where a rule depends on it.
    pub country: &'a dyn Fn() -> Option<Country>,
}

/// What a token allows. Limits that are absent do not limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// In seconds since 1970.
    pub not_before: u64,
    /// The first second at which it is of no use any more.
    pub expires: u64,
    pub url: Vec<UrlRule>,
    pub methods: Option<Vec<Method>>,
    pub addresses: Option<Vec<IpNet>>,
    pub countries: Option<Vec<Country>>,
}

/// One part of a URL must look like this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlRule {
    pub part: Part,
    pub how: How,
    pub text: Box<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Scheme,
    Host,
    Path,
    /// From the last dot of the last segment, the dot included; empty where there is none.
    Extension,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Exact,
    Prefix,
    Suffix,
    Contains,
    /// This very path, or one below it: a prefix that ends where a segment does.
    Below,
}

impl Grant {
    /// `now` in seconds since 1970.
    ///
    /// # Errors
    /// The first limit that the request is not within.
    pub fn admit(&self, asked: &Asked<'_>, now: u64) -> Result<(), Denial> {
        if now < self.not_before {
            return Err(Denial::Early);
        }
        if now >= self.expires {
            return Err(Denial::Expired);
        }
        if !self.url.iter().all(|rule| rule.fits(asked)) {
            return Err(Denial::Elsewhere);
        }
        if self.methods.as_ref().is_some_and(|methods| !methods.contains(&asked.method)) {
            return Err(Denial::Method);
        }
        if self.addresses.as_ref().is_some_and(|prefixes| !prefixes.iter().any(|one| one.contains(&asked.address))) {
            return Err(Denial::AddressOfToken);
        }
        if let Some(countries) = &self.countries
            && !(asked.country)().is_some_and(|country| countries.contains(&country))
        {
            return Err(Denial::CountryOfToken);
        }
        Ok(())
    }
}

impl UrlRule {
    fn fits(&self, asked: &Asked<'_>) -> bool {
        let value = match self.part {
            Part::Scheme if asked.secure => "https",
            Part::Scheme => "http",
            Part::Host => asked.host,
            Part::Path => asked.path,
            Part::Extension => extension(asked.path),
        };
        let text = &*self.text;
        if matches!(self.part, Part::Scheme | Part::Host) {
            // RFC 3986, 6.2.2.1: neither knows upper and lower case.
            return self.how.fits(&value.to_ascii_lowercase(), &text.to_ascii_lowercase());
        }
        self.how.fits(value, text)
    }
}

impl How {
    /// Both in their normal spelling.
    pub fn fits(self, value: &str, text: &str) -> bool {
        match self {
            Self::Exact => value == text,
            Self::Prefix => value.starts_with(text),
            Self::Suffix => value.ends_with(text),
            Self::Contains => value.contains(text),
            Self::Below => value
                .strip_prefix(text)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || text.ends_with('/')),
        }
    }
}

fn extension(path: &str) -> &str {
    let file = path.rfind('/').map_or(path, |slash| &path[slash + 1..]);
    file.rfind('.').map_or("", |dot| &file[dot..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn open() -> Grant {
        Grant {
            not_before: NOW - 10,
            expires: NOW + 10,
            url: Vec::new(),
            methods: None,
            addresses: None,
            countries: None,
        }
    }

    fn judge(grant: &Grant, path: &str) -> Result<(), Denial> {
        let asked = Asked {
            path,
            host: "Edge.example",
            secure: true,
            method: Method::Get,
            address: "203.0.113.7".parse().unwrap(),
            country: &|| Country::new("de"),
        };
        grant.admit(&asked, NOW)
    }

    #[test]
    fn time_is_from_the_first_second_to_before_the_last() {
        for (not_before, expires, expected) in [
            (NOW, NOW + 1, Ok(())),
            (NOW + 1, NOW + 2, Err(Denial::Early)),
            (0, NOW, Err(Denial::Expired)),
            (0, u64::MAX, Ok(())),
        ] {
            assert_eq!(judge(&Grant { not_before, expires, ..open() }, "/"), expected);
        }
    }

    #[test]
    fn every_rule_about_the_url_must_fit() {
        let path = "/live/demo/720p/12.3.m4s";
        for (part, how, text, fits) in [
            (Part::Scheme, How::Exact, "HTTPS", true),
            (Part::Scheme, How::Exact, "http", false),
            (Part::Host, How::Suffix, ".example", true),
            (Part::Host, How::Exact, "edge.example", true),
            (Part::Path, How::Prefix, "/live/de", true),
            (Part::Path, How::Prefix, "/live/x", false),
            (Part::Path, How::Contains, "/720p/", true),
            (Part::Path, How::Contains, "/720P/", false),
            (Part::Extension, How::Exact, ".m4s", true),
            (Part::Extension, How::Exact, "m4s", false),
            (Part::Path, How::Below, "/live/demo", true),
            (Part::Path, How::Below, "/live/demo/", true),
            (Part::Path, How::Below, "/live/de", false),
            (Part::Path, How::Below, path, true),
            (Part::Path, How::Below, "/", true),
        ] {
            let rule = UrlRule { part, how, text: text.into() };
            let first = UrlRule { part: Part::Path, how: How::Prefix, text: "/".into() };
            let grant = Grant { url: vec![first, rule.clone()], ..open() };
            assert_eq!(judge(&grant, path).is_ok(), fits, "{rule:?}");
        }
        assert_eq!(extension("/a.b/c"), "");
    }

    #[test]
    fn method_address_and_country_limit_where_they_are_named() {
        let nets = |text: &str| Some(vec![text.parse().unwrap()]);
        for (grant, expected) in [
            (Grant { methods: Some(vec![Method::Head]), ..open() }, Err(Denial::Method)),
            (Grant { methods: Some(vec![Method::Head, Method::Get]), ..open() }, Ok(())),
            (Grant { addresses: nets("203.0.113.0/24"), ..open() }, Ok(())),
            (Grant { addresses: nets("2001:db8::/32"), ..open() }, Err(Denial::AddressOfToken)),
            (Grant { addresses: Some(Vec::new()), ..open() }, Err(Denial::AddressOfToken)),
            (Grant { countries: Some(vec![Country::new("DE").unwrap()]), ..open() }, Ok(())),
            (Grant { countries: Some(vec![Country::new("FR").unwrap()]), ..open() }, Err(Denial::CountryOfToken)),
        ] {
            assert_eq!(judge(&grant, "/"), expected, "{grant:?}");
        }
    }
}
