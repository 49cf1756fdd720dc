//! Replays the seeds of the fuzz target for CMCD.

use cmcd::Cmcd;

#[test]
fn what_was_understood_survives_being_said_again() {
    let folder = format!("{}/../fuzz/corpus/cmcd", env!("CARGO_MANIFEST_DIR"));
    let mut understood = 0;
    for entry in std::fs::read_dir(folder).expect("seeds").flatten() {
        let text = std::fs::read_to_string(entry.path()).expect("UTF-8");
        let said = Cmcd { malformed: 0, ..Cmcd::from_query(&text).expect("a CMCD argument") };
        Cmcd::from_events(&text).for_each(drop);
        assert_eq!(Cmcd::from_query(&format!("CMCD={}", said.to_query_value())), Some(said.clone()));
        understood += usize::from(said != Cmcd::default());
    }
    assert_eq!(understood, 3);
}
