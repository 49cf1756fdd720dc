//! Bodies of requests for markers, a line each: each becomes one line of a playlist, or none.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &str| {
    let _ = origin::outside::markers(data);
});
