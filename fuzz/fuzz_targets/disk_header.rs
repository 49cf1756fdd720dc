//! A file of the cache on disk: what says that it is whole can be used, and is written again as it was read.
#![no_main]

use edge::store::disk::header::{BLOCK_BYTES, Header};
use libfuzzer_sys::fuzz_target;
use std::time::Instant;

fuzz_target!(|data: &[u8]| {
    // The checksum keeps chance out: a head without its prefix is given one.
    let framed = Header::framed(data).unwrap_or_default();
    for file in [data, &framed[..]] {
        let Ok((header, end)) = Header::read(file) else { continue };
        assert!(end <= file.len());
        let Some(rendered) = header.render() else { continue };
        assert_eq!(Header::read(&rendered), Ok((header.clone(), rendered.len())));
        let rules = config::Config::parse("[edge]\n", []).unwrap().edge.unwrap().cache;
        let (now, now_ms) = (Instant::now(), 1_800_000_000_000);
        let head = header.head(&rules, now, now_ms);
        assert!(head.disk && head.length.is_some());
        let _ = header.life(&rules, now, now_ms);
        if let Some(layout) = &header.layout {
            let last = layout.count().saturating_sub(1);
            assert!(layout.piece(last).is_none_or(|piece| piece.last < layout.length));
            let _ = layout.key(&header.key, last);
        }
        let blocks = header.length.div_ceil(BLOCK_BYTES);
        assert!(header.block(blocks).is_none() && !header.is_block(0, &file[end..end]));
    }
});
