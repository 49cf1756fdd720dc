//! FFmpeg's own RTMP client against the listener: every frame of the file it writes at the same time arrives.

use crate::world::{PATIENCE, World, next};
use bytes::Bytes;
use media::flv::{AudioTag, VideoTag, VideoTags};
use media::{Frame, TrackKind};
use origin::Ingested;
use std::process::Stdio;
use tokio::process::Command;

/// Two seconds of picture and tone, sent as fast as they encode, with timestamps from `start_seconds`.
async fn publish(start_seconds: u32) {
    let world = World::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("copy.flv");
    let url = format!("rtmp://{}/live/x?key=k", world.addr);
    let flv = format!("f=flv:flvflags=no_duration_filesize:output_ts_offset={start_seconds}");
    let mut ffmpeg = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", "testsrc=size=320x180:rate=30:duration=2"])
        .args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=2"])
        .args(["-map", "0", "-map", "1", "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-g", "30"])
        .args(["-c:a", "aac", "-flags", "+global_header"])
        .args(["-f", "tee", &format!("[{flv}]{url}|[{flv}]{}", file.display())])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("ffmpeg is needed for this test: apt-get install ffmpeg");

    let mut received = tokio::select! {
        received = world.published("x") => received,
        ended = ffmpeg.wait() => panic!("ffmpeg ended before its publish was accepted: {ended:?}"),
    };
    let mut items = Vec::new();
    while let Some(item) = next(&mut received).await {
        items.push(item);
    }
    let output = ffmpeg.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let expected = frames_of(&std::fs::read(&file).unwrap());
    let frames: Vec<_> =
        items.iter().filter_map(|i| if let Ingested::Frame(f) = i { Some(f.clone()) } else { None }).collect();
    assert_eq!(frames.iter().filter(|frame| frame.kind == TrackKind::Video).count(), 60);
    assert_eq!(frames.iter().filter(|frame| frame.kind == TrackKind::Video && frame.keyframe).count(), 2);
    assert!(frames.iter().filter(|frame| frame.kind == TrackKind::Audio).count() >= 94);
    assert!(frames.iter().all(|frame| frame.pts >= i64::from(start_seconds) * 1000 - 100));
    assert_eq!(frames.len(), expected.len());
    for (index, (frame, expected)) in frames.iter().zip(&expected).enumerate() {
        assert_eq!(frame, expected, "frame {index}");
    }
    let Some(Ingested::Announced(announced)) = items.first() else { panic!("metadata first: {:?}", items.first()) };
    assert_eq!(announced.frame_rate_hz, Some(30.0));
    assert!(announced.encoder.as_ref().is_some_and(|encoder| encoder.starts_with("Lavf")));
    let set_ups = items.iter().filter(|item| matches!(item, Ingested::Video(_) | Ingested::Audio(_))).count();
    assert_eq!(set_ups, 2);
    assert_eq!(world.metric("vivid_origin_rtmp_messages_dropped_total", ""), 0.0);
    assert_eq!(world.closed("finished"), 1.0);
    world.stop().await;
}

#[tokio::test]
async fn a_publish_arrives_frame_by_frame() {
    publish(0).await;
}

/// Beyond 4 h 39 min timestamps take the extended field, which FFmpeg repeats in type 3 chunks.
#[tokio::test]
async fn a_publish_of_five_hours_ago_arrives_frame_by_frame() {
    publish(5 * 3600).await;
}

#[tokio::test]
async fn a_publish_of_yesterday_arrives_frame_by_frame() {
    publish(25 * 3600).await;
}

#[tokio::test]
async fn a_refused_publisher_reads_why() {
    let world = World::start();
    let url = format!("rtmp://{}/live/x?key=wrong", world.addr);
    let ffmpeg = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", "testsrc=size=320x180:rate=30:duration=1"])
        .args(["-c:v", "libx264", "-f", "flv", &url])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, ffmpeg).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("the stream key is wrong or missing"), "{said}");
    world.stop().await;
}

/// The frames of an FLV file: a header of 9 bytes, then tags of 11 bytes and their payload, each behind 4 bytes of length.
fn frames_of(file: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut tags = VideoTags::default();
    let mut rest = &file[9..];
    while rest.len() > 15 {
        let header = &rest[4..15];
        let length = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
        let dts = i64::from(u32::from_be_bytes([header[7], header[4], header[5], header[6]]));
        let payload = Bytes::copy_from_slice(&rest[15..15 + length]);
        match header[0] {
            8 => {
                if let AudioTag::Frame(data) = AudioTag::parse(payload).unwrap() {
                    frames.push(Frame { kind: TrackKind::Audio, dts, pts: dts, keyframe: true, data });
                }
            }
            9 => {
                if let VideoTag::Frame { keyframe, composition_ms, data } = tags.read(payload).unwrap() {
                    let pts = dts + i64::from(composition_ms);
                    frames.push(Frame { kind: TrackKind::Video, dts, pts, keyframe, data });
                }
            }
            _ => {}
        }
        rest = &rest[15 + length..];
    }
    frames
}
