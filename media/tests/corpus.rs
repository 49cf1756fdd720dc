//! Replays the seeds of the fuzz targets for FLV tags, H.264 configuration records, captions and encryption.

#![expect(clippy::unwrap_used, reason = "a test ends where something is missing")]

use bytes::{Buf, Bytes};
use media::flv::{AudioTag, VideoTag, VideoTags};
use media::fmp4::{ContentKey, Protector, Sample, protected_fragment};
use media::{AvcConfig, Captions};

fn seeds(target: &str) -> Vec<(String, Bytes)> {
    let folder = format!("{}/../fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.display().to_string(), std::fs::read(&path).unwrap().into())).collect()
}

#[test]
fn configuration_records() {
    let read = seeds("avc_config").into_iter().filter(|(_, record)| AvcConfig::parse(record.clone()).is_ok()).count();
    assert!(read >= 4, "{read} seeds are records that a decoder takes");
}

#[test]
fn captions() {
    let channels = seeds("captions").into_iter().map(|(_, picture)| {
        let mut captions = Captions::default();
        captions.see(&picture);
        captions.channels().len()
    });
    assert_eq!(channels.sum::<usize>(), 5);
}

#[test]
fn encryption() {
    let mut encrypted = 0;
    for (_, mut rest) in seeds("cenc") {
        let length = usize::from(rest.get_u16());
        let record = rest.split_to(length);
        let Ok(config) = AvcConfig::parse(record) else { continue };
        let key = ContentKey { id: [1; 16], key: [2; 16], iv: [3; 16] };
        let sample = Sample { duration: 1, composition_offset: 0, keyframe: true, data: rest.clone() };
        let bytes = protected_fragment(1, 0, None, (&Protector::pictures(&config), &key, true), &[sample]).unwrap();
        encrypted += usize::from(!bytes.ends_with(&rest));
    }
    assert_eq!(encrypted, 5);
}

#[test]
fn tags() {
    let (mut configs, mut frames) = (0, 0);
    for (_, mut rest) in seeds("flv") {
        let mut tags = VideoTags::default();
        while rest.len() >= 3 {
            let kind = rest.get_u8();
            let length = usize::from(rest.get_u16()).min(rest.len());
            let payload = rest.split_to(length);
            let (config, frame) = if kind == 8 {
                let tag = AudioTag::parse(payload);
                (matches!(tag, Ok(AudioTag::Config(_))), matches!(tag, Ok(AudioTag::Frame(_))))
            } else {
                let tag = tags.read(payload);
                (matches!(tag, Ok(VideoTag::Config(_))), matches!(tag, Ok(VideoTag::Frame { .. })))
            };
            configs += usize::from(config);
            frames += usize::from(frame);
        }
    }
    assert!(configs >= 8 && frames >= 7, "the seeds hold {configs} set-ups and {frames} frames");
}
