//! What comes out of a rung that is told to leave something out.

use super::*;
use crate::wire;
use crate::{Encoding, Make, Plan};
use bytes::BytesMut;
use config::VideoCodec;
use ffmpeg_next::codec::{Context, Id};
use ffmpeg_next::format::Pixel;
use ffmpeg_next::{Packet, decoder};
use media::FrameRate;
use std::io::{Read, Seek};
use std::sync::mpsc::sync_channel;

const SEGMENT: i64 = 16;

fn settings(preset: &str) -> Settings {
    changed(|encoding| preset.clone_into(&mut encoding.preset))
}

fn changed(change: impl FnOnce(&mut Encoding)) -> Settings {
    let (quality, preset) = (Some(23), String::new());
    let mut encoding =
        Encoding { codec: VideoCodec::H264, width: 64, height: 64, every: 1, bitrate: 100_000, quality, preset };
    change(&mut encoding);
    let make = Make::Video(encoding);
    let plan = Plan {
        rate: FrameRate::new(30, 1).unwrap(),
        segment_frames: SEGMENT as u32,
        part_frames: 8,
        target_duration_s: 1,
        part_target: Duration::from_millis(267),
        renditions: Vec::new(),
        thumbnails: None,
    };
    Settings::of(&plan, &make).unwrap()
}

/// A picture that moves.
fn picture(index: i64, shed: Shed) -> Picture {
    let mut pixels = Video::new(Pixel::YUV420P, 64, 64);
    for plane in 0..3 {
        let (stride, value) = (pixels.stride(plane), 128 + (index % 64) as u8);
        let lines = pixels.data_mut(plane).chunks_mut(stride);
        lines.enumerate().for_each(|(line, bytes)| bytes.fill(if line as i64 == index % 32 { value } else { 100 }));
    }
    Picture { index, pixels: Arc::new(pixels), came: Instant::now(), shed, paused: Paused::default() }
}

/// What a rung says of segments, of each of which so much is left out; and which of its pictures it hands down.
fn run(settings: Settings, sheds: &[Shed]) -> (Vec<FromWorker>, Vec<i64>) {
    run_within(Duration::MAX, settings, sheds)
}

fn run_within(bearable: Duration, settings: Settings, sheds: &[Shed]) -> (Vec<FromWorker>, Vec<i64>) {
    ffmpeg_next::init().unwrap();
    let mut file = tempfile::tempfile().unwrap();
    let output = Output::to(file.try_clone().unwrap());
    let (below, handed) = sync_channel(1000);
    let below = Below { pictures: below, every: 1 };
    let rung =
        Rung::new(settings, (1, 0, "nobody asked".to_owned()), Some(below), (output, Pace::new(1, bearable), None));
    let (pictures, receiver) = sync_channel(1000);
    for (segment, shed) in sheds.iter().enumerate() {
        let first = segment as i64 * SEGMENT;
        (first..first + SEGMENT).for_each(|index| pictures.send(picture(index, *shed)).unwrap());
    }
    drop(pictures);
    rung.run(&receiver).unwrap();
    let mut buffer = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut buffer).unwrap();
    let mut buffer = BytesMut::from(&buffer[..]);
    let mut said = Vec::new();
    while let Some(message) = wire::decode(&mut buffer).unwrap() {
        match message {
            FromWorker::Encoder { encoder, .. } => assert_eq!((encoder.as_str(), said.len()), ("libx264", 0)),
            message => said.push(message),
        }
    }
    (said, handed.iter().map(|picture| picture.index).collect())
}

/// Every frame with the track that was told first: how many pictures come out, and none is complained of.
fn decoded(said: &[FromWorker]) -> usize {
    let Some(FromWorker::Track { config: TrackConfig::Avc { config, .. }, .. }) = said.first() else {
        panic!("{said:?}")
    };
    let mut context = Context::new_with_codec(decoder::find(Id::H264).unwrap());
    super::super::ffi::set_extradata(&mut context, &config.record).unwrap();
    let mut decoder = context.decoder().video().unwrap();
    let mut shown = 0;
    let mut take = |decoder: &mut decoder::Video| {
        let mut picture = Video::empty();
        while decoder.receive_frame(&mut picture).is_ok() {
            shown += 1;
        }
    };
    for message in said {
        if let FromWorker::Frame { frame, .. } = message {
            decoder.send_packet(&Packet::copy(&frame.data)).unwrap();
            take(&mut decoder);
        }
    }
    decoder.send_eof().unwrap();
    take(&mut decoder);
    shown
}

fn indices(said: &[FromWorker]) -> Vec<(i64, bool)> {
    let frames = said.iter().filter_map(|message| match message {
        FromWorker::Frame { frame, .. } => Some((frame.pts / 1000, frame.keyframe)),
        _ => None,
    });
    frames.collect()
}

#[test]
fn steps_are_taken_where_segments_begin_and_viewers_keep_their_track() {
    let step = |faster, thinned, away| Shed { faster, thinned, away };
    let none = Shed::default();
    let sheds =
        [none, step(1, false, 0), step(2, true, 0), step(2, true, 1), step(2, true, 1), step(1, false, 0), none];
    for preset in ["veryfast", "medium"] {
        let (said, handed) = run(settings(preset), &sheds);
        let everies = [1, 1, 2, 0, 0, 1, 1];
        let expected = (0..7 * SEGMENT).filter(|index| {
            let every = everies[(index / SEGMENT) as usize];
            every > 0 && index % every == 0
        });
        let expected: Vec<_> = expected.map(|index| (index, index % SEGMENT == 0)).collect();
        assert_eq!(indices(&said), expected, "{preset}");
        assert_eq!(decoded(&said), expected.len());
        assert_eq!(handed, (0..7 * SEGMENT).collect::<Vec<_>>(), "rungs below notice nothing");
        // Each turn is told between the frames that it parts.
        let mut turns = Vec::new();
        let mut last = -1;
        for message in &said {
            match message {
                FromWorker::Frame { frame, .. } => last = frame.pts / 1000,
                FromWorker::Turn { segment, every, .. } => turns.push((*segment as i64, *every, last)),
                FromWorker::TurnRefused { .. } => panic!("{preset} has another track"),
                _ => {}
            }
        }
        assert_eq!(turns, [(2, 2, 31), (3, 0, 46), (5, 1, 46)]);
        let tracks = said.iter().filter(|message| matches!(message, FromWorker::Track { .. })).count();
        assert_eq!(tracks, 1);
    }
}

#[test]
fn a_preset_that_needs_another_track_is_not_taken() {
    let mut other = settings("superfast");
    other.force_another_track();
    let (said, _) = run(other, &[Shed::default(), Shed { faster: 1, ..Shed::default() }, Shed::default()]);
    let refused = said.iter().filter(|message| matches!(message, FromWorker::TurnRefused { .. })).count();
    assert_eq!((refused, indices(&said).len(), decoded(&said)), (1, 48, 48));
}

#[test]
fn pictures_that_are_too_late_are_left_out_up_to_the_boundary_and_every_part_keeps_one() {
    // Later than live by its size and preset, on any machine.
    let make = |encoding: &mut Encoding| {
        (encoding.width, encoding.height, encoding.preset) = (1920, 1088, "placebo".to_owned());
    };
    let (said, handed) = run_within(Duration::ZERO, changed(make), &[Shed::default(); 2]);
    let shown: Vec<_> = indices(&said).into_iter().map(|(index, _)| index).collect();
    let parts = (0..2 * SEGMENT).step_by(8);
    assert!(parts.clone().all(|part| shown.contains(&part)), "{shown:?}");
    assert!(shown.len() < 24, "{shown:?}");
    assert_eq!(handed.len(), 32, "rungs below notice nothing");
    let left_out = FromWorker::Repaired { repair: Repair::VideoLeftOut, count: 1 };
    assert_eq!(said.iter().filter(|message| **message == left_out).count(), 32 - shown.len());
    assert_eq!(decoded(&said), shown.len());
}
