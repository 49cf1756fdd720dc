//! What nothing else shows: readers of bytes from outside, for fuzz targets and for the tests that replay their seeds, and the
//! rules of an epoch, for the benchmark that gives them an hour.

mod epoch;

pub use epoch::{Cut, Epoch};

use crate::archive::Asked;
use crate::keys::read_key_answer;
use crate::rtmp;
use crate::slate::Slate;
use crate::store::{Record, crc, read_journal};
use crate::streams::{Bounds, Marked, Markers, Room, Span, Stream, Subtitles, Taken, marker_of_cue};
use crate::twin::{Answer, Offer, Outcome, Pairing};
use crate::window::Memory;
use bytes::Bytes;
use manifest::DateRange;
use manifest::follow::{Followed, read};
use media::Timescale;
use prometheus::IntCounter;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// When all of it is read, in Unix milliseconds: some day in 2026.
const NOW_UNIX_MS: i64 = 1_795_226_500_000;
const WINDOW: Duration = Duration::from_secs(120);

/// Reads what a key server answers; the key of the id `[0; 16]`, if there is one.
#[must_use]
pub fn key_answer(answer: &[u8]) -> Option<[u8; 16]> {
    read_key_answer(answer, &[0; 16]).ok()
}

/// Reads lines of a journal, to which it puts their sums, as an origin that starts. Returns how many were taken, and how
/// many renditions are shown again.
///
/// # Panics
/// If what is shown is no playlist, or goes on with another number than the stream.
#[must_use]
pub fn journal(lines: &str) -> (usize, usize) {
    let with_sum = |line: &str| format!("{:08x} {line}\n", crc(line.as_bytes()));
    let text: String = lines.lines().map(with_sum).collect();
    let (records, length) = read_journal(text.as_bytes());
    assert!(length <= text.len());
    let Ok(shortened) = IntCounter::new("shortened", "windows") else { return (0, 0) };
    let memory = Memory::new(usize::MAX, shortened);
    let room = Room { length: WINDOW, in_memory: WINDOW, memory, life: Arc::default(), told: None };
    let stream = Stream::new("a".to_owned(), room);
    if stream.replay(&records, Instant::now(), NOW_UNIX_MS).is_none() {
        return (records.len(), 0);
    }
    let _ = (stream.multivariant(), stream.mpd(NOW_UNIX_MS));
    let opened = records.iter().filter_map(|record| match record {
        Record::Epoch(epoch) => epoch.opened(),
        _ => None,
    });
    let names = opened.flat_map(|opened| opened.plan.renditions).map(|rendition| rendition.name);
    let shown = names.filter_map(|name| stream.rendition(&name)).map(|rendition| {
        let _ = stream.iframes(&rendition);
        let text = String::from_utf8_lossy(&stream.playlist(&rendition, manifest::Skip::Nothing).plain().concat())
            .into_owned();
        assert!(matches!(read(&text), Ok(Followed::Media(_))), "{text}");
    });
    (records.len(), shown.count())
}

/// Reads two offers, a line each, as two origins that send them to each other at once; returns whether they agreed.
///
/// # Panics
/// If they did not come to the same.
#[must_use]
pub fn offers(lines: &str) -> bool {
    let offer = |line: &str| serde_json::from_str(line).ok().filter(|offer: &Offer| offer.is_sane(NOW_UNIX_MS));
    let mut lines = lines.lines();
    let (Some(one), Some(other)) = (lines.next().and_then(offer), lines.next().and_then(offer)) else { return false };
    let (mut at_one, mut at_other) = (Pairing::default(), Pairing::default());
    at_one.offering(one.clone());
    at_other.offering(other.clone());
    let (to_one, to_other) = (at_other.answer(&one), at_one.answer(&other));
    // What is answered goes through JSON, and is judged, as on its way.
    let passed = |answer: &Answer, offer: &Offer| {
        let text = serde_json::to_string(answer).ok()?;
        serde_json::from_str(&text).ok().filter(|answer: &Answer| answer.suits(offer, NOW_UNIX_MS))
    };
    let (to_one, to_other) = (passed(&to_one, &one), passed(&to_other, &other));
    let (epoch, _, _, outcome) = at_one.begin(&one, to_one);
    let (same, _, _, also) = at_other.begin(&other, to_other);
    let together = outcome == Outcome::Together && also == Outcome::Together;
    assert!(!together || epoch == same, "{epoch:?} and {same:?}");
    together
}

/// Reads bodies of requests for markers, a line each; returns how many are said.
///
/// # Panics
/// If a marker says more than a line, or a line that is not one of markers.
#[must_use]
pub fn markers(lines: &str) -> usize {
    said(lines.lines().filter_map(|body| {
        let marker = crate::http::read_marker(body.as_bytes()).ok()?;
        Some((marker.range, marker.starts))
    }))
}

/// Reads a path below `/archive/`; returns whether it names anything.
///
/// # Panics
/// If it names a file outside the folder of its recording, or in another spelling than that of the path.
#[must_use]
pub fn archive_path(path: &str) -> bool {
    let Some(asked) = Asked::parse(path) else { return false };
    if let Asked::File(file) = asked {
        assert_eq!(format!("{}/{}", file.id, file.path), path);
        let plain = |step: &str| !step.is_empty() && !step.starts_with('.') && !step.contains(['\\', '\0']);
        assert!(path.split('/').all(plain), "{path:?}");
    }
    true
}

/// Reads a data message of a publisher; returns how many markers are said for it.
///
/// # Panics
/// As [`markers`].
#[must_use]
pub fn cue_point(payload: &[u8]) -> usize {
    said(rtmp::cue(payload, 0).and_then(|cue| marker_of_cue(&cue, NOW_UNIX_MS)).into_iter())
}

/// Reads a file as a slate; returns how many of its frames are repeated, none if it is refused.
///
/// # Panics
/// If a turn goes back behind the one before it.
#[must_use]
pub fn slate(file: &[u8]) -> usize {
    let Ok(slate) = Slate::read(Bytes::copy_from_slice(file)) else { return 0 };
    let count = slate.frames();
    let turns: Vec<_> = slate.repeated().take(2 * count).map(|frame| frame.dts).collect();
    let (one, next) = turns.split_at(count);
    assert!(one.iter().zip(next).all(|(one, next)| one < next), "{turns:?}");
    count
}

/// Reads a data message of a publisher; returns how many lines of text are shown for it.
///
/// # Panics
/// If the text is more than its cue, or cannot be named.
#[must_use]
pub fn text_data(payload: &[u8]) -> usize {
    let Some(said) = rtmp::text(payload, 0) else { return 0 };
    let config = config::Subtitles { tracks_max: 1, shown_max: WINDOW, expected: Vec::new() };
    let mut subtitles = Subtitles::new(&config, ("a", &[]), (NOW_UNIX_MS, Timescale::MILLISECONDS));
    let Taken::New(track) = subtitles.said(&said, 0) else { return 0 };
    assert!(track.is_sane(), "{track:?}");
    let cut = subtitles.segment(&Span { msn: 1, ticks: 0..2000 }).swap_remove(0);
    let (file, fragment) = (cut.file, cut.fragment);
    let cue = file.split_once("\n\n").and_then(|(_, cue)| cue.split_once('\n')).map_or("", |(_, text)| text.trim_end());
    let fragment = fragment.expect("every segment can be told in MP4");
    assert!(cue.is_empty() || fragment.windows(cue.len()).any(|said| said == cue.as_bytes()), "{file:?}");
    let blocks: Vec<&str> = file.split("\n\n").collect();
    assert!(blocks.len() <= 2 && file.starts_with("WEBVTT\n") && !file.contains('\r'), "{file:?}");
    let Some(cue) = blocks.get(1) else { return 0 };
    let mut lines = cue.lines();
    assert_eq!(lines.next(), Some("00:00:00.000 --> 00:00:02.000"));
    let shown: Vec<&str> = lines.collect();
    assert!(shown.iter().all(|line| !line.trim().is_empty() && !line.contains(['<', '>'])), "{file:?}");
    shown.len()
}

fn said(ranges: impl Iterator<Item = (DateRange, bool)>) -> usize {
    const MAX: Bounds = Bounds { count: 8, bytes: 64 << 10 };
    let mut markers = Markers::default();
    for (range, starts) in ranges {
        let marked = markers.add(range, (starts, NOW_UNIX_MS, MAX));
        assert!(matches!(marked, Ok(Marked::Added | Marked::Displaced) | Err(_)));
    }
    let lines = markers.lines(i64::MIN);
    let one_each = lines.lines().all(|line| line.starts_with("#EXT-X-DATERANGE:ID=\""));
    let count = lines.lines().count();
    assert!(
        one_each && count <= MAX.count && lines.len() <= MAX.bytes && count == markers.since(i64::MIN).count(),
        "{lines}"
    );
    count
}
