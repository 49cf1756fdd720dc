//! What files say, and what comes of it.

use crate::{Config, Ladder, Origin};

fn origin(text: &str) -> Origin {
    Config::parse(text, []).unwrap_or_else(|problems| panic!("{problems:?}")).origin.unwrap()
}

fn ladder(text: &str) -> Ladder {
    origin(&format!("[origin.ladder]\n{text}\n")).ladder
}

#[test]
fn a_named_ladder_is_the_one_that_the_reference_describes() {
    let of = |name: &str| {
        let rungs = ladder(&format!("rungs = \"{name}\"")).rungs;
        rungs.into_iter().map(|rung| (rung.name, rung.bitrate)).collect::<Vec<_>>()
    };
    let standard =
        [("1080p60", 6_000_000), ("1080p30", 4_500_000), ("720p", 3_000_000), ("480p", 1_500_000), ("360p", 800_000)];
    let standard = standard.map(|(name, bitrate)| (name.to_owned(), bitrate));
    assert_eq!(of("standard"), standard);
    assert_eq!(of("uhd")[2..], standard);
    assert_eq!(of("mobile").iter().map(|rung| rung.0.as_str()).collect::<Vec<_>>(), ["540p30", "360p30", "240p30"]);
}

#[test]
fn a_rung_takes_from_the_ladder_what_it_does_not_say() {
    let ladder = ladder(
        "preset = \"fast\"\nquality = 25\nrungs = [{ height = 720, bitrate = 2000000, name = \"mid\", quality = 20 },
         { height = 480, fps_max = 30, bitrate = 900000, preset = \"medium\" }]",
    );
    let [mid, low] = &ladder.rungs[..] else { panic!("two rungs") };
    assert_eq!((mid.name.as_str(), mid.coding.quality, mid.coding.preset.as_str()), ("mid", Some(20), "fast"));
    assert_eq!((low.name.as_str(), low.coding.quality, low.coding.preset.as_str()), ("480p30", Some(25), "medium"));
    assert_eq!(super::Coding { quality: Some(25), preset: "fast".to_owned() }, ladder.coding);
}

#[test]
fn a_bit_rate_is_aimed_at_where_the_file_says_so() {
    let ladder = ladder("rate_control = \"bitrate\"\nrungs = \"standard\"");
    assert!(ladder.coding.quality.is_none() && ladder.rungs.iter().all(|rung| rung.coding.quality.is_none()));
}

#[test]
fn the_first_rule_that_names_a_stream_decides_and_inherits() {
    let origin = origin(
        "[origin]\nladders = [{ stream = \"radio\", rungs = [] }, { stream = \"sport-*\", rungs = \"mobile\", audio_bitrate = 64000 }]
         [origin.ladder]\npreset = \"fast\"\naudio_bitrate = 96000\n[origin.thumbnails]\nheight = 120\n",
    );
    let said = |stream: &str| {
        let ladder = origin.ladder(stream);
        (ladder.rungs.len(), ladder.audio.bitrate, ladder.coding.preset.as_str())
    };
    assert_eq!(
        [said("radio"), said("sport-1"), said("news")],
        [(0, 96_000, "fast"), (3, 64_000, "fast"), (1, 96_000, "fast")]
    );
    assert_eq!(origin.ladder("sport-1").thumbnails, origin.ladder.thumbnails);
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (file, key, told) in [
        ("[origin.ladder]\nrungs = \"tv\"", "", "\"mobile\", \"standard\", \"uhd\" or a list"),
        ("[origin.ladder]\nrungs = 5", "", "\"mobile\", \"standard\", \"uhd\" or a list"),
        ("[origin.ladder]\nrungs = [{ height = 361, bitrate = 800000 }]", "origin.ladder.rungs[0].height", "even"),
        ("[origin.ladder]\nrungs = [{ height = 360, bitrate = 80 }]", "origin.ladder.rungs[0].bitrate", "30000"),
        ("[origin.ladder]\nrungs = [{ height = 360, bitrate = 800000, name = \"a/b\" }]", "rungs[0].name", "URL"),
        ("[origin.ladder]\nrungs = [{ height = 360, bitrate = 800000, name = \"audio\" }]", "rungs[0].name", "taken"),
        (
            "[origin.ladder]\nrungs = [{ height = 360, bitrate = 800000 }, { height = 480, bitrate = 800000 }]",
            "origin.ladder.rungs",
            "tallest",
        ),
        (
            "[origin.ladder]\nrungs = [{ height = 480, bitrate = 800000, name = \"a\" }, { height = 360, bitrate = 800000, name = \"a\" }]",
            "origin.ladder.rungs[1].name",
            "twice",
        ),
        ("[origin.ladder]\npreset = \"swift\"", "origin.ladder.preset", "veryfast"),
        ("[origin.ladder]\nquality = 0", "origin.ladder.quality", "1 to 51"),
        (
            "[origin.ladder]\nrate_control = \"bitrate\"\nrungs = [{ height = 360, bitrate = 800000, quality = 20 }]",
            "origin.ladder.rungs[0].quality",
            "rate_control",
        ),
        ("[origin]\nladders = [{ stream = \"a b\" }]", "origin.ladders[0].stream", "names no stream"),
        ("[origin]\nladders = [{ stream = \"a\", audio_bitrate = 1 }]", "origin.ladders[0].audio_bitrate", "16000"),
    ] {
        let problems = Config::parse(file, []).expect_err(file);
        let text = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(text.contains(told) && text.contains(key), "{file}: {text}");
    }
}
