//! What encoders made of the settings that they were given, as they and their bitstreams say: an option that FFmpeg passes on
//! wrongly is as silent as one that it drops.

use super::*;
use crate::{Encoding, Make, Plan};
use std::collections::HashMap;
use std::time::Duration;

const SEGMENT: i64 = 30;

fn settings(codec: VideoCodec, preset: &str, (height, quality): (u32, Option<u8>)) -> Settings {
    let (width, preset) = (height * 16 / 9, preset.to_owned());
    let make = Make::Video(Encoding { codec, width, height, every: 1, bitrate: 800_000, quality, preset });
    let plan = Plan {
        rate: FrameRate::new(30, 1).unwrap(),
        segment_frames: SEGMENT as u32,
        part_frames: 10,
        target_duration_s: 1,
        part_target: Duration::from_millis(334),
        renditions: Vec::new(),
        thumbnails: None,
    };
    Settings::of(&plan, &make).unwrap()
}

/// Two scenes in turn, which have nothing to do with each other, cut where no segment begins.
fn picture(index: i64, (width, height): (u32, u32)) -> Video {
    let mut pixels = Video::new(Pixel::YUV420P, width, height);
    let other = (index + 10) / 17 % 2 == 1;
    for plane in 0..3 {
        let stride = pixels.stride(plane);
        for (y, line) in (0_i64..).zip(pixels.data_mut(plane).chunks_mut(stride)) {
            for (x, byte) in (index..).zip(line) {
                *byte = if other { 255 - (y * y / 8 + x) as u8 } else { (x * y / 16) as u8 };
            }
        }
    }
    pixels
}

/// All that comes of so many segments, and how many pictures it had been given when the first one had not come yet.
fn encoded(settings: &Settings, segments: i64) -> (Vec<Coded>, i64) {
    ffmpeg_next::init().unwrap();
    let size = (settings.encoding.width, settings.encoding.height);
    let mut encoder = Encoder::open(settings, (0, 1), &picture(0, size)).unwrap();
    let (mut coded, mut first) = (Vec::new(), 0);
    for index in 0..SEGMENT * segments {
        encoder.encode(&picture(index, size), index).unwrap();
        while let Some(one) = encoder.coded().unwrap() {
            coded.push(one);
        }
        first += i64::from(coded.is_empty());
    }
    encoder.finish().unwrap();
    while let Some(one) = encoder.coded().unwrap() {
        coded.push(one);
    }
    let indices: Vec<i64> = coded.iter().map(|one| one.index).collect();
    assert_eq!(indices, (0..SEGMENT * segments).collect::<Vec<_>>(), "in the order in which they are shown");
    assert!(coded.iter().all(|one| one.key == (one.index % SEGMENT == 0)));
    (coded, first)
}

/// `key=value` and flags of a text that an encoder puts beside its pictures, behind `begins`.
fn said(data: &[u8], begins: &str) -> HashMap<String, String> {
    let at = data.windows(begins.len()).position(|window| window == begins.as_bytes()).expect("it says nothing");
    let text: Vec<u8> = data[at..].iter().copied().take_while(|byte| (32..127).contains(byte)).collect();
    let words = String::from_utf8(text).unwrap();
    let pairs = words.split_whitespace().map(|word| word.split_once('=').unwrap_or((word, "")));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn assert_said(said: &HashMap<String, String>, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(said.get(*name).map(String::as_str), Some(*value), "{name} in {said:?}");
    }
}

/// What is used of a NAL unit: files have four bytes of length before each.
fn nals(data: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut found) = (data, Vec::new());
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (nal, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        found.push(nal);
        rest = after;
    }
    found
}

#[test]
fn x264_says_what_it_was_told() {
    for (height, quality, segments) in [(180, None, 4), (720, Some(23), 1)] {
        let (coded, held) = encoded(&settings(VideoCodec::H264, "veryfast", (height, quality)), segments);
        assert_eq!(held, 0, "a picture comes out before the next goes in");
        let said = said(&coded[0].data, "x264 - core");
        let sliced = if height < 720 { "0" } else { "1" };
        let finest = quality.unwrap_or_default().to_string();
        assert_said(
            &said,
            &[
                ("keyint", "30"),
                ("scenecut", "0"),
                ("bframes", "0"),
                ("rc_lookahead", "0"),
                ("mbtree", "0"),
                ("sliced_threads", sliced),
                ("intra_refresh", "0"),
                ("bitrate", "800"),
                ("vbv_maxrate", "1000"),
                ("vbv_bufsize", "1000"),
                ("qpmin", &finest),
            ],
        );
        for one in &coded {
            let is_intra = nals(&one.data).iter().any(|nal| nal[0] & 0x1F == 5);
            assert_eq!(is_intra, one.key, "picture {}", one.index);
        }
    }
}

/// With the settings in its header, which are left out of real streams.
fn x265_says(settings: &Settings) -> HashMap<String, String> {
    let found = encoder::find_by_name(x265::CODEC.name()).unwrap();
    let mut video = Context::new_with_codec(found).encoder().video().unwrap();
    video.set_width(settings.encoding.width);
    video.set_height(settings.encoding.height);
    video.set_format(Pixel::YUV420P);
    video.set_time_base(Rational::new(1, 30));
    video.set_frame_rate(Some(Rational::new(30, 1)));
    let mut options = (x265::CODEC.options)(settings, settings.preset(0));
    let own = options.get("x265-params").unwrap().replace("info=0", "info=1");
    options.set("x265-params", &own);
    ffi::open(&mut video.0, found, x265::CODEC.name(), options).unwrap();
    said(ffi::extradata(&encoder::video::Encoder(video)), "x265 (build")
}

#[test]
fn x265_says_what_it_was_told() {
    ffmpeg_next::init().unwrap();
    let usual = [
        ("keyint", "30"),
        ("min-keyint", "30"),
        ("scenecut", "0"),
        ("no-open-gop", ""),
        ("bframes", "0"),
        ("rc-lookahead", "0"),
        ("frame-threads", "1"),
        ("no-repeat-headers", ""),
    ];
    let small = x265_says(&settings(VideoCodec::Hevc, "superfast", (360, None)));
    assert_said(&small, &usual);
    assert_said(&small, &[("rc", "abr"), ("bitrate", "800"), ("vbv-maxrate", "1000"), ("vbv-bufsize", "1000")]);
    assert_said(&small, &[("no-wpp", "")]);
    let fine = x265_says(&settings(VideoCodec::Hevc, "superfast", (720, Some(26))));
    assert_said(&fine, &usual);
    assert_said(&fine, &[("rc", "abr"), ("bitrate", "800"), ("vbv-maxrate", "1000"), ("qpmin", "26"), ("wpp", "")]);
}

#[test]
fn x265_holds_nothing_back_and_begins_nothing_but_segments() {
    let (coded, held) = encoded(&settings(VideoCodec::Hevc, "ultrafast", (180, None)), 4);
    assert_eq!(held, 0, "a picture comes out before the next goes in");
    for one in &coded {
        let types: Vec<u8> = nals(&one.data).into_iter().map(media::hevc::nal_type).collect();
        // IDR pictures where segments begin, and pictures that others may refer to, or not, everywhere else.
        let expected = if one.key { 16..=20 } else { 0..=1 };
        assert!(types.iter().filter(|&&kind| kind < 32).all(|kind| expected.contains(kind)), "{types:?}");
    }
}

/// Bits of a frame's header from the first on.
fn bit(data: &[u8], at: usize) -> bool {
    data[at / 8] >> (7 - at % 8) & 1 == 1
}

#[test]
fn vp9_shows_every_picture_that_it_codes() {
    for quality in [None, Some(34)] {
        let (coded, held) = encoded(&settings(VideoCodec::Vp9, "8", (180, quality)), 4);
        assert_eq!(held, 0, "a picture comes out before the next goes in");
        for one in &coded {
            // VP9, 6.2 of profile 0: frame_marker, profile, show_existing_frame, frame_type, show_frame; and no superframe,
            // whose index would end it (annex B).
            let header = [4, 5, 6].map(|at| bit(&one.data, at));
            assert_eq!(header, [false, !one.key, true], "picture {}", one.index);
            assert_ne!(one.data.last().unwrap() >> 5, 6, "picture {}", one.index);
        }
    }
}

#[test]
fn av1_shows_every_picture_that_it_codes() {
    for quality in [None, Some(35)] {
        let (coded, _) = encoded(&settings(VideoCodec::Av1, "12", (180, quality)), 4);
        for one in &coded {
            let mut frames = 0;
            let mut rest = &one.data[..];
            while let [header, after @ ..] = rest {
                let (mut size, mut at) = (0, 0);
                loop {
                    size |= usize::from(after[at] & 0x7F) << (7 * at);
                    at += 1;
                    if after[at - 1] & 0x80 == 0 {
                        break;
                    }
                }
                let payload = &after[at..at + size];
                if matches!(header >> 3 & 0xF, 3 | 6) {
                    frames += 1;
                    // AV1, 5.9.2: show_existing_frame, frame_type in two bits, show_frame. 1 is an inter frame.
                    let told = (bit(payload, 0), payload[0] >> 5 & 3, bit(payload, 3));
                    assert_eq!(told, (false, u8::from(!one.key), true), "picture {}", one.index);
                }
                rest = &after[at + size..];
            }
            assert_eq!(frames, 1, "picture {}: none that is not shown, and none twice", one.index);
        }
    }
}

/// As where there is no time for them.
#[test]
fn pictures_that_are_left_out_move_no_key_frame() {
    ffmpeg_next::init().unwrap();
    for (codec, preset) in [(VideoCodec::H264, "ultrafast"), (VideoCodec::Hevc, "ultrafast"), (VideoCodec::Vp9, "8")] {
        let mut encoder =
            Encoder::open(&settings(codec, preset, (180, None)), (0, 1), &picture(0, (320, 180))).unwrap();
        let mut keys = Vec::new();
        for index in (0..4 * SEGMENT).filter(|index| index % SEGMENT == 0 || index % 7 > 1) {
            encoder.encode(&picture(index, (320, 180)), index).unwrap();
            while let Some(one) = encoder.coded().unwrap_or_else(|error| panic!("{codec:?}: {error}")) {
                keys.extend(one.key.then_some(one.index));
            }
        }
        assert_eq!(keys, [0, SEGMENT, 2 * SEGMENT, 3 * SEGMENT], "{codec:?}");
    }
}
