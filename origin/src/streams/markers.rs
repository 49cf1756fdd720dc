//! What was said of ranges of a stream's time, by its publisher or over HTTP: for playlists and MPDs. Pure.

use manifest::DateRange;
use manifest::date_range::DateRangeError;
use manifest::presentation::{Event, Message, Presentation, State};
use std::collections::VecDeque;
use std::time::Duration;

/// The newest of them, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Markers {
    ranges: VecDeque<(u32, DateRange)>,
    next: u32,
    /// When the last of them came, in Unix milliseconds.
    changed_unix_ms: Option<i64>,
}

/// How many markers are kept of a stream, and how long their lines may be together, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

/// Of a range, in seconds: a year.
pub(crate) const DURATION_MAX_S: f64 = 31_536_000.0;

impl Bounds {
    pub(crate) fn of(config: &config::Markers) -> Self {
        Self { count: config.max, bytes: config.bytes_max }
    }
}

/// Why a marker is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MarkError {
    #[error(transparent)]
    Range(#[from] DateRangeError),
    #[error(
        "the markers of this stream are {bytes_max} bytes of every playlist already; say less, wait for one to leave the window, or raise origin.markers.bytes_max"
    )]
    Full { bytes_max: usize },
}

/// What became of a marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marked {
    Added,
    /// The oldest one is forgotten for it.
    Displaced,
}

impl Markers {
    /// Adds a range, or what is new of one. `now_unix_ms` is when it starts if it does not say so itself.
    pub(crate) fn add(
        &mut self,
        mut range: DateRange,
        (starts, now_unix_ms, max): (bool, i64, Bounds),
    ) -> Result<Marked, MarkError> {
        let at = self.ranges.iter().position(|(_, known)| known.id == range.id);
        let known = at.map(|at| &self.ranges[at].1);
        if !starts {
            range.start_unix_ms = known.map_or(now_unix_ms, |known| known.start_unix_ms);
        }
        range.check()?;
        if let Some(known) = known {
            let mut both = known.clone();
            both.add(range)?;
            range = both;
        }
        let displaces = at.is_none() && self.ranges.len() >= max.count;
        let gone = at.or_else(|| displaces.then_some(0));
        let others = self.ranges.iter().enumerate().filter(|(index, _)| Some(*index) != gone);
        let bytes: usize = others.map(|(_, (_, other))| other.render().len()).sum();
        if bytes + range.render().len() > max.bytes {
            return Err(MarkError::Full { bytes_max: max.bytes });
        }
        self.changed_unix_ms = Some(now_unix_ms);
        if let Some(at) = at {
            self.ranges[at].1 = range;
            return Ok(Marked::Added);
        }
        if displaces {
            self.ranges.pop_front();
        }
        self.ranges.push_back((self.next, range));
        self.next = self.next.wrapping_add(1);
        Ok(if displaces { Marked::Displaced } else { Marked::Added })
    }

    /// Forgets those whose time is not in a playlist that begins at `from_unix_ms`.
    pub(super) fn forget(&mut self, from_unix_ms: i64) {
        let shown: Vec<u32> = self.since(from_unix_ms).map(|(number, _)| *number).collect();
        self.ranges.retain(|(number, _)| shown.contains(number));
    }

    /// The lines of those whose time has not left a playlist that begins at `from_unix_ms`.
    pub(crate) fn lines(&self, from_unix_ms: i64) -> String {
        self.since(from_unix_ms).map(|(_, range)| range.render()).collect()
    }

    /// Those whose time is not over at `from_unix_ms`, each with a number of its own.
    pub(crate) fn since(&self, from_unix_ms: i64) -> impl Iterator<Item = &(u32, DateRange)> {
        self.ranges.iter().filter(move |(_, range)| {
            // A splice that has opened and not closed has no end yet.
            let open = range.end_on_next || (range.scte35.out.is_some() && range.scte35.back.is_none());
            let unbounded = open && range.duration.is_none();
            unbounded || range.end_unix_ms().unwrap_or(range.start_unix_ms) >= from_unix_ms
        })
    }

    /// Puts them as events into the periods of an MPD in which they start.
    pub(super) fn tell(&self, presentation: &mut Presentation) {
        for period in &mut presentation.periods {
            // Media times are those of the wall clock.
            let Some(set) = period.sets.first() else { continue };
            let zero_ms = (u128::from(set.offset_ticks) * 1000 / u128::from(set.timescale.max(1))) as i64;
            let within = |at: &Duration| period.duration.is_none_or(|duration| *at < duration);
            let event = |(id, range): &(u32, DateRange)| {
                let at = u64::try_from(range.start_unix_ms - zero_ms).ok().map(Duration::from_millis).filter(within)?;
                let message = range.scte35.bytes().map_or_else(|| Message::Text(said(range)), Message::Scte35);
                Some(Event { id: *id, at, duration: range.duration.or(range.planned_duration), message })
            };
            period.events = self.since(zero_ms).filter_map(event).collect();
        }
        if let (State::Live(live), Some(changed)) = (&mut presentation.state, self.changed_unix_ms) {
            live.published_unix_ms = live.published_unix_ms.max(changed);
        }
    }
}

/// Attributes as in EXT-X-DATERANGE, one after the other.
fn said(range: &DateRange) -> String {
    let class = range.class.iter().map(|class| ("CLASS", class.as_str()));
    let more = range.more.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let attributes = std::iter::once(("ID", range.id.as_str())).chain(class).chain(more);
    attributes.map(|(name, value)| format!("{name}={value};")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use manifest::date_range::Scte35;

    const MAX: Bounds = Bounds { count: 9, bytes: 4096 };

    fn range(id: &str) -> DateRange {
        DateRange { id: id.into(), ..DateRange::default() }
    }

    #[test]
    fn a_marker_is_said_as_long_as_its_time_is_shown() {
        let mut markers = Markers::default();
        let starts = |range: DateRange, start_unix_ms| DateRange { start_unix_ms, ..range };
        let ad = DateRange { duration: Some(Duration::from_secs(30)), ..range("ad") };
        assert_eq!(markers.add(starts(ad, 10_000), (true, 0, MAX)), Ok(Marked::Added));
        assert_eq!(markers.add(starts(range("goal"), 20_000), (true, 0, MAX)), Ok(Marked::Added));
        let out = DateRange { scte35: Scte35 { out: Some("fc".into()), ..Scte35::default() }, ..range("open") };
        assert_eq!(markers.add(out.clone(), (false, 5_000, MAX)), Ok(Marked::Added));
        let shown = |markers: &Markers, from| markers.since(from).map(|(number, _)| *number).collect::<Vec<_>>();
        assert_eq!(shown(&markers, 20_000), [0, 1, 2]);
        assert_eq!(shown(&markers, 40_000), [0, 2]);
        assert_eq!(shown(&markers, 40_001), [2]);
        // What closes it need not say again when it began.
        let back = Scte35 { back: Some("fd".into()), ..Scte35::default() };
        let closed = DateRange { scte35: back, duration: Some(Duration::from_secs(1)), ..range("open") };
        assert_eq!(markers.add(closed, (false, 70_000, MAX)), Ok(Marked::Added));
        assert!(shown(&markers, 6_001).iter().all(|number| *number != 2));
        assert!(markers.lines(6_000).contains("ID=\"open\",START-DATE=\"1970-01-01T00:00:05.000Z\",DURATION=1.000,"));
        assert_eq!(markers.changed_unix_ms, Some(70_000));
    }

    #[test]
    fn markers_are_bounded_and_none_is_said_twice() {
        let mut markers = Markers::default();
        for index in 0..4 {
            let marked = if index < 3 { Marked::Added } else { Marked::Displaced };
            let max = Bounds { count: 3, ..MAX };
            assert_eq!(markers.add(range(&index.to_string()), (false, 1, max)), Ok(marked));
            assert_eq!(markers.add(range(&index.to_string()), (false, 2, max)), Ok(Marked::Added));
        }
        assert_eq!(markers.lines(0).lines().count(), 3);
    }

    #[test]
    fn markers_are_no_more_bytes_than_a_playlist_can_bear() {
        let max = Bounds { count: 256, bytes: 64 << 10 };
        let large = |id: usize| DateRange {
            scte35: Scte35 { out: Some("fc".repeat(4000)), ..Scte35::default() },
            duration: Some(Duration::from_secs(1)),
            ..range(&id.to_string())
        };
        let mut markers = Markers::default();
        let taken = (0..256).filter(|&id| markers.add(large(id), (false, 5000, max)).is_ok()).count();
        assert_eq!(taken, 8);
        assert!(markers.lines(0).len() <= max.bytes);
        assert_eq!(markers.add(large(99), (false, 5000, max)), Err(MarkError::Full { bytes_max: max.bytes }));
        // What is known may not grow past it either, and is left as it was.
        let more = DateRange { scte35: Scte35 { back: Some("fd".repeat(4000)), ..Scte35::default() }, ..range("0") };
        assert!(matches!(markers.add(more, (false, 6000, max)), Err(MarkError::Full { .. })));
        assert_eq!(markers.changed_unix_ms, Some(5000));
        // Their time leaves the window.
        markers.forget(6001);
        assert_eq!(markers.lines(0), "");
        assert_eq!(markers.add(large(99), (false, 5000, max)), Ok(Marked::Added));
    }
}
