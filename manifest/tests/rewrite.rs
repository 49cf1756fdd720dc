//! Rewriting seen from outside: golden playlists of several packagers, and that nothing but the intended edits is made.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use manifest::rewrite::{Pathway, RewriteError, Source, Template, relocate};
use manifest::steering::{PathwayId, ServerUri};
use quick_m3u8::config::ParsingOptionsBuilder;
use quick_m3u8::tag::AttributeValue;
use quick_m3u8::{HlsLine, Reader};
use std::fmt::Write;
use std::path::Path;

const SOURCE: Source<'_> = Source {
    playlist_url: "https://origin.example/base/live/x/index.m3u8?k=v",
    base_url: "https://origin.example/base",
};
const CDNS: [(&str, &str); 2] = [("cdn-b", "https://b.example"), ("cdn-a", "https://a.example:8443/vivid")];

fn rewrite(text: &str) -> Result<String, RewriteError> {
    let ids = CDNS.map(|(id, _)| PathwayId::new(id).unwrap());
    let [first, second] = [0, 1].map(|at| Pathway { id: &ids[at], base_url: CDNS[at].1 });
    let server_uri = ServerUri::new("https://router.example/steer/x?s=00".to_owned()).unwrap();
    Ok(Template::parse(text, &SOURCE)?.render(first, &[second], &server_uri))
}

#[test]
fn golden_playlists() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/rewrite");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    for name in ["vivid", "apple", "packager", "crlf", "pathways"] {
        let text = std::fs::read_to_string(folder.join(format!("{name}.m3u8"))).unwrap();
        let rewritten = rewrite(&text).unwrap();
        let golden = folder.join(format!("{name}.expected.m3u8"));
        if update {
            std::fs::write(&golden, &rewritten).unwrap();
        }
        assert_eq!(rewritten, std::fs::read_to_string(&golden).unwrap(), "{name}; UPDATE_GOLDEN=1 rewrites it");
        if name != "pathways" {
            check_edits(&text, &rewritten);
        }
    }
}

/// parse(before) and parse(after) differ by exactly the intended edits, whatever a packager writes.
#[test]
fn generated_playlists_change_only_where_they_should() {
    for seed in 0..500 {
        let text = generate(seed, "");
        let rewritten = rewrite(&text).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
        check_edits(&text, &rewritten);
    }
}

/// With absolute URIs the edits can be undone as text, and every byte of the original comes back.
#[test]
fn undoing_the_edits_gives_the_original_back() {
    for seed in 0..500 {
        let text = generate(seed, "https://origin.example/base/live/x/");
        let rewritten = rewrite(&text).unwrap();
        let undone = rewritten
            .split_inclusive('\n')
            .filter(|line| !line.starts_with("#EXT-X-CONTENT-STEERING"))
            .collect::<String>()
            .replace(",PATHWAY-ID=\"cdn-b\"", "")
            .replace("@cdn-b\"", "\"")
            .replace(CDNS[0].1, SOURCE.base_url);
        assert_eq!(undone[..text.len()], text, "seed {seed}");
        let repeated = &undone[text.len()..];
        assert!(repeated.contains("PATHWAY-ID=\"cdn-a\"") && !repeated.contains("cdn-b"), "seed {seed}");
    }
}

#[test]
fn a_relocated_playlist_differs_in_its_uris_alone() {
    let moved = |text: &str| relocate(text, &SOURCE, "https://par1.example:8443/cdn");
    for seed in 0..500 {
        let text = generate(seed, "https://origin.example/base/live/x/");
        assert_eq!(
            moved(&text).unwrap().replace("https://par1.example:8443/cdn", SOURCE.base_url),
            text,
            "seed {seed}"
        );
    }
    let text = "#EXTM3U\r\n#EXT-X-DEFINE:NAME=\"n\",VALUE=\"v\"\r\n#EXT-X-DEFINE:QUERYPARAM=\"t\"\r\n\
        #EXT-X-CONTENT-STEERING:SERVER-URI=\"/base/steer\",PATHWAY-ID=\"one\"\r\n\
        #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",URI=\"../{$n}.m3u8?t={$t}\"\r\n\
        #EXT-X-SESSION-KEY:METHOD=SAMPLE-AES,URI=\"skd://key\"\r\n# URI=\"a comment\"\r\n\
        #EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO=\"a\",PATHWAY-ID=\"one\"\r\nhttps://other.example/v.m3u8\r\n\
        #EXT-X-STREAM-INF:BANDWIDTH=2,AUDIO=\"a\",PATHWAY-ID=\"two\"\r\n720p/index.m3u8";
    let expected = text
        .replace("/base/steer", "https://par1.example:8443/cdn/steer")
        .replace("../{$n}.m3u8", "https://par1.example:8443/cdn/live/v.m3u8")
        .replace("720p/index", "https://par1.example:8443/cdn/live/x/720p/index");
    assert_eq!(moved(text).unwrap(), expected);
    assert_eq!(moved("#EXTM3U\n#EXT-X-TARGETDURATION:2\n"), Err(RewriteError::MediaPlaylist));
}

#[test]
fn what_cannot_be_rewritten_says_why() {
    for (text, error) in [
        ("", RewriteError::NotAPlaylist),
        ("<html>not found</html>", RewriteError::NotAPlaylist),
        ("#EXTM3U8\n", RewriteError::NotAPlaylist),
        ("#EXTM3U\n", RewriteError::NoVariant),
        ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n", RewriteError::NoVariant),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\na.ts\n", RewriteError::MediaPlaylist),
    ] {
        assert_eq!(rewrite(text), Err(error), "{text}");
    }
}

#[test]
fn variables_cannot_blow_a_playlist_up() {
    let bomb = format!("#EXTM3U\n#EXT-X-DEFINE:NAME=\"a\",VALUE=\"{}\"\n", "x".repeat(100_000));
    let variants = "#EXT-X-STREAM-INF:BANDWIDTH=1\n{$a}{$a}{$a}{$a}\n".repeat(4000);
    assert_eq!(rewrite(&(bomb + &variants)), Err(RewriteError::ExpansionTooLong));
    let crowd = "#EXT-X-STREAM-INF:BANDWIDTH=1\na\n".repeat(50_000);
    assert_eq!(rewrite(&format!("#EXTM3U\n{crowd}")), Err(RewriteError::TooManyEntries));
}

#[test]
fn damaged_playlists_never_panic() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/rewrite");
    let texts = ["apple", "crlf", "pathways"].map(|name| std::fs::read(folder.join(format!("{name}.m3u8"))).unwrap());
    let mut random = Random(11);
    for round in 0..6000 {
        let mut bytes = texts[round % 3].clone();
        for _ in 0..=random.below(6) {
            let at = random.below(bytes.len());
            match random.below(4) {
                0 => bytes[at] = random.below(256) as u8,
                1 => bytes[at] = b",=\"\r\n#:{$}@"[random.below(11)],
                2 => bytes.truncate(at.max(1)),
                _ => drop(bytes.drain(at..bytes.len().min(at + random.below(40)))),
            }
            if bytes.is_empty() {
                bytes.push(b'#');
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        let _ = relocate(&text, &SOURCE, "https://par1.example");
        if let Ok(rewritten) = rewrite(&text) {
            assert!(rewritten.contains("#EXT-X-CONTENT-STEERING:SERVER-URI=\"https://router.example/steer/x?s=00\""));
        }
    }
}

/// A line as the library reads it: its tag with attributes in order, or its URI.
#[derive(Clone, Debug, PartialEq)]
enum Event {
    Tag { name: String, attributes: Vec<(String, String)> },
    Uri(String),
    Other(String),
}

impl Event {
    fn value(&self, name: &str) -> Option<&str> {
        match self {
            Self::Tag { attributes, .. } => {
                attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
            }
            _ => None,
        }
    }

    /// The library's own reading is the oracle: this repository's splitting of attributes is what is tested.
    fn all(text: &str) -> Vec<Self> {
        let mut reader = Reader::from_str(text, ParsingOptionsBuilder::new().build());
        let mut events = Vec::new();
        while let Some(line) = reader.read_line().unwrap() {
            events.push(match line {
                HlsLine::UnknownTag(tag) => {
                    let list = tag.value().and_then(|value| value.try_as_ordered_attribute_list().ok());
                    match list {
                        Some(list) if LISTED.contains(&tag.name()) => Self::Tag {
                            name: tag.name().to_owned(),
                            attributes: list
                                .into_iter()
                                .map(|(key, value)| (key.trim().into(), said(&value)))
                                .collect(),
                        },
                        _ => Self::Other(String::from_utf8(tag.as_bytes().to_vec()).unwrap()),
                    }
                }
                HlsLine::Uri(uri) => Self::Uri(uri.trim().to_owned()),
                HlsLine::Comment(comment) => Self::Other(comment.into_owned()),
                _ => Self::Other(String::new()),
            });
        }
        events
    }
}

const LISTED: [&str; 5] =
    ["-X-STREAM-INF", "-X-I-FRAME-STREAM-INF", "-X-MEDIA", "-X-SESSION-DATA", "-X-CONTENT-STEERING"];

fn said(value: &AttributeValue<'_>) -> String {
    match value {
        AttributeValue::Quoted(text) => format!("\"{text}\""),
        AttributeValue::Unquoted(text) => String::from_utf8_lossy(text.0).trim().to_owned(),
    }
}

/// Makes the intended edits to the parsed original, with another resolver, and compares with the parsed result.
fn check_edits(before: &str, after: &str) {
    let original = Event::all(before);
    let mut expected = Vec::new();
    for (at, event) in original.iter().enumerate() {
        expected.push(edited(event, CDNS[0]).unwrap_or_else(|| event.clone()));
        if at == 0 {
            expected.push(Event::Tag {
                name: "-X-CONTENT-STEERING".to_owned(),
                attributes: vec![
                    ("SERVER-URI".to_owned(), "\"https://router.example/steer/x?s=00\"".to_owned()),
                    ("PATHWAY-ID".to_owned(), "\"cdn-b\"".to_owned()),
                ],
            });
        }
    }
    let once = |event: &&Event| event.value("DATA-ID").is_none();
    expected.extend(original.iter().filter(once).filter_map(|event| edited(event, CDNS[1])));
    assert_eq!(Event::all(after), expected, "{before}\nbecame\n{after}");
}

/// The event as it must be on a pathway; nothing for lines that belong to none.
fn edited(event: &Event, (id, base): (&str, &str)) -> Option<Event> {
    let own_media = event.value("TYPE").is_none_or(|kind| kind != "CLOSED-CAPTIONS");
    let of_pathway = event.value("BANDWIDTH").is_some();
    match event {
        Event::Uri(uri) => Some(Event::Uri(placed(uri, base))),
        Event::Other(_) => None,
        Event::Tag { name, attributes } if own_media => {
            let mut attributes = attributes.clone();
            for (key, value) in &mut attributes {
                match key.as_str() {
                    "AUDIO" | "VIDEO" | "SUBTITLES" | "GROUP-ID" => {
                        value.insert_str(value.len() - 1, &format!("@{id}"))
                    }
                    "URI" => *value = format!("\"{}\"", placed(value.trim_matches('"'), base)),
                    _ => {}
                }
            }
            if of_pathway {
                attributes.push(("PATHWAY-ID".to_owned(), format!("\"{id}\"")));
            }
            Some(Event::Tag { name: name.clone(), attributes })
        }
        Event::Tag { .. } => None,
    }
}

/// Resolved by hand: what is tested must not be its own oracle.
fn placed(uri: &str, base: &str) -> String {
    let (path, query) = uri.split_at(uri.find(['?', '#']).unwrap_or(uri.len()));
    let folder = format!("{base}/live/x");
    let absolute = match path {
        "v/../w.m3u8" => format!("{folder}/w.m3u8"),
        "a//b/./i.m3u8" => format!("{folder}/a//b/i.m3u8"),
        "../../3aa0/0c1d/index_1.m3u8" => format!("{base}/3aa0/0c1d/index_1.m3u8"),
        // Absolute, but not under what the CDNs serve.
        "/out/v1/3aa0/index_2.m3u8" => format!("https://origin.example{path}"),
        path if path.contains(':') => path.to_owned(),
        path => format!("{folder}/{path}"),
    };
    absolute + query
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

/// A valid playlist with what packagers are known to write, and things that no one should.
fn generate(seed: u64, prefix: &str) -> String {
    let mut random = Random(seed);
    let end = random.pick(&["\n", "\r\n"]);
    let mut text = format!("#EXTM3U{end}#EXT-X-VERSION:{}{end}", 3 + random.below(9));
    let groups = 1 + random.below(3);
    let place = |random: &mut Random| {
        let file = random.pick(&["v.m3u8", "v/../w.m3u8", "a//b/./i.m3u8", "%7e/i%2f.m3u8"]);
        let query = random.pick(&["", "?t=~a=b%2F==", "?acl=/*!&x='(1),2'", "?a/../b", "#f"]);
        if prefix.is_empty() { format!("{file}{query}") } else { format!("{prefix}f{query}") }
    };
    for group in 0..groups {
        let uri = place(&mut random);
        let extra = random.pick(&["", ",X-NEW=\"a,b=c\"", ",STABLE-RENDITION-ID=\"a+/=\"", ",CHANNELS=\"2\""]);
        let _ = write!(text, "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"g{group}\",NAME=\"n\",URI=\"{uri}\"{extra}{end}");
    }
    for _ in 0..=random.below(5) {
        text += random.pick(&["", "# comment", "#EXT-X-UNKNOWN:URI=\"stay.m3u8\"", "#EXT-X-INDEPENDENT-SEGMENTS"]);
        text += end;
        let group = random.below(groups);
        let codecs = random.pick(&["", ",CODECS=\"avc1.64001f,mp4a.40.2\"", ",SCORE=1.5", ",X-A=é"]);
        let _ = write!(text, "#EXT-X-STREAM-INF:BANDWIDTH={}{codecs},AUDIO=\"g{group}\"{end}", random.below(9_000_000));
        let _ = write!(text, "{}{end}", place(&mut random));
    }
    if random.below(2) == 0 {
        let uri = place(&mut random);
        let _ = write!(text, "#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI=\"{uri}\"{end}");
    }
    if random.below(2) == 0 {
        let uri = place(&mut random);
        let _ = write!(text, "#EXT-X-SESSION-DATA:DATA-ID=\"d\",URI=\"{uri}\"{end}");
    }
    text
}
