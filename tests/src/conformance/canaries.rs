//! A checker that finds nothing is worth nothing: playlists with one rule broken, each found for that rule alone.

use super::rates::{Rates, of_variants};
use super::rules::{Checks, of_delta, of_multivariant, of_one, of_two};
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
    ] {
        let mut checks = Checks::default();
        of_multivariant(&text::multivariant(&good.replacen(from, to, 1)), &mut checks);
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
