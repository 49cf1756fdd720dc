//! WebVTT in fragmented MP4 (ISO/IEC 14496-30): cues as samples that follow one another without a hole.

use super::init::{minf, section, tkhd, trak};
use super::{Fmp4Error, Sample, fragment};
use crate::Timescale;
use bytes::{BufMut, Bytes};
use mp4_atom::{FourCC, Hdlr, Mdhd, Minf, Nmhd, PlainText, VttC, Wvtt};
use std::ops::Range;

/// Text that is shown in a segment, in ticks of the track's timescale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cue<'a> {
    pub shown: Range<u64>,
    /// As in a WebVTT file: `&`, `<` and `>` escaped.
    pub text: &'a str,
    /// The same in every segment that has some of it, where it is in several (CueSourceIDBox).
    pub source_id: Option<u32>,
}

/// The init section of a track of text. A language of three letters (ISO 639-2) is told, others are for manifests.
///
/// # Errors
/// The boxes cannot be written.
pub fn text_init(timescale: Timescale, language: Option<&str>) -> Result<Bytes, Fmp4Error> {
    let entry = Wvtt {
        plaintext: PlainText { data_reference_index: 1 },
        config: VttC { config: "WEBVTT".to_owned() },
        label: None,
        btrt: None,
    };
    let handler = Hdlr { handler: FourCC::new(b"text"), name: "text".to_owned() };
    let minf = Minf { nmhd: Some(Nmhd {}), ..minf(entry.into()) };
    let mut trak = trak(tkhd(), timescale.0, handler, minf);
    let is_code = |code: &&str| code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_lowercase());
    if let Some(code) = language.filter(is_code) {
        trak.mdia.mdhd = Mdhd { language: code.to_owned(), ..trak.mdia.mdhd };
    }
    // ISO/IEC 23000-19, 11.2.
    section(&[b"iso6", b"cmfc", b"cwvt"], timescale.0, trak)
}

/// A segment over `span`: what is shown in it, and empty samples between. Cues that overlap or are not in order are cut to
/// where the one before them ends.
///
/// # Errors
/// The span is empty, or longer than 2^32 ticks.
pub fn text_fragment(sequence: u32, span: Range<u64>, cues: &[Cue<'_>]) -> Result<Bytes, Fmp4Error> {
    let mut samples = Vec::with_capacity(2 * cues.len() + 1);
    let mut at = span.start;
    for cue in cues {
        let shown = cue.shown.start.max(at)..cue.shown.end.min(span.end);
        if shown.is_empty() {
            continue;
        }
        push(&mut samples, at..shown.start, &EMPTY)?;
        at = shown.end;
        push(&mut samples, shown, &cue.sample())?;
    }
    push(&mut samples, at..span.end, &EMPTY)?;
    fragment(sequence, span.start, None, &samples)
}

fn push(samples: &mut Vec<Sample>, shown: Range<u64>, data: &[u8]) -> Result<(), Fmp4Error> {
    if !shown.is_empty() {
        let duration = u32::try_from(shown.end - shown.start).map_err(|_| Fmp4Error::TooLarge)?;
        samples.push(Sample { duration, composition_offset: 0, keyframe: true, data: Bytes::copy_from_slice(data) });
    }
    Ok(())
}

/// A VTTEmptyCueBox: nothing is shown.
const EMPTY: [u8; 8] = [0, 0, 0, 8, b'v', b't', b't', b'e'];

impl Cue<'_> {
    /// A VTTCueBox.
    fn sample(&self) -> Vec<u8> {
        let mut inner = Vec::with_capacity(self.text.len() + 32);
        if let Some(id) = self.source_id {
            put(&mut inner, b"vsid", &id.to_be_bytes());
        }
        put(&mut inner, b"payl", self.text.as_bytes());
        let mut out = Vec::with_capacity(inner.len() + 8);
        put(&mut out, b"vttc", &inner);
        out
    }
}

fn put(out: &mut Vec<u8>, kind: &[u8; 4], body: &[u8]) {
    out.put_u32(body.len() as u32 + 8);
    out.put_slice(kind);
    out.put_slice(body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use mp4_atom::{Codec, Decode, Ftyp, Moof, Moov};

    const ZERO: u64 = 53_856_792_015_000;

    fn cue(shown: Range<u64>, text: &str) -> Cue<'_> {
        Cue { shown: ZERO + shown.start..ZERO + shown.end, text, source_id: None }
    }

    /// Duration and bytes of each sample.
    fn samples(bytes: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let mut rest = bytes;
        let moof = Moof::decode(&mut rest).unwrap();
        let traf = &moof.traf[0];
        assert_eq!(traf.tfdt.as_ref().unwrap().base_media_decode_time, ZERO);
        let run = &traf.trun[0];
        let mut at = run.data_offset.unwrap() as usize;
        let all = run.samples.iter().map(|sample| {
            let begin = at;
            at += sample.size.unwrap() as usize;
            (sample.duration.unwrap(), bytes[begin..at].to_vec())
        });
        all.collect()
    }

    #[test]
    fn a_segment_is_covered_from_end_to_end() {
        let cues = [cue(10..20, "one"), cue(20..30, "two"), cue(50..90, "last")];
        let bytes = text_fragment(1, ZERO..ZERO + 60, &cues).unwrap();
        let vttc = |text: &str| {
            let size = |more: usize| ((text.len() + more) as u32).to_be_bytes();
            [&size(16), b"vttc".as_slice(), &size(8), b"payl", text.as_bytes()].concat()
        };
        let expected =
            [(10, EMPTY.to_vec()), (10, vttc("one")), (10, vttc("two")), (20, EMPTY.to_vec()), (10, vttc("last"))];
        assert_eq!(samples(&bytes), expected);
        assert_eq!(samples(&text_fragment(1, ZERO..ZERO + 60, &[]).unwrap()), [(60, EMPTY.to_vec())]);
        assert!(matches!(text_fragment(1, 5..5, &cues), Err(Fmp4Error::Empty)));
    }

    #[test]
    fn cues_that_overlap_never_do_as_samples() {
        let cues = [cue(0..40, "long"), cue(20..50, "over"), cue(10..30, "under"), cue(55..55, "nothing")];
        let told: Vec<_> =
            samples(&text_fragment(1, ZERO..ZERO + 60, &cues).unwrap()).into_iter().map(|(ticks, _)| ticks).collect();
        assert_eq!(told, [40, 10, 10]);
    }

    #[test]
    fn a_cue_of_several_segments_is_known_in_each() {
        let one = Cue { source_id: Some(0x0102_0304), ..cue(0..60, "x") };
        let [(60, sample)] = &samples(&text_fragment(1, ZERO..ZERO + 60, &[one]).unwrap())[..] else { panic!() };
        assert_eq!(sample[8..20], *b"\0\0\0\x0cvsid\x01\x02\x03\x04");
    }

    #[test]
    fn an_init_section_says_what_the_samples_are() {
        for (language, told) in [(Some("deu"), "deu"), (Some("de"), "und"), (Some("DEU"), "und"), (None, "und")] {
            let bytes = text_init(Timescale(30_000), language).unwrap();
            let mut rest = &bytes[..];
            let ftyp = Ftyp::decode(&mut rest).unwrap();
            assert!(ftyp.compatible_brands.contains(&FourCC::new(b"cwvt")));
            let moov = Moov::decode(&mut rest).unwrap();
            let mdia = &moov.trak[0].mdia;
            assert_eq!((mdia.mdhd.timescale, mdia.mdhd.language.as_str()), (30_000, told));
            assert_eq!(mdia.hdlr.handler, FourCC::new(b"text"));
            let Codec::Wvtt(entry) = &mdia.minf.stbl.stsd.codecs[0] else { panic!("not wvtt") };
            assert_eq!(entry.config.config, "WEBVTT");
        }
    }
}
