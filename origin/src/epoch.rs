//! One life of the encoder behind a stream: from a key frame of the source to the next break.

mod analysis;
mod cutter;
mod pace;
mod placer;

pub(crate) use analysis::{Analysis, Bitrate, Found, Known, Patience};
pub(crate) use cutter::Cutter;
pub(crate) use placer::{Break, Placer};

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Names an epoch in URLs: the wall clock at its start in milliseconds, in base 36. No two of a stream are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EpochId(pub(crate) u64);

impl fmt::Display for EpochId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [b'0'; 13];
        let mut rest = self.0;
        let mut first = digits.len();
        while rest > 0 || first == digits.len() {
            first -= 1;
            digits[first] = b"0123456789abcdefghijklmnopqrstuvwxyz"[(rest % 36) as usize];
            rest /= 36;
        }
        digits[first..].iter().try_for_each(|&digit| write!(f, "{}", char::from(digit)))
    }
}

/// What players are told of an epoch, whoever tells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Numbers {
    /// Its [`EpochId`].
    pub(crate) id: u64,
    pub(crate) first_msn: u64,
    /// Discontinuities of the stream up to here, that of its own beginning included.
    pub(crate) discontinuities: u64,
    /// Wall clock of its zero, in Unix milliseconds.
    pub(crate) zero_unix_ms: i64,
}

/// More than any number there will be, and far from where sums overflow.
pub(crate) const NUMBER_MAX: u64 = 1 << 48;
/// The end of the year 9999, which dates in playlists reach.
pub(crate) const TIME_MAX_MS: i64 = 253_402_300_799_999;

impl Numbers {
    /// Whether they are such as an origin has.
    pub(crate) fn are_sane(&self) -> bool {
        let numbers = [self.id, self.first_msn, self.discontinuities];
        numbers.iter().all(|&number| number < NUMBER_MAX) && (0..=TIME_MAX_MS).contains(&self.zero_unix_ms)
    }
}

/// A name that no epoch has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoEpochId;

impl FromStr for EpochId {
    type Err = NoEpochId;

    fn from_str(text: &str) -> Result<Self, NoEpochId> {
        // Only the spelling that `Display` gives: one object has one URL.
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase());
        let leading_zero = text.len() > 1 && text.starts_with('0');
        if !plain || leading_zero {
            return Err(NoEpochId);
        }
        u64::from_str_radix(text, 36).map(Self).map_err(|_| NoEpochId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_in_one_spelling() {
        for value in [0, 35, 36, 1_795_226_400_500, u64::MAX] {
            let text = EpochId(value).to_string();
            assert_eq!(text.parse(), Ok(EpochId(value)), "{text}");
        }
        assert_eq!(EpochId(1_795_226_400_500).to_string(), "mwprg3xw");
        for text in ["", "00", "01", "A", "-1", "+1", "zzzzzzzzzzzzzz", "m.p"] {
            assert_eq!(text.parse::<EpochId>(), Err(NoEpochId), "{text}");
        }
    }
}
