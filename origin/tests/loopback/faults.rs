//! Sources that send what they should not: each costs what it must, is counted, and the stream goes on.

use crate::clip::Recipe;
use crate::follower::Follower;
use crate::world::{World, config, worker};
use bytes::{Bytes, BytesMut};
use config::Hardware;
use media::TrackKind;
use origin::Ingested;
use transcode::WorkerProgram;
use transcode::wire::{self, FromWorker, ToWorker};

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_nobody_can_decode_are_counted_and_the_stream_goes_on() {
    let world = World::start(config(|_| {}));
    let mut clip = Recipe::regular(8).clip();
    for item in &mut clip.items {
        if let Ingested::Frame(frame) = item
            && frame.kind == TrackKind::Video
            && (3_000..3_300).contains(&frame.dts)
        {
            // Whole NAL units, of no kind that there is.
            frame.data = Bytes::from_static(&[0, 0, 0, 4, 0x7F, 0xFF, 0xFF, 0xFF]);
        }
    }
    let playing = world.play("a", clip, 2.0);
    let mut rung = Follower::join(&world.client, "a", "90p").await;
    drop(playing.await.unwrap());
    rung.follow_to_end().await;
    assert!(rung.text.ends_with("#EXT-X-ENDLIST\n") && !rung.text.contains("#EXT-X-DISCONTINUITY\n"), "{}", rung.text);
    let repaired = |kind: &str| format!("vivid_transcode_repairs_total{{repair=\"{kind}\"}}");
    let mended = world.metric(&repaired("video_undecodable")).await + world.metric(&repaired("video_gap_filled")).await;
    assert!(mended >= 8.0, "{mended} pictures were mended");
    assert_eq!(world.metric("vivid_transcode_workers_started_total").await, 1.0);
}

/// What browsers cannot decode is not passed through.
#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_no_browser_knows_is_encoded_at_its_own_size() {
    let world = World::start(config(|_| {}));
    let video = &["-g", "60", "-sc_threshold", "0", "-bf", "0", "-pix_fmt", "yuv444p"];
    let playing = world.play("a", Recipe { video, ..Recipe::regular(6) }.clip(), 2.0);
    let mut top = Follower::join(&world.client, "a", "180p").await;
    let multivariant = world.client.get("/live/a/index.m3u8").await;
    let text = multivariant.text();
    assert_eq!((text.matches("avc1.").count() > 0, text.contains("avc1.f4")), (true, false), "{text}");
    drop(playing.await.unwrap());
    top.follow_to_end().await;
    assert!(world.metric("vivid_origin_parts_total{make=\"encoded\"}").await > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_device_failed_does_without_from_the_next_worker_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut words = BytesMut::new();
    let reason = "the device's encoder h264_nvenc failed: no more memory".to_owned();
    for message in [FromWorker::Hello, FromWorker::DeviceFailed { reason }] {
        wire::encode(&message, &mut words).unwrap();
    }
    std::fs::write(folder.path().join("words"), words).unwrap();
    // The first worker says so and ends; what the next one is told is kept.
    let script = format!(
        "cd '{}' && mkdir first 2>/dev/null && exec cat words; tee told | '{}'",
        folder.path().display(),
        worker().path.display()
    );
    let program = WorkerProgram { path: "/bin/sh".into(), args: vec!["-c".into(), script.into()] };
    let world = World::start_with(config(|config| assert_eq!(config.worker.hardware, Hardware::Auto)), program);
    let playing = world.play("a", Recipe::regular(10).clip(), 2.0);
    let mut rung = Follower::join(&world.client, "a", "90p").await;
    drop(playing.await.unwrap());
    rung.follow_to_end().await;
    let ended = |reason: &str| format!("vivid_transcode_workers_ended_total{{reason=\"{reason}\"}}");
    assert_eq!((world.metric(&ended("device")).await, world.metric(&ended("failed")).await), (1.0, 0.0));
    let mut told = BytesMut::from(&std::fs::read(folder.path().join("told")).unwrap()[..]);
    loop {
        match wire::decode::<ToWorker>(&mut told).unwrap() {
            Some(ToWorker::Hello { hardware, .. }) => break assert_eq!(hardware, Hardware::Off),
            Some(ToWorker::Trials(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}
