//! Sources with faults: the grid stays whole, and what was mended is counted.

use crate::clip::{Clip, Recipe, index};
use crate::oracle;
use crate::run::{Outcome, transcode, transcode_as};
use bytes::Bytes;
use media::TrackConfig;
use transcode::{EndReason, Input};

fn indices(outcome: &Outcome, name: &str) -> Vec<i64> {
    outcome.named(name).frames.iter().map(|frame| index(frame, outcome.job.plan.rate)).collect()
}

fn units(outcome: &Outcome) -> i64 {
    let times: Vec<_> = outcome.named("audio").frames.iter().map(|frame| frame.pts).collect();
    assert_eq!(times, (0..times.len() as i64).map(|unit| unit * 1024).collect::<Vec<_>>(), "audio has a gap");
    times.len() as i64
}

#[tokio::test]
async fn missing_frames_are_repeated_and_doubled_ones_dropped() {
    let mut clip = Recipe::default().clip();
    let rate = clip.source.rate;
    // The last twenty frames before an IDR picture, so that what follows decodes.
    clip.edit_video(|frame| !(40..60).contains(&index(frame, rate)));
    let doubled = clip.inputs.iter().find(|input| matches!(input, Input::Video(f) if index(f, rate) == 90)).cloned();
    let at = clip.inputs.iter().position(|input| Some(input) == doubled.as_ref()).unwrap();
    clip.inputs.insert(at + 1, doubled.unwrap());

    let outcome = transcode(&clip, &[240]).await;
    assert_eq!(outcome.reason, EndReason::Finished);
    assert_eq!(indices(&outcome, "240p"), (0..120).collect::<Vec<_>>());
    assert_eq!(outcome.repaired("video_gap_filled"), 20.0);
    assert_eq!(outcome.repaired("video_duplicate_dropped"), 1.0);
    let raw = oracle::decode(outcome.named("240p"), rate);
    let picture = |index: usize| &raw[index * 320 * 240 * 3 / 2..][..320 * 240];
    let difference = |a: usize, b: usize| {
        let sum: u64 = picture(a).iter().zip(picture(b)).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        sum as f64 / (320.0 * 240.0)
    };
    let (still, moving) = (difference(39, 59), difference(59, 60));
    assert!(moving > 3.0 * still, "the picture stands still ({still}), then goes on ({moving})");
}

#[tokio::test]
async fn a_source_that_starts_late_is_filled_from_zero() {
    let mut clip = Recipe::default().clip();
    let ticks = i64::from(clip.source.rate.frame_ticks());
    clip.video().for_each(|frame| {
        frame.pts += 3 * ticks;
        frame.dts += 3 * ticks;
    });
    let outcome = transcode(&clip, &[240]).await;
    assert_eq!(indices(&outcome, "240p"), (0..123).collect::<Vec<_>>());
}

#[tokio::test]
async fn broken_frames_are_counted_and_leave_no_hole() {
    let mut clip = Recipe::default().clip();
    let rate = clip.source.rate;
    clip.edit_video(|frame| {
        if matches!(index(frame, rate), 50..=52) {
            frame.data = Bytes::from_static(&[0xFF; 100]);
        }
        true
    });
    let mut broken_units = 0;
    clip.edit_audio(|frame| {
        if (48_000..52_000).contains(&frame.pts) {
            frame.data = Bytes::from_static(&[0xFF; 20]);
            broken_units += 1;
        }
        true
    });
    let outcome = transcode(&clip, &[240]).await;
    assert_eq!(outcome.reason, EndReason::Finished);
    assert_eq!(indices(&outcome, "240p"), (0..120).collect::<Vec<_>>());
    assert_eq!(outcome.repaired("video_undecodable"), 3.0);
    assert_eq!(outcome.repaired("audio_undecodable"), f64::from(broken_units));
    let short = units(&outcome) * 1024 - 4 * 48_000;
    assert!(short.abs() <= 2048, "audio is {short} samples off");
}

/// Whatever bytes a publisher sends, there is a picture for every index up to the last one that could be decoded.
#[tokio::test]
async fn hostile_bytes_cost_pictures_and_not_the_stream() {
    let mut clip = Recipe::default().clip();
    let mut seed = 0x5EED_0002_u64;
    let mut hostile = |data: &Bytes| {
        let mut data = data.to_vec();
        for _ in 0..random(&mut seed) % 8 {
            let at = random(&mut seed) as usize % data.len();
            data[at] = random(&mut seed) as u8;
        }
        Bytes::from(data)
    };
    for input in clip.inputs.iter_mut().skip(10).step_by(2) {
        let (Input::Video(frame) | Input::Audio(frame)) = input else { continue };
        frame.data = hostile(&frame.data);
    }
    let outcome = transcode(&clip, &[240]).await;
    assert_eq!(outcome.reason, EndReason::Finished);
    let indices = indices(&outcome, "240p");
    assert_eq!(indices, (0..indices.len() as i64).collect::<Vec<_>>());
    assert!(indices.len() > 100, "{} pictures", indices.len());
    assert!(outcome.repaired("audio_undecodable") > 0.0, "nothing was hostile");
    assert!((units(&outcome) * 1024 - 4 * 48_000).abs() <= 48_000);
}

/// A small generator (xorshift64*), so that a failure can be repeated from its seed.
fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    seed.wrapping_mul(0x2545_F491_4F6C_DD1D)
}

#[tokio::test]
async fn a_jump_too_far_to_fill_ends_the_worker_with_a_reason() {
    let mut clip = Recipe::default().clip();
    let rate = clip.source.rate;
    clip.video().filter(|frame| index(frame, rate) >= 60).for_each(|frame| {
        frame.pts += i64::from(rate.num() * 60 * 1000);
        frame.dts = frame.pts;
    });
    let outcome = transcode(&clip, &[240]).await;
    let EndReason::Failed(words) = &outcome.reason else { panic!("{:?}", outcome.reason) };
    assert!(words.contains("jumped over 1800 frames"), "{words}");
}

#[tokio::test]
async fn gaps_in_the_sound_become_silence_in_their_place() {
    let recipe = Recipe { audio: "aevalsrc='0.8*sin(2*PI*1000*t)':s=48000", ..Recipe::default() };
    let mut clip = recipe.clip();
    clip.edit_audio(|frame| !(48_000..72_000).contains(&frame.pts));
    let outcome = transcode(&clip, &[]).await;
    let missing = outcome.repaired("audio_gap_filled");
    assert!((23.0..=24.0).contains(&missing), "{missing} access units");
    let short = units(&outcome) * 1024 - 4 * 48_000;
    assert!(short.abs() <= 2048, "audio is {short} samples off");

    let sound = oracle::channel(&oracle::decode(outcome.named("audio"), outcome.job.plan.rate), 1);
    let loudest = |from: usize, to: usize| sound[from..to].iter().fold(0.0_f32, |max, sample| max.max(sample.abs()));
    assert!(loudest(40_000, 47_000) > 0.5 && loudest(76_000, 90_000) > 0.5);
    assert!(loudest(52_000, 70_000) < 0.05, "silence where the source had none");
}

#[tokio::test]
async fn sound_that_comes_twice_is_heard_once() {
    let mut clip = Recipe::default().clip();
    // From two seconds on, everything lies 300 ms too early.
    clip.edit_audio(|frame| {
        if frame.pts >= 96_000 {
            frame.pts -= 14_400;
            frame.dts = frame.pts;
        }
        true
    });
    let outcome = transcode(&clip, &[]).await;
    let misplaced = outcome.repaired("audio_misplaced_dropped");
    assert!((13.0..=16.0).contains(&misplaced), "{misplaced} access units");
    let short = units(&outcome) * 1024 - (4 * 48_000 - 14_400);
    assert!(short.abs() <= 4096, "audio is {short} samples off");
}

/// The sound's clock is half a thousandth slow: its samples lie further apart than they last.
#[tokio::test]
async fn slow_drift_is_made_up_for_without_a_hole() {
    let recipe =
        Recipe { audio: "aevalsrc='0.8*sin(2*PI*1000*t)':s=48000", seconds: 40, size: (160, 120), ..Recipe::default() };
    let mut clip = recipe.clip();
    clip.edit_audio(|frame| {
        frame.pts += frame.pts / 2000;
        frame.dts = frame.pts;
        true
    });
    let outcome = transcode(&clip, &[]).await;
    for repair in ["audio_gap_filled", "audio_misplaced_dropped"] {
        assert_eq!(outcome.repaired(repair), 0.0, "{repair}");
    }
    let sound = oracle::channel(&oracle::decode(outcome.named("audio"), outcome.job.plan.rate), 1);
    // 960 samples more in 40 seconds; what leans less than 5 ms is left, and what is being stretched.
    let made = sound.iter().rposition(|sample| sample.abs() > 0.1).unwrap() as i64;
    assert!((made - 40 * 48_000 - 960).abs() < 960 / 2, "{} samples more", made - 40 * 48_000);
    let silent = sound[2048..made as usize - 2048].chunks(48).filter(|ms| ms.iter().all(|sample| sample.abs() < 0.05));
    assert_eq!(silent.count(), 0, "a millisecond without sound");
}

/// A grid slower than the source: the promise of an earlier epoch.
#[tokio::test]
async fn a_source_that_is_faster_than_the_grid_loses_the_pictures_between() {
    let mut clip = Recipe::default().clip();
    let slow = media::FrameRate::new(10, 1).unwrap();
    let rate = clip.source.rate;
    clip.video().for_each(|frame| {
        let place = |ticks: i64| ticks / i64::from(rate.frame_ticks()) / 3 * i64::from(slow.frame_ticks());
        (frame.pts, frame.dts) = (place(frame.pts), place(frame.dts));
    });
    let outcome =
        transcode_as(&clip, &[240], |plan| (plan.rate, plan.segment_frames, plan.part_frames) = (slow, 20, 4)).await;
    assert_eq!(outcome.reason, EndReason::Finished);
    assert_eq!(indices(&outcome, "240p"), (0..40).collect::<Vec<_>>());
    assert_eq!(outcome.repaired("video_duplicate_dropped"), 80.0);
}

#[tokio::test]
async fn jitter_is_not_repaired() {
    let mut clip = Recipe::default().clip();
    let mut sign = 1;
    clip.edit_audio(|frame| {
        if frame.pts > 4096 {
            sign = -sign;
            frame.pts += sign * 1000;
        }
        true
    });
    let outcome = transcode(&clip, &[]).await;
    assert_eq!(outcome.repaired("audio_gap_filled"), 0.0);
    assert_eq!(outcome.repaired("audio_misplaced_dropped"), 0.0);
    assert!((units(&outcome) * 1024 - 4 * 48_000).abs() <= 2048);
}

#[tokio::test]
async fn silence_goes_on_when_the_sound_stops_and_the_picture_does_not() {
    let mut clip = Recipe::default().clip();
    clip.edit_audio(|frame| frame.pts < 48_000);
    let outcome = transcode(&clip, &[240]).await;
    // It stays a second behind the picture, in case the sound is only late.
    let expected = 3 * 48_000;
    assert!((units(&outcome) * 1024 - expected).abs() <= 3072, "{} access units", units(&outcome));
    assert!(outcome.repaired("audio_gap_filled") > 80.0);
}

/// The parameter sets of a source, as they stand before a key frame.
fn in_band(clip: &Clip) -> Vec<u8> {
    let record = &clip.source.video.record;
    let mut sets = Vec::new();
    let (mut at, mut left) = (6, usize::from(record[5] & 0x1F));
    loop {
        while left > 0 {
            let length = usize::from(u16::from_be_bytes([record[at], record[at + 1]]));
            sets.extend_from_slice(&(length as u32).to_be_bytes());
            sets.extend_from_slice(&record[at + 2..at + 2 + length]);
            (at, left) = (at + 2 + length, left - 1);
        }
        if sets.iter().filter(|byte| **byte == 0x68).count() > 0 {
            return sets;
        }
        (left, at) = (usize::from(record[at]), at + 1);
    }
}

/// As an encoder does it that is set anew, and tells it in its stream alone.
#[tokio::test]
async fn pictures_that_change_their_size_on_the_way_are_scaled_to_what_was_told() {
    let mut clip = Recipe::default().clip();
    let other = Recipe { size: (320, 180), ..Recipe::default() }.clip();
    let (rate, sets) = (clip.source.rate, in_band(&other));
    let mut frames = other.inputs.iter().filter_map(|input| match input {
        Input::Video(frame) => Some(frame.clone()),
        _ => None,
    });
    clip.edit_video(|frame| {
        let smaller = frames.next().unwrap();
        if index(frame, rate) >= 60 {
            let sets = if smaller.keyframe { &sets[..] } else { &[] };
            frame.data = [sets, &smaller.data].concat().into();
        }
        true
    });
    let outcome = transcode(&clip, &[240]).await;
    assert_eq!(outcome.reason, EndReason::Finished);
    assert_eq!(indices(&outcome, "240p"), (0..120).collect::<Vec<_>>());
    assert_eq!(outcome.repaired("video_undecodable"), 0.0);
    assert_eq!(oracle::decode(outcome.named("240p"), rate).len(), 120 * 320 * 240 * 3 / 2);
}

/// Nobody has memory for pictures that no level of H.264 allows.
#[tokio::test]
async fn pictures_of_an_absurd_size_are_refused_and_counted() {
    let mut clip = Recipe::default().clip();
    let rate = clip.source.rate;
    // Baseline, level 5.1, 800 times 800 macroblocks: 12,800 samples a side, and the parameter sets for its pictures.
    let sps = [0x67, 66, 0, 51, 0xDA, 0x00, 0x32, 0x00, 0x06, 0x41, 0x90];
    let sets = in_band(&clip);
    let own_sps = 4 + u32::from_be_bytes(sets[..4].try_into().unwrap()) as usize;
    let absurd = [&(sps.len() as u32).to_be_bytes()[..], &sps, &sets[own_sps..]].concat();
    clip.edit_video(|frame| {
        if index(frame, rate) == 60 {
            frame.data = [&absurd[..], &frame.data].concat().into();
        }
        true
    });
    let outcome = transcode(&clip, &[240]).await;
    assert_eq!(outcome.reason, EndReason::Finished);
    assert_eq!(indices(&outcome, "240p"), (0..60).collect::<Vec<_>>());
    assert_eq!(outcome.repaired("video_undecodable"), 60.0);
}

/// What nobody's browser decodes is decoded here, and every rung can be played.
#[tokio::test]
async fn profiles_that_browsers_do_not_know_are_encoded_for_them() {
    for (pixels, profile) in [("yuv444p", 244), ("yuv422p", 122), ("yuv420p10le", 110)] {
        let video: &[&str] = match pixels {
            "yuv444p" => &["-g", "60", "-sc_threshold", "0", "-pix_fmt", "yuv444p"],
            "yuv422p" => &["-g", "60", "-sc_threshold", "0", "-pix_fmt", "yuv422p"],
            _ => &["-g", "60", "-sc_threshold", "0", "-pix_fmt", "yuv420p10le"],
        };
        let clip = Recipe { video, ..Recipe::default() }.clip();
        assert_eq!(clip.source.video.record[1], profile);
        let outcome = transcode(&clip, &[240]).await;
        assert_eq!(outcome.reason, EndReason::Finished, "{pixels}");
        for name in ["480p", "240p"] {
            assert_eq!(indices(&outcome, name), (0..120).collect::<Vec<_>>(), "{pixels}");
            let Some(TrackConfig::Avc { config, .. }) = &outcome.named(name).track else { panic!("{pixels}") };
            assert!(config.is_widely_decoded(), "{pixels}");
        }
    }
}

#[tokio::test]
async fn a_key_frame_that_never_came_costs_pictures_and_no_boundary() {
    let mut clip = Recipe::default().clip();
    let rate = clip.source.rate;
    clip.edit_video(|frame| index(frame, rate) != 60);
    let outcome = transcode(&clip, &[240]).await;
    assert_eq!(outcome.reason, EndReason::Finished);
    assert_eq!(indices(&outcome, "240p"), (0..120).collect::<Vec<_>>());
    let keys = outcome.named("240p").frames.iter().filter(|frame| frame.keyframe);
    assert_eq!(keys.map(|frame| index(frame, rate)).collect::<Vec<_>>(), [0, 60]);
    assert!(outcome.repaired("video_gap_filled") >= 1.0);
}
