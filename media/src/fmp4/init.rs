//! The init section of a track: ftyp and a moov without samples.

use super::{Fmp4Error, TRACK_ID};
use crate::{AacConfig, AvcConfig, OpusConfig, TrackConfig, VideoConfig};
use bytes::Bytes;
use mp4_atom::{
    Atom, Audio, Av01, Av1c, Avc1, Avcc, Codec, Dinf, Dops, Dref, Encode, Esds, FourCC, Ftyp, Hdlr, Hvc1, Hvcc, Matrix,
    Mdhd, Mdia, Minf, Moov, Mp4a, Mvex, Mvhd, Opus, Pasp, Smhd, Stbl, Stco, Stsd, Tkhd, Trak, Trex, Url, Visual, Vmhd,
    Vp09, VpcC,
    esds::{DecoderConfig, DecoderSpecific, EsDescriptor, SLConfig},
};

/// ftyp and moov of a CMAF track (ISO/IEC 23000-19, 7.3.1).
pub fn init(track: &TrackConfig) -> Result<Bytes, Fmp4Error> {
    let timescale = track.timescale().0;
    let trak = match sample_entry(track)? {
        (entry, Some((width, height))) => video(entry, (width, height), timescale),
        (entry, None) => audio(entry, timescale),
    };
    // AV1's binding, 2.1.
    let brands: &[&[u8; 4]] =
        if let TrackConfig::Av1 { .. } = track { &[b"iso6", b"cmfc", b"av01"] } else { &[b"iso6", b"cmfc"] };
    section(brands, timescale, trak)
}

/// ftyp with these brands, and moov.
pub(super) fn section(brands: &[&[u8; 4]], timescale: u32, trak: Trak) -> Result<Bytes, Fmp4Error> {
    let ftyp = Ftyp {
        major_brand: FourCC::new(b"cmfc"),
        minor_version: 0,
        compatible_brands: brands.iter().map(|brand| FourCC::new(brand)).collect(),
    };
    let mut out = Vec::with_capacity(1024);
    ftyp.encode(&mut out).map_err(Fmp4Error::Boxes)?;
    moov(timescale, trak).encode(&mut out).map_err(Fmp4Error::Boxes)?;
    Ok(out.into())
}

fn moov(timescale: u32, trak: Trak) -> Moov {
    Moov {
        mvhd: Mvhd {
            timescale,
            rate: 1.into(),
            volume: 1.into(),
            matrix: Matrix::default(),
            next_track_id: TRACK_ID + 1,
            ..Mvhd::default()
        },
        mvex: Some(Mvex {
            trex: vec![Trex { track_id: TRACK_ID, default_sample_description_index: 1, ..Trex::default() }],
            ..Mvex::default()
        }),
        trak: vec![trak],
        ..Moov::default()
    }
}

/// How samples are coded; with the size of pictures.
fn sample_entry(track: &TrackConfig) -> Result<(Codec, Option<(u16, u16)>), Fmp4Error> {
    let visual = |width: u32, height: u32| {
        let too_large = |_| Fmp4Error::Config(mp4_atom::Error::OutOfBounds);
        let width = u16::try_from(width).map_err(too_large)?;
        let height = u16::try_from(height).map_err(too_large)?;
        Ok(Visual { data_reference_index: 1, width, height, ..Visual::default() })
    };
    let picture = |visual: &Visual| Some((visual.width, visual.height));
    Ok(match track {
        TrackConfig::Avc { config: AvcConfig { record, width, height }, .. } => {
            let mut avcc = config_box::<Avcc>(record)?;
            // Frames hold 4-byte lengths, whatever the publisher used.
            avcc.length_size = 4;
            let visual = visual(*width, *height)?;
            let size = picture(&visual);
            (Avc1 { visual, avcc, ..Avc1::default() }.into(), size)
        }
        TrackConfig::Hevc { config: VideoConfig { record, width, height, .. }, .. } => {
            let visual = visual(*width, *height)?;
            let size = picture(&visual);
            (Hvc1 { visual, hvcc: config_box::<Hvcc>(record)?, ..Hvc1::default() }.into(), size)
        }
        TrackConfig::Av1 { config: VideoConfig { record, width, height, pixel_aspect }, .. } => {
            let visual = visual(*width, *height)?;
            let size = picture(&visual);
            (
                Av01 { visual, av1c: config_box::<Av1c>(record)?, pasp: pasp(*pixel_aspect), ..Av01::default() }.into(),
                size,
            )
        }
        TrackConfig::Vp9 { config: VideoConfig { record, width, height, pixel_aspect }, .. } => {
            let visual = visual(*width, *height)?;
            let size = picture(&visual);
            // Its box has a version, 1, and flags before the record.
            let body = [&[1, 0, 0, 0], &record[..]].concat();
            (
                Vp09 { visual, vpcc: config_box::<VpcC>(&body)?, pasp: pasp(*pixel_aspect), ..Vp09::default() }.into(),
                size,
            )
        }
        TrackConfig::Aac { config } => (aac(config).into(), None),
        TrackConfig::Opus { config: OpusConfig { record, channels } } => {
            let audio = sound(*channels, OpusConfig::SAMPLE_RATE);
            (Opus { audio, dops: config_box::<Dops>(record)?, btrt: None }.into(), None)
        }
    })
}

/// ISO/IEC 14496-12, 12.1.4.
fn pasp(aspect: Option<(u32, u32)>) -> Option<Pasp> {
    aspect.map(|(h_spacing, v_spacing)| Pasp { h_spacing, v_spacing })
}

fn config_box<B: Atom>(mut record: &[u8]) -> Result<B, Fmp4Error> {
    B::decode_body(&mut record).map_err(Fmp4Error::Config)
}

fn video(entry: Codec, (width, height): (u16, u16), timescale: u32) -> Trak {
    let tkhd = Tkhd { width: width.into(), height: height.into(), ..tkhd() };
    let handler = Hdlr { handler: FourCC::new(b"vide"), name: "video".to_owned() };
    trak(tkhd, timescale, handler, Minf { vmhd: Some(Vmhd::default()), ..minf(entry) })
}

fn audio(entry: Codec, timescale: u32) -> Trak {
    let tkhd = Tkhd { volume: 1.into(), alternate_group: 1, ..tkhd() };
    let handler = Hdlr { handler: FourCC::new(b"soun"), name: "audio".to_owned() };
    trak(tkhd, timescale, handler, Minf { smhd: Some(Smhd::default()), ..minf(entry) })
}

fn aac(config: &AacConfig) -> Mp4a {
    let dec_specific = DecoderSpecific { raw: config.record.to_vec(), ..DecoderSpecific::default() };
    let dec_config = DecoderConfig {
        // ISO/IEC 14496-1, tables 5 and 6: audio ISO/IEC 14496-3, an audio stream.
        object_type_indication: 0x40,
        stream_type: 5,
        dec_specific: Some(dec_specific),
        ..DecoderConfig::default()
    };
    let es_desc = EsDescriptor { dec_config, sl_config: SLConfig {}, ..EsDescriptor::default() };
    let audio = sound(config.channels, config.sample_rate);
    Mp4a { audio, esds: Esds { es_desc }, btrt: None, taic: None }
}

fn sound(channel_count: u16, sample_rate: u32) -> Audio {
    Audio {
        data_reference_index: 1,
        channel_count,
        sample_size: 16,
        // The field holds no rate above 65535 Hz; 0 sends a reader to the configuration.
        sample_rate: u16::try_from(sample_rate).unwrap_or(0).into(),
    }
}

pub(super) fn trak(tkhd: Tkhd, timescale: u32, hdlr: Hdlr, minf: Minf) -> Trak {
    let mdhd = Mdhd { timescale, language: "und".to_owned(), ..Mdhd::default() };
    Trak { tkhd, mdia: Mdia { mdhd, hdlr, minf }, ..Trak::default() }
}

pub(super) fn tkhd() -> Tkhd {
    Tkhd { track_id: TRACK_ID, enabled: true, in_movie: true, ..Tkhd::default() }
}

pub(super) fn minf(entry: Codec) -> Minf {
    Minf {
        dinf: Dinf { dref: Dref { entries: vec![Url::default().into()] } },
        stbl: Stbl { stsd: Stsd { codecs: vec![entry] }, stco: Some(Stco::default()), ..Stbl::default() },
        ..Minf::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timescale;
    use mp4_atom::Decode;

    /// x264, 320x180, high profile.
    const AVCC: &[u8] = &[
        1, 100, 0, 13, 0xff, 0xe1, 0, 25, 0x67, 0x64, 0, 0x0d, 0xac, 0xd9, 0x41, 0x41, 0x9f, 0x9e, 0x10, 0, 0, 3, 0,
        0x10, 0, 0, 3, 3, 0xc0, 0xf1, 0x42, 0x99, 0x60, 1, 0, 6, 0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0, 0xfd, 0xf8, 0xf8,
        0,
    ];

    fn video_track(record: &'static [u8]) -> TrackConfig {
        let config = AvcConfig { record: Bytes::from_static(record), width: 320, height: 180 };
        TrackConfig::Avc { config, timescale: Timescale(30_000) }
    }

    fn read(bytes: &[u8]) -> Moov {
        let mut rest = bytes;
        let ftyp = Ftyp::decode(&mut rest).unwrap();
        assert_eq!(ftyp.major_brand, FourCC::new(b"cmfc"));
        let moov = Moov::decode(&mut rest).unwrap();
        assert!(rest.is_empty());
        moov
    }

    #[test]
    fn a_video_init_carries_the_record_as_it_came() {
        let bytes = init(&video_track(AVCC)).unwrap();
        assert!(bytes.windows(AVCC.len()).any(|window| window == AVCC), "avcC was changed");
        let moov = read(&bytes);
        assert_eq!(moov.trak[0].mdia.mdhd.timescale, 30_000);
        assert_eq!(moov.mvex.unwrap().trex[0].default_sample_description_index, 1);
        assert!(moov.trak[0].edts.is_none());
    }

    #[test]
    fn lengths_are_announced_as_frames_hold_them() {
        let mut record = AVCC.to_vec();
        record[4] = 0xfd;
        let config = AvcConfig { record: record.into(), width: 320, height: 180 };
        let bytes = init(&TrackConfig::Avc { config, timescale: Timescale(30_000) }).unwrap();
        assert!(bytes.windows(AVCC.len()).any(|window| window == AVCC));
    }

    #[test]
    fn an_audio_init_carries_the_config_as_it_came() {
        let config = AacConfig { record: Bytes::from_static(&[0x11, 0x90]), sample_rate: 48_000, channels: 2 };
        let moov = read(&init(&TrackConfig::Aac { config }).unwrap());
        let Codec::Mp4a(entry) = &moov.trak[0].mdia.minf.stbl.stsd.codecs[0] else { panic!("not mp4a") };
        assert_eq!(entry.audio.channel_count, 2);
        assert_eq!(entry.esds.es_desc.dec_config.dec_specific.as_ref().unwrap().raw, [0x11, 0x90]);
    }

    fn coded(codec: fn(VideoConfig, Timescale) -> TrackConfig, record: &'static [u8]) -> TrackConfig {
        let record = Bytes::from_static(record);
        codec(VideoConfig { record, width: 320, height: 180, pixel_aspect: None }, Timescale(30_000))
    }

    /// One of each, as its encoder sets it up.
    fn others() -> [(TrackConfig, &'static [u8; 4]); 4] {
        // hvcC with parameter sets of no more than their types; av1C with a sequence header; vpcC; dOps of six channels.
        const HVCC: &[u8] = &[
            1, 1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 0x5d, 0xF0, 0, 0xFC, 0xFD, 0xF8, 0xF8, 0, 0, 0x0F, 1, 0xA0, 0, 1,
            0, 2, 0x40, 1,
        ];
        const AV1C: &[u8] = &[0x81, 4, 0x0C, 0, 0x0A, 2, 0, 0];
        const VPCC: &[u8] = &[0, 21, 0x82, 2, 2, 2, 0, 0];
        const DOPS: &[u8] = &[0, 6, 0, 0, 0, 0, 0xbb, 0x80, 0, 0, 1, 4, 2, 0, 4, 1, 2, 3, 5];
        [
            (coded(|config, timescale| TrackConfig::Hevc { config, timescale }, HVCC), b"hvcC"),
            (coded(|config, timescale| TrackConfig::Av1 { config, timescale }, AV1C), b"av1C"),
            (coded(|config, timescale| TrackConfig::Vp9 { config, timescale }, VPCC), b"vpcC"),
            (TrackConfig::Opus { config: OpusConfig { record: Bytes::from_static(DOPS), channels: 6 } }, b"dOps"),
        ]
    }

    #[test]
    fn every_record_is_in_its_box_as_it_came() {
        for (track, name) in others() {
            let bytes = init(&track).unwrap();
            let at = bytes.windows(4).position(|window| window == name).unwrap() + 4;
            let at = if name == b"vpcC" { at + 4 } else { at };
            let record = match &track {
                TrackConfig::Opus { config } => &config.record,
                TrackConfig::Hevc { config, .. }
                | TrackConfig::Av1 { config, .. }
                | TrackConfig::Vp9 { config, .. } => &config.record,
                other => panic!("{other:?}"),
            };
            assert!(bytes[at..].starts_with(record), "{name:?}");
            let moov = read(&bytes);
            assert_eq!(moov.trak[0].mdia.mdhd.timescale, track.timescale().0);
        }
    }

    /// Neither bitstream says it in a way that players look at; that of HEVC does.
    #[test]
    fn av1_and_vp9_say_the_shape_of_their_pixels_where_they_are_no_squares() {
        for (track, name) in others() {
            let anamorphic = match track.clone() {
                TrackConfig::Av1 { config, timescale } => {
                    TrackConfig::Av1 { config: VideoConfig { pixel_aspect: Some((16, 11)), ..config }, timescale }
                }
                TrackConfig::Vp9 { config, timescale } => {
                    TrackConfig::Vp9 { config: VideoConfig { pixel_aspect: Some((16, 11)), ..config }, timescale }
                }
                _ => continue,
            };
            let told = |track: &TrackConfig| {
                let bytes = init(track).unwrap();
                bytes.windows(12).any(|window| window == b"pasp\0\0\0\x10\0\0\0\x0b")
            };
            assert_eq!((told(&anamorphic), told(&track)), (true, false), "{name:?}");
        }
    }

    #[test]
    fn a_broken_record_is_an_error_and_no_panic() {
        for end in 0..12 {
            assert!(matches!(init(&video_track(&AVCC[..end])), Err(Fmp4Error::Config(_))), "{end}");
        }
        let empty = VideoConfig { record: Bytes::new(), width: 2, height: 2, pixel_aspect: None };
        let timescale = Timescale(30_000);
        for track in [
            TrackConfig::Hevc { config: empty.clone(), timescale },
            TrackConfig::Av1 { config: empty.clone(), timescale },
            TrackConfig::Vp9 { config: empty, timescale },
            TrackConfig::Opus { config: OpusConfig { record: Bytes::new(), channels: 2 } },
        ] {
            assert!(matches!(init(&track), Err(Fmp4Error::Config(_))), "{track:?}");
        }
    }
}
