//! Case `hold` end to end, with its own tools only: origin, viewers, clocks and table agree.

use serde_json::Value;
use std::process::Command;

#[test]
fn fifty_viewers_are_released_by_the_origin_itself() {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("found.json");
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["hold", "--servers", "floor", "--viewers", "50", "--runs", "1", "--seconds-max", "60", "--json"])
        .arg(&json)
        .output()
        .unwrap();
    let (table, progress) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{progress}");
    assert!(table.contains("### hold: 50 viewers") && table.contains("| 50/50"), "{table}");

    let found: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let run = &found["hold"][0]["rows"][0]["runs"][0];
    assert_eq!((run["right"].as_u64(), &run["failures"]), (Some(50), &Value::Object(serde_json::Map::new())));
    let time = |name: &str| run[name].as_u64().unwrap();
    assert!(time("p50_us") <= time("p99_us") && time("p99_us") <= time("last_us"), "{run}");
    assert!(time("last_us") < 15_000_000 && time("resident_bytes") < 50 << 20, "{run}");
    assert!(progress.contains("hold, 50 viewers, round 1 of 1: floor"), "{progress}");
}

#[test]
fn figures_of_a_debug_build_do_not_get_into_a_page() {
    if !cfg!(debug_assertions) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("page.md");
    std::fs::write(&page, "<!-- bench:results -->\n<!-- /bench:results -->\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["hold", "--servers", "floor", "--viewers", "1", "--runs", "1", "--write"])
        .arg(&page)
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("debug build"), "{output:?}");
    assert_eq!(std::fs::read_to_string(&page).unwrap(), "<!-- bench:results -->\n<!-- /bench:results -->\n");
}
