//! The synthetic LL-HLS stream that origin and viewers agree on: every byte of it follows from a position.

use manifest::media::{MediaPlaylist, OpenSegment, Part, RenditionReport, Segment, SegmentStart};
use manifest::{Head, Position};

/// Segments of 2 s in 7 parts, a usual low-latency cadence.
const PARTS: u32 = 7;
const SEGMENT_S: u64 = 2;
const PART_S: f64 = SEGMENT_S as f64 / PARTS as f64;
/// Whole segments in the window, the last of them with their parts: together about 2 KB of playlist.
const SEGMENTS: u64 = 8;
const SEGMENTS_WITH_PARTS: u64 = 2;
/// A part of 1.5 Mbit/s video.
const PART_BYTES: usize = 50 << 10;
/// The first position that is not there yet when the origin starts.
pub(crate) const FIRST: Position = Position { msn: 897_613_200, part: 3 };

pub(crate) const PLAYLIST: &str = "/live/bench/720p/index.m3u8";
/// Objects of any size live here, outside every playlist: `{bytes}.m4s`.
const SIZED: &str = "/live/bench/sized/0/";
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
    format!("{PLAYLIST}?_HLS_msn={}&_HLS_part={}", at.msn, at.part)
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

pub(crate) fn sized_target(bytes: usize) -> String {
    format!("{SIZED}{bytes}.m4s")
}

/// The media playlist when `next` is the first position that is not there.
pub(crate) fn playlist(next: Position) -> String {
    let open = (next.part > 0).then(|| start(next.msn));
    MediaPlaylist {
        target_duration_s: SEGMENT_S,
        part_target_s: PART_S,
        first_msn: next.msn - SEGMENTS,
        discontinuity_sequence: 0,
        segments: (next.msn - SEGMENTS..next.msn).map(|msn| segment(msn, next.msn)).collect(),
        open: Some(OpenSegment { start: open, parts: parts(next.msn, next.part), hint: Some(part_uri(next)) }),
        reports: vec![RenditionReport {
            uri: "../audio/index.m3u8".to_owned(),
            last_msn: next.msn,
            last_part: next.part,
        }],
    }
    .render()
}

/// The body of anything under the stream that is not a playlist; `None` where there is nothing.
pub(crate) fn media(path: &str) -> Option<Vec<u8>> {
    let bytes = match path.strip_prefix(SIZED) {
        Some(file) => file.strip_suffix(".m4s")?.parse().ok().filter(|bytes| *bytes <= SIZED_BYTES_MAX)?,
        None => {
            path.strip_prefix("/live/bench/720p/e/").filter(|file| file.ends_with(".m4s") || *file == "init.mp4")?;
            PART_BYTES
        }
    };
    // Not constant, so that a shifted or repeated stretch does not go unseen.
    Some((0..bytes).map(|index| (index * 31 + index / 251) as u8).collect())
}

fn segment(msn: u64, open: u64) -> Segment {
    Segment {
        start: SegmentStart { map: (msn + SEGMENTS == open).then(|| "e/init.mp4".to_owned()), ..start(msn) },
        parts: if msn + SEGMENTS_WITH_PARTS >= open { parts(msn, PARTS) } else { Vec::new() },
        duration_s: SEGMENT_S as f64,
        uri: format!("e/{msn}.m4s"),
        gap: false,
    }
}

fn start(msn: u64) -> SegmentStart {
    // As in the origin tier, the number of a segment is wall time divided by its length.
    let program_date_time_ms = i64::try_from(msn * SEGMENT_S * 1000).unwrap_or(i64::MAX);
    SegmentStart { discontinuity: false, map: None, program_date_time_ms }
}

fn parts(msn: u64, count: u32) -> Vec<Part> {
    let part = |part| Part { duration_s: PART_S, independent: part == 0, uri: part_uri(Position { msn, part }) };
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
    }
}
