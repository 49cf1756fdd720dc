//! The rules of what is beside pictures and sound: images of thumbnails, and subtitles. Pure.

use super::rules::Checks;
use super::text::{Attributes, Media, Segment};
use super::{IMAGE_GRID, IMAGES, VTT, VTT_CUES, VTT_MAP};

/// A WebVTT file (W3C WebVTT, 4.1), as far as segments need it. Times in seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Subtitles {
    pub signed: bool,
    /// X-TIMESTAMP-MAP: a time of the file, and where in the media that is, in ticks of 90 kHz.
    pub map: Option<(f64, u64)>,
    /// When each cue begins and ends; `None` where that cannot be read.
    pub cues: Vec<Option<(f64, f64)>>,
}

/// Where a segment of subtitles is: begins, in seconds of the media, and how long it lasts.
pub type Place = (f64, f64);

/// Rounding of times of WebVTT, which are in milliseconds, and of frames at a segment's edges.
const EDGE_S: f64 = 0.1;
const TICKS_PER_S: f64 = 90_000.0;
/// Time stamps of MPEG-2 begin anew after 33 bits of ticks.
const TICKS: f64 = (1_u64 << 33) as f64;

/// The rules of an image playlist, and of one that has no business with images.
pub fn of_images(media: &Media, checks: &mut Checks) {
    let is_image = |segment: &&Segment| segment.uri.contains(".jpg") || segment.uri.contains(".png");
    let images = media.segments.iter().filter(is_image).count();
    if images == 0 && !media.images_only {
        return;
    }
    let parts = media.segments.iter().chain([&media.open]).any(|segment| !segment.parts.is_empty());
    let init = media.segments.iter().any(|segment| segment.map.is_some());
    checks.check(IMAGES, media.images_only && !parts && !init && media.part_target.is_none(), || {
        format!("says so: {}, parts: {parts}, init section: {init}", media.images_only)
    });
    for segment in media.segments.iter().filter(|segment| !segment.gap) {
        let tiles = segment.tiles.as_ref().and_then(tiles);
        let holds = tiles.is_some_and(|((_, _), (columns, rows), duration_s)| {
            let all_s = duration_s.map_or(segment.duration_s, |s| s * f64::from(columns * rows));
            columns > 0 && rows > 0 && all_s + EDGE_S >= segment.duration_s
        });
        checks.check(IMAGES, holds, || format!("{} lasts {} s: {:?}", segment.uri, segment.duration_s, segment.tiles));
    }
}

/// The rules of an image, by the EXT-X-TILES that holds for it.
pub fn of_image(bytes: &[u8], told: Option<&Attributes>, checks: &mut Checks) {
    let Some(((width, height), (columns, rows), _)) = told.and_then(tiles) else { return };
    let size = jpeg_size(bytes);
    checks.check(IMAGE_GRID, size == Some((width * columns, height * rows)), || {
        format!("{} bytes, {size:?} of {columns} x {rows} tiles of {width} x {height}", bytes.len())
    });
}

/// The rules of a segment of subtitles; where it is, if that is known.
pub fn of_subtitles(said: &Subtitles, place: Option<Place>, checks: &mut Checks) {
    let sound = said.cues.iter().all(|cue| cue.is_some_and(|(begins, ends)| begins < ends));
    checks.check(VTT, said.signed && sound, || format!("{said:?}"));
    checks.check(VTT_MAP, said.map.is_some(), || "it does not".to_owned());
    let Some((begins_s, length_s)) = place else { return };
    // Without a map, zero is zero.
    let (local_s, ticks) = said.map.unwrap_or_default();
    for (from, to) in said.cues.iter().flatten() {
        let at = |s: f64| ahead_s(s - local_s + ticks as f64 / TICKS_PER_S, begins_s);
        let shown = at(*from) < length_s + EDGE_S && at(*to) > -EDGE_S;
        checks.check(VTT_CUES, shown, || {
            format!("from {:.3} to {:.3} s of a segment of {length_s} s", at(*from), at(*to))
        });
    }
}

/// How far a time is ahead of another, both known but for a multiple of the 26.5 hours after which time stamps begin anew.
fn ahead_s(one: f64, other: f64) -> f64 {
    let period = TICKS / TICKS_PER_S;
    let apart = (one - other).rem_euclid(period);
    if apart > period / 2.0 { apart - period } else { apart }
}

/// Reads what it can: what it cannot is in the result.
pub fn subtitles(text: &str) -> Subtitles {
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n");
    let signed = text.strip_prefix("WEBVTT").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\n']));
    let map = text.lines().find_map(|line| line.strip_prefix("X-TIMESTAMP-MAP=")).and_then(|map| {
        let value = |name: &str| map.split(',').find_map(|pair| pair.trim().strip_prefix(name));
        Some((clock_s(value("LOCAL:")?)?, value("MPEGTS:")?.parse().ok()?))
    });
    let timing = |line: &str| {
        let (begins, rest) = line.split_once("-->")?;
        Some((clock_s(begins.trim())?, clock_s(rest.split_whitespace().next()?)?))
    };
    Subtitles { signed, map, cues: text.lines().filter(|line| line.contains("-->")).map(timing).collect() }
}

/// `HH:MM:SS.mmm` or `MM:SS.mmm`.
fn clock_s(text: &str) -> Option<f64> {
    text.split(':').try_fold(0.0, |all, number| Some(all * 60.0 + number.parse::<f64>().ok().filter(|n| *n >= 0.0)?))
}

type Size = (u32, u32);

/// EXT-X-TILES: the size of a tile, columns and rows, and how long each is shown if that is told.
fn tiles(told: &Attributes) -> Option<(Size, Size, Option<f64>)> {
    let duration_s = told.get("DURATION").map(|s| s.parse::<f64>());
    Some((size(told.get("RESOLUTION")?)?, size(told.get("LAYOUT")?)?, duration_s.transpose().ok()?))
}

/// `WIDTHxHEIGHT`.
pub(super) fn size(text: &str) -> Option<Size> {
    let (width, height) = text.split_once('x')?;
    Some((width.parse().ok()?, height.parse().ok()?))
}

/// Width and height of a whole JPEG (ITU-T T.81, B.2.2): from start to end of image, by its frame header.
pub(super) fn jpeg_size(bytes: &[u8]) -> Option<Size> {
    let mut rest = bytes.strip_prefix(&[0xff, 0xd8])?.strip_suffix(&[0xff, 0xd9])?;
    loop {
        let [0xff, marker, high, low, ..] = *rest else { return None };
        let segment = rest.get(2..2 + usize::from(u16::from_be_bytes([high, low])))?;
        // Frame headers are C0 to CF, but for tables (C4, CC) and a reserved one (C8).
        if matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
            let number = |at: usize| Some(u32::from(u16::from_be_bytes([*segment.get(at)?, *segment.get(at + 1)?])));
            return Some((number(5)?, number(3)?));
        }
        rest = &rest[2 + segment.len()..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::text;

    fn found(checks: &Checks) -> Vec<&'static str> {
        let mut names: Vec<_> = checks.found.iter().map(|finding| finding.rule.name).collect();
        names.dedup();
        names
    }

    const PLAYLIST: &str = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-IMAGES-ONLY\n\
        #EXT-X-TILES:RESOLUTION=160x90,LAYOUT=2x1,DURATION=1.0\n#EXTINF:2.0,\n1.jpg\n#EXTINF:1.5,\n2.jpg\n";

    #[test]
    fn image_playlists_have_their_faults() {
        for (from, to, expected) in [
            ("", "", &[][..]),
            (",DURATION=1.0", "", &[]),
            ("#EXT-X-IMAGES-ONLY\n", "", &["IMAGES"]),
            ("LAYOUT=2x1", "LAYOUT=1x1", &["IMAGES"]),
            ("LAYOUT=2x1", "LAYOUT=2", &["IMAGES"]),
            (",DURATION=1.0", ",DURATION=x", &["IMAGES"]),
            ("#EXT-X-TILES", "#EXT-X-NO", &["IMAGES"]),
            ("#EXTINF:2.0", "#EXT-X-PART:DURATION=2.0,URI=\"p.jpg\"\n#EXTINF:2.0", &["IMAGES"]),
            ("#EXTINF:2.0", "#EXT-X-MAP:URI=\"init.mp4\"\n#EXTINF:2.0", &["IMAGES"]),
        ] {
            let mut checks = Checks::default();
            of_images(&text::media(&PLAYLIST.replacen(from, to, 1)), &mut checks);
            assert_eq!(found(&checks), expected, "{from} -> {to}");
        }
        let mut checks = Checks::default();
        of_images(&text::media("#EXTM3U\n#EXTINF:2.0,\n1.m4s\n"), &mut checks);
        assert!(checks.made.is_empty(), "no business with images");
    }

    /// Start of image, an application segment, a frame header of 320 x 90, a scan, end of image.
    const JPEG: &[u8] =
        &[0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 2, 0xff, 0xc0, 0, 8, 8, 0, 90, 1, 64, 3, 0xff, 0xda, 0, 2, 9, 9, 0xff, 0xd9];

    #[test]
    fn images_have_the_size_of_their_tiles() {
        let told = |layout: &str| text::attributes(&format!("RESOLUTION=160x90,LAYOUT={layout}"));
        for (bytes, layout, expected) in [
            (JPEG, "2x1", &[][..]),
            (JPEG, "1x2", &["IMAGE_GRID"]),
            (&JPEG[..20], "2x1", &["IMAGE_GRID"]),
            (b"GIF89a", "2x1", &["IMAGE_GRID"]),
            (&[], "2x1", &["IMAGE_GRID"]),
        ] {
            let mut checks = Checks::default();
            of_image(bytes, Some(&told(layout)), &mut checks);
            assert_eq!(found(&checks), expected, "{layout} of {} bytes", bytes.len());
        }
    }

    #[test]
    fn subtitles_have_their_faults() {
        const FILE: &str = "WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:04.000,MPEGTS:900000\n\n\
            00:00:04.500 --> 00:00:06.000 align:left\none\n\n00:05.000 --> 00:00:07.500\ntwo\n";
        // The map says that it begins 10 s into the media.
        let place = Some((10.0, 4.0));
        for (from, to, expected) in [
            ("", "", &[][..]),
            ("WEBVTT", "WEBVT", &["VTT"]),
            ("00:00:06.000", "00:00:04.500", &["VTT"]),
            ("00:00:06.000", "soon", &["VTT"]),
            ("MPEGTS:900000", "MPEGTS:9900000", &["VTT_CUES"]),
            ("LOCAL:00:00:04.000", "LOCAL:00:00:14.000", &["VTT_CUES"]),
            ("00:00:04.500 --> 00:00:06.000", "00:00:14.500 --> 00:00:16.000", &["VTT_CUES"]),
            ("X-TIMESTAMP-MAP=LOCAL:00:00:04.000,MPEGTS:900000\n", "", &["VTT_MAP", "VTT_CUES"]),
        ] {
            let mut checks = Checks::default();
            of_subtitles(&subtitles(&FILE.replacen(from, to, 1)), place, &mut checks);
            assert_eq!(found(&checks), expected, "{from} -> {to}");
        }
    }

    #[test]
    fn time_stamps_begin_anew() {
        let wrapped = TICKS / TICKS_PER_S;
        assert!((ahead_s(1.0, 3.0 * wrapped + 0.5) - 0.5).abs() < 1e-6);
        assert!((ahead_s(0.5, 3.0 * wrapped + 1.0) + 0.5).abs() < 1e-6);
    }
}
