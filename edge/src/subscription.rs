//! The rules of following one media playlist: what to ask upstream next, and what each viewer deserves meanwhile.
//!
//! **A subscription has at most one request upstream, whatever viewers do.** Pure: the driver asks [`Subscription::step`]
//! what to do, does it, tells the outcome to [`Subscription::heard`], and shows [`Standing`] to viewers.

use crate::upstream::{PeerId, Rhythm};
use manifest::follow::Media;
use manifest::{Head, Position, Verdict, Wait, advance_part_limit};
use std::time::{Duration, Instant};

mod sources;

pub(crate) use sources::without_parts;

use sources::Sources;

/// One media playlist followed.
#[derive(Debug)]
pub struct Subscription {
    idle_max: Duration,
    standing: Standing,
    /// How long a playlist that cannot block is taken for new.
    poll: Duration,
    /// Whether positions count parts.
    parts: bool,
    not_before: Instant,
    /// Answers in a row that brought nothing new: failures, and blocking answers without progress.
    fruitless: u32,
    /// After trouble, upstream is asked for what it has before it is asked to block again.
    plain_next: bool,
    sources: Sources,
    /// Who was heard to cut otherwise than is shown.
    other_cut: Option<PeerId>,
    rhythm: Rhythm,
    /// The promised distance of two positions.
    step: Duration,
}

/// What viewers may be told, as a value that a watcher can hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    pub head: Head,
    pub target: Duration,
    pub blocks: bool,
    advance_limit: u32,
    failing_since: Option<Instant>,
}

/// What a viewer's request deserves now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Answer with the playlist as it stands; `stale` where upstream has not confirmed it lately.
    Answer {
        stale: bool,
    },
    Hold,
    TooFar,
    /// Upstream is silent for so long that the last playlist must not be shown any more.
    TooStale,
}

/// What the driver has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Ask(Ask),
    WaitUntil(Instant),
    /// Nobody asks any more, or nothing more will come.
    Stop,
}

/// A request upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// Block until this position is there; `None` asks for the playlist as it is.
    pub at: Option<Position>,
    parts: bool,
}

/// Who is interested, as the driver counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Viewers {
    pub last_asked: Instant,
    pub held: usize,
}

/// What became of a request upstream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Heard<'a> {
    Playlist(Brought<'a>),
    /// 404 or 410.
    Missing,
    /// Any other answer, or none.
    Failed {
        retry_after: Option<Duration>,
    },
}

/// A playlist as an upstream gave it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Brought<'a> {
    pub media: &'a Media,
    /// How long it may be kept, where upstream says so.
    pub lifetime: Option<Duration>,
    pub source: PeerId,
}

/// What the driver shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The playlist is the newest: show it.
    Publish,
    /// Show the last one on.
    Keep,
    /// The playlist is older than what viewers have seen: show the last one on.
    Backwards,
    /// Another upstream's playlist calls the segments by other names, and the one that is open is not at its end: show
    /// the last one on until it is.
    OtherCut,
    /// Upstream has no such playlist any more.
    Gone,
}

/// First wait after an answer that brought nothing; doubles up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// One request per rendition every two seconds does no origin harm, and recovery costs a viewer no more than its buffer.
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// Polling faster gains nothing: no playlist without blocking reload promises parts below this.
const POLL_MIN: Duration = Duration::from_millis(250);
/// Longest time between two polls, for origins that send a `max-age` meant for finished streams.
const POLL_MAX: Duration = Duration::from_secs(30);
/// RFC 8216bis, 6.2.5.2 and 6.2.2 measure what is too late in three target durations; so does a playlist's staleness.
const STALE_TARGETS: u32 = 3;
/// Parts shorter than this promise nothing that a network keeps.
const STEP_MIN_S: f64 = 0.1;
/// Target durations beyond an hour are no live stream; bounding them keeps sums of instants in range.
const TARGET_MAX_S: u64 = 3600;

impl Subscription {
    pub fn new(media: &Media, lifetime: Option<Duration>, source: PeerId, idle_max: Duration, now: Instant) -> Self {
        let mut new = Self {
            idle_max,
            standing: Standing::of(media),
            poll: POLL_MIN,
            parts: false,
            not_before: now,
            fruitless: 0,
            plain_next: false,
            sources: Sources::new(media, source, now),
            other_cut: None,
            rhythm: Rhythm::new(now),
            step: Duration::ZERO,
        };
        new.accept(media, lifetime, now);
        new
    }

    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// What to do now.
    pub fn step(&self, viewers: Viewers, now: Instant) -> Step {
        if self.standing.head.ended || self.is_idle(viewers, now) {
            return Step::Stop;
        }
        if now < self.not_before {
            return Step::WaitUntil(self.not_before.min(self.idle_at(viewers)));
        }
        let block = self.standing.blocks && !self.plain_next;
        Step::Ask(Ask { at: block.then_some(self.standing.head.next), parts: self.parts })
    }

    /// When to look again whether anybody is there, while a request is out.
    pub fn idle_at(&self, viewers: Viewers) -> Instant {
        viewers.last_asked + self.idle_max
    }

    pub fn is_idle(&self, viewers: Viewers, now: Instant) -> bool {
        viewers.held == 0 && now >= self.idle_at(viewers)
    }

    /// Takes in what became of `ask`.
    pub fn heard(&mut self, ask: Ask, heard: Heard<'_>, now: Instant) -> Effect {
        match heard {
            Heard::Playlist(brought) => self.playlist(ask, brought, now),
            Heard::Missing => self.missing(ask, now),
            Heard::Failed { retry_after } => self.failed(retry_after, now),
        }
    }

    /// What a playlist of `source` would do.
    pub fn judge(&self, media: &Media, source: PeerId, now: Instant) -> Effect {
        let shown = self.standing.head.next;
        // At the end of a stream the parts of a segment that was not finished may go.
        let ends_here = media.head.ended && media.head.next.msn >= shown.msn;
        // A playlist never goes backwards for a viewer, as long as there is one to show. Once the last good one is too
        // old to be shown, whatever upstream says is a new life of the stream.
        if !self.standing.usable(now) {
            Effect::Publish
        } else if media.head.next < shown && !ends_here {
            Effect::Backwards
        } else if !self.sources.continues(media, source, shown) {
            Effect::OtherCut
        } else {
            Effect::Publish
        }
    }

    /// Whether such a playlist is what is waited for: another upstream may have it where this one has not.
    pub fn is_news(&self, ask: Ask, media: &Media, source: PeerId, now: Instant) -> bool {
        let expected = ask.at.is_some() || self.rhythm.is_overdue(self.step, now);
        let progress = media.head.next > self.standing.head.next || media.head.ended || !expected;
        progress && self.judge(media, source, now) == Effect::Publish
    }

    /// Whom to ask next, where `home` is the first choice for this stream.
    pub fn source(&mut self, home: PeerId, now: Instant) -> PeerId {
        self.sources.next(home, self.standing.head.next, now)
    }

    /// From when on the answer to a request made `now` is late.
    pub fn late(&self, now: Instant) -> Instant {
        self.rhythm.late(self.step, now)
    }

    /// What `ask` becomes where it goes to `source`: one that cuts otherwise is of use only from the end of the segment.
    pub fn ask_of(&self, ask: Ask, source: PeerId) -> Ask {
        let waits_for_end = self.other_cut == Some(source) && ask.at.is_some_and(|at| at.part > 0);
        Ask { parts: ask.parts && !waits_for_end, ..ask }
    }

    /// Whose playlist is shown.
    pub fn shown(&self) -> PeerId {
        self.sources.shown()
    }

    /// How often the playlist began anew: an origin was started again, perhaps with the names that it had before.
    pub fn lives(&self) -> u32 {
        self.sources.lives()
    }

    /// Up to the end of which segment no parts are shown.
    pub fn hidden(&self) -> Option<u64> {
        self.sources.hidden()
    }

    fn playlist(&mut self, ask: Ask, brought: Brought<'_>, now: Instant) -> Effect {
        let Brought { media, lifetime, source } = brought;
        let effect = self.judge(media, source, now);
        if effect != Effect::Publish {
            self.other_cut = (effect == Effect::OtherCut).then_some(source);
            self.failed(None, now);
            // Another one than is shown may only be a little behind: it is asked to block until it has come as far.
            self.plain_next = effect == Effect::Backwards && (ask.at.is_some() || source == self.sources.shown());
            return effect;
        }
        let shown = self.standing.head.next;
        let progress = media.head.next != shown || media.head.ended;
        let fruitless = if progress { 0 } else { self.fruitless };
        if progress {
            let regular = source == self.sources.shown() && self.standing.failing_since.is_none();
            self.rhythm.came(now, regular);
        }
        self.sources.show(media, source, shown, now);
        self.other_cut = None;
        self.accept(media, lifetime, now);
        self.fruitless = fruitless;
        if !progress && ask.at.is_some() {
            // Upstream answered a blocking request with what we had: without a pause this would be a storm.
            self.fruitless += 1;
            self.not_before = now + self.backoff();
        }
        effect
    }

    fn accept(&mut self, media: &Media, lifetime: Option<Duration>, now: Instant) {
        self.standing = Standing::of(media);
        self.parts = media.part_target_s.is_some();
        let target_s = self.standing.target.as_secs_f64();
        self.step = Duration::from_secs_f64(media.part_target_s.unwrap_or(target_s).clamp(STEP_MIN_S, target_s));
        self.plain_next = false;
        self.poll = lifetime.unwrap_or(self.standing.target / 2).clamp(POLL_MIN, POLL_MAX);
        self.not_before = if self.standing.blocks { now } else { now + self.poll };
    }

    fn failed(&mut self, retry_after: Option<Duration>, now: Instant) -> Effect {
        self.standing.failing_since.get_or_insert(now);
        self.fruitless += 1;
        self.plain_next = true;
        self.not_before = now + self.backoff().max(retry_after.unwrap_or_default().min(BACKOFF_MAX));
        Effect::Keep
    }

    /// An origin that has just been started knows no stream yet, and players do not ask again after a 404: as long as
    /// there is a playlist to show, a missing one is a failure like others.
    fn missing(&mut self, ask: Ask, now: Instant) -> Effect {
        // It may be the position that is unknown, not the playlist: the plain request will tell.
        if ask.at.is_none() && !self.standing.usable(now) {
            return Effect::Gone;
        }
        let effect = self.failed(None, now);
        // Asked again at the end of that time, so that who is left waiting is told at once.
        if let Some(end) =
            self.standing.failing_since.map(|since| since + self.standing.linger()).filter(|end| *end > now)
        {
            self.not_before = self.not_before.min(end);
        }
        effect
    }

    /// The first fruitless answer costs nothing: most often it is a connection that died while idle.
    fn backoff(&self) -> Duration {
        match self.fruitless {
            0 | 1 => Duration::ZERO,
            n => (BACKOFF_MIN * 2_u32.saturating_pow(n - 2).min(1000)).min(BACKOFF_MAX),
        }
    }
}

impl Standing {
    fn of(media: &Media) -> Self {
        Self {
            head: media.head,
            target: Duration::from_secs(media.target_duration_s.clamp(1, TARGET_MAX_S)),
            blocks: media.can_block_reload,
            advance_limit: advance_part_limit(media.part_target_s.unwrap_or(1.0)),
            failing_since: None,
        }
    }

    /// Decides a viewer's request. A playlist that cannot block does not know the directive (6.2.5.2).
    pub fn decide(&self, wait: Option<Wait>, now: Instant) -> Decision {
        let wait = wait.filter(|_| self.blocks);
        match self.head.admit(wait, self.advance_limit) {
            Verdict::Now if self.usable(now) => Decision::Answer { stale: self.failing_since.is_some() },
            Verdict::Now => Decision::TooStale,
            // A viewer that came from another node may know more than this one while upstream is silent.
            Verdict::TooFar if self.failing_since.is_none() => Decision::TooFar,
            Verdict::Hold | Verdict::TooFar => Decision::Hold,
        }
    }

    fn usable(&self, now: Instant) -> bool {
        self.head.ended || self.failing_since.is_none_or(|since| now < since + self.linger())
    }

    /// Whether upstream has not confirmed the playlist lately.
    pub fn is_failing(&self) -> bool {
        self.failing_since.is_some()
    }

    /// Three target durations: how long a playlist outlives its upstream, and an object its playlist.
    pub fn linger(&self) -> Duration {
        self.target * STALE_TARGETS
    }
}

impl Ask {
    /// The request target: `url`, which may have a query, with the directives for this position; `skip` asks for what is
    /// new alone.
    pub fn target(&self, url: &str, skip: bool) -> String {
        let Some(Position { msn, part }) = self.at else { return url.to_owned() };
        let joint = if url.contains('?') { '&' } else { '?' };
        let skip = if skip { "&_HLS_skip=YES" } else { "" };
        if self.parts {
            format!("{url}{joint}_HLS_msn={msn}&_HLS_part={part}{skip}")
        } else {
            format!("{url}{joint}_HLS_msn={msn}{skip}")
        }
    }
}

#[cfg(test)]
#[path = "subscription_tests.rs"]
mod tests;
