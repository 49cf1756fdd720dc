//! What a follower learns from anyone's MPD (ISO/IEC 23009-1, 5.3): whether it is live, when it changes, where its segments are.

use crate::follow::unix_ms;
use quick_m3u8::date;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;
use std::collections::HashSet;
use std::time::Duration;

/// An MPD, as far as a follower cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mpd {
    /// `@type="dynamic"`: it may change, and its segments come one after the other.
    pub dynamic: bool,
    /// `@availabilityStartTime`, in Unix milliseconds: another one is another life of the stream.
    pub available_unix_ms: Option<i64>,
    /// `@publishTime`, in Unix milliseconds.
    pub published_unix_ms: Option<i64>,
    /// `@minimumUpdatePeriod`; without it a dynamic MPD does not change.
    pub minimum_update_period: Option<Duration>,
    /// `@timeShiftBufferDepth`; without it segments stay available.
    pub time_shift_buffer_depth: Option<Duration>,
    /// Each once, in order of appearance.
    pub templates: Vec<Template>,
    /// Where players read the time over HTTP (UTCTiming, 5.8.4.11): references to resolve against the MPD's own URL.
    pub clocks: Vec<String>,
}

/// A SegmentTemplate as one or more Representations use it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Template {
    /// References to resolve one after the other, beginning with the MPD's own URL: the BaseURLs.
    pub bases: Vec<String>,
    /// What the URLs begin with, seen from there: the template up to its first identifier.
    pub prefix: String,
    /// What they end with.
    pub suffix: String,
    pub class: Class,
    /// How long a segment lasts, where all do.
    pub segment: Option<Duration>,
    /// How often something new can be had: segments, or their chunks where `@availabilityTimeOffset` lets them be asked for
    /// before they are complete.
    pub cadence: Option<Duration>,
    /// The text before `$Number$`, where that is the last identifier; empty where it is the only one.
    pub stem: Option<String>,
    /// When each segment may be asked for, where its number alone tells.
    pub numbers: Option<Numbers>,
}

/// Segments of one length, one after the other (5.3.9.5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Numbers {
    /// The first segment of the Period.
    pub first: u64,
    /// From when on that one may be asked for, in Unix milliseconds.
    pub first_due_unix_ms: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    Init,
    Segment,
}

/// Why a text is no MPD that can be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MpdError {
    #[error("this is no XML document")]
    NotXml,
    #[error("the root element is not MPD")]
    NotAnMpd,
    #[error("the MPD declares a document type or uses entities of its own, which no MPD needs")]
    Entities,
    #[error("the MPD's elements are nested more than {DEPTH_MAX} deep")]
    TooDeep,
    #[error("the MPD has more than {TEMPLATES_MAX} different segment templates")]
    TooManyTemplates,
}

/// MPD, Period, AdaptationSet, Representation, SegmentTemplate, SegmentTimeline, S are seven; foreign elements may add some.
pub const DEPTH_MAX: usize = 32;
/// Long ladders in many languages have some hundreds.
pub const TEMPLATES_MAX: usize = 1024;
/// Players try some clocks one after the other; nobody lists more than a few.
pub const CLOCKS_MAX: usize = 16;
/// Of XML: ISO/IEC 23009-1 knows no other.
const VERSION: XmlVersion = XmlVersion::Implicit1_0;

/// Reads an MPD. Time and memory are linear in its length.
///
/// # Errors
/// See [`MpdError`]. Attributes that do not parse are passed over.
pub fn read(text: &str) -> Result<Mpd, MpdError> {
    let mut reader = Reader::from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut scan = Scan::default();
    loop {
        match reader.read_event().map_err(|_| MpdError::NotXml)? {
            Event::Start(element) => scan.begin(&element)?,
            Event::Empty(element) => {
                scan.begin(&element)?;
                scan.end()?;
            }
            Event::End(_) => scan.end()?,
            Event::Text(text) => scan.text(&text.xml_content(VERSION).map_err(|_| MpdError::NotXml)?),
            Event::CData(text) => scan.text(&text.xml_content(VERSION).map_err(|_| MpdError::NotXml)?),
            Event::GeneralRef(name) => scan.reference(&name.xml_content(VERSION).map_err(|_| MpdError::NotXml)?)?,
            Event::DocType(_) => return Err(MpdError::Entities),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => return scan.finish(),
        }
    }
}

#[derive(Default)]
struct Scan {
    mpd: Option<Mpd>,
    known: HashSet<Template>,
    /// The elements that are open.
    open: Vec<Level>,
    periods: usize,
}

/// An element that is open, and what it adds to those inside.
#[derive(Default)]
struct Level {
    kind: Kind,
    base: Option<String>,
    offset_s: Option<f64>,
    /// When a Period begins, after `@availabilityStartTime`.
    start: Option<Duration>,
    attributes: Attributes,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    Representation,
    BaseUrl,
    SegmentTemplate,
    #[default]
    Other,
}

/// What SegmentTemplates say, the inner over the outer.
#[derive(Default)]
struct Attributes {
    media: Option<String>,
    initialization: Option<String>,
    duration: Option<f64>,
    timescale: Option<f64>,
    offset_s: Option<f64>,
    first: Option<f64>,
    /// Segments have lengths of their own.
    timeline: bool,
}

impl Scan {
    fn begin(&mut self, element: &BytesStart<'_>) -> Result<(), MpdError> {
        if self.open.len() >= DEPTH_MAX {
            return Err(MpdError::TooDeep);
        }
        let name = element.local_name();
        let mut level = Level::default();
        match name.as_ref() {
            b"MPD" if self.mpd.is_none() && self.open.is_empty() => self.mpd = Some(root(element)),
            _ if self.mpd.is_none() => return Err(MpdError::NotAnMpd),
            b"Period" => {
                self.periods += 1;
                let said = value(element, "start").and_then(|text| iso_duration(&text));
                level.start = said.or_else(|| (self.periods == 1).then_some(Duration::ZERO));
            }
            b"UTCTiming" => self.clock(element),
            b"Representation" => level.kind = Kind::Representation,
            b"BaseURL" => {
                level.kind = Kind::BaseUrl;
                level.base = Some(String::new());
                level.offset_s = number(element, "availabilityTimeOffset");
            }
            b"SegmentTemplate" => {
                level.kind = Kind::SegmentTemplate;
                level.attributes = Attributes {
                    media: value(element, "media"),
                    initialization: value(element, "initialization"),
                    duration: number(element, "duration"),
                    timescale: number(element, "timescale"),
                    offset_s: number(element, "availabilityTimeOffset"),
                    first: number(element, "startNumber"),
                    timeline: false,
                };
            }
            // The first of a SegmentTimeline stands for the others.
            b"S" => {
                let template = self.open.iter_mut().rev().find(|level| level.kind == Kind::SegmentTemplate);
                if let Some(Level { attributes, .. }) = template {
                    attributes.timeline = true;
                    attributes.duration = attributes.duration.or_else(|| number(element, "d"));
                }
            }
            _ => {}
        }
        self.open.push(level);
        Ok(())
    }

    /// ISO/IEC 23009-1, 5.8.5.7: of the schemes, those that fetch something.
    fn clock(&mut self, element: &BytesStart<'_>) {
        let scheme = value(element, "schemeIdUri").unwrap_or_default();
        if !scheme.starts_with("urn:mpeg:dash:utc:http-") {
            return;
        }
        let Some((mpd, urls)) = self.mpd.as_mut().zip(value(element, "value")) else { return };
        let room = CLOCKS_MAX - mpd.clocks.len();
        mpd.clocks.extend(urls.split_ascii_whitespace().take(room).map(str::to_owned));
    }

    fn text(&mut self, text: &str) {
        if let Some(level) = self.open.last_mut().filter(|level| level.kind == Kind::BaseUrl)
            && let Some(base) = &mut level.base
        {
            base.push_str(text);
        }
    }

    fn reference(&mut self, name: &str) -> Result<(), MpdError> {
        let text = quick_xml::escape::unescape(&format!("&{name};")).map_err(|_| MpdError::Entities)?.into_owned();
        self.text(&text);
        Ok(())
    }

    fn end(&mut self) -> Result<(), MpdError> {
        let Some(level) = self.open.pop() else { return Ok(()) };
        match level.kind {
            Kind::Representation => {
                self.open.push(level);
                let used = self.used();
                self.open.pop();
                return used;
            }
            Kind::BaseUrl => {
                // Others of the same level are alternatives.
                if let Some(parent) = self.open.last_mut().filter(|parent| parent.base.is_none()) {
                    parent.base = level.base.map(|base| base.trim().to_owned());
                    parent.offset_s = parent.offset_s.or(level.offset_s);
                }
            }
            Kind::SegmentTemplate => {
                if let Some(parent) = self.open.last_mut() {
                    parent.attributes = level.attributes;
                }
            }
            Kind::Other => {}
        }
        Ok(())
    }

    /// The Representation that ends uses these templates.
    fn used(&mut self) -> Result<(), MpdError> {
        let inner =
            |field: fn(&Attributes) -> Option<f64>| self.open.iter().rev().find_map(|level| field(&level.attributes));
        let timescale = inner(|said| said.timescale).filter(|scale| *scale > 0.0).unwrap_or(1.0);
        let segment_s = inner(|said| said.duration).map(|duration| duration / timescale).filter(|s| *s > 0.0);
        let offset_s = inner(|said| said.offset_s).or_else(|| self.open.iter().rev().find_map(|level| level.offset_s));
        let segment = segment_s.and_then(seconds);
        let chunk = segment_s.zip(offset_s).map(|(segment, offset)| segment - offset).filter(|chunk| *chunk > 0.0);
        let text = |field: fn(&Attributes) -> Option<&String>| {
            self.open.iter().rev().find_map(|level| field(&level.attributes).cloned())
        };
        let templates = [
            (text(|said| said.initialization.as_ref()), Class::Init),
            (text(|said| said.media.as_ref()), Class::Segment),
        ];
        let bases: Vec<String> = self.open.iter().filter_map(|level| level.base.clone()).collect();
        let in_order = !self.open.iter().any(|level| level.attributes.timeline);
        let numbers = self.numbers(inner(|said| said.first), segment_s, offset_s).filter(|_| in_order);
        for (template, class) in templates {
            let Some(template) = template else { continue };
            let prefix = template.split('$').next().unwrap_or_default().to_owned();
            let suffix = template.rsplit_once('$').map_or("", |(_, suffix)| suffix).to_owned();
            let cadence = chunk.and_then(seconds).or(segment);
            let stem = stem(&template).map(str::to_owned);
            let numbers = numbers.filter(|_| class == Class::Segment && stem.is_some());
            let template = Template { bases: bases.clone(), prefix, suffix, class, segment, cadence, stem, numbers };
            if self.known.insert(template.clone()) {
                let Some(mpd) = self.mpd.as_mut().filter(|mpd| mpd.templates.len() < TEMPLATES_MAX) else {
                    return Err(MpdError::TooManyTemplates);
                };
                mpd.templates.push(template);
            }
        }
        Ok(())
    }

    /// 5.3.9.5.3: a segment is available once it is complete, or `offset_s` before that.
    fn numbers(&self, first: Option<f64>, segment_s: Option<f64>, offset_s: Option<f64>) -> Option<Numbers> {
        let start = self.open.iter().find_map(|level| level.start)?;
        let due_s = start.as_secs_f64() + segment_s? - offset_s.unwrap_or(0.0);
        let first_due_unix_ms = self.mpd.as_ref()?.available_unix_ms?.checked_add((due_s * 1000.0).round() as i64)?;
        Some(Numbers { first: first.unwrap_or(1.0) as u64, first_due_unix_ms })
    }

    fn finish(self) -> Result<Mpd, MpdError> {
        // A document that was cut off has elements open.
        if !self.open.is_empty() {
            return Err(MpdError::NotXml);
        }
        self.mpd.ok_or(MpdError::NotAnMpd)
    }
}

fn root(element: &BytesStart<'_>) -> Mpd {
    let duration = |name| value(element, name).and_then(|text| iso_duration(&text));
    Mpd {
        dynamic: value(element, "type").is_some_and(|value| value == "dynamic"),
        available_unix_ms: value(element, "availabilityStartTime").and_then(|text| instant(&text)),
        published_unix_ms: value(element, "publishTime").and_then(|text| instant(&text)),
        minimum_update_period: duration("minimumUpdatePeriod"),
        time_shift_buffer_depth: duration("timeShiftBufferDepth"),
        templates: Vec::new(),
        clocks: Vec::new(),
    }
}

impl Template {
    /// Whether `name`, what stands between `prefix` and `suffix`, can be one of its segments.
    pub fn fits(&self, name: &str) -> bool {
        let Some(stem) = &self.stem else { return true };
        let before = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
        let stands = if stem.is_empty() { before.is_empty() } else { before.ends_with(stem.as_str()) };
        stands && before.len() < name.len()
    }

    /// When the segment of this name may be asked for, in Unix milliseconds, where its number tells. `name` is what
    /// stands between `prefix` and `suffix`.
    pub fn due_unix_ms(&self, name: &str) -> Option<i64> {
        let (numbers, segment) = self.numbers.zip(self.segment)?;
        let before = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
        let number: u64 = name[before.len()..].parse().ok()?;
        let segments = i64::try_from(number).ok()?.checked_sub(i64::try_from(numbers.first).ok()?)?;
        let after_first_s = segments as f64 * segment.as_secs_f64();
        numbers.first_due_unix_ms.checked_add((after_first_s * 1000.0).round() as i64)
    }
}

/// What tells where the digits of `$Number$` (5.3.9.4.4) begin, if they are the last that a template stands for.
fn stem(template: &str) -> Option<&str> {
    // Text and identifiers by turns.
    let pieces: Vec<&str> = template.split('$').collect();
    let [before @ .., last, _] = &pieces[..] else { return None };
    let known = *last == "Number" || last.starts_with("Number%0");
    let apart = |text: &str| !text.is_empty() && !text.ends_with(|letter: char| letter.is_ascii_digit());
    match before {
        _ if !known || pieces.len().is_multiple_of(2) => None,
        [_] => Some(""),
        [.., text] => apart(text).then_some(text),
        [] => None,
    }
}

fn value(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let attribute = element.try_get_attribute(name).ok()??;
    attribute.normalized_value(VERSION).ok().map(std::borrow::Cow::into_owned)
}

fn number(element: &BytesStart<'_>, name: &str) -> Option<f64> {
    value(element, name)?.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)
}

/// xs:dateTime, which may go without a time zone; MPDs mean UTC then.
fn instant(text: &str) -> Option<i64> {
    let text = text.trim();
    let read = date::parse(text).or_else(|_| date::parse(&format!("{text}Z"))).ok()?;
    unix_ms(&read).map(|ms| ms.round() as i64)
}

/// xs:duration without years and months, which have no fixed length.
fn iso_duration(text: &str) -> Option<Duration> {
    let text = text.trim().strip_prefix('P')?;
    let (mut in_time, mut number, mut total_s) = (false, String::new(), 0.0);
    for letter in text.chars() {
        let unit_s = match letter {
            '0'..='9' | '.' => {
                number.push(letter);
                continue;
            }
            'T' if number.is_empty() => {
                in_time = true;
                continue;
            }
            'D' if !in_time => 86_400.0,
            'H' if in_time => 3600.0,
            'M' if in_time => 60.0,
            'S' if in_time => 1.0,
            'Y' | 'M' if number.parse() == Ok(0.0) => 0.0,
            _ => return None,
        };
        total_s += unit_s * number.parse::<f64>().ok()?;
        number.clear();
    }
    if number.is_empty() { seconds(total_s) } else { None }
}

/// Beyond ten years it means no more than "always".
fn seconds(seconds: f64) -> Option<Duration> {
    (0.0..=3.2e8).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
#[path = "mpd_tests.rs"]
mod tests;
