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
        (starts, now_unix_ms, max): (bool, i64, usize),
    ) -> Result<Marked, DateRangeError> {
        let known = self.ranges.iter_mut().map(|(_, known)| known).find(|known| known.id == range.id);
        if !starts {
            range.start_unix_ms = known.as_ref().map_or(now_unix_ms, |known| known.start_unix_ms);
        }
        range.check()?;
        self.changed_unix_ms = Some(now_unix_ms);
        if let Some(known) = known {
            return known.add(range).map(|()| Marked::Added);
        }
        self.ranges.push_back((self.next, range));
        self.next = self.next.wrapping_add(1);
        if self.ranges.len() <= max {
            return Ok(Marked::Added);
        }
        self.ranges.pop_front();
        Ok(Marked::Displaced)
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

    fn range(id: &str) -> DateRange {
        DateRange { id: id.into(), ..DateRange::default() }
    }

    #[test]
    fn a_marker_is_said_as_long_as_its_time_is_shown() {
        let mut markers = Markers::default();
        let starts = |range: DateRange, start_unix_ms| DateRange { start_unix_ms, ..range };
        let ad = DateRange { duration: Some(Duration::from_secs(30)), ..range("ad") };
        assert_eq!(markers.add(starts(ad, 10_000), (true, 0, 9)), Ok(Marked::Added));
        assert_eq!(markers.add(starts(range("goal"), 20_000), (true, 0, 9)), Ok(Marked::Added));
        let out = DateRange { scte35: Scte35 { out: Some("fc".into()), ..Scte35::default() }, ..range("open") };
        assert_eq!(markers.add(out.clone(), (false, 5_000, 9)), Ok(Marked::Added));
        let shown = |markers: &Markers, from| markers.since(from).map(|(number, _)| *number).collect::<Vec<_>>();
        assert_eq!(shown(&markers, 20_000), [0, 1, 2]);
        assert_eq!(shown(&markers, 40_000), [0, 2]);
        assert_eq!(shown(&markers, 40_001), [2]);
        // What closes it need not say again when it began.
        let back = Scte35 { back: Some("fd".into()), ..Scte35::default() };
        let closed = DateRange { scte35: back, duration: Some(Duration::from_secs(1)), ..range("open") };
        assert_eq!(markers.add(closed, (false, 70_000, 9)), Ok(Marked::Added));
        assert!(shown(&markers, 6_001).iter().all(|number| *number != 2));
        assert!(markers.lines(6_000).contains("ID=\"open\",START-DATE=\"1970-01-01T00:00:05.000Z\",DURATION=1.000,"));
        assert_eq!(markers.changed_unix_ms, Some(70_000));
    }

    #[test]
    fn markers_are_bounded_and_none_is_said_twice() {
        let mut markers = Markers::default();
        for index in 0..4 {
            let marked = if index < 3 { Marked::Added } else { Marked::Displaced };
            assert_eq!(markers.add(range(&index.to_string()), (false, 1, 3)), Ok(marked));
            assert_eq!(markers.add(range(&index.to_string()), (false, 2, 3)), Ok(Marked::Added));
        }
        assert_eq!(markers.lines(0).lines().count(), 3);
    }
}
