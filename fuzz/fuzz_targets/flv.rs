//! The tags of one publisher: each is a byte for its kind (8 is audio), two bytes of length, and its payload.
#![no_main]

use bytes::{Buf, Bytes};
use libfuzzer_sys::fuzz_target;
use media::flv::{AudioTag, VideoTag, VideoTags};

fuzz_target!(|data: &[u8]| {
    let mut rest = Bytes::copy_from_slice(data);
    let mut tags = VideoTags::default();
    while rest.len() >= 3 {
        let kind = rest.get_u8();
        let length = usize::from(rest.get_u16()).min(rest.len());
        let payload = rest.split_to(length);
        if kind == 8 {
            let _ = AudioTag::parse(payload);
        } else if let Ok(VideoTag::Frame { data, .. }) = tags.read(payload) {
            assert!(!data.is_empty());
        }
    }
});
