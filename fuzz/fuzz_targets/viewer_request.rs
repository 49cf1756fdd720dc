//! What a viewer sends: request headers one after the other, and what a node reads out of them.
#![no_main]

use bytes::BytesMut;
use cmcd::Cmcd;
use edge::key::Target;
use edge::range::{Range, Slice};
use edge::request::Request;
use edge::upstream::rendezvous::{recording, stream};
use libfuzzer_sys::fuzz_target;
use manifest::Directives;

fuzz_target!(|data: &[u8]| {
    let mut bytes = BytesMut::from(data);
    while let Ok(Some(request)) = Request::take(&mut bytes) {
        let Ok(target) = Target::read(request.target()) else { continue };
        assert!(target.live_key().starts_with('/') && target.whole_key().starts_with('/'));
        // What lies in a recording is one stream's, and is asked for where that was found.
        let known = recording(request.target());
        assert!(known.is_none_or(|known| known == stream(request.target()) && request.target().starts_with(known)));
        let _ = Directives::from_query(target.query);
        let _ = Cmcd::from_query(target.query);
        let range = request.range.as_deref().and_then(|range| Range::read(std::str::from_utf8(range).ok()?));
        if let Some(Ok(Slice::Part { first, last })) = range.map(|range| range.of(1000)) {
            assert!(first <= last && last < 1000);
        }
    }
});
