//! SEI messages of a picture: whatever is in them, a few channels are told at most.
#![no_main]

use libfuzzer_sys::fuzz_target;
use media::Captions;

fuzz_target!(|data: &[u8]| {
    let mut captions = Captions::default();
    captions.see(data);
    assert!(captions.channels().len() <= 8);
});
