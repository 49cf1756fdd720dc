//! Lines of a stream's journal, with right sums: what an origin shows again when it starts is playlists, or nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &str| {
    let _ = origin::outside::journal(data);
});
