//! What an encoder that keeps the rules can count on.

use crate::encoder::{AUDIO_HEADER, Bystander, Encoder, VIDEO_HEADER, header, message};
use crate::world::{PATIENCE, World, next};
use bytes::Bytes;
use media::{Frame, TrackKind};
use origin::Ingested;
use origin::rtmp::Listener;
use rml_rtmp::rml_amf0::{Amf0Value, serialize};
use rml_rtmp::sessions::ClientSessionEvent;
use std::collections::HashMap;
use std::time::Duration;
use tokio::net::TcpStream;

const PICTURE: &[u8] = &[0x17, 1, 0, 0, 66, 0, 0, 0, 2, 0x65, 9];

#[tokio::test]
async fn set_up_metadata_and_frames_arrive_in_order() {
    let world = World::start();
    let mut encoder = Encoder::publish(world.addr, "live", "show?key=k").await.ok().unwrap();
    let mut received = world.take("show");
    let metadata = HashMap::from([
        ("framerate".to_owned(), Amf0Value::Number(25.0)),
        ("encoder".to_owned(), Amf0Value::Utf8String("a test".to_owned())),
    ]);
    let name = |text: &str| Amf0Value::Utf8String(text.to_owned());
    let values = vec![name("@setDataFrame"), name("onMetaData"), Amf0Value::Object(metadata)];
    encoder.raw(&message(10, 18, &serialize(&values).unwrap())).await;
    encoder.video(0, VIDEO_HEADER).await;
    encoder.audio(0, AUDIO_HEADER).await;
    encoder.audio(21, &[0xAF, 1, 7, 7]).await;
    encoder.video(40, PICTURE).await;
    // The same set-up again is no news.
    encoder.video(80, VIDEO_HEADER).await;
    encoder.video(80, PICTURE).await;

    let Some(Ingested::Announced(announced)) = next(&mut received).await else { panic!("metadata first") };
    assert_eq!((announced.frame_rate_hz, announced.encoder.as_deref()), (Some(25.0), Some("a test")));
    let Some(Ingested::Video(video)) = next(&mut received).await else { panic!("then the video's set-up") };
    assert_eq!((video.width, video.height, video.codec().as_str()), (1920, 1080, "avc1.640028"));
    let Some(Ingested::Audio(audio)) = next(&mut received).await else { panic!("then the audio's set-up") };
    assert_eq!((audio.sample_rate, audio.channels), (48_000, 2));
    let audio = Frame { kind: TrackKind::Audio, dts: 21, pts: 21, keyframe: true, data: Bytes::from_static(&[7, 7]) };
    let video = |dts| Frame {
        kind: TrackKind::Video,
        dts,
        pts: dts + 66,
        keyframe: true,
        data: Bytes::from_static(&[0, 0, 0, 2, 0x65, 9]),
    };
    for frame in [audio, video(40), video(80)] {
        assert_eq!(next(&mut received).await, Some(Ingested::Frame(frame)));
    }

    encoder.finish().await;
    assert_eq!(next(&mut received).await, None);
    encoder.closed().await;
    assert_eq!(world.closed("finished"), 1.0);
    assert_eq!(world.metric("vivid_origin_frames_in_total", "video"), 2.0);
    drop(encoder);
    world.stop().await;
}

#[tokio::test]
async fn a_lost_connection_ends_the_stream() {
    let world = World::start();
    let mut encoder = Encoder::publish(world.addr, "live", "show?key=k").await.ok().unwrap();
    let mut received = world.take("show");
    encoder.video(0, VIDEO_HEADER).await;
    assert!(next(&mut received).await.is_some());
    drop(encoder);
    assert_eq!(next(&mut received).await, None);
    world.stop().await;
}

#[tokio::test]
async fn a_publisher_without_frames_is_told_and_cut() {
    let world = World::with(|ingest| ingest.idle_timeout = Duration::from_millis(200));
    let mut encoder = Encoder::publish(world.addr, "live", "show?key=k").await.ok().unwrap();
    let mut received = world.take("show");
    assert_eq!(next(&mut received).await, None);
    encoder.closed().await;
    assert!(contains(&encoder.heard, "no frame for 200ms"));
    assert_eq!(world.closed("idle"), 1.0);
    drop(encoder);
    world.stop().await;
}

#[tokio::test]
async fn a_stream_that_ends_first_tells_its_publisher() {
    let world = World::start();
    let mut encoder = Encoder::publish(world.addr, "live", "show?key=k").await.ok().unwrap();
    drop(world.take("show"));
    encoder.closed().await;
    assert!(contains(&encoder.heard, "no longer takes frames"));
    assert_eq!(world.closed("stream_closed"), 1.0);
    drop(encoder);
    world.stop().await;
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let world = World::start();
    let mut bystander = Bystander::start(&world).await;
    for (app, name, sentence, reason) in [
        ("live", "show?key=wrong", "the stream key is wrong", "unknown_key"),
        ("live", "show", "the stream key is wrong", "unknown_key"),
        ("live", "bystander?key=k", "already live under this name", "name_taken"),
        ("live", "no/slash?key=k", "1 to 64 letters", "bad_name"),
        ("other", "show?key=k", "publish to rtmp://HOST/live/STREAM", "not_allowed"),
    ] {
        let refused = bystander.during(async {
            let (code, mut encoder) = Encoder::publish(world.addr, app, name).await.err().unwrap();
            encoder.closed().await;
            (code, contains(&encoder.heard, sentence))
        });
        assert_eq!(refused.await, ("NetStream.Publish.BadName".to_owned(), true), "{app} {name}");
        assert!(world.metric("vivid_origin_rtmp_publishes_total", reason) >= 1.0);
    }
    assert_eq!(world.metric("vivid_origin_rtmp_publishes_total", "accepted"), 1.0);
    assert_eq!(world.closed("refused"), 5.0);
    drop(bystander);
    world.stop().await;
}

#[tokio::test]
async fn a_codec_that_is_not_taken_is_named() {
    let world = World::start();
    let mut encoder = Encoder::publish(world.addr, "live", "show?key=k").await.ok().unwrap();
    encoder.video(0, &[0x90, b'h', b'v', b'c', b'1', 1]).await;
    let status = ClientSessionEvent::UnhandleableOnStatusCode { code: "NetStream.Publish.Failed".to_owned() };
    assert_eq!(encoder.event().await, status);
    encoder.closed().await;
    assert!(contains(&encoder.heard, "video is HEVC; set the encoder to H.264"));
    drop(encoder);
    world.stop().await;
}

#[tokio::test]
async fn pings_and_bytes_are_answered() {
    let world = World::start();
    let mut encoder = Encoder::publish(world.addr, "live", "show?key=k").await.ok().unwrap();
    let mut received = world.take("show");
    // A window of 16,384 bytes, a ping, then more than half of the window.
    encoder.raw(&message(2, 5, &16_384_u32.to_be_bytes())).await;
    encoder.raw(&message(2, 4, &[0, 6, 1, 2, 3, 4])).await;
    encoder.raw(&message(9, 9, VIDEO_HEADER)).await;
    assert!(next(&mut received).await.is_some());
    let pong = ClientSessionEvent::PingResponseReceived { timestamp: rml_rtmp::time::RtmpTimestamp::new(0x0102_0304) };
    assert_eq!(encoder.event().await, pong);
    let noise = vec![0; 16_384];
    encoder.raw(&message(9, 16, &noise)).await;
    let ClientSessionEvent::AcknowledgementReceived { bytes_received } = encoder.event().await else {
        panic!("an acknowledgement");
    };
    assert!((8192..=17_500).contains(&bytes_received), "{bytes_received}");
    assert_eq!(world.dropped("unsupported"), 1.0);
    drop(encoder);
    world.stop().await;
}

#[tokio::test]
async fn an_aborted_message_costs_nothing_else() {
    let world = World::start();
    let mut encoder = Encoder::publish(world.addr, "live", "show?key=k").await.ok().unwrap();
    let mut received = world.take("show");
    let begun = [&header(9, 9, 200)[..], &[0; 128]].concat();
    encoder.raw(&[begun, message(2, 2, &[0, 0, 0, 9]), message(9, 9, VIDEO_HEADER)].concat()).await;
    assert!(matches!(next(&mut received).await, Some(Ingested::Video(_))));
    drop(encoder);
    world.stop().await;
}

#[tokio::test]
async fn connections_beyond_the_bound_are_refused_at_the_door() {
    let world = World::with(|ingest| ingest.connections_max = 1);
    let mut bystander = Bystander::start(&world).await;
    bystander
        .during(async {
            let mut socket = TcpStream::connect(world.addr).await.unwrap();
            crate::encoder::read_to_end(&mut socket, &mut Vec::new()).await;
        })
        .await;
    assert_eq!(world.metric("vivid_origin_rtmp_connections_refused_total", "connections_max"), 1.0);
    drop(bystander);
    world.stop().await;
}

#[tokio::test]
async fn a_used_port_is_named() {
    let world = World::start();
    let ingest = config::Config::parse("[origin]\n", []).unwrap().origin.unwrap().ingest;
    let table = std::sync::Arc::new(NoStreams);
    let error = Listener::bind(world.addr, ingest, table, &prometheus::Registry::new()).err().unwrap().to_string();
    assert!(error.contains(&world.addr.to_string()) && error.contains("origin.rtmp_listen"), "{error}");
    world.stop().await;
}

#[tokio::test]
async fn stopping_ends_publishers_in_time() {
    let world = World::start();
    let mut encoder = Encoder::publish(world.addr, "live", "show?key=k").await.ok().unwrap();
    let mut received = world.take("show");
    let stopped = async { tokio::time::timeout(PATIENCE, world.stop()).await.unwrap() };
    tokio::join!(stopped, encoder.closed());
    assert_eq!(next(&mut received).await, None);
    assert!(contains(&encoder.heard, "the origin stops"));
}

struct NoStreams;

impl origin::Publishing for NoStreams {
    fn publish(&self, _: &origin::PublishRequest, _: Option<&str>) -> Result<origin::Publisher, origin::Refusal> {
        Err(origin::Refusal::Full)
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
