//! A `Range` field: what is told of an object is within it, and no shorter than was said.
#![no_main]

use edge::range::{Growing, Range, Slice, Window};
use libfuzzer_sys::fuzz_target;

const LENGTHS: [u64; 6] = [0, 1, 1000, u32::MAX as u64, u64::MAX - 1, u64::MAX];

fuzz_target!(|data: &[u8]| {
    let Some(range) = std::str::from_utf8(data).ok().and_then(Range::read) else { return };
    for length in LENGTHS {
        if let Ok(slice) = range.of(length) {
            let Slice::Part { first, last } = slice else { panic!("of a whole object the end is known") };
            assert!(first <= last && last < length);
        }
        match range.of_growing(length) {
            Growing::Ready(slice) => {
                let (first, last) = slice.ends();
                assert!(first <= last && first < length);
                assert!(slice.length().is_none_or(|bytes| first.checked_add(bytes).is_some_and(|end| end <= length)));
            }
            Growing::Wait { bytes } => assert!(bytes > length || length == u64::MAX),
            Growing::Whole | Growing::WaitForEnd => {}
        }
    }
    let bytes = bytes::Bytes::from_static(&[7; 100]);
    let slice = range.of(100).ok();
    let taken: usize = {
        let mut window = Window::of(slice);
        (0..100).step_by(7).map(|at| window.take(&bytes.slice(at..(at + 7).min(100))).len()).sum()
    };
    assert_eq!(taken as u64, slice.and_then(Slice::length).unwrap_or(100));
});
