//! Tokens of signed URLs: a few lines of text and their HMAC-SHA256, both in base64url, with a dot between them.
//!
//! The lines are `k=` key id, `e=` expiry in seconds since 1970, `p=` path, and, where they limit, `a=` address or prefix
//! and `c=` countries. What is signed is the very text that is sent, so there is no second spelling of a token.

use super::denial::Denial;
use super::grant::{Grant, How, Part, UrlRule};
use super::keys::Keys;
use crate::key::normalized;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use core::net::IpAddr;
use geo::Country;
use ipnet::IpNet;
use ring::hmac;

/// What a URL is signed for.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims {
    pub key: String,
    /// In seconds since 1970.
    pub expires: u64,
    /// This path and all below it, in its normal spelling.
    pub path: String,
    pub address: Option<IpNet>,
    pub countries: Vec<Country>,
}

impl Claims {
    /// The token. The same claims and key give the same token.
    pub fn sign(&self, key: &hmac::Key) -> String {
        let signed = URL_SAFE_NO_PAD.encode(self.text());
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(key, signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    /// The lines of a token.
    pub fn text(&self) -> String {
        let mut text = format!("k={}\ne={}\np={}", self.key, self.expires, self.path);
        if let Some(address) = self.address {
            let whole = address.prefix_len() == address.max_prefix_len();
            text += &if whole { format!("\na={}", address.addr()) } else { format!("\na={address}") };
        }
        if !self.countries.is_empty() {
            let codes: Vec<String> = self.countries.iter().map(ToString::to_string).collect();
            text += &format!("\nc={}", codes.join(","));
        }
        text
    }

    /// Reads the lines of a token.
    ///
    /// # Errors
    /// `Unreadable`, or `Claim` for a line of another name, which may be a limit.
    pub fn read(text: &str) -> Result<Self, Denial> {
        let (mut key, mut expires, mut path, mut address, mut countries) = (None, None, None, None, None);
        for line in text.split('\n') {
            let (name, value) = line.split_once('=').ok_or(Denial::Unreadable)?;
            match name {
                "k" => once(&mut key, Some(value.to_owned()))?,
                "e" => once(&mut expires, seconds(value))?,
                "p" => once(&mut path, value.starts_with('/').then(|| value.to_owned()))?,
                "a" => once(&mut address, prefix(value))?,
                "c" => once(&mut countries, value.split(',').map(Country::new).collect())?,
                _ => return Err(Denial::Claim),
            }
        }
        let missing = Denial::Unreadable;
        Ok(Self {
            key: key.ok_or(missing)?,
            expires: expires.ok_or(missing)?,
            path: path.ok_or(missing)?,
            address,
            countries: countries.unwrap_or_default(),
        })
    }

    fn grant(self) -> Grant {
        Grant {
            not_before: 0,
            expires: self.expires,
            url: vec![UrlRule { part: Part::Path, how: How::Below, text: normalized(&self.path).into() }],
            methods: None,
            addresses: self.address.map(|address| vec![address]),
            countries: (!self.countries.is_empty()).then_some(self.countries),
        }
    }
}

/// Verifies a token.
///
/// # Errors
/// `Unreadable`, `UnknownKey`, `Signature` or `Claim`.
pub fn verify(token: &str, keys: &Keys) -> Result<Grant, Denial> {
    let (signed, signature) = token.split_once('.').ok_or(Denial::Unreadable)?;
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| Denial::Unreadable);
    let text = String::from_utf8(decode(signed)?).map_err(|_| Denial::Unreadable)?;
    let claims = Claims::read(&text)?;
    let key = keys.url(&claims.key).ok_or(Denial::UnknownKey)?;
    // In constant time.
    hmac::verify(key, signed.as_bytes(), &decode(signature)?).map_err(|_| Denial::Signature)?;
    Ok(claims.grant())
}

/// A line that stands there twice means two things.
fn once<T>(place: &mut Option<T>, value: Option<T>) -> Result<(), Denial> {
    if place.is_some() || value.is_none() {
        return Err(Denial::Unreadable);
    }
    *place = value;
    Ok(())
}

fn seconds(value: &str) -> Option<u64> {
    value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok())?
}

/// An address, or a prefix such as `203.0.113.0/24`.
pub fn prefix(value: &str) -> Option<IpNet> {
    value.parse().ok().or_else(|| value.parse::<IpAddr>().ok().map(IpNet::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn keys() -> Keys {
        let text = format!(
            "[edge]\n[edge.access]\nurl_keys = [{{ id = \"new\", secret = \"{SECRET}\" }}, \
             {{ id = \"old\", secret = \"{}\" }}]\n",
            "ff".repeat(32)
        );
        Keys::new(&config::Config::parse(&text, []).unwrap().edge.unwrap().access)
    }

    fn claims(key: &str) -> Claims {
        Claims {
            key: key.to_owned(),
            expires: 2000,
            path: "/live/demo/".to_owned(),
            address: None,
            countries: Vec::new(),
        }
    }

    fn signed(claims: &Claims) -> String {
        claims.sign(keys().url(&claims.key).unwrap())
    }

    #[test]
    fn what_was_signed_is_what_is_granted() {
        let limited = Claims {
            address: Some("203.0.113.0/24".parse().unwrap()),
            countries: vec![Country::new("DE").unwrap(), Country::new("AT").unwrap()],
            ..claims("old")
        };
        for claims in [claims("new"), limited] {
            let token = signed(&claims);
            assert_eq!(verify(&token, &keys()), Ok(claims.clone().grant()), "{token}");
            // RFC 3986, 2.3: nothing of it needs encoding anywhere in a URL.
            assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)), "{token}");
        }
    }

    #[test]
    fn a_token_is_stable_and_another_hand_can_make_it() {
        let text = "k=new\ne=2000\np=/live/demo/";
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef].repeat(4));
        let signed_text = URL_SAFE_NO_PAD.encode(text);
        let expected = format!("{signed_text}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed_text.as_bytes())));
        assert_eq!(signed(&claims("new")), expected);
    }

    #[test]
    fn no_byte_of_a_token_can_be_changed() {
        let token = signed(&claims("new"));
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(bytes).unwrap();
            assert!(verify(&forged, &keys()).is_err(), "{forged}");
        }
        let other = Claims { key: "old".to_owned(), ..claims("new") }.sign(keys().url("new").unwrap());
        assert_eq!(verify(&other, &keys()), Err(Denial::Signature), "a key's id is bound to its secret");
    }

    #[test]
    fn what_cannot_be_read_says_so() {
        let keys = keys();
        let sign = |text: &str| {
            let signed = URL_SAFE_NO_PAD.encode(text);
            let signature = URL_SAFE_NO_PAD.encode(hmac::sign(keys.url("new").unwrap(), signed.as_bytes()));
            format!("{signed}.{signature}")
        };
        for (text, expected) in [
            ("k=new\ne=1\np=/\nx=1", Denial::Claim),
            ("k=gone\ne=1\np=/", Denial::UnknownKey),
            ("k=new\ne=1", Denial::Unreadable),
            ("k=new\ne=+1\np=/", Denial::Unreadable),
            ("k=new\ne=99999999999999999999\np=/", Denial::Unreadable),
            ("k=new\ne=1\np=live", Denial::Unreadable),
            ("k=new\ne=1\np=/\np=/live", Denial::Unreadable),
            ("k=new\ne=1\np=/\na=10.0.0.0/33", Denial::Unreadable),
            ("k=new\ne=1\np=/\nc=DE,", Denial::Unreadable),
            ("k=new\ne=1\np=/\n", Denial::Unreadable),
            ("", Denial::Unreadable),
        ] {
            assert_eq!(verify(&sign(text), &keys), Err(expected), "{text:?}");
        }
        for token in ["", ".", "a.b", "é.é", "azE", "azE.azE.azE"] {
            assert_eq!(verify(token, &keys), Err(Denial::Unreadable), "{token:?}");
        }
    }
}
