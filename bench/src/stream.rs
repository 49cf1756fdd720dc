//! The synthetic LL-HLS stream that origin and viewers agree on: every byte of it follows from a position.

use manifest::media::{MediaPlaylist, OpenSegment, Part, RenditionReport, Segment, SegmentStart};
use manifest::{Head, Position};
use std::time::Duration;

/// Segments of 2 s in 7 parts, a usual low-latency cadence.
pub(crate) const PARTS: u32 = 7;
const SEGMENT_S: u64 = 2;
const PART_S: f64 = SEGMENT_S as f64 / PARTS as f64;
pub(crate) const PART: Duration = Duration::from_micros(SEGMENT_S * 1_000_000 / PARTS as u64);
/// Whole segments in the window, the last of them with their parts: together about 2 KB of playlist.
const SEGMENTS: u64 = 8;
const SEGMENTS_WITH_PARTS: u64 = 2;
/// A part of 1.5 Mbit/s video.
const PART_BYTES: usize = 50 << 10;
/// The first position that is not there yet when the origin starts.
pub(crate) const FIRST: Position = Position { msn: 897_613_200, part: 3 };

pub(crate) const PLAYLIST: &str = "/live/bench/720p/index.m3u8";
const LIVE: &str = "/live/bench/";
/// Objects of any size live here, outside every playlist: `{bytes}.m4s`.
const SIZED: &str = "/live/bench/sized/0/";
/// Films, of any number of objects of any size: `{number}/{bytes}.m4s`.
const FILM: &str = "/vod/bench/";
/// No benchmark needs a larger one.
const SIZED_BYTES_MAX: usize = 16 << 20;

/// What the origin says beside the body; every server under test has to pass it on.
pub(crate) const PASSED_ON: [&str; 4] =
    ["content-type", "content-length", "cache-control", "access-control-allow-origin"];

pub(crate) fn head(next: Position) -> Head {
    Head { next, last_parts: PARTS, ended: false }
}

pub(crate) fn after(position: Position) -> Position {
    let Position { msn, part } = position;
    if part + 1 < PARTS { Position { msn, part: part + 1 } } else { Position { msn: msn + 1, part: 0 } }
}

pub(crate) fn advance_limit() -> u32 {
    manifest::advance_part_limit(PART_S)
}

/// The request that waits for `at`.
pub(crate) fn blocking_target(at: Position) -> String {
    format!("{PLAYLIST}?{}", directives(at))
}

pub(crate) fn directives(Position { msn, part }: Position) -> String {
    format!("_HLS_msn={msn}&_HLS_part={part}")
}

/// How many parts `at` comes after the first that is published.
pub(crate) fn parts_after_first(at: Position) -> Option<usize> {
    let parts = |at: Position| at.msn.checked_mul(u64::from(PARTS))?.checked_add(u64::from(at.part));
    usize::try_from(parts(at)?.checked_sub(parts(FIRST)?)?).ok()
}

/// The playlist of one rendition; any name has one.
pub(crate) fn rendition(name: &str) -> String {
    format!("{LIVE}{name}/index.m3u8")
}

pub(crate) fn is_playlist(path: &str) -> bool {
    path.strip_prefix(LIVE).and_then(|path| path.strip_suffix("/index.m3u8")).is_some_and(|name| !name.contains('/'))
}

/// The URL of a part of one rendition.
pub(crate) fn part_target(rendition: &str, at: Position) -> String {
    format!("{LIVE}{rendition}/{}", part_uri(at))
}

/// What of a live stream a path names: a part, or a whole segment; `None` for everything else, its init among it.
pub(crate) fn live_object(path: &str) -> Option<LiveObject> {
    let (_, file) = path.strip_prefix(LIVE)?.split_once("/e/")?;
    let name = file.strip_suffix(".m4s")?;
    match name.split_once('.') {
        Some((msn, part)) => Some(LiveObject::Part(Position { msn: msn.parse().ok()?, part: part.parse().ok()? })),
        None => Some(LiveObject::Segment(name.parse().ok()?)),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LiveObject {
    Part(Position),
    Segment(u64),
}

/// The same request as viewer number `viewer` spells it: players order, tag and sign it in their own ways.
pub(crate) fn spelt_target(at: Position, viewer: usize) -> String {
    let Position { msn, part } = at;
    let query = match viewer % 4 {
        0 => format!("_HLS_msn={msn}&_HLS_part={part}"),
        1 => format!("_HLS_part={part}&_HLS_msn={msn}"),
        2 => format!("_HLS_msn={msn}&_HLS_part={part}&CMCD=bl%3D{}%2Cot%3Dm%2Csid%3D%22v{viewer}%22", 100 * viewer),
        _ => format!("token=v{viewer}&_HLS_msn={msn}&_HLS_part={part}"),
    };
    format!("{PLAYLIST}?{query}")
}

pub(crate) fn film_target(number: usize, bytes: usize) -> String {
    format!("{FILM}{number}/{bytes}.m4s")
}

pub(crate) fn sized_target(bytes: usize) -> String {
    format!("{SIZED}{bytes}.m4s")
}

/// The media playlist when `next` is the first position that is not there.
pub(crate) fn playlist(next: Position) -> String {
    let open = (next.part > 0).then(|| start(next.msn));
    MediaPlaylist {
        target_duration_s: SEGMENT_S,
        content: manifest::media::Content::Parts,
        part_target_s: Some(PART_S),
        skip_until_s: None,
        first_msn: next.msn - SEGMENTS,
        discontinuity_sequence: 0,
        segments: (next.msn - SEGMENTS..next.msn).map(|msn| segment(msn, next.msn)).collect(),
        open: Some(OpenSegment { start: open, parts: parts(next.msn, next.part), hint: Some(part_uri(next)) }),
        reports: vec![RenditionReport {
            uri: "../audio/index.m3u8".to_owned(),
            last_msn: next.msn,
            last_part: Some(next.part),
        }],
    }
    .render()
}

/// The body of anything that is not a playlist; `None` where there is nothing.
pub(crate) fn media(path: &str) -> Option<Vec<u8>> {
    let sized = |file: &str| file.strip_suffix(".m4s")?.parse().ok().filter(|bytes| *bytes <= SIZED_BYTES_MAX);
    if let Some(file) = path.strip_prefix(SIZED) {
        return Some(bytes(0, sized(file)?));
    }
    if let Some((_, file)) = path.strip_prefix(FILM).and_then(|path| path.split_once('/')) {
        return Some(bytes(0, sized(file)?));
    }
    let (name, file) = path.strip_prefix(LIVE)?.split_once("/e/")?;
    match live_object(path) {
        Some(LiveObject::Part(at)) => Some(part(name, at)),
        Some(LiveObject::Segment(msn)) => {
            Some((0..PARTS).flat_map(|index| part(name, Position { msn, part: index })).collect())
        }
        None => (file == "init.mp4").then(|| bytes(0, PART_BYTES)),
    }
}

/// Each part has bytes of its own, so that one in place of another is seen.
fn part(rendition: &str, at: Position) -> Vec<u8> {
    let name =
        rendition.bytes().fold(at.msn * 7 + u64::from(at.part), |sum, byte| sum.wrapping_mul(31) + u64::from(byte));
    bytes(name as usize % 251, PART_BYTES)
}

/// Not constant, so that a shifted or repeated stretch does not go unseen.
fn bytes(seed: usize, count: usize) -> Vec<u8> {
    (0..count).map(|index| (index * 31 + index / 251 + seed) as u8).collect()
}

fn segment(msn: u64, open: u64) -> Segment {
    Segment {
        start: SegmentStart { map: (msn + SEGMENTS == open).then(|| "e/init.mp4".to_owned()), ..start(msn) },
        parts: if msn + SEGMENTS_WITH_PARTS >= open { parts(msn, PARTS) } else { Vec::new() },
        duration_s: SEGMENT_S as f64,
        uri: format!("e/{msn}.m4s"),
        gap: false,
        tiles: None,
    }
}

fn start(msn: u64) -> SegmentStart {
    // As in the origin tier, the number of a segment is wall time divided by its length.
    let program_date_time_ms = i64::try_from(msn * SEGMENT_S * 1000).unwrap_or(i64::MAX);
    SegmentStart { discontinuity: false, key: None, ends_key: false, map: None, program_date_time_ms }
}

fn parts(msn: u64, count: u32) -> Vec<Part> {
    let part =
        |part| Part { duration_s: PART_S, independent: part == 0, gap: false, uri: part_uri(Position { msn, part }) };
    (0..count).map(part).collect()
}

fn part_uri(at: Position) -> String {
    format!("e/{at}.m4s")
}

#[cfg(test)]
mod tests {
    use super::*;
    use manifest::follow::{self, Followed};

    #[test]
    fn the_playlist_is_valid_and_near_2_kb_at_every_position() {
        let mut next = FIRST;
        for _ in 0..2 * PARTS {
            let text = playlist(next);
            let Ok(Followed::Media(media)) = follow::read(&text) else { panic!("{text}") };
            assert_eq!(media.head, head(next));
            assert!(media.can_block_reload && media.part_target_s.is_some());
            assert!((1700..2600).contains(&text.len()), "{} bytes", text.len());
            assert_ne!(text, playlist(after(next)));
            next = after(next);
        }
        assert_eq!(next, Position { msn: FIRST.msn + 2, part: FIRST.part });
    }

    #[test]
    fn every_spelling_asks_for_the_same() {
        for viewer in 0..8 {
            let target = spelt_target(FIRST, viewer);
            let (path, query) = target.split_once('?').unwrap();
            let wait = manifest::Directives::from_query(query).unwrap().wait;
            assert_eq!((path, wait), (PLAYLIST, Some(manifest::Wait::Part(FIRST))), "{target}");
        }
        assert_ne!(spelt_target(FIRST, 2), spelt_target(FIRST, 6));
    }

    #[test]
    fn sized_objects_have_their_size_and_do_not_repeat() {
        let body = media(&sized_target(65_536)).unwrap();
        assert_eq!(body.len(), 65_536);
        assert_ne!(body[..4096], body[4096..8192]);
        assert_eq!(media(&sized_target(SIZED_BYTES_MAX + 1)), None);
        assert_eq!(media("/live/bench/720p/e/1000.2.m4s").map(|body| body.len()), Some(PART_BYTES));
        assert_eq!(media("/live/bench/720p/e/index.html"), None);
        assert_eq!(media(&film_target(3, 4096)).map(|body| body.len()), Some(4096));
    }

    #[test]
    fn a_segment_is_its_parts_and_no_two_parts_are_the_same() {
        let target = |part| part_target("a", Position { msn: 9, part });
        let parts: Vec<u8> = (0..PARTS).filter_map(|part| media(&target(part))).flatten().collect();
        assert_eq!(media("/live/bench/a/e/9.m4s"), Some(parts));
        assert_ne!(media(&target(0)), media(&target(1)));
        assert_ne!(media(&target(0)), media(&part_target("b", Position { msn: 9, part: 0 })));
        assert_eq!(live_object(&target(4)), Some(LiveObject::Part(Position { msn: 9, part: 4 })));
        assert!(is_playlist(PLAYLIST) && is_playlist(&rendition("x")) && !is_playlist("/live/bench/a/b/index.m3u8"));
        assert_eq!(parts_after_first(after(FIRST)), Some(1));
        assert_eq!(parts_after_first(Position { msn: FIRST.msn - 1, part: 0 }), None);
    }
}
