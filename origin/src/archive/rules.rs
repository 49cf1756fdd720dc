//! What is to become of recordings, and when: which are removed, which move to another tier. Pure.

use super::recording::{Id, Recording};
use config::HOT;

/// As configured; times in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) keep_ms: i64,
    pub(crate) bytes_max: u64,
    pub(crate) grace_ms: i64,
    /// Where recordings go, and how long after their end, in that order.
    pub(crate) tiers: Vec<(String, i64)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// All of it, wherever it is.
    Remove(Id, Why),
    /// The copy that is left where it was before it moved.
    Clear(Id),
    Move {
        id: Id,
        to: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Age,
    Size,
    /// By request, or what was begun before.
    Asked,
}

impl Why {
    pub(crate) const ALL: [Self; 3] = [Self::Age, Self::Size, Self::Asked];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Size => "size",
            Self::Asked => "asked",
        }
    }
}

impl Rules {
    /// Decides on recordings, oldest first. What `is_live` says is still read by the stream's own window: nothing of it
    /// leaves the origin's folder.
    pub(crate) fn decide<'a>(
        &self,
        recordings: impl Iterator<Item = &'a Recording> + Clone,
        is_live: impl Fn(&Id) -> bool,
        now_unix_ms: i64,
    ) -> Vec<Decision> {
        let kept = recordings.clone().filter(|one| !one.removing);
        let mut bytes = kept.fold(0_u64, |bytes, one| bytes.saturating_add(one.bytes));
        let (mut removals, mut others) = (Vec::new(), Vec::new());
        for recording in recordings {
            let (id, age_ms) = (&recording.id, now_unix_ms - recording.ended_unix_ms);
            let why = if recording.removing {
                Some(Why::Asked)
            } else if age_ms >= self.keep_ms {
                Some(Why::Age)
            } else {
                (bytes > self.bytes_max).then_some(Why::Size)
            };
            match why {
                _ if is_live(id) => {}
                Some(why) => {
                    if !recording.removing {
                        bytes = bytes.saturating_sub(recording.bytes);
                    }
                    removals.push(Decision::Remove(id.clone(), why));
                }
                None => others.extend(self.place(recording, (age_ms, now_unix_ms))),
            }
        }
        removals.append(&mut others);
        removals
    }

    fn place(&self, recording: &Recording, (age_ms, now_unix_ms): (i64, i64)) -> Option<Decision> {
        let id = recording.id.clone();
        if let Some(former) = &recording.former {
            return (now_unix_ms - former.unix_ms >= self.grace_ms).then_some(Decision::Clear(id));
        }
        // One in a tier that is configured no more stays there.
        let rank = |tier: &str| match tier {
            HOT => Some(0),
            tier => self.tiers.iter().position(|(name, _)| name == tier).map(|index| index + 1),
        };
        let here = rank(&recording.tier)?;
        let due = self.tiers.iter().rposition(|(_, after_ms)| age_ms >= *after_ms)?;
        (due + 1 > here).then(|| Decision::Move { id, to: self.tiers[due].0.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::recording::{Former, KeyIds};
    use super::*;

    fn rules() -> Rules {
        let tiers = vec![("warm".to_owned(), 100), ("cold".to_owned(), 500)];
        Rules { keep_ms: 1000, bytes_max: 100, grace_ms: 10, tiers }
    }

    fn recording(started: u64, ended_unix_ms: i64, bytes: u64) -> Recording {
        Recording {
            id: Id { started, stream: "a".into() },
            ended_unix_ms,
            duration_ms: 1,
            bytes,
            tier: HOT.into(),
            keys: KeyIds::default(),
            only_hls: false,
            former: None,
            removing: false,
        }
    }

    fn decide(recordings: &[Recording], now: i64) -> Vec<Decision> {
        rules().decide(recordings.iter(), |id| id.started == 99, now)
    }

    fn remove(started: u64, why: Why) -> Decision {
        Decision::Remove(recording(started, 0, 0).id, why)
    }

    fn moved(started: u64, to: &str) -> Decision {
        Decision::Move { id: recording(started, 0, 0).id, to: to.into() }
    }

    #[test]
    fn recordings_go_from_tier_to_tier_and_never_back() {
        let one = recording(1, 0, 1);
        for (now, decisions) in [
            (99, vec![]),
            (100, vec![moved(1, "warm")]),
            (500, vec![moved(1, "cold")]),
            (1000, vec![remove(1, Why::Age)]),
        ] {
            assert_eq!(decide(std::slice::from_ref(&one), now), decisions, "{now}");
        }
        let warm = Recording { tier: "warm".into(), ..one.clone() };
        assert_eq!(decide(std::slice::from_ref(&warm), 200), []);
        assert_eq!(decide(&[warm], 500), [moved(1, "cold")]);
        assert_eq!(decide(&[Recording { tier: "cold".into(), ..one.clone() }], 200), []);
        assert_eq!(decide(&[Recording { tier: "gone".into(), ..one }], 600), []);
    }

    #[test]
    fn a_copy_that_is_left_behind_goes_after_the_grace_and_before_the_next_move() {
        let former = Some(Former { tier: HOT.into(), unix_ms: 495 });
        let one = Recording { tier: "warm".into(), former, ..recording(1, 0, 1) };
        assert_eq!(decide(std::slice::from_ref(&one), 504), []);
        assert_eq!(decide(std::slice::from_ref(&one), 505), [Decision::Clear(one.id.clone())]);
    }

    #[test]
    fn the_oldest_go_first_where_there_are_too_many_bytes_and_none_that_is_live() {
        let all = [recording(1, 1, 40), recording(2, 2, 40), recording(3, 3, 40), recording(99, 4, 40)];
        assert_eq!(decide(&all, 5), [remove(1, Why::Size), remove(2, Why::Size)]);
        let live = [recording(99, 1, 200), recording(100, 2, 20)];
        assert_eq!(decide(&live, 5), [remove(100, Why::Size)]);
        assert_eq!(decide(&live[..1], 5000), []);
    }

    #[test]
    fn what_is_being_removed_does_not_count_and_comes_first() {
        let gone = Recording { removing: true, ..recording(2, 2, 90) };
        let all = [recording(1, -100, 40), gone, recording(3, 3, 40)];
        assert_eq!(decide(&all, 5), [remove(2, Why::Asked), moved(1, "warm")]);
    }
}
