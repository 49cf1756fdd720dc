//! Rungs that differ in more than their size: fewer frames, and bits by what there is to see.

use crate::clip::{Clip, Recipe, index};
use crate::run::{Outcome, transcode_as};
use transcode::{Encoding, Make, Plan};

fn change(plan: &mut Plan, change: impl Fn(&mut Encoding)) {
    for rendition in &mut plan.renditions {
        if let Make::Video(encoding) = &mut rendition.make {
            change(encoding);
        }
    }
}

#[tokio::test]
async fn a_rung_of_half_the_frames_has_its_idr_pictures_where_the_others_have_them() {
    let clip =
        Recipe { rate: (60, 1), video: &["-tune", "zerolatency", "-g", "120"], gop: Some(120), ..Recipe::default() };
    let clip = clip.clip();
    // The faster rung is below the slower one, and gets its pictures through it.
    for slower in [1, 2] {
        let outcome = transcode_as(&clip, &[360, 240], |plan| {
            plan.part_frames = 20;
            let Make::Video(encoding) = &mut plan.renditions[slower].make else { panic!("a rung") };
            encoding.every = 2;
        })
        .await;
        let rate = outcome.job.plan.rate;
        for (place, collected) in outcome.renditions.iter().enumerate().take(3).skip(1) {
            let step = if place == slower { 2 } else { 1 };
            let indices: Vec<_> = collected.frames.iter().map(|frame| index(frame, rate)).collect();
            assert_eq!(indices, (0..240).step_by(step).collect::<Vec<_>>());
            let keys: Vec<_> = collected.frames.iter().filter(|frame| frame.keyframe).collect();
            assert_eq!(keys.iter().map(|frame| index(frame, rate)).collect::<Vec<_>>(), [0, 120]);
        }
    }
}

async fn bits_per_second(clip: &Clip, quality: Option<u8>) -> f64 {
    let outcome: Outcome = transcode_as(clip, &[240], |plan| change(plan, |rung| rung.quality = quality)).await;
    let frames = &outcome.named("240p").frames;
    let bits: usize = frames.iter().map(|frame| frame.data.len() * 8).sum();
    bits as f64 * outcome.job.plan.rate.hz() / frames.len() as f64
}

#[tokio::test]
async fn a_quality_spends_little_on_a_still_picture_and_no_segment_of_noise_exceeds_the_peak() {
    let still = Recipe {
        video: &["-vf", "trim=end_frame=1,loop=loop=119:size=1", "-g", "60", "-sc_threshold", "0"],
        ..Recipe::default()
    }
    .clip();
    let (aimed, spent) = (bits_per_second(&still, Some(23)).await, bits_per_second(&still, None).await);
    assert!(aimed < 0.5 * spent, "{aimed} of {spent} bits per second for a still picture");
    let noise =
        Recipe { video: &["-vf", "noise=alls=60:allf=t+u", "-g", "60", "-b:v", "6M"], seconds: 6, ..Recipe::default() };
    let outcome = transcode_as(&noise.clip(), &[240], |plan| change(plan, |rung| rung.quality = Some(10))).await;
    let plan = &outcome.job.plan;
    let peak = plan.renditions[1].make.peak_bitrate().unwrap();
    for segment in outcome.named("240p").frames.chunks_exact(plan.segment_frames as usize) {
        let bits: usize = segment.iter().map(|frame| frame.data.len() * 8).sum();
        let rate = bits as f64 / plan.segment().as_secs_f64();
        assert!(rate <= f64::from(peak), "a segment has {rate} bits per second, {peak} were told");
    }
}
