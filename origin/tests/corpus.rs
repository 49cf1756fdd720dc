//! Replays the seeds of the fuzz targets for RTMP sessions, each cut in several ways, journals, twins' offers, markers, keys and
//! paths of recordings.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use origin::rtmp::{Event, Session};
use origin::{Ingested, outside};

/// What each seed comes to, by its name.
fn replayed<T>(target: &str, read: impl Fn(Vec<u8>) -> T) -> Vec<(String, T)> {
    let folder = format!("{}/../fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let named = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut seeds: Vec<_> = named
        .map(|entry| (entry.file_name().into_string().unwrap(), read(std::fs::read(entry.path()).unwrap())))
        .collect();
    seeds.sort_by(|one, other| one.0.cmp(&other.0));
    seeds
}

fn named<T: Copy>(seeds: &[(String, T)]) -> Vec<(&str, T)> {
    seeds.iter().map(|(name, value)| (name.as_str(), *value)).collect()
}

fn text(seed: Vec<u8>) -> String {
    String::from_utf8(seed).unwrap()
}

#[test]
fn key_answers() {
    let seeds = replayed("key_answer", |seed| outside::key_answer(&seed).is_some());
    let expected =
        [("bare", true), ("other_key", false), ("page", false), ("set", true), ("short", false), ("short_key", false)];
    assert_eq!(named(&seeds), expected);
}

#[test]
fn journals() {
    let seeds = replayed("journal", |seed| outside::journal(&text(seed)));
    let expected = [
        ("a_gap_beyond_all_numbers", (8, 3)),
        ("a_gap_of_years", (9, 0)),
        ("cut_off", (14, 3)),
        ("long_ago", (8, 3)),
        ("two_epochs_and_an_end", (22, 6)),
    ];
    assert_eq!(named(&seeds), expected);
}

#[test]
fn offers_of_twins() {
    let seeds = replayed("twin_offers", |seed| outside::offers(&text(seed)));
    let expected = [
        ("a_still_picture", true),
        ("alike", true),
        ("one_began_earlier", true),
        ("strangers", false),
        ("taken_for_other_rates", true),
    ];
    assert_eq!(named(&seeds), expected);
}

#[test]
fn markers() {
    let seeds = replayed("markers", |seed| outside::markers(&text(seed)));
    assert_eq!(named(&seeds), [("a_splice", 1), ("attributes_and_refusals", 2)]);
    let seeds = replayed("cue_point", |seed| outside::cue_point(&seed));
    assert_eq!(named(&seeds), [("a_quote", 0), ("a_splice", 1), ("within_set_data_frame", 1)]);
}

#[test]
fn slates() {
    let seeds = replayed("slate", |seed| outside::slate(&seed));
    assert_eq!(named(&seeds), [("cut_off", 0), ("whole_gops", 57)]);
}

#[test]
fn texts() {
    let seeds = replayed("text_data", |seed| outside::text_data(&seed));
    let expected = [
        ("arrows_and_empty_lines", 4),
        ("bad_utf8", 1),
        ("huge", 512),
        ("language_and_track", 2),
        ("nested", 0),
        ("only_controls", 0),
        ("path_as_language", 1),
        ("plain", 1),
    ];
    assert_eq!(named(&seeds), expected);
}

#[test]
fn paths_of_recordings() {
    let seeds = replayed("archive_path", |seed| outside::archive_path(&text(seed)));
    let expected = [
        ("a_list", true),
        ("a_playlist", true),
        ("a_segment", true),
        ("a_way_out", false),
        ("what_is_not_shown", false),
    ];
    assert_eq!(named(&seeds), expected);
}

#[test]
fn sessions() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/rtmp_session");
    let (mut publishes, mut frames) = (0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let seed = std::fs::read(entry.unwrap().path()).unwrap();
        for size in [1, 100, seed.len().max(1)] {
            let mut session = Session::new(64 << 10);
            session.receive(&[3]);
            session.receive(&[0; 2 * 1536]);
            for part in seed.chunks(size) {
                session.receive(part);
                while let Some(event) = session.poll() {
                    match event {
                        Event::PublishRequested(_) => {
                            publishes += 1;
                            session.accept();
                        }
                        Event::Item(Ingested::Frame(_)) => frames += 1,
                        _ => {}
                    }
                }
                session.take_output();
            }
        }
    }
    assert!(publishes >= 3 * 4 && frames >= 3 * 9, "the seeds hold {publishes} publishes and {frames} frames");
}
