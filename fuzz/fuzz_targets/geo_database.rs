//! A database of places: whatever a file holds, looking up ends, and a place is a point on the globe.
#![no_main]

use geo::{Database, Lookup};
use libfuzzer_sys::fuzz_target;
use std::net::IpAddr;

fuzz_target!(|data: &[u8]| {
    let Ok(database) = Database::open(data.to_vec()) else { return };
    let _ = (database.check(), database.built(), database.name());
    for viewer in [IpAddr::from([8, 8, 8, 8]), IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1])] {
        let _ = (database.country(viewer), database.asn(viewer));
        if let Lookup::Found(place) = database.place(viewer) {
            assert!((0.0..=20_016.0).contains(&place.distance_km(place)));
        }
    }
});
