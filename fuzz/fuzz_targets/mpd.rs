//! Anyone's MPD: read in bounded space, whatever it holds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use manifest::mpd::{CLOCKS_MAX, TEMPLATES_MAX, read};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(mpd) = read(text) {
        assert!(mpd.templates.len() <= TEMPLATES_MAX && mpd.clocks.len() <= CLOCKS_MAX);
        for template in &mpd.templates {
            let _ = template.due_unix_ms("a-0012");
        }
        assert!(mpd.templates.iter().all(|template| template.prefix.len() + template.suffix.len() <= text.len()));
    }
});
