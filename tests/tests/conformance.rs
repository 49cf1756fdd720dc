//! The stream of every tier, held against the rules of live HLS and DASH for a while.

use std::time::Duration;
use tests::conformance::{Report, watch};
use tests::{Dev, get};

#[tokio::test]
async fn what_origin_and_edge_say_keeps_the_rules() {
    let dev = Dev::start(&[]).await.unwrap();
    dev.wait_live(&format!("{}/live/demo/index.m3u8", dev.url("cdn-a"))).await.unwrap();
    let at = |tier: &str| format!("{}/live/demo/index.m3u8", dev.url(tier));
    let (origin, edge) = (at("origin"), at("cdn-a"));
    let seen = tokio::join!(watch(&origin, WATCHED), watch(&edge, WATCHED));
    for report in [seen.0.unwrap(), seen.1.unwrap()] {
        println!("{report}");
        let broken: Vec<_> = report.found.iter().filter(|(rule, _)| rule.must && !is_pace(rule.name)).collect();
        assert!(broken.is_empty(), "{broken:#?}");
        assert!(report.reloads > 60 && report.segments >= 9, "too little was seen:\n{report}");
        assert!(checked(&report, "HINT") > 0 && checked(&report, "SAME_BYTES") > 0 && checked(&report, "REPORTS") > 0);
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
        for rule in ["MPD_CLOCK", "MPD_STAYS", "SEG_THERE", "SEG_NOT_YET", "SEG_TIME", "SEG_CLOCK"] {
            assert!(checked(&report, rule) > 0, "{rule}");
        }
    }
}

const WATCHED: Duration = Duration::from_secs(12);

/// What depends on how busy the machine is that encodes and watches at once is told and not judged here.
fn is_pace(rule: &str) -> bool {
    rule == "CADENCE" || rule == "SEG_GROWS"
}

fn checked(report: &Report, name: &str) -> u64 {
    report.checked.iter().filter(|(rule, _)| rule.name == name).map(|(_, count)| count).sum()
}
