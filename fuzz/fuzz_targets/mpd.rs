//! Anyone's MPD: read in bounded space, whatever it holds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use manifest::mpd::{TEMPLATES_MAX, read};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(mpd) = read(text) {
        assert!(mpd.templates.len() <= TEMPLATES_MAX);
        assert!(mpd.templates.iter().all(|template| template.prefix.len() + template.suffix.len() <= text.len()));
    }
});
