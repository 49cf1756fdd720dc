//! Samples of any pictures are encrypted without harm, by any parameter sets: no byte is lost, and none is added.
//!
//! The input is the length of a configuration record in two bytes, the record, and a sample.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use media::AvcConfig;
use media::fmp4::{ContentKey, Protector, Sample, protected_fragment};

fuzz_target!(|data: &[u8]| {
    let Some((length, rest)) = data.split_first_chunk::<2>() else { return };
    let Some((record, sample)) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))) else { return };
    let Ok(config) = AvcConfig::parse(Bytes::copy_from_slice(record)) else { return };
    let protector = Protector::pictures(&config);
    let key = ContentKey { id: [1; 16], key: [2; 16], iv: [3; 16] };
    let data = Bytes::copy_from_slice(sample);
    let sample = Sample { duration: 1, composition_offset: 0, keyframe: true, data: data.clone() };
    let bytes = protected_fragment(1, 0, None, (&protector, &key, data.len() % 2 == 0), &[sample]).expect("it is small");
    let (_, media) = bytes.split_at(bytes.len() - data.len());
    let differ = media.iter().zip(&data).filter(|(encrypted, clear)| encrypted != clear).count();
    assert!(differ <= data.len() / 160 * 16 + 16 * 43);
});
