//! Keys of an epoch as an MPD tells them: a period for each, as every key has its init section. Pure.

use crate::keys::{KeyName, Told};
use manifest::presentation::{AdaptationSet, Kind, Period};
use manifest::protection::Key;
use std::sync::Arc;
use std::time::Duration;

/// From which segment on which key was used.
#[derive(Clone, Debug, Default)]
pub(super) struct Keyed {
    told: Option<Arc<Told>>,
    keys: Vec<(u64, KeyName)>,
}

impl Keyed {
    pub(super) fn new(told: Option<Arc<Told>>) -> Self {
        Self { told, keys: Vec::new() }
    }

    /// A segment has this key. Renditions come to a change one after the other.
    pub(super) fn note(&mut self, msn: u64, name: KeyName) {
        if self.keys.last().is_none_or(|(from, last)| *from < msn && *last != name) {
            self.keys.push((msn, name));
        }
    }

    pub(super) fn newest(&self) -> Option<KeyName> {
        self.keys.last().map(|(_, name)| *name)
    }

    pub(super) fn named(&self, id: &[u8; 16]) -> Option<KeyName> {
        self.keys.iter().map(|(_, name)| *name).find(|name| name.id == *id)
    }

    /// Nothing before this segment is answered any more.
    pub(super) fn forget(&mut self, msn: u64) {
        let over = self.keys.iter().skip(1).take_while(|(from, _)| *from <= msn).count();
        self.keys.drain(..over);
    }

    pub(super) fn session_key(&self) -> Option<Key> {
        let (told, (msn, name)) = self.told.as_ref().zip(self.keys.last())?;
        Some(told.session_key(*name, *msn))
    }

    /// Whether it tells the newest key of the other in another way.
    pub(super) fn differs_on_newest_of(&self, other: &Self) -> bool {
        let is_told = other.newest().is_some_and(|newest| self.named(&newest.id).is_some());
        is_told && self.told.as_ref().map(|told| &told.access) != other.told.as_ref().map(|told| &told.access)
    }

    /// When each key but the first begins to be used, after segments of such a length from `first_msn` on.
    pub(super) fn changes(&self, first_msn: u64, segment: Duration, planned: Option<(u64, KeyName)>) -> Vec<Duration> {
        let keys = self.with(planned).into_iter().skip(1);
        keys.map(|(msn, _)| times(segment, msn.saturating_sub(first_msn))).collect()
    }

    /// The keys, and the one that is to come.
    fn with(&self, planned: Option<(u64, KeyName)>) -> Vec<(u64, KeyName)> {
        let last = self.keys.last().copied();
        let planned = planned.filter(|(from, name)| last.is_some_and(|(since, last)| since < *from && last != *name));
        self.keys.iter().copied().chain(planned).collect()
    }

    /// The period in as many as it has keys; none while it is to be encrypted and has no segment yet.
    pub(super) fn split(&self, period: Period, segment: Duration, planned: Option<(u64, KeyName)>) -> Vec<Period> {
        let Some(told) = &self.told else { return vec![period] };
        let Some(first_msn) = period.sets.first().map(|set| set.first_number) else { return vec![period] };
        let keys = self.with(planned);
        let mut periods = Vec::with_capacity(keys.len());
        for (index, (from, name)) in keys.iter().enumerate() {
            // What was before the period's first segment has left it.
            let next = keys.get(index + 1).map(|(next, _)| *next);
            if next.is_some_and(|next| next <= first_msn) {
                continue;
            }
            let count = from.saturating_sub(first_msn);
            let since = times(segment, count);
            let whole = period.duration.map(|duration| duration.saturating_sub(since));
            let until = next.map(|next| times(segment, next - from.max(&first_msn)));
            if whole == Some(Duration::ZERO) {
                continue;
            }
            let moved = |set: &AdaptationSet| AdaptationSet {
                first_number: set.first_number + count,
                offset_ticks: set.offset_ticks + count * set.segment_ticks,
                reference_unix_ms: set.reference_unix_ms.map(|unix_ms| unix_ms + since.as_millis() as i64),
                protection: told.content_protection(*name).filter(|_| set.kind != Kind::Image),
                init: told.init(*name),
                ..set.clone()
            };
            periods.push(Period {
                id: if count == 0 { period.id.clone() } else { format!("{}-{from}", period.id) },
                start: period.start + since,
                duration: [whole, until].into_iter().flatten().min(),
                events: Vec::new(),
                sets: period.sets.iter().map(moved).collect(),
            });
        }
        periods
    }
}

/// So many segments.
pub(super) fn times(segment: Duration, count: u64) -> Duration {
    u32::try_from(count).map_or(Duration::MAX, |count| segment.saturating_mul(count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeyAccess;
    use config::EncryptionMethod;

    const SEGMENT: Duration = Duration::from_secs(2);

    fn name(of: u8) -> KeyName {
        KeyName { id: [of; 16], iv: [0; 16] }
    }

    fn keyed(keys: &[(u64, u8)]) -> Keyed {
        let told = Told::new(EncryptionMethod::Cbcs, "show", KeyAccess::default(), None);
        let mut keyed = Keyed::new(Some(Arc::new(told)));
        keys.iter().for_each(|(msn, of)| keyed.note(*msn, name(*of)));
        keyed
    }

    fn period(first_number: u64, duration_s: Option<u64>) -> Period {
        let set = AdaptationSet {
            kind: Kind::Audio,
            timescale: 1,
            segment_ticks: 2,
            offset_ticks: 1000,
            only: Vec::new(),
            first_number,
            early: None,
            reference_unix_ms: Some(50_000),
            protection: None,
            captions: Vec::new(),
            language: None,
            folder: "e".into(),
            init: "init.mp4".into(),
            representations: Vec::new(),
        };
        let (start, duration) = (Duration::from_secs(50), duration_s.map(Duration::from_secs));
        Period { id: "e".into(), start, duration, events: Vec::new(), sets: vec![set] }
    }

    fn told(periods: &[Period]) -> Vec<(u64, Option<u64>, u64, u64, u8)> {
        let of = |period: &Period| {
            let set = &period.sets[0];
            let id = set.protection.as_ref().unwrap().key_id[0];
            let duration = period.duration.map(|duration| duration.as_secs());
            assert_eq!(set.reference_unix_ms, Some(period.start.as_millis() as i64));
            (period.start.as_secs(), duration, set.first_number, set.offset_ticks, id)
        };
        periods.iter().map(of).collect()
    }

    #[test]
    fn each_key_is_a_period_that_goes_on_where_the_one_before_ends() {
        let keyed = keyed(&[(100, 1), (110, 2), (109, 1), (120, 3)]);
        let live = keyed.split(period(100, None), SEGMENT, None);
        let expected = [(50, Some(20), 100, 1000, 1), (70, Some(20), 110, 1020, 2), (90, None, 120, 1040, 3)];
        assert_eq!(told(&live), expected);
        assert_eq!(live[1].sets[0].init, format!("init.{}.mp4", "02".repeat(16)));
        let cut = keyed.split(period(100, Some(45)), SEGMENT, None);
        assert_eq!(told(&cut)[2], (90, Some(5), 120, 1040, 3));
        let later = keyed.split(period(112, Some(20)), SEGMENT, None);
        assert_eq!(told(&later), [(50, Some(16), 112, 1000, 2), (66, Some(4), 120, 1016, 3)]);
    }

    #[test]
    fn a_key_that_is_to_come_is_told_with_the_end_of_the_one_before() {
        let keyed = keyed(&[(100, 1)]);
        let planned = keyed.split(period(100, None), SEGMENT, Some((110, name(2))));
        assert_eq!(told(&planned), [(50, Some(20), 100, 1000, 1), (70, None, 110, 1020, 2)]);
        assert_eq!(keyed.changes(100, SEGMENT, Some((110, name(2)))), [Duration::from_secs(20)]);
        assert!(self::keyed(&[]).split(period(100, None), SEGMENT, Some((110, name(2)))).is_empty());
    }

    #[test]
    fn keys_of_what_is_gone_are_forgotten_and_the_rest_is_told_alike() {
        let mut keyed = keyed(&[(100, 1), (110, 2), (120, 3)]);
        let before = keyed.split(period(100, None), SEGMENT, None);
        keyed.forget(119);
        assert_eq!(keyed.named(&[1; 16]), None);
        assert_eq!((keyed.named(&[2; 16]), keyed.newest()), (Some(name(2)), Some(name(3))));
        assert_eq!(keyed.split(period(100, None), SEGMENT, None), before[1..]);
        keyed.forget(1000);
        assert_eq!(keyed.newest(), Some(name(3)));
    }
}
