//! A data message of a publisher: a text becomes one cue of WebVTT, or none.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = origin::outside::text_data(data);
});
