//! A reader of playlists that shares nothing with the writer under test.

use std::collections::BTreeMap;

/// An attribute list (RFC 8216bis, 4.2), quotes taken off.
pub type Attributes = BTreeMap<String, String>;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Media {
    pub begins: bool,
    pub versions: Vec<u64>,
    pub target_durations: Vec<f64>,
    pub control: Option<Attributes>,
    pub part_target: Option<f64>,
    pub first_msn: u64,
    pub discontinuity_sequence: u64,
    pub iframes_only: bool,
    /// EXT-X-IMAGES-ONLY (Image Media Playlists, 0.4).
    pub images_only: bool,
    pub skipped: Option<u64>,
    /// RECENTLY-REMOVED-DATERANGES.
    pub removed: Option<String>,
    pub segments: Vec<Segment>,
    /// What follows the last whole segment.
    pub open: Segment,
    pub hints: Vec<Attributes>,
    pub reports: Vec<Attributes>,
    pub date_ranges: Vec<Attributes>,
    pub ended: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Segment {
    pub duration_s: f64,
    pub uri: String,
    pub range: Option<String>,
    pub discontinuity: bool,
    /// The EXT-X-MAP that holds for it, whole; and whether it stands here.
    pub map: Option<String>,
    /// The EXT-X-KEYs that hold for it, those that did where the map stands, and those that stand here.
    pub keys: Vec<Attributes>,
    pub map_keys: Vec<Attributes>,
    pub said_keys: Vec<Attributes>,
    pub unix_s: Option<f64>,
    pub gap: bool,
    /// The EXT-X-TILES that holds for it.
    pub tiles: Option<Attributes>,
    pub parts: Vec<Part>,
    /// Tags of the segment that came after a part of it.
    pub late: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    pub duration_s: f64,
    pub uri: String,
    pub independent: bool,
    pub gap: bool,
    pub range: Option<String>,
}

/// A multivariant playlist: variants with their URI, renditions, I-frame playlists.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Multivariant {
    pub independent: bool,
    pub variants: Vec<(Attributes, String)>,
    pub renditions: Vec<Attributes>,
    pub iframes: Vec<Attributes>,
    /// EXT-X-SESSION-KEY.
    pub session_keys: Vec<Attributes>,
    /// EXT-X-IMAGE-STREAM-INF of Image Media Playlists.
    pub images: Vec<Attributes>,
}

impl Media {
    /// Position after the last segment or part: media sequence number and part.
    pub fn next(&self) -> (u64, usize) {
        (self.first_msn + self.skipped.unwrap_or(0) + self.segments.len() as u64, self.open.parts.len())
    }

    /// How often a control attribute is met.
    pub fn control_s(&self, name: &str) -> Option<f64> {
        self.control.as_ref()?.get(name)?.parse().ok()
    }

    pub fn can_block(&self) -> bool {
        self.control.as_ref().and_then(|control| control.get("CAN-BLOCK-RELOAD")).is_some_and(|value| value == "YES")
    }
}

/// Whether a text is a multivariant playlist.
pub fn is_multivariant(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("#EXT-X-STREAM-INF:"))
}

pub fn multivariant(text: &str) -> Multivariant {
    let mut said = Multivariant::default();
    let mut variant = None;
    for (name, value) in text.lines().filter_map(split) {
        match name {
            "" => said.variants.extend(variant.take().map(|attributes| (attributes, value.to_owned()))),
            "EXT-X-INDEPENDENT-SEGMENTS" => said.independent = true,
            "EXT-X-STREAM-INF" => variant = Some(attributes(value)),
            "EXT-X-MEDIA" => said.renditions.push(attributes(value)),
            "EXT-X-I-FRAME-STREAM-INF" => said.iframes.push(attributes(value)),
            "EXT-X-SESSION-KEY" => said.session_keys.push(attributes(value)),
            "EXT-X-IMAGE-STREAM-INF" => said.images.push(attributes(value)),
            _ => {}
        }
    }
    said
}

pub fn media(text: &str) -> Media {
    let mut said = Media { begins: text.starts_with("#EXTM3U"), ..Media::default() };
    let (mut map, mut tiles, mut map_keys, mut keys) = (None, None, Vec::new(), Vec::<Attributes>::new());
    for (name, value) in text.lines().filter_map(split) {
        let number = || value.split(',').next().unwrap_or_default().parse::<f64>().unwrap_or(f64::NAN);
        let open = &mut said.open;
        let of_segment = matches!(
            name,
            "EXT-X-DISCONTINUITY" | "EXT-X-MAP" | "EXT-X-PROGRAM-DATE-TIME" | "EXT-X-KEY" | "EXT-X-BITRATE"
        );
        if of_segment && !open.parts.is_empty() {
            open.late.push(name.to_owned());
        }
        match name {
            "" => {
                let segment = std::mem::take(open);
                let (map, keys, map_keys) = (map.clone(), keys.clone(), map_keys.clone());
                said.segments.push(Segment {
                    uri: value.to_owned(),
                    map,
                    tiles: tiles.clone(),
                    keys,
                    map_keys,
                    ..segment
                });
            }
            "EXT-X-VERSION" => said.versions.push(number() as u64),
            "EXT-X-TARGETDURATION" => said.target_durations.push(number()),
            "EXT-X-SERVER-CONTROL" => said.control = Some(attributes(value)),
            "EXT-X-PART-INF" => said.part_target = seconds(&attributes(value), "PART-TARGET"),
            "EXT-X-MEDIA-SEQUENCE" => said.first_msn = number() as u64,
            "EXT-X-DISCONTINUITY-SEQUENCE" => said.discontinuity_sequence = number() as u64,
            "EXT-X-I-FRAMES-ONLY" => said.iframes_only = true,
            "EXT-X-IMAGES-ONLY" => said.images_only = true,
            "EXT-X-TILES" => tiles = Some(attributes(value)),
            "EXT-X-SKIP" => {
                let mut skip = attributes(value);
                said.skipped = seconds(&skip, "SKIPPED-SEGMENTS").map(|count| count as u64);
                said.removed = skip.remove("RECENTLY-REMOVED-DATERANGES");
            }
            "EXT-X-DISCONTINUITY" => open.discontinuity = true,
            "EXT-X-MAP" => (map, map_keys) = (Some(value.to_owned()), keys.clone()),
            "EXT-X-KEY" => {
                let key = attributes(value);
                open.said_keys.push(key.clone());
                // 4.4.4.4: it holds up to the next one of its format; NONE is the end of all.
                let is_none = key.get("METHOD").is_some_and(|method| method == "NONE");
                keys.retain(|before| !is_none && before.get("KEYFORMAT") != key.get("KEYFORMAT"));
                keys.extend((!is_none).then_some(key));
            }
            "EXT-X-PROGRAM-DATE-TIME" => open.unix_s = unix_s(value),
            "EXT-X-GAP" => open.gap = true,
            "EXT-X-BYTERANGE" => open.range = Some(value.to_owned()),
            "EXTINF" => open.duration_s = number(),
            "EXT-X-PART" => open.parts.push(part(&attributes(value))),
            "EXT-X-PRELOAD-HINT" => said.hints.push(attributes(value)),
            "EXT-X-RENDITION-REPORT" => said.reports.push(attributes(value)),
            "EXT-X-DATERANGE" => said.date_ranges.push(attributes(value)),
            "EXT-X-ENDLIST" => said.ended = true,
            _ => {}
        }
    }
    (said.open.map, said.open.keys, said.open.map_keys) = (map, keys, map_keys);
    said
}

fn part(said: &Attributes) -> Part {
    let is = |name: &str| said.get(name).is_some_and(|value| value == "YES");
    Part {
        duration_s: seconds(said, "DURATION").unwrap_or(f64::NAN),
        uri: said.get("URI").cloned().unwrap_or_default(),
        independent: is("INDEPENDENT"),
        gap: is("GAP"),
        range: said.get("BYTERANGE").cloned(),
    }
}

/// A tag's name and value, or an empty name and the URI.
fn split(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_end();
    match line.strip_prefix('#') {
        Some(tag) if tag.starts_with("EXT") => Some(tag.split_once(':').unwrap_or((tag, ""))),
        Some(_) => None,
        None => (!line.is_empty()).then_some(("", line)),
    }
}

pub(super) fn attributes(list: &str) -> Attributes {
    let mut attributes = Attributes::new();
    let mut rest = list;
    while let Some((name, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_at(after.find(',').unwrap_or(after.len())),
        };
        attributes.insert(name.trim().to_owned(), value.to_owned());
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    attributes
}

fn seconds(attributes: &Attributes, name: &str) -> Option<f64> {
    attributes.get(name)?.parse().ok()
}

/// `2026-11-21T02:00:00.500Z`, or with an offset of hours and minutes.
pub(super) fn unix_s(date: &str) -> Option<f64> {
    let (day, time) = date.split_once('T')?;
    let mut day = day.splitn(3, '-').map(str::parse::<i64>);
    let (year, month, day) = (day.next()?.ok()?, day.next()?.ok()?, day.next()?.ok()?);
    let zone = time.rfind(['Z', '+', '-'])?;
    let (time, zone) = time.split_at(zone);
    let mut time = time.splitn(3, ':').map(str::parse::<f64>);
    let of_day = time.next()?.ok()? * 3600.0 + time.next()?.ok()? * 60.0 + time.next()?.ok()?;
    let digits: String = zone.chars().filter(char::is_ascii_digit).collect();
    let away = match digits.parse::<f64>() {
        Ok(minutes) => ((minutes / 100.0).floor() * 60.0 + minutes % 100.0) * 60.0,
        Err(_) => 0.0,
    };
    let away = if zone.starts_with('-') { -away } else { away };
    // Days since 1970 by counting leap years before March of the year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 719_469;
    Some(days as f64 * 86_400.0 + of_day - away)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_as_others_read_them() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0.0),
            ("2026-11-21T02:00:00.500Z", 1_795_226_400.5),
            ("2026-11-21T04:00:00.500+02:00", 1_795_226_400.5),
            ("2026-11-20T21:00:00.500-0500", 1_795_226_400.5),
            ("2000-02-29T00:00:00.000Z", 951_782_400.0),
        ] {
            assert_eq!(unix_s(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn commas_in_quotes_part_nothing() {
        let read = attributes("CODECS=\"avc1.64001F,mp4a.40.2\",BANDWIDTH=1,NAME=\"a=b\"");
        assert_eq!((&*read["CODECS"], &*read["BANDWIDTH"], &*read["NAME"]), ("avc1.64001F,mp4a.40.2", "1", "a=b"));
    }
}
