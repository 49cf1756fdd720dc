//! Whether another edge is well, by its answers to polls.

use super::load::Load;
use crate::metrics::Polled;
use std::time::Instant;

/// What is known of an edge.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    pub standing: Standing,
    /// Polls in a row that spoke against the standing.
    against: u8,
    /// Its last answer, and when that came.
    pub load: Option<(Load, Instant)>,
    /// How the last poll ended.
    pub last: Option<Polled>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It has not answered yet, and gets nobody.
    #[default]
    Unknown,
    Up,
    Down,
}

/// One lost packet takes no edge out, and one lucky answer brings none back.
const TURNS: u8 = 2;

impl Health {
    pub fn is_up(&self) -> bool {
        self.standing == Standing::Up
    }

    /// Takes the end of a poll.
    pub fn polled(&mut self, end: Result<Load, Polled>, now: Instant) {
        let well = end.is_ok();
        self.last = Some(end.as_ref().err().copied().unwrap_or(Polled::Ok));
        if let Ok(load) = end {
            self.load = Some((load, now));
        }
        let turn = match self.standing {
            // Nothing speaks for or against it yet, so the first answer counts.
            Standing::Unknown => well,
            Standing::Up => !well,
            Standing::Down => well,
        };
        self.against = if turn { self.against + 1 } else { 0 };
        if self.against >= TURNS || (turn && self.standing == Standing::Unknown) {
            self.standing = if well { Standing::Up } else { Standing::Down };
            self.against = 0;
        }
    }
}

impl Standing {
    pub fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_polls_in_a_row_turn_an_edge() {
        let load = Load { name: "a".to_owned(), viewers: 0, viewers_max: None, full: false, draining: false };
        let mut health = Health::default();
        let now = Instant::now();
        let mut standings = String::new();
        for end in "--+-+--+-++-+".chars() {
            health.polled(if end == '+' { Ok(load.clone()) } else { Err(Polled::Timeout) }, now);
            standings.push(match health.standing {
                Standing::Unknown => '?',
                Standing::Up => 'u',
                Standing::Down => 'd',
            });
        }
        assert_eq!(standings, "??uuuudddduuu");
        assert_eq!(health.last, Some(Polled::Ok));
    }
}
