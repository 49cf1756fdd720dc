//! Rungs that are away for some of an epoch, as an MPD tells it: a period for each time that others are there. Pure.

use super::keyed::times;
use manifest::presentation::{AdaptationSet, Period};
use std::collections::VecDeque;
use std::time::Duration;

/// From which segment on which renditions are away.
#[derive(Clone, Debug, Default)]
pub(super) struct Turned(VecDeque<(u64, Vec<String>)>);

/// Of one epoch. A rule that comes and goes all the time must not fill the memory or the MPD.
const TURNS_MAX: usize = 64;

impl Turned {
    /// A rendition is away from this segment on, or there again.
    pub(super) fn note(&mut self, msn: u64, rendition: &str, away: bool) {
        let mut names = self.0.back().map(|(_, names)| names.clone()).unwrap_or_default();
        names.retain(|name| name != rendition);
        if away {
            names.push(rendition.to_owned());
        }
        match self.0.back_mut().filter(|(from, _)| *from >= msn) {
            Some((_, last)) => *last = names,
            None => self.0.push_back((msn, names)),
        }
        if self.0.len() > TURNS_MAX {
            self.join_oldest();
        }
    }

    /// In both of the oldest stretches what is away in either is not told of.
    fn join_oldest(&mut self) {
        let Some(((from, names), (since, away))) = self.0.pop_front().zip(self.0.front_mut()) else { return };
        *since = from;
        for name in names {
            if !away.contains(&name) {
                away.push(name);
            }
        }
    }

    /// All are there from this segment on.
    pub(super) fn all_back(&mut self, msn: u64) {
        let away = self.0.back().map(|(_, names)| names.clone()).unwrap_or_default();
        away.iter().for_each(|rendition| self.note(msn, rendition, false));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// When others are there, after segments of such a length from `first_msn` on.
    pub(super) fn changes(&self, first_msn: u64, segment: Duration) -> impl Iterator<Item = Duration> {
        self.0.iter().map(move |(from, _)| times(segment, from.saturating_sub(first_msn)))
    }

    /// The period in as many as there are changes in it, each with what is there.
    pub(super) fn split(&self, period: Period, segment: Duration) -> Vec<Period> {
        let Some(first_msn) = period.sets.first().map(|set| set.first_number) else { return vec![period] };
        let starts = self.0.iter().map(|(from, _)| *from).filter(|from| *from > first_msn);
        let starts: Vec<u64> = std::iter::once(first_msn).chain(starts).collect();
        let mut periods = Vec::with_capacity(starts.len());
        for (index, &from) in starts.iter().enumerate() {
            let count = from - first_msn;
            let since = times(segment, count);
            let rest = period.duration.map(|duration| duration.saturating_sub(since));
            if index > 0 && rest == Some(Duration::ZERO) {
                break;
            }
            let until = starts.get(index + 1).map(|next| times(segment, next - from));
            let away = self.0.iter().rev().find(|(since, _)| *since <= from).map(|(_, names)| names);
            let here = |set: &AdaptationSet| {
                let mut set = AdaptationSet {
                    first_number: set.first_number + count,
                    offset_ticks: set.offset_ticks + count * set.segment_ticks,
                    reference_unix_ms: set.reference_unix_ms.map(|unix_ms| unix_ms + since.as_millis() as i64),
                    ..set.clone()
                };
                set.representations.retain(|one| away.is_none_or(|names| !names.contains(&one.id)));
                set
            };
            periods.push(Period {
                id: if count == 0 { period.id.clone() } else { format!("{}-{from}", period.id) },
                start: period.start + since,
                duration: [rest, until].into_iter().flatten().min(),
                events: Vec::new(),
                sets: period.sets.iter().map(here).filter(|set| !set.representations.is_empty()).collect(),
            });
        }
        periods
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use manifest::presentation::{Kind, Media, Representation};

    const SEGMENT: Duration = Duration::from_secs(2);

    fn period(duration_s: Option<u64>) -> Period {
        let media = || Media::Video { width: 2, height: 2, rate: (30, 1) };
        let one = |id: &str| Representation { id: id.into(), bitrate: 1, codec: "avc1".into(), media: media() };
        let set = AdaptationSet {
            only: Vec::new(),
            language: None,
            kind: Kind::Video,
            timescale: 1,
            segment_ticks: 2,
            offset_ticks: 1000,
            first_number: 100,
            early: None,
            reference_unix_ms: Some(50_000),
            protection: None,
            captions: Vec::new(),
            folder: "e".into(),
            init: "init.mp4".into(),
            representations: vec![one("1080p"), one("720p"), one("360p")],
        };
        let (start, duration) = (Duration::from_secs(50), duration_s.map(Duration::from_secs));
        Period { id: "e".into(), start, duration, events: Vec::new(), sets: vec![set] }
    }

    fn told(periods: &[Period]) -> Vec<(u64, Option<u64>, u64, u64, String)> {
        let of = |period: &Period| {
            let set = &period.sets[0];
            let ids: Vec<_> = set.representations.iter().map(|one| one.id.clone()).collect();
            let duration = period.duration.map(|duration| duration.as_secs());
            assert_eq!(set.reference_unix_ms, Some(period.start.as_millis() as i64));
            (period.start.as_secs(), duration, set.first_number, set.offset_ticks, ids.join(" "))
        };
        periods.iter().map(of).collect()
    }

    #[test]
    fn a_period_has_what_is_there_and_goes_on_where_the_one_before_ends() {
        let mut turned = Turned::default();
        assert_eq!(turned.split(period(None), SEGMENT), [period(None)]);
        turned.note(110, "1080p", true);
        turned.note(110, "720p", true);
        turned.note(120, "720p", false);
        turned.note(120, "1080p", false);
        let all = || "1080p 720p 360p".to_owned();
        let expected =
            [(50, Some(20), 100, 1000, all()), (70, Some(20), 110, 1020, "360p".into()), (90, None, 120, 1040, all())];
        assert_eq!(told(&turned.split(period(None), SEGMENT)), expected);
        let ended = turned.split(period(Some(40)), SEGMENT);
        assert_eq!(told(&ended), expected[..2]);
        let ids: Vec<_> = ended.iter().map(|period| period.id.as_str()).collect();
        assert_eq!(ids, ["e", "e-110"]);
    }

    #[test]
    fn who_begins_an_epoch_anew_has_all_of_it() {
        let mut turned = Turned::default();
        turned.all_back(100);
        assert!(turned.is_empty());
        turned.note(110, "1080p", true);
        turned.note(112, "720p", true);
        turned.all_back(115);
        let there: Vec<_> =
            told(&turned.split(period(None), SEGMENT)).into_iter().map(|told| (told.2, told.4)).collect();
        let all = "1080p 720p 360p";
        let expected = [(100, all), (110, "720p 360p"), (112, "360p"), (115, all)];
        assert_eq!(there, expected.map(|(msn, names)| (msn, names.to_owned())));
    }

    #[test]
    fn changes_are_bounded() {
        let mut turned = Turned::default();
        (0..1000).for_each(|index| turned.note(100 + index, "720p", index % 2 == 0));
        let periods = told(&turned.split(period(None), SEGMENT));
        assert_eq!(periods.len(), TURNS_MAX);
        // 720p is away in every second segment: of what is told together nothing is told of it.
        assert_eq!((periods[0].2, periods[0].4.as_str()), (100, "1080p 360p"));
        let last: Vec<_> = periods[TURNS_MAX - 2..].iter().map(|told| (told.2, told.4.as_str())).collect();
        assert_eq!(last, [(1098, "1080p 360p"), (1099, "1080p 720p 360p")]);
    }
}
