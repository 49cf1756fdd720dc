//! What a viewer sends as a Common Access Token: its envelope, and its claims as if the signature were right.
#![no_main]

use edge::access::cat::Message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(message) = Message::read(data)
        && let Ok(grant) = message.grant("here")
    {
        assert!(grant.url.len() <= data.len());
    }
});
