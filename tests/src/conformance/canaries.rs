//! A checker that finds nothing is worth nothing: playlists with one rule broken, each found for that rule alone.

use super::keys;
use super::rates::{Rates, of_variants};
use super::rules::{Checks, of_delta, of_delta_of_dates, of_multivariant, of_one, of_two};
use super::text;
use std::collections::BTreeSet;

const BEFORE: &str = "#EXTM3U
#EXT-X-VERSION:9
#EXT-X-TARGETDURATION:2
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=12.0,HOLD-BACK=6.0,PART-HOLD-BACK=1.5
#EXT-X-PART-INF:PART-TARGET=0.5
#EXT-X-MEDIA-SEQUENCE:10
#EXT-X-DISCONTINUITY-SEQUENCE:3
#EXT-X-DATERANGE:ID=\"ad\",CLASS=\"c\",START-DATE=\"2026-11-21T02:00:01.000Z\",SCTE35-OUT=0xFC30
#EXT-X-MAP:URI=\"e/init.mp4\"
#EXT-X-PROGRAM-DATE-TIME:2026-11-21T02:00:00.000Z
#EXTINF:2.0,
e/10.m4s
#EXT-X-PROGRAM-DATE-TIME:2026-11-21T02:00:02.000Z
#EXT-X-PART:DURATION=0.5,URI=\"e/11.0.m4s\",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.5,URI=\"e/11.1.m4s\"
#EXT-X-PART:DURATION=0.5,URI=\"e/11.2.m4s\"
#EXT-X-PART:DURATION=0.5,URI=\"e/11.3.m4s\"
#EXTINF:2.0,
e/11.m4s
#EXT-X-PROGRAM-DATE-TIME:2026-11-21T02:00:04.000Z
#EXT-X-PART:DURATION=0.5,URI=\"e/12.0.m4s\",INDEPENDENT=YES
#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"e/12.1.m4s\"
";

const AFTER: &str = "#EXTM3U
#EXT-X-VERSION:9
#EXT-X-TARGETDURATION:2
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=12.0,HOLD-BACK=6.0,PART-HOLD-BACK=1.5
#EXT-X-PART-INF:PART-TARGET=0.5
#EXT-X-MEDIA-SEQUENCE:11
#EXT-X-DISCONTINUITY-SEQUENCE:3
#EXT-X-DATERANGE:ID=\"ad\",CLASS=\"c\",START-DATE=\"2026-11-21T02:00:01.000Z\",DURATION=1.0,SCTE35-OUT=0xFC30
#EXT-X-MAP:URI=\"e/init.mp4\"
#EXT-X-PROGRAM-DATE-TIME:2026-11-21T02:00:02.000Z
#EXT-X-PART:DURATION=0.5,URI=\"e/11.0.m4s\",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.5,URI=\"e/11.1.m4s\"
#EXT-X-PART:DURATION=0.5,URI=\"e/11.2.m4s\"
#EXT-X-PART:DURATION=0.5,URI=\"e/11.3.m4s\"
#EXTINF:2.0,
e/11.m4s
#EXT-X-PROGRAM-DATE-TIME:2026-11-21T02:00:04.000Z
#EXT-X-PART:DURATION=0.5,URI=\"e/12.0.m4s\",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.5,URI=\"e/12.1.m4s\"
#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"e/12.2.m4s\"
";

/// Of sound.
pub(super) fn clear_init() -> Vec<u8> {
    let config =
        media::AacConfig { record: bytes::Bytes::from_static(&[0x11, 0x90]), sample_rate: 48_000, channels: 2 };
    media::fmp4::init(&media::TrackConfig::Aac { config }).unwrap().to_vec()
}

fn found(checks: &Checks) -> BTreeSet<&'static str> {
    checks.found.iter().map(|finding| finding.rule.name).collect()
}

#[test]
fn what_keeps_the_rules_is_let_be() {
    let mut checks = Checks::default();
    let (before, after) = (text::media(BEFORE), text::media(AFTER));
    of_one(&before, &mut checks);
    of_one(&after, &mut checks);
    of_two(&before, &after, &mut checks);
    assert_eq!(checks.found, []);
    assert!(checks.made.len() > 30);
}

#[test]
fn each_fault_of_one_playlist_is_found_and_named() {
    for (from, to, rule) in [
        ("#EXTM3U\n", "", "FIRST_LINE"),
        ("#EXT-X-VERSION:9\n", "#EXT-X-VERSION:9\n#EXT-X-VERSION:9\n", "VERSION"),
        ("#EXT-X-TARGETDURATION:2\n", "", "TARGET_DURATION"),
        ("EXTINF:2.0,\ne/10", "EXTINF:2.6,\ne/10", "TARGET_DURATION"),
        ("#EXT-X-PART-INF:PART-TARGET=0.5\n", "", "PART_INF"),
        (",HOLD-BACK=6.0", ",HOLD-BACK=5.9", "HOLD_BACK"),
        ("PART-HOLD-BACK=1.5", "PART-HOLD-BACK=1.4", "PART_HOLD_BACK_3"),
        ("CAN-SKIP-UNTIL=12.0", "CAN-SKIP-UNTIL=11.9", "SKIP_UNTIL"),
        ("DURATION=0.5,URI=\"e/12.0", "DURATION=0.6,URI=\"e/12.0", "PART_LONG"),
        ("DURATION=0.5,URI=\"e/11.1", "DURATION=0.41,URI=\"e/11.1", "PART_SHORT"),
        ("#EXTINF:2.0,\ne/11", "#EXTINF:1.9,\ne/11", "PART_SUM"),
        ("#EXTINF:2.0,\ne/11", "#EXT-X-DISCONTINUITY\n#EXTINF:2.0,\ne/11", "BEFORE_PARTS"),
        ("#EXT-X-MAP:URI=\"e/init.mp4\"\n", "", "MAP"),
        ("02:00:02.000Z", "02:00:02.100Z", "DATES"),
        ("ID=\"ad\",", "", "DATE_RANGES"),
        ("START-DATE=\"2026-11-21T02:00:01.000Z\"", "START-DATE=\"today\"", "DATE_RANGES"),
        ("CLASS=\"c\"", "END-ON-NEXT=YES", "DATE_RANGES"),
        (",SCTE35-OUT=0xFC30", ",DURATION=-1", "DATE_RANGES"),
        ("#EXT-X-MAP", "#EXT-X-DATERANGE:ID=\"ad\",START-DATE=\"2026-11-21T03:00:00Z\"\n#EXT-X-MAP", "DATE_RANGES"),
        ("#EXT-X-PRELOAD", "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"x\"\n#EXT-X-PRELOAD", "HINT"),
        ("#EXT-X-PRELOAD", "#EXT-X-ENDLIST\n#EXT-X-PRELOAD", "HINT"),
    ] {
        let broken = BEFORE.replacen(from, to, 1);
        assert_ne!(broken, BEFORE, "{from}");
        let mut checks = Checks::default();
        of_one(&text::media(&broken), &mut checks);
        let named = found(&checks);
        assert!(named.contains(rule), "{from} -> {to}: {named:?}");
        // A duration that is wrong also puts sums and dates out.
        let follows = |name: &&str| *name == rule || ["PART_SUM", "DATES"].contains(name);
        assert!(named.iter().all(follows), "{from} -> {to}: {named:?}");
    }
    let mut checks = Checks::default();
    of_one(&text::media(&BEFORE.replace("PART-HOLD-BACK=1.5", "PART-HOLD-BACK=0.9")), &mut checks);
    assert_eq!(found(&checks), ["PART_HOLD_BACK", "PART_HOLD_BACK_3"].into());
    let mut checks = Checks::default();
    let old = "#EXTINF:2.0,\ne/10.m4s\n#EXT-X-PROGRAM-DATE-TIME:2026-11-21T02:00:02.000Z\n";
    let many: String = (0..4).map(|index| format!("#EXTINF:2.0,\ne/1{index}.m4s\n")).collect();
    let far = format!("#EXT-X-PART:DURATION=2,URI=\"x\",INDEPENDENT=YES\n{many}");
    of_one(
        &text::media(&BEFORE.replace("TARGET=0.5", "TARGET=2").replace("BACK=1.5", "BACK=6").replace(old, &far)),
        &mut checks,
    );
    assert!(found(&checks).contains("PARTS_LEAVE"), "{:?}", checks.found);
}

#[test]
fn each_fault_of_a_reload_is_found_and_named() {
    for (from, to, rule) in [
        ("TARGETDURATION:2", "TARGETDURATION:3", "TARGET_CONSTANT"),
        ("PART-TARGET=0.5", "PART-TARGET=0.6", "TARGET_CONSTANT"),
        ("MEDIA-SEQUENCE:11", "MEDIA-SEQUENCE:9", "NEVER_BACK"),
        ("e/11.m4s", "e/11b.m4s", "NEVER_BACK"),
        ("e/12.0.m4s", "e/12.0b.m4s", "NEVER_BACK"),
        ("#EXTINF:2.0,\ne/11", "#EXTINF:1.99,\ne/11", "NEVER_BACK"),
        ("DISCONTINUITY-SEQUENCE:3", "DISCONTINUITY-SEQUENCE:4", "DISCONTINUITIES"),
        ("DISCONTINUITY-SEQUENCE:3", "DISCONTINUITY-SEQUENCE:2", "DISCONTINUITIES"),
        ("SCTE35-OUT=0xFC30", "SCTE35-OUT=0xFC31", "DATE_RANGES"),
        (",SCTE35-OUT=0xFC30", "", "DATE_RANGES"),
        ("e/12.1.m4s", "e/12.1b.m4s", "HINT"),
    ] {
        let broken = AFTER.replacen(from, to, 1);
        assert_ne!(broken, AFTER, "{from}");
        let mut checks = Checks::default();
        of_two(&text::media(BEFORE), &text::media(&broken), &mut checks);
        assert_eq!(found(&checks), [rule].into(), "{from} -> {to}");
    }
    let mut checks = Checks::default();
    let ended = |text: &str| text::media(&format!("{text}#EXT-X-ENDLIST\n"));
    of_two(&ended(BEFORE), &ended(AFTER), &mut checks);
    assert!(found(&checks).contains("END"));
}

#[test]
fn deltas_and_multivariant_playlists_have_their_faults_too() {
    let whole = text::media(AFTER);
    let delta = AFTER.replace("#EXT-X-MAP:URI=\"e/init.mp4\"\n", "#EXT-X-SKIP:SKIPPED-SEGMENTS=1\n");
    let mut checks = Checks::default();
    of_delta(&text::media(&delta), &whole, &mut checks);
    assert_eq!(found(&checks), ["DELTA"].into(), "it skips what it does not leave out");

    let good = "#EXTM3U\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"a\",URI=\"a.m3u8\"\n\
        #EXT-X-STREAM-INF:BANDWIDTH=2,AVERAGE-BANDWIDTH=1,CODECS=\"avc1.64001F\",RESOLUTION=2x2,FRAME-RATE=30,AUDIO=\"a\"\n\
        v.m3u8\n#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI=\"i.m3u8\"\n";
    for (from, to, rule) in [
        ("", "", None),
        ("#EXT-X-INDEPENDENT-SEGMENTS\n", "", Some("INDEPENDENT")),
        ("#EXT-X-I-FRAME", "#EXT-X-NO-FRAME", Some("I_FRAMES")),
        (",FRAME-RATE=30", "", Some("VARIANTS")),
        ("AVERAGE-BANDWIDTH=1", "AVERAGE-BANDWIDTH=3", Some("VARIANTS")),
        ("AUDIO=\"a\"", "AUDIO=\"b\"", Some("VARIANTS")),
        ("AUDIO=\"a\"", "AUDIO=\"a\",CLOSED-CAPTIONS=NONE", None),
        ("AUDIO=\"a\"", "AUDIO=\"a\",CLOSED-CAPTIONS=\"cc\"", Some("VARIANTS")),
        (
            "#EXT-X-MEDIA",
            "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"b\",NAME=\"a\",CHANNELS=\"6\",URI=\"b\"\n#EXT-X-MEDIA",
            None,
        ),
        ("#EXT-X-MEDIA", "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"b\",NAME=\"b\",URI=\"b\"\n#EXT-X-MEDIA", Some("VARIANTS")),
    ] {
        let mut checks = Checks::default();
        of_multivariant(&text::multivariant(&good.replacen(from, to, 1)), &mut checks);
        assert_eq!(found(&checks), rule.into_iter().collect(), "{from} -> {to}");
    }
}

#[test]
fn deltas_that_leave_out_date_ranges_have_faults_of_their_own() {
    let whole = BEFORE.replace("CAN-SKIP-UNTIL=12.0", "CAN-SKIP-UNTIL=2.0");
    let skip = "#EXT-X-SKIP:SKIPPED-SEGMENTS=1,RECENTLY-REMOVED-DATERANGES=\"old\"\n#EXT-X-MAP";
    let first = "#EXT-X-PROGRAM-DATE-TIME:2026-11-21T02:00:00.000Z\n#EXTINF:2.0,\ne/10.m4s\n";
    let mut delta = whole.replace("VERSION:9", "VERSION:10").replace(first, "").replace("#EXT-X-MAP", skip);
    delta =
        delta.lines().filter(|line| !line.starts_with("#EXT-X-DATERANGE")).map(|line| format!("{line}\n")).collect();
    for (from, to, rule) in [
        ("", "", None),
        ("VERSION:10", "VERSION:9", Some("DELTA")),
        (",RECENTLY-REMOVED-DATERANGES=\"old\"", "", Some("DELTA")),
        ("\"old\"", "\"old\tad\"", Some("DELTA")),
        (
            "#EXT-X-SKIP",
            "#EXT-X-DATERANGE:ID=\"b\",START-DATE=\"2026-11-21T02:00:01.000Z\"\n#EXT-X-SKIP",
            Some("DELTA"),
        ),
    ] {
        let mut checks = Checks::default();
        of_delta_of_dates(&text::media(&delta.replacen(from, to, 1)), &text::media(&whole), &mut checks);
        assert_eq!(found(&checks), rule.into_iter().collect(), "{from} -> {to}");
    }
}

#[test]
fn variants_that_weigh_otherwise_than_is_told_are_found() {
    let told = |peak: u32, average: u32| {
        text::multivariant(&format!(
            "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"a\",URI=\"a.m3u8\"\n\
             #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"b\",NAME=\"b\",URI=\"b.m3u8\"\n\
             #EXT-X-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={average},AUDIO=\"a\"\nv.m3u8\n"
        ))
    };
    // The sound of another group does not count.
    let weighs = |uri: &str| match uri {
        "v.m3u8" => Some(Rates { peak: 1000.0, average: 500.0 }),
        "a.m3u8" => Some(Rates { peak: 200.0, average: 100.0 }),
        _ => Some(Rates { peak: 9000.0, average: 9000.0 }),
    };
    for (peak, average, ended, expected) in [
        (1200, 600, false, &[][..]),
        (1000, 550, false, &[]),
        (900, 600, false, &["PEAK_RATE"]),
        (1200, 540, false, &["AVERAGE_RATE"]),
        (5000, 5000, false, &[]),
        (1100, 560, true, &[]),
        (1000, 600, true, &["PEAK_RATE"]),
        (1400, 600, true, &["PEAK_RATE"]),
        (1200, 400, true, &["AVERAGE_RATE"]),
    ] {
        let mut checks = Checks::default();
        of_variants(&told(peak, average), weighs, ended, &mut checks);
        assert_eq!(found(&checks), expected.iter().copied().collect(), "{peak}, {average}, ended: {ended}");
        assert_eq!(checks.made.len(), 2);
    }
}

/// Samples under one key, then under the next; then whole segments.
const KEYS: &str = "#EXTM3U
#EXT-X-VERSION:9
#EXT-X-TARGETDURATION:2
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=12.0,HOLD-BACK=6.0,PART-HOLD-BACK=1.5
#EXT-X-PART-INF:PART-TARGET=0.5
#EXT-X-MEDIA-SEQUENCE:10
#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"k/1\",IV=0x00000000000000000000000000000001,KEYFORMAT=\"org.w3.clearkey\",KEYFORMATVERSIONS=\"1\"
#EXT-X-MAP:URI=\"e/init.1.mp4\"
#EXT-X-PROGRAM-DATE-TIME:2026-11-21T02:00:00.000Z
#EXTINF:2.0,
e/10.m4s
#EXT-X-KEY:METHOD=NONE
#EXT-X-MAP:URI=\"e/init.mp4\"
#EXT-X-KEY:METHOD=AES-128,URI=\"k/2\",IV=0x0b
#EXT-X-PROGRAM-DATE-TIME:2026-11-21T02:00:02.000Z
#EXTINF:2.0,
e/11.m4s
";

#[test]
fn each_fault_of_keys_is_found_and_named() {
    let part = "#EXT-X-PART:DURATION=0.5,URI=\"p\",INDEPENDENT=YES\n";
    let parts = format!("{}#EXTINF:2.0,\ne/11", part.repeat(4));
    let key = KEYS.lines().find(|line| line.contains("k/1")).unwrap();
    let late = format!("{part}{key}\n{}#EXTINF:2.0,\ne/10", part.repeat(3));
    for (from, to, rules) in [
        ("", "", &[][..]),
        ("METHOD=SAMPLE-AES,", "METHOD=ROT13,", &["KEY"]),
        ("METHOD=NONE", "METHOD=NONE,URI=\"k\"", &["KEY"]),
        ("URI=\"k/1\",", "", &["KEY"]),
        ("IV=0x00000000000000000000000000000001", "IV=1", &["KEY"]),
        ("IV=0x0000", "IV=0x00000", &["KEY"]),
        ("KEYFORMATVERSIONS=\"1\"", "KEYFORMATVERSIONS=\"one\"", &["KEY"]),
        ("VERSION:9", "VERSION:4", &["KEY"]),
        ("#EXT-X-MAP", "#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"k/0\",IV=0x02\n#EXT-X-MAP", &["KEY"]),
        ("#EXT-X-KEY:METHOD=NONE\n", "#EXT-X-KEY:METHOD=AES-128,URI=\"k/2\"\n", &["KEY_MAP"]),
        ("#EXTINF:2.0,\ne/11", &parts, &["KEY_PARTS"]),
        ("#EXTINF:2.0,\ne/10", &late, &["BEFORE_PARTS"]),
    ] {
        let text = KEYS.replacen(from, to, 1);
        let mut checks = Checks::default();
        of_one(&text::media(&text), &mut checks);
        let named = found(&checks);
        // Keys of other formats hold on, and two methods for one segment do not agree.
        let expected = rules.iter().copied().chain((rules == ["KEY_MAP"]).then_some("KEY"));
        assert!(named == rules.iter().copied().collect() || named == expected.collect(), "{from} -> {to}: {named:?}");
    }
    let mut checks = Checks::default();
    of_two(&text::media(KEYS), &text::media(&KEYS.replace("k/2", "k/9")), &mut checks);
    assert_eq!(found(&checks), ["NEVER_BACK"].into(), "another key for what is listed");
}

#[test]
fn variants_that_hold_another_codec_than_is_told_are_found() {
    let told = |codecs: &str| {
        text::multivariant(&format!(
            "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"a\",URI=\"a.m3u8\"\n\
             #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"b\",NAME=\"b\",URI=\"b.m3u8\"\n\
             #EXT-X-STREAM-INF:BANDWIDTH=2,CODECS=\"{codecs}\",AUDIO=\"a\"\nv.m3u8\n"
        ))
    };
    let held = |uri: &str| {
        let held = [("v.m3u8", "av01"), ("a.m3u8", "Opus"), ("b.m3u8", "mp4a")];
        held.into_iter().find(|(known, _)| *known == uri).map(|(_, codec)| codec.to_owned())
    };
    for (codecs, rule) in [
        ("av01.0.04M.08,opus", None),
        ("av01.0.04M.08,Opus", None),
        ("avc1.64001f,opus", Some("CODECS")),
        ("av01.0.04M.08", Some("CODECS")),
        ("av01.0.04M.08,mp4a.40.2", Some("CODECS")),
    ] {
        let mut checks = Checks::default();
        super::codecs::of_variants(&told(codecs), held, &mut checks);
        assert_eq!(found(&checks), rule.into_iter().collect(), "{codecs}");
    }
    let clear = clear_init();
    let protected = media::fmp4::protected_init(&clear, [0xab; 16], [7; 16]).unwrap();
    for init in [&clear[..], &protected] {
        assert_eq!(super::codecs::of_init(init).as_deref(), Some("mp4a"));
    }
}

#[test]
fn what_is_under_a_key_is_held_against_what_is_told() {
    let clear = clear_init();
    let protected = media::fmp4::protected_init(&clear, [0xab; 16], [7; 16]).unwrap();
    let key = |said: &str| vec![text::attributes(said)];
    let (samples, whole) = (key("METHOD=SAMPLE-AES,URI=\"k\""), key("METHOD=AES-128,URI=\"k\",IV=0x1"));
    let of_id = |id: &str| key(&format!("METHOD=SAMPLE-AES,URI=\"k\",KEYID=0x{id}"));
    for (keys, init, rule) in [
        (&samples, &protected[..], None),
        (&of_id(&"AB".repeat(16)), &protected, None),
        (&whole, &clear, None),
        (&vec![], &clear, None),
        (&samples, &clear, Some("KEY_INIT")),
        (&vec![], &protected, Some("KEY_INIT")),
        (&whole, &protected, Some("KEY_INIT")),
        (&of_id(&"AC".repeat(16)), &protected, Some("KEY_INIT")),
        (&key("METHOD=SAMPLE-AES-CTR,URI=\"k\""), &protected, Some("KEY_INIT")),
    ] {
        let mut checks = Checks::default();
        keys::of_init((keys, &[]), init, &mut checks);
        assert_eq!(found(&checks), rule.into_iter().collect(), "{keys:?}");
    }
    for (keys, bytes, rule) in [
        (&whole, 160, None),
        (&whole, 161, Some("KEY_SEGMENT")),
        (&whole, 0, Some("KEY_SEGMENT")),
        (&samples, 161, None),
    ] {
        let mut checks = Checks::default();
        keys::of_segment("s", keys, bytes, &mut checks);
        assert_eq!(found(&checks), rule.into_iter().collect(), "{bytes} bytes under {keys:?}");
    }
    let playlists = [("http://h/a/index.m3u8".to_owned(), text::media(KEYS))];
    for (session, rule) in [
        ("METHOD=SAMPLE-AES,URI=\"a/k/1\",KEYFORMAT=\"org.w3.clearkey\",KEYFORMATVERSIONS=\"1\"", None),
        ("METHOD=SAMPLE-AES,URI=\"a/k/7\"", None),
        ("METHOD=SAMPLE-AES,URI=\"a/k/1\"", Some("SESSION_KEY")),
        ("METHOD=AES-128,URI=\"a/k/1\",KEYFORMAT=\"org.w3.clearkey\",KEYFORMATVERSIONS=\"1\"", Some("SESSION_KEY")),
        ("METHOD=NONE", Some("SESSION_KEY")),
        ("METHOD=AES-128,URI=\"a/k/7\"\n#EXT-X-SESSION-KEY:METHOD=AES-128,URI=\"a/k/7\"", Some("SESSION_KEY")),
    ] {
        let said = text::multivariant(&format!("#EXTM3U\n#EXT-X-SESSION-KEY:{session}\n"));
        let (mut checks, of) = (Checks::default(), playlists.iter().map(|(url, media)| (url, media)));
        keys::of_session(("http://h/index.m3u8", &said), of, super::watch::resolve, &mut checks);
        assert_eq!(found(&checks), rule.into_iter().collect(), "{session}");
    }
}
