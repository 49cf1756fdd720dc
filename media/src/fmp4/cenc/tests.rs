//! What must hold of encrypted media: known vectors, nothing lost, no picture in the clear.

use super::*;
use crate::fmp4::{fragment, init, protected_fragment};
use crate::{AacConfig, Timescale, samples};
use aes::cipher::BlockCipherDecrypt;
use mp4_atom::{Decode, Moof};

const KEY: ContentKey = ContentKey {
    id: [0x11; 16],
    // NIST SP 800-38A, F.2.1.
    key: [0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6, 0xab, 0xf7, 0x15, 0x88, 0x09, 0xcf, 0x4f, 0x3c],
    iv: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
};
const PLAIN: &str = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51";
const ENCRYPTED: &str = "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2";

fn avc() -> AvcConfig {
    AvcConfig { record: samples::bytes(samples::AVC[0].0), width: 1920, height: 1080 }
}

fn video() -> TrackConfig {
    TrackConfig::Avc { config: avc(), timescale: Timescale(30_000) }
}

/// Of x265, and the beginning of one of its slices.
fn hevc() -> (TrackConfig, Vec<u8>) {
    let mut lines = include_str!("../../hevc/headers.txt").lines().filter(|line| !line.starts_with('#'));
    let (sequence, picture) = lines.find_map(|line| line.strip_prefix("set ")?.split_once(' ')).unwrap();
    let slice = samples::bytes(lines.next().unwrap().split(' ').next().unwrap());
    let sets = [Bytes::from_static(&[0x40, 1]), samples::bytes(sequence), samples::bytes(picture)];
    let config = hevc::config(sets.iter().map(|set| &set[..])).unwrap();
    (TrackConfig::Hevc { config, timescale: Timescale(30_000) }, slice.to_vec())
}

fn audio() -> TrackConfig {
    let config = AacConfig { record: Bytes::from_static(&[0x11, 0x90]), sample_rate: 48_000, channels: 2 };
    TrackConfig::Aac { config }
}

fn sample(data: Vec<u8>) -> Sample {
    Sample { duration: 1000, composition_offset: 0, keyframe: true, data: data.into() }
}

fn nal(head: &[u8], length: usize) -> Vec<u8> {
    let body = head.iter().copied().chain((0..).map(|index| index as u8)).take(length);
    (length as u32).to_be_bytes().into_iter().chain(body).collect()
}

fn decrypt(data: &mut [u8], (encrypted, clear): Pattern) {
    let (aes, mut last) = (Aes128::new(&KEY.key.into()), KEY.iv);
    let period = usize::from(encrypted + clear).max(1);
    for (index, block) in data.chunks_exact_mut(BLOCK).enumerate() {
        if index % period < usize::from(encrypted.max(u8::from(clear == 0))) {
            let before: [u8; BLOCK] = (&*block).try_into().unwrap();
            aes.decrypt_block(<&mut Block<Aes128>>::try_from(&mut *block).unwrap());
            block.iter_mut().zip(last).for_each(|(byte, last)| *byte ^= last);
            last = before;
        }
    }
}

#[test]
fn whole_segments_are_the_known_vector_and_padding() {
    let encrypted = encrypt_whole(&[samples::bytes(PLAIN)], &KEY.key, KEY.iv);
    assert_eq!((&encrypted[..32], encrypted.len()), (&samples::bytes(ENCRYPTED)[..], 48));
    let mut back = encrypted.to_vec();
    decrypt(&mut back, EVERY_BLOCK);
    assert_eq!(back[32..], [16; 16]);
    let pieces = [Bytes::from_static(b"one"), Bytes::from_static(b"piece"), Bytes::new()];
    let mut back = encrypt_whole(&pieces, &KEY.key, KEY.iv).to_vec();
    decrypt(&mut back, EVERY_BLOCK);
    assert_eq!(back, b"onepiece\x08\x08\x08\x08\x08\x08\x08\x08");
}

#[test]
fn sound_is_encrypted_whole_but_for_the_rest_of_a_block() {
    let data = [&samples::bytes(PLAIN)[..], b"rest"].concat();
    let (encrypted, told) = Protector::new(&audio()).unwrap().protect(&KEY, &[sample(data)]);
    assert_eq!(encrypted[0].data, [&samples::bytes(ENCRYPTED)[..], b"rest"].concat());
    assert!(told.is_none());
}

#[test]
fn of_pictures_one_block_in_ten_is_encrypted_behind_each_slice_header() {
    let slice = [0x65, 0x88, 0x84, 0x00, 0x21, 0xbf];
    let header = SliceReader::new(&avc()).header_bytes(&nal(&slice, 400)[4..]).unwrap();
    let data =
        [nal(&[9, 0xf0], 2), nal(&[6], 70_000), nal(&slice, 400), nal(&slice, header + 15), nal(&slice, 90)].concat();
    let (encrypted, told) = Protector::new(&video()).unwrap().protect(&KEY, &[sample(data.clone())]);
    let spans = &told.unwrap().samples[0];
    let clear = 6 + 4 + 70_000 + 4 + header;
    let between = (4 + header + 15 + 4 + header) as u16;
    let expected = [(u16::MAX, 0), ((clear - 65_535) as u16, 400 - header as u32), (between, 90 - header as u32)];
    assert_eq!(spans[..], expected);

    let mut back = encrypted[0].data.to_vec();
    assert_ne!(back[clear..clear + 16], data[clear..clear + 16]);
    assert_eq!(back[clear + 16..clear + 160], data[clear + 16..clear + 160], "nine blocks are clear");
    assert_ne!(back[clear + 160..clear + 176], data[clear + 160..clear + 176]);
    let mut at = 0;
    for (clear, protected) in spans {
        at += usize::from(*clear);
        decrypt(&mut back[at..at + *protected as usize], PATTERN);
        at += *protected as usize;
    }
    assert_eq!((back, at), (data.clone(), data.len()));
}

#[test]
fn of_hevc_as_of_h264_but_that_headers_of_nal_units_have_two_bytes() {
    let (track, slice) = hevc();
    let protector = Protector::new(&track).unwrap();
    let Some(Slices::Hevc(slices)) = &protector.slices else { panic!("no slices") };
    let header = slices.header_bytes(&slice).unwrap();
    assert!((4..24).contains(&header), "{header}");
    // A delimiter, an SEI message, and a slice; then one of parameters that nobody knows.
    let data = [nal(&[0x46, 1], 3), nal(&[0x4E, 1], 100), nal(&slice, 400), nal(&[0x02, 1, 0], 100)].concat();
    let (encrypted, told) = protector.protect(&KEY, &[sample(data.clone())]);
    let clear = 7 + 104 + 4 + header;
    assert_eq!(told.unwrap().samples[0], [(clear as u16, 400 - header as u32), (6, 98)]);
    assert_eq!(encrypted[0].data[..clear], data[..clear]);
    assert_ne!(encrypted[0].data[clear..clear + 16], data[clear..clear + 16]);
    assert_eq!(encrypted[0].data[clear + 16..clear + 160], data[clear + 16..clear + 160], "nine blocks are clear");
    let many: Vec<u8> = (0..SPANS_MAX + 1).flat_map(|_| nal(&[0x26, 1], 40)).collect();
    assert_eq!(spans(&Slices::Hevc(hevc::SliceReader::default()), &many), [(6, many.len() as u32 - 6)]);
}

#[test]
fn a_slice_that_cannot_be_read_is_encrypted_nonetheless() {
    for head in [&[0x65, 0x80, 0, 0, 0][..], &[0x41, 0x9a, 0x02, 0x40], &[0x42, 1], &[0x74, 1], &[0x53, 7]] {
        let told = spans(&Slices::Avc(SliceReader::default()), &nal(head, 100));
        assert_eq!(told, [(5, 99)], "{head:?}");
    }
}

#[test]
fn more_slices_than_a_sample_can_say_are_one_span() {
    let data: Vec<u8> = (0..SPANS_MAX + 1).flat_map(|_| nal(&[0x65, 0x80], 40)).collect();
    assert_eq!(spans(&Slices::Avc(SliceReader::default()), &data), [(5, data.len() as u32 - 5)]);
    assert_eq!(spans(&Slices::Avc(SliceReader::default()), &data[44..]).len(), SPANS_MAX);
}

#[test]
fn a_fragment_says_where_its_spans_are() {
    let slice = nal(&[0x65, 0x88, 0x84, 0x00, 0x21, 0xbf], 400);
    let samples = [sample(slice.clone()), sample([nal(&[6], 3), slice].concat())];
    let protector = Protector::new(&video()).unwrap();
    let bytes = protected_fragment(7, 1 << 40, None, (&protector, &KEY, false), &samples).unwrap();
    let (encrypted, told) = protector.protect(&KEY, &samples);
    let told = told.unwrap();

    let moof = find(&bytes, 0..bytes.len(), b"moof").unwrap();
    let traf = find(&bytes, moof.start + 8..moof.end, b"traf").unwrap();
    assert_eq!(traf.end, moof.end);
    let inside = traf.start + 8..traf.end;
    let [saiz, saio, senc] = [b"saiz", b"saio", b"senc"].map(|name| find(&bytes, inside.clone(), name).unwrap());
    assert_eq!(bytes[saiz.start + 12..saiz.end], [0, 0, 0, 0, 2, 8, 8]);
    let first = u32::from_be_bytes(bytes[saio.end - 4..saio.end].try_into().unwrap()) as usize;
    assert_eq!(first, senc.start + 16 - moof.start);
    let (clear, protected) = told.samples[0][0];
    let said = [&[0, 1][..], &clear.to_be_bytes(), &protected.to_be_bytes()].concat();
    assert_eq!(bytes[moof.start + first..][..8], said);

    let mdat: Vec<u8> = encrypted.iter().flat_map(|sample| sample.data.to_vec()).collect();
    assert_eq!(bytes[moof.end + 8..], mdat);
    let data_offset = Moof::decode(&mut &bytes[..]).unwrap().traf[0].trun[0].data_offset.unwrap();
    assert_eq!(data_offset as usize, moof.end + 8);
    let plain = fragment(7, 1 << 40, None, &samples).unwrap();
    assert_eq!(bytes.len() - plain.len(), saiz.len() + saio.len() + senc.len());
}

#[test]
fn a_fragment_names_its_key_and_is_otherwise_the_same() {
    for (track, data, pattern) in
        [(video(), nal(&[0x65, 0x88, 0x84, 0x00, 0x21, 0xbf], 400), 0x19), (audio(), vec![7; 40], 0)]
    {
        let (protector, samples) = (Protector::new(&track).unwrap(), [sample(data.clone()), sample(data)]);
        let written = |says_key| protected_fragment(7, 9, None, (&protector, &KEY, says_key), &samples).unwrap();
        let (plain, told) = (written(false), written(true));
        let [moof, before] = [&told, &plain].map(|bytes| find(bytes, 0..bytes.len(), b"moof").unwrap());
        let traf = find(&told, moof.start + 8..moof.end, b"traf").unwrap();
        let inside = traf.start + 8..traf.end;
        let [sgpd, sbgp] = [b"sgpd", b"sbgp"].map(|name| find(&told, inside.clone(), name).unwrap());
        let said = [&b"seig\0\0\0\x25\0\0\0\x01\0"[..], &[pattern, 1, 0], &KEY.id, &[16], &KEY.iv].concat();
        assert_eq!(told[sgpd.start + 12..sgpd.end], said);
        assert_eq!(told[sbgp.start + 12..sbgp.end], *b"seig\0\0\0\x01\0\0\0\x02\0\x01\0\x01");
        assert_eq!(told.len() - plain.len(), sgpd.len() + sbgp.len());
        assert_eq!(told[moof.end..], plain[before.end..], "the samples are the same");
        let data_offset = Moof::decode(&mut &told[..]).unwrap().traf[0].trun[0].data_offset.unwrap();
        assert_eq!(data_offset as usize, moof.end + 8);
        if let Some(saio) = find(&told, inside.clone(), b"saio") {
            let first = u32::from_be_bytes(told[saio.end - 4..saio.end].try_into().unwrap()) as usize;
            let senc = find(&told, inside, b"senc").unwrap();
            assert_eq!(first, senc.start + 16 - moof.start);
        }
    }
}

#[test]
fn an_init_section_names_the_key_and_is_otherwise_the_same() {
    let tracks =
        [(video(), b"avc1", b"encv", 0x19), (hevc().0, b"hvc1", b"encv", 0x19), (audio(), b"mp4a", b"enca", 0)];
    for (track, kind, entry, pattern) in tracks {
        let clear = init(&track).unwrap();
        let bytes = protected_init(&clear, KEY.id, KEY.iv).unwrap();
        let at = |name: &[u8]| bytes.windows(name.len()).position(|window| window == name).unwrap();
        let tenc = at(b"tenc") + 4;
        let said = [&[1, 0, 0, 0, 0, pattern, 1, 0][..], &KEY.id, &[16], &KEY.iv].concat();
        assert_eq!(bytes[tenc..tenc + said.len()], said);
        assert_eq!(bytes[at(b"frma") + 4..][..4], kind[..]);
        assert_eq!(bytes[at(b"schm") + 8..][..8], *b"cbcs\0\x01\0\0");

        let moov = find(&bytes, 0..bytes.len(), b"moov").unwrap();
        assert_eq!(moov.end, bytes.len());
        let pssh = find(&bytes, moov.start + 8..moov.end, b"pssh").unwrap();
        assert_eq!(pssh.end, moov.end);
        // Taken out again, nothing but the name of the entry is left.
        let (sinf, mut back) = (at(b"sinf") - 4, bytes.to_vec());
        let sinf_size = u32::from_be_bytes(bytes[sinf..sinf + 4].try_into().unwrap()) as usize;
        back.drain(pssh.clone());
        back.drain(sinf..sinf + sinf_size);
        let entry_at = at(entry);
        back[entry_at..entry_at + 4].copy_from_slice(kind);
        let differ: Vec<_> = (0..clear.len()).filter(|&index| back[index] != clear[index]).collect();
        assert_eq!(back.len(), clear.len());
        assert!(differ.len() <= 14, "only sizes differ: {differ:?}");
    }
    assert!(protected_init(b"\0\0\0\x08moov", KEY.id, KEY.iv).is_err());
}

#[test]
fn the_key_is_in_no_log() {
    assert!(!format!("{KEY:?}").contains("43, 126"));
}
