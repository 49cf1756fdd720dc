//! A checker that finds nothing is worth nothing: MPDs and segments with one rule broken, each found for that rule alone.

use super::*;
use crate::conformance::canaries::clear_init;
use crate::conformance::dash::{mpd, segment};
use bytes::Bytes;
use media::Timescale;
use media::fmp4::{self, Reference, Sample};

const BEFORE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-live:2011" type="dynamic" availabilityStartTime="1970-01-01T00:00:00Z" publishTime="2026-11-21T02:00:01Z" minimumUpdatePeriod="PT2S" timeShiftBufferDepth="PT12S" minBufferTime="PT1S">
 <ServiceDescription id="0"><Latency target="1500"/></ServiceDescription>
 <Period id="1" start="PT1795226400S">
  <AdaptationSet id="0" contentType="video" mimeType="video/mp4" segmentAlignment="true" startWithSAP="1">
   <ProducerReferenceTime id="0" inband="true" type="encoder" wallClockTime="2026-11-21T02:00:00Z" presentationTime="1795226400000"/>
   <SegmentTemplate timescale="1000" duration="2000" startNumber="100" presentationTimeOffset="1795226400000" availabilityTimeOffset="1.5" availabilityTimeComplete="false" initialization="$RepresentationID$/init.mp4" media="$RepresentationID$/$Number$.m4s"/>
   <Representation id="a" bandwidth="900000" codecs="avc1.64001f" width="640" height="360"/>
   <Representation id="b" bandwidth="90000" codecs="avc1.64001f" width="320" height="180"/>
  </AdaptationSet>
 </Period>
 <UTCTiming schemeIdUri="urn:mpeg:dash:utc:http-iso:2014" value="/time"/>
</MPD>"#;

fn after() -> String {
    BEFORE.replace("02:00:01Z", "02:00:03Z")
}

fn found(checks: &Checks) -> Vec<&'static str> {
    let mut names: Vec<_> = checks.found.iter().map(|finding| finding.rule.name).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn of_texts(before: &str, after: &str) -> Vec<&'static str> {
    let mut checks = Checks::default();
    let (before, after) = (mpd::read(before).unwrap(), mpd::read(after).unwrap());
    of_one(&after, &mut checks);
    of_two(&before, &after, &mut checks);
    found(&checks)
}

#[test]
fn an_mpd_that_keeps_the_rules_is_let_be() {
    assert_eq!(of_texts(BEFORE, &after()), [""; 0]);
    assert_eq!(of_texts(BEFORE, BEFORE), [""; 0], "nothing changed");
}

#[test]
fn each_rule_of_one_mpd_is_held() {
    for (rule, right, wrong) in [
        ("MPD_ROOT", "schema:mpd:2011\" profiles=\"urn:mpeg:dash:profile:isoff-live:2011\"", "schema:mpd:2011\""),
        ("MPD_ROOT", " minBufferTime=\"PT1S\"", ""),
        ("MPD_DYNAMIC", " minimumUpdatePeriod=\"PT2S\"", ""),
        ("MPD_STATIC", "type=\"dynamic\"", "type=\"static\""),
        ("MPD_SETS", " segmentAlignment=\"true\"", ""),
        (
            "MPD_SETS",
            "id=\"b\" bandwidth=\"90000\" codecs=\"avc1.64001f\"",
            "id=\"b\" bandwidth=\"90000\" codecs=\"av01.0.04M.08\"",
        ),
        ("MPD_REPRESENTATIONS", "Representation id=\"b\"", "Representation id=\"a\""),
        ("MPD_REPRESENTATIONS", " width=\"320\"", ""),
        ("MPD_REPRESENTATIONS", "bandwidth=\"90000\" ", ""),
        ("MPD_TEMPLATE", " initialization=\"$RepresentationID$/init.mp4\"", ""),
        ("MPD_EARLY", " availabilityTimeComplete=\"false\"", ""),
        ("MPD_EARLY", "availabilityTimeOffset=\"1.5\"", "availabilityTimeOffset=\"2.5\""),
        ("MPD_LATENCY", "<Latency target=\"1500\"/>", ""),
        ("MPD_PERIODS", "<Period id=\"1\" ", "<Period "),
        ("MPD_ORDER", " <Period", " <UTCTiming schemeIdUri=\"x\" value=\"\"/><Period"),
    ] {
        assert!(BEFORE.contains(right), "{right}");
        let mut checks = Checks::default();
        of_one(&mpd::read(&BEFORE.replace(right, wrong)).unwrap(), &mut checks);
        assert_eq!(found(&checks), [rule], "{wrong:?} for {right:?}");
    }
}

#[test]
fn images_need_no_codec_and_no_init_section_and_are_whole() {
    const IMAGES: &str = "<AdaptationSet contentType=\"image\" mimeType=\"image/jpeg\" segmentAlignment=\"true\">\
        <SegmentTemplate media=\"t/$Number$.jpg\" duration=\"2000\" timescale=\"1000\" startNumber=\"100\"/>\
        <Representation id=\"t\" bandwidth=\"9000\" width=\"320\" height=\"90\">\
        <EssentialProperty schemeIdUri=\"http://dashif.org/guidelines/thumbnail_tile\" value=\"2x1\"/></Representation>\
        </AdaptationSet></Period>";
    // Start of image, a frame header of 320 x 90, end of image.
    const JPEG: &[u8] = &[0xff, 0xd8, 0xff, 0xc0, 0, 8, 8, 0, 90, 1, 64, 3, 0xff, 0xd9];
    let found_of = |image: &[u8], right: &str, wrong: &str| {
        let mut checks = Checks::default();
        let mpd = mpd::read(&BEFORE.replacen("</Period>", &IMAGES.replace(right, wrong), 1)).unwrap();
        of_one(&mpd, &mut checks);
        of_image(image, &mpd.periods[0].sets[1].representations[0], &mut checks);
        found(&checks)
    };
    assert_eq!(found_of(JPEG, "", ""), [""; 0]);
    for broken in [&JPEG[..12], b"GIF89a", b""] {
        assert_eq!(found_of(broken, "", ""), ["SEG_IMAGE"], "{broken:?}");
    }
    for (right, wrong) in [("width=\"320\"", "width=\"160\""), ("2x1", "3x1"), ("2x1", "2"), ("2x1", "0x1")] {
        assert_eq!(found_of(JPEG, right, wrong), ["SEG_TILES"], "{wrong} for {right}");
    }
    assert_eq!(found_of(JPEG, "EssentialProperty", "NoProperty"), [""; 0], "one picture");
}

#[test]
fn text_is_what_it_is_told_to_be_in_every_sample() {
    const TEXT: &str = "<AdaptationSet contentType=\"text\" mimeType=\"application/mp4\" segmentAlignment=\"true\">\
        <SegmentTemplate media=\"t/$Number$.m4s\" initialization=\"t/init.mp4\" duration=\"2000\" timescale=\"1000\" \
        startNumber=\"100\"/><Representation id=\"t\" bandwidth=\"9000\" codecs=\"wvtt\"/></AdaptationSet></Period>";
    let cue = fmp4::Cue { shown: 500..900, text: "x &lt; y", source_id: Some(1) };
    let segment = fmp4::text_fragment(1, 0..2000, &[cue]).unwrap().to_vec();
    let init = fmp4::text_init(Timescale(1000), Some("deu")).unwrap().to_vec();
    let found_of = |told: &str, init: &[u8], segment: &[u8]| {
        let mut checks = Checks::default();
        let mpd = mpd::read(&BEFORE.replacen("</Period>", told, 1)).unwrap();
        of_one(&mpd, &mut checks);
        let set = &mpd.periods[0].sets[1];
        of_init((set, &set.representations[0]), init, &mut checks);
        of_cues(segment, &mut checks);
        found(&checks)
    };
    assert_eq!(found_of(TEXT, &init, &segment), [""; 0]);
    assert_eq!(found_of(&TEXT.replace("application/mp4", "text/vtt"), &init, &segment), ["SEG_TEXT"]);
    let broken = |right: &[u8; 4], wrong: &[u8; 4], bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        let at = bytes.windows(4).position(|window| window == right).unwrap();
        bytes[at..at + 4].copy_from_slice(wrong);
        bytes
    };
    for wrong in [(b"wvtt", b"stpp"), (b"vttC", b"vlab"), (b"WEBV", b"WEBM")] {
        assert!(found_of(TEXT, &broken(wrong.0, wrong.1, &init), &segment).contains(&"SEG_TEXT"), "{wrong:?}");
    }
    for wrong in [(b"vttc", b"tx3g"), (b"payl", b"iden"), (b"vtte", b"vttc"), (b"x &l", b"-->y")] {
        assert_eq!(found_of(TEXT, &init, &broken(wrong.0, wrong.1, &segment)), ["SEG_CUES"], "{wrong:?}");
    }
}

/// With its samples under a key.
fn protected(init: &[u8]) -> Vec<u8> {
    fmp4::protected_init(init, [0xab; 16], [7; 16]).unwrap().to_vec()
}

#[test]
fn what_is_encrypted_tells_its_key_as_its_init_section_does() {
    const TOLD: &str = "<ContentProtection schemeIdUri=\"urn:mpeg:dash:mp4protection:2011\" value=\"cbcs\" \
        default_KID=\"ABABABAB-abab-abab-abab-abababababab\"/>\
        <ContentProtection schemeIdUri=\"urn:uuid:e2719d58-a985-b3c9-781a-b030af78d30e\"/>";
    let of_sound = BEFORE.replace("avc1.64001f", "mp4a.40.2");
    let with = |told: &str| of_sound.replacen("<ProducerReference", &format!("{told}<ProducerReference"), 1);
    let clear = clear_init();
    let named = |text: &str, init: &[u8]| {
        let mut checks = Checks::default();
        let mpd = mpd::read(text).unwrap();
        of_one(&mpd, &mut checks);
        let set = &mpd.periods[0].sets[0];
        of_init((set, &set.representations[0]), init, &mut checks);
        found(&checks)
    };
    assert_eq!(named(&with(TOLD), &protected(&clear)), [""; 0]);
    assert_eq!(named(&of_sound, &clear), [""; 0]);
    assert_eq!(named(BEFORE, &clear), ["SEG_CODEC"]);
    for (rules, text, init) in [
        (&["SEG_KEYS"][..], with(TOLD), clear.clone()),
        (&["SEG_KEYS"], of_sound.clone(), protected(&clear)),
        (&["SEG_KEYS"], with(&TOLD.replace("cbcs", "cenc")), protected(&clear)),
        (&["SEG_KEYS"], with(&TOLD.replace("ABABABAB", "ABABABAC")), protected(&clear)),
        (&["MPD_KEYS", "SEG_KEYS"], with(&TOLD.replace(" value=\"cbcs\"", "")), protected(&clear)),
        (&["MPD_KEYS"], with(&TOLD.replace("30e\"/>", "30e\" default_KID=\"00\"/>")), protected(&clear)),
    ] {
        assert_eq!(named(&text, &init), rules, "{text}");
    }
}

#[test]
fn each_rule_of_two_mpds_is_held() {
    for (rule, right, wrong) in [
        ("MPD_START", "1970-01-01T00:00:00Z", "1970-01-01T00:00:01Z"),
        ("MPD_PUBLISHED", "02:00:03Z", "02:00:00Z"),
        ("MPD_STAYS", "startNumber=\"100\"", "startNumber=\"101\""),
        ("MPD_STAYS", "bandwidth=\"90000\"", "bandwidth=\"90001\""),
    ] {
        assert!(after().contains(right), "{right}");
        assert_eq!(of_texts(BEFORE, &after().replace(right, wrong)), [rule], "{wrong:?} for {right:?}");
    }
    assert_eq!(of_texts(BEFORE, &BEFORE.replace("PT12S", "PT14S")), ["MPD_PUBLISHED"], "another, published as before");
}

/// Two fragments of a second: where each begins, whether it begins with a key frame, whether the first has a clock.
fn segment(begins: [u64; 2], keyframe: bool, clock: Option<u64>) -> Vec<Fragment> {
    let sample = |keyframe| Sample { duration: 1000, composition_offset: 0, keyframe, data: Bytes::from_static(b"x") };
    let clock = clock.map(|media_time| Reference::unix(media_time, Timescale(1000)));
    let first = fmp4::fragment(1, begins[0], clock, &[sample(keyframe)]).unwrap();
    let second = fmp4::fragment(2, begins[1], None, &[sample(false)]).unwrap();
    segment::read(&[first, second].concat()).unwrap()
}

#[test]
fn each_rule_of_a_segment_is_held() {
    const ZERO: u64 = 1_795_226_400_000;
    let mpd = mpd::read(BEFORE).unwrap();
    let (set, _, template) = mpd.periods[0].templates().next().unwrap();
    let right = [ZERO + 2000, ZERO + 3000];
    for (rules, begins, keyframe, clock) in [
        (&[][..], right, true, Some(ZERO + 2000)),
        (&["SEG_TIME"], right.map(|ticks| ticks + 1500), true, Some(ZERO + 2000)),
        (&["SEG_WHOLE"], [right[0], right[1] + 1], true, Some(ZERO + 2000)),
        (&["SEG_SAP"], right, false, Some(ZERO + 2000)),
        (&["SEG_CLOCK"], right, true, None),
    ] {
        let mut checks = Checks::default();
        of_segment((set, template, 101, false), &segment(begins, keyframe, clock), &mut checks);
        assert_eq!(found(&checks), rules);
    }
    let mut checks = Checks::default();
    of_segment((set, template, 101, false), &segment(right, true, Some(ZERO + 2000))[..1], &mut checks);
    assert_eq!(found(&checks), [""; 0], "half a segment is still within");
    let short: Vec<_> = segment(right, true, Some(ZERO + 2000))
        .into_iter()
        .take(1)
        .map(|first| Fragment { ticks: first.ticks / 4, ..first })
        .collect();
    for (last, expected) in [(false, &["SEG_LENGTH"][..]), (true, &[])] {
        let mut checks = Checks::default();
        of_segment((set, template, 101, last), &short, &mut checks);
        assert_eq!(found(&checks), expected, "the last may be shorter");
    }
    let long = [&segment(right, true, Some(ZERO + 2000))[..], &segment(right.map(|t| t + 2000), true, None)].concat();
    let mut checks = Checks::default();
    of_segment((set, template, 101, false), &long, &mut checks);
    assert_eq!(found(&checks), ["SEG_LENGTH"]);
}

#[test]
fn what_is_no_segment_is_told() {
    let whole = fmp4::fragment(
        1,
        0,
        None,
        &[Sample { duration: 1, composition_offset: 0, keyframe: true, data: Bytes::new() }],
    )
    .unwrap();
    assert!(segment::read(&whole).is_ok());
    assert!(segment::read(&whole[..whole.len() - 4]).is_err());
    assert!(segment::read(b"\0\0\0\x08mdat").is_err());
    assert!(segment::read(b"\0\0\0\x08wxyz").is_err());
    assert!(segment::read(b"").is_err());
}
