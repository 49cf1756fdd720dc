//! The rules of following one media playlist: what to ask upstream next, and what each viewer deserves meanwhile.
//!
//! **A subscription has at most one request upstream, whatever viewers do.** Pure: the driver asks [`Subscription::step`]
//! what to do, does it, tells the outcome to [`Subscription::heard`], and shows [`Standing`] to viewers.

use manifest::follow::Media;
use manifest::{Head, Position, Verdict, Wait, advance_part_limit};
use std::time::{Duration, Instant};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    Playlist {
        media: &'a Media,
        /// How long it may be kept, where upstream says so.
        lifetime: Option<Duration>,
    },
    /// 404 or 410.
    Missing,
    /// Any other answer, or none.
    Failed { retry_after: Option<Duration> },
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
/// Target durations beyond an hour are no live stream; bounding them keeps sums of instants in range.
const TARGET_MAX_S: u64 = 3600;

impl Subscription {
    pub fn new(media: &Media, lifetime: Option<Duration>, idle_max: Duration, now: Instant) -> Self {
        let mut new = Self {
            idle_max,
            standing: Standing::of(media),
            poll: POLL_MIN,
            parts: false,
            not_before: now,
            fruitless: 0,
            plain_next: false,
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
            Heard::Playlist { media, lifetime } => self.playlist(ask, media, lifetime, now),
            Heard::Missing => self.missing(ask, now),
            Heard::Failed { retry_after } => self.failed(retry_after, now),
        }
    }

    fn playlist(&mut self, ask: Ask, media: &Media, lifetime: Option<Duration>, now: Instant) -> Effect {
        // At the end of a stream the parts of a segment that was not finished may go.
        let ends_here = media.head.ended && media.head.next.msn >= self.standing.head.next.msn;
        let backwards = media.head.next < self.standing.head.next && !ends_here;
        // A playlist never goes backwards for a viewer, as long as there is one to show. Once the last good one is too
        // old to be shown, whatever upstream says is a new life of the stream.
        if backwards && self.standing.usable(now) {
            self.failed(None, now);
            return Effect::Backwards;
        }
        let progress = backwards || media.head.next > self.standing.head.next || media.head.ended;
        let fruitless = if progress { 0 } else { self.fruitless };
        self.accept(media, lifetime, now);
        self.fruitless = fruitless;
        if !progress && ask.at.is_some() {
            // Upstream answered a blocking request with what we had: without a pause this would be a storm.
            self.fruitless += 1;
            self.not_before = now + self.backoff();
        }
        Effect::Publish
    }

    fn accept(&mut self, media: &Media, lifetime: Option<Duration>, now: Instant) {
        self.standing = Standing::of(media);
        self.parts = media.part_target_s.is_some();
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

    /// Three target durations: how long a playlist outlives its upstream, and an object its playlist.
    pub fn linger(&self) -> Duration {
        self.target * STALE_TARGETS
    }
}

impl Ask {
    /// The request target: `url`, which may have a query, with the directives for this position.
    pub fn target(&self, url: &str) -> String {
        let Some(Position { msn, part }) = self.at else { return url.to_owned() };
        let joint = if url.contains('?') { '&' } else { '?' };
        if self.parts {
            format!("{url}{joint}_HLS_msn={msn}&_HLS_part={part}")
        } else {
            format!("{url}{joint}_HLS_msn={msn}")
        }
    }
}

#[cfg(test)]
#[path = "subscription_tests.rs"]
mod tests;
