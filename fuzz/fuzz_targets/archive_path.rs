//! Paths below `/archive/`: each names a file in the folder of its recording, or nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &str| {
    let _ = origin::outside::archive_path(data);
});
