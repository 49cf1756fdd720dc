//! Common Media Client Data (CTA-5004, versions 1 and 2): what a player says of itself in a query argument, in headers or in
//! a report of its own.
//!
//! Pure: text in, values out. Who sends it and what it is used for is not known here.

mod token;

pub use token::{Event, Format, ObjectType, State, StreamType};

use std::fmt::Write;

/// The keys that Vivid uses. A key that is absent, unknown or malformed is `None`: players are not punished for it.
///
/// Version 2 gives several keys as lists, with an item for each object type: what counts here is the item of the
/// request's own type, else the first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cmcd {
    /// `v`; 1 where it is absent.
    pub version: Option<u32>,
    /// `br`: encoded bitrate of the object, kbit/s.
    pub bitrate_kbps: Option<u32>,
    /// `bl`: buffer length, milliseconds.
    pub buffer_ms: Option<u32>,
    /// `bs`: the buffer ran empty since the last request.
    pub starved: bool,
    /// `bsd`: how long that lasted, milliseconds (version 2).
    pub starved_ms: Option<u32>,
    /// `e`: why this is reported (version 2, event mode).
    pub event: Option<Event>,
    /// `ltc`: behind the live edge, milliseconds (version 2).
    pub latency_ms: Option<u32>,
    /// `msd`: from the wish to play to the first picture, milliseconds (version 2).
    pub start_delay_ms: Option<u32>,
    /// `mtp`: measured throughput, kbit/s.
    pub throughput_kbps: Option<u32>,
    /// `ot`.
    pub object: Option<ObjectType>,
    /// `pr`: playback rate, in hundredths of real time.
    pub rate_percent: Option<u32>,
    /// `rtp`: the throughput that is enough, kbit/s.
    pub requested_kbps: Option<u32>,
    /// `sf`.
    pub format: Option<Format>,
    /// `sid`: the session, at most 64 characters.
    pub session: Option<String>,
    /// `st`.
    pub stream: Option<StreamType>,
    /// `sta` (version 2).
    pub state: Option<State>,
    /// `tb`: the highest bitrate that the player may choose, kbit/s.
    pub top_kbps: Option<u32>,
    /// `su`: needed urgently, at start-up or after a seek or a stall.
    pub startup: bool,
    /// Keys above that came with no value of theirs, or with one that nobody can mean.
    pub malformed: u32,
}

/// The headers that carry CMCD when a query does not.
pub const HEADERS: [&str; 4] = ["cmcd-object", "cmcd-request", "cmcd-session", "cmcd-status"];
/// Reports of one body; players send a few at a time.
pub const EVENTS_MAX: usize = 256;

impl Cmcd {
    /// Reads the `CMCD` argument of a query (without its `?`); `None` without one.
    pub fn from_query(query: &str) -> Option<Self> {
        let encoded = query.split('&').find_map(|pair| pair.strip_prefix("CMCD="))?;
        Some(Self::parse(&[decode(encoded).as_str()]))
    }

    /// Reads the values of the four `CMCD-*` headers.
    pub fn from_headers<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        Self::parse(&values.into_iter().collect::<Vec<_>>())
    }

    /// Reads the reports of event mode (CTA-5004-B): one in each line. Lines beyond [`EVENTS_MAX`] are left out.
    pub fn from_events(body: &str) -> impl Iterator<Item = Self> {
        let lines = body.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.take(EVENTS_MAX).map(|line| Self::parse(&[line]))
    }

    fn parse(lists: &[&str]) -> Self {
        let pairs = || {
            let pairs = lists.iter().flat_map(|list| split_list(list)).take(KEYS_MAX);
            pairs.map(|pair| {
                let (key, value) = pair.split_once('=').map_or((pair, None), |(key, value)| (key, Some(value)));
                (key.trim(), value.map(str::trim))
            })
        };
        let object = pairs().find_map(|(key, value)| ObjectType::from_token(value.filter(|_| key == "ot")?));
        let mut cmcd = Self { object, ..Self::default() };
        for (key, value) in pairs() {
            if cmcd.set(key, value).is_none() {
                cmcd.malformed += 1;
            }
        }
        cmcd
    }

    /// `None` if the value is none of the key's.
    fn set(&mut self, key: &str, value: Option<&str>) -> Option<()> {
        let object = self.object;
        let kbps = || number(value?, object, KBPS_MAX);
        let ms = || number(value?, object, MS_MAX);
        match key {
            "v" => self.version = Some(number(value?, None, 9)?),
            "br" => self.bitrate_kbps = Some(kbps()?),
            "bl" => self.buffer_ms = Some(ms()?),
            "bs" => self.starved = flag(value)?,
            "bsd" => self.starved_ms = Some(sum(value?)?),
            "e" => self.event = Some(Event::from_token(value?)?),
            "ltc" => self.latency_ms = Some(ms()?),
            "msd" => self.start_delay_ms = Some(ms()?),
            "mtp" => self.throughput_kbps = Some(kbps()?),
            "ot" => return self.object.map(|_| ()),
            "pr" => self.rate_percent = Some(percent(value?)?),
            "rtp" => self.requested_kbps = Some(kbps()?),
            "sf" => self.format = Some(Format::from_token(value?)?),
            "sid" => self.session = Some(session(value?)?),
            "st" => self.stream = Some(StreamType::from_token(value?)?),
            "sta" => self.state = Some(State::from_token(value?)?),
            "su" => self.startup = flag(value)?,
            "tb" => self.top_kbps = Some(kbps()?),
            _ => {}
        }
        Some(())
    }

    /// Whether nothing was understood.
    pub fn is_empty(&self) -> bool {
        Self { malformed: 0, ..self.clone() } == Self::default()
    }

    /// The value of a `CMCD` query argument: keys sorted, percent-encoded (3.1).
    pub fn to_query_value(&self) -> String {
        let mut pairs = Vec::new();
        let mut number = |key: &str, value: Option<u32>| pairs.extend(value.map(|value| format!("{key}={value}")));
        number("v", self.version);
        number("br", self.bitrate_kbps);
        number("bl", self.buffer_ms);
        number("bsd", self.starved_ms);
        number("ltc", self.latency_ms);
        number("msd", self.start_delay_ms);
        number("mtp", self.throughput_kbps);
        number("rtp", self.requested_kbps);
        number("tb", self.top_kbps);
        let mut token = |key: &str, token: Option<&str>| pairs.extend(token.map(|token| format!("{key}={token}")));
        token("e", self.event.map(Event::token));
        token("ot", self.object.map(ObjectType::token));
        token("sf", self.format.map(Format::token));
        token("st", self.stream.map(StreamType::token));
        token("sta", self.state.map(State::token));
        pairs.extend(self.rate_percent.map(|percent| format!("pr={}.{:02}", percent / 100, percent % 100)));
        pairs.extend(self.session.as_ref().map(|session| format!("sid=\"{session}\"")));
        pairs.extend(self.starved.then(|| "bs".to_owned()));
        pairs.extend(self.startup.then(|| "su".to_owned()));
        pairs.sort();
        encode(&pairs.join(","))
    }
}

/// A number, or the item of a list that is for `object`, else its first: `2000`, `(2000;v 1500;a)`.
fn number(value: &str, object: Option<ObjectType>, max: u32) -> Option<u32> {
    let mut first = None;
    for item in items(value) {
        let mut parts = item.split(';');
        let number = parts.next()?.parse().ok().filter(|number| *number <= max)?;
        if object.is_some_and(|object| parts.any(|part| part == object.token())) {
            return Some(number);
        }
        first = first.or(Some(number));
    }
    first
}

/// All items of a list of milliseconds.
fn sum(value: &str) -> Option<u32> {
    let mut items = items(value).peekable();
    items.peek()?;
    let numbers = items.map(|item| item.split(';').next()?.parse().ok());
    let sum = numbers.take(ITEMS_MAX).try_fold(0_u32, |sum, number: Option<u32>| sum.checked_add(number?));
    sum.filter(|sum| *sum <= MS_MAX)
}

/// The items of an inner list (RFC 9651, 3.1.1), or the one that stands alone.
fn items(value: &str) -> impl Iterator<Item = &str> {
    let inner = value.strip_prefix('(').and_then(|value| value.strip_suffix(')')).unwrap_or(value);
    inner.split_ascii_whitespace().take(ITEMS_MAX)
}

/// 3.2: a key without a value means true.
fn flag(value: Option<&str>) -> Option<bool> {
    match value {
        None | Some("true" | "?1") => Some(true),
        Some("false" | "?0") => Some(false),
        Some(_) => None,
    }
}

/// A playback rate, in hundredths.
fn percent(value: &str) -> Option<u32> {
    let rate: f64 = value.parse().ok()?;
    (0.0..=RATE_MAX).contains(&rate).then(|| (rate * 100.0).round() as u32)
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
/// An item for each object type, with room.
const ITEMS_MAX: usize = 16;
/// 10 Gbit/s: no viewer's connection brings more, and nobody's average is worth a number beyond.
const KBPS_MAX: u32 = 10_000_000;
/// A day.
const MS_MAX: u32 = 86_400_000;
const RATE_MAX: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_of_hls_js_is_read() {
        let query = "_HLS_msn=3&CMCD=bl%3D2100%2Cbr%3D1200%2Cbs%2Cmtp%3D25400%2Cot%3Dv%2Cpr%3D1.08%2Crtp%3D6000%2Csf%3Dh%2C\
                     sid%3D%22a%2Cb%22%2Cst%3Dl%2Csu%2Ctb%3D3400&x=1";
        let expected = Cmcd {
            bitrate_kbps: Some(1200),
            buffer_ms: Some(2100),
            starved: true,
            throughput_kbps: Some(25_400),
            object: Some(ObjectType::Video),
            rate_percent: Some(108),
            requested_kbps: Some(6000),
            format: Some(Format::Hls),
            session: Some("a,b".to_owned()),
            stream: Some(StreamType::Live),
            startup: true,
            top_kbps: Some(3400),
            ..Cmcd::default()
        };
        assert_eq!(Cmcd::from_query(query), Some(expected));
        assert_eq!(Cmcd::from_query("x=1"), None);
    }

    #[test]
    fn lists_of_version_2_give_the_item_of_the_object() {
        let said = |text: &str| Cmcd::from_headers([text]);
        let audio = said("bl=(2000;v 1500;a),br=(128;a),ot=a,v=2,bsd=(300 250;v),sta=r,st=ll");
        assert_eq!((audio.buffer_ms, audio.bitrate_kbps, audio.version), (Some(1500), Some(128), Some(2)));
        assert_eq!(
            (audio.starved_ms, audio.state, audio.stream),
            (Some(550), Some(State::Rebuffering), Some(StreamType::LowLatency))
        );
        assert_eq!(said("bl=(2000;v 1500;a)").buffer_ms, Some(2000), "the first, where none is asked for");
        assert_eq!(said("bl=(2000;v 1500;a),ot=m").buffer_ms, Some(2000));
        assert_eq!(audio.malformed, 0);
    }

    #[test]
    fn reports_come_in_lines() {
        let body = "e=ps,sta=s,ts=1700000000000,v=2\n\ne=t,bl=(1200;v),ltc=1800,msd=420\r\nnonsense\n";
        let said: Vec<_> = Cmcd::from_events(body).collect();
        assert_eq!((said[0].event, said[0].state), (Some(Event::PlayState), Some(State::Starting)));
        assert_eq!(
            (said[1].latency_ms, said[1].start_delay_ms, said[1].buffer_ms),
            (Some(1800), Some(420), Some(1200))
        );
        assert!(said[2].is_empty() && said.len() == 3);
        assert_eq!(Cmcd::from_events(&"e=t\n".repeat(EVENTS_MAX + 1)).count(), EVENTS_MAX);
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
            assert!(Cmcd::from_query(query).is_some_and(|cmcd| cmcd.is_empty()), "{query}");
        }
        let text = "br=-1,bl=,mtp=10000001,ltc=86400001,bs=7,bsd=(),ot=zz,pr=1e9,st=x,sid=unquoted,v=(,e=\"t\",x=?";
        assert_eq!(Cmcd::from_headers([text]), Cmcd { malformed: 12, ..Cmcd::default() });
        let long = format!("CMCD=sid%3D%22{}%22", "x".repeat(65));
        assert_eq!(Cmcd::from_query(&long), Some(Cmcd { malformed: 1, ..Cmcd::default() }));
    }
}
