//! A window that many requests share: who waits for it, and its playlist rendered once per change.

use super::{EpochStart, Gaps, Lookup, Name, OnDisk, PartLength, Text, Window};
use crate::epoch::EpochId;
use crate::keys::KeyName;
use crate::medium::Medium;
use crate::segmenter::Part;
use crate::store::Life;
use manifest::delta::DateRanges;
use manifest::media::RenditionReport;
use manifest::{Head, Position, Skip, advance_part_limit};
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// One rendition of a stream. The stream's task writes it; requests read it and wait for its head to move.
#[derive(Debug)]
pub(crate) struct Rendition {
    pub(crate) name: String,
    pub(crate) medium: Medium,
    window: Arc<Mutex<Window>>,
    /// Where its segments are kept.
    life: Arc<Life>,
    head: watch::Sender<Head>,
    said: Mutex<Said>,
    /// The I-frame playlist, and the head of the window and the markers at its last change.
    frames: Mutex<Option<(FramesOf, Option<Arc<Text>>)>>,
    /// Where the pictures of its images are, and the head of the window then.
    sprites: Mutex<Option<(Head, Option<Arc<Text>>)>>,
}

/// The playlist as it was said last, and the generation of the stream that it tells of.
#[derive(Debug, Default)]
struct Said {
    generation: u64,
    full: Option<Arc<Text>>,
    /// `Some(None)` where there is none.
    delta: Option<Option<Arc<Text>>>,
    /// The Delta Update without older date ranges, and until when it is that.
    recent: Option<(Arc<Text>, Option<Instant>)>,
    /// Of every playlist that was said.
    dates: DateRanges,
}

/// What an I-frame playlist depends on.
type FramesOf = (Head, String);

impl Rendition {
    pub(crate) fn new(name: String, window: Window, life: Arc<Life>) -> Self {
        let (head, _) = watch::channel(window.head());
        let medium = window.shape().medium;
        let window = Arc::new(Mutex::new(window));
        Self {
            name,
            medium,
            window,
            life,
            head,
            said: Mutex::default(),
            frames: Mutex::default(),
            sprites: Mutex::default(),
        }
    }

    /// How far the rendition has come.
    pub(crate) fn head(&self) -> Head {
        *self.head.borrow()
    }

    /// The first position that is not there yet, announced or not.
    pub(crate) fn next(&self) -> Position {
        self.window.lock().head().next
    }

    /// A view of the head that can wait for it to move.
    pub(crate) fn watch(&self) -> watch::Receiver<Head> {
        self.head.subscribe()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.window.lock().is_empty()
    }

    /// Whether there has ever been a whole segment.
    pub(crate) fn has_segment(&self) -> bool {
        self.window.lock().has_segment()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.window.lock().bytes()
    }

    /// The first segment in the window.
    pub(crate) fn first_msn(&self) -> u64 {
        self.window.lock().first_msn()
    }

    /// How much media of an epoch there was, up to the last whole segment; zero if that is of another.
    pub(crate) fn length(&self, epoch: EpochId) -> Duration {
        self.window.lock().length(epoch)
    }

    pub(crate) fn target_duration_s(&self) -> u64 {
        self.window.lock().shape().target_duration_s
    }

    pub(crate) fn advance_limit(&self) -> u32 {
        advance_part_limit(self.window.lock().shape().part_target_s)
    }

    pub(crate) fn lookup(&self, epoch: EpochId, name: Name) -> Lookup {
        self.window.lock().lookup(epoch, name)
    }

    /// How long the playlist is without the open segment, in seconds.
    pub(crate) fn listed_s(&self) -> f64 {
        self.window.lock().listed_s()
    }

    /// How far back viewers can seek, in seconds.
    pub(crate) fn depth_s(&self) -> f64 {
        self.window.lock().depth_s()
    }

    /// Changes the window. What changed is not seen by requests that wait before [`Rendition::announce`].
    pub(crate) fn push(&self, part: Part, now: Instant) -> bool {
        self.change(|window| window.push(part, now))
    }

    /// As [`Rendition::push`], of a segment that comes whole; those that should have come before it are gaps.
    pub(crate) fn push_whole(&self, part: Part, now: Instant) -> bool {
        self.change(|window| window.push_whole(part, now))
    }

    /// Nothing comes for now, or something comes again: requests that wait are told.
    pub(crate) fn pause(&self, paused: bool) {
        self.window.lock().pause(paused);
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.window.lock().is_paused()
    }

    /// What is not here and others have is listed as gaps.
    pub(crate) fn lack(&self, others: Position, part: PartLength, now: Instant) {
        self.change(|window| window.lack(others, part, now));
    }

    /// Begins an epoch in which nothing comes.
    pub(crate) fn begin_paused(&self, epoch: EpochStart, now: Instant) {
        self.change(|window| {
            window.begin(epoch, now);
            window.pause(true);
        });
    }

    /// Whether nothing in it can be played.
    pub(crate) fn has_only_gaps(&self) -> bool {
        self.window.lock().has_only_gaps()
    }

    pub(crate) fn begin(&self, epoch: EpochStart, now: Instant) {
        self.change(|window| window.begin(epoch, now));
    }

    pub(crate) fn restore(&self, name: (EpochId, u64), kept: (OnDisk, Option<KeyName>), now: Instant) -> bool {
        self.change(|window| window.restore(name, kept, now))
    }

    pub(crate) fn break_off(&self, now: Instant) {
        self.change(|window| window.break_off(now));
    }

    pub(crate) fn gap_through(&self, gaps: &Gaps, now: Instant) {
        self.change(|window| window.gap_through(gaps, now));
    }

    /// When the window begins, in Unix milliseconds; zero before there is one.
    pub(crate) fn first_unix_ms(&self) -> i64 {
        self.window.lock().first_unix_ms()
    }

    /// When the newest segment ends, in Unix milliseconds; `None` before the first.
    pub(crate) fn end_unix_ms(&self) -> Option<i64> {
        self.window.lock().end_unix_ms()
    }

    pub(crate) fn lose_disk(&self, now: Instant) {
        self.change(|window| window.lose_disk(now));
    }

    pub(crate) fn end(&self, now: Instant) {
        self.change(|window| window.end(now));
    }

    /// Changes the window, and tells the disk what came of it.
    fn change<T>(&self, act: impl FnOnce(&mut Window) -> T) -> T {
        let (done, news) = {
            let mut window = self.window.lock();
            (act(&mut window), window.take_news())
        };
        self.life.take((&self.name, self.medium), &self.window, news);
        done
    }

    /// Wakes every request that waits for this rendition, once. Gaps are not news before there is something behind them: a
    /// player that finds nothing there cannot know that it is to go on, and Shaka never does.
    pub(crate) fn announce(&self) {
        let window = self.window.lock();
        if !window.waits_behind_gap() {
            let head = window.head();
            drop(window);
            self.head.send_replace(head);
        }
    }

    /// The I-frame playlist as of now; `None` for a rendition without pictures.
    /// `dates` are the lines of date ranges, from a time in Unix milliseconds on.
    pub(crate) fn iframes(&self, dates: impl FnOnce(i64) -> String) -> Option<Arc<Text>> {
        let mut frames = self.frames.lock();
        let window = self.window.lock();
        let head = window.head();
        // It changes with whole segments only.
        let head = (Head { next: Position { part: 0, ..head.next }, ..head }, dates(window.first_unix_ms()));
        if let Some((_, text)) = frames.as_ref().filter(|(said, _)| *said == head) {
            return text.clone();
        }
        let text = window.iframes(&head.1).map(Arc::new);
        *frames = Some((head, text.clone()));
        text
    }

    /// Where the pictures of images are, as WebVTT; `None` for a rendition without images.
    pub(crate) fn sprites(&self) -> Option<Arc<Text>> {
        let mut sprites = self.sprites.lock();
        let window = self.window.lock();
        let of = window.head();
        if let Some((_, text)) = sprites.as_ref().filter(|(said, _)| *said == of) {
            return text.clone();
        }
        let text = window.sprites().map(Arc::new);
        *sprites = Some((of, text.clone()));
        text
    }

    /// The playlist as of a generation, rendered by the first who asks, and now. `reports` are those of the other renditions,
    /// `dates` the lines of date ranges from a time in Unix milliseconds on.
    pub(crate) fn full(
        &self,
        (generation, now): (u64, Instant),
        reports: impl FnOnce() -> Vec<RenditionReport>,
        dates: impl FnOnce(i64) -> String,
    ) -> Arc<Text> {
        let mut said = self.said(generation);
        if let Some(text) = &said.full {
            return Arc::clone(text);
        }
        // Before the window is locked: reports look at the other renditions.
        let reports = reports();
        let text = {
            let window = self.window.lock();
            let dates = dates(window.first_unix_ms());
            said.dates.see(&dates, window.skip_until_s(), now);
            Arc::new(window.full(reports, &dates))
        };
        said.full = Some(Arc::clone(&text));
        text
    }

    /// The same as a Delta Update; `None` where nothing can be left out.
    pub(crate) fn delta(
        &self,
        (generation, now): (u64, Instant),
        skip: Skip,
        reports: impl FnOnce() -> Vec<RenditionReport>,
        dates: impl FnOnce(i64) -> String,
    ) -> Option<Arc<Text>> {
        if skip == Skip::Nothing {
            return None;
        }
        let mut said = self.said(generation);
        if said.delta.is_none() {
            let reports = reports();
            let window = self.window.lock();
            let dates = dates(window.first_unix_ms());
            said.dates.see(&dates, window.skip_until_s(), now);
            said.delta = Some(window.delta(reports, &dates).map(Arc::new));
        }
        let delta = said.delta.clone().flatten()?;
        if skip == Skip::Segments {
            return Some(delta);
        }
        if let Some((text, until)) = &said.recent
            && until.is_none_or(|until| now < until)
        {
            return Some(Arc::clone(text));
        }
        let plain = String::from_utf8(delta.plain().concat()).ok()?;
        let skip_until_s = self.window.lock().skip_until_s();
        let recent = said.dates.see(&plain, skip_until_s, now)?;
        let text = Arc::new(Text::new(recent.update(&plain)));
        said.recent = Some((Arc::clone(&text), recent.until));
        Some(text)
    }

    fn said(&self, generation: u64) -> MutexGuard<'_, Said> {
        let mut said = self.said.lock();
        if said.generation != generation {
            let dates = std::mem::take(&mut said.dates);
            *said = Said { generation, dates, ..Said::default() };
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::{Memory, Shape};
    use bytes::Bytes;
    use manifest::DateRange;

    /// With ten segments of two seconds each.
    fn rendition(now: Instant) -> Rendition {
        let shape = Shape {
            medium: Medium::Fragments,
            length_s: 60.0,
            memory_s: 60.0,
            target_duration_s: 2,
            part_target_s: 2.0,
        };
        let memory = Memory::new(usize::MAX, prometheus::IntCounter::new("shortened", "in tests").unwrap());
        let rendition = Rendition::new("a".into(), Window::new(shape, memory), Arc::default());
        let (id, init) = (EpochId(1), Bytes::from_static(b"init"));
        let (first_msn, joined_msn, discontinuities, zero_unix_ms) = (0, 0, 0, 0);
        let (segment_s, tiles, told) = (2.0, None, None);
        let start =
            EpochStart { id, discontinuities, first_msn, joined_msn, zero_unix_ms, segment_s, init, tiles, told };
        rendition.begin(start, now);
        for msn in 0..10 {
            let (at, bytes) = (Position { msn, part: 0 }, Bytes::from_static(b"x"));
            let (duration_s, first_picture_end) = (2.0, Some(1));
            let part =
                Part { at, bytes, duration_s, first_picture_end, independent: true, ends_segment: true, key: None };
            assert!(rendition.push(part, now));
        }
        rendition
    }

    #[test]
    fn who_asks_for_it_is_told_of_date_ranges_once() {
        let began = Instant::now();
        let rendition = rendition(began);
        let line = |id: &str| DateRange { id: id.to_owned(), ..DateRange::default() }.render();
        let said = |generation: u64, s: u64, skip, ids: &[&str]| {
            let at = (generation, began + Duration::from_secs(s));
            let dates = || ids.iter().map(|id| line(id)).collect::<String>();
            let delta = rendition.delta(at, skip, Vec::new, |_| dates());
            let text = delta.unwrap_or_else(|| rendition.full(at, Vec::new, |_| dates()));
            String::from_utf8(text.identity().to_vec()).unwrap()
        };
        let whole = said(1, 0, Skip::Nothing, &["a"]);
        assert!(whole.contains("CAN-SKIP-UNTIL=12.000,CAN-SKIP-DATERANGES=YES,") && whole.contains(&line("a")));
        assert_eq!(said(2, 5, Skip::DateRanges, &["a"]), whole, "somebody may have a copy of another life");
        let both = ["a", "b"];
        let update = said(3, 13, Skip::DateRanges, &both);
        assert!(update.contains("#EXT-X-VERSION:10\n") && update.contains("RECENTLY-REMOVED-DATERANGES=\"\"\n"));
        assert!(update.contains(&line("b")) && !update.contains(&line("a")), "{update}");
        let plain = said(3, 13, Skip::Segments, &both);
        assert!(plain.contains(&line("a")) && !plain.contains("RECENTLY") && plain.contains("VERSION:9\n"), "{plain}");
        // Nothing new has come, but time has passed.
        assert_eq!(said(3, 25, Skip::DateRanges, &both), update);
        assert!(!said(3, 26, Skip::DateRanges, &both).contains("#EXT-X-DATERANGE:"));
        let update = said(4, 27, Skip::DateRanges, &["b"]);
        assert!(update.contains("RECENTLY-REMOVED-DATERANGES=\"a\"\n") && !update.contains("#EXT-X-DATERANGE:"));
    }
}
