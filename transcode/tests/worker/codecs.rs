//! Rungs and sound in other codecs than H.264 and AAC: on the same grid, as FFmpeg's own programs read them.

use crate::clip::{Clip, Recipe, index};
use crate::oracle;
use crate::run::{Collected, Outcome, program, transcode_as, transcode_by};
use config::{AudioCodec, VideoCodec};
use media::{Frame, TrackConfig};
use transcode::{Encoding, EndReason, Make, Plan, Rendition, WorkerProgram};

/// The rung `240p` in this codec.
fn in_codec(plan: &mut Plan, codec: VideoCodec, preset: &str, quality: Option<u8>) {
    let Make::Video(rung) = &mut plan.renditions[1].make else { panic!("a rung") };
    *rung = Encoding { codec, preset: preset.to_owned(), quality, ..rung.clone() };
}

fn assert_on_grid(outcome: &Outcome, collected: &Collected, frames: i64) {
    let (rate, segment) = (outcome.job.plan.rate, i64::from(outcome.job.plan.segment_frames));
    let indices: Vec<_> = collected.frames.iter().map(|frame| index(frame, rate)).collect();
    assert_eq!(indices, (0..frames).collect::<Vec<_>>());
    assert!(collected.frames.iter().all(|frame| frame.keyframe == (index(frame, rate) % segment == 0)));
}

/// Every picture is there, key frames are where segments begin, and FFmpeg decodes all of it without a word.
async fn check(codec: VideoCodec, preset: &str, quality: Option<u8>, expected: &str) -> Outcome {
    let clip = Recipe::default().clip();
    let outcome = transcode_as(&clip, &[240], |plan| in_codec(plan, codec, preset, quality)).await;
    assert_eq!(outcome.reason, EndReason::Finished);
    let collected = outcome.named("240p");
    assert_on_grid(&outcome, collected, 120);
    let track = collected.track.as_ref().unwrap();
    assert_eq!((track.codec().as_str(), track.size()), (expected, Some((320, 240))));
    let raw = oracle::decode(collected, outcome.job.plan.rate);
    assert_eq!(raw.len(), 120 * 320 * 240 * 3 / 2);
    outcome
}

#[tokio::test]
async fn av1_has_its_key_frames_where_segments_begin() {
    for quality in [None, Some(35)] {
        let outcome = check(VideoCodec::Av1, "12", quality, "av01.0.00M.08").await;
        for frame in &outcome.named("240p").frames {
            assert_ne!(frame.data[0] >> 3, 2, "a temporal delimiter");
        }
    }
}

#[tokio::test]
async fn hevc_has_its_key_frames_where_segments_begin() {
    for quality in [None, Some(28)] {
        check(VideoCodec::Hevc, "ultrafast", quality, "hvc1.1.6.L60.90").await;
    }
}

#[tokio::test]
async fn vp9_has_its_key_frames_where_segments_begin() {
    for quality in [None, Some(34)] {
        check(VideoCodec::Vp9, "8", quality, "vp09.00.20.08").await;
    }
}

/// Scaled or not, every rung says it, in the bitstream or beside it.
#[tokio::test]
async fn pixels_that_are_no_squares_keep_their_shape_in_every_codec() {
    let video = &["-vf", "setsar=16/11", "-g", "60", "-sc_threshold", "0"];
    let clip = Recipe { video, seconds: 1, ..Recipe::default() }.clip();
    for (codec, preset) in [(VideoCodec::Av1, "12"), (VideoCodec::Vp9, "8")] {
        let outcome = transcode_as(&clip, &[240], |plan| in_codec(plan, codec, preset, None)).await;
        let told = match &outcome.named("240p").track {
            Some(TrackConfig::Av1 { config, .. } | TrackConfig::Vp9 { config, .. }) => config.pixel_aspect,
            other => panic!("{other:?}"),
        };
        assert_eq!(told, Some((16, 11)), "{codec:?}");
    }
    for (codec, preset) in [(VideoCodec::H264, "ultrafast"), (VideoCodec::Hevc, "ultrafast")] {
        let outcome = transcode_as(&clip, &[240], |plan| in_codec(plan, codec, preset, None)).await;
        assert_eq!(oracle::aspect(outcome.named("240p"), outcome.job.plan.rate), "16:11", "{codec:?}");
    }
}

#[tokio::test]
async fn hevc_with_a_quality_spends_little_on_a_still_picture() {
    let video = &["-vf", "trim=end_frame=1,loop=loop=119:size=1", "-g", "60", "-sc_threshold", "0"];
    let clip = Recipe { video, ..Recipe::default() }.clip();
    let mut spent = [0.0; 2];
    for (spent, quality) in spent.iter_mut().zip([Some(30), None]) {
        let outcome = transcode_as(&clip, &[240], |plan| in_codec(plan, VideoCodec::Hevc, "ultrafast", quality)).await;
        *spent = rate(&outcome.named("240p").frames, 4.0);
    }
    assert!(spent[0] < 0.7 * spent[1], "{spent:?} bits per second for a still picture");
}

fn rate(frames: &[Frame], seconds: f64) -> f64 {
    frames.iter().map(|frame| frame.data.len() as f64 * 8.0).sum::<f64>() / seconds
}

/// Viewers at the edge of their bandwidth stall where the cap does not hold.
#[tokio::test]
async fn no_segment_of_any_codec_carries_more_than_the_peak() {
    let noise = Recipe { video: &["-vf", "noise=alls=40:allf=t+u", "-g", "60", "-b:v", "6M"], ..Recipe::default() };
    let clip = Recipe { seconds: 6, ..noise }.clip();
    for (codec, preset, fine) in
        [(VideoCodec::Av1, "12", 20), (VideoCodec::Hevc, "ultrafast", 18), (VideoCodec::Vp9, "8", 20)]
    {
        for quality in [None, Some(fine)] {
            let outcome = transcode_as(&clip, &[240], |plan| in_codec(plan, codec, preset, quality)).await;
            let plan = &outcome.job.plan;
            let peak = plan.renditions[1].make.peak_bitrate().unwrap();
            for segment in outcome.named("240p").frames.chunks_exact(plan.segment_frames as usize) {
                let rate = rate(segment, plan.segment().as_secs_f64());
                assert!(rate <= f64::from(peak), "{codec:?} {quality:?}: {rate} bits per second, {peak} were told");
            }
        }
    }
}

fn with_sound(plan: &mut Plan, codecs: &[AudioCodec], channels: u16) {
    plan.renditions.pop();
    let sound = codecs.iter().map(|codec| Rendition {
        name: codec.name().to_owned(),
        make: Make::Audio { codec: *codec, bitrate: 64_000 * u32::from(channels), channels },
    });
    plan.renditions.extend(sound);
}

async fn heard(clip: &Clip, codecs: &[AudioCodec], channels: u16) -> Outcome {
    let outcome = transcode_as(clip, &[], |plan| with_sound(plan, codecs, channels)).await;
    assert_eq!(outcome.reason, EndReason::Finished);
    outcome
}

fn assert_gapless(collected: &Collected, unit: i64) {
    let times: Vec<_> = collected.frames.iter().map(|frame| frame.pts).collect();
    assert_eq!(times, (0..times.len() as i64).map(|index| index * unit).collect::<Vec<_>>());
    let samples = times.len() as i64 * unit;
    assert!((190_000..=194_000).contains(&samples), "{samples} samples of four seconds");
}

/// A beep that begins two seconds after the first picture does so in each codec: what an encoder holds back is no delay.
#[tokio::test]
async fn aac_and_opus_say_the_same_at_the_same_time() {
    let clip = Recipe { audio: "aevalsrc='0.8*sin(2*PI*1000*t)*gte(t,2)':s=48000", ..Recipe::default() }.clip();
    let outcome = heard(&clip, &[AudioCodec::Aac, AudioCodec::Opus], 1).await;
    for (name, unit, codec) in [("aac", 1024, "mp4a.40.2"), ("opus", 960, "opus")] {
        let collected = outcome.named(name);
        assert_gapless(collected, unit);
        assert_eq!(collected.track.as_ref().unwrap().codec(), codec);
        let sound = oracle::channel(&oracle::decode(collected, outcome.job.plan.rate), 1);
        assert_eq!(sound.len() as i64, collected.frames.len() as i64 * unit);
        let start = sound.iter().position(|sample| sample.abs() > 0.3).unwrap() as i64;
        assert!((start - 96_000).abs() < 100, "{name}: the beep starts {} samples off", start - 96_000);
    }
}

/// Of the six channels, in Hz.
const TONES: [usize; 6] = [300, 600, 900, 60, 1500, 1800];

#[tokio::test]
async fn six_channels_stay_where_they_were_and_as_loud() {
    let audio = "aevalsrc='0.25*sin(2*PI*300*t)|0.25*sin(2*PI*600*t)|0.25*sin(2*PI*900*t)|0.25*sin(2*PI*60*t)|\
                 0.25*sin(2*PI*1500*t)|0.25*sin(2*PI*1800*t)':s=48000:c=5.1";
    let clip = Recipe { audio, ..Recipe::default() }.clip();
    assert_eq!(clip.source.audio.as_ref().unwrap().channels, 6);
    let outcome = heard(&clip, &[AudioCodec::Aac, AudioCodec::Opus], 6).await;
    for name in ["aac", "opus"] {
        let collected = outcome.named(name);
        assert_eq!(collected.track.as_ref().and_then(TrackConfig::channels), Some(6));
        let raw = oracle::decode(collected, outcome.job.plan.rate);
        for (place, hz) in TONES.into_iter().enumerate() {
            let sound = oracle::channel(&raw[4 * place..], 6);
            let second = &sound[48_000..96_000];
            let crossings = second.windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0).count();
            assert!(crossings.abs_diff(hz) <= 3, "{name}, channel {place}: {crossings} Hz");
            let loud = (second.iter().map(|sample| sample * sample).sum::<f32>() / second.len() as f32).sqrt();
            assert!((loud - 0.25 / 2_f32.sqrt()).abs() < 0.02, "{name}, channel {place}: {loud}");
        }
    }
}

#[tokio::test]
async fn six_channels_are_mixed_down_where_that_is_asked_for() {
    let audio = "sine=frequency=440:sample_rate=48000,pan=5.1|c0=c0|c1=c0|c2=c0|c3=c0|c4=c0|c5=c0";
    let clip = Recipe { audio, ..Recipe::default() }.clip();
    let outcome = heard(&clip, &[AudioCodec::Aac, AudioCodec::Opus], 2).await;
    for name in ["aac", "opus"] {
        assert_eq!(outcome.named(name).track.as_ref().and_then(TrackConfig::channels), Some(2));
    }
}

/// SVT-AV1 says how it was set up, where it is asked to, and nothing in its pictures does.
#[tokio::test]
async fn svt_av1_says_what_it_was_told() {
    let folder = tempfile::tempdir().unwrap();
    let said = folder.path().join("said");
    let script = format!("SVT_LOG=3 exec '{}' 2>'{}'", program().path.display(), said.display());
    let program = WorkerProgram { path: "/bin/sh".into(), args: vec!["-c".into(), script.into()] };
    let clip = Recipe { seconds: 2, ..Recipe::default() }.clip();
    let outcome = transcode_by(&program, &clip, &[240], |plan| in_codec(plan, VideoCodec::Av1, "12", None)).await;
    assert_eq!(outcome.reason, EndReason::Finished);
    let said = std::fs::read_to_string(said).unwrap().replace('\t', " ");
    let after = |name: &str| {
        let line = said.lines().find_map(|line| line.split_once(name)).unwrap_or_else(|| panic!("no {name}: {said}"));
        line.1.trim_start_matches([' ', ':']).trim_end()
    };
    assert_eq!(after("preset / tune / pred struct"), "12 / PSNR / low delay");
    // A GOP is a segment, and nothing in it refers to what was before.
    let gop = after("gop size / mini-gop size / key-frame type");
    assert!(gop.starts_with("60 /") && gop.ends_with("/ key frame"), "{gop}");
    assert_eq!(after("BRC mode / target bitrate (kbps)"), "CBR / 480");
    assert_eq!(after("Number of logical cores available"), "1");
}
