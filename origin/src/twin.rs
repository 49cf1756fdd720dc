//! Two origins that one encoder publishes to agree on the epoch they run: its name, numbers and zero. Pure.
//!
//! They know one picture by the bytes of its key frame. **Whoever wants to begin an epoch offers it to the other, and both
//! hold to the answer.** Offers that cross on the way are both answered from the same two offers, alike. Where both say
//! nothing to each other in time, each begins alone, and they are two streams until the next epoch.

mod client;

pub(crate) use client::{BODY_MAX, Client};

use crate::epoch::Numbers;
use media::{Frame, FrameRate, Timescale};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::ops::RangeInclusive;

/// A key frame of the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Key {
    /// A hash of its bytes.
    id: String,
    /// Its number, counted in frames from the epoch's zero.
    pub(crate) frame: i64,
    /// When it came. A still picture is the same bytes again and again: then the nearest one is meant.
    unix_ms: i64,
}

/// An epoch, as far as both have to agree on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Epoch {
    pub(crate) numbers: Numbers,
    /// Of the source: what it was taken for.
    pub(crate) rate: (u32, u32),
    pub(crate) gop: Option<u32>,
    /// Average and peak, in bits per second.
    pub(crate) bitrate: (u64, u64),
    /// A hash of the plan. With another one the two cannot cut alike.
    pub(crate) plan: String,
}

/// The epoch that one would begin, and the key frames it holds: the first of them is the zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Offer {
    pub(crate) epoch: Epoch,
    pub(crate) keys: Vec<Key>,
}

/// What the other says to an offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// This one. The key frame `key` of the offer is its frame `frame`.
    Epoch { epoch: Epoch, key: usize, frame: i64 },
    /// It has not seen any of these pictures yet.
    Later,
    /// It has no publisher.
    Absent,
    /// It would cut the same source otherwise.
    Other,
}

/// What players of a stream were told here: what an agreed epoch has to go on from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) last_id: u64,
    /// The number that comes next; that of the clock, where nobody was told any yet.
    pub(crate) next_msn: u64,
    /// The least that may come, where no gap can lead there: what another life of the stream has given is not given again.
    pub(crate) least_msn: u64,
    pub(crate) discontinuities: u64,
    /// What may lie between: it is listed as gaps, or is how far two clocks and two histories may be apart.
    pub(crate) ahead_max: u64,
}

impl Told {
    /// Whether these numbers go on from there: none of them back, and none far away. `joined` segments of the epoch are
    /// before what is held here.
    pub(crate) fn allows(&self, numbers: &Numbers, joined: u64) -> bool {
        let first_msn = numbers.first_msn.saturating_add(joined);
        numbers.id >= self.last_id
            && numbers.discontinuities >= self.discontinuities
            && first_msn >= self.least_msn
            && first_msn.saturating_sub(self.next_msn) <= self.ahead_max
    }
}

/// How an agreement ended, as metrics name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Both run one epoch.
    Together,
    /// The other has no publisher.
    Alone,
    /// It did not answer in time.
    Silent,
    /// It answered, and knows another source.
    Strange,
    /// It cuts the same source otherwise.
    Other,
}

/// One origin's side of a stream.
#[derive(Debug, Default)]
pub(crate) struct Pairing {
    stage: Stage,
    /// What was answered to the other, before anything runs here: with a key frame of it.
    agreed: Option<(Epoch, Key)>,
    /// Key frames of the epoch that runs, newest last.
    seen: VecDeque<Key>,
}

#[derive(Debug, Default)]
enum Stage {
    /// Nobody publishes.
    #[default]
    Absent,
    /// The source is learnt. The next epoch's numbers are at least these, where there was one before.
    Learning(Option<Numbers>),
    Offering(Offer),
    Running(Epoch),
}

/// Key frames in an offer; an analysis holds few.
const KEYS_MAX: usize = 16;
/// Key frames remembered of a running epoch: eight seconds of a source that sends nothing else.
const SEEN_MAX: usize = 256;
/// The same picture reaches both within this, and clocks differ less.
const APART_MAX_MS: i64 = 10_000;
const DAY_MS: i64 = 86_400_000;
/// What a source is taken for: frames per second, the terms of that, frames from one key frame to the next, bits per second.
const HZ: RangeInclusive<f64> = 0.5..=250.0;
const DENOMINATOR_MAX: u32 = 1001;
const GOP_MAX: u32 = 1 << 16;
const BITRATE_MAX: u64 = 1 << 40;
/// More than a stream can have had.
const DISCONTINUITIES_MAX: u64 = 1 << 32;
/// How far the date of a picture may be from when it came, besides one in a hundred of the time since the epoch's zero: a source
/// that is sent faster than its time runs ahead.
const ASTRAY_MAX_MS: i64 = 3_600_000;

impl Key {
    /// `frame` counts from the epoch's zero.
    pub(crate) fn of(picture: &Frame, frame: i64, unix_ms: i64) -> Self {
        let hash = ring::digest::digest(&ring::digest::SHA256, &picture.data);
        Self { id: hex(&hash.as_ref()[..16]), frame, unix_ms }
    }

    fn apart_ms(&self, other: &Self) -> i64 {
        self.unix_ms.saturating_sub(other.unix_ms).saturating_abs()
    }
}

impl Epoch {
    /// A hash of what two plans must have in common, which is everything.
    pub(crate) fn plan_hash(plan: &transcode::Plan) -> String {
        let hash = ring::digest::digest(&ring::digest::SHA256, format!("{plan:?}").as_bytes());
        hex(&hash.as_ref()[..16])
    }

    /// With numbers that neither of the two has used.
    fn above(mut self, other: Numbers) -> Self {
        self.numbers.id = self.numbers.id.max(other.id);
        self.numbers.first_msn = self.numbers.first_msn.max(other.first_msn);
        self.numbers.discontinuities = self.numbers.discontinuities.max(other.discontinuities);
        self
    }

    /// Whether an origin can be in it: its numbers leave room for those of many more, and it can be planned for.
    fn is_sane(&self, now_unix_ms: i64) -> bool {
        let Numbers { id, discontinuities, zero_unix_ms, .. } = self.numbers;
        let is_near = |unix_ms: i64| unix_ms.saturating_sub(now_unix_ms).saturating_abs() < 1000 * DAY_MS;
        let (average, peak) = self.bitrate;
        self.numbers.are_sane()
            && is_near(zero_unix_ms)
            && id < now_unix_ms.saturating_add(1000 * DAY_MS).max(0) as u64
            && discontinuities < DISCONTINUITIES_MAX
            && self.rate.1 <= DENOMINATOR_MAX
            && self.frame_rate().is_some_and(|rate| HZ.contains(&rate.hz()))
            && self.gop.is_none_or(|gop| (1..=GOP_MAX).contains(&gop))
            && average.max(peak) <= BITRATE_MAX
    }

    fn frame_rate(&self) -> Option<FrameRate> {
        FrameRate::new(self.rate.0, self.rate.1)
    }

    /// Whether its picture of this number can have come then.
    fn dates(&self, frame: i64, unix_ms: i64) -> bool {
        let Some(rate) = self.frame_rate() else { return false };
        let since_ms = rate.ticks_of_index(frame, Timescale::MILLISECONDS);
        let astray_ms = self.numbers.zero_unix_ms.saturating_add(since_ms).saturating_sub(unix_ms).saturating_abs();
        astray_ms <= ASTRAY_MAX_MS + since_ms / 100
    }
}

impl Offer {
    /// At most as many keys as are looked at; the first is the zero.
    pub(crate) fn new(epoch: Epoch, mut keys: Vec<Key>) -> Self {
        keys.truncate(KEYS_MAX);
        Self { epoch, keys }
    }

    /// Whether the numbers are such as an origin would send.
    pub(crate) fn is_sane(&self, now_unix_ms: i64) -> bool {
        let frame = |key: &Key| {
            (0..=1 << 20).contains(&key.frame) && key.id.len() <= 64 && self.epoch.dates(key.frame, key.unix_ms)
        };
        let zero = self.keys.first().is_some_and(|key| key.frame == 0);
        zero && self.keys.len() <= KEYS_MAX && self.epoch.is_sane(now_unix_ms) && self.keys.iter().all(frame)
    }
}

impl Answer {
    /// Whether it can be an answer to that offer.
    pub(crate) fn suits(&self, offer: &Offer, now_unix_ms: i64) -> bool {
        match self {
            Self::Epoch { epoch, key, frame } => {
                let is_it = |known: &Key| (0..1 << 40).contains(frame) && epoch.dates(*frame, known.unix_ms);
                epoch.is_sane(now_unix_ms) && offer.keys.get(*key).is_some_and(is_it)
            }
            Self::Later | Self::Absent | Self::Other => true,
        }
    }
}

impl Outcome {
    pub(crate) const ALL: [Self; 5] = [Self::Together, Self::Alone, Self::Silent, Self::Strange, Self::Other];

    /// The value of the `outcome` label in metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Together => "together",
            Self::Alone => "alone",
            Self::Silent => "silent",
            Self::Strange => "strange",
            Self::Other => "other_plan",
        }
    }
}

impl Pairing {
    /// The publisher is gone.
    pub(crate) fn absent(&mut self) {
        *self = Self::default();
    }

    /// A publisher is there, and no epoch. `least` are the numbers that the next one has at least.
    pub(crate) fn learning(&mut self, least: Option<Numbers>) {
        *self = Self { stage: Stage::Learning(least), ..Self::default() };
    }

    /// From here on the offer is known to whoever asks.
    pub(crate) fn offering(&mut self, offer: Offer) {
        self.stage = Stage::Offering(offer);
    }

    /// A key frame of the epoch that runs.
    pub(crate) fn saw(&mut self, key: Key) {
        if self.seen.len() == SEEN_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back(key);
    }

    /// What is said to an offer of the other origin.
    pub(crate) fn answer(&mut self, theirs: &Offer) -> Answer {
        match &self.stage {
            Stage::Absent => Answer::Absent,
            Stage::Learning(least) => {
                let Some(zero) = theirs.keys.first() else { return Answer::Later };
                let epoch = least.map_or_else(|| theirs.epoch.clone(), |least| theirs.epoch.clone().above(least));
                self.agreed = Some((epoch.clone(), zero.clone()));
                Answer::Epoch { epoch, key: 0, frame: 0 }
            }
            Stage::Offering(mine) if mine.epoch.plan != theirs.epoch.plan => Answer::Other,
            Stage::Offering(mine) => {
                let Some((epoch, key, frame)) = agree(mine, theirs) else { return Answer::Later };
                self.agreed = Some((epoch.clone(), Key { frame, ..theirs.keys[key].clone() }));
                Answer::Epoch { epoch, key, frame }
            }
            Stage::Running(epoch) => {
                let seen = self.seen.make_contiguous();
                match common(seen, &theirs.keys) {
                    Some((seen_at, key)) => {
                        Answer::Epoch { epoch: epoch.clone(), key, frame: self.seen[seen_at].frame }
                    }
                    None => Answer::Later,
                }
            }
        }
    }

    /// What runs from here on: the epoch, which key frame of the offer is in it, and as which frame. The other's word
    /// counts; without it what it was answered here; without that the offer.
    pub(crate) fn begin(&mut self, offer: &Offer, answer: Option<Answer>) -> (Epoch, usize, i64, Outcome) {
        let agreed = self.agreed.take();
        let agreed = agreed.and_then(|(epoch, known)| {
            let (_, key) = nearest(std::slice::from_ref(&known), &offer.keys)?;
            Some((epoch, key, known.frame))
        });
        let outcome = match &answer {
            None => Outcome::Silent,
            Some(Answer::Absent) => Outcome::Alone,
            Some(Answer::Other) => Outcome::Other,
            Some(_) => Outcome::Strange,
        };
        let told = match answer {
            Some(Answer::Epoch { epoch, key, frame }) => Some((epoch, key, frame)),
            _ => None,
        };
        let (epoch, key, frame, outcome) = match told.or(agreed) {
            Some((epoch, key, frame)) => (epoch, key, frame, Outcome::Together),
            None => (offer.epoch.clone(), 0, 0, outcome),
        };
        self.run(epoch.clone());
        (epoch, key, frame, outcome)
    }

    /// This epoch runs, whatever was said.
    pub(crate) fn run(&mut self, epoch: Epoch) {
        *self = Self { stage: Stage::Running(epoch), ..Self::default() };
    }
}

/// What two offers come to, from either side: the epoch of the one that began earlier, with numbers that neither has used.
/// And the key frame of `theirs` that both hold, with its number.
fn agree(mine: &Offer, theirs: &Offer) -> Option<(Epoch, usize, i64)> {
    let (my_key, key) = nearest(&mine.keys, &theirs.keys)?;
    let (my_frame, their_frame) = (mine.keys[my_key].frame, theirs.keys[key].frame);
    // Where both began with one picture, something has to decide that is the same from either side.
    let rank = |frame: i64, Epoch { numbers, rate, gop, .. }: &Epoch| {
        (Reverse(frame), numbers.zero_unix_ms, numbers.id, *rate, *gop)
    };
    let mine_first = rank(my_frame, &mine.epoch) <= rank(their_frame, &theirs.epoch);
    let (first, second) = if mine_first { (mine, theirs) } else { (theirs, mine) };
    let mut epoch = first.epoch.clone().above(second.epoch.numbers);
    if my_frame == their_frame {
        epoch.bitrate = mine.epoch.bitrate.max(theirs.epoch.bitrate);
    }
    Some((epoch, key, my_frame.max(their_frame)))
}

/// The picture that both hold: both places. Of a still one, where many look like the same, the pair that is nearest in
/// time and then the earliest, which it is from either side.
fn nearest(ours: &[Key], theirs: &[Key]) -> Option<(usize, usize)> {
    let pairs = ours.iter().enumerate().flat_map(|one| theirs.iter().enumerate().map(move |other| (one, other)));
    let same = pairs.filter(|((_, our), (_, their))| our.id == their.id && our.apart_ms(their) <= APART_MAX_MS);
    let rank = |((_, our), (_, their)): &((usize, &Key), (usize, &Key))| {
        (our.apart_ms(their), our.unix_ms.min(their.unix_ms), our.frame.saturating_add(their.frame))
    };
    same.min_by_key(rank).map(|((our, _), (their, _))| (our, their))
}

/// The first of `theirs` that is one of `ours`: both places.
fn common(ours: &[Key], theirs: &[Key]) -> Option<(usize, usize)> {
    theirs.iter().enumerate().find_map(|(at, their)| {
        let same = ours.iter().enumerate();
        let same = same.filter(|(_, our)| our.id == their.id && our.apart_ms(their) <= APART_MAX_MS);
        same.min_by_key(|(_, our)| our.apart_ms(their)).map(|(our_at, _)| (our_at, at))
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(id: u64) -> Numbers {
        Numbers { id, first_msn: 100 + id, discontinuities: id, zero_unix_ms: 5000 + id as i64 }
    }

    fn epoch(id: u64) -> Epoch {
        Epoch { numbers: numbers(id), rate: (30, 1), gop: Some(60), bitrate: (id, id), plan: "p".into() }
    }

    #[test]
    fn no_word_of_the_other_takes_players_back_or_far_away() {
        let told = Told { last_id: 50, next_msn: 1000, least_msn: 0, discontinuities: 3, ahead_max: 60 };
        let good = Numbers { id: 60, first_msn: 1000, discontinuities: 4, zero_unix_ms: 5000 };
        assert!(told.allows(&good, 0));
        // It began earlier, and what was missed is gaps, or was made here.
        assert!(told.allows(&Numbers { id: 50, first_msn: 980, discontinuities: 3, ..good }, 30));
        for first_msn in [1061, 1 << 47, u64::MAX] {
            assert!(!told.allows(&Numbers { first_msn, ..good }, 0), "{first_msn}");
        }
        // A key frame of the epoch that is said to be years in.
        assert!(!told.allows(&good, (1 << 39) / 60));
        assert!(!told.allows(&good, u64::MAX));
        assert!(!told.allows(&Numbers { discontinuities: 0, ..good }, 0));
        assert!(!told.allows(&Numbers { id: 0, ..good }, 0));
    }

    #[test]
    fn an_origin_that_lost_its_stream_goes_on_with_the_other_and_takes_no_other_from_it() {
        // Here nobody was told anything: the number is that of the clock, and names were given before.
        let new = Told { last_id: 40, next_msn: 5000, least_msn: 900, discontinuities: 0, ahead_max: 43_200 };
        let running = Numbers { id: 45, first_msn: 4000, discontinuities: 7, zero_unix_ms: 5000 };
        assert!(new.allows(&running, 20), "it waited while its publisher was away");
        assert!(!new.allows(&Numbers { first_msn: 100, ..running }, 20), "those were given");
        assert!(!new.allows(&Numbers { first_msn: 1 << 47, ..running }, 0));
        // It has a new epoch of its own, and asks who goes on: it is not followed, as it counts from nothing.
        let old = Told { last_id: 45, next_msn: 4100, least_msn: 0, discontinuities: 8, ahead_max: 60 };
        assert!(!old.allows(&Numbers { id: 70, first_msn: 5000, discontinuities: 0, zero_unix_ms: 5000 }, 0));
        // Where both offer, the numbers are above either's.
        let both = epoch(8).above(Numbers { id: 70, first_msn: 4100, discontinuities: 8, zero_unix_ms: 5000 });
        assert!(old.allows(&both.numbers, 0));
    }

    fn key(id: &str, frame: i64, unix_ms: i64) -> Key {
        Key { id: id.into(), frame, unix_ms }
    }

    fn offer(id: u64, keys: &[(&str, i64)]) -> Offer {
        Offer::new(epoch(id), keys.iter().map(|&(id, frame)| key(id, frame, 5000 + frame * 33)).collect())
    }

    /// Both offers are on their way at once.
    fn crossed(a: &Offer, b: &Offer) -> [(Epoch, usize, i64, Outcome); 2] {
        let (mut at_a, mut at_b) = (Pairing::default(), Pairing::default());
        at_a.offering(a.clone());
        at_b.offering(b.clone());
        let (to_a, to_b) = (at_b.answer(a), at_a.answer(b));
        [at_a.begin(a, Some(to_a)), at_b.begin(b, Some(to_b))]
    }

    #[test]
    fn offers_that_cross_come_to_one_epoch_with_numbers_that_neither_has_used() {
        let (a, b) = (offer(1, &[("k", 0), ("l", 60)]), offer(2, &[("k", 0), ("l", 60)]));
        for [one, other] in [crossed(&a, &b), crossed(&b, &a)] {
            assert_eq!(one, other);
            let Numbers { id, first_msn, discontinuities, zero_unix_ms } = one.0.numbers;
            assert_eq!((id, first_msn, discontinuities, zero_unix_ms), (2, 102, 2, 5001));
            assert_eq!((one.1, one.2, one.3), (0, 0, Outcome::Together));
        }
    }

    #[test]
    fn who_began_earlier_has_the_zero() {
        let (early, late) = (offer(1, &[("k", 0), ("l", 60)]), offer(2, &[("l", 0), ("m", 60)]));
        let [one, other] = crossed(&early, &late);
        assert_eq!(one.0, other.0);
        assert_eq!(one.0.numbers.zero_unix_ms, 5001);
        assert_eq!(((one.1, one.2), (other.1, other.2)), ((1, 60), (0, 60)), "one picture, one number");
    }

    #[test]
    fn of_a_still_picture_both_mean_the_same_pair() {
        let still = |id, at_ms: &[i64]| {
            let keys = at_ms.iter().zip(0..).map(|(&at_ms, index)| key("still", 60 * index, at_ms));
            Offer::new(epoch(id), keys.collect())
        };
        let (early, late) = (still(1, &[0, 2000, 4000]), still(2, &[1900, 3900]));
        for [one, other] in [crossed(&early, &late), {
            let [late, early] = crossed(&late, &early);
            [early, late]
        }] {
            assert_eq!(one.0, other.0);
            assert_eq!(one.0.bitrate, (1, 1), "who began earlier has the zero");
            assert_eq!(((one.1, one.2), (other.1, other.2)), ((1, 60), (0, 60)), "one picture, one number");
        }
        let (mut at_early, mut at_late) = (Pairing::default(), Pairing::default());
        at_early.offering(early.clone());
        at_late.offering(late.clone());
        let to_late = at_early.answer(&late);
        let (told, alone) = (at_late.begin(&late, Some(to_late)), at_early.begin(&early, None));
        assert_eq!((told.0, (told.1, told.2)), (alone.0, (0, 60)));
        assert_eq!((alone.1, alone.2), (1, 60), "an answer that is lost changes nothing");
    }

    #[test]
    fn one_answer_that_is_lost_changes_nothing_if_the_other_comes() {
        let (a, b) = (offer(1, &[("k", 0)]), offer(2, &[("k", 0)]));
        let (mut at_a, mut at_b) = (Pairing::default(), Pairing::default());
        at_a.offering(a.clone());
        at_b.offering(b.clone());
        let to_b = at_a.answer(&b);
        assert_eq!(at_a.begin(&a, None), at_b.begin(&b, Some(to_b)));
    }

    #[test]
    fn who_still_learns_takes_what_it_is_offered() {
        let a = offer(1, &[("k", 0), ("l", 60)]);
        let (mut at_a, mut at_b) = (Pairing::default(), Pairing::default());
        at_a.offering(a.clone());
        at_b.learning(Some(numbers(7)));
        let answer = at_b.answer(&a);
        let (epoch, _, _, outcome) = at_a.begin(&a, Some(answer));
        assert_eq!((epoch.numbers.first_msn, outcome), (107, Outcome::Together));
        // It asks nevertheless, and is told the same; if it is told nothing, it knows.
        let b = offer(9, &[("l", 0), ("m", 60)]);
        at_b.offering(b.clone());
        assert_eq!(at_a.answer(&b), Answer::Later, "its first key frame is still on its way through");
        at_a.saw(key("k", 0, 5000));
        at_a.saw(key("l", 60, 7000));
        assert_eq!(at_a.answer(&b), Answer::Epoch { epoch: epoch.clone(), key: 0, frame: 60 });
        let same = offer(9, &[("k", 0), ("l", 60)]);
        assert_eq!(at_b.begin(&same, None), (epoch, 0, 0, Outcome::Together));
    }

    #[test]
    fn alone_for_one_of_four_reasons() {
        let a = offer(1, &[("k", 0)]);
        for (answer, outcome) in [
            (None, Outcome::Silent),
            (Some(Answer::Absent), Outcome::Alone),
            (Some(Answer::Later), Outcome::Strange),
            (Some(Answer::Other), Outcome::Other),
        ] {
            assert_eq!(Pairing::default().begin(&a, answer), (a.epoch.clone(), 0, 0, outcome));
        }
        let mut running = Pairing::default();
        assert_eq!(running.answer(&a), Answer::Absent);
        running.run(epoch(3));
        assert_eq!(running.answer(&a), Answer::Later);
        let mut other = offer(2, &[("k", 0)]);
        other.epoch.plan = "q".into();
        running.offering(other);
        assert_eq!(running.answer(&a), Answer::Other);
    }

    #[test]
    fn of_a_still_picture_the_nearest_is_meant() {
        let mut running = Pairing::default();
        running.run(epoch(3));
        (0..400).for_each(|index| running.saw(key("still", index * 60, 2000 * index)));
        assert_eq!(running.seen.len(), SEEN_MAX);
        let asked = Offer::new(epoch(1), vec![key("still", 0, 700_300)]);
        assert_eq!(running.answer(&asked), Answer::Epoch { epoch: epoch(3), key: 0, frame: 350 * 60 });
        let long_ago = Offer::new(epoch(1), vec![key("still", 0, 100_000)]);
        assert_eq!(running.answer(&long_ago), Answer::Later);
    }

    #[test]
    fn numbers_that_no_origin_has_are_not_taken() {
        let good = offer(1, &[("k", 0), ("l", 60)]);
        assert!(good.is_sane(6000));
        let with = |change: fn(&mut Offer)| {
            let mut offer = good.clone();
            change(&mut offer);
            offer.is_sane(6000)
        };
        assert!(!with(|offer| offer.epoch.numbers.first_msn = u64::MAX));
        assert!(!with(|offer| offer.epoch.numbers.zero_unix_ms = i64::MIN));
        assert!(!with(|offer| offer.keys.clear()));
        assert!(!with(|offer| offer.keys[0].frame = 1));
        assert!(!with(|offer| offer.keys[1].frame = i64::MAX));
        let answer = |key, frame| Answer::Epoch { epoch: epoch(1), key, frame }.suits(&good, 6000);
        assert!(answer(1, 60) && !answer(2, 60) && !answer(0, -1));
        assert!(!answer(1, 1 << 39), "a date that is years away");
    }

    /// Whoever is told of such an epoch plans for it, and keeps its numbers for ever.
    #[test]
    fn an_epoch_that_nobody_can_cut_is_not_taken() {
        let good = offer(1, &[("k", 0), ("l", 60)]);
        for change in [
            (|epoch| epoch.rate = (0, 1)) as fn(&mut Epoch),
            |epoch| epoch.rate = (30, 0),
            |epoch| epoch.rate = (1, u32::MAX),
            |epoch| epoch.rate = (u32::MAX, 1),
            |epoch| epoch.rate = (u32::MAX, u32::MAX - 1),
            |epoch| epoch.gop = Some(0),
            |epoch| epoch.gop = Some(u32::MAX),
            |epoch| epoch.bitrate = (u64::MAX, 1),
            |epoch| epoch.bitrate = (1, u64::MAX),
            |epoch| epoch.numbers.id = (1 << 48) - 1,
            |epoch| epoch.numbers.discontinuities = (1 << 48) - 1,
            |epoch| epoch.numbers.zero_unix_ms += 500 * DAY_MS,
        ] {
            let mut epoch = good.epoch.clone();
            change(&mut epoch);
            assert!(!Offer { epoch: epoch.clone(), ..good.clone() }.is_sane(6000), "{epoch:?}");
            assert!(!Answer::Epoch { epoch: epoch.clone(), key: 1, frame: 60 }.suits(&good, 6000), "{epoch:?}");
        }
        for rate in [(10, 1), (25, 2), (24_000, 1001), (120_000, 1001), (999, 1000)] {
            let offer = Offer::new(Epoch { rate, ..good.epoch.clone() }, vec![good.keys[0].clone()]);
            assert!(offer.is_sane(6000), "{rate:?}");
        }
    }
}
