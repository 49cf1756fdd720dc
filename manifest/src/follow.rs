//! What a follower learns from anyone's playlist: how far it has come, what it names, how it may be asked again.
//!
//! An edge follows renditions with it and a router measures freshness with it. It reads and never rewrites.

use crate::{Head, Position};
use quick_m3u8::config::ParsingOptionsBuilder;
use quick_m3u8::date::DateTime;
use quick_m3u8::tag::KnownTag;
use quick_m3u8::tag::hls::{EnumeratedString, PreloadHintType, Tag};
use quick_m3u8::{HlsLine, Reader};
use std::collections::HashSet;

/// A playlist, as far as a follower cares.
#[derive(Clone, Debug, PartialEq)]
pub enum Followed {
    Multivariant(Multivariant),
    Media(Media),
}

/// A multivariant playlist: the media playlists that it names, in order, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Multivariant {
    pub playlists: Vec<String>,
}

/// A media playlist.
#[derive(Clone, Debug, PartialEq)]
pub struct Media {
    pub head: Head,
    /// EXT-X-MEDIA-SEQUENCE: the number of the first segment listed.
    pub first_msn: u64,
    /// EXT-X-SKIP: how many segments from the first on are left out; 0 in a whole playlist.
    pub skipped: u64,
    /// EXT-X-TARGETDURATION, in seconds.
    pub target_duration_s: u64,
    /// EXT-X-PART-INF:PART-TARGET, in seconds, where there are parts.
    pub part_target_s: Option<f64>,
    /// EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES.
    pub can_block_reload: bool,
    /// EXT-X-SERVER-CONTROL:CAN-SKIP-UNTIL, in seconds.
    pub can_skip_until_s: Option<f64>,
    /// Wall clock at the end of the last segment or part, in Unix milliseconds, where PROGRAM-DATE-TIME tells.
    pub edge_unix_ms: Option<i64>,
    /// What it names, in order of appearance. An URI may come again, as the ranges of one resource do.
    pub objects: Vec<Object>,
}

/// A resource that a media playlist names; its URI as written, usually relative.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub class: Class,
    pub uri: String,
    /// How many bytes the resource has at least, as byte ranges tell; 0 where there are none.
    pub bytes_min: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    Init,
    Segment,
    Part,
    /// EXT-X-PRELOAD-HINT: will be a part, and may be asked for already.
    Hint,
}

/// Why a text cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    #[error("this is no playlist: its first line is not #EXTM3U")]
    NotAPlaylist,
    #[error("the media playlist has no EXT-X-TARGETDURATION")]
    NoTargetDuration,
    #[error("the playlist is a delta update, which was not asked for")]
    Delta,
    #[error("a number in the playlist is out of range")]
    OutOfRange,
}

/// Reads a playlist (RFC 8216bis, 4). Lines that do not parse are passed over, as unknown tags are.
///
/// # Errors
/// The text is none, or one that must not be shown as a whole.
pub fn read(text: &str) -> Result<Followed, FollowError> {
    match scan(text)? {
        Followed::Media(media) if media.skipped > 0 => Err(FollowError::Delta),
        followed => Ok(followed),
    }
}

/// Reads a media playlist of which segments may be left out (4.4.5.2).
///
/// # Errors
/// As [`read`]; a multivariant playlist is none.
pub fn read_update(text: &str) -> Result<Media, FollowError> {
    match scan(text)? {
        Followed::Media(media) => Ok(media),
        Followed::Multivariant(_) => Err(FollowError::NoTargetDuration),
    }
}

fn scan(text: &str) -> Result<Followed, FollowError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.lines().next().is_none_or(|line| line.trim_end() != "#EXTM3U") {
        return Err(FollowError::NotAPlaylist);
    }
    let mut reader = Reader::from_str(text, ParsingOptionsBuilder::new().with_parsing_for_all_tags().build());
    let mut scan = Scan::default();
    loop {
        match reader.read_line() {
            Ok(Some(HlsLine::KnownTag(KnownTag::Hls(tag)))) => scan.tag(&tag)?,
            Ok(Some(HlsLine::Uri(uri))) => scan.uri(uri.trim())?,
            Ok(Some(_)) | Err(_) => {}
            Ok(None) => break,
        }
    }
    scan.finish()
}

#[derive(Default)]
struct Scan {
    playlists: Vec<String>,
    /// The same again, since a hostile playlist may name a great many.
    known: HashSet<String>,
    after_stream_inf: bool,
    target_duration_s: Option<u64>,
    part_target_s: Option<f64>,
    can_block_reload: bool,
    can_skip_until_s: Option<f64>,
    first_msn: u64,
    skipped: u64,
    segments: u64,
    open_parts: u32,
    last_parts: u32,
    ended: bool,
    objects: Vec<Object>,
    /// EXT-X-BYTERANGE of the segment to come: length and offset.
    segment_range: Option<(u64, Option<u64>)>,
    clock_ms: Option<f64>,
    segment_start_ms: Option<f64>,
    segment_s: f64,
    parts_s: f64,
}

impl Scan {
    fn tag(&mut self, tag: &Tag<'_>) -> Result<(), FollowError> {
        match tag {
            Tag::StreamInf(_) => self.after_stream_inf = true,
            Tag::Media(media) => self.playlist(media.uri()),
            Tag::Targetduration(tag) => self.target_duration_s = Some(tag.target_duration()),
            Tag::MediaSequence(tag) => self.first_msn = tag.media_sequence(),
            Tag::PartInf(tag) => self.part_target_s = Some(tag.part_target()).filter(|s| s.is_finite() && *s > 0.0),
            Tag::ServerControl(tag) => {
                self.can_block_reload = tag.can_block_reload();
                self.can_skip_until_s = tag.can_skip_until();
            }
            Tag::Map(tag) => {
                self.object(Class::Init, tag.uri(), tag.byterange().map(|range| (range.length, Some(range.offset))));
            }
            Tag::Byterange(tag) => self.segment_range = Some((tag.length(), tag.offset())),
            Tag::Inf(tag) => self.segment_s = sane(tag.duration()),
            Tag::Part(tag) => {
                self.open_parts = self.open_parts.checked_add(1).ok_or(FollowError::OutOfRange)?;
                self.parts_s += sane(tag.duration());
                // 4.4.4.9: nobody is to ask for one that is not there.
                if !tag.gap() {
                    self.object(Class::Part, tag.uri(), tag.byterange().map(|range| (range.length, range.offset)));
                }
            }
            Tag::PreloadHint(tag) => {
                if matches!(tag.hint_type(), EnumeratedString::Known(PreloadHintType::Part)) {
                    let start = tag.byterange_start();
                    self.object(Class::Hint, tag.uri(), Some((tag.byterange_length().unwrap_or(0), Some(start))));
                }
            }
            Tag::ProgramDateTime(tag) => {
                self.segment_start_ms = unix_ms(&tag.program_date_time());
                self.clock_ms = self.segment_start_ms;
            }
            // Nothing left out is no Delta Update either, and not for a viewer.
            Tag::Skip(skip) => self.skipped = skip.skipped_segments().max(1),
            Tag::Endlist(_) => self.ended = true,
            _ => {}
        }
        Ok(())
    }

    fn uri(&mut self, uri: &str) -> Result<(), FollowError> {
        if std::mem::take(&mut self.after_stream_inf) {
            self.playlist(Some(uri));
            return Ok(());
        }
        let range = self.segment_range.take();
        self.object(Class::Segment, uri, range);
        self.segments = self.segments.checked_add(1).ok_or(FollowError::OutOfRange)?;
        self.last_parts = std::mem::take(&mut self.open_parts);
        self.parts_s = 0.0;
        self.clock_ms = self.clock_ms.map(|ms| ms + 1000.0 * std::mem::take(&mut self.segment_s));
        Ok(())
    }

    fn playlist(&mut self, uri: Option<&str>) {
        if let Some(uri) = uri.filter(|uri| self.known.insert((*uri).to_owned())) {
            self.playlists.push(uri.to_owned());
        }
    }

    fn object(&mut self, class: Class, uri: &str, range: Option<(u64, Option<u64>)>) {
        // 4.4.4.2 and 4.4.4.9: without an offset a range begins where the one before it in the same resource ended.
        let before = || self.objects.last().filter(|last| last.uri == uri).map_or(0, |last| last.bytes_min);
        let end = |(length, offset): (u64, Option<u64>)| offset.unwrap_or_else(before).saturating_add(length);
        let bytes_min = range.map_or(0, end);
        self.objects.push(Object { class, uri: uri.to_owned(), bytes_min });
    }

    fn finish(self) -> Result<Followed, FollowError> {
        let Some(target_duration_s) = self.target_duration_s else {
            let multivariant = !self.playlists.is_empty();
            return if multivariant {
                Ok(Followed::Multivariant(Multivariant { playlists: self.playlists }))
            } else {
                Err(FollowError::NoTargetDuration)
            };
        };
        let listed = self.skipped.checked_add(self.segments);
        let msn = listed.and_then(|listed| self.first_msn.checked_add(listed)).ok_or(FollowError::OutOfRange)?;
        Ok(Followed::Media(Media {
            head: Head {
                next: Position { msn, part: self.open_parts },
                last_parts: self.last_parts,
                ended: self.ended,
            },
            first_msn: self.first_msn,
            skipped: self.skipped,
            target_duration_s,
            part_target_s: self.part_target_s,
            can_block_reload: self.can_block_reload,
            can_skip_until_s: self.can_skip_until_s,
            edge_unix_ms: self.clock_ms.map(|ms| (ms + 1000.0 * self.parts_s).round() as i64),
            objects: self.objects,
        }))
    }
}

/// A duration that arithmetic can bear: anything else counts as nothing.
fn sane(seconds: f64) -> f64 {
    if seconds.is_finite() && (0.0..1e6).contains(&seconds) { seconds } else { 0.0 }
}

/// Days from civil date after Hinnant's algorithm: proleptic Gregorian, no leap seconds.
pub(crate) fn unix_ms(date: &DateTime) -> Option<f64> {
    let (year, month, day) = (i64::from(date.date_fullyear), i64::from(date.date_month), i64::from(date.date_mday));
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    let offset = &date.timezone_offset;
    let sign = if offset.time_hour < 0 { -1.0 } else { 1.0 };
    let offset_s = f64::from(offset.time_hour) * 3600.0 + sign * f64::from(offset.time_minute) * 60.0;
    let time_s = f64::from(date.time_hour) * 3600.0 + f64::from(date.time_minute) * 60.0 + date.time_second;
    let unix_s = days as f64 * 86_400.0 + time_s - offset_s;
    unix_s.is_finite().then_some(unix_s * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVE: &str = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n\
        #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.5\n#EXT-X-PART-INF:PART-TARGET=0.5\n\
        #EXT-X-MEDIA-SEQUENCE:100\n#EXT-X-MAP:URI=\"e/init.mp4\"\n\
        #EXT-X-PROGRAM-DATE-TIME:2026-11-21T02:00:00.500Z\n#EXTINF:2.0,\ne/100.m4s\n\
        #EXT-X-PART:DURATION=1.0,URI=\"e/101.0.m4s\",INDEPENDENT=YES\n#EXT-X-PART:DURATION=1.0,URI=\"e/101.1.m4s\"\n\
        #EXTINF:2.0,\ne/101.m4s\n#EXT-X-PART:DURATION=0.5,URI=\"e/102.0.m4s\",INDEPENDENT=YES\n\
        #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"e/102.1.m4s\"\n#EXT-X-RENDITION-REPORT:URI=\"../a/index.m3u8\",LAST-MSN=102\n";

    fn media(text: &str) -> Media {
        match read(text).unwrap() {
            Followed::Media(media) => media,
            Followed::Multivariant(_) => panic!("multivariant"),
        }
    }

    #[test]
    fn a_live_playlist_tells_its_head_and_its_objects() {
        let media = media(LIVE);
        assert_eq!(media.head, Head { next: Position { msn: 102, part: 1 }, last_parts: 2, ended: false });
        assert!(media.can_block_reload && media.can_skip_until_s.is_none());
        assert_eq!(media.part_target_s, Some(0.5));
        let classes: Vec<_> = media.objects.iter().map(|object| object.class).collect();
        use Class::{Hint, Init, Part, Segment};
        assert_eq!(classes, [Init, Segment, Part, Part, Segment, Part, Hint]);
        assert_eq!(media.objects[6].uri, "e/102.1.m4s");
        // 02:00:00.5 plus two segments of 2 s and a part of 0.5 s.
        assert_eq!(media.edge_unix_ms, Some(1_795_226_405_000));
    }

    #[test]
    fn parts_that_are_gaps_count_and_are_not_asked_for() {
        let gap = LIVE.replace("e/102.0.m4s\",INDEPENDENT=YES", "e/102.0.m4s\",GAP=YES");
        let media = media(&gap);
        assert_eq!(media.head.next, Position { msn: 102, part: 1 });
        assert!(media.objects.iter().all(|object| object.uri != "e/102.0.m4s"));
    }

    #[test]
    fn a_multivariant_playlist_names_each_media_playlist_once() {
        let text = "#EXTM3U\r\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"a\",URI=\"a.m3u8\"\r\n\
            #EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO=\"a\"\r\nv.m3u8?t=~x\r\n#EXT-X-STREAM-INF:BANDWIDTH=2\r\nv.m3u8?t=~x\r\n";
        let expected = Multivariant { playlists: vec!["a.m3u8".to_owned(), "v.m3u8?t=~x".to_owned()] };
        assert_eq!(read(text), Ok(Followed::Multivariant(expected)));
    }

    #[test]
    fn a_plain_playlist_has_no_parts_and_may_end() {
        let media = media("#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\na.ts\n#EXT-X-ENDLIST\n");
        assert_eq!(media.head, Head { next: Position { msn: 1, part: 0 }, last_parts: 0, ended: true });
        assert_eq!((media.part_target_s, media.edge_unix_ms), (None, None));
    }

    #[test]
    fn byte_ranges_tell_how_long_a_resource_is_at_least() {
        let media = media(
            "#EXTM3U\r\n#EXT-X-TARGETDURATION:4\r\n#EXT-X-MAP:URI=\"s0.mp4\",BYTERANGE=\"600@0\"\r\n\
             #EXTINF:4,\r\n#EXT-X-BYTERANGE:9000@600\r\ns0.mp4\r\n#EXT-X-PART:DURATION=1,URI=\"s1.mp4\",BYTERANGE=\"100@0\"\r\n\
             #EXT-X-PART:DURATION=1,URI=\"s1.mp4\",BYTERANGE=\"50\"\r\n\
             #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"s1.mp4\",BYTERANGE-START=150\r\n",
        );
        let named: Vec<_> = media.objects.iter().map(|object| (object.uri.as_str(), object.bytes_min)).collect();
        assert_eq!(named, [("s0.mp4", 600), ("s0.mp4", 9600), ("s1.mp4", 100), ("s1.mp4", 150), ("s1.mp4", 150)]);
        assert_eq!(media.head, Head { next: Position { msn: 1, part: 2 }, last_parts: 0, ended: false });
    }

    #[test]
    fn what_cannot_be_followed_says_why() {
        for (text, error) in [
            ("", FollowError::NotAPlaylist),
            ("<html>", FollowError::NotAPlaylist),
            ("#EXTM3U\n", FollowError::NoTargetDuration),
            ("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-SKIP:SKIPPED-SEGMENTS=3\n", FollowError::Delta),
            (
                "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:18446744073709551615\n#EXTINF:2,\na\n",
                FollowError::OutOfRange,
            ),
        ] {
            assert_eq!(read(text), Err(error), "{text}");
        }
    }

    #[test]
    fn time_zones_are_subtracted() {
        let at = |zone: &str| {
            let text = format!(
                "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-PROGRAM-DATE-TIME:1970-01-02T00:00:00{zone}\n#EXTINF:1,\na\n"
            );
            media(&text).edge_unix_ms
        };
        assert_eq!(at("Z"), Some(86_401_000));
        assert_eq!(at("+01:30"), Some(86_401_000 - 5_400_000));
        assert_eq!(at("-01:30"), Some(86_401_000 + 5_400_000));
    }

    #[test]
    fn damaged_playlists_never_panic() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            let mut bytes = LIVE.as_bytes().to_vec();
            for _ in 0..4 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (state >> 33) as usize % bytes.len();
                bytes[at] = (state >> 24) as u8;
            }
            let _ = read(&String::from_utf8_lossy(&bytes));
        }
    }
}
