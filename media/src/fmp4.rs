//! Fragmented MP4 (CMAF): one init section per track, one moof with its mdat per part.
//!
//! Bytes depend on the arguments alone, so that two packagers given the same frames write the same objects. No edit lists:
//! a track with reordered frames starts its decode times earlier instead, and composition offsets stay positive.

mod cenc;
mod init;
mod wvtt;

pub use cenc::{ContentKey, KeyId, Protector, encrypt_whole, protected_init};
pub use init::init;
pub use wvtt::{Cue, text_fragment, text_init};

use cenc::Subsamples;

use crate::Timescale;
use bytes::{BufMut, Bytes};
use mp4_atom::{Encode, Mfhd, Moof, Prft, ReferenceTime, Tfdt, Tfhd, Traf, Trun, TrunEntry};

/// One frame as a fragment holds it. Times are in ticks of the track's timescale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    pub duration: u32,
    /// Presentation time minus decode time.
    pub composition_offset: i32,
    /// Decoding can start here.
    pub keyframe: bool,
    pub data: Bytes,
}

/// The wall clock of a picture or sound (ISO/IEC 14496-12, 8.16.5): when it came to the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Its presentation time, in ticks of the track's timescale.
    media_time: u64,
    /// The same moment as NTP counts (RFC 5905, 6): seconds since 1900, and their fraction of 2^32.
    ntp: u64,
}

impl Reference {
    /// Of a track whose media time is the wall clock: `media_time` counts from the Unix epoch.
    pub fn unix(media_time: u64, timescale: Timescale) -> Self {
        let scale = u64::from(timescale.0.max(1));
        let (seconds, ticks) = (media_time / scale, media_time % scale);
        Self { media_time, ntp: ((seconds + NTP_OF_UNIX_S) << 32) | ((ticks << 32) / scale) }
    }
}

/// Why no MP4 could be written.
#[derive(Debug, thiserror::Error)]
pub enum Fmp4Error {
    #[error("the fragment has no samples")]
    Empty,
    #[error("the fragment is larger than 2 GiB")]
    TooLarge,
    #[error("the codec configuration cannot be written to MP4: {0}")]
    Config(#[source] mp4_atom::Error),
    #[error("the boxes cannot be written: {0}")]
    Boxes(#[source] mp4_atom::Error),
    #[error("samples of {0} cannot be encrypted by cbcs here")]
    Unprotectable(String),
}

/// The only track of every init section.
const TRACK_ID: u32 = 1;

/// ISO/IEC 14496-12, 8.8.3.1: depends on no other sample.
const SYNC: u32 = 0x0200_0000;
/// Depends on others; is a non-sync sample.
const NON_SYNC: u32 = 0x0101_0000;

const MDAT_HEADER: usize = 8;
/// Of the traf in a moof: a head of 8 bytes and an mfhd of 16 are before it.
const TRAF_AT: usize = 24;

/// From 1900 to 1970.
const NTP_OF_UNIX_S: u64 = 2_208_988_800;

/// One moof and its mdat (ISO/IEC 23000-19, 7.3.2.3: a CMAF chunk), behind its prft where a `reference` is told.
/// `base_decode_time` is that of the first sample; every further one follows from the durations. `sequence` must grow from
/// fragment to fragment.
pub fn fragment(
    sequence: u32,
    base_decode_time: u64,
    reference: Option<Reference>,
    samples: &[Sample],
) -> Result<Bytes, Fmp4Error> {
    write((sequence, base_decode_time), reference, (samples, Vec::new(), None))
}

/// The same with its samples encrypted, by `cbcs`. One that `says_key` can be decrypted behind the init section of another key.
pub fn protected_fragment(
    sequence: u32,
    base_decode_time: u64,
    reference: Option<Reference>,
    (protector, key, says_key): (&Protector, &ContentKey, bool),
    samples: &[Sample],
) -> Result<Bytes, Fmp4Error> {
    let (samples, told) = protector.protect(key, samples);
    let key = if says_key { protector.key_boxes(key, samples.len()) } else { Vec::new() };
    write((sequence, base_decode_time), reference, (&samples, key, told.as_ref()))
}

fn write(
    (sequence, base_decode_time): (u32, u64),
    reference: Option<Reference>,
    (samples, mut boxes, subsamples): (&[Sample], Vec<u8>, Option<&Subsamples>),
) -> Result<Bytes, Fmp4Error> {
    if samples.is_empty() {
        return Err(Fmp4Error::Empty);
    }
    let payload: usize = samples.iter().map(|sample| sample.data.len()).sum();
    let mdat_size = u32::try_from(payload + MDAT_HEADER).map_err(|_| Fmp4Error::TooLarge)?;

    let mut moof = moof(sequence, base_decode_time, samples);
    let mut out = Vec::with_capacity(256 + 32 * samples.len() + payload);
    if let Some(Reference { media_time, ntp: ntp_timestamp }) = reference {
        let utc_time_semantics = ReferenceTime::Input;
        let prft = Prft { reference_track_id: TRACK_ID, ntp_timestamp, media_time, utc_time_semantics };
        prft.encode(&mut out).map_err(Fmp4Error::Boxes)?;
    }
    let begin = out.len();
    moof.encode(&mut out).map_err(Fmp4Error::Boxes)?;
    if let Some(told) = subsamples {
        let before = out.len() - begin + boxes.len();
        boxes.extend(told.boxes(before));
    }
    // The offset counts from the moof to the first byte of data, and the moof's size does not depend on its value.
    let data_offset = out.len() - begin + boxes.len() + MDAT_HEADER;
    let data_offset = i32::try_from(data_offset).map_err(|_| Fmp4Error::TooLarge)?;
    for run in moof.traf.iter_mut().flat_map(|traf| &mut traf.trun) {
        run.data_offset = Some(data_offset);
    }
    out.truncate(begin);
    moof.encode(&mut out).map_err(Fmp4Error::Boxes)?;
    out.put_slice(&boxes);
    // They end the only traf, which ends the moof behind its mfhd.
    [begin, begin + TRAF_AT].iter().for_each(|&at| cenc::grow(&mut out, at, boxes.len()));

    out.put_u32(mdat_size);
    out.put_slice(b"mdat");
    for sample in samples {
        out.put_slice(&sample.data);
    }
    Ok(out.into())
}

fn moof(sequence: u32, base_decode_time: u64, samples: &[Sample]) -> Moof {
    // Every field for every sample: a missing one would be filled with zeros, and zero flags mean a sync sample.
    let entries: Vec<_> = samples
        .iter()
        .map(|sample| TrunEntry {
            duration: Some(sample.duration),
            size: Some(sample.data.len() as u32),
            flags: Some(if sample.keyframe { SYNC } else { NON_SYNC }),
            cts: Some(sample.composition_offset.into()),
        })
        .collect();
    let tfhd = Tfhd { track_id: TRACK_ID, default_base_is_moof: true, ..Tfhd::default() };
    let trun = Trun { data_offset: Some(0), samples: entries.into() };
    let tfdt = Some(Tfdt { base_media_decode_time: base_decode_time });
    Moof {
        mfhd: Mfhd { sequence_number: sequence },
        traf: vec![Traf { tfhd, tfdt, trun: vec![trun], ..Traf::default() }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mp4_atom::{Any, Decode};

    fn sample(keyframe: bool, composition_offset: i32, data: &'static [u8]) -> Sample {
        Sample { duration: 1000, composition_offset, keyframe, data: Bytes::from_static(data) }
    }

    #[test]
    fn a_fragment_says_where_its_data_is_and_what_each_sample_is() {
        let samples = [sample(true, 2000, b"idr"), sample(false, 3000, b"predicted"), sample(false, 0, b"b")];
        let bytes = fragment(7, 1 << 40, None, &samples).unwrap();

        let mut rest: &[u8] = &bytes;
        let moof = Moof::decode(&mut rest).unwrap();
        assert_eq!(moof.mfhd.sequence_number, 7);
        let traf = &moof.traf[0];
        assert!(traf.tfhd.default_base_is_moof);
        assert_eq!(traf.tfdt.as_ref().unwrap().base_media_decode_time, 1 << 40);

        let run = &traf.trun[0];
        assert_eq!(&bytes[run.data_offset.unwrap() as usize..], b"idrpredictedb");
        let read: Vec<_> = run.samples.iter().map(|s| (s.size.unwrap(), s.flags.unwrap(), s.cts.unwrap())).collect();
        assert_eq!(read, [(3, SYNC, 2000), (9, NON_SYNC, 3000), (1, NON_SYNC, 0)]);

        let Any::Mdat(mdat) = Any::decode(&mut rest).unwrap() else { panic!("no mdat") };
        assert_eq!(mdat.data, b"idrpredictedb");
    }

    #[test]
    fn the_wall_clock_of_a_fragment_comes_before_it_and_moves_none_of_its_data() {
        // 2026-11-21T02:00:00.5Z, at 30,000 ticks a second.
        let media_time = 1_795_226_400 * 30_000 + 15_000;
        let reference = Reference::unix(media_time, Timescale(30_000));
        let told = fragment(7, 1, Some(reference), &[sample(true, 0, b"idr")]).unwrap();
        let mut rest: &[u8] = &told;
        let prft = Prft::decode(&mut rest).unwrap();
        assert_eq!((prft.reference_track_id, prft.media_time), (TRACK_ID, media_time));
        assert_eq!(prft.ntp_timestamp, (1_795_226_400 + 2_208_988_800) << 32 | 1 << 31);
        assert_eq!(prft.utc_time_semantics, ReferenceTime::Input);
        assert_eq!(rest, &fragment(7, 1, None, &[sample(true, 0, b"idr")]).unwrap()[..]);
    }

    #[test]
    fn one_sample_alone_keeps_its_flags() {
        for keyframe in [true, false] {
            let bytes = fragment(1, 0, None, &[sample(keyframe, 0, b"x")]).unwrap();
            let moof = Moof::decode(&mut &bytes[..]).unwrap();
            let flags = moof.traf[0].trun[0].samples.get(0).unwrap().flags;
            assert_eq!(flags, Some(if keyframe { SYNC } else { NON_SYNC }));
        }
    }

    #[test]
    fn equal_arguments_give_equal_bytes() {
        let samples = [sample(true, 0, b"same")];
        assert_eq!(fragment(3, 9, None, &samples).unwrap(), fragment(3, 9, None, &samples).unwrap());
        assert!(matches!(fragment(3, 9, None, &[]), Err(Fmp4Error::Empty)));
    }
}
