//! Two offers of two origins, a line each: those that cross on the way come to the same epoch.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &str| {
    let _ = origin::outside::offers(data);
});
