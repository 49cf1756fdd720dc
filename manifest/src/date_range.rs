//! EXT-X-DATERANGE as a value, and its text (RFC 8216bis, 4.4.5.1): advertisements and other events in the time of a stream.

use crate::date::Rfc3339;
use std::fmt::Write;
use std::time::Duration;

/// A range of time with what is said of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DateRange {
    /// Unique in the playlist; whoever says it again adds to it.
    pub id: String,
    pub class: Option<String>,
    pub start_unix_ms: i64,
    pub duration: Option<Duration>,
    pub planned_duration: Option<Duration>,
    /// It ends where the next one of its class begins.
    pub end_on_next: bool,
    /// SCTE-35 splice_info_sections, as hexadecimal digits without `0x`.
    pub scte35: Scte35,
    /// `X-` attributes, by name.
    pub more: Vec<(String, String)>,
}

/// What ad servers and splicers say to each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scte35 {
    pub out: Option<String>,
    pub back: Option<String>,
    pub command: Option<String>,
}

/// Why a date range cannot be said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DateRangeError {
    #[error("id must be 1 to {TEXT_MAX} characters without quotes and control characters")]
    Id,
    #[error("class must be 1 to {TEXT_MAX} characters without quotes and control characters")]
    Class,
    #[error("end_on_next needs a class, and goes with no duration (RFC 8216bis, 4.4.5.1)")]
    EndOnNext,
    #[error("{0:?} is no attribute; write X- and capital letters, digits or hyphens, and a value without quotes")]
    Attribute(String),
    #[error("more than {MORE_MAX} attributes")]
    TooMany,
    #[error("SCTE-35 is written in hexadecimal digits, an even number of them up to {HEX_MAX}, with or without 0x")]
    Scte35,
    #[error("a range of this id is there already, and says otherwise of its {0}; take another id")]
    Otherwise(&'static str),
}

const TEXT_MAX: usize = 256;
const MORE_MAX: usize = 16;
/// A splice_info_section has at most 4093 bytes.
const HEX_MAX: usize = 8192;

impl DateRange {
    /// Whether all of it can be said, as the standard wants it.
    ///
    /// # Errors
    /// The first thing that cannot.
    pub fn check(&self) -> Result<(), DateRangeError> {
        if !is_text(&self.id) {
            return Err(DateRangeError::Id);
        }
        if self.class.as_deref().is_some_and(|class| !is_text(class)) {
            return Err(DateRangeError::Class);
        }
        if self.end_on_next && (self.class.is_none() || self.duration.is_some()) {
            return Err(DateRangeError::EndOnNext);
        }
        if self.more.len() > MORE_MAX {
            return Err(DateRangeError::TooMany);
        }
        let hex = [&self.scte35.out, &self.scte35.back, &self.scte35.command];
        if !hex.into_iter().flatten().all(|hex| is_hex(hex)) {
            return Err(DateRangeError::Scte35);
        }
        let wrong = self.more.iter().find(|(name, value)| !is_name(name) || !(value.is_empty() || is_text(value)));
        if let Some((name, _)) = wrong {
            return Err(DateRangeError::Attribute(name.clone()));
        }
        // 4.2: a name MUST NOT appear twice.
        let twice =
            self.more.iter().enumerate().find(|(at, (name, _))| self.more[..*at].iter().any(|(n, _)| n == name));
        twice.map_or(Ok(()), |(_, (name, _))| Err(DateRangeError::Attribute(name.clone())))
    }

    /// Adds what `other` says of the same range. What was said stays true: players have it.
    ///
    /// # Errors
    /// Where `other` contradicts.
    pub fn add(&mut self, other: Self) -> Result<(), DateRangeError> {
        let mut both = self.clone();
        if other.start_unix_ms != both.start_unix_ms {
            return Err(DateRangeError::Otherwise("start"));
        }
        keep(&mut both.class, other.class, "class")?;
        keep(&mut both.duration, other.duration, "duration")?;
        keep(&mut both.planned_duration, other.planned_duration, "planned duration")?;
        keep(&mut both.scte35.out, other.scte35.out, "SCTE35-OUT")?;
        keep(&mut both.scte35.back, other.scte35.back, "SCTE35-IN")?;
        keep(&mut both.scte35.command, other.scte35.command, "SCTE35-CMD")?;
        both.end_on_next |= other.end_on_next;
        for (name, value) in other.more {
            match both.more.iter().find(|(known, _)| *known == name) {
                Some((_, known)) if *known != value => return Err(DateRangeError::Otherwise("X- attributes")),
                Some(_) => {}
                None => both.more.push((name, value)),
            }
        }
        both.check()?;
        *self = both;
        Ok(())
    }

    /// When it ends, as far as that is known, in Unix milliseconds.
    pub fn end_unix_ms(&self) -> Option<i64> {
        let length = self.duration.or(self.planned_duration)?;
        Some(self.start_unix_ms.saturating_add(i64::try_from(length.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Its line.
    pub fn render(&self) -> String {
        crate::media::text(256, |out| self.render_into(out))
    }

    fn render_into(&self, out: &mut String) -> std::fmt::Result {
        write!(out, "#EXT-X-DATERANGE:ID=\"{}\"", self.id)?;
        if let Some(class) = &self.class {
            write!(out, ",CLASS=\"{class}\"")?;
        }
        write!(out, ",START-DATE=\"{}\"", Rfc3339(self.start_unix_ms))?;
        for (name, duration) in [("DURATION", self.duration), ("PLANNED-DURATION", self.planned_duration)] {
            if let Some(duration) = duration {
                write!(out, ",{name}={:.3}", duration.as_secs_f64())?;
            }
        }
        let Scte35 { out: opens, back, command } = &self.scte35;
        for (name, hex) in [("SCTE35-CMD", command), ("SCTE35-OUT", opens), ("SCTE35-IN", back)] {
            if let Some(hex) = hex {
                write!(out, ",{name}=0x{}", hex.to_ascii_uppercase())?;
            }
        }
        for (name, value) in &self.more {
            write!(out, ",{name}=\"{value}\"")?;
        }
        out.write_str(if self.end_on_next { ",END-ON-NEXT=YES\n" } else { "\n" })
    }
}

impl Scte35 {
    /// The binary message, where there is one: of the start before that of the end.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        let hex = self.out.as_ref().or(self.command.as_ref()).or(self.back.as_ref())?;
        let digit = |at: usize| hex.as_bytes().get(at).and_then(|digit| char::from(*digit).to_digit(16));
        (0..hex.len() / 2).map(|at| Some((digit(2 * at)? * 16 + digit(2 * at + 1)?) as u8)).collect()
    }
}

fn keep<T: PartialEq>(known: &mut Option<T>, new: Option<T>, what: &'static str) -> Result<(), DateRangeError> {
    match (&known, new) {
        (_, None) => Ok(()),
        (Some(known), Some(new)) if *known != new => Err(DateRangeError::Otherwise(what)),
        (_, new) => {
            *known = new;
            Ok(())
        }
    }
}

/// As a quoted-string (RFC 8216bis, 4.2), and in XML.
fn is_text(text: &str) -> bool {
    // XML 1.0, 2.2, knows no U+FFFE and U+FFFF; some readers of playlists end lines at U+2028 and U+2029.
    let plain = |c: char| !c.is_control() && !"\"<>&\u{2028}\u{2029}\u{fffe}\u{ffff}".contains(c);
    !text.is_empty() && text.len() <= TEXT_MAX && text.chars().all(plain)
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-';
    name.strip_prefix("X-").is_some_and(|rest| !rest.is_empty() && name.len() <= 64 && rest.bytes().all(plain))
}

fn is_hex(hex: &str) -> bool {
    (2..=HEX_MAX).contains(&hex.len())
        && hex.len().is_multiple_of(2)
        && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_795_226_400_500;

    fn break_of_30s() -> DateRange {
        DateRange {
            id: "ad-1".into(),
            class: Some("com.example.ad".into()),
            start_unix_ms: START,
            planned_duration: Some(Duration::from_secs(30)),
            scte35: Scte35 { out: Some("fc30".into()), ..Scte35::default() },
            more: vec![("X-SPOT".into(), "shoes".into())],
            ..DateRange::default()
        }
    }

    #[test]
    fn what_no_xml_or_no_line_can_hold_and_what_is_said_twice_is_refused() {
        for text in ["\u{ffff}", "\u{fffe}", "a\u{2028}b", "\u{2029}", "a\nb", "a\"b", "a<b", "a&b", ""] {
            let range = DateRange { id: text.into(), ..break_of_30s() };
            assert_eq!(range.check(), Err(DateRangeError::Id), "{text:?}");
        }
        let twice = ["X-A", "X-B", "X-A"].map(|name| (name.to_owned(), "1".to_owned()));
        let range = DateRange { more: twice.into(), ..break_of_30s() };
        assert_eq!(range.check(), Err(DateRangeError::Attribute("X-A".into())));
    }

    #[test]
    fn a_splice_is_said_when_it_opens_and_again_when_it_closes() {
        let mut range = break_of_30s();
        assert_eq!(
            range.render(),
            "#EXT-X-DATERANGE:ID=\"ad-1\",CLASS=\"com.example.ad\",START-DATE=\"2026-11-21T02:00:00.500Z\",\
             PLANNED-DURATION=30.000,SCTE35-OUT=0xFC30,X-SPOT=\"shoes\"\n"
        );
        let back = DateRange {
            id: "ad-1".into(),
            start_unix_ms: START,
            duration: Some(Duration::from_millis(29_500)),
            scte35: Scte35 { back: Some("fc31".into()), ..Scte35::default() },
            ..DateRange::default()
        };
        range.add(back).unwrap();
        assert_eq!(
            range.render(),
            "#EXT-X-DATERANGE:ID=\"ad-1\",CLASS=\"com.example.ad\",START-DATE=\"2026-11-21T02:00:00.500Z\",\
             DURATION=29.500,PLANNED-DURATION=30.000,SCTE35-OUT=0xFC30,SCTE35-IN=0xFC31,X-SPOT=\"shoes\"\n"
        );
        assert_eq!(range.end_unix_ms(), Some(START + 29_500));
        assert_eq!(range.scte35.bytes(), Some(vec![0xfc, 0x30]));
    }

    #[test]
    fn what_was_said_is_not_taken_back() {
        for change in [
            |range: &mut DateRange| range.start_unix_ms += 1,
            |range: &mut DateRange| range.class = Some("other".into()),
            |range: &mut DateRange| range.scte35.out = Some("00".into()),
            |range: &mut DateRange| range.more[0].1 = "boots".into(),
        ] {
            let mut other = break_of_30s();
            change(&mut other);
            let mut range = break_of_30s();
            assert!(matches!(range.add(other), Err(DateRangeError::Otherwise(_))));
            assert_eq!(range, break_of_30s());
        }
        assert_eq!(break_of_30s().add(break_of_30s()), Ok(()));
    }

    #[test]
    fn what_would_break_a_playlist_or_an_mpd_is_refused() {
        let refused = |change: fn(&mut DateRange)| {
            let mut range = break_of_30s();
            change(&mut range);
            range.check().expect_err("is good")
        };
        assert_eq!(break_of_30s().check(), Ok(()));
        assert_eq!(refused(|range| range.id.clear()), DateRangeError::Id);
        assert_eq!(refused(|range| range.id = "a\"b".into()), DateRangeError::Id);
        assert_eq!(refused(|range| range.class = Some("a\n#EXT-X-ENDLIST".into())), DateRangeError::Class);
        assert_eq!(refused(|range| range.scte35.out = Some("xy".into())), DateRangeError::Scte35);
        assert_eq!(refused(|range| range.scte35.back = Some("abc".into())), DateRangeError::Scte35);
        for name in ["SPOT", "X-", "X-a", "X-A\"", "X-A,B"] {
            let mut range = break_of_30s();
            range.more[0].0 = name.into();
            assert_eq!(range.check(), Err(DateRangeError::Attribute(name.into())));
        }
        assert_eq!(
            refused(|range| (range.end_on_next, range.duration) = (true, Some(Duration::ZERO))),
            DateRangeError::EndOnNext
        );
        assert_eq!(refused(|range| (range.end_on_next, range.class) = (true, None)), DateRangeError::EndOnNext);
        assert!(break_of_30s().add(DateRange { end_on_next: true, ..break_of_30s() }).is_ok());
    }
}
