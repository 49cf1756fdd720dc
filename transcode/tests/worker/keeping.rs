//! A ladder that the machine has no time for.

use crate::clip::{Recipe, index};
use crate::run::{Collected, DEADLINE, collect, job, patient, program, start};
use crate::{oracle, run};
use std::time::Duration;
use transcode::{EndReason, Input, Keeping, Limits, Make};

/// x264's slowest preset on a large picture is far slower than live everywhere.
#[tokio::test]
async fn what_there_is_no_time_for_is_left_out_from_a_boundary_on_and_the_smallest_rung_loses_nothing() {
    let clip = Recipe { size: (1920, 1080), seconds: 3, ..Recipe::default() }.clip();
    let mut job = job(&clip.source, &[720, 240]);
    (job.plan.segment_frames, job.plan.part_frames, job.plan.thumbnails) = (16, 8, None);
    let Make::Video(tallest) = &mut job.plan.renditions[1].make else { panic!("a rung") };
    "placebo".clone_into(&mut tallest.preset);
    let keeping = Keeping { behind: Duration::from_millis(300), ..patient().keeping };
    let (input, made, registry) = start(&program(), &job, &Limits { keeping, ..patient() });
    let feed = async {
        for frame in &clip.inputs {
            input.send(frame.clone()).await.unwrap();
        }
        input.send(Input::Finish).await.unwrap();
    };
    let all = async { tokio::join!(collect(made, job.plan.renditions.len()), feed).0 };
    let (renditions, reason) = tokio::time::timeout(DEADLINE, all).await.expect("it stands still");
    let outcome = run::Outcome { job, renditions, reason, registry };
    assert_eq!(outcome.reason, EndReason::Finished);
    let rate = outcome.job.plan.rate;
    let indices = |of: &Collected| of.frames.iter().map(|frame| index(frame, rate)).collect::<Vec<_>>();
    let (tall, small) = (outcome.named("720p"), outcome.named("240p"));
    assert_eq!(indices(small), (0..90).collect::<Vec<_>>());
    assert!(small.turns.is_empty() && !oracle::decode(small, rate).is_empty());
    let Some(&(gone, 0)) = tall.turns.last() else { panic!("{:?}", tall.turns) };
    assert!((1..=4).contains(&gone) && indices(tall).last() < Some(&(16 * gone as i64)), "from {gone} on");
    assert!(outcome.counted("vivid_transcode_shedding_steps_total", "down") >= 1.0);
    assert_eq!(outcome.counted("vivid_transcode_shedding_steps_total", "up"), 0.0);
    assert!(!oracle::decode(tall, rate).is_empty());
}
