//! `Range` requests (RFC 9110, 14; RFC 8673 for what grows): which bytes of an object a viewer gets.

use bytes::Bytes;

/// One range of bytes, as asked. Several ranges, other units and malformed fields are no request for a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    From { first: u64, last: Option<u64> },
    Last { count: u64 },
}

/// What a range means for an object: the bytes of a 206, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slice {
    Part {
        first: u64,
        last: u64,
    },
    /// To the end, wherever it will be; `last` is what is said of it (RFC 8673, 2.2).
    From {
        first: u64,
        last: u64,
    },
}

/// The range begins beyond the end of the object: 416.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsatisfiable {
    /// Bytes of the whole object.
    pub length: u64,
}

/// What a range means for an object that grows and whose length is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growing {
    /// All of it, as if no range had been asked for.
    Whole,
    Ready(Slice),
    /// Answered once so many bytes are there, or the object is whole.
    Wait {
        bytes: u64,
    },
    /// Only the end tells.
    WaitForEnd,
}

/// RFC 8673, 2.1: a last position of 2^53-1 means the end, wherever it will be.
pub const WHEREVER: u64 = (1 << 53) - 1;

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
    ///
    /// # Errors
    /// If none of the bytes asked for exist.
    pub fn of(self, length: u64) -> Result<Slice, Unsatisfiable> {
        let end = length.checked_sub(1).ok_or(Unsatisfiable { length })?;
        match self {
            Self::From { first, last } if first <= end => {
                Ok(Slice::Part { first, last: last.map_or(end, |last| last.min(end)) })
            }
            Self::Last { count } if count > 0 => Ok(Slice::Part { first: length.saturating_sub(count), last: end }),
            Self::From { .. } | Self::Last { .. } => Err(Unsatisfiable { length }),
        }
    }

    /// Resolves while only the first `bytes` are there. RFC 9110, 14.4 wants both ends of what is sent in its header:
    /// an end that was asked for is waited for, so that no answer is shorter than it said; the end of the object, if
    /// that was asked for, is said as RFC 8673 has it.
    pub fn of_growing(self, bytes: u64) -> Growing {
        match self {
            // RFC 9110, 14.2 lets a range be passed over, and this one is all of it. FFmpeg 5.1 asks for it with every
            // request, and stops reading a 206 without a complete length after its first buffer.
            Self::From { first: 0, last: None } => Growing::Whole,
            Self::From { first, .. } if first >= bytes => Growing::Wait { bytes: first.saturating_add(1) },
            Self::From { first, last: None } => Growing::Ready(Slice::From { first, last: WHEREVER.max(first) }),
            Self::From { first, last: Some(last) } if last >= WHEREVER => Growing::Ready(Slice::From { first, last }),
            Self::From { last: Some(last), .. } if last >= bytes => Growing::Wait { bytes: last + 1 },
            Self::From { first, last: Some(last) } => Growing::Ready(Slice::Part { first, last }),
            Self::Last { .. } => Growing::WaitForEnd,
        }
    }
}

impl Slice {
    /// Bytes of the body, where they are known before it is sent.
    pub fn length(self) -> Option<u64> {
        match self {
            Self::Part { first, last } => Some(last - first + 1),
            Self::From { .. } => None,
        }
    }

    pub fn ends(self) -> (u64, u64) {
        let (Self::Part { first, last } | Self::From { first, last }) = self;
        (first, last)
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
        let skip = slice.map_or(0, |slice| slice.ends().0);
        Self { skip, left: slice.and_then(Slice::length).unwrap_or(u64::MAX) }
    }

    /// Of bytes that begin at `offset`, at most where the window does.
    pub fn from(self, offset: u64) -> Self {
        Self { skip: self.skip.saturating_sub(offset), ..self }
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
        ] {
            assert_eq!(Range::read(value).unwrap().of(length), Ok(slice), "{value} of {length}");
        }
        for (value, length) in [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=-1", 0)] {
            assert_eq!(Range::read(value).unwrap().of(length), Err(Unsatisfiable { length }), "{value} of {length}");
        }
    }

    #[test]
    fn ranges_of_what_grows_are_answered_as_soon_as_what_is_said_is_sure() {
        let large = "bytes=3-99999999999999999999999";
        for (value, bytes, growing) in [
            ("bytes=0-", 0, Growing::Whole),
            ("bytes=3-", 3, Growing::Wait { bytes: 4 }),
            ("bytes=3-", 4, Growing::Ready(Slice::From { first: 3, last: WHEREVER })),
            ("bytes=0-9007199254740991", 0, Growing::Wait { bytes: 1 }),
            ("bytes=0-9007199254740991", 1, Growing::Ready(Slice::From { first: 0, last: WHEREVER })),
            (large, 9, Growing::Ready(Slice::From { first: 3, last: u64::MAX })),
            ("bytes=2-4", 2, Growing::Wait { bytes: 3 }),
            ("bytes=2-4", 4, Growing::Wait { bytes: 5 }),
            ("bytes=2-4", 5, Growing::Ready(Slice::Part { first: 2, last: 4 })),
            ("bytes=-2", 9, Growing::WaitForEnd),
            ("bytes=99999999999999999999999-", 9, Growing::Wait { bytes: u64::MAX }),
        ] {
            assert_eq!(Range::read(value).unwrap().of_growing(bytes), growing, "{value} at {bytes}");
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
            (Some(Slice::From { first: 3, last: WHEREVER }), "defgh"),
        ] {
            let mut window = Window::of(slice);
            let through: Vec<u8> = pieces.iter().flat_map(|piece| window.take(piece)).collect();
            assert_eq!(std::str::from_utf8(&through), Ok(expected));
            assert_eq!(window.is_done(), matches!(slice, Some(Slice::Part { .. })));
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
