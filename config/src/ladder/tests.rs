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
    let codec = super::VideoCodec::H264;
    assert_eq!(super::Coding { codec, quality: Some(25), preset: "fast".to_owned() }, ladder.coding);
}

#[test]
fn rungs_of_several_codecs_stand_beside_each_other_with_presets_of_their_own() {
    let ladder = ladder(
        "preset = \"fast\"\nrungs = [{ height = 720, bitrate = 3000000 },
         { height = 720, bitrate = 2000000, codec = \"av1\" },
         { height = 720, bitrate = 2000000, codec = \"hevc\", preset = \"medium\", quality = 30 },
         { height = 360, bitrate = 500000, codec = \"av1\", preset = 12 },
         { height = 360, fps_max = 15, bitrate = 500000, codec = \"vp9\", preset = \"8\" }]",
    );
    let said: Vec<_> = ladder
        .rungs
        .iter()
        .map(|rung| (rung.name.as_str(), rung.coding.quality, rung.coding.preset.as_str()))
        .collect();
    let expected = [
        ("720p", Some(23), "fast"),
        ("720p-av1", Some(35), "10"),
        ("720p-hevc", Some(30), "medium"),
        ("360p-av1", Some(35), "12"),
        ("360p15-vp9", Some(34), "8"),
    ];
    assert_eq!(said, expected);
    assert_eq!(ladder.codecs(), super::VideoCodec::ALL);
}

#[test]
fn what_is_said_of_one_encoder_is_not_inherited_by_another() {
    let origin = origin(
        "[origin]\nladders = [{ stream = \"a\", codec = \"av1\" }, { stream = \"b\", codec = \"h264\" }]
         [origin.ladder]\npreset = \"fast\"\nquality = 20\n",
    );
    let said = |stream: &str| {
        let coding = &origin.ladder(stream, None).coding;
        (coding.quality, coding.preset.as_str())
    };
    assert_eq!([said("a"), said("b")], [(Some(35), "10"), (Some(20), "fast")]);
    assert_eq!(origin.ladder("a", None).rungs[0].coding, origin.ladder("a", None).coding);
}

#[test]
fn sound_in_several_codecs_and_as_many_channels_as_are_wanted() {
    let audio = ladder("audio_codecs = [\"opus\", \"aac\"]\naudio_channels_max = 2").audio;
    assert_eq!((audio.codecs.len(), audio.codecs[0], audio.channels_max), (2, super::AudioCodec::Opus, 2));
}

#[test]
fn samples_are_encrypted_in_h264_and_hevc() {
    let told = |ladders: &str, stream: &str, method: &str| {
        let text = format!(
            "[origin]\nladders = [{ladders}]\n[origin.encryption]\nsecret = \"0123456789abcdef0123456789abcdef\"\n\
             streams = [{{ stream = \"{stream}\", method = \"{method}\" }}]\n"
        );
        Config::parse(&text, []).err().map(|problems| problems[0].to_string())
    };
    let av1 = "{ stream = \"pay-*\", codec = \"av1\" }";
    let refused = told(av1, "pay-1", "cbcs").unwrap();
    assert!(refused.contains("origin.encryption.streams[0].method") && refused.contains("in av1; write"), "{refused}");
    assert!(told(av1, "*", "cbcs").is_some(), "it names those of the ladder as well");
    assert_eq!(told(av1, "pay-1", "aes-128"), None);
    assert_eq!(told(av1, "free", "cbcs"), None);
    assert_eq!(told("{ stream = \"pay-*\", codec = \"hevc\" }", "pay-1", "cbcs"), None);
    let first = "{ stream = \"pay-*\" }, { stream = \"*\", codec = \"av1\" }";
    assert_eq!(told(first, "pay-*", "cbcs"), None, "the first rule decides");
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
        let ladder = origin.ladder(stream, None);
        (ladder.rungs.len(), ladder.audio.bitrate, ladder.coding.preset.as_str())
    };
    assert_eq!(
        [said("radio"), said("sport-1"), said("news")],
        [(0, 96_000, "fast"), (3, 64_000, "fast"), (1, 96_000, "fast")]
    );
    assert_eq!(origin.ladder("sport-1", None).thumbnails, origin.ladder.thumbnails);
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
        ("[origin.ladder]\npreset = \"placebo\"", "origin.ladder.preset", "no preset of x264"),
        (
            "[origin.ladder]\ncodec = \"av1\"\npreset = \"veryfast\"",
            "origin.ladder.preset",
            "SVT-AV1; write one of 4, 5",
        ),
        ("[origin.ladder]\ncodec = \"av1\"\nquality = 64", "origin.ladder.quality", "1 to 63"),
        ("[origin.ladder]\ncodec = \"av2\"", "origin.ladder", "`h264`, `hevc`, `av1`, `vp9`"),
        ("[origin.ladder]\npreset = true", "origin.ladder", "such as \"veryfast\" or 10"),
        ("[origin.ladder]\naudio_codecs = []", "origin.ladder.audio_codecs", "each once"),
        ("[origin.ladder]\naudio_codecs = [\"aac\", \"aac\"]", "origin.ladder.audio_codecs", "each once"),
        ("[origin.ladder]\naudio_channels_max = 3", "origin.ladder.audio_channels_max", "1, 2 or 6"),
        (
            "[origin.ladder]\nrungs = [{ height = 360, bitrate = 800000, codec = \"av1\" }, { height = 360, bitrate = 700000, codec = \"av1\", name = \"b\" }]",
            "origin.ladder.rungs",
            "only codecs",
        ),
        ("[origin.ladder]\nquality = 0", "origin.ladder.quality", "1 to 51"),
        (
            "[origin.ladder]\nrate_control = \"bitrate\"\nrungs = [{ height = 360, bitrate = 800000, quality = 20 }]",
            "origin.ladder.rungs[0].quality",
            "rate_control",
        ),
        ("[origin]\nladders = [{ stream = \"a b\" }]", "origin.ladders[0].stream", "names no stream"),
        ("[origin]\nladders = [{ stream = \"a\", audio_bitrate = 1 }]", "origin.ladders[0].audio_bitrate", "16000"),
        ("[origin]\nladders = [{ rungs = [] }]", "origin.ladders[0]", "names no stream and no publisher"),
        ("[origin]\nladders = [{ publisher = \"x\" }]", "origin.ladders[0].publisher", "give it to one"),
    ] {
        let problems = Config::parse(file, []).expect_err(file);
        let text = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(text.contains(told) && text.contains(key), "{file}: {text}");
    }
}

#[test]
fn what_is_misspelt_for_an_encoder_is_told_in_one_sentence() {
    for (file, key, told) in [
        (
            "[origin.ladder]\ncodec = \"hevc\"\npreset = \"veryfats\"",
            "origin.ladder.preset",
            "no preset of x265; write one of ultra",
        ),
        (
            "[origin.ladder]\ncodec = \"vp9\"\npreset = 9",
            "origin.ladder.preset",
            "no preset of libvpx; write one of 4, 5",
        ),
        (
            "[origin.ladder]\nrungs = [{ height = 360, bitrate = 800000, codec = \"av1\", preset = \"fast\" }]",
            "origin.ladder.rungs[0].preset",
            "no preset of SVT-AV1",
        ),
        ("[origin.ladder]\nqualty = 23", "origin.ladder", "unknown field `qualty`"),
        ("[origin.ladder]\nx264_params = \"ref=1\"", "origin.ladder", "unknown field `x264_params`"),
        (
            "[origin.ladder]\nrungs = [{ height = 360, bitrate = 800000, tune = \"film\" }]",
            "origin.ladder",
            "unknown field `tune`",
        ),
        ("[origin]\nladders = [{ stream = \"a\", presets = \"fast\" }]", "origin", "unknown field `presets`"),
    ] {
        let problems = Config::parse(file, []).expect_err(file);
        let text = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(text.contains(told) && text.contains(key), "{file}: {text}");
        assert_eq!((problems.len(), text.lines().count()), (1, 1), "{file}: {text}");
    }
}
