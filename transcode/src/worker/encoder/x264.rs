//! H.264 by x264.

use super::{Codec, Settings, Takes, Unit, annexb, threads};
use crate::hardware::Engine;
use bytes::{BufMut, Bytes, BytesMut};
use config::VideoCodec;
use ffmpeg_next::Dictionary;
use ffmpeg_next::frame::Video;
use media::{AvcConfig, CodecError, TrackConfig};

pub(super) const CODEC: Codec = Codec {
    engine: Engine::Software,
    codec: VideoCodec::H264,
    counts: false,
    takes: Takes::Planar,
    options,
    track,
    coded,
};

fn options(settings: &Settings, preset: &str) -> Dictionary<'static> {
    let mut options = Dictionary::new();
    let Settings { encoding, peak, segment_pictures, .. } = settings;
    let segment = segment_pictures.to_string();
    // Zerolatency: no look-ahead, no B-frames, threads on slices of one picture instead of on several pictures.
    options.set("preset", preset);
    if preset != encoding.preset && settings.pinned {
        pin(&encoding.preset, preset, &mut options);
    }
    options.set("tune", "zerolatency");
    options.set("bf", "0");
    // IDR where it is asked for, and no other key frame: no scene cuts, no open GOPs.
    options.set("forced-idr", "1");
    options.set("g", &segment);
    options.set("keyint_min", &segment);
    options.set("sc_threshold", "0");
    options.set("flags", "+cgop+global_header");
    options.set("b", &encoding.bitrate.to_string());
    // A constant rate factor under a cap would do the same for what is easy. Where the cap bites it costs more than a decibel
    // beside a bit rate that is kept to, as each picture has to fit for itself.
    if let Some(finest) = encoding.quality {
        options.set("qmin", &finest.to_string());
    }
    ["maxrate", "bufsize"].iter().for_each(|name| options.set(name, &peak.to_string()));
    options.set("threads", &threads(encoding.height).to_string());
    options
}

/// Whatever of a preset is in the parameter sets, which viewers have and which stay: how many pictures are referred to
/// (max_num_ref_frames), CABAC (entropy_coding_mode_flag), transforms of 8x8 and the profile with them, weighted prediction,
/// and how much better chroma is coded (chroma_qp_index_offset), which presets that judge luma by its looks add to.
fn pin(own: &str, used: &str, options: &mut Dictionary) {
    let refs = match own {
        "ultrafast" | "superfast" | "veryfast" => "1",
        "faster" | "fast" => "2",
        "medium" => "3",
        "slow" => "5",
        "slower" => "8",
        _ => "16",
    };
    let is_plain = own == "ultrafast";
    options.set("refs", refs);
    options.set("coder", if is_plain { "cavlc" } else { "cabac" });
    options.set("8x8dct", if is_plain { "0" } else { "1" });
    options.set("weightp", if is_plain { "0" } else { "1" });
    let judges = |preset| !matches!(preset, "ultrafast" | "superfast" | "veryfast" | "faster");
    if judges(own) && !judges(used) {
        options.set("chromaoffset", "-2");
    }
}

pub(super) fn track(settings: &Settings, header: &[u8], _: &Video) -> Result<TrackConfig, CodecError> {
    let record = record(header).ok_or(CodecError::Invalid("H.264 header: it has no parameter sets"))?;
    let config = AvcConfig { record, width: settings.encoding.width, height: settings.encoding.height };
    Ok(TrackConfig::Avc { config, timescale: settings.grid.timescale() })
}

/// Parameter sets and delimiters files keep elsewhere or not at all.
pub(super) fn coded(packet: &[u8]) -> Option<Unit> {
    let data = annexb::with_lengths(packet, |nal| !matches!(kind(nal), TYPE_SPS | TYPE_PPS | TYPE_AUD));
    Some(Unit { key: annexb::nals(packet).any(|nal| kind(nal) == TYPE_IDR), data })
}

/// An AVCDecoderConfigurationRecord (5.3.3.1) from parameter sets; `None` if one is missing or no such thing.
fn record(headers: &[u8]) -> Option<Bytes> {
    let sps = annexb::nals(headers).find(|nal| kind(nal) == TYPE_SPS)?;
    let pps = annexb::nals(headers).find(|nal| kind(nal) == TYPE_PPS)?;
    let [_, profile, compatibility, level, ..] = *sps else { return None };
    let mut record = BytesMut::new();
    record.put_slice(&[1, profile, compatibility, level, 0xFF, 0xE1]);
    record.put_u16(u16::try_from(sps.len()).ok()?);
    record.put_slice(sps);
    record.put_u8(1);
    record.put_u16(u16::try_from(pps.len()).ok()?);
    record.put_slice(pps);
    if !matches!(profile, 66 | 77 | 88) {
        // 4:2:0 with 8 bits, which is all that is encoded here, and no SPS extensions.
        record.put_slice(&[0xFD, 0xF8, 0xF8, 0]);
    }
    Some(record.freeze())
}

fn kind(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |header| header & 0x1F)
}

const TYPE_IDR: u8 = 5;
const TYPE_SPS: u8 = 7;
const TYPE_PPS: u8 = 8;
const TYPE_AUD: u8 = 9;

#[cfg(test)]
mod tests {
    use super::super::annexb::tests::annexb;
    use super::*;

    const SPS: [u8; 6] = [0x67, 100, 0, 31, 0xAC, 0xD9];
    const PPS: [u8; 3] = [0x68, 0xEB, 0xE3];

    #[test]
    fn pictures_come_without_parameter_sets_and_delimiters() {
        let unit = coded(&annexb(&[&[9, 0xF0], &SPS, &PPS, &[6, 5, 1], &[0x65, 7]])).unwrap();
        assert_eq!(unit.data, &[0, 0, 0, 3, 6, 5, 1, 0, 0, 0, 2, 0x65, 7][..]);
        assert!(unit.key);
        assert!(!coded(&annexb(&[&[0x41, 7]])).unwrap().key);
    }

    #[test]
    fn the_record_holds_both_parameter_sets() {
        let record = record(&annexb(&[&SPS, &PPS, &[6, 5, 1]])).unwrap();
        let expected = [&[1, 100, 0, 31, 0xFF, 0xE1, 0, 6][..], &SPS, &[1, 0, 3], &PPS, &[0xFD, 0xF8, 0xF8, 0]];
        assert_eq!(record, expected.concat());
        let baseline = [0x67, 66, 0xC0, 30, 1];
        let record = super::record(&annexb(&[&baseline, &PPS])).unwrap();
        assert!(record.ends_with(&PPS), "profiles below High have no chroma fields");
        assert_eq!(super::record(&annexb(&[&SPS])), None);
        assert_eq!(super::record(&[]), None);
    }
}
