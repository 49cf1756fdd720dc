//! What a player says of itself: what was understood survives being said again.
#![no_main]

use cmcd::Cmcd;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = Cmcd::from_headers(text.lines());
    Cmcd::from_events(text).for_each(drop);
    if let Some(said) = Cmcd::from_query(text).map(|said| Cmcd { malformed: 0, ..said }) {
        assert_eq!(Cmcd::from_query(&format!("CMCD={}", said.to_query_value())), Some(said));
    }
});
