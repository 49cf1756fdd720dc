//! Replays the seeds of the fuzz targets for rewritten playlists, delta updates and MPDs.

use manifest::delta::{DateRanges, Replica, delta_update};
use manifest::follow::{Followed, read};
use manifest::mpd::{self, MpdError};
use manifest::rewrite::{Pathway, Source, Template, relocate};
use manifest::steering::{PathwayId, ServerUri};
use std::time::{Duration, Instant};

#[test]
fn rewritten_playlists_declare_both_pathways() {
    let folder = format!("{}/../fuzz/corpus/rewrite", env!("CARGO_MANIFEST_DIR"));
    let (a, b) = (PathwayId::new("a").expect("an id"), PathwayId::new("b").expect("an id"));
    let server = ServerUri::new("http://r/steer/x".to_owned()).expect("an URI");
    let source = Source { playlist_url: "http://o/live/x/index.m3u8", base_url: "http://o" };
    let mut seeds = 0;
    for entry in std::fs::read_dir(folder).expect("seeds").flatten() {
        let text = std::fs::read_to_string(entry.path()).expect("UTF-8");
        let moved = relocate(&text, &source, "http://a").expect("a multivariant playlist");
        // A variant whose attributes nobody can read is moved with the rest, and followed by nobody before and after.
        let readable = matches!(read(&text), Ok(Followed::Multivariant(_)));
        assert_eq!(matches!(read(&moved), Ok(Followed::Multivariant(_))), readable, "{moved}");
        if !readable {
            continue;
        }
        let template = Template::parse(&text, &source).expect("a multivariant playlist");
        let others = [Pathway { id: &b, base_url: "http://b" }];
        let written = template.render(Pathway { id: &a, base_url: "http://a" }, &others, &server);
        assert!(matches!(read(&written), Ok(Followed::Multivariant(_))), "{written}");
        assert!(written.contains("PATHWAY-ID=\"a\"") && written.contains("PATHWAY-ID=\"b\""), "{written}");
        seeds += 1;
    }
    let text = std::fs::read_to_string(seed_path("rewrite", "quote_in_variable")).expect("UTF-8");
    let moved = relocate(&text, &source, "http://a").expect("a multivariant playlist");
    assert!(moved.contains("URI=\"{$host}/a.m3u8\""), "a value with a quote is no value: {moved}");
    assert!(seeds >= 3);
}

#[test]
fn delta_updates_leave_out_what_they_say() {
    for (seed, skipped) in [("low_latency", 4), ("encrypted_ranges", 3)] {
        let full = std::fs::read_to_string(seed_path("delta", seed)).expect("UTF-8");
        let delta = delta_update(&full, 6.0).expect("something to skip");
        let uris = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(uris(&full), uris(&delta) + skipped, "{delta}");
        assert!(delta.contains(&format!("#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}")), "{delta}");
        let (mut dates, now) = (DateRanges::default(), Instant::now());
        assert_eq!(dates.see(&full, 6.0, now), None);
        let recent = dates.see("", 6.0, now + Duration::from_secs(4)).expect("half the boundary has passed");
        let without = recent.update(&delta);
        assert_eq!(uris(&without), uris(&delta));
        assert!(
            without.contains("RECENTLY-REMOVED-DATERANGES=") && !without.contains("#EXT-X-DATERANGE:"),
            "{without}"
        );
    }
    let looks_alike = std::fs::read_to_string(seed_path("delta", "a_comment_that_looks_like_a_skip")).expect("UTF-8");
    let uris = |text: &str| text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')).count();
    let delta = delta_update(&looks_alike, 6.0).expect("something to skip");
    if let Some(update) = Replica::of(&looks_alike).and_then(|replica| replica.read(&delta)) {
        assert!(update.media.skipped < uris(&looks_alike) as u64);
    }
    let skips = std::fs::read_to_string(seed_path("delta", "skips_already")).expect("UTF-8");
    assert_eq!(delta_update(&skips, 6.0), None);
}

#[test]
fn mpds_are_read_and_bombs_are_not() {
    let read = |seed| mpd::read(&std::fs::read_to_string(seed_path("mpd", seed)).expect("UTF-8"));
    for (seed, templates) in [("low_latency.mpd", 2), ("inherited.mpd", 4), ("clocks.mpd", 2)] {
        assert_eq!(read(seed).expect("an MPD").templates.len(), templates, "{seed}");
    }
    assert_eq!(read("bomb.mpd"), Err(MpdError::Entities));
}

fn seed_path(target: &str, seed: &str) -> String {
    format!("{}/../fuzz/corpus/{target}/{seed}", env!("CARGO_MANIFEST_DIR"))
}
