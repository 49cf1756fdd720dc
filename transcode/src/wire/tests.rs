//! Round trips, refusals, and bytes that nobody meant.

use super::*;
use crate::{Encoding, Keeping, Make, Pausing, Quality, Rendition, Shed, Thumbnails};
use config::{AudioCodec, VideoCodec};
use media::{AacConfig, AvcConfig, FrameRate, OpusConfig, VideoConfig};
use std::time::Duration;

fn job() -> Job {
    let rendition = |name: &str, make| Rendition { name: name.to_owned(), make };
    let video = Make::Video(Encoding {
        codec: VideoCodec::Av1,
        width: 640,
        height: 360,
        every: 2,
        bitrate: 800_000,
        quality: Some(23),
        preset: "veryfast".to_owned(),
    });
    let rate = FrameRate::new(30000, 1001).unwrap();
    Job {
        source: Source {
            video: AvcConfig { record: Bytes::from_static(b"\x01\x42"), width: 1280, height: 720 },
            audio: Some(AacConfig { record: Bytes::from_static(b"\x11\x90"), sample_rate: 48_000, channels: 2 }),
            rate,
            gop: Some(60),
        },
        plan: Plan {
            rate,
            segment_frames: 60,
            part_frames: 10,
            target_duration_s: 2,
            part_target: Duration::from_millis(342),
            renditions: vec![
                rendition("720p", Make::Passthrough),
                rendition("360p", video),
                rendition("audio", Make::Audio { codec: AudioCodec::Aac, bitrate: 128_000, channels: 2 }),
                rendition("audio-opus", Make::Audio { codec: AudioCodec::Opus, bitrate: 320_000, channels: 6 }),
            ],
            thumbnails: Some(Thumbnails { width: 160, height: 90, columns: 2, rows: 1, quantizer: 5 }),
        },
    }
}

fn keeping() -> Keeping {
    Keeping { behind: Duration::from_millis(300), recover: Duration::from_secs(20), preset_steps: 2, fps_min: 12 }
}

fn quality() -> Quality {
    let pausing = Pausing { loss_mdb: 500, return_mdb: 1000, segments: 3, run: Duration::from_secs(60) };
    Quality { sample_percent: 5, pausing: Some(pausing) }
}

fn frame(kind: TrackKind) -> Frame {
    Frame { kind, dts: -3, pts: i64::MAX, keyframe: true, data: Bytes::from_static(b"payload") }
}

fn to_worker() -> Vec<ToWorker> {
    let mut silent = job();
    silent.source.audio = None;
    silent.source.gop = None;
    silent.plan.thumbnails = None;
    vec![
        ToWorker::Hello {
            job: Box::new(job()),
            backlog_max: 512,
            keeping: keeping(),
            hardware: Hardware::Qsv,
            quality: quality(),
        },
        ToWorker::Hello {
            job: Box::new(silent),
            backlog_max: u32::MAX,
            keeping: keeping(),
            hardware: Hardware::Qsv,
            quality: Quality::default(),
        },
        ToWorker::Frame(frame(TrackKind::Video)),
        ToWorker::Frame(frame(TrackKind::Audio)),
        ToWorker::Finish,
        ToWorker::Trial { encoder: "h264_nvenc".to_owned() },
        ToWorker::Trials(vec![
            Trial { encoder: "h264_nvenc".to_owned(), fault: Some("no device".to_owned()) },
            Trial { encoder: "h264_qsv".to_owned(), fault: None },
        ]),
    ]
}

fn from_worker() -> Vec<FromWorker> {
    let Job { source, .. } = job();
    let timescale = source.rate.timescale();
    let opus = OpusConfig { record: Bytes::from_static(b"\0\x06"), channels: 6 };
    let video = VideoConfig { record: Bytes::from_static(b"\x81"), width: 640, height: 360, pixel_aspect: None };
    let anamorphic = VideoConfig { pixel_aspect: Some((16, 11)), ..video.clone() };
    let mut messages = vec![
        FromWorker::Hello,
        FromWorker::Track { rendition: 1, config: TrackConfig::Avc { config: source.video, timescale } },
        FromWorker::Track { rendition: 2, config: TrackConfig::Aac { config: source.audio.unwrap() } },
        FromWorker::Track { rendition: 3, config: TrackConfig::Opus { config: opus } },
        FromWorker::Track { rendition: 4, config: TrackConfig::Hevc { config: video.clone(), timescale } },
        FromWorker::Track { rendition: 5, config: TrackConfig::Av1 { config: video.clone(), timescale } },
        FromWorker::Track { rendition: 6, config: TrackConfig::Vp9 { config: video, timescale } },
        FromWorker::Track { rendition: 7, config: TrackConfig::Vp9 { config: anamorphic, timescale } },
        FromWorker::Frame { rendition: u16::MAX, frame: frame(TrackKind::Video) },
        FromWorker::Failed { reason: "no encoder".to_owned() },
        FromWorker::Overrun,
        FromWorker::Thumbnails { segment: 7, frames: 60, data: Bytes::from_static(b"jpeg") },
        FromWorker::Lag { rendition: 1, worst: Duration::from_micros(41_666) },
        FromWorker::Shed { shed: Shed { faster: 2, thinned: true, away: 1 }, lag: Duration::from_millis(400) },
        FromWorker::Turn { rendition: 1, segment: u64::MAX, every: 2 },
        FromWorker::TurnRefused { rendition: 1 },
        FromWorker::Encoder { rendition: 1, encoder: "libx264".to_owned(), why: "no device".to_owned() },
        FromWorker::DeviceFailed { reason: "no more".to_owned() },
        FromWorker::Tried { fault: None },
        FromWorker::Tried { fault: Some("no device".to_owned()) },
        FromWorker::Quality { rendition: 1, ssim_ppm: 987_654, psnr_mdb: 41_200 },
        FromWorker::Paused { rendition: 1, paused: true, ssim_ppm: 991_000 },
    ];
    messages.extend(Repair::ALL.map(|repair| FromWorker::Repaired { repair, count: 7 }));
    messages
}

fn encoded<M: Message>(messages: &[M]) -> BytesMut {
    let mut out = BytesMut::new();
    for message in messages {
        encode(message, &mut out).unwrap();
    }
    out
}

/// Feeds the bytes one at a time, as a pipe might, and gives all messages.
fn trickled<M: Message>(bytes: &[u8]) -> Result<Vec<M>, WireError> {
    let mut buffer = BytesMut::new();
    let mut messages = Vec::new();
    for byte in bytes {
        buffer.put_u8(*byte);
        while let Some(message) = decode(&mut buffer)? {
            messages.push(message);
        }
    }
    assert!(buffer.is_empty(), "an incomplete message is left");
    Ok(messages)
}

#[test]
fn messages_survive_the_trip_however_the_pipe_cuts_them() {
    assert_eq!(trickled::<ToWorker>(&encoded(&to_worker())).unwrap(), to_worker());
    assert_eq!(trickled::<FromWorker>(&encoded(&from_worker())).unwrap(), from_worker());
}

#[test]
fn oversize_messages_are_refused_on_both_sides() {
    let huge = Frame { data: vec![0; MESSAGE_BYTES_MAX].into(), ..frame(TrackKind::Video) };
    let mut out = BytesMut::from(&b"before"[..]);
    assert!(matches!(encode(&ToWorker::Frame(huge), &mut out), Err(WireError::Oversize(_))));
    assert_eq!(out, &b"before"[..]);

    let mut claim = BytesMut::from(&u32::MAX.to_be_bytes()[..]);
    assert_eq!(decode::<ToWorker>(&mut claim), Err(WireError::Oversize(u32::MAX as usize)));
}

#[test]
fn every_truncation_is_an_error_and_not_a_message() {
    for message in to_worker() {
        let whole = encoded(&[message]).split_off(4).freeze();
        // The payload of a frame has no end of its own: what is cut off there is a shorter payload.
        let fixed = if whole[0] == 1 { whole.len() - 7 } else { whole.len() };
        for length in 0..fixed {
            assert!(ToWorker::read(whole.slice(..length)).is_err(), "{length} of {whole:?}");
        }
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let mut other_build = encoded(&[FromWorker::Hello]);
    other_build[6] = 99;
    assert_eq!(decode::<FromWorker>(&mut other_build), Err(WireError::Version(99)));

    let mut left_over = BytesMut::from(&b"\x00\x00\x00\x02\x02\x00"[..]);
    assert!(matches!(decode::<ToWorker>(&mut left_over), Err(WireError::Invalid(_))));

    for breakage in [
        |job: &mut Job| job.plan.part_frames = 0,
        |job: &mut Job| job.plan.part_frames = 7,
        |job: &mut Job| job.plan.segment_frames = 0,
        |job: &mut Job| job.source.rate = FrameRate::new(2_000_001, 2).unwrap(),
        |job: &mut Job| job.plan.rate = FrameRate::new(2_000_001, 2).unwrap(),
        |job: &mut Job| job.plan.renditions = vec![job.plan.renditions[0].clone(); 65],
    ] {
        let mut broken = job();
        breakage(&mut broken);
        let (job, keeping, hardware, quality) = (Box::new(broken), keeping(), Hardware::Qsv, quality());
        let mut bytes = encoded(&[ToWorker::Hello { job, backlog_max: 512, keeping, hardware, quality }]);
        assert!(matches!(decode::<ToWorker>(&mut bytes), Err(WireError::Invalid(_))));
    }
    let quality = Quality { sample_percent: 101, pausing: None };
    let hello = ToWorker::Hello {
        job: Box::new(job()),
        backlog_max: 512,
        keeping: keeping(),
        hardware: Hardware::Qsv,
        quality,
    };
    let told = decode::<ToWorker>(&mut encoded(&[hello]));
    assert_eq!(told, Err(WireError::Invalid("share of segments")));
}

/// A small generator (xorshift64*), so that a failure can be repeated from its seed.
fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    seed.wrapping_mul(0x2545_F491_4F6C_DD1D)
}

#[test]
fn random_and_mutated_bytes_never_panic() {
    let originals = [encoded(&to_worker()), encoded(&from_worker())];
    let mut seed = 0x5EED_0001_u64;
    let mut refused = 0;
    for round in 0..20_000_u32 {
        let mut bytes = originals[round as usize % 2].clone();
        for _ in 0..=random(&mut seed) % 4 {
            let at = random(&mut seed) as usize % bytes.len();
            bytes[at] = random(&mut seed) as u8;
        }
        if round % 3 == 0 {
            bytes.truncate(random(&mut seed) as usize % bytes.len());
        }
        let mut copy = bytes.clone();
        refused += u32::from(drain::<ToWorker>(&mut bytes).is_err());
        refused += u32::from(drain::<FromWorker>(&mut copy).is_err());
    }
    assert!(refused > 1000, "mutations were hardly noticed: {refused}");
}

fn drain<M: Message>(buffer: &mut BytesMut) -> Result<(), WireError> {
    while decode::<M>(buffer)?.is_some() {}
    Ok(())
}
