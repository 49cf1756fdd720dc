//! Anyone's media playlist: its delta update leaves out what it says, and nothing behind it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use manifest::delta::delta_update;

fuzz_target!(|data: &[u8]| {
    let Ok(full) = std::str::from_utf8(data) else { return };
    let Some(delta) = delta_update(full, 6.0) else { return };
    let uris = |text: &str| text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')).count();
    let skipped = delta.lines().find_map(|line| line.strip_prefix("#EXT-X-SKIP:SKIPPED-SEGMENTS="));
    assert_eq!(uris(full), uris(&delta) + skipped.and_then(|count| count.trim().parse().ok()).unwrap_or(usize::MAX));
});
