//! FLV files that are to be slates: what is taken can be repeated.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = origin::outside::slate(data);
});
