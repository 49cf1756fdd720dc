//! An AVCDecoderConfigurationRecord: whatever is accepted has a picture and a name.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use media::AvcConfig;

fuzz_target!(|data: &[u8]| {
    if let Ok(config) = AvcConfig::parse(Bytes::copy_from_slice(data)) {
        assert!((1..=16384).contains(&config.width) && (1..=16384).contains(&config.height));
        assert_eq!(config.codec().len(), "avc1.PPCCLL".len());
    }
});
