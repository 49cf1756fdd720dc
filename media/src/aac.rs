//! AAC as ISO/IEC 14496-3 sets it up: the AudioSpecificConfig.

use crate::bits::BitReader;
use crate::{AacConfig, CodecError};
use bytes::Bytes;

impl AacConfig {
    /// Samples of one access unit (ISO/IEC 14496-3, 4.5.1.1).
    pub const UNIT_SAMPLES: u32 = 1024;

    /// Reads an AudioSpecificConfig of at most 512 bytes. AAC-LC is supported, alone or as the core of HE-AAC v1 and v2
    /// with explicit signalling; other object types and 960-sample frames are not.
    pub fn parse(record: Bytes) -> Result<Self, CodecError> {
        if record.len() > RECORD_BYTES_MAX {
            return Err(CodecError::Invalid("AAC configuration: it is longer than 512 bytes"));
        }
        let fields = read(&mut BitReader::new(&record)).ok_or(CodecError::Truncated("AAC"))?;
        if fields.core_type != AAC_LC {
            return Err(CodecError::Unsupported("AAC object type; set the encoder to AAC-LC"));
        }
        if fields.short_frames {
            return Err(CodecError::Unsupported("AAC frame length of 960 samples; set the encoder to 1024"));
        }
        let sample_rate = fields
            .sample_rate
            .filter(|rate| (8000..=96_000).contains(rate))
            .ok_or(CodecError::Invalid("AAC sample rate: it is not one from 8 to 96 kHz"))?;
        let channels = fields.channels.ok_or(CodecError::Invalid("AAC channel configuration"))?;
        Ok(Self { record, sample_rate, channels })
    }

    /// The codec as RFC 6381 names it: `mp4a.40.2` is AAC-LC, `mp4a.40.5` HE-AAC.
    pub fn codec(&self) -> String {
        let object_type = BitReader::new(&self.record).bits(5).unwrap_or(AAC_LC);
        format!("mp4a.40.{object_type}")
    }
}

/// What the syntax says, before it is judged.
struct Fields {
    core_type: u32,
    /// `None` for a reserved index.
    sample_rate: Option<u32>,
    /// `None` for a reserved configuration.
    channels: Option<u16>,
    short_frames: bool,
}

/// Clause 1.6.2.1. Past the core's object type only GASpecificConfig is read: of another type nothing more is needed.
fn read(bits: &mut BitReader<'_>) -> Option<Fields> {
    let mut core_type = object_type(bits)?;
    let sample_rate = sample_rate(bits)?;
    let configuration = bits.bits(4)?;
    if core_type == SBR || core_type == PS {
        self::sample_rate(bits)?;
        core_type = object_type(bits)?;
    }
    if core_type != AAC_LC {
        return Some(Fields { core_type, sample_rate, channels: None, short_frames: false });
    }
    let short_frames = bits.flag()?;
    if bits.flag()? {
        bits.bits(14)?; // coreCoderDelay
    }
    bits.bit()?;
    let channels = match configuration {
        0 => Some(program_channels(bits)?),
        1..=6 => u16::try_from(configuration).ok(),
        7 | 12 | 14 => Some(8),
        11 => Some(7),
        _ => None,
    };
    Some(Fields { core_type, sample_rate, channels: channels.filter(|count| *count > 0), short_frames })
}

fn object_type(bits: &mut BitReader<'_>) -> Option<u32> {
    match bits.bits(5)? {
        31 => Some(32 + bits.bits(6)?),
        object_type => Some(object_type),
    }
}

/// The outer `None` is the end of the data, the inner one a reserved index.
fn sample_rate(bits: &mut BitReader<'_>) -> Option<Option<u32>> {
    match bits.bits(4)? {
        15 => Some(Some(bits.bits(24)?)),
        index => Some(SAMPLE_RATES.get(index as usize).copied()),
    }
}

/// Channels of a program_config_element (clause 4.4.1.1): an element is one channel, or two if it is a pair.
fn program_channels(bits: &mut BitReader<'_>) -> Option<u16> {
    bits.bits(4 + 2 + 4)?;
    let [front, side, back, lfe] = [bits.bits(4)?, bits.bits(4)?, bits.bits(4)?, bits.bits(2)?];
    bits.bits(3 + 4)?;
    for (present, width) in [(bits.flag()?, 4), (bits.flag()?, 4), (bits.flag()?, 3)] {
        if present {
            bits.bits(width)?;
        }
    }
    let mut channels = lfe;
    for _ in 0..front + side + back {
        channels += 1 + bits.bit()?;
        bits.bits(4)?;
    }
    u16::try_from(channels).ok()
}

const AAC_LC: u32 = 2;
const SBR: u32 = 5;
const PS: u32 = 29;
/// Table 1.18; the indices after it are reserved, 15 is an explicit rate.
const SAMPLE_RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8000, 7350];
/// Real ones have 2 to 5 bytes; a program configuration with a full comment about 300.
const RECORD_BYTES_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    fn parse(hex: &str) -> Result<AacConfig, CodecError> {
        AacConfig::parse(samples::bytes(hex))
    }

    #[test]
    fn rates_channels_and_codecs() {
        // AAC-LC 48 kHz stereo; 44.1 kHz mono; 5.1; HE-AAC 24/48 kHz; HE-AAC v2 24/48 kHz; 48 kHz as an explicit rate.
        for (record, sample_rate, channels, codec) in [
            ("1190", 48_000, 2, "mp4a.40.2"),
            ("1208", 44_100, 1, "mp4a.40.2"),
            ("11b0", 48_000, 6, "mp4a.40.2"),
            ("2b118800", 24_000, 2, "mp4a.40.5"),
            ("eb098800", 24_000, 1, "mp4a.40.29"),
            ("1780 5dc0 10", 48_000, 2, "mp4a.40.2"),
            ("1190 56e5 00", 48_000, 2, "mp4a.40.2"),
        ] {
            let config = parse(record).unwrap();
            let found = (config.sample_rate, config.channels, config.codec());
            assert_eq!(found, (sample_rate, channels, codec.to_owned()), "{record}");
        }
    }

    #[test]
    fn channels_of_a_program_configuration() {
        // AAC-LC, 48 kHz, configuration 0; then a front single and a front pair, a back pair, an LFE: 5.1.
        let syntax = concat!(
            "00010 0011 0000 000",
            "0000 01 0011 0010 0000 0001 01 000 0000 000",
            "0 0000  1 0000  1 0000  0000",
        );
        let digits: Vec<u8> = syntax.bytes().filter(|byte| *byte != b' ').map(|byte| byte - b'0').collect();
        let record: Vec<u8> =
            digits.chunks(8).map(|byte| (0..8).fold(0, |acc, i| acc << 1 | byte.get(i).unwrap_or(&0))).collect();
        assert_eq!(AacConfig::parse(record.into()).unwrap().channels, 6);
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let refused = |hex| parse(hex).unwrap_err().to_string();
        assert!(refused("0990").contains("object type")); // Main
        assert!(refused("1194").contains("960"));
        assert!(refused("1690").contains("sample rate")); // index 13
        assert!(refused("17800000 90").contains("sample rate")); // explicit 1 Hz
        assert!(refused("11c8").contains("channel configuration")); // 9
        assert!(refused("").contains("ends too early"));
        assert!(refused("11").contains("ends too early"));
    }
}
