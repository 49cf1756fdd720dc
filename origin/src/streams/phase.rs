//! Where a stream is in its life, and why it goes from one epoch to the next.

use super::live::{Broken, Live};
use super::task::Agreeing;
use crate::epoch::{Analysis, Known};
use crate::segmenter::Violation;
use std::time::Duration;
use tokio::time::Instant;

/// ```text
///              publisher            source known          key frame
/// Lingering ─────────────► Analysing ──────────► (starts) ◄───────── Waiting
///  ▲  │ too long               ▲                    │                   ▲
///  │  ▼                        │ other set-up       ▼      broken       │
///  │ Ended                     └────────────────── Live ────────────────┘
///  └──── publisher gone ────────────────────────────┘
/// ```
pub(super) enum Phase {
    /// No publisher; the stream ends at `until`. Requests may wait for it to come back up to `holds_until`, if that is
    /// still to come. At `slate_at` the slate is shown.
    Lingering {
        until: Instant,
        holds_until: Option<Instant>,
        slate_at: Option<Instant>,
    },
    /// Begins anew with the first key frame to count the time to `until`.
    Analysing {
        analysis: Box<Analysis>,
        until: Instant,
    },
    /// The source is known; the next key frame, not before `not_before`, begins an epoch.
    Waiting {
        known: Box<Known>,
        said: Said,
        not_before: Instant,
    },
    /// All is known; the other of two origins is asked which epoch it is. The publisher's next frames wait.
    Agreeing(Box<Agreeing>),
    Live(Box<Live>),
    /// ENDLIST is said; the window is answered until then.
    Ended {
        until: Instant,
    },
}

/// Which set-up a publisher has sent again, as each does at its beginning.
#[derive(Clone, Copy, Default)]
pub(super) struct Said {
    pub(super) video: bool,
    pub(super) audio: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    First,
    PublisherBack,
    SourceChanged,
    OffGrid,
    TimeJump,
    WorkerEnded,
    /// An operator wants another ladder.
    LadderChanged,
    /// The publisher is away.
    Slate,
}

/// An epoch that ran for so long was not a failure.
pub(super) const HEALTHY: Duration = Duration::from_secs(30);
/// Neither was a worker that lived for so long: one that dies of its source now and then is to come back at once.
pub(super) const HEALTHY_WORKER: Duration = Duration::from_secs(10);
/// A publisher that comes back after less than this and a part target is not missed: encoders that reconnect at once, and
/// parts that are late anyway.
pub(super) const ABSENCE_MAX: Duration = Duration::from_millis(500);
const BACK_OFF_MIN: Duration = Duration::from_millis(500);
const BACK_OFF_MAX: Duration = Duration::from_secs(30);
impl Reason {
    pub(crate) const ALL: [Self; 8] = [
        Self::First,
        Self::PublisherBack,
        Self::SourceChanged,
        Self::OffGrid,
        Self::TimeJump,
        Self::WorkerEnded,
        Self::LadderChanged,
        Self::Slate,
    ];

    /// The value of the `reason` label in metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::PublisherBack => "publisher_back",
            Self::SourceChanged => "source_changed",
            Self::OffGrid => "off_grid",
            Self::TimeJump => "time_jump",
            Self::WorkerEnded => "worker_ended",
            Self::LadderChanged => "ladder_changed",
            Self::Slate => "slate",
        }
    }
}

/// The first failure is forgiven at once; from then on twice as long each time.
pub(super) fn back_off(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        more => (BACK_OFF_MIN * 2_u32.saturating_pow(more - 1).min(1 << 10)).min(BACK_OFF_MAX),
    }
}

/// Why the next epoch begins, and whether the source's video may still be passed through in it.
pub(super) fn verdict(broken: &Broken, ran: Duration) -> (Reason, bool) {
    match broken {
        Broken::Time(_) => (Reason::TimeJump, true),
        Broken::Worker(_) => (Reason::WorkerEnded, true),
        // Its key frames are not where segments begin: from now on the top rung is encoded.
        Broken::OffGrid(Violation::NoKeyFrame { .. } | Violation::Unwritable(_)) => (Reason::OffGrid, false),
        // Frames were lost on the way here. That happens now and then; where it happens all the time, encoding mends it.
        Broken::OffGrid(Violation::Gap { .. } | Violation::Order { .. } | Violation::NoKey { .. }) => {
            (Reason::OffGrid, ran >= HEALTHY)
        }
    }
}

/// Whether the source's key frames come at other distances than they were known to.
pub(super) fn is_other_gop(broken: &Broken) -> bool {
    matches!(broken, Broken::OffGrid(Violation::NoKeyFrame { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use manifest::Position;

    #[test]
    fn a_loss_now_and_then_does_not_end_passing_through() {
        let gap = || Broken::OffGrid(Violation::Gap { at: Position { msn: 1, part: 0 } });
        assert_eq!(verdict(&gap(), HEALTHY), (Reason::OffGrid, true));
        assert_eq!(verdict(&gap(), HEALTHY / 2), (Reason::OffGrid, false));
        let no_key = Broken::OffGrid(Violation::NoKeyFrame { msn: 1 });
        assert_eq!(verdict(&no_key, HEALTHY), (Reason::OffGrid, false));
    }

    #[test]
    fn failures_one_after_the_other_are_given_more_and_more_time() {
        let delays: Vec<_> = (0..10).map(back_off).collect();
        assert_eq!(delays[..4], [0, 500, 1000, 2000].map(Duration::from_millis));
        assert!(delays.is_sorted() && delays[9] == BACK_OFF_MAX);
    }
}
