//! Opus in MP4: the configuration that a `dOps` box holds, from the header that encoders give (RFC 7845, 5.1).

use crate::{CodecError, OpusConfig};
use bytes::{BufMut, BytesMut};

impl OpusConfig {
    pub const SAMPLE_RATE: u32 = 48_000;
    /// Samples of one packet as they are made here: 20 ms (RFC 6716, 2.1.4).
    pub const UNIT_SAMPLES: u32 = 960;

    /// From an identification header. The samples to skip that it tells are said to be none: whoever joins a live stream
    /// has no beginning to skip, and packets have the times of the sound in them.
    ///
    /// # Errors
    /// The header is of another version, breaks off, or has no channels.
    pub fn of_head(head: &[u8]) -> Result<Self, CodecError> {
        let fields = head.strip_prefix(MAGIC).ok_or(CodecError::Invalid("Opus header"))?;
        let [version, channels, _, _, rate @ .., gain_low, gain_high, family] =
            *fields.first_chunk::<FIELDS>().ok_or(CodecError::Truncated("Opus"))?;
        if version > 15 {
            return Err(CodecError::Unsupported("version of the Opus header"));
        }
        // One byte for the streams, one for those that are coupled, one for each channel.
        let table = if family == 0 { 0 } else { 2 + usize::from(channels) };
        let table = fields.get(FIELDS..FIELDS + table).ok_or(CodecError::Truncated("Opus"))?;
        if channels == 0 || (family == 0 && channels > 2) {
            return Err(CodecError::Invalid("number of channels in the Opus header"));
        }
        let mut record = BytesMut::with_capacity(FIELDS + table.len());
        record.put_slice(&[0, channels]);
        record.put_u16(0);
        // The header counts from the lowest byte, the box from the highest.
        record.put_u32(u32::from_le_bytes(rate));
        record.put_slice(&[gain_high, gain_low, family]);
        record.put_slice(table);
        Ok(Self { record: record.freeze(), channels: u16::from(channels) })
    }
}

const MAGIC: &[u8] = b"OpusHead";
/// Of the header behind its name, up to the mapping table.
const FIELDS: usize = 11;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_libopus_become_boxes() {
        // Stereo, 312 samples to skip, 48 kHz; 5.1 in the order of Vorbis.
        let stereo = b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0";
        let config = OpusConfig::of_head(stereo).unwrap();
        assert_eq!((&config.record[..], config.channels), (&[0, 2, 0, 0, 0, 0, 0xbb, 0x80, 0, 0, 0][..], 2));
        let surround = b"OpusHead\x01\x06\x38\x01\x80\xbb\0\0\0\0\x01\x04\x02\0\x04\x01\x02\x03\x05";
        let config = OpusConfig::of_head(surround).unwrap();
        assert_eq!(config.record[10..], [1, 4, 2, 0, 4, 1, 2, 3, 5]);
        assert_eq!(config.channels, 6);
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let surround = b"OpusHead\x01\x06\x38\x01\x80\xbb\0\0\0\0\x01\x04\x02\0\x04\x01\x02\x03\x05";
        for end in 0..surround.len() {
            assert!(OpusConfig::of_head(&surround[..end]).is_err(), "{end}");
        }
        assert!(OpusConfig::of_head(b"OpusHead\x01\x06\x38\x01\x80\xbb\0\0\0\0\0").is_err(), "six without a table");
        assert!(OpusConfig::of_head(b"OpusHead\x10\x02\x38\x01\x80\xbb\0\0\0\0\0").is_err(), "a later version");
    }
}
