//! Answers of a key server: a key of sixteen bytes, or none.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let key = origin::outside::key_answer(data);
    assert!(data.len() != 16 || key.is_some_and(|key| key == data));
});
