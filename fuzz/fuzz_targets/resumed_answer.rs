//! What an upstream answers when asked for the rest of an object: status, fields, an empty line, and a body.
#![no_main]

use bytes::Bytes;
use edge::upstream::resume::Torn;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use libfuzzer_sys::fuzz_target;

/// What is there already of the object: bytes that count up.
const KNOWN: usize = 3000;

fuzz_target!(|data: &[u8]| {
    let known: Vec<u8> = (0..KNOWN).map(|at| at as u8).collect();
    let torn = Torn::new(known.chunks(700).map(Bytes::copy_from_slice).collect(), None, Some(Bytes::from("\"v1\"")));
    let end = data.windows(2).position(|window| window == b"\n\n").unwrap_or(data.len());
    let (head, body) = (String::from_utf8_lossy(&data[..end]), data.get(end + 2..).unwrap_or_default());
    let mut lines = head.lines();
    let Some(status) = lines.next().and_then(|line| StatusCode::from_bytes(line.as_bytes()).ok()) else { return };
    let field = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        Some((name.parse::<HeaderName>().ok()?, HeaderValue::from_str(value).ok()?))
    };
    let headers: HeaderMap = lines.filter_map(field).collect();
    let Ok(mut joint) = torn.joint(status, &headers) else { return };
    let mut new = 0;
    for piece in body.chunks(97) {
        let Ok(bytes) = joint.take(Bytes::copy_from_slice(piece)) else { return };
        new += bytes.len();
    }
    if joint.is_whole((KNOWN + new) as u64) {
        let compared = body.len() - new;
        assert_eq!(body[..compared], known[KNOWN - compared..], "other bytes were joined");
        assert!(compared >= 1024 && joint.length.is_none_or(|length| length == (KNOWN + new) as u64));
    }
});
