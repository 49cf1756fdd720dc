//! `Range` requests (RFC 9110, 14; RFC 8673 for what grows): which bytes of an object a viewer gets.

use bytes::Bytes;

/// One range of bytes, as asked. Several ranges, other units and malformed fields are no request for a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    From { first: u64, last: Option<u64> },
    Last { count: u64 },
}

/// What a range means for an object of known length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slice {
    /// 206 with these bytes, both ends included.
    Part { first: u64, last: u64 },
    /// 416.
    Unsatisfiable,
}

impl Range {
    /// Reads the value of a `Range` field. `None` means: answer as if there were none.
    pub fn read(value: &str) -> Option<Self> {
        let (unit, set) = value.trim().split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (first, last) = set.trim().split_once('-')?;
        match (first.trim(), last.trim()) {
            ("", last) => Some(Self::Last { count: number(last)? }),
            (first, "") => Some(Self::From { first: number(first)?, last: None }),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::From { first, last: Some(last) })
            }
        }
    }

    /// Resolves against the length of the whole object.
    pub fn of(self, length: u64) -> Slice {
        let Some(end) = length.checked_sub(1) else { return Slice::Unsatisfiable };
        match self {
            Self::From { first, .. } if first > end => Slice::Unsatisfiable,
            Self::From { first, last } => Slice::Part { first, last: last.map_or(end, |last| last.min(end)) },
            Self::Last { count: 0 } => Slice::Unsatisfiable,
            Self::Last { count } => Slice::Part { first: length.saturating_sub(count), last: end },
        }
    }
}

/// A window on bytes that arrive piece by piece.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    skip: u64,
    left: u64,
}

impl Window {
    /// Of a slice, or of everything.
    pub fn of(slice: Option<Slice>) -> Self {
        match slice {
            Some(Slice::Part { first, last }) => Self { skip: first, left: last - first + 1 },
            Some(Slice::Unsatisfiable) => Self { skip: 0, left: 0 },
            None => Self { skip: 0, left: u64::MAX },
        }
    }

    /// Nothing more will come through.
    pub fn is_done(&self) -> bool {
        self.left == 0
    }

    /// What of the next piece is inside; perhaps nothing.
    pub fn take(&mut self, piece: &Bytes) -> Bytes {
        let length = piece.len() as u64;
        let from = self.skip.min(length);
        let to = length.min(from.saturating_add(self.left));
        self.skip -= from;
        self.left -= to - from;
        piece.slice(from as usize..to as usize)
    }
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // RFC 8673 asks for "the end, wherever it will be" with very large numbers.
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_resolve_against_the_length() {
        for (value, length, slice) in [
            ("bytes=0-", 10, Slice::Part { first: 0, last: 9 }),
            ("bytes=2-4", 10, Slice::Part { first: 2, last: 4 }),
            ("Bytes = 2 - 99", 10, Slice::Part { first: 2, last: 9 }),
            ("bytes=0-9007199254740991", 10, Slice::Part { first: 0, last: 9 }),
            ("bytes=0-99999999999999999999999", 10, Slice::Part { first: 0, last: 9 }),
            ("bytes=-3", 10, Slice::Part { first: 7, last: 9 }),
            ("bytes=-30", 10, Slice::Part { first: 0, last: 9 }),
            ("bytes=10-", 10, Slice::Unsatisfiable),
            ("bytes=-0", 10, Slice::Unsatisfiable),
            ("bytes=0-", 0, Slice::Unsatisfiable),
        ] {
            assert_eq!(Range::read(value).unwrap().of(length), slice, "{value} of {length}");
        }
    }

    #[test]
    fn a_window_lets_through_what_is_inside() {
        let pieces = ["abc", "", "defg", "h"].map(|piece| Bytes::from_static(piece.as_bytes()));
        for (slice, expected) in [
            (None, "abcdefgh"),
            (Some(Slice::Part { first: 0, last: 0 }), "a"),
            (Some(Slice::Part { first: 2, last: 4 }), "cde"),
            (Some(Slice::Part { first: 7, last: 7 }), "h"),
            (Some(Slice::Unsatisfiable), ""),
        ] {
            let mut window = Window::of(slice);
            let through: Vec<u8> = pieces.iter().flat_map(|piece| window.take(piece)).collect();
            assert_eq!(std::str::from_utf8(&through), Ok(expected));
            assert_eq!(window.is_done(), slice.is_some());
        }
    }

    #[test]
    fn what_is_no_single_byte_range_is_passed_over() {
        for value in
            ["", "bytes", "bytes=", "bytes=-", "bytes=a-", "bytes=4-2", "bytes=0-1,3-4", "items=0-1", "bytes=--1"]
        {
            assert_eq!(Range::read(value), None, "{value}");
        }
    }
}
