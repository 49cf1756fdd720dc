//! Replays the seeds of the fuzz target for rewritten multivariant playlists.

use manifest::follow::{Followed, read};
use manifest::rewrite::{Pathway, Source, Template};
use manifest::steering::{PathwayId, ServerUri};

#[test]
fn rewritten_playlists_declare_both_pathways() {
    let folder = format!("{}/../fuzz/corpus/rewrite", env!("CARGO_MANIFEST_DIR"));
    let (a, b) = (PathwayId::new("a").expect("an id"), PathwayId::new("b").expect("an id"));
    let server = ServerUri::new("http://r/steer/x".to_owned()).expect("an URI");
    let source = Source { playlist_url: "http://o/live/x/index.m3u8", base_url: "http://o" };
    let mut seeds = 0;
    for entry in std::fs::read_dir(folder).expect("seeds").flatten() {
        let text = std::fs::read_to_string(entry.path()).expect("UTF-8");
        let template = Template::parse(&text, &source).expect("a multivariant playlist");
        let others = [Pathway { id: &b, base_url: "http://b" }];
        let written = template.render(Pathway { id: &a, base_url: "http://a" }, &others, &server);
        assert!(matches!(read(&written), Ok(Followed::Multivariant(_))), "{written}");
        assert!(written.contains("PATHWAY-ID=\"a\"") && written.contains("PATHWAY-ID=\"b\""), "{written}");
        seeds += 1;
    }
    assert!(seeds >= 3);
}
