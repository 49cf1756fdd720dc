//! The ladder of a sound source: one grid for all renditions, nothing lost, no delay.

use crate::clip::{Clip, Recipe, index, samples};
use crate::oracle;
use crate::run::{Collected, DEADLINE, Outcome, collect, job, patient, program, start, transcode};
use media::{FrameRate, TrackConfig, TrackKind};
use tokio::sync::mpsc;
use transcode::{Encoding, EndReason, Input, Job, Limits, Made, Make};

/// Every frame of the grid once and in order, an IDR picture at the start of each segment and nowhere else.
fn assert_on_grid(collected: &Collected, frames: i64, segment: i64, rate: FrameRate) {
    let indices: Vec<_> = collected.frames.iter().map(|frame| index(frame, rate)).collect();
    assert_eq!(indices, (0..frames).collect::<Vec<_>>());
    for frame in &collected.frames {
        let index = index(frame, rate);
        assert_eq!(frame.dts, frame.pts);
        assert_eq!(frame.keyframe, index % segment == 0, "frame {index}");
        assert_eq!(has_idr(&frame.data), index % segment == 0, "frame {index}");
    }
}

fn has_idr(mut data: &[u8]) -> bool {
    let mut idr = false;
    while let Some((length, rest)) = data.split_first_chunk::<4>() {
        let (nal, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        assert!(!matches!(nal[0] & 0x1F, 7..=9), "parameter sets belong in the track's header");
        idr |= nal[0] & 0x1F == 5;
        data = rest;
    }
    idr
}

/// Contiguous access units from zero, as many as last as long as the video does.
fn assert_gapless(collected: &Collected, samples: i64) {
    let times: Vec<_> = collected.frames.iter().map(|frame| frame.pts).collect();
    assert_eq!(times, (0..times.len() as i64).map(|unit| unit * 1024).collect::<Vec<_>>());
    let short = samples - times.len() as i64 * 1024;
    assert!((-2048..=2048).contains(&short), "audio and video end {short} samples apart");
}

fn assert_sound(outcome: &Outcome, frames: i64) {
    assert_eq!(outcome.reason, EndReason::Finished);
    let plan = &outcome.job.plan;
    for (rendition, collected) in plan.renditions.iter().zip(&outcome.renditions) {
        match &rendition.make {
            Make::Passthrough => assert!(collected.track.is_none() && collected.frames.is_empty()),
            Make::Video(Encoding { width, height, .. }) => {
                let Some(TrackConfig::Avc { config, timescale }) = &collected.track else { panic!("no track") };
                assert_eq!((config.width, config.height, *timescale), (*width, *height, plan.rate.timescale()));
                assert_on_grid(collected, frames, i64::from(plan.segment_frames), plan.rate);
                let raw = oracle::decode(collected, plan.rate);
                assert_eq!(raw.len() as i64, frames * i64::from(width * height * 3 / 2), "{}", rendition.name);
            }
            Make::Audio { .. } => {
                assert_gapless(collected, samples(frames, plan.rate));
                let Some(TrackConfig::Aac { config }) = &collected.track else { panic!("no track") };
                let raw = oracle::decode(collected, plan.rate);
                assert_eq!(raw.len() / usize::from(config.channels) / 4, collected.frames.len() * 1024);
            }
        }
    }
}

#[tokio::test]
async fn every_rung_has_the_source_s_frames_and_idr_pictures_on_its_grid() {
    let clip = Recipe::default().clip();
    let outcome = transcode(&clip, &[360, 240]).await;
    assert_eq!(outcome.renditions.len(), 4);
    assert_sound(&outcome, 120);
    for repair in ["video_undecodable", "video_gap_filled", "video_duplicate_dropped", "audio_undecodable"] {
        assert_eq!(outcome.repaired(repair), 0.0, "{repair}");
    }
    assert_eq!(outcome.counted("vivid_transcode_frames_out_total", "240"), 120.0);
    assert_eq!(outcome.counted("vivid_transcode_frames_in_total", "video"), 120.0);
}

/// Scene cuts, B-frames, several references, IDR pictures anywhere: nothing of it may show through.
#[tokio::test]
async fn an_irregular_source_gets_a_regular_ladder() {
    let recipe = Recipe {
        video: &["-preset", "fast", "-bf", "3", "-g", "37", "-keyint_min", "5", "-x264-params", "b-pyramid=normal"],
        gop: None,
        ..Recipe::default()
    };
    let outcome = transcode(&recipe.clip(), &[240]).await;
    assert_eq!(outcome.job.plan.segment_frames, 64);
    assert_eq!(outcome.renditions.len(), 3, "the top rung is encoded at the source's size");
    assert_sound(&outcome, 120);
}

#[tokio::test]
async fn rates_that_are_no_whole_number_stay_on_the_grid() {
    let recipe = Recipe { rate: (30000, 1001), size: (321, 241), ..Recipe::default() };
    let recipe = Recipe { video: &["-pix_fmt", "yuv444p", "-tune", "zerolatency", "-g", "60"], ..recipe };
    assert_sound(&transcode(&recipe.clip(), &[120]).await, 120);
}

/// What few viewers could decode is not passed through, though its key frames would allow it.
#[tokio::test]
async fn ten_bits_and_4_2_2_become_eight_bits_and_4_2_0() {
    let recipe =
        Recipe { video: &["-pix_fmt", "yuv422p10le", "-tune", "zerolatency", "-g", "60"], ..Recipe::default() };
    let outcome = transcode(&recipe.clip(), &[240]).await;
    assert_eq!(outcome.renditions.len(), 3);
    let top = outcome.job.plan.renditions[0].make.encoding().map(|top| (top.width, top.height));
    assert_eq!(top, Some((640, 480)));
    assert_sound(&outcome, 120);
}

#[tokio::test]
async fn mono_at_44_1_khz_becomes_mono_at_48_khz() {
    let recipe = Recipe { audio: "sine=frequency=440:sample_rate=44100", ..Recipe::default() };
    let outcome = transcode(&recipe.clip(), &[]).await;
    assert_sound(&outcome, 120);
    let audio = outcome.named("audio");
    let Some(TrackConfig::Aac { config }) = &audio.track else { panic!("no track") };
    assert_eq!((config.sample_rate, config.channels), (48_000, 1));
    let sound = oracle::channel(&oracle::decode(audio, outcome.job.plan.rate), 1);
    // A tone of 440 Hz crosses zero upwards 440 times a second.
    let second = &sound[48_000..96_000];
    let crossings = second.windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0).count();
    assert!((438..=442).contains(&crossings), "{crossings} Hz");
}

/// Noise is the hardest picture there is: the cap must hold, or viewers at the edge of their bandwidth stall.
#[tokio::test]
async fn no_segment_carries_more_than_the_peak() {
    let recipe = Recipe { video: &["-vf", "noise=alls=40:allf=t+u", "-g", "60", "-b:v", "6M"], ..Recipe::default() };
    let outcome = transcode(&Recipe { gop: None, seconds: 6, ..recipe }.clip(), &[240]).await;
    let plan = &outcome.job.plan;
    for (rendition, collected) in plan.renditions.iter().zip(&outcome.renditions) {
        let (Make::Video(_), Some(peak)) = (&rendition.make, rendition.make.peak_bitrate()) else { continue };
        let bits: Vec<_> = collected.frames.iter().map(|frame| frame.data.len() as f64 * 8.0).collect();
        for segment in bits.chunks_exact(plan.segment_frames as usize) {
            let rate = segment.iter().sum::<f64>() / plan.segment().as_secs_f64();
            assert!(rate <= f64::from(peak), "{} sends {rate} bits per second, {peak} allowed", rendition.name);
            assert!(rate >= f64::from(peak) / 2.0, "{}: {rate} is no hard picture", rendition.name);
        }
    }
}

/// A beep that begins two seconds after the first picture must do so afterwards.
#[tokio::test]
async fn sound_keeps_its_time_against_the_picture() {
    let recipe = Recipe { audio: "aevalsrc='0.8*sin(2*PI*1000*t)*gte(t,2)':s=48000", ..Recipe::default() };
    let outcome = transcode(&recipe.clip(), &[]).await;
    let sound = oracle::channel(&oracle::decode(outcome.named("audio"), outcome.job.plan.rate), 1);
    let start = sound.iter().position(|sample| sample.abs() > 0.3).unwrap() as i64;
    // FLV counts milliseconds, so the source itself is up to one off.
    assert!((start - 96_000).abs() < 100, "the beep starts at {start}, {} samples off", start - 96_000);
}

/// Each picture must come out of every rung before the next one goes in, and sound at most three access units later.
#[tokio::test]
async fn no_frame_waits_for_the_next() {
    let Clip { source, inputs } = Recipe::default().clip();
    let (input, made, _) = start(&program(), &job(&source, &[360, 240]), &patient());
    let mut seen = Seen { made, pictures: 0, sound: 0 };
    let mut pictures = 0;
    for frame in inputs {
        let sound = match &frame {
            Input::Audio(frame) => frame.pts + 1024 - 3 * 1024,
            _ => 0,
        };
        pictures += if matches!(frame, Input::Video(_)) { 2 } else { 0 };
        input.send(frame).await.unwrap();
        tokio::time::timeout(DEADLINE, seen.until(pictures, sound)).await.expect("the worker holds frames back");
    }
}

/// x264's slowest preset on a large picture is far slower than live everywhere; sound must not notice.
fn slow() -> (Clip, Job) {
    let clip = Recipe { size: (1920, 1080), seconds: 4, ..Recipe::default() }.clip();
    let mut job = job(&clip.source, &[720]);
    let Make::Video(rung) = &mut job.plan.renditions[1].make else { panic!("a rung") };
    "placebo".clone_into(&mut rung.preset);
    (clip, job)
}

#[tokio::test]
async fn sound_never_waits_for_a_slow_rung() {
    let (clip, job) = slow();
    let (input, made, _) = start(&program(), &job, &patient());
    let mut seen = Seen { made, pictures: 0, sound: 0 };
    for frame in clip.inputs {
        input.send(frame).await.unwrap();
    }
    tokio::time::timeout(DEADLINE, seen.until(0, 3 * 48_000)).await.expect("sound stands still");
    assert!(seen.pictures < 60, "{} pictures of 90 were made before three seconds of sound", seen.pictures);
}

#[tokio::test]
async fn a_rung_that_falls_behind_ends_the_worker_and_is_not_waited_for() {
    let (clip, job) = slow();
    let limits = Limits { queue: 100, ..patient() };
    let (input, made, registry) = start(&program(), &job, &limits);
    let feed = async {
        for frame in clip.inputs {
            if input.send(frame).await.is_err() {
                return;
            }
        }
    };
    let collected = async { tokio::join!(collect(made, job.plan.renditions.len()), feed).0 };
    let (renditions, reason) = tokio::time::timeout(DEADLINE, collected).await.expect("the worker lives on");
    assert_eq!(reason, EndReason::Overrun(100));
    assert!(renditions[1].frames.len() < 60, "{} pictures were waited for", renditions[1].frames.len());
    let families = registry.gather();
    let refused = families.iter().find(|family| family.name() == "vivid_transcode_frames_refused_total").unwrap();
    assert_eq!(refused.get_metric()[0].get_counter().get_value(), 1.0);
}

struct Seen {
    made: mpsc::Receiver<Made>,
    pictures: u32,
    /// The end of the last access unit.
    sound: i64,
}

impl Seen {
    async fn until(&mut self, pictures: u32, sound: i64) {
        while self.pictures < pictures || self.sound < sound {
            match self.made.recv().await.unwrap() {
                Made::Frame { frame, .. } if frame.kind == TrackKind::Video => self.pictures += 1,
                Made::Frame { frame, .. } => self.sound = frame.pts + 1024,
                Made::Track { .. } | Made::Thumbnails { .. } | Made::Turn { .. } => (),
                Made::Ended { reason } => panic!("{reason}"),
            }
        }
    }
}
