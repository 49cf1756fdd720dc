//! The rules of following MPDs: how long one lives, which of its segments are live, and when each may be asked for.
//!
//! Nothing is fetched for its own sake: viewers' requests bring MPDs here, one at a time for each.

use crate::key::{Class, Target, normalized, path_of, resolve, speaks_for};
use crate::live::{Known, Named};
use crate::metrics::Bound;
use crate::object::Object;
use crate::store::freshness::Lease;
use crate::upstream::{Away, Due, PeerId, Promise, Rhythm};
use crate::variants::Variants;
use config::Cache as Rules;
use manifest::mpd::{self, Mpd, Template};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The live MPDs of this node.
#[derive(Debug)]
pub struct Dash {
    mpds_max: usize,
    /// A live MPD that nobody needed for so long is forgotten.
    idle: Duration,
    started: Instant,
    state: RwLock<State>,
}

#[derive(Debug)]
struct State {
    mpds: HashMap<Arc<str>, Arc<Followed>>,
    variants: Variants,
    /// By what their names begin with.
    patterns: BTreeMap<String, Vec<Pattern>>,
    clocks: HashMap<String, Arc<Followed>>,
}

/// A live MPD as it is shown.
#[derive(Debug)]
struct Followed {
    mpd: Mpd,
    shown: Arc<Object>,
    source: PeerId,
    /// Whose the next one is to be.
    away: Mutex<Away>,
    /// How long upstream takes to answer.
    rhythm: Rhythm,
    /// When it came, on this node's two clocks.
    arrived: Instant,
    arrived_unix_ms: i64,
    /// When a viewer last asked for it or for one of its segments, in milliseconds since `started`.
    used_ms: AtomicU64,
}

/// A template with its bases resolved.
#[derive(Debug)]
struct Pattern {
    followed: Arc<Followed>,
    template: Template,
    /// The path of a name begins and ends so.
    prefix: String,
    suffix: String,
    /// What the template asks of upstream besides the path.
    query: Option<String>,
}

/// An MPD as it came.
pub struct Came<'a> {
    pub key: &'a Arc<str>,
    pub object: &'a Object,
    pub source: PeerId,
    /// When it was asked for, and of whom first, as [`Dash::promise`] said.
    pub asked: Option<(Instant, PeerId)>,
    pub now: Instant,
    /// Wall clock, in Unix milliseconds.
    pub unix_ms: i64,
}

/// What is to be done with an MPD that came.
#[derive(Debug)]
pub enum Verdict {
    /// It is live: this is shown.
    Live(Arc<Object>),
    /// As `Live`, and what had its segments' names before is another life's: it must go.
    NewLife(Arc<Object>, Vec<(String, String)>),
    /// It is older than what viewers have seen: that is shown on.
    Backwards(Arc<Object>),
    /// It does not change.
    Static,
    /// What viewers have seen last, if that is not too old, is shown on.
    Unreadable(Option<Arc<Object>>),
    /// It is live, and this node follows as many as it may, in all or of this path.
    Full(Bound),
}

/// No MPD is asked for more often: what announces itself in MPDs is planned in seconds.
const FRESH_MIN: Duration = Duration::from_millis(250);
/// Nor less often while it has viewers.
const FRESH_MAX: Duration = Duration::from_secs(30);
/// As with playlists, three segments measure what is too late.
const LINGER_SEGMENTS: u32 = 3;
/// Where no segment says how long it is.
const SEGMENT_UNSAID: Duration = Duration::from_secs(4);
/// Segments of an hour are no live stream; bounding them keeps sums of instants in range.
const SEGMENT_MAX: Duration = Duration::from_secs(3600);
/// How long a segment is live where its MPD never takes it out of its window.
const WINDOW_UNSAID: Duration = Duration::from_secs(60);
const WINDOW_MAX: Duration = Duration::from_secs(86_400);
/// A missing segment that is late already is asked for again after this part of its cadence.
const LATE_FRACTION: u32 = 4;

impl Dash {
    pub fn new((mpds_max, variants_max): (usize, usize), idle: Duration, started: Instant) -> Self {
        let state = State {
            mpds: HashMap::new(),
            variants: Variants::new(variants_max),
            patterns: BTreeMap::new(),
            clocks: HashMap::new(),
        };
        Self { mpds_max, idle, started, state: RwLock::new(state) }
    }

    /// What live MPDs say of a key.
    pub fn look(&self, key: &str, now: Instant) -> Option<Known> {
        let state = self.state.read();
        if state.mpds.is_empty() {
            return None;
        }
        if let Some(followed) = state.mpds.get(key) {
            self.used(followed, now);
            return Some(Known::Mpd);
        }
        let path = path_of(key);
        if state.clocks.contains_key(path) {
            return Some(Known::Clock);
        }
        let pattern = state.pattern(path)?;
        self.used(&pattern.followed, now);
        Some(Known::Named(pattern.named(path, now)))
    }

    /// Until when an object of this key is live, and what is promised of it.
    pub fn window(&self, key: &str, now: Instant) -> Option<(Named, Instant)> {
        let state = self.state.read();
        let path = path_of(key);
        let pattern = state.pattern(path).filter(|_| !state.mpds.contains_key(key))?;
        Some((pattern.named(path, now), now + window(&pattern.followed.mpd)))
    }

    /// What the last MPD says of the next one, which is to be asked for `now`, where `home` is the first choice.
    pub fn promise(&self, key: &str, home: PeerId, now: Instant) -> Option<Promise> {
        let state = self.state.read();
        let followed = state.mpds.get(key)?;
        let source = followed.away.lock().next(home, now);
        let cadence = step(&followed.mpd);
        let late = Some(now + followed.rhythm.patience(cadence));
        Some(Promise { class: Class::Mpd, source, late, due: Some(Due { at: now, cadence }) })
    }

    /// Takes in an MPD.
    pub fn came(&self, came: &Came<'_>, rules: &Rules) -> Verdict {
        let Some(mpd) = read(came.object) else {
            // An error page of status 200 is a failure, and no reason to show viewers what is older than they have seen.
            let before = self.state.read().mpds.get(came.key).cloned();
            let last = before.filter(|before| came.now < before.arrived + linger(&before.mpd));
            let again = |before: Arc<Followed>| {
                let lease = lease(&before.mpd, &before.shown, rules, came.now);
                Arc::new(before.shown.leased(lease, came.now))
            };
            if last.is_none() {
                self.forget(|key| key == &**came.key);
            }
            return Verdict::Unreadable(last.map(again));
        };
        if !mpd.dynamic {
            self.forget(|key| key == &**came.key);
            return Verdict::Static;
        }
        let mut state = self.state.write();
        let lease = lease(&mpd, came.object, rules, came.now);
        let before = state.mpds.get(came.key).cloned();
        if before.is_none() && state.mpds.len() >= self.mpds_max {
            return Verdict::Full(Bound::Subscriptions);
        }
        if before.is_none() && !state.variants.have_room_for(came.key) {
            return Verdict::Full(Bound::Variants);
        }
        let known = before.as_ref().map(|before| (*before.away.lock(), before.rhythm));
        let before = before.filter(|before| came.now < before.arrived + linger(&before.mpd));
        if let Some(before) = before.as_ref().filter(|before| is_older(&mpd, &before.mpd)) {
            return Verdict::Backwards(Arc::new(before.shown.leased(lease, came.now)));
        }
        let gone = before.filter(|before| is_new_life(&mpd, &before.mpd)).map(|_| state.names(came.key));
        let shown = Arc::new(came.object.leased(lease, came.now));
        let (mut away, mut rhythm) = known.unwrap_or_else(|| (Away::new(came.source, came.now), Rhythm::new(came.now)));
        if let Some((asked, first)) = came.asked {
            rhythm.answered(asked, came.now, first == came.source);
        }
        away.show(came.source, came.now);
        let followed = Arc::new(Followed {
            mpd,
            shown: shown.clone(),
            source: came.source,
            away: Mutex::new(away),
            rhythm,
            arrived: came.now,
            arrived_unix_ms: came.unix_ms,
            used_ms: AtomicU64::new(self.since_start(came.now)),
        });
        state.remove(std::slice::from_ref(came.key));
        state.add(came.key, &followed);
        match gone {
            Some(gone) => Verdict::NewLife(shown, gone),
            None => Verdict::Live(shown),
        }
    }

    /// Those MPDs are to be seen as if for the first time.
    pub fn forget(&self, meant: impl Fn(&str) -> bool) {
        self.remove(|key, _| meant(key));
    }

    /// Forgets what nobody needed for long.
    pub fn sweep(&self, now: Instant) {
        self.remove(|_, followed| {
            let used = self.started + Duration::from_millis(followed.used_ms.load(Ordering::Relaxed));
            now >= used + self.idle.max(linger(&followed.mpd))
        });
    }

    fn remove(&self, meant: impl Fn(&str, &Followed) -> bool) {
        let gone: Vec<Arc<str>> = {
            let state = self.state.read();
            let gone = state.mpds.iter().filter(|(key, followed)| meant(key, followed));
            gone.map(|(key, _)| key.clone()).collect()
        };
        if !gone.is_empty() {
            self.state.write().remove(&gone);
        }
    }

    fn used(&self, followed: &Followed, now: Instant) {
        followed.used_ms.store(self.since_start(now), Ordering::Relaxed);
    }

    fn since_start(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.started).as_millis() as u64
    }
}

impl State {
    /// The pattern of a path; of several, as those of Periods, the one whose segment is due first.
    fn pattern(&self, path: &str) -> Option<&Pattern> {
        let patterns = beginning(&self.patterns, path).flatten();
        patterns.filter(|pattern| pattern.is(path)).min_by_key(|pattern| pattern.due_unix_ms(path))
    }

    fn add(&mut self, key: &Arc<str>, followed: &Arc<Followed>) {
        for template in &followed.mpd.templates {
            let Some(pattern) = Pattern::of(key, followed, template) else { continue };
            self.patterns.entry(pattern.prefix.clone()).or_default().push(pattern);
        }
        for clock in &followed.mpd.clocks {
            let url = resolve(key, clock).map(|url| normalized(&url).into_owned());
            if let Some(url) = url.filter(|url| speaks_for(key, url)) {
                self.clocks.insert(path_of(&url).to_owned(), followed.clone());
            }
        }
        self.variants.add(key);
        self.mpds.insert(key.clone(), followed.clone());
    }

    /// However many go, what they had in common is gone through once: viewers wait meanwhile.
    fn remove(&mut self, keys: &[Arc<str>]) {
        let (mut gone, mut prefixes) = (HashSet::new(), HashSet::new());
        for key in keys {
            let Some(followed) = self.mpds.remove(key) else { continue };
            self.variants.remove(key);
            let patterns = followed.mpd.templates.iter().filter_map(|template| Pattern::of(key, &followed, template));
            prefixes.extend(patterns.map(|pattern| pattern.prefix));
            gone.insert(Arc::as_ptr(&followed));
        }
        self.clocks.retain(|_, followed| !gone.contains(&Arc::as_ptr(followed)));
        for prefix in prefixes {
            if let Some(patterns) = self.patterns.get_mut(&prefix) {
                patterns.retain(|pattern| !gone.contains(&Arc::as_ptr(&pattern.followed)));
                if patterns.is_empty() {
                    self.patterns.remove(&prefix);
                }
            }
        }
    }

    /// How the names of an MPD's segments begin and end.
    fn names(&self, key: &str) -> Vec<(String, String)> {
        let Some(followed) = self.mpds.get(key) else { return Vec::new() };
        let patterns = followed.mpd.templates.iter().filter_map(|template| Pattern::of(key, followed, template));
        patterns.map(|pattern| (pattern.prefix, pattern.suffix)).collect()
    }
}

impl Pattern {
    /// `None` for what lies on another host or outside of the MPD's own folder, whose rules are not the MPD's to make, and
    /// for names that begin in a query.
    fn of(key: &str, followed: &Arc<Followed>, template: &Template) -> Option<Self> {
        let mut base = key.to_owned();
        for reference in &template.bases {
            base = resolve(&base, reference)?;
        }
        // An empty reference is the base itself, and a template's first identifier never means that.
        let probe = normalized(&resolve(&base, &format!("{}$", template.prefix))?).into_owned();
        let prefix = probe.strip_suffix('$').filter(|prefix| !prefix.contains('?'))?.to_owned();
        if !speaks_for(key, &prefix) {
            return None;
        }
        let (suffix, query) = match template.suffix.split_once('?') {
            Some((suffix, query)) => (suffix.to_owned(), Some(query.to_owned())),
            None => (template.suffix.clone(), None),
        };
        Some(Self { followed: followed.clone(), template: template.clone(), prefix, suffix, query })
    }

    fn is(&self, path: &str) -> bool {
        self.name(path).is_some_and(|name| self.template.fits(name))
    }

    /// What stands for the template's identifiers.
    fn name<'p>(&self, path: &'p str) -> Option<&'p str> {
        path.strip_prefix(self.prefix.as_str())?.strip_suffix(self.suffix.as_str())
    }

    fn due_unix_ms(&self, path: &str) -> Option<i64> {
        self.template.due_unix_ms(self.name(path)?)
    }

    fn named(&self, path: &str, now: Instant) -> Named {
        let followed = &self.followed;
        // A name that does not tell may be there now.
        let due = self.due_unix_ms(path).map_or(now, |due| {
            let after_arrival = due.saturating_sub(followed.arrived_unix_ms);
            followed.arrived + Duration::from_millis(u64::try_from(after_arrival).unwrap_or(0)).min(WINDOW_MAX)
        });
        let class = match self.template.class {
            mpd::Class::Init => Class::Init,
            mpd::Class::Segment => Class::Segment,
        };
        let cadence = self.template.cadence.unwrap_or(SEGMENT_UNSAID).min(SEGMENT_MAX);
        let late = Some(due.max(now) + followed.rhythm.patience(cadence.max(FRESH_MIN)));
        let promise = Promise { class, source: followed.source, late, due: Some(Due { at: due, cadence }) };
        Named { promise, url: self.query.as_ref().map(|query| format!("{path}?{query}").into()) }
    }
}

impl Due {
    /// For how long a 404 answers for upstream: until the segment is due; after that for a part of its cadence.
    pub fn missing(self, now: Instant, rules: &Rules) -> Duration {
        let explained = match self.at.checked_duration_since(now) {
            Some(left) if !left.is_zero() => left,
            _ => self.cadence / LATE_FRACTION,
        };
        explained.min(rules.missing)
    }
}

/// What is listed under every beginning of `path`, the longest first: other names, however many, are not looked at.
fn beginning<'m, T>(listed: &'m BTreeMap<String, T>, path: &str) -> impl Iterator<Item = &'m T> {
    let mut upto = Some(path);
    std::iter::from_fn(move || {
        loop {
            let path = upto?;
            // Between a beginning of the path and the path itself there are only names that have it in common.
            let (name, value) =
                listed.range::<str, _>((ops::Bound::Unbounded, ops::Bound::Included(path))).next_back()?;
            let common = path.bytes().zip(name.bytes()).take_while(|(one, other)| one == other).count();
            let is_beginning = common == name.len();
            let left = if is_beginning { common.checked_sub(1) } else { Some(common) };
            upto = left.map(|left| &path[..path.floor_char_boundary(left)]);
            if is_beginning {
                return Some(value);
            }
        }
    })
}

fn read(object: &Object) -> Option<Mpd> {
    let text = object.text()?;
    mpd::read(std::str::from_utf8(&text).ok()?).ok()
}

/// Half of the time after which players ask again, or after which something new is to be had: whoever is shown the oldest
/// copy, one more such time after that, is as far behind as the MPD allows.
fn lease(mpd: &Mpd, object: &Object, rules: &Rules, now: Instant) -> Lease {
    let says = ["cdn-cache-control", "cache-control", "expires"].iter().any(|name| object.head.field(name).is_some());
    let said = object.head.lifetime().filter(|_| says);
    let period = mpd.minimum_update_period.filter(|period| !period.is_zero()).map(|period| period / 2);
    let age = Duration::from_secs(now.saturating_duration_since(object.head.born).as_secs());
    let fresh = [said, period].into_iter().flatten().fold(segment(mpd) / 2, Duration::min).saturating_sub(age);
    let fresh = fresh.clamp(FRESH_MIN, FRESH_MAX);
    let validator = object.head.etag.is_some() || object.head.last_modified.is_some();
    Lease {
        fresh,
        while_revalidating: fresh.min(rules.stale_while_revalidate_max),
        if_error: linger(mpd).min(rules.stale_if_error_max),
        revalidate: if validator { rules.revalidate } else { Duration::ZERO },
    }
}

/// The shortest segment.
fn segment(mpd: &Mpd) -> Duration {
    let segments = mpd.templates.iter().filter_map(|template| template.segment);
    segments.min().unwrap_or(SEGMENT_UNSAID).min(SEGMENT_MAX)
}

/// How often the stream brings something new.
fn step(mpd: &Mpd) -> Duration {
    let cadences = mpd.templates.iter().filter_map(|template| template.cadence);
    cadences.min().unwrap_or(SEGMENT_UNSAID).clamp(FRESH_MIN, SEGMENT_MAX)
}

fn linger(mpd: &Mpd) -> Duration {
    segment(mpd) * LINGER_SEGMENTS
}

fn window(mpd: &Mpd) -> Duration {
    mpd.time_shift_buffer_depth.unwrap_or(WINDOW_UNSAID).min(WINDOW_MAX) + linger(mpd)
}

/// A life that began later is newer whatever it says; one that began earlier is another origin's.
fn is_older(mpd: &Mpd, before: &Mpd) -> bool {
    let earlier = |one: Option<i64>, other: Option<i64>| one.zip(other).is_some_and(|(one, other)| one < other);
    earlier(mpd.available_unix_ms, before.available_unix_ms)
        || (!is_new_life(mpd, before) && earlier(mpd.published_unix_ms, before.published_unix_ms))
}

/// ISO/IEC 23009-1, 5.3.1.2: `@availabilityStartTime` does not change in the life of an MPD.
fn is_new_life(mpd: &Mpd, before: &Mpd) -> bool {
    mpd.available_unix_ms.zip(before.available_unix_ms).is_some_and(|(now, before)| now != before)
}

/// The key under which an MPD is followed, whatever it was asked for as.
pub fn key_of(url: &str) -> Option<Arc<str>> {
    Some(Target::read(url).ok()?.live_key().as_ref().into())
}

#[cfg(test)]
#[path = "dash_tests.rs"]
mod tests;
