//! What an upstream says of how long its answer may be kept: header lines, judged for each class of object.
#![no_main]

use edge::key::Class;
use edge::store::freshness::{age, judge};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use libfuzzer_sys::fuzz_target;
use std::time::Duration;

const YEAR: Duration = Duration::from_secs(31_536_000);

fuzz_target!(|data: &[u8]| {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) =
            (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(line[colon + 1..].trim_ascii()));
        if let (Ok(name), Ok(value)) = (name, value) {
            // As many as a map of header fields takes.
            let _ = headers.try_append(name, value);
        }
    }
    let config = config::Config::parse("[edge]\n", []).expect("the defaults are valid");
    let rules = config.edge.expect("there is an edge").cache;
    assert!(age(&headers) <= YEAR);
    for class in Class::ALL {
        for status in [200, 206, 302, 404, 451, 503] {
            let status = StatusCode::from_u16(status).expect("a status");
            let Ok(lease) = judge(&rules, status, &headers, class) else { continue };
            assert!(lease.fresh <= YEAR && !lease.whole().is_zero());
            assert!(lease.while_revalidating <= rules.stale_while_revalidate_max);
            assert!(lease.if_error <= rules.stale_if_error_max);
        }
    }
});
