//! Replays the seeds of the fuzz target for the wire between origin and worker, which hold its messages to the byte.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use bytes::{Bytes, BytesMut};
use media::{AacConfig, Frame, TrackConfig, TrackKind};
use std::time::Duration;
use transcode::Shed;
use transcode::wire::{FromWorker, Message, Repair, ToWorker, decode, encode};

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
        ],
    );
}
