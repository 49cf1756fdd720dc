//! Delivery directives (RFC 8216bis, 6.2.5): what a client asks of a media playlist, and what it deserves now.

use crate::Position;

/// The `_HLS_*` part of a query, parsed once at the door. Other keys are not looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// `_HLS_msn` and `_HLS_part`: wait for this.
    pub wait: Option<Wait>,
    /// `_HLS_skip`: leave this out.
    pub skip: Skip,
}

/// What a Playlist Delta Update leaves out (6.2.5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Skip {
    #[default]
    Nothing,
    /// `YES`: older segments.
    Segments,
    /// `v2`: older segments and date ranges.
    DateRanges,
}

/// What a blocking playlist reload waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// `_HLS_msn` alone: the whole segment.
    Segment(u64),
    /// `_HLS_msn` with `_HLS_part`: that part, or a later one.
    Part(Position),
}

/// How far a media playlist has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The first position that is not yet published: (M, k) while segment M has k parts, (M + 1, 0) once M is whole.
    pub next: Position,
    /// How many parts the last whole segment has; 0 where it has none.
    pub last_parts: u32,
    /// `EXT-X-ENDLIST`: nothing more will come.
    pub ended: bool,
}

/// What to do with a request for a media playlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Answer with the playlist as it is.
    Now,
    /// Hold until the head has moved.
    Hold,
    /// 400: further ahead than any client that follows the rules would ask.
    TooFar,
}

/// Why a query is refused; each is a 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectiveError {
    #[error("{0} must be a decimal integer; write for example {0}=12")]
    NotANumber(&'static str),
    #[error("{0} is given twice; send it once")]
    Repeated(&'static str),
    #[error("_HLS_part needs _HLS_msn; send both, or neither")]
    PartWithoutMsn,
}

impl Directives {
    /// Reads the query of a request, without its `?`.
    pub fn from_query(query: &str) -> Result<Self, DirectiveError> {
        let (mut msn, mut part, mut skip) = (None, None, None);
        for pair in query.split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match key {
                "_HLS_msn" => set(&mut msn, "_HLS_msn", number("_HLS_msn", value)?)?,
                "_HLS_part" => set(&mut part, "_HLS_part", number("_HLS_part", value)?)?,
                "_HLS_skip" => set(&mut skip, "_HLS_skip", Skip::from_value(value))?,
                _ => {}
            }
        }
        let wait = match (msn, part) {
            (Some(msn), Some(part)) => {
                let part = u32::try_from(part).map_err(|_| DirectiveError::NotANumber("_HLS_part"))?;
                Some(Wait::Part(Position { msn, part }))
            }
            (Some(msn), None) => Some(Wait::Segment(msn)),
            (None, Some(_)) => return Err(DirectiveError::PartWithoutMsn),
            (None, None) => None,
        };
        Ok(Self { wait, skip: skip.unwrap_or_default() })
    }
}

impl Skip {
    fn from_value(value: &str) -> Self {
        match value {
            "YES" => Self::Segments,
            "v2" => Self::DateRanges,
            _ => Self::Nothing,
        }
    }
}

impl Head {
    /// Decides a request (6.2.5.2). `advance_limit` is the Advance Part Limit: see [`advance_part_limit`].
    pub fn admit(&self, wait: Option<Wait>, advance_limit: u32) -> Verdict {
        let Some(wait) = wait else { return Verdict::Now };
        if self.ended || self.reached(wait) {
            return Verdict::Now;
        }
        if self.too_far(wait, advance_limit) { Verdict::TooFar } else { Verdict::Hold }
    }

    fn reached(&self, wait: Wait) -> bool {
        let Position { msn: open, part: parts } = self.next;
        match wait {
            Wait::Segment(msn) => msn < open,
            Wait::Part(at) if at.msn >= open => at < self.next,
            // A part beyond the last one of the newest whole segment means part 0 of the open one.
            Wait::Part(at) if at.msn.saturating_add(1) == open => at.part < self.last_parts || parts > 0,
            Wait::Part(_) => true,
        }
    }

    fn too_far(&self, wait: Wait, advance_limit: u32) -> bool {
        let open = self.next.msn;
        match wait {
            // Two beyond the last whole segment, which is the one before the open one.
            Wait::Segment(msn) => msn > open.saturating_add(1),
            Wait::Part(at) if at.msn == open => at.part >= self.next.part.saturating_add(advance_limit),
            Wait::Part(at) => at.msn > open.saturating_add(1) || (at.msn > open && at.part >= advance_limit),
        }
    }
}

/// How many parts beyond the last one a client may ask for: 3 / PART-TARGET if it is under one second, else 3.
pub fn advance_part_limit(part_target_s: f64) -> u32 {
    if part_target_s > 0.0 && part_target_s < 1.0 { (3.0 / part_target_s).ceil() as u32 } else { 3 }
}

fn number(key: &'static str, value: &str) -> Result<u64, DirectiveError> {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| value.parse().ok()).flatten().ok_or(DirectiveError::NotANumber(key))
}

fn set<T>(slot: &mut Option<T>, key: &'static str, value: T) -> Result<(), DirectiveError> {
    match slot.replace(value) {
        Some(_) => Err(DirectiveError::Repeated(key)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u32 = 12;

    fn at(msn: u64, part: u32) -> Position {
        Position { msn, part }
    }

    fn head() -> Head {
        Head { next: at(10, 3), last_parts: 8, ended: false }
    }

    fn verdict(query: &str) -> Verdict {
        head().admit(Directives::from_query(query).unwrap().wait, LIMIT)
    }

    #[test]
    fn what_is_published_is_answered_now() {
        for query in ["", "x=1", "_HLS_msn=9", "_HLS_msn=0", "_HLS_msn=10&_HLS_part=2", "_HLS_msn=3&_HLS_part=99"] {
            assert_eq!(verdict(query), Verdict::Now, "{query}");
        }
    }

    #[test]
    fn what_comes_next_is_held() {
        for query in [
            "_HLS_msn=10",
            "_HLS_msn=11",
            "_HLS_msn=10&_HLS_part=3",
            "_HLS_part=14&_HLS_msn=10",
            "_HLS_msn=11&_HLS_part=0",
        ] {
            assert_eq!(verdict(query), Verdict::Hold, "{query}");
        }
    }

    #[test]
    fn what_is_too_far_ahead_is_refused() {
        for query in
            ["_HLS_msn=12", "_HLS_msn=10&_HLS_part=15", "_HLS_msn=11&_HLS_part=12", "_HLS_msn=18446744073709551615"]
        {
            assert_eq!(verdict(query), Verdict::TooFar, "{query}");
        }
    }

    #[test]
    fn a_part_past_the_end_of_a_whole_segment_is_the_first_of_the_next() {
        let at_boundary = Head { next: at(10, 0), ..head() };
        let wait = Some(Wait::Part(at(9, 8)));
        assert_eq!(at_boundary.admit(wait, LIMIT), Verdict::Hold);
        assert_eq!(head().admit(wait, LIMIT), Verdict::Now);
        assert_eq!(at_boundary.admit(Some(Wait::Part(at(9, 7))), LIMIT), Verdict::Now);
    }

    #[test]
    fn an_ended_stream_ignores_directives() {
        let ended = Head { ended: true, ..head() };
        assert_eq!(ended.admit(Some(Wait::Segment(99)), LIMIT), Verdict::Now);
    }

    #[test]
    fn what_is_to_be_left_out_is_known() {
        let skip = |query| Directives::from_query(query).unwrap().skip;
        for (query, expected) in [
            ("_HLS_skip=YES", Skip::Segments),
            ("_HLS_msn=3&_HLS_skip=v2", Skip::DateRanges),
            ("_HLS_skip=v3", Skip::Nothing),
            ("", Skip::Nothing),
        ] {
            assert_eq!(skip(query), expected, "{query}");
        }
    }

    #[test]
    fn bad_directives_are_named() {
        for (query, error) in [
            ("_HLS_part=1", DirectiveError::PartWithoutMsn),
            ("_HLS_msn=", DirectiveError::NotANumber("_HLS_msn")),
            ("_HLS_msn=-1", DirectiveError::NotANumber("_HLS_msn")),
            ("_HLS_msn=1&_HLS_part=4294967296", DirectiveError::NotANumber("_HLS_part")),
            ("_HLS_msn=99999999999999999999", DirectiveError::NotANumber("_HLS_msn")),
            ("_HLS_msn=1&_HLS_msn=2", DirectiveError::Repeated("_HLS_msn")),
        ] {
            assert_eq!(Directives::from_query(query), Err(error), "{query}");
        }
    }
}
