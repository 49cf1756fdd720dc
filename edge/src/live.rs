//! The live window: what followed playlists name, kept for as long as they name it and three target durations more.
//!
//! Nothing else evicts it. It is bounded in bytes: what does not fit is left to the ordinary cache.

use crate::object::Object;
use crate::upstream::Promise;
use parking_lot::RwLock;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

/// Every live object that this node may hold, by key.
#[derive(Debug)]
pub struct Live {
    bytes_max: u64,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    slots: HashMap<Arc<str>, Slot>,
    leaving: BinaryHeap<Reverse<(Instant, Arc<str>)>>,
    bytes: u64,
}

#[derive(Debug)]
struct Slot {
    named: Named,
    /// How many playlists name it: renditions may share an init section.
    times: u32,
    /// When it may go, once no playlist names it.
    until: Option<Instant>,
    object: Option<Arc<Object>>,
    /// Requests upstream for it that have ended.
    requests: u32,
}

/// What the window knows of a key.
#[derive(Clone, Debug)]
pub enum Known {
    Object(Arc<Object>),
    /// Named by a playlist or MPD, not fetched yet.
    Named(Named),
    /// A live MPD.
    Mpd,
    /// Where an MPD's players read the time.
    Clock,
}

/// What a playlist or MPD says of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub promise: Promise,
    /// What it is asked for as upstream, where that is not the key: with arguments that upstream wrote, such as a token.
    pub url: Option<Arc<str>>,
}

/// What became of an object offered to the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    Yes,
    /// No playlist names it.
    Unnamed,
    /// The bound in bytes is reached.
    Full,
}

/// What is held of what one playlist names, and what it took to get it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    pub named: u64,
    pub kept: u64,
    pub kept_bytes: u64,
    /// Objects that were asked for upstream, and how often in all.
    pub fetched: u64,
    pub requests: u64,
}

/// What one playlist named last; the difference to what it names next is what the window learns.
#[derive(Debug, Default)]
pub struct Names(HashSet<Arc<str>>);

impl Names {
    pub fn contains(&self, key: &str) -> bool {
        self.0.contains(key)
    }
}

impl Live {
    pub fn new(bytes_max: u64) -> Self {
        Self { bytes_max, state: RwLock::default() }
    }

    pub fn get(&self, key: &str) -> Option<Known> {
        let state = self.state.read();
        let slot = state.slots.get(key)?;
        Some(slot.object.as_ref().map_or(Known::Named(slot.named.clone()), |object| Known::Object(object.clone())))
    }

    /// Keeps a whole object of status 200 if a playlist names it and there is room.
    pub fn keep(&self, key: &str, object: &Arc<Object>) -> Kept {
        let mut state = self.state.write();
        let weight = object.weight();
        let fits = state.bytes.saturating_add(weight) <= self.bytes_max;
        let Some(slot) = state.slots.get_mut(key) else { return Kept::Unnamed };
        if slot.object.is_some() {
            return Kept::Yes;
        }
        if !fits {
            return Kept::Full;
        }
        slot.object = Some(object.clone());
        state.bytes += weight;
        Kept::Yes
    }

    /// Counts requests upstream for an object.
    pub fn asked(&self, key: &str, requests: u32) {
        if let Some(slot) = self.state.write().slots.get_mut(key) {
            slot.requests = slot.requests.saturating_add(requests);
        }
    }

    pub fn census(&self, names: &Names) -> Census {
        let state = self.state.read();
        let mut census = Census { named: names.0.len() as u64, ..Census::default() };
        for slot in names.0.iter().filter_map(|key| state.slots.get(key)) {
            if let Some(object) = &slot.object {
                census.kept += 1;
                census.kept_bytes += object.weight();
            }
            census.fetched += u64::from(slot.requests > 0);
            census.requests += u64::from(slot.requests);
        }
        census
    }

    /// Keeps a whole object that no playlist lists and a live MPD's template stands for, until `until`.
    pub fn pin(&self, key: &Arc<str>, named: Named, object: &Arc<Object>, until: Instant) -> Kept {
        let mut state = self.state.write();
        let weight = object.weight();
        if state.bytes.saturating_add(weight) > self.bytes_max {
            return Kept::Full;
        }
        let slot = Slot { named, times: 0, until: Some(until), object: Some(object.clone()), requests: 0 };
        let before = state.slots.insert(key.clone(), slot).and_then(|slot| slot.object);
        state.bytes = state.bytes + weight - before.map_or(0, |object| object.weight());
        state.leaving.push(Reverse((until, key.clone())));
        Kept::Yes
    }

    /// A playlist now names `now_named`; what it named before and does not any more stays until `until`.
    /// Returns what is new.
    pub fn name(
        &self,
        names: &mut Names,
        now_named: impl IntoIterator<Item = (Arc<str>, Named)>,
        until: Instant,
    ) -> HashSet<Arc<str>> {
        let now_named: Vec<_> = now_named.into_iter().collect();
        let kept: HashSet<_> = now_named.iter().map(|(key, _)| key).collect();
        let gone: Vec<_> = names.0.iter().filter(|key| !kept.contains(key)).cloned().collect();
        self.rename(names, gone, now_named, until)
    }

    /// A playlist names `named` as well, and `gone` no more, which stays until `until`. Returns what is new.
    pub fn rename(
        &self,
        names: &mut Names,
        gone: impl IntoIterator<Item = Arc<str>>,
        named: impl IntoIterator<Item = (Arc<str>, Named)>,
        until: Instant,
    ) -> HashSet<Arc<str>> {
        let (mut new, mut spelt_anew) = (Vec::new(), Vec::new());
        for (key, named) in named {
            if names.0.insert(key.clone()) {
                new.push((key, named));
            } else if named.url.is_some() {
                spelt_anew.push((key, named.url));
            }
        }
        let gone: Vec<_> = gone.into_iter().filter(|key| names.0.remove(key)).collect();
        // Only the difference is done under the lock: a long window changes by little from one version to the next.
        let mut state = self.state.write();
        new.iter().for_each(|(key, named)| state.named(key, named));
        for (key, url) in spelt_anew {
            if let Some(slot) = state.slots.get_mut(&key) {
                slot.named.url = url;
            }
        }
        gone.into_iter().for_each(|key| state.unnamed(key, until));
        drop(state);
        new.into_iter().map(|(key, _)| key).collect()
    }

    /// Whether a playlist names it now.
    pub fn is_named(&self, key: &str) -> bool {
        self.state.read().slots.get(key).is_some_and(|slot| slot.times > 0)
    }

    /// Drops an object; its name stays.
    pub fn drop_object(&self, key: &str) {
        let mut state = self.state.write();
        let dropped = state.slots.get_mut(key).and_then(|slot| slot.object.take());
        state.bytes -= dropped.map_or(0, |object| object.weight());
    }

    /// Drops the objects that are shorter than their playlist says by now: files that were read while they grew.
    pub fn outgrown<'n>(&self, named: impl Iterator<Item = (&'n str, u64)>) {
        let mut state = self.state.write();
        for (key, bytes_min) in named {
            let slot = state.slots.get_mut(key);
            let short = slot.and_then(|slot| slot.object.take_if(|object| object.length < bytes_min));
            state.bytes -= short.map_or(0, |object| object.weight());
        }
    }

    /// Drops the objects that are meant; their names stay, so that they are fetched again. Returns how many there were.
    pub fn drop_objects(&self, meant: impl Fn(&str, &Object) -> bool) -> usize {
        let mut state = self.state.write();
        let mut dropped = Vec::new();
        for (key, slot) in &mut state.slots {
            dropped.extend(slot.object.take_if(|object| meant(key, object)));
        }
        state.bytes -= dropped.iter().map(|object| object.weight()).sum::<u64>();
        dropped.len()
    }

    /// Drops what has been unnamed for long enough; returns how many bytes are held now.
    pub fn sweep(&self, now: Instant) -> u64 {
        let mut state = self.state.write();
        while state.leaving.peek().is_some_and(|Reverse((until, _))| *until <= now) {
            let Some(Reverse((_, key))) = state.leaving.pop() else { break };
            let gone = state.slots.get(&key).is_some_and(|slot| slot.until.is_some_and(|until| until <= now));
            if gone && let Some(object) = state.slots.remove(&key).and_then(|slot| slot.object) {
                state.bytes -= object.weight();
            }
        }
        state.bytes
    }

    pub fn bytes(&self) -> u64 {
        self.state.read().bytes
    }
}

impl State {
    fn named(&mut self, key: &Arc<str>, named: &Named) {
        let new = || Slot { named: named.clone(), times: 0, until: None, object: None, requests: 0 };
        let slot = self.slots.entry(key.clone()).or_insert_with(new);
        slot.times += 1;
        slot.until = None;
    }

    fn unnamed(&mut self, key: Arc<str>, until: Instant) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        slot.times = slot.times.saturating_sub(1);
        if slot.times == 0 {
            slot.until = Some(until);
            self.leaving.push(Reverse((until, key)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Class;
    use crate::object::Head;
    use crate::upstream::PeerId;
    use bytes::Bytes;
    use std::time::Duration;

    const PART: Named =
        Named { promise: Promise { class: Class::Part, source: PeerId::of(0), late: None, due: None }, url: None };

    fn object(bytes: usize) -> Arc<Object> {
        let now = Instant::now();
        let head = Head::own(Class::Part, now, Duration::from_secs(1), &[]);
        Arc::new(Object::new(Arc::new(head), vec![Bytes::from(vec![0; bytes])], now))
    }

    fn named(keys: &[&str]) -> Vec<(Arc<str>, Named)> {
        keys.iter().map(|key| (Arc::from(*key), PART)).collect()
    }

    fn held(live: &Live, key: &str) -> bool {
        matches!(live.get(key), Some(Known::Object(_)))
    }

    #[test]
    fn objects_live_as_long_as_they_are_named_and_a_little_longer() {
        let (live, now) = (Live::new(1 << 20), Instant::now());
        let later = now + Duration::from_secs(6);
        let mut names = Names::default();
        assert_eq!(live.name(&mut names, named(&["a", "b", "a"]), later).len(), 2);
        assert_eq!(live.keep("a", &object(10)), Kept::Yes);
        assert_eq!(live.keep("x", &object(10)), Kept::Unnamed);
        assert!(matches!(live.get("b"), Some(Known::Named(named)) if named == PART));

        let new = live.name(&mut names, named(&["b", "c"]), later);
        assert_eq!(new, HashSet::from([Arc::from("c")]));
        live.sweep(now);
        assert!(held(&live, "a"), "it lingers");
        assert_eq!(live.sweep(later), 0);
        assert!(live.get("a").is_none());
    }

    #[test]
    fn an_object_that_is_named_again_stays() {
        let (live, now) = (Live::new(1 << 20), Instant::now());
        let (mut one, mut two) = (Names::default(), Names::default());
        live.name(&mut one, named(&["init"]), now);
        live.name(&mut two, named(&["init"]), now);
        live.keep("init", &object(10));
        live.name(&mut one, [], now);
        live.sweep(now);
        assert!(held(&live, "init"), "the other playlist names it");
        live.name(&mut two, [], now);
        live.name(&mut one, named(&["init"]), now);
        live.sweep(now);
        assert!(held(&live, "init"));
        live.name(&mut one, [], now);
        live.sweep(now);
        assert!(!held(&live, "init"));
    }

    #[test]
    fn what_upstream_wrote_into_a_name_is_asked_for_as_it_wrote_it_last() {
        let (live, now) = (Live::new(1 << 20), Instant::now());
        let mut names = Names::default();
        for token in ["a", "b"] {
            let url: Arc<str> = format!("/s?token={token}").into();
            let named = Named { url: Some(url.clone()), ..PART };
            live.name(&mut names, [(Arc::from("/s"), named)], now);
            assert!(matches!(live.get("/s"), Some(Known::Named(named)) if named.url == Some(url)));
        }
    }

    #[test]
    fn what_is_pinned_leaves_in_time_and_is_counted() {
        let weight = object(10).weight();
        let (live, now) = (Live::new(weight), Instant::now());
        let (later, key) = (now + Duration::from_secs(6), Arc::from("a"));
        assert_eq!(live.pin(&key, PART, &object(10), later), Kept::Yes);
        assert_eq!(live.pin(&Arc::from("b"), PART, &object(10), later), Kept::Full);
        assert_eq!((live.sweep(now), held(&live, "a")), (weight, true));
        assert_eq!((live.sweep(later), live.get("a").is_none()), (0, true));
    }

    #[test]
    fn bytes_are_counted_exactly_and_bounded() {
        let weight = object(100).weight();
        let (live, now) = (Live::new(2 * weight), Instant::now());
        let mut names = Names::default();
        live.name(&mut names, named(&["a", "b", "c"]), now);
        assert_eq!(live.keep("a", &object(100)), Kept::Yes);
        assert_eq!(live.keep("a", &object(100)), Kept::Yes, "the first one stays");
        assert_eq!(live.keep("b", &object(100)), Kept::Yes);
        assert_eq!(live.keep("c", &object(100)), Kept::Full);
        assert_eq!(live.bytes(), 2 * weight);
        live.name(&mut names, named(&["b"]), now);
        assert_eq!(live.sweep(now), weight);
        live.name(&mut names, named(&["b", "c"]), now);
        assert_eq!(live.keep("c", &object(100)), Kept::Yes);
        assert_eq!(live.drop_objects(|key, _| key == "c"), 1);
        assert_eq!(live.bytes(), weight);
        assert!(matches!(live.get("c"), Some(Known::Named(_))));
    }
}
