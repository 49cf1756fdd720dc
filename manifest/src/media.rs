//! A live media playlist as a value, and its text (RFC 8216bis, 4.4.3 to 4.4.5, with the Low-Latency tags).

use crate::date::Rfc3339;
use crate::protection::{self, Key};
use std::fmt::Write;

/// Everything a media playlist says. Durations are in seconds; times are Unix milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct MediaPlaylist {
    /// EXT-X-TARGETDURATION; never changes in the life of a rendition.
    pub target_duration_s: u64,
    pub content: Content,
    /// PART-TARGET: no part is longer. Of the presentation, where this playlist has no parts; `None` where none has.
    pub part_target_s: Option<f64>,
    /// CAN-SKIP-UNTIL: Delta Updates are given, and leave out what ends further from the end of the last segment, and date
    /// ranges that were added longer ago.
    pub skip_until_s: Option<f64>,
    /// EXT-X-MEDIA-SEQUENCE: the number of the first segment.
    pub first_msn: u64,
    /// EXT-X-DISCONTINUITY-SEQUENCE: how many discontinuities have left the window.
    pub discontinuity_sequence: u64,
    /// Whole segments, oldest first.
    pub segments: Vec<Segment>,
    /// The segment that is being made: its parts so far. Absent once the stream has ended.
    pub open: Option<OpenSegment>,
    /// Where the other renditions are.
    pub reports: Vec<RenditionReport>,
}

/// What segments are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Media that comes in parts: EXT-X-PART-INF.
    Parts,
    /// Whole files.
    Files,
    /// EXT-X-IMAGES-ONLY: images, with [`Segment::tiles`] each (Image Media Playlists, version 0.4).
    Images,
}

/// What comes before a segment and holds from there on.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentStart {
    /// Nothing connects it to the segment before: time stamps, codec set-up.
    pub discontinuity: bool,
    /// What the segments from here on are encrypted with, said again only where it changes.
    pub key: Option<Key>,
    /// EXT-X-KEY:METHOD=NONE: a key that segments before had holds no longer (4.4.4.4).
    pub ends_key: bool,
    /// The init section, said again only where it changes.
    pub map: Option<String>,
    pub program_date_time_ms: i64,
}

/// A whole segment.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    pub start: SegmentStart,
    /// Empty once the segment is more than three target durations from the end.
    pub parts: Vec<Part>,
    pub duration_s: f64,
    pub uri: String,
    /// EXT-X-GAP: there is no media, and the URI is not to be asked for.
    pub gap: bool,
    /// Of a segment that is an image.
    pub tiles: Option<Tiles>,
}

/// EXT-X-TILES: the pictures in an image, in reading order and at even distances in its time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tiles {
    /// Of each picture, in pixels.
    pub width: u32,
    pub height: u32,
    pub columns: u32,
    pub rows: u32,
    /// How long each is shown, in seconds.
    pub duration_s: f64,
}

/// The segment at the live edge.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenSegment {
    /// Absent while nothing of the segment is known, not even its first part.
    pub start: Option<SegmentStart>,
    pub parts: Vec<Part>,
    /// URI of the part that comes next, where that is known already.
    pub hint: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    pub duration_s: f64,
    /// A decoder can start with its first frame.
    pub independent: bool,
    /// There is no media, and the URI is not to be asked for.
    pub gap: bool,
    pub uri: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenditionReport {
    pub uri: String,
    pub last_msn: u64,
    /// Index of the last part of `last_msn`; `None` where the rendition has no parts.
    pub last_part: Option<u32>,
}

impl MediaPlaylist {
    /// The text of the playlist. A playlist without an open segment has ended.
    pub fn render(&self) -> String {
        self.render_head() + &self.render_rest()
    }

    /// What comes before the first segment.
    pub fn render_head(&self) -> String {
        text(512, |out| self.render_head_into(out))
    }

    /// The segments and what comes after them. Its start may be text that was rendered before: see [`Segment::render`].
    pub fn render_rest(&self) -> String {
        text(512 + 512 * self.segments.len(), |out| self.render_rest_into(out))
    }

    fn render_head_into(&self, out: &mut String) -> std::fmt::Result {
        let target = self.target_duration_s;
        write!(out, "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:{target}\n")?;
        write!(out, "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,")?;
        if let Some(skip_until_s) = self.skip_until_s {
            write!(out, "CAN-SKIP-UNTIL={skip_until_s:.3},CAN-SKIP-DATERANGES=YES,")?;
        }
        // 4.4.3.8: HOLD-BACK at least three target durations, PART-HOLD-BACK three part targets.
        write!(out, "HOLD-BACK={:.3}", 3.0 * target as f64)?;
        // Shaka takes a playlist without it for broken where another one of the presentation has parts.
        if let Some(part_target_s) = self.part_target_s {
            write!(out, ",PART-HOLD-BACK={:.5}", 3.0 * part_target_s)?;
        }
        writeln!(out)?;
        if let Some(part_target_s) = self.part_target_s.filter(|_| self.content == Content::Parts) {
            writeln!(out, "#EXT-X-PART-INF:PART-TARGET={part_target_s:.5}")?;
        }
        writeln!(out, "#EXT-X-MEDIA-SEQUENCE:{}", self.first_msn)?;
        writeln!(out, "#EXT-X-DISCONTINUITY-SEQUENCE:{}", self.discontinuity_sequence)?;
        writeln!(
            out,
            "{}",
            if self.content == Content::Images { "#EXT-X-IMAGES-ONLY" } else { "#EXT-X-INDEPENDENT-SEGMENTS" }
        )
    }

    fn render_rest_into(&self, out: &mut String) -> std::fmt::Result {
        self.segments.iter().try_for_each(|segment| segment.render_into(out))?;
        match &self.open {
            Some(open) => open.render_into(out)?,
            None => writeln!(out, "#EXT-X-ENDLIST")?,
        }
        // 4.4.5.4: a report is for a playlist that goes on.
        for report in self.reports.iter().filter(|_| self.open.is_some()) {
            let RenditionReport { uri, last_msn, last_part } = report;
            write!(out, "#EXT-X-RENDITION-REPORT:URI=\"{uri}\",LAST-MSN={last_msn}")?;
            match last_part {
                Some(last_part) => writeln!(out, ",LAST-PART={last_part}")?,
                None => writeln!(out)?,
            }
        }
        Ok(())
    }
}

impl Segment {
    /// Its lines: what comes before it, its parts, its URI.
    pub fn render(&self) -> String {
        text(160, |out| self.render_into(out))
    }

    fn render_into(&self, out: &mut String) -> std::fmt::Result {
        self.start.render_into(out)?;
        render_parts(&self.parts, out)?;
        if self.gap {
            writeln!(out, "#EXT-X-GAP")?;
        }
        if let Some(Tiles { width, height, columns, rows, duration_s }) = self.tiles {
            let (size, layout) = (format_args!("{width}x{height}"), format_args!("{columns}x{rows}"));
            writeln!(out, "#EXT-X-TILES:RESOLUTION={size},LAYOUT={layout},DURATION={duration_s:.5}")?;
        }
        writeln!(out, "#EXTINF:{:.5},\n{}", self.duration_s, self.uri)
    }
}

/// What stands for `count` segments in a Delta Update (4.4.5.2); behind it comes the first that is not left out.
pub fn skip(count: usize) -> String {
    format!("#EXT-X-SKIP:SKIPPED-SEGMENTS={count}\n")
}

/// Says which init section holds from here on, under no key: segments behind it have one each, or none.
pub fn clear_map(uri: &str) -> String {
    format!("#EXT-X-KEY:METHOD=NONE\n#EXT-X-MAP:URI=\"{uri}\"\n")
}

/// Says which key and which init section hold from here on.
pub fn state(key: Option<&Key>, map: Option<&str>) -> String {
    text(160, |out| protection::render_into(key, map, out))
}

pub(crate) fn text(capacity: usize, render: impl FnOnce(&mut String) -> std::fmt::Result) -> String {
    let mut out = String::with_capacity(capacity);
    render(&mut out).map_or_else(|_| String::new(), |()| out)
}

impl SegmentStart {
    pub(crate) fn render_into(&self, out: &mut String) -> std::fmt::Result {
        if self.discontinuity {
            writeln!(out, "#EXT-X-DISCONTINUITY")?;
        }
        if self.ends_key {
            writeln!(out, "#EXT-X-KEY:METHOD=NONE")?;
        }
        protection::render_into(self.key.as_ref(), self.map.as_deref(), out)?;
        writeln!(out, "#EXT-X-PROGRAM-DATE-TIME:{}", Rfc3339(self.program_date_time_ms))
    }
}

impl OpenSegment {
    fn render_into(&self, out: &mut String) -> std::fmt::Result {
        // 4.4.4.9: what applies to a segment comes before the first of its parts.
        if let Some(start) = self.start.as_ref().filter(|_| !self.parts.is_empty()) {
            start.render_into(out)?;
        }
        render_parts(&self.parts, out)?;
        match &self.hint {
            Some(uri) => writeln!(out, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{uri}\""),
            None => Ok(()),
        }
    }
}

fn render_parts(parts: &[Part], out: &mut String) -> std::fmt::Result {
    for part in parts {
        write!(out, "#EXT-X-PART:DURATION={:.5},URI=\"{}\"", part.duration_s, part.uri)?;
        out.write_str(if part.independent { ",INDEPENDENT=YES" } else { "" })?;
        out.write_str(if part.gap { ",GAP=YES\n" } else { "\n" })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::follow::{self, Followed};
    use crate::{Head, Position};

    fn start(map: Option<&str>, ms: i64) -> SegmentStart {
        SegmentStart {
            discontinuity: false,
            key: None,
            ends_key: false,
            map: map.map(str::to_owned),
            program_date_time_ms: ms,
        }
    }

    fn part(msn: u64, index: u32) -> Part {
        Part { duration_s: 4.0 / 15.0, independent: index == 0, gap: false, uri: format!("e/{msn}.{index}.m4s") }
    }

    fn live() -> MediaPlaylist {
        let segment = |msn: u64, parts: u32| Segment {
            start: start((msn == 7).then_some("e/init.mp4"), 1_795_226_400_500 + 2000 * (msn as i64 - 7)),
            parts: (0..parts).map(|index| part(msn, index)).collect(),
            duration_s: 2.0,
            uri: format!("e/{msn}.m4s"),
            gap: false,
            tiles: None,
        };
        MediaPlaylist {
            target_duration_s: 2,
            content: Content::Parts,
            part_target_s: Some(0.277_333),
            skip_until_s: Some(12.0),
            first_msn: 7,
            discontinuity_sequence: 0,
            segments: vec![segment(7, 0), segment(8, 2)],
            open: Some(OpenSegment {
                start: Some(start(None, 1_795_226_404_500)),
                parts: vec![part(9, 0)],
                hint: Some("e/9.1.m4s".to_owned()),
            }),
            reports: vec![RenditionReport { uri: "../audio/index.m3u8".to_owned(), last_msn: 9, last_part: Some(0) }],
        }
    }

    #[test]
    fn a_live_playlist_says_all_it_must() {
        let expected = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n\
            #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=12.000,CAN-SKIP-DATERANGES=YES,\
            HOLD-BACK=6.000,PART-HOLD-BACK=0.83200\n\
            #EXT-X-PART-INF:PART-TARGET=0.27733\n#EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-DISCONTINUITY-SEQUENCE:0\n\
            #EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-MAP:URI=\"e/init.mp4\"\n\
            #EXT-X-PROGRAM-DATE-TIME:2026-11-21T02:00:00.500Z\n#EXTINF:2.00000,\ne/7.m4s\n\
            #EXT-X-PROGRAM-DATE-TIME:2026-11-21T02:00:02.500Z\n\
            #EXT-X-PART:DURATION=0.26667,URI=\"e/8.0.m4s\",INDEPENDENT=YES\n\
            #EXT-X-PART:DURATION=0.26667,URI=\"e/8.1.m4s\"\n#EXTINF:2.00000,\ne/8.m4s\n\
            #EXT-X-PROGRAM-DATE-TIME:2026-11-21T02:00:04.500Z\n\
            #EXT-X-PART:DURATION=0.26667,URI=\"e/9.0.m4s\",INDEPENDENT=YES\n\
            #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"e/9.1.m4s\"\n\
            #EXT-X-RENDITION-REPORT:URI=\"../audio/index.m3u8\",LAST-MSN=9,LAST-PART=0\n";
        assert_eq!(live().render(), expected);
    }

    #[test]
    fn an_ended_playlist_hints_and_reports_nothing() {
        let text = MediaPlaylist { open: None, ..live() }.render();
        assert!(text.ends_with("e/8.m4s\n#EXT-X-ENDLIST\n"), "{text}");
    }

    #[test]
    fn a_segment_without_media_is_a_gap() {
        let mut playlist = live();
        playlist.segments[0].gap = true;
        assert!(playlist.render().contains("#EXT-X-GAP\n#EXTINF:2.00000,\ne/7.m4s\n"));
    }

    #[test]
    fn a_key_that_was_said_before_ends_before_what_is_in_the_clear() {
        let mut playlist = live();
        let start = SegmentStart { discontinuity: true, ends_key: true, ..start(Some("f/init.mp4"), 0) };
        playlist.segments[1].start = start;
        let expected = "#EXT-X-DISCONTINUITY\n#EXT-X-KEY:METHOD=NONE\n#EXT-X-MAP:URI=\"f/init.mp4\"\n";
        assert!(playlist.render().contains(expected), "{}", playlist.render());
    }

    #[test]
    fn while_nobody_publishes_nothing_is_hinted() {
        let open = Some(OpenSegment { start: None, parts: vec![], hint: None });
        let text = MediaPlaylist { open, ..live() }.render();
        assert!(!text.contains("PRELOAD-HINT") && !text.contains("ENDLIST"), "{text}");
    }

    #[test]
    fn what_is_rendered_is_followed() {
        let Ok(Followed::Media(media)) = follow::read(&live().render()) else { panic!("not a media playlist") };
        assert_eq!(media.head, Head { next: Position { msn: 9, part: 1 }, last_parts: 2, ended: false });
        assert_eq!(media.edge_unix_ms, Some(1_795_226_404_767));
    }
}
