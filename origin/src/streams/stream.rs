//! One stream as requests see it: its renditions, its multivariant playlist, whether it is there yet.

mod away;
mod beside;
mod keys;
mod recorded;

pub(super) use beside::expected_bitrate;
pub(crate) use beside::{THUMBNAILS, TextTrack, Whole};
pub(crate) use keys::Encrypted;
pub(crate) use recorded::{Recorded, Unreadable};

use super::dash::{Epochs, Shown, published};
use super::ladder;
use super::markers::{Bounds, MarkError, Marked, Markers};
use super::measured::Measured;
use crate::epoch::{EpochId, Known, Numbers};
use crate::keys::{KeyName, KeyRing, Told};
use crate::medium::Medium;
use crate::segmenter::{Grid, Part};
use crate::store::{EpochRecord, Given, Life};
use crate::twin::Pairing;
use crate::window::{EpochStart, Gaps, Memory, OnDisk, Rendition, Shape, Text, Window, report};
use beside::Beside;
use bytes::Bytes;
use config::Ladder;
use manifest::media::RenditionReport;
use manifest::multivariant::MultivariantPlaylist;
use manifest::presentation::Presentation;
use manifest::{DateRange, Skip};
use media::TrackConfig;
use parking_lot::{Mutex, RwLock};
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use transcode::Plan;

/// Written by the stream's task, read by requests.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) name: String,
    room: Room,
    shelf: RwLock<Shelf>,
    /// What the other of two origins is told of it.
    pub(crate) pairing: Mutex<Pairing>,
    /// Grows with every change of any playlist.
    generation: AtomicU64,
    /// Nobody publishes: requests are not to wait for what nobody sends.
    abandoned: watch::Sender<bool>,
    ended: AtomicBool,
    /// It is to be encrypted, and no key has come.
    keyless: AtomicBool,
    /// The keys of its segments, while it has a task.
    ring: OnceLock<Arc<Mutex<KeyRing>>>,
    mpd: Mutex<Mpd>,
    markers: Mutex<Markers>,
    /// Instead of the configuration's.
    ladder: Mutex<Option<Arc<Ladder>>>,
    /// An encoder of a device has failed on it.
    without_devices: AtomicBool,
    /// What the configuration calls who publishes it, or did last.
    publisher: Mutex<Option<Arc<str>>>,
    measured: Mutex<Measured>,
}

/// The MPD, and the second in which it was rendered; and what was said last.
#[derive(Debug, Default)]
struct Mpd {
    now: Option<(i64, Arc<Text>)>,
    last: Option<Presentation>,
}

/// What a stream may take up, and where it is kept.
#[derive(Debug)]
pub(crate) struct Room {
    /// Of the window, and of what stays in memory of it.
    pub(crate) length: Duration,
    pub(crate) in_memory: Duration,
    pub(crate) memory: Memory,
    pub(crate) life: Arc<Life>,
    /// What players are told of keys, where the stream is to be encrypted.
    pub(crate) told: Option<Arc<Told>>,
}

#[derive(Debug, Default)]
struct Shelf {
    /// Those of the current plan, in its order, then those that were in earlier ones.
    renditions: Vec<Arc<Rendition>>,
    /// How many of them are in the current plan.
    current: usize,
    shape: Option<Shape>,
    /// Of whole segments, in seconds.
    segment_s: f64,
    /// The epoch that began last: discontinuities up to it, and its first number.
    began: Option<(u64, u64)>,
    multivariant: Option<Arc<Text>>,
    /// The same before anything was measured.
    expected: Option<MultivariantPlaylist>,
    epochs: Epochs,
    beside: Beside,
    /// Every rendition of the multivariant playlist has had a whole segment: players that do not know parts take a
    /// playlist without one for broken, and never come back to it.
    visible: bool,
}

/// An epoch that is set up in all its renditions.
pub(crate) struct Opening<'a> {
    pub(crate) numbers: Numbers,
    /// Segments of the epoch that another origin has made.
    pub(crate) joined: u64,
    pub(crate) known: &'a Known,
    pub(crate) plan: &'a Plan,
    /// How its segments are encrypted.
    pub(crate) encryption: Option<Encrypted>,
    /// Set-up and init section of each of the plan's renditions.
    pub(crate) tracks: Vec<(TrackConfig, Bytes)>,
    /// Subtitles that are there from its first segment on.
    pub(crate) texts: Vec<TextTrack>,
}

/// Renditions of earlier plans that are still answered, newest first. A source that changes its size all the time must
/// not fill the memory.
const LEFT_MAX: usize = 4;
/// The same of those that may go on, which take gaps meanwhile.
const PAUSED_MAX: usize = 16;
/// What is shorter is no absence, in milliseconds.
const ABSENCE_MS_MIN: u64 = 900;
/// More than there are segments in the longest window.
pub(super) const GAPS_MAX: u64 = 1 << 18;
/// No gap is listed as shorter, in seconds: a date that is a little early is better than a playlist of nothing.
const GAP_S_MIN: f64 = 0.1;

impl Stream {
    pub(crate) fn new(name: String, room: Room) -> Self {
        let (generation, ended, keyless) = (AtomicU64::new(0), AtomicBool::new(false), AtomicBool::new(false));
        let (abandoned, _) = watch::channel(false);
        let (mpd, markers, pairing) = (Mutex::default(), Mutex::default(), Mutex::default());
        let (shelf, measured, ladder, publisher) = Default::default();
        Self {
            name,
            room,
            shelf,
            pairing,
            generation,
            abandoned,
            ended,
            keyless,
            ring: OnceLock::new(),
            mpd,
            markers,
            ladder,
            without_devices: AtomicBool::new(false),
            publisher,
            measured,
        }
    }

    /// The multivariant playlist; `None` while a rendition of it is still missing.
    pub(crate) fn multivariant(&self) -> Option<Arc<Text>> {
        let shelf = self.shelf.read();
        shelf.multivariant.clone().filter(|_| shelf.visible)
    }

    /// The MPD as of this second; `None` while a rendition of it is still missing.
    pub(crate) fn mpd(&self, now_unix_ms: i64) -> Option<Arc<Text>> {
        let second = now_unix_ms.div_euclid(1000);
        let mut said = self.mpd.lock();
        if let Some((_, text)) = said.now.as_ref().filter(|(of, _)| *of == second) {
            return Some(text.clone());
        }
        let next = self.presentation(now_unix_ms)?;
        let presentation = published(said.last.take(), next, now_unix_ms);
        let text = Arc::new(Text::new(presentation.render()));
        *said = Mpd { now: Some((second, text.clone())), last: Some(presentation) };
        Some(text)
    }

    fn presentation(&self, now_unix_ms: i64) -> Option<Presentation> {
        let shelf = self.shelf.read();
        let current = &shelf.renditions[..shelf.current];
        let shown = Shown {
            first_msn: current.iter().map(|rendition| rendition.first_msn()).max()?,
            length: current.iter().map(|rendition| Duration::from_secs_f64(rendition.depth_s())).min()?,
            ended: current.iter().all(|rendition| rendition.head().ended),
            planned: current.first().and_then(|rendition| self.planned_behind(rendition.head().next)),
        };
        let markers = self.markers.lock();
        let mut presentation = shelf.epochs.presentation(shown, now_unix_ms).filter(|_| shelf.visible)?;
        markers.tell(&mut presentation);
        Some(presentation)
    }

    /// A rendition that players may know of.
    pub(crate) fn rendition(&self, name: &str) -> Option<Arc<Rendition>> {
        let shelf = self.shelf.read();
        shelf.all().find(|rendition| rendition.name == name).filter(|_| shelf.visible).cloned()
    }

    /// The playlist of one of this stream's renditions, with reports of the others as of now. To `skip` is to leave out what
    /// whoever has an earlier one knows, if there is any.
    pub(crate) fn playlist(&self, rendition: &Rendition, skip: Skip) -> Arc<Text> {
        let at = (self.generation.load(Ordering::Acquire), Instant::now());
        let dates = |from_ms| self.markers.lock().lines(from_ms);
        let delta = rendition.delta(at, skip, || self.reports(rendition), dates);
        delta.unwrap_or_else(|| rendition.full(at, || self.reports(rendition), dates))
    }

    fn reports(&self, rendition: &Rendition) -> Vec<RenditionReport> {
        if rendition.medium == Medium::Images {
            return Vec::new();
        }
        let shelf = self.shelf.read();
        let others = shelf.renditions[..shelf.current].iter().filter(|other| other.name != rendition.name);
        let others = others.filter(|other| !other.is_paused());
        let texts = shelf.beside.iter().filter(|other| other.medium == Medium::Text && other.name != rendition.name);
        let others = others.filter(|other| !other.is_empty()).chain(texts.filter(|text| text.has_segment()));
        others.filter_map(|other| report(&other.name, other.medium, other.head())).collect()
    }

    /// Returns once nobody publishes, and has not for longer than a request would have noticed.
    pub(crate) async fn abandoned(&self) {
        let mut abandoned = self.abandoned.subscribe();
        if abandoned.wait_for(|&abandoned| abandoned).await.is_err() {
            // The sender lives as long as the stream.
            pending::<()>().await;
        }
    }

    pub(crate) fn set_abandoned(&self, abandoned: bool) {
        self.abandoned.send_replace(abandoned);
    }

    /// The ladder that it has instead of the configuration's, from the next segment on.
    pub(crate) fn edit_ladder(&self, ladder: Option<Arc<Ladder>>) {
        *self.ladder.lock() = ladder;
    }

    pub(crate) fn edited_ladder(&self) -> Option<Arc<Ladder>> {
        self.ladder.lock().clone()
    }

    /// Its next workers encode on no device.
    pub(crate) fn leave_devices(&self) {
        self.without_devices.store(true, Ordering::Relaxed);
    }

    pub(crate) fn does_without_devices(&self) -> bool {
        self.without_devices.load(Ordering::Relaxed)
    }

    pub(crate) fn set_publisher(&self, name: Option<&str>) {
        *self.publisher.lock() = name.map(Arc::from);
    }

    pub(crate) fn publisher(&self) -> Option<Arc<str>> {
        self.publisher.lock().clone()
    }

    /// The longest that two parts may be apart; `None` before the first epoch.
    pub(crate) fn part_target(&self) -> Option<Duration> {
        self.shelf.read().shape.map(|shape| Duration::from_secs_f64(shape.part_target_s))
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// The number that follows on every segment there is; `None` before the first.
    pub(crate) fn next_msn(&self) -> Option<u64> {
        let shelf = self.shelf.read();
        shelf
            .renditions
            .iter()
            .filter(|rendition| !rendition.is_empty())
            .map(|rendition| rendition.next())
            .map(|next| next.msn + u64::from(next.part > 0))
            .max()
    }

    /// Discontinuities up to an epoch that begins with this number, its own included.
    pub(crate) fn discontinuities(&self, first_msn: u64) -> u64 {
        // An epoch without a part in any rendition is in no playlist.
        self.shelf.read().began.map_or(0, |(before, began)| before + u64::from(first_msn > began))
    }

    /// Bytes held in all windows.
    pub(crate) fn bytes(&self) -> usize {
        self.shelf.read().all().map(|rendition| rendition.bytes()).sum()
    }

    /// How long the window is, once it is full.
    pub(crate) fn window(&self) -> Duration {
        self.shelf.read().shape.map_or(self.room.length, |shape| Duration::from_secs_f64(shape.length_s))
    }

    /// Begins an epoch in every rendition at once. Those that its plan does not have go on with gaps: hls.js and Shaka leave
    /// one for another then, and take its end for that of the stream.
    pub(crate) fn open(&self, opening: Opening<'_>, now: Instant) {
        let mut multivariant = {
            let tracks: Vec<_> = opening.tracks.iter().map(|(config, _)| config.clone()).collect();
            ladder::multivariant(opening.plan, &tracks, opening.known)
        };
        let mut shelf = self.shelf.write();
        let told = opening.encryption.as_ref().map(|encrypted| self.told(encrypted));
        let method = told.as_ref().map(|told| told.method);
        let medium = Medium::of(method);
        if !medium.has_parts() {
            multivariant.variants.iter_mut().for_each(|variant| variant.trick_play = None);
        }
        let shape = Shape::of(opening.plan, medium, (self.room.length, self.room.in_memory));
        shelf.beside.expect(&opening.texts, (&self.room, shape));
        let Shelf { epochs, beside, .. } = &mut *shelf;
        epochs.begin(&opening, beside.texts(), told.clone());
        let segment_s = Grid::new(opening.plan).segment_s();
        let Numbers { id, first_msn, discontinuities, zero_unix_ms } = opening.numbers;
        let (id, joined_msn) = (EpochId(id), first_msn + opening.joined);
        (shelf.began, shelf.segment_s) = (Some((discontinuities, first_msn)), segment_s);
        let start = |init| EpochStart {
            id,
            discontinuities,
            first_msn,
            joined_msn,
            zero_unix_ms,
            segment_s,
            init,
            tiles: None,
            told: told.clone(),
        };
        let Opening { numbers, joined, known, plan, .. } = opening;
        let mut record = EpochRecord::new((numbers, joined), (known, plan, method), &opening.tracks);
        record.keys = told.as_ref().map(|told| told.access.clone());
        record.texts = shelf.beside.texts().to_vec();
        let mut before = std::mem::take(&mut shelf.renditions);
        for (planned, (_, init)) in opening.plan.renditions.iter().zip(&opening.tracks) {
            let goes_on = |rendition: &Arc<Rendition>| {
                rendition.name == planned.name && rendition.medium == medium && !rendition.head().ended
            };
            let known = before.iter().position(goes_on);
            let rendition = known
                .map_or_else(|| Arc::new(self.rendition_of(planned.name.clone(), shape)), |index| before.remove(index));
            rendition.begin(start(init.clone()), now);
            shelf.renditions.push(rendition);
        }
        shelf.current = shelf.renditions.len();
        let is_planned =
            |left: &Arc<Rendition>| opening.plan.renditions.iter().any(|planned| planned.name == left.name);
        let (replaced, before): (Vec<_>, Vec<_>) = before.into_iter().partition(is_planned);
        // Nobody watches what has been away for a whole window.
        let goes_on = |rendition: &Arc<Rendition>| !rendition.head().ended && !rendition.has_only_gaps();
        let (mut paused, ended): (Vec<_>, Vec<_>) = before.into_iter().partition(goes_on);
        let mut left = paused.split_off(paused.len().min(PAUSED_MAX));
        left.extend(ended);
        for rendition in &paused {
            rendition.begin_paused(start(Bytes::new()), now);
        }
        left.iter().for_each(|left| left.end(now));
        let dropped = left.split_off(left.len().min(LEFT_MAX));
        replaced.iter().chain(&dropped).for_each(|lost| shelf.epochs.lose(&lost.name));
        shelf.renditions.extend(paused);
        shelf.renditions.extend(left);
        shelf.beside.begin(start(Bytes::new()), opening.plan, (&self.room, shape), now);
        shelf.shape = Some(shape);
        self.measured.lock().begin(opening.plan.renditions.iter().map(|planned| planned.name.as_str()));
        shelf.expected = Some(multivariant);
        self.tell_multivariant(&mut shelf);
        // Behind the last segments of what was before it.
        self.room.life.opened(record);
        drop(shelf);
        self.announce();
        // Requests may still wait for them: what these are told is the end, and not to come again later.
        dropped.iter().for_each(|left| left.announce());
    }

    /// Publishes a part of the plan's rendition `index`: requests that wait for it are answered from here on. False if
    /// it is not the part that comes next there.
    pub(crate) fn publish(&self, index: usize, part: Part, now: Instant) -> bool {
        let (rendition, target_s) = {
            let shelf = self.shelf.read();
            let Some(rendition) = shelf.renditions.get(index).cloned() else { return false };
            (rendition, shelf.shape.map_or(0.0, |shape| shape.target_duration_s as f64))
        };
        self.keyed(&part);
        let update = self.measured.lock().part(&rendition.name, &part, (target_s, now));
        if !rendition.push(part, now) {
            return false;
        }
        if update {
            self.tell();
        }
        self.generation.fetch_add(1, Ordering::AcqRel);
        rendition.announce();
        self.reveal();
        true
    }

    /// The end of an epoch: open segments are closed as they are.
    pub(crate) fn break_off(&self, now: Instant, now_unix_ms: i64) {
        let mut shelf = self.shelf.write();
        shelf.all().for_each(|rendition| rendition.break_off(now));
        if let Some(id) = shelf.epochs.newest() {
            // Of the tallest picture: frames of sound end somewhere beside it.
            let length = shelf.renditions.first().map(|rendition| rendition.length(id)).unwrap_or_default();
            shelf.epochs.end(now_unix_ms, length);
        }
        drop(shelf);
        self.announce();
        self.room.life.broke_off(self.next_msn().unwrap_or(0), now_unix_ms);
        self.reveal();
    }

    /// Lists what should have come since the last epoch broke off, in segments of so long at most, up to this time. What dates
    /// jump by Shaka takes out of its time, where it is more than a second, and then it is behind what is live.
    pub(super) fn list_absence(&self, (segment, until_unix_ms): (Duration, i64), now: Instant) {
        let ends = self.shelf.read().renditions.iter().filter_map(|rendition| rendition.end_unix_ms()).max();
        let Some((end, next)) = ends.zip(self.next_msn()) else { return };
        let away_ms = u64::try_from(until_unix_ms - end).unwrap_or(0);
        let segment_ms = (segment.as_millis() as u64).max(1);
        if away_ms >= ABSENCE_MS_MIN {
            // No more than there are in the longest window, after a clock that was set.
            let count = away_ms.div_ceil(segment_ms).min(GAPS_MAX);
            // The epoch that begins behind them announces them.
            self.add_gaps((next + count - 1, false), now, until_unix_ms);
        }
    }

    /// What comes up to this segment is listed as gaps that end now, so that no date is after what comes then. Numbers that
    /// may have been given, nobody knows in what epochs, are unsure.
    pub(super) fn gap_through(&self, last: (u64, bool), now: Instant, now_unix_ms: i64) {
        self.add_gaps(last, now, now_unix_ms);
        self.announce();
    }

    fn add_gaps(&self, (last, is_unsure): (u64, bool), now: Instant, now_unix_ms: i64) {
        self.room.life.gapped((last, is_unsure), now_unix_ms);
        let Some(first) = self.next_msn() else { return };
        let mut shelf = self.shelf.write();
        let newest = shelf.renditions.iter().filter(|rendition| rendition.next().msn == first);
        let ends = newest.filter_map(|rendition| rendition.end_unix_ms()).max();
        let Some(unix_ms) = ends else { return };
        let count = (last + 1).saturating_sub(first).max(1) as f64;
        let each_s = (now_unix_ms - unix_ms) as f64 / 1000.0 / count;
        let each_s = each_s.min(shelf.segment_s).max(GAP_S_MIN);
        let gaps = Gaps { first, last, unix_ms, each_s, is_unsure };
        shelf.all().for_each(|rendition| rendition.gap_through(&gaps, now));
        if is_unsure {
            shelf.began = shelf.began.map(|(discontinuities, _)| (discontinuities + 1, first));
        }
    }

    /// What was on disk is not there any more.
    pub(crate) fn lose_disk(&self, now: Instant) {
        self.shelf.read().all().for_each(|rendition| rendition.lose_disk(now));
        self.announce();
    }

    /// Says something of a range of time in every playlist: `when` is whether it says when it starts, when it came, and how
    /// much is kept. What is in no playlist any more is forgotten first.
    pub(crate) fn mark(&self, range: DateRange, when: (bool, i64, Bounds)) -> Result<Marked, MarkError> {
        let first_unix_ms = self.shelf.read().renditions.iter().map(|rendition| rendition.first_unix_ms()).min();
        self.markers.lock().forget(first_unix_ms.unwrap_or(0));
        let marked = self.markers.lock().add(range, when)?;
        self.mpd.lock().now = None;
        self.generation.fetch_add(1, Ordering::AcqRel);
        Ok(marked)
    }

    /// The key frames of a rendition, with the same markers; `None` for one without pictures.
    pub(crate) fn iframes(&self, rendition: &Rendition) -> Option<Arc<Text>> {
        rendition.iframes(|from_ms| self.markers.lock().lines(from_ms))
    }

    /// The end of the stream: every playlist says so, and nobody waits any more.
    pub(crate) fn end(&self, now: Instant, now_unix_ms: i64) {
        self.end_renditions(now);
        self.room.life.ended(now_unix_ms, &self.markers.lock());
        self.announce();
        self.reveal();
    }

    pub(crate) fn life(&self) -> &Life {
        &self.room.life
    }

    /// The highest names that streams of this name were given.
    pub(crate) fn given(&self) -> Given {
        self.room.life.given()
    }

    /// Takes a segment that is on disk.
    pub(super) fn restore(
        &self,
        rendition: &str,
        name: (EpochId, u64),
        (disk, key): (OnDisk, Option<KeyName>),
        now: Instant,
    ) {
        if let Some(key) = key {
            self.shelf.write().epochs.keyed((name.1, key), 0);
        }
        let shelf = self.shelf.read();
        let restored = shelf.all().find(|known| known.name == rendition);
        if restored.is_none_or(|rendition| !rendition.restore(name, (disk, key), now)) {
            tracing::warn!(stream = %self.name, rendition, msn = name.1, "a segment on disk is of no epoch that is known");
        }
    }

    fn rendition_of(&self, name: String, shape: Shape) -> Rendition {
        Rendition::new(name, Window::new(shape, self.room.memory.clone()), Arc::clone(&self.room.life))
    }

    /// From here on the name is free for another stream.
    pub(crate) fn set_ended(&self) {
        self.ended.store(true, Ordering::Release);
    }

    fn announce(&self) {
        self.mpd.lock().now = None;
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.shelf.read().all().for_each(|rendition| rendition.announce());
    }

    fn reveal(&self) {
        let ready = |shelf: &Shelf| {
            !shelf.visible && shelf.renditions[..shelf.current].iter().all(|rendition| rendition.has_segment())
        };
        if ready(&self.shelf.read()) {
            self.shelf.write().visible = true;
        }
    }
}

impl Shelf {
    /// With those that nobody waits for.
    fn all(&self) -> impl Iterator<Item = &Arc<Rendition>> {
        self.renditions.iter().chain(self.beside.iter())
    }
}

#[cfg(test)]
impl Room {
    /// Without a disk.
    pub(crate) fn for_tests(length: Duration) -> Self {
        let shortened = prometheus::IntCounter::new("shortened", "in tests").unwrap();
        Self { length, in_memory: length, memory: Memory::new(usize::MAX, shortened), life: Arc::default(), told: None }
    }
}

#[cfg(test)]
mod tests;
