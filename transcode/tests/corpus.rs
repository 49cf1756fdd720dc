//! Replays the seeds of the fuzz target for the wire between origin and worker, which hold its messages to the byte.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use bytes::{Bytes, BytesMut};
use config::{AudioCodec, Hardware, Token, VideoCodec};
use media::{AacConfig, AvcConfig, Frame, FrameRate, TrackConfig, TrackKind};
use std::time::Duration;
use transcode::wire::greeting::{Denied, greeting, judge};
use transcode::wire::{FromWorker, Message, Repair, ToWorker, decode, encode};
use transcode::{Encoding, Job, Keeping, Make, Pausing, Plan, Quality, Rendition, Shed, Source, Thumbnails, Trial};

fn said(messages: &[impl Message]) -> BytesMut {
    let mut out = BytesMut::new();
    for message in messages {
        encode(message, &mut out).unwrap();
    }
    out
}

/// The seed is what is said today: another byte on the wire is another version of the protocol.
fn hold<M: Message + PartialEq + std::fmt::Debug>(name: &str, messages: &[M]) {
    let path = format!("{}/../fuzz/corpus/transcode_wire/{name}", env!("CARGO_MANIFEST_DIR"));
    let bytes = said(messages);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &bytes).unwrap();
    }
    let mut seed = BytesMut::from(&std::fs::read(&path).unwrap()[..]);
    assert_eq!(seed, bytes, "{name}");
    for message in messages {
        assert_eq!(decode::<M>(&mut seed).unwrap().as_ref(), Some(message), "{name}");
    }
    assert!(seed.is_empty());
}

#[test]
fn messages_are_what_they_were() {
    let frame =
        |kind, pts| Frame { kind, dts: pts, pts, keyframe: pts == 0, data: Bytes::from_static(b"\0\0\0\x01\x65") };
    let config = AacConfig { record: Bytes::from_static(&[0x11, 0x90]), sample_rate: 48_000, channels: 2 };
    hold(
        "to_worker",
        &[
            ToWorker::Frame(frame(TrackKind::Video, 0)),
            ToWorker::Frame(frame(TrackKind::Audio, 1024)),
            ToWorker::Finish,
        ],
    );
    hold(
        "from_worker",
        &[
            FromWorker::Hello,
            FromWorker::Track { rendition: 2, config: TrackConfig::Aac { config } },
            FromWorker::Frame { rendition: 1, frame: frame(TrackKind::Video, 1000) },
            FromWorker::Repaired { repair: Repair::VideoGap, count: 3 },
            FromWorker::Failed { reason: "no such encoder".to_owned() },
            FromWorker::Overrun,
            FromWorker::Thumbnails { segment: 7, frames: 60, data: Bytes::from_static(&[0xff, 0xd8, 0xff, 0xd9]) },
            FromWorker::Lag { rendition: 1, worst: Duration::from_millis(42) },
            FromWorker::Shed { shed: Shed { faster: 2, thinned: true, away: 1 }, lag: Duration::from_millis(400) },
            FromWorker::Turn { rendition: 1, segment: 8, every: 2 },
            FromWorker::TurnRefused { rendition: 1 },
            FromWorker::Encoder { rendition: 1, encoder: "libx264".to_owned(), why: "no device".to_owned() },
            FromWorker::DeviceFailed { reason: "no more memory".to_owned() },
            FromWorker::Tried { fault: Some("no device".to_owned()) },
            FromWorker::Quality { rendition: 1, ssim_ppm: 987_654, psnr_mdb: 41_200 },
            FromWorker::Paused { rendition: 1, paused: true, ssim_ppm: 991_000 },
        ],
    );
}

#[test]
fn the_first_words_to_a_worker_are_what_they_were() {
    let keeping =
        Keeping { behind: Duration::from_millis(300), recover: Duration::from_secs(20), preset_steps: 2, fps_min: 12 };
    let pausing = Pausing { loss_mdb: 500, return_mdb: 1000, segments: 3, run: Duration::from_secs(60) };
    let quality = Quality { sample_percent: 5, pausing: Some(pausing) };
    hold(
        "hello",
        &[
            ToWorker::Trials(vec![
                Trial { encoder: "h264_nvenc".to_owned(), fault: Some("no device".to_owned()) },
                Trial { encoder: "h264_vaapi".to_owned(), fault: None },
            ]),
            ToWorker::Hello { job: Box::new(job()), backlog_max: 512, keeping, hardware: Hardware::Auto, quality },
            ToWorker::Trial { encoder: "libx264".to_owned() },
        ],
    );
}

fn job() -> Job {
    let rate = FrameRate::new(30, 1).unwrap();
    let video = AvcConfig { record: Bytes::from_static(b"\x01\x64"), width: 1280, height: 720 };
    let audio = AacConfig { record: Bytes::from_static(&[0x11, 0x90]), sample_rate: 48_000, channels: 2 };
    let encoding = Encoding {
        codec: VideoCodec::Av1,
        width: 640,
        height: 360,
        every: 2,
        bitrate: 800_000,
        quality: Some(35),
        preset: "10".to_owned(),
    };
    let sound = Make::Audio { codec: AudioCodec::Opus, bitrate: 128_000, channels: 2 };
    let makes = [("720p", Make::Passthrough), ("360p-av1", Make::Video(encoding)), ("audio-opus", sound)];
    let plan = Plan {
        rate,
        segment_frames: 60,
        part_frames: 10,
        target_duration_s: 2,
        part_target: Duration::from_millis(342),
        renditions: makes.map(|(name, make)| Rendition { name: name.to_owned(), make }).into(),
        thumbnails: Some(Thumbnails { width: 160, height: 90, columns: 2, rows: 1, quantizer: 4 }),
    };
    Job { source: Source { video, audio: Some(audio), rate, gop: Some(60) }, plan }
}

/// The first is held to what a worker says today; the others are of nobody who may work here.
#[test]
fn callers_are_told_from_workers() {
    let token = Token::from("0123456789abcdef");
    let seed = |name: &str| format!("{}/../fuzz/corpus/worker_greeting/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(seed("worker"), greeting(&token)).unwrap();
    }
    let read = |name: &str| std::fs::read(seed(name)).unwrap();
    assert_eq!(read("worker"), greeting(&token).as_bytes());
    for (name, judged) in [
        ("worker", Ok(())),
        ("request", Err(Denied::NoWorker)),
        ("other_bytes", Err(Denied::NoWorker)),
        ("other_release", Err(Denied::OtherRelease)),
    ] {
        assert_eq!(judge(&read(name), &token), judged, "{name}");
    }
    let mut wrong = read("worker");
    wrong.truncate(wrong.len() - 2);
    assert_eq!(judge(&wrong, &token), Err(Denied::WrongToken));
}
