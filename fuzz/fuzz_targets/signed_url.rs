//! What a viewer sends as a signed URL: the lines of its token, and the target that a token stands in.
#![no_main]

use bytes::Bytes;
use edge::access::place::part;
use edge::access::signed_url::Claims;
use edge::key::normalized;
use edge::request::Request;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(claims) = Claims::read(text) {
        assert_eq!(Claims::read(&claims.text()), Ok(claims));
    }
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\nCookie: {}\r\n\r\n", text.replace(['\r', '\n'], ";"));
    if let Ok(request) = Request::read(Bytes::from(head)) {
        let target = normalized(text);
        let parted = part(&target, &request);
        assert!(parted.target.len() <= target.len());
    }
});
