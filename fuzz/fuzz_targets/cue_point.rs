//! A data message of a publisher: a cue point becomes one line of a playlist, or none.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = origin::outside::cue_point(data);
});
