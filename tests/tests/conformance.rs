//! The stream of every tier, held against the rules of live HLS and DASH for a while.

use std::time::Duration;
use tests::conformance::{Report, watch};
use tests::{Dev, get, post_with};

#[tokio::test]
async fn what_origin_and_edge_say_keeps_the_rules() {
    let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    std::fs::write(file.path(), format!("[origin.markers]\ntoken = \"{TOKEN}\"\n[origin.subtitles]\nexpected = [{{ stream = \"demo\", language = \"en\" }}]\n")).unwrap();
    let dev = Dev::start(&["--config", file.path().to_str().unwrap()]).await.unwrap();
    let at = |tier: &str| format!("{}/live/demo/index.m3u8", dev.url(tier));
    let (origin, edge) = (at("origin"), at("cdn-a"));
    dev.wait_live(&edge).await.unwrap();
    // Delta updates leave out what is older than six target durations.
    let tallest = edge.replace("index.m3u8", "720p/index.m3u8");
    dev.wait_until(&tallest, |answer| answer.text().matches("#EXTINF").count() >= 8).await.unwrap();
    for marker in [
        "{\"id\":\"ad\",\"planned_duration_s\":9,\"scte35_out\":\"0xFC30\"}",
        "{\"id\":\"goal\",\"class\":\"com.example\",\"attributes\":{\"X-SCORE\":\"1:0\"}}",
        "{\"id\":\"ad\",\"duration_s\":9,\"scte35_in\":\"0xFC31\"}",
    ] {
        let markers = format!("{}/_vivid/markers/demo", dev.url("origin"));
        let marked = post_with(&markers, &[("authorization", &format!("Bearer {TOKEN}"))], marker).await.unwrap();
        assert_eq!(marked.status, 200, "{}", marked.text());
    }
    let seen = tokio::join!(watch(&origin, WATCHED), watch(&edge, WATCHED));
    for report in [seen.0.unwrap(), seen.1.unwrap()] {
        println!("{report}");
        let broken: Vec<_> = report.found.iter().filter(|(rule, _)| rule.must && !is_pace(rule.name)).collect();
        assert!(broken.is_empty(), "{broken:#?}");
        assert!(report.reloads > 60 && report.segments >= 9, "too little was seen:\n{report}");
        for rule in ["HINT", "SAME_BYTES", "REPORTS", "DELTA", "DATE_RANGES", "PEAK_RATE", "SEGMENTS_THERE"] {
            assert!(checked(&report, rule) > 0, "{rule}");
        }
    }
    assert_eq!(get(&edge).await.unwrap().status, 200);
    let mpd = |playlist: &str| playlist.replace(".m3u8", ".mpd");
    let (origin, edge) = (mpd(&origin), mpd(&edge));
    let seen = tokio::join!(watch(&origin, WATCHED), watch(&edge, WATCHED));
    for report in [seen.0.unwrap(), seen.1.unwrap()] {
        println!("{report}");
        let broken: Vec<_> = report.found.iter().filter(|(rule, _)| rule.must && !is_pace(rule.name)).collect();
        assert!(broken.is_empty(), "{broken:#?}");
        assert!(report.reloads >= 3 && report.segments >= 12, "too little was seen:\n{report}");
        for rule in [
            "MPD_CLOCK",
            "MPD_STAYS",
            "SEG_THERE",
            "SEG_NOT_YET",
            "SEG_TIME",
            "SEG_CLOCK",
            "SEG_IMAGE",
            "SEG_TEXT",
            "SEG_CUES",
        ] {
            assert!(checked(&report, rule) > 0, "{rule}");
        }
    }
}

/// At the edge, over a change of keys. Whole segments have no I-frame playlists, since no range of one can be decrypted alone.
#[tokio::test]
async fn an_encrypted_stream_keeps_them_too() {
    for (method, hls, dash, missing) in [
        ("cbcs", &["KEY", "KEY_INIT", "KEY_THERE", "SAME_BYTES", "HINT"][..], &["MPD_KEYS", "SEG_KEYS"][..], &[][..]),
        ("aes-128", &["KEY", "KEY_SEGMENT", "KEY_THERE"], &[], &["I_FRAMES"]),
    ] {
        let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
        let streams = format!("[{{ stream = \"demo\", method = \"{method}\" }}]");
        let secret = "of-tests-0123456789";
        let config = format!("[origin.encryption]\nstreams = {streams}\nsecret = \"{secret}\"\nrotate_s = 10\n");
        std::fs::write(file.path(), config).unwrap();
        let dev = Dev::start(&["--config", file.path().to_str().unwrap()]).await.unwrap();
        let edge = format!("{}/live/demo/index.m3u8", dev.url("cdn-a"));
        dev.wait_live(&edge).await.unwrap();
        let mut seen = vec![(watch(&edge, WATCHED).await.unwrap(), hls, missing)];
        if !dash.is_empty() {
            seen.push((watch(&edge.replace(".m3u8", ".mpd"), WATCHED).await.unwrap(), dash, &[]));
        }
        for (report, rules, missing) in seen {
            println!("{report}");
            let broken = report.broken().into_iter().filter(|rule| !is_pace(rule.name));
            let broken: Vec<_> = broken.map(|rule| rule.name).collect();
            assert_eq!(broken, missing, "{method}: {:#?}", report.found);
            rules.iter().for_each(|rule| assert!(checked(&report, rule) > 0, "{method}: {rule}"));
        }
    }
}

const TOKEN: &str = "who-marks-in-tests";
const WATCHED: Duration = Duration::from_secs(12);

/// What depends on how busy the machine is that encodes and watches at once is told and not judged here.
fn is_pace(rule: &str) -> bool {
    rule == "CADENCE" || rule == "SEG_GROWS"
}

fn checked(report: &Report, name: &str) -> u64 {
    report.checked.iter().filter(|(rule, _)| rule.name == name).map(|(_, count)| count).sum()
}
