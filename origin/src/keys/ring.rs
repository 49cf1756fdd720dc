//! Which key each segment of a stream has: the one of its period, or the one before while that has not come. Pure.

use super::KeyName;
use super::derive::Deriver;
use media::fmp4::ContentKey;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

/// The keys of one stream, by the periods that its segments' numbers fall into.
pub(crate) struct KeyRing {
    stream: String,
    deriver: Arc<Deriver>,
    /// `None` where one key is kept for ever.
    segments_per_key: Option<u64>,
    /// Keys are made here, and need not come.
    makes: bool,
    keys: BTreeMap<u64, [u8; 16]>,
    /// From which segment on which period's key is used. All renditions have the same, whichever of them comes first.
    used: VecDeque<(u64, u64)>,
    /// The highest segment that has its key.
    decided: Option<u64>,
}

/// Segments before a key is used that an MPD tells of it: clients read one for each segment, and some take segments for those
/// of a period until they read that it has ended.
pub(crate) const LEAD: u64 = 4;
/// Renditions are less than a few segments apart.
const USED_MAX: usize = 16;

impl fmt::Debug for KeyRing {
    /// No log shows a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing").field("stream", &self.stream).field("used", &self.used).finish_non_exhaustive()
    }
}

impl KeyRing {
    pub(super) fn new(stream: &str, deriver: Arc<Deriver>, segments_per_key: Option<u64>, makes: bool) -> Self {
        let (keys, used, stream) = (BTreeMap::new(), VecDeque::new(), stream.to_owned());
        Self { stream, deriver, segments_per_key, makes, keys, used, decided: None }
    }

    /// What this segment is encrypted with, from now on; `None` before any key has come.
    pub(crate) fn key(&mut self, msn: u64) -> Option<ContentKey> {
        if self.decided.is_none_or(|decided| decided < msn) {
            self.decide(msn);
        }
        let used = self.used.iter().rev().find(|(from, _)| *from <= msn).or_else(|| self.used.front());
        let (_, period) = *used?;
        let KeyName { id, iv } = self.deriver.name(&self.stream, period);
        let key = *self.keys.get(&period)?;
        Some(ContentKey { id, key, iv })
    }

    fn decide(&mut self, msn: u64) {
        let period = self.period(msn);
        if self.makes && !self.keys.contains_key(&period) {
            let id = self.deriver.name(&self.stream, period).id;
            self.keys.insert(period, self.deriver.key(&self.stream, &id));
        }
        let Some((&newest, _)) = self.keys.range(..=period).next_back() else { return };
        self.decided = Some(msn);
        if self.used.back().is_none_or(|(_, last)| *last < newest) {
            self.used.push_back((msn, newest));
        }
        while self.used.len() > USED_MAX {
            self.used.pop_front();
        }
        if let Some(&(_, oldest)) = self.used.front() {
            self.keys = self.keys.split_off(&oldest);
        }
    }

    /// The periods whose keys are to come, for a stream that has come to this segment: its own, and the next.
    pub(super) fn wanted(&self, msn: u64) -> Vec<(u64, KeyName)> {
        let period = self.period(msn);
        let last = period + u64::from(self.segments_per_key.is_some());
        let missing = (period..=last).filter(|period| !self.keys.contains_key(period));
        missing.map(|period| (period, self.deriver.name(&self.stream, period))).collect()
    }

    /// From which segment on the next key will be used, where a stream that has come to `msn` is no more than [`LEAD`] before
    /// it and the key is there.
    pub(crate) fn planned(&self, msn: u64) -> Option<(u64, KeyName)> {
        let next = self.period(msn) + 1;
        let from = next.checked_mul(self.segments_per_key?)?;
        let is_near = from.saturating_sub(msn) <= LEAD;
        let is_there = self.makes || self.keys.contains_key(&next);
        (is_near && is_there).then(|| (from, self.deriver.name(&self.stream, next)))
    }

    /// A key has come.
    pub(super) fn take(&mut self, period: u64, key: [u8; 16]) {
        self.keys.insert(period, key);
    }

    /// A key is in use for longer than it should be, or there is none.
    pub(super) fn is_overdue(&self, msn: u64) -> bool {
        !self.keys.contains_key(&self.period(msn))
    }

    /// Whether it is the first segment of a period, by its number alone.
    pub(crate) fn begins_period(&self, msn: u64) -> bool {
        self.segments_per_key.is_some_and(|segments| msn.is_multiple_of(segments))
    }

    fn period(&self, msn: u64) -> u64 {
        self.segments_per_key.map_or(0, |segments| msn / segments)
    }
}

#[cfg(test)]
impl KeyRing {
    /// Of keys that are made here.
    pub(crate) fn for_tests(segments_per_key: u64) -> Self {
        Self::new("show", Arc::new(Deriver::new(b"secret")), Some(segments_per_key), true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(segments_per_key: Option<u64>, makes: bool) -> KeyRing {
        KeyRing::new("show", Arc::new(Deriver::new(b"secret")), segments_per_key, makes)
    }

    fn id(ring: &mut KeyRing, msn: u64) -> Option<[u8; 16]> {
        ring.key(msn).map(|key| key.id)
    }

    #[test]
    fn keys_change_where_periods_do_whoever_comes_first() {
        let (mut one, mut other) = (ring(Some(10), true), ring(Some(10), true));
        let first: Vec<_> = (95..125).map(|msn| one.key(msn).unwrap()).collect();
        let changes = first.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert_eq!(changes, 3);
        assert_ne!(first[4], first[5], "100 begins a period");
        // A twin that begins elsewhere, and a rendition that is behind.
        assert_eq!(other.key(107), Some(first[12].clone()));
        assert_eq!(one.key(119), Some(first[24].clone()));
        let mut still = ring(None, true);
        assert_eq!(id(&mut still, 1), id(&mut still, 1 << 40));
    }

    #[test]
    fn the_key_before_stays_while_the_next_has_not_come() {
        let mut ring = ring(Some(10), false);
        assert_eq!(ring.key(100), None);
        assert_eq!(ring.wanted(100).iter().map(|(period, _)| *period).collect::<Vec<_>>(), [10, 11]);
        ring.take(10, [1; 16]);
        let first = id(&mut ring, 100);
        assert!(first.is_some() && !ring.is_overdue(109));
        assert_eq!((id(&mut ring, 110), ring.is_overdue(110)), (first, true));
        ring.take(11, [2; 16]);
        assert_eq!(id(&mut ring, 110), first, "what a segment has it keeps");
        let second = id(&mut ring, 111);
        assert!(second != first && !ring.is_overdue(111));
        assert_eq!((id(&mut ring, 110), id(&mut ring, 112)), (first, second));
        assert_eq!(ring.wanted(112).len(), 1);
    }

    #[test]
    fn a_key_of_a_later_period_is_not_used_before() {
        let mut ring = ring(Some(10), false);
        ring.take(11, [2; 16]);
        assert_eq!(ring.key(109), None);
        assert!(ring.key(110).is_some());
    }

    #[test]
    fn the_next_key_is_told_shortly_before_it_is_used() {
        let mut ring = ring(Some(10), false);
        ring.take(10, [1; 16]);
        assert!(ring.key(106).is_some());
        assert_eq!(ring.planned(106), None, "it has not come");
        ring.take(11, [2; 16]);
        assert_eq!(ring.planned(105), None);
        let (from, name) = ring.planned(106).unwrap();
        assert_eq!((from, Some(name.id)), (110, id(&mut ring, 110)));
    }

    #[test]
    fn old_keys_are_forgotten() {
        let mut ring = ring(Some(1), true);
        (0..1000).for_each(|msn| assert!(ring.key(msn).is_some()));
        assert!(ring.keys.len() <= USED_MAX && ring.used.len() <= USED_MAX);
    }
}
