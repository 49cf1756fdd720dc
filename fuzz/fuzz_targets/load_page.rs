//! What another edge says of its load: what was read survives being said again.
#![no_main]

use edge::steer::load::Load;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(load) = Load::read(data) else { return };
    let Ok(said) = serde_json::to_vec(&load) else { return };
    // A name of signs that JSON escapes grows, and a page has a bound.
    assert!(Load::read(&said).is_none_or(|again| again == load));
});
