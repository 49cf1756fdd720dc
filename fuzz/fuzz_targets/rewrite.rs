//! An origin's multivariant playlist: moved elsewhere, or with both pathways declared, it is still one that can be followed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use manifest::follow::{Followed, read};
use manifest::rewrite::{Pathway, Source, Template, relocate};
use manifest::steering::{PathwayId, ServerUri};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // A variant whose attributes nobody can read is moved with the rest.
    let readable = matches!(read(text), Ok(Followed::Multivariant(_)));
    let source = Source { playlist_url: "http://o/live/x/index.m3u8", base_url: "http://o" };
    if let Ok(moved) = relocate(text, &source, "http://a") {
        assert!(!readable || matches!(read(&moved), Ok(Followed::Multivariant(_))), "{moved}");
    }
    let Ok(template) = Template::parse(text, &source) else { return };
    let (Ok(a), Ok(b)) = (PathwayId::new("a"), PathwayId::new("b")) else { return };
    let Ok(server) = ServerUri::new("http://r/steer/x".to_owned()) else { return };
    let others = [Pathway { id: &b, base_url: "http://b" }];
    let written = template.render(Pathway { id: &a, base_url: "http://a" }, &others, &server);
    // Of several pathways the first choice is the pattern, readable or not.
    let readable = readable && !text.contains("PATHWAY-ID");
    assert!(!readable || matches!(read(&written), Ok(Followed::Multivariant(_))), "{written}");
    assert!(written.contains("PATHWAY-ID=\"b\""), "{written}");
});
