//! What rungs look like, and which are left out while the next one looks as good.

use crate::clip::{Clip, Recipe, index};
use crate::oracle;
use crate::run::{Collected, DEADLINE, Outcome, collect, job, patient, program, start};
use prometheus::Registry;
use std::time::Duration;
use transcode::{EndReason, Input, Limits, Pausing, Quality};

const SSIM: &str = "vivid_transcode_ssim";
const PSNR: &str = "vivid_transcode_psnr_db";
const SEGMENT: i64 = 16;
const STILL_FRAMES: i64 = 180;

/// A soft still, then what moves and has edges.
fn clip() -> Clip {
    const SHOWN: &str = "loop=loop=180:size=1:start=0,gblur=sigma=12:steps=2:enable='lt(t,6)'";
    let video = &["-vf", SHOWN, "-tune", "zerolatency", "-g", "60", "-sc_threshold", "0"];
    Recipe { seconds: 3, video, ..Recipe::default() }.clip()
}

/// How many segments of a rung have been measured, and the mean of what `name` says of them.
fn figure(registry: &Registry, name: &str, rung: &str) -> (u64, f64) {
    let families = registry.gather();
    let family = families.iter().find(|family| family.name() == name);
    let labelled = |metric: &&prometheus::proto::Metric| metric.get_label().iter().any(|label| label.value() == rung);
    let metric = family.and_then(|family| family.get_metric().iter().find(labelled).cloned());
    metric.map_or((0, 0.0), |metric| {
        let histogram = metric.get_histogram();
        (histogram.get_sample_count(), histogram.get_sample_sum() / histogram.get_sample_count() as f64)
    })
}

/// Of a rung: segments that were measured, the means of their SSIM and of their PSNR.
type Figures = (u64, f64, f64);

/// What was measured by the end of the feed. Each segment is fed when the one before has been measured, as there is time for
/// at the pace of live.
async fn run(clip: &Clip, quality: Quality) -> (Outcome, Vec<Figures>) {
    let mut job = job(&clip.source, &[360, 240]);
    (job.plan.segment_frames, job.plan.part_frames, job.plan.thumbnails) = (SEGMENT as u32, 4, None);
    let limits = Limits { quality, ..patient() };
    let (input, made, registry) = start(&program(), &job, &limits);
    let rate = job.plan.rate;
    let feed = async {
        for frame in &clip.inputs {
            if let Input::Video(picture) = frame {
                let segments = index(picture, rate) / SEGMENT;
                while figure(&registry, SSIM, "240p").0 < segments as u64 {
                    tokio::task::yield_now().await;
                }
            }
            input.send(frame.clone()).await.unwrap();
        }
        let of = |rung| {
            let ((measured, ssim), (_, psnr)) = (figure(&registry, SSIM, rung), figure(&registry, PSNR, rung));
            (measured, ssim, psnr)
        };
        let figures = ["360p", "240p"].map(of).to_vec();
        input.send(Input::Finish).await.unwrap();
        figures
    };
    let all = async { tokio::join!(collect(made, job.plan.renditions.len()), feed) };
    let ((renditions, reason), figures) = tokio::time::timeout(DEADLINE, all).await.expect("it stands still");
    assert_eq!(reason, EndReason::Finished);
    (Outcome { job, renditions, reason, registry }, figures)
}

#[tokio::test]
async fn a_rung_is_away_while_a_soft_still_is_shown_and_back_when_something_moves() {
    let pausing = Pausing { loss_mdb: 500, return_mdb: 1000, segments: 3, run: Duration::from_secs(10) };
    let (outcome, _) = run(&clip(), Quality { sample_percent: 100, pausing: Some(pausing) }).await;
    let rate = outcome.job.plan.rate;
    let indices = |of: &Collected| of.frames.iter().map(|frame| index(frame, rate)).collect::<Vec<_>>();
    let (tall, small) = (outcome.named("360p"), outcome.named("240p"));
    let all = indices(small);
    assert!(small.turns.is_empty() && all == (0..all.len() as i64).collect::<Vec<_>>());

    let [(gone, 0), (back, 1)] = tall.turns[..] else { panic!("{:?}", tall.turns) };
    assert!((3..=4).contains(&gone), "after three segments: {gone}");
    let moves = STILL_FRAMES as u64 / SEGMENT as u64;
    assert!((moves + 1..=moves + 2).contains(&back), "back at {back}, it moves from {moves} on");
    let away = gone as i64 * SEGMENT..back as i64 * SEGMENT;
    let expected: Vec<_> = all.iter().copied().filter(|index| !away.contains(index)).collect();
    assert_eq!(indices(tall), expected);
    assert!(!oracle::decode(tall, rate).is_empty());

    let families = outcome.registry.gather();
    let value = |name: &str| {
        let metric = &families.iter().find(|family| family.name() == name).unwrap().get_metric()[0];
        metric.get_counter().get_value() + metric.get_gauge().get_value()
    };
    assert_eq!((value("vivid_transcode_pauses_total"), value("vivid_transcode_paused_rungs")), (1.0, 0.0));
    assert_eq!(outcome.repaired("quality_unseen"), 0.0);
}

#[tokio::test]
async fn without_pausing_rungs_are_measured_and_stay() {
    let (outcome, figures) = run(&clip(), Quality { sample_percent: 100, pausing: None }).await;
    for (rung, (measured, ssim, psnr)) in ["360p", "240p"].into_iter().zip(figures) {
        assert!(outcome.named(rung).turns.is_empty());
        assert!(measured >= 15, "{measured}");
        // The still is nearly what it was made from.
        assert!((0.9..1.0).contains(&ssim) && (30.0..90.0).contains(&psnr), "{rung}: {ssim} {psnr} dB");
    }
}
