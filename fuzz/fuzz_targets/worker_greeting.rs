//! The first line of whoever calls where workers are listened to: nobody is let in but a worker with the token.
#![no_main]

use config::Token;
use libfuzzer_sys::fuzz_target;
use transcode::wire::greeting::{greeting, judge};

fuzz_target!(|data: &[u8]| {
    let token = Token::from("0123456789abcdef");
    let is_worker = data.trim_ascii_end() == greeting(&token).trim_ascii_end().as_bytes();
    assert_eq!(judge(data, &token).is_ok(), is_worker);
});
