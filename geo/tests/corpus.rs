//! Replays the seeds of the fuzz target for databases.

use geo::{Country, Database};
use std::net::IpAddr;

#[test]
fn databases_of_both_layouts_place_a_viewer_and_a_hollow_one_is_found_out() {
    let viewer = IpAddr::from([8, 8, 8, 8]);
    for (seed, sound) in [("nested", true), ("flat", true), ("hollow", false)] {
        let path = format!("{}/../fuzz/corpus/geo_database/{seed}", env!("CARGO_MANIFEST_DIR"));
        let database = Database::open(std::fs::read(path).expect("a seed")).expect("a database");
        assert_eq!(database.check().is_ok(), sound, "{seed}");
        assert_eq!(database.country(viewer).found(), Country::new("FR").filter(|_| sound), "{seed}");
        assert_eq!(database.place(viewer).found().is_some(), sound, "{seed}");
    }
}
