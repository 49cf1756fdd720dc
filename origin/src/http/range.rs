//! Byte ranges of a request (RFC 9110, 14). One range is answered; several, or what does not parse, are passed over.

use std::ops::Range;

/// What a `Range` field asks of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// All of it: 200.
    Whole,
    /// Bytes from here to there: 206.
    Part(Range<u64>),
    /// None that exist: 416.
    Nothing,
}

/// Reads the field's value for a resource of `length` bytes. A last position beyond the end means the end, as it does for
/// clients that ask for 2^53-1 of something that grows (RFC 8673).
pub(super) fn asked(value: Option<&str>, length: u64) -> Asked {
    let Some(spec) = value.and_then(|value| value.trim().strip_prefix("bytes=")) else { return Asked::Whole };
    let Some((first, last)) = spec.trim().split_once('-') else { return Asked::Whole };
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    match (first.is_empty(), last.is_empty()) {
        (true, true) => Asked::Whole,
        (true, false) => match number(last) {
            Some(0) => Asked::Nothing,
            Some(_) if length == 0 => Asked::Nothing,
            Some(suffix) => Asked::Part(length.saturating_sub(suffix)..length),
            None => Asked::Whole,
        },
        (false, open_end) => {
            let Some(first) = number(first) else { return Asked::Whole };
            let last = if open_end { Some(u64::MAX) } else { number(last) };
            match last {
                Some(last) if last < first => Asked::Whole,
                Some(_) if first >= length => Asked::Nothing,
                Some(last) => Asked::Part(first..last.saturating_add(1).min(length)),
                None => Asked::Whole,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;

    #[test]
    fn one_range_is_cut_to_what_exists() {
        for (value, expected) in [
            ("bytes=0-", Asked::Part(0..10)),
            ("bytes=0-3", Asked::Part(0..4)),
            ("bytes=9-9", Asked::Part(9..10)),
            ("bytes=4-99", Asked::Part(4..10)),
            ("bytes=2-9007199254740991", Asked::Part(2..10)),
            ("bytes=-3", Asked::Part(7..10)),
            ("bytes=-99", Asked::Part(0..10)),
            ("bytes=10-", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=3-2", Asked::Whole),
            ("bytes=0-1,4-5", Asked::Whole),
            ("bytes=a-", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("items=0-1", Asked::Whole),
            ("bytes=99999999999999999999-", Asked::Whole),
        ] {
            assert_eq!(asked(Some(value), 10), expected, "{value}");
        }
        assert_eq!(asked(None, 10), Asked::Whole);
    }

    #[test]
    fn no_text_leads_outside_the_resource() {
        let alphabet = b"bytes=-,0123456789 \xc3\xa9";
        let mut rng = Rng::new(7);
        for _ in 0..20_000 {
            let tail: Vec<u8> =
                (0..rng.below(12)).map(|_| alphabet[rng.below(alphabet.len() as u64) as usize]).collect();
            let value = format!("bytes={}", String::from_utf8_lossy(&tail));
            let length = rng.below(20);
            if let Asked::Part(range) = asked(Some(&value), length) {
                assert!(range.start < range.end && range.end <= length, "{value} of {length}: {range:?}");
            }
        }
    }
}
