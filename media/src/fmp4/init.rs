//! The init section of a track: ftyp and a moov without samples.

use super::{Fmp4Error, TRACK_ID};
use crate::{AacConfig, AvcConfig, TrackConfig};
use bytes::Bytes;
use mp4_atom::{
    Atom, Audio, Avc1, Avcc, Codec, Dinf, Dref, Encode, Esds, FourCC, Ftyp, Hdlr, Matrix, Mdhd, Mdia, Minf, Moov, Mp4a,
    Mvex, Mvhd, Smhd, Stbl, Stco, Stsd, Tkhd, Trak, Trex, Url, Visual, Vmhd,
    esds::{DecoderConfig, DecoderSpecific, EsDescriptor, SLConfig},
};

/// ftyp and moov of a CMAF track (ISO/IEC 23000-19, 7.3.1).
pub fn init(track: &TrackConfig) -> Result<Bytes, Fmp4Error> {
    let ftyp = Ftyp {
        major_brand: FourCC::new(b"cmfc"),
        minor_version: 0,
        compatible_brands: [b"iso6", b"cmfc"].map(FourCC::new).to_vec(),
    };
    let mut out = Vec::with_capacity(1024);
    ftyp.encode(&mut out).map_err(Fmp4Error::Boxes)?;
    moov(track)?.encode(&mut out).map_err(Fmp4Error::Boxes)?;
    Ok(out.into())
}

fn moov(track: &TrackConfig) -> Result<Moov, Fmp4Error> {
    let timescale = track.timescale().0;
    Ok(Moov {
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
        trak: vec![match track {
            TrackConfig::Avc { config, .. } => video(config, timescale)?,
            TrackConfig::Aac { config } => audio(config, timescale),
        }],
        ..Moov::default()
    })
}

fn video(config: &AvcConfig, timescale: u32) -> Result<Trak, Fmp4Error> {
    let mut avcc = Avcc::decode_body(&mut &config.record[..]).map_err(Fmp4Error::Config)?;
    // Frames hold 4-byte lengths, whatever the publisher used.
    avcc.length_size = 4;
    let too_large = |_| Fmp4Error::Config(mp4_atom::Error::OutOfBounds);
    let width = u16::try_from(config.width).map_err(too_large)?;
    let height = u16::try_from(config.height).map_err(too_large)?;
    let visual = Visual { data_reference_index: 1, width, height, ..Visual::default() };
    let tkhd = Tkhd { width: width.into(), height: height.into(), ..tkhd() };
    let handler = Hdlr { handler: FourCC::new(b"vide"), name: "video".to_owned() };
    let minf = Minf { vmhd: Some(Vmhd::default()), ..minf(Avc1 { visual, avcc, ..Avc1::default() }.into()) };
    Ok(trak(tkhd, timescale, handler, minf))
}

fn audio(config: &AacConfig, timescale: u32) -> Trak {
    let dec_specific = DecoderSpecific { raw: config.record.to_vec(), ..DecoderSpecific::default() };
    let dec_config = DecoderConfig {
        // ISO/IEC 14496-1, tables 5 and 6: audio ISO/IEC 14496-3, an audio stream.
        object_type_indication: 0x40,
        stream_type: 5,
        dec_specific: Some(dec_specific),
        ..DecoderConfig::default()
    };
    let es_desc = EsDescriptor { dec_config, sl_config: SLConfig {}, ..EsDescriptor::default() };
    let audio = Audio {
        data_reference_index: 1,
        channel_count: config.channels,
        sample_size: 16,
        // The field holds no rate above 65535 Hz; 0 sends a reader to the esds.
        sample_rate: u16::try_from(config.sample_rate).unwrap_or(0).into(),
    };
    let entry = Mp4a { audio, esds: Esds { es_desc }, btrt: None, taic: None };
    let tkhd = Tkhd { volume: 1.into(), alternate_group: 1, ..tkhd() };
    let handler = Hdlr { handler: FourCC::new(b"soun"), name: "audio".to_owned() };
    trak(tkhd, timescale, handler, Minf { smhd: Some(Smhd::default()), ..minf(entry.into()) })
}

fn trak(tkhd: Tkhd, timescale: u32, hdlr: Hdlr, minf: Minf) -> Trak {
    let mdhd = Mdhd { timescale, language: "und".to_owned(), ..Mdhd::default() };
    Trak { tkhd, mdia: Mdia { mdhd, hdlr, minf }, ..Trak::default() }
}

fn tkhd() -> Tkhd {
    Tkhd { track_id: TRACK_ID, enabled: true, in_movie: true, ..Tkhd::default() }
}

fn minf(entry: Codec) -> Minf {
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

    #[test]
    fn a_broken_record_is_an_error_and_no_panic() {
        for end in 0..12 {
            assert!(matches!(init(&video_track(&AVCC[..end])), Err(Fmp4Error::Config(_))), "{end}");
        }
    }
}
