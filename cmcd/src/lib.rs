//! Common Media Client Data (CTA-5004, version 1): what a player says of itself in a query argument or in headers.
//!
//! Pure: text in, values out. Who sends it and what it is used for is not known here.

use std::fmt::Write;

/// What a request was for (`ot`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectType {
    Manifest,
    Audio,
    Video,
    Muxed,
    Init,
    Caption,
    TimedText,
    Key,
    Other,
}

/// The keys that Vivid uses. A key that is absent, unknown or malformed is `None`: players are not punished for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cmcd {
    /// `br`: encoded bitrate of the object, kbit/s.
    pub bitrate_kbps: Option<u32>,
    /// `bl`: buffer length, milliseconds.
    pub buffer_ms: Option<u32>,
    /// `bs`: the buffer ran empty since the last request.
    pub starved: bool,
    /// `mtp`: measured throughput, kbit/s.
    pub throughput_kbps: Option<u32>,
    /// `ot`.
    pub object: Option<ObjectType>,
    /// `sid`: the session, at most 64 characters.
    pub session: Option<String>,
    /// `su`: needed urgently, at start-up or after a seek or a stall.
    pub startup: bool,
}

/// The headers that carry CMCD when a query does not.
pub const HEADERS: [&str; 4] = ["cmcd-object", "cmcd-request", "cmcd-session", "cmcd-status"];

impl Cmcd {
    /// Reads the `CMCD` argument of a query (without its `?`); `None` without one.
    pub fn from_query(query: &str) -> Option<Self> {
        let encoded = query.split('&').find_map(|pair| pair.strip_prefix("CMCD="))?;
        Some(Self::parse([decode(encoded).as_str()]))
    }

    /// Reads the values of the four `CMCD-*` headers.
    pub fn from_headers<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        Self::parse(values)
    }

    fn parse<'a>(lists: impl IntoIterator<Item = &'a str>) -> Self {
        let mut cmcd = Self::default();
        for pair in lists.into_iter().flat_map(split_list).take(KEYS_MAX) {
            let (key, value) = pair.split_once('=').map_or((pair, None), |(key, value)| (key, Some(value)));
            cmcd.set(key.trim(), value.map(str::trim));
        }
        cmcd
    }

    fn set(&mut self, key: &str, value: Option<&str>) {
        let number = || value.and_then(|value| value.parse().ok());
        // 3.2: a key without a value means true.
        let flag = || value.is_none_or(|value| value == "true");
        match key {
            "br" => self.bitrate_kbps = number(),
            "bl" => self.buffer_ms = number(),
            "bs" => self.starved = flag(),
            "mtp" => self.throughput_kbps = number(),
            "ot" => self.object = value.and_then(ObjectType::from_token),
            "sid" => self.session = value.and_then(session),
            "su" => self.startup = flag(),
            _ => {}
        }
    }

    /// The value of a `CMCD` query argument: keys sorted, percent-encoded (3.1).
    pub fn to_query_value(&self) -> String {
        let mut pairs = Vec::new();
        let mut number = |key: &str, value: Option<u32>| pairs.extend(value.map(|value| format!("{key}={value}")));
        number("br", self.bitrate_kbps);
        number("bl", self.buffer_ms);
        number("mtp", self.throughput_kbps);
        pairs.extend(self.object.map(|object| format!("ot={}", object.token())));
        pairs.extend(self.session.as_ref().map(|session| format!("sid=\"{session}\"")));
        pairs.extend(self.starved.then(|| "bs".to_owned()));
        pairs.extend(self.startup.then(|| "su".to_owned()));
        pairs.sort();
        encode(&pairs.join(","))
    }
}

impl ObjectType {
    pub fn token(self) -> &'static str {
        TOKENS.iter().find(|(_, object)| *object == self).map_or("o", |(token, _)| token)
    }

    fn from_token(token: &str) -> Option<Self> {
        TOKENS.iter().find(|(known, _)| *known == token).map(|(_, object)| *object)
    }
}

/// Splits at commas outside quoted strings.
fn split_list(list: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    list.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
}

fn session(value: &str) -> Option<String> {
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    (!inner.is_empty() && inner.chars().count() <= 64 && !inner.contains(['"', '\\'])).then(|| inner.to_owned())
}

/// Percent-decoding; what is no valid escape stays as it is, bytes that are no UTF-8 become U+FFFD.
fn decode(encoded: &str) -> String {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let [byte, tail @ ..] = rest {
        let escape = (*byte == b'%').then(|| tail.split_first_chunk::<2>()).flatten();
        let value = escape.and_then(|(hex, _)| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (value, escape) {
            (Some(value), Some((_, after))) => {
                bytes.push(value);
                rest = after;
            }
            _ => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len() * 2), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// More keys than the standard has, with room for a vendor's own.
const KEYS_MAX: usize = 64;

const TOKENS: [(&str, ObjectType); 9] = [
    ("m", ObjectType::Manifest),
    ("a", ObjectType::Audio),
    ("v", ObjectType::Video),
    ("av", ObjectType::Muxed),
    ("i", ObjectType::Init),
    ("c", ObjectType::Caption),
    ("tt", ObjectType::TimedText),
    ("k", ObjectType::Key),
    ("o", ObjectType::Other),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_of_hls_js_is_read() {
        let query =
            "_HLS_msn=3&CMCD=bl%3D2100%2Cbr%3D1200%2Cbs%2Cmtp%3D25400%2Cot%3Dv%2Csf%3Dh%2Csid%3D%22a%2Cb%22%2Csu&x=1";
        let expected = Cmcd {
            bitrate_kbps: Some(1200),
            buffer_ms: Some(2100),
            starved: true,
            throughput_kbps: Some(25_400),
            object: Some(ObjectType::Video),
            session: Some("a,b".to_owned()),
            startup: true,
        };
        assert_eq!(Cmcd::from_query(query), Some(expected));
        assert_eq!(Cmcd::from_query("x=1"), None);
    }

    #[test]
    fn headers_are_read_as_one() {
        let cmcd = Cmcd::from_headers(["br=3200,ot=av", "bl=400, su", "sid=\"s\"", "bs=false"]);
        assert_eq!(
            (cmcd.bitrate_kbps, cmcd.buffer_ms, cmcd.starved, cmcd.startup),
            (Some(3200), Some(400), false, true)
        );
    }

    #[test]
    fn what_is_rendered_is_read_back() {
        let cmcd = Cmcd {
            bitrate_kbps: Some(1),
            starved: true,
            object: Some(ObjectType::TimedText),
            session: Some("a b%=é".to_owned()),
            ..Cmcd::default()
        };
        assert_eq!(Cmcd::from_query(&format!("CMCD={}", cmcd.to_query_value())), Some(cmcd));
    }

    #[test]
    fn malformed_values_are_left_out() {
        for query in ["CMCD=br%3D-1", "CMCD=br%3Dx%2Cot%3Dzz%2Csid%3Dunquoted", "CMCD=", "CMCD=%", "CMCD=%zz%2"] {
            assert_eq!(Cmcd::from_query(query), Some(Cmcd::default()), "{query}");
        }
        let long = format!("CMCD=sid%3D%22{}%22", "x".repeat(65));
        assert_eq!(Cmcd::from_query(&long), Some(Cmcd::default()));
    }
}
