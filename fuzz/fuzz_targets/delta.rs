//! Anyone's media playlist: its delta update leaves out what it says, and nothing behind it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use manifest::delta::{DateRanges, Replica, delta_update};
use std::time::{Duration, Instant};

fuzz_target!(|data: &[u8]| {
    let Ok(full) = std::str::from_utf8(data) else { return };
    // Nor does an update that was never one break anything.
    let (before, after) = full.split_at(full.char_indices().nth(full.len() / 2).map_or(0, |(at, _)| at));
    if let Some(mut replica) = Replica::of(before)
        && let Some(update) = replica.read(after)
    {
        let _ = replica.apply(&update).full.text();
        let _ = replica.read(after);
    }
    let Some(delta) = delta_update(full, 6.0) else { return };
    let segments = |text: &str| text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')).count();
    if let Some(mut replica) = Replica::of(full)
        && let Some(update) = replica.read(&delta)
    {
        assert_eq!(segments(&replica.apply(&update).full.text()), segments(full));
    }
    let (mut dates, now) = (DateRanges::default(), Instant::now());
    dates.see(before, 6.0, now);
    if let Some(recent) = dates.see(full, 6.0, now + Duration::from_secs(4)) {
        assert_eq!(segments(&recent.update(&delta)), segments(&delta));
    }
    let skipped = delta.lines().find_map(|line| line.strip_prefix("#EXT-X-SKIP:SKIPPED-SEGMENTS="));
    assert_eq!(segments(full), segments(&delta) + skipped.and_then(|count| count.trim().parse().ok()).unwrap_or(usize::MAX));
});
