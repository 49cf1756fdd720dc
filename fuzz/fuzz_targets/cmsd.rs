//! What upstream says of its path, on its way to a viewer: whatever is passed on stays one list with this node's entry.
#![no_main]

use edge::qoe::cmsd::{DYNAMIC, Entry, Identity, Path, before};
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut headers = HeaderMap::new();
    for value in data.split(|byte| *byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok()) {
        headers.append(DYNAMIC, value);
    }
    let Some(list) = before(&headers) else { return };
    let identity = Identity::new("edge", 0);
    let entry = Entry { identity: &identity, path: Path { rtt_us: 1000, throughput_kbps: 1, measured: true }, duress: true };
    let mut line = Vec::new();
    entry.put(&mut line, Some(&list));
    let value = HeaderValue::from_bytes(&line["CMSD-Dynamic: ".len()..line.len() - 2]).expect("a field value");
    let again = HeaderMap::from_iter([(http::HeaderName::from_static(DYNAMIC), value)]);
    assert!(list.len() > 480 || before(&again).is_some());
});
