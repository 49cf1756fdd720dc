//! What an MPD tells of a stream: a period for each epoch, over the same objects as the playlists. Pure.

mod gap;
mod keyed;
mod published;
mod texts;
mod turned;

use super::ladder;
use super::stream::{Opening, THUMBNAILS, TextTrack, expected_bitrate};
use crate::epoch::{EpochId, Numbers};
use crate::keys::{KeyName, LEAD, Told};
use gap::before_gap;
use keyed::Keyed;
use manifest::presentation::{AdaptationSet, Kind, Live, Media, Period, Presentation, Representation, State};
use manifest::protection::Key;
use media::Timescale;
pub(super) use published::published;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use texts::{of_track, text};
use turned::Turned;

/// The epochs that are, or were not long ago, in the window.
#[derive(Debug, Default)]
pub(super) struct Epochs(VecDeque<Epoch>);

#[derive(Debug)]
struct Epoch {
    id: EpochId,
    first_msn: u64,
    zero_unix_ms: i64,
    segment: Duration,
    part: Duration,
    sets: Vec<AdaptationSet>,
    /// Subtitles, in the clear whatever the others are; what a set of them is but for its track.
    texts: Vec<AdaptationSet>,
    text: AdaptationSet,
    keyed: Keyed,
    turned: Turned,
    ended: Option<Ended>,
}

#[derive(Clone, Copy, Debug)]
struct Ended {
    unix_ms: i64,
    length: Duration,
}

/// From which segment on which key is to be used next.
type Planned = Option<(u64, KeyName)>;

/// The window as the MPD shows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    /// The first segment that every rendition has.
    pub(super) first_msn: u64,
    pub(super) length: Duration,
    /// No segment will be added, in this epoch or another.
    pub(super) ended: bool,
    pub(super) planned: Planned,
}

/// Epochs kept; a publisher that comes and goes all the time must not fill the memory or the MPD.
const EPOCHS_MAX: usize = 32;
/// Part durations between the live edge and the player, as in PART-HOLD-BACK.
const HOLD_BACK_PARTS: u32 = 3;
/// What encoding and the way to the player take beside them.
const UNDERWAY: Duration = Duration::from_millis(500);

impl Epochs {
    /// An epoch begins: numbers, times and formats of each of its renditions are known, and which subtitles it has.
    pub(super) fn begin(&mut self, opening: &Opening<'_>, texts: &[TextTrack], told: Option<Arc<Told>>) {
        let Opening { numbers: Numbers { id, first_msn, zero_unix_ms, .. }, plan, .. } = *opening;
        let id = EpochId(id);
        let (rate, part_frames) = (plan.rate, plan.part_frames);
        let part = Duration::from_secs_f64(f64::from(part_frames) / rate.hz());
        // Another origin may have gone on with it meanwhile.
        let again = self.0.iter().position(|before| before.id == id).and_then(|index| self.0.remove(index));
        let (keyed, mut turned) =
            again.map_or_else(|| (Keyed::new(told), Turned::default()), |before| (before.keyed, before.turned));
        turned.all_back(first_msn + opening.joined);
        let (segment, sets) = (plan.segment(), Vec::new());
        let text = text(opening);
        let texts = texts.iter().filter_map(|track| of_track(&text, track)).collect();
        let mut epoch =
            Epoch { id, first_msn, zero_unix_ms, segment, part, sets, texts, text, keyed, turned, ended: None };
        for (rendition, (track, _)) in plan.renditions.iter().zip(&opening.tracks) {
            let (kind, media) = match track.size() {
                Some((width, height)) => {
                    let rate = rendition.make.rate(rate);
                    (Kind::Video, Media::Video { width, height, rate: (rate.num(), rate.den()) })
                }
                None => {
                    let channels = track.channels().unwrap_or_default();
                    (Kind::Audio, Media::Audio { sample_rate: track.timescale().0, channels })
                }
            };
            let bitrate = ladder::bitrate(&rendition.make, opening.known.bitrate).peak;
            let representation = Representation { id: rendition.name.clone(), bitrate, codec: track.codec(), media };
            // 5.3.3.2: what players switch between without being told how has one codec.
            let is_alike = |set: &&mut AdaptationSet| {
                let codec = set.representations.first().map(|first| family(&first.codec));
                set.kind == kind && codec == Some(family(&representation.codec))
            };
            match epoch.sets.iter_mut().find(is_alike) {
                Some(set) => set.representations.push(representation),
                None => epoch.sets.push(set((kind, track.timescale()), (opening, representation))),
            }
        }
        if let Some(thumbnails) = &plan.thumbnails {
            let (width, height) = thumbnails.image_size();
            let representation = Representation {
                id: THUMBNAILS.to_owned(),
                bitrate: expected_bitrate(thumbnails, plan.segment().as_secs_f64()),
                codec: String::new(),
                media: Media::Tiles { width, height, columns: thumbnails.columns, rows: thumbnails.rows },
            };
            let images = set((Kind::Image, rate.timescale()), (opening, representation));
            // An image is there when its segment is whole.
            epoch.sets.push(AdaptationSet { early: None, reference_unix_ms: None, ..images });
        }
        self.0.push_back(epoch);
        while self.0.len() > EPOCHS_MAX {
            self.0.pop_front();
        }
    }

    /// Subtitles that have begun in the first segment of the newest epoch.
    pub(super) fn text(&mut self, track: &TextTrack) {
        if let Some(epoch) = self.0.back_mut() {
            epoch.texts.extend(of_track(&epoch.text, track));
        }
    }

    /// The newest epoch has ended at `unix_ms` after so much media.
    pub(super) fn end(&mut self, unix_ms: i64, length: Duration) {
        if let Some(epoch) = self.0.back_mut().filter(|epoch| epoch.ended.is_none()) {
            epoch.ended = Some(Ended { unix_ms, length });
        }
    }

    /// What this rendition had before the newest epoch is answered no more. An epoch without its pictures or sound is told
    /// of no longer; its keys are still those of its other renditions.
    pub(super) fn lose(&mut self, rendition: &str) {
        for epoch in self.0.iter_mut().rev().skip(1) {
            epoch.sets.iter_mut().for_each(|set| set.representations.retain(|one| one.id != rendition));
            let (sets, empty): (Vec<_>, Vec<_>) =
                std::mem::take(&mut epoch.sets).into_iter().partition(|set| !set.representations.is_empty());
            // Other codecs may be left of a kind.
            if empty.iter().all(|lost| sets.iter().any(|set| set.kind == lost.kind)) {
                epoch.sets = sets;
            }
        }
    }

    /// A segment of the newest epoch has this key; nothing before `oldest` is answered any more.
    pub(super) fn keyed(&mut self, (msn, name): (u64, KeyName), oldest: u64) {
        self.0.iter_mut().next_back().into_iter().for_each(|epoch| epoch.keyed.note(msn, name));
        self.0.iter_mut().for_each(|epoch| epoch.keyed.forget(oldest));
    }

    /// A rendition of the newest epoch is away from this segment on, or there again.
    pub(super) fn turned(&mut self, msn: u64, rendition: &str, away: bool) {
        self.0.back_mut().into_iter().for_each(|epoch| epoch.turned.note(msn, rendition, away));
    }

    /// The key that was used last.
    pub(super) fn key(&self) -> Option<KeyName> {
        self.0.back()?.keyed.newest()
    }

    /// The same as the multivariant playlist says it; `None` where a segment of an earlier epoch was told of it otherwise, as
    /// both must agree (RFC 8216bis, 4.4.6.4).
    pub(super) fn session_key(&self) -> Option<Key> {
        let newest = &self.0.back()?.keyed;
        let key = newest.session_key()?;
        let agrees = self.0.iter().all(|epoch| !epoch.keyed.differs_on_newest_of(newest));
        agrees.then_some(key)
    }

    pub(super) fn named(&self, id: &[u8; 16]) -> Option<KeyName> {
        self.0.iter().find_map(|epoch| epoch.keyed.named(id))
    }

    pub(super) fn newest(&self) -> Option<EpochId> {
        self.0.back().map(|epoch| epoch.id)
    }

    /// The MPD as of now; `None` before the first epoch.
    pub(super) fn presentation(&self, shown: Shown, now_unix_ms: i64) -> Option<Presentation> {
        let newest = self.0.back()?;
        let left_ms = |epoch: &Epoch| Some(epoch.ended?.unix_ms + shown.length.as_millis() as i64);
        let (state, periods) = if shown.ended {
            let periods = self.ended_periods(shown.first_msn);
            let duration = periods.last().map_or(Duration::ZERO, |last| last.start + last.duration.unwrap_or_default());
            (State::Ended { duration }, periods)
        } else {
            let is_left =
                |epoch: &Epoch| epoch.id != newest.id && left_ms(epoch).is_some_and(|left_ms| left_ms <= now_unix_ms);
            let begun = self.0.iter().map(|epoch| epoch.zero_unix_ms);
            // A change of keys ends a period and begins another, which is told before; the one that ended leaves later.
            let changed = |epoch: &Epoch| -> Vec<i64> {
                let changes = epoch.keyed.changes(epoch.first_msn, epoch.segment, shown.planned);
                changes.into_iter().map(|since| epoch.zero_unix_ms + since.as_millis() as i64).collect()
            };
            let turned = self.0.iter().flat_map(|epoch| {
                let changes = epoch.turned.changes(epoch.first_msn, epoch.segment);
                changes.map(|since| epoch.zero_unix_ms + since.as_millis() as i64)
            });
            let changed: Vec<i64> = self.0.iter().flat_map(changed).chain(turned).collect();
            let lead_ms = newest.segment.as_millis() as i64 * LEAD as i64;
            let told = changed.iter().flat_map(|changed_ms| [changed_ms - lead_ms, *changed_ms]);
            let begun = begun.chain(told.filter(|&told_ms| told_ms <= now_unix_ms));
            let changed_left = changed.iter().map(|changed_ms| changed_ms + shown.length.as_millis() as i64);
            let left = self.0.iter().filter(|epoch| epoch.id != newest.id).filter_map(left_ms).chain(changed_left);
            let left = left.filter(|&left_ms| left_ms <= now_unix_ms);
            let live = Live {
                published_unix_ms: begun.chain(left).max().unwrap_or(newest.zero_unix_ms),
                window: shown.length,
                update: newest.segment,
                latency: newest.part * HOLD_BACK_PARTS + UNDERWAY,
                clock_uri: "/_vivid/time".to_owned(),
            };
            let from = Duration::from_millis(now_unix_ms.max(0) as u64).saturating_sub(shown.length);
            let mut periods = self.live_periods(|epoch| !is_left(epoch), shown.planned);
            let is_over = |period: &Period| period.duration.is_some_and(|duration| period.start + duration <= from);
            // Those that an epoch is cut into leave one by one.
            let has_key = |period: &Period| period.sets.iter().any(|set| set.protection.is_some());
            let is_turned = |period: &Period| {
                let is_of = |epoch: &&Epoch| period.id.starts_with(&epoch.id.to_string());
                self.0.iter().find(is_of).is_some_and(|epoch| !epoch.turned.is_empty())
            };
            periods.retain(|period| !(has_key(period) || is_turned(period)) || !is_over(period));
            (State::Live(live), periods)
        };
        Some(Presentation { state, segment_max: newest.segment, buffer_min: newest.part * HOLD_BACK_PARTS, periods })
    }

    fn live_periods(&self, shown: impl Fn(&Epoch) -> bool, planned: Planned) -> Vec<Period> {
        let mut periods: Vec<Period> = Vec::new();
        let mut epochs = self.0.iter().filter(|epoch| shown(epoch) && !epoch.sets.is_empty()).peekable();
        while let Some(epoch) = epochs.next() {
            let start = epoch.start();
            let end = epochs
                .peek()
                .map(|next| gap::end(epoch.ended.map(|ended| ended.length), next.start().saturating_sub(start)));
            // Before there is a next one nothing is told: players that have all of a period that has ended go back in it to be as far
            // behind as they should, and dash.js takes the end of the only period for the end of all.
            let duration = end.map(|(length, _)| length);
            let (id, events, sets) = (epoch.id.to_string(), Vec::new(), epoch.sets.clone());
            let planned = planned.filter(|_| epoch.ended.is_none());
            let period = Period { id, start, duration, events, sets };
            let keyed = epoch.keyed.split(period, epoch.segment, planned).into_iter();
            let mut split: Vec<Period> = keyed.flat_map(|period| epoch.turned.split(period, epoch.segment)).collect();
            if end.is_some_and(|(_, is_gap)| is_gap) {
                let last = split.pop();
                split.extend(last.into_iter().flat_map(|last| before_gap(last, epoch.segment)));
            }
            periods.extend(epoch.with_texts(split));
        }
        periods
    }

    /// From the first segment that is there, one after the other without a hole between.
    fn ended_periods(&self, first_msn: u64) -> Vec<Period> {
        let mut start = Duration::ZERO;
        let mut periods = Vec::new();
        for epoch in &self.0 {
            let gone = first_msn.saturating_sub(epoch.first_msn);
            let length = epoch.ended.map_or(Duration::ZERO, |ended| ended.length);
            let gone_time = u32::try_from(gone).map_or(Duration::MAX, |gone| epoch.segment.saturating_mul(gone));
            let duration = length.saturating_sub(gone_time);
            if duration.is_zero() || epoch.sets.is_empty() {
                continue;
            }
            let sets = epoch.sets.iter().map(|set| moved(set, gone)).collect();
            let (id, events) = (epoch.id.to_string(), Vec::new());
            let period = Period { id, start, duration: Some(duration), events, sets };
            let keyed = epoch.keyed.split(period, epoch.segment, None).into_iter();
            let split = keyed.flat_map(|period| epoch.turned.split(period, epoch.segment)).collect();
            periods.extend(epoch.with_texts(split));
            start += duration;
        }
        periods
    }
}

/// A codec without its profile and level.
fn family(codec: &str) -> &str {
    codec.split('.').next().unwrap_or(codec)
}

impl Epoch {
    fn start(&self) -> Duration {
        Duration::from_millis(self.zero_unix_ms.max(0) as u64)
    }

    /// Each of these periods of the epoch with its subtitles.
    fn with_texts(&self, mut periods: Vec<Period>) -> Vec<Period> {
        for period in &mut periods {
            let Some(of) = period.sets.first() else { continue };
            let count = of.first_number.saturating_sub(self.first_msn);
            // Pictures come first, and these count as they do.
            let (only, scale) = (of.only.clone(), of.timescale / self.text.timescale.max(1));
            let only: Vec<u64> = only.iter().map(|ticks| ticks / scale.max(1)).collect();
            let texts = self.texts.iter().map(|set| AdaptationSet { only: only.clone(), ..moved(set, count) });
            period.sets.extend(texts);
        }
        periods
    }
}

/// The set without its first segments.
fn moved(set: &AdaptationSet, segments: u64) -> AdaptationSet {
    AdaptationSet {
        first_number: set.first_number + segments,
        offset_ticks: set.offset_ticks + segments * set.segment_ticks,
        ..set.clone()
    }
}

/// The set that begins with `representation`; all of one kind count alike.
fn set(
    (kind, timescale): (Kind, Timescale),
    (opening, representation): (&Opening<'_>, Representation),
) -> AdaptationSet {
    let plan = opening.plan;
    let (ticks, fine) = (u64::from(timescale.0), u64::from(plan.rate.num()));
    // In a multiple of the track's timescale, a segment lasts a whole number of ticks: numbers never drift from times.
    let long = ticks * u64::from(plan.segment_frames) * u64::from(plan.rate.den());
    let finer = if long.is_multiple_of(fine) { 1 } else { fine };
    let offset = timescale.ticks_of_ms(opening.numbers.zero_unix_ms).max(0) as u64;
    AdaptationSet {
        kind,
        timescale: ticks * finer,
        segment_ticks: long * finer / fine,
        offset_ticks: offset * finer,
        only: Vec::new(),
        first_number: opening.numbers.first_msn,
        early: Some(
            plan.segment().saturating_sub(Duration::from_secs_f64(f64::from(plan.part_frames) / plan.rate.hz())),
        ),
        reference_unix_ms: Some(opening.numbers.zero_unix_ms),
        captions: if kind == Kind::Video { opening.known.captions.channels() } else { Vec::new() },
        language: None,
        folder: EpochId(opening.numbers.id).to_string(),
        init: "init.mp4".to_owned(),
        protection: None,
        representations: vec![representation],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epoch::{Bitrate, Known};
    use crate::keys::KeyAccess;
    use crate::testing::{aac, aac_config, avc, avc_config, golden, plan};
    use bytes::Bytes;
    use media::FrameRate;
    use transcode::{Plan, Source};

    const ZERO_MS: i64 = 1_795_226_400_500;

    fn begin(epochs: &mut Epochs, plan: &Plan, at: (u64, u64, i64)) {
        begin_with(epochs, plan, at, (&[], None));
    }

    fn begin_encrypted(epochs: &mut Epochs, plan: &Plan, at: (u64, u64, i64), told: Option<Arc<Told>>) {
        begin_with(epochs, plan, at, (&[], told));
    }

    fn begin_with(
        epochs: &mut Epochs,
        plan: &Plan,
        (id, first_msn, zero_unix_ms): (u64, u64, i64),
        (texts_told, told): (&[TextTrack], Option<Arc<Told>>),
    ) {
        let source = Source { video: avc_config(), audio: Some(aac_config()), rate: plan.rate, gop: Some(60) };
        let known = Known {
            source,
            bitrate: Bitrate { average: 900_000, peak: 1_200_000 },
            captions: media::Captions::default(),
        };
        let tracks = vec![(avc(plan.rate.timescale()), Bytes::new()), (aac(), Bytes::new())];
        let numbers = Numbers { id, first_msn, discontinuities: id, zero_unix_ms };
        let (encryption, texts) = (None, Vec::new());
        let opening = Opening { numbers, joined: 0, known: &known, plan, encryption, tracks, texts };
        epochs.begin(&opening, texts_told, told);
    }

    /// RFC 8216bis, 4.4.6.4.
    #[test]
    fn a_session_key_is_told_where_all_agree_on_it() {
        let accesses =
            ["{}", r#"{"by_licence":true}"#].map(|access| serde_json::from_str::<KeyAccess>(access).unwrap());
        let told = |access: &KeyAccess| {
            Some(Arc::new(Told::new(config::EncryptionMethod::Cbcs, "show", access.clone(), Some(10))))
        };
        let name = |of: u8| KeyName { id: [of; 16], iv: [0; 16] };
        for (before, key, is_told) in [(0, 1, true), (1, 1, false), (1, 2, true)] {
            let mut epochs = Epochs::default();
            for (id, access, key) in [(1, before, 1), (2, 0, key)] {
                let at = (id, 100 * id, ZERO_MS + 15_000 * id as i64);
                begin_encrypted(&mut epochs, &plan(30, 60, 10), at, told(&accesses[access]));
                epochs.keyed((100 * id, name(key)), 0);
                epochs.end(at.2 + 10_000, Duration::from_secs(10));
            }
            assert_eq!(epochs.session_key().is_some(), is_told, "{before} {key}");
        }
    }

    /// An epoch of ten seconds, five away, and one that goes on.
    fn epochs() -> Epochs {
        let mut epochs = Epochs::default();
        begin(&mut epochs, &plan(30, 60, 10), (1, 100, ZERO_MS));
        epochs.end(ZERO_MS + 10_000, Duration::from_millis(9_500));
        begin(&mut epochs, &plan(30, 60, 10), (2, 105, ZERO_MS + 15_000));
        epochs
    }

    fn shown(first_msn: u64, ended: bool) -> Shown {
        Shown { first_msn, length: Duration::from_secs(12), ended, planned: None }
    }

    #[test]
    fn an_mpd_has_a_period_for_each_epoch_in_the_window() {
        golden("live.mpd", &epochs().presentation(shown(102, false), ZERO_MS + 16_000).unwrap().render());
        assert!(Epochs::default().presentation(shown(0, false), 0).is_none());
    }

    #[test]
    fn a_period_leaves_with_its_last_segment_and_the_mpd_is_then_a_new_one() {
        let epochs = epochs();
        for (after_ms, periods, published_after_ms) in [(16_000, 3, 15_000), (21_999, 3, 15_000), (22_000, 1, 22_000)] {
            let said = epochs.presentation(shown(102, false), ZERO_MS + after_ms).unwrap();
            let State::Live(live) = said.state else { panic!("it goes on") };
            assert_eq!((said.periods.len(), live.published_unix_ms - ZERO_MS), (periods, published_after_ms));
        }
    }

    #[test]
    fn the_end_of_the_newest_period_is_told_with_what_follows() {
        let mut epochs = epochs();
        let told = |epochs: &Epochs, after_ms| {
            let said = epochs.presentation(shown(102, false), ZERO_MS + after_ms).unwrap();
            let State::Live(live) = said.state else { panic!("it goes on") };
            let ends = said.periods.iter().map(|period| period.duration.map(|duration| duration.as_millis()));
            (ends.collect::<Vec<_>>(), live.published_unix_ms - ZERO_MS)
        };
        let before = told(&epochs, 16_000);
        assert_eq!(before, (vec![Some(8_000), Some(1_300), None], 15_000));
        epochs.end(ZERO_MS + 18_000, Duration::from_secs(3));
        assert_eq!(told(&epochs, 18_000), before);
        assert_eq!(told(&epochs, 60_000).0, [None], "however long that takes");
        begin(&mut epochs, &plan(30, 60, 10), (3, 110, ZERO_MS + 21_000));
        assert_eq!(told(&epochs, 21_000), (vec![Some(8_000), Some(1_300), Some(2_000), Some(800), None], 21_000));
        epochs.end(ZERO_MS + 25_000, Duration::from_secs(4));
        begin(&mut epochs, &plan(30, 60, 10), (4, 112, ZERO_MS + 25_100));
        assert_eq!(told(&epochs, 25_200).0, [Some(2_000), Some(800), Some(4_000), None], "no gap");
    }

    #[test]
    fn what_has_ended_begins_with_the_first_segment_that_is_there() {
        let mut epochs = epochs();
        epochs.end(ZERO_MS + 19_000, Duration::from_secs(4));
        let said = epochs.presentation(shown(103, true), 0).unwrap();
        assert_eq!(said.state, State::Ended { duration: Duration::from_millis(7_500) });
        let told = |period: &Period| (period.start.as_millis(), period.sets[0].first_number);
        assert_eq!(said.periods.iter().map(told).collect::<Vec<_>>(), [(0, 103), (3_500, 105)]);
        let offset_ms = |period: &Period| (period.sets[0].offset_ticks / 30) as i64 - ZERO_MS;
        assert_eq!((offset_ms(&said.periods[0]), offset_ms(&said.periods[1])), (6_000, 15_000));
        assert_eq!(epochs.presentation(shown(105, true), 0).unwrap().periods.len(), 1);
    }

    #[test]
    fn a_period_ends_before_the_next_begins_whatever_the_source_counts() {
        let mut epochs = Epochs::default();
        begin(&mut epochs, &plan(30, 60, 10), (1, 100, ZERO_MS));
        epochs.end(ZERO_MS + 10_000, Duration::from_millis(10_300));
        begin(&mut epochs, &plan(30, 60, 10), (2, 106, ZERO_MS + 10_100));
        let said = epochs.presentation(shown(102, false), ZERO_MS + 11_000).unwrap();
        assert_eq!(said.periods[0].duration, Some(Duration::from_millis(10_100)));
    }

    #[test]
    fn numbers_and_times_agree_exactly_at_every_rate() {
        for (num, den, frames) in
            [(30, 1, 60), (30_000, 1001, 60), (24_000, 1001, 50), (25, 1, 48), (60_000, 1001, 118)]
        {
            let rate = FrameRate::new(num, den).unwrap();
            let plan = Plan { rate, segment_frames: frames, ..plan(30, 60, 10) };
            let mut epochs = Epochs::default();
            begin(&mut epochs, &plan, (1, 100, ZERO_MS));
            let said = epochs.presentation(shown(100, false), ZERO_MS).unwrap();
            for set in &said.periods[0].sets {
                let exact = u128::from(set.timescale) * u128::from(frames * den);
                assert_eq!(u128::from(set.segment_ticks) * u128::from(num), exact, "{rate:?} {:?}", set.kind);
            }
        }
    }

    #[test]
    fn subtitles_are_in_the_periods_that_they_begin_with() {
        let track = |name: &str, language: &str| TextTrack::new(name.to_owned(), Some(language.to_owned()));
        let (english, odd) = (track("text-en", "en"), track("text-x_1", "x_1"));
        let old = TextTrack { has_fragments: false, ..track("text-de", "de") };
        let mut epochs = Epochs::default();
        begin_with(&mut epochs, &plan(30, 60, 10), (1, 100, ZERO_MS), (&[english.clone(), old], None));
        epochs.text(&odd);
        epochs.end(ZERO_MS + 10_000, Duration::from_millis(9_500));
        let told = |said: &Presentation| -> Vec<(String, Option<String>, u64, u64)> {
            let texts = said.periods[0].sets.iter().filter(|set| set.kind == Kind::Text);
            let of = |set: &AdaptationSet| {
                let id = set.representations[0].id.clone();
                (id, set.language.clone(), set.first_number, set.offset_ticks / 30)
            };
            texts.map(of).collect()
        };
        let expected = |number: u64, at_ms: i64| {
            let at_ms = at_ms as u64;
            vec![("cues-en".into(), Some("en".into()), number, at_ms), ("cues-x_1".into(), None, number, at_ms)]
        };
        let live = epochs.presentation(shown(102, false), ZERO_MS + 10_000).unwrap();
        assert_eq!(told(&live), expected(100, ZERO_MS));
        assert_eq!(told(&epochs.presentation(shown(103, true), 0).unwrap()), expected(103, ZERO_MS + 6_000));
    }

    #[test]
    fn no_period_is_told_of_segments_that_are_gone() {
        let mut epochs = epochs();
        epochs.lose("another");
        let sets_of = |epochs: &Epochs| -> Vec<usize> {
            let said = epochs.presentation(shown(102, false), ZERO_MS + 16_000).unwrap();
            said.periods.iter().map(|period| period.sets.len()).collect()
        };
        assert_eq!(sets_of(&epochs), [2, 2, 2]);
        let mut other = epochs.0[0].sets[0].clone();
        (other.representations[0].id, other.representations[0].codec) =
            ("180pav1".to_owned(), "av01.0.00M.08".to_owned());
        epochs.0[0].sets.push(other);
        assert_eq!(sets_of(&epochs), [3, 3, 2]);
        epochs.lose("180pav1");
        assert_eq!(sets_of(&epochs), [2, 2, 2], "another codec is left");
        epochs.lose("180p");
        let said = epochs.presentation(shown(105, false), ZERO_MS + 16_000).unwrap();
        assert_eq!(
            said.periods.iter().map(|period| period.sets.len()).collect::<Vec<_>>(),
            [2],
            "the newest stays whole"
        );
    }

    #[test]
    fn epochs_are_bounded() {
        let mut epochs = Epochs::default();
        for index in 0..100 {
            begin(&mut epochs, &plan(30, 60, 10), (index, 100 + index, ZERO_MS + index as i64));
            epochs.end(ZERO_MS + index as i64, Duration::from_secs(2));
        }
        assert_eq!(epochs.0.len(), EPOCHS_MAX);
    }
}
