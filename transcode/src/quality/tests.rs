//! Figures that can be worked out by hand, and the share of segments.

use super::*;
use media::FrameRate;
use std::time::Duration;

fn luma(samples: &[u8], (stride, width, height): (usize, usize, usize)) -> Luma<'_> {
    Luma { samples, stride, width, height }
}

#[test]
fn a_picture_is_like_itself_and_a_brighter_one_is_less() {
    let (dark, bright) = (vec![100; 20 * 16], vec![110; 16 * 16]);
    let (dark, bright) = (luma(&dark, (20, 16, 16)), luma(&bright, (16, 16, 16)));
    let same = Score::of(dark, dark).unwrap();
    assert_eq!((same.ssim, same.mse, same.psnr_db()), (1.0, 0.0, PSNR_MAX));
    let score = Score::of(dark, bright).unwrap();
    // Nothing varies, so only the means count: (2ab + c) / (a² + b² + c).
    assert!((score.ssim - (22_000.0 + 6.5025) / (22_100.0 + 6.5025)).abs() < 1e-5, "{score:?}");
    assert_eq!(score.mse, 100.0);
    assert!((score.psnr_db() - 28.1308).abs() < 1e-4, "{}", score.psnr_db());
}

#[test]
fn what_varies_elsewhere_is_not_alike() {
    let stripes =
        |phase: usize| (0..256).map(|at| if (at + phase).is_multiple_of(2) { 90 } else { 110 }).collect::<Vec<u8>>();
    let (one, other) = (stripes(0), stripes(1));
    let score = Score::of(luma(&one, (16, 16, 16)), luma(&other, (16, 16, 16))).unwrap();
    // Variances of 64 * 100 / 63, and a covariance of as much below zero.
    let variance = 6400.0 / 63.0;
    let expected = (58.5225 - 2.0 * variance) / (58.5225 + 2.0 * variance);
    assert!((score.ssim - expected).abs() < 1e-9, "{score:?} {expected}");
    assert_eq!(score.mse, 400.0);
    let mean = Score::mean(&[score, Score { ssim: 1.0, mse: 0.0 }]).unwrap();
    assert_eq!(mean, Score { ssim: f64::midpoint(score.ssim, 1.0), mse: 200.0 });
    assert_eq!(Score::mean(&[]), None);
}

#[test]
fn pictures_that_cannot_be_compared_are_not() {
    let bytes = [0; 256];
    let whole = luma(&bytes, (16, 16, 16));
    for other in [
        luma(&bytes, (16, 16, 15)),
        luma(&bytes[..255], (16, 16, 16)),
        luma(&bytes, (15, 16, 16)),
        luma(&bytes, (16, 16, 0)),
    ] {
        assert_eq!(Score::of(whole, other), None);
        assert_eq!(Score::of(other, whole), None);
    }
    let small = luma(&bytes, (7, 7, 16));
    assert_eq!(Score::of(small, small), None);
    // Lines that are no whole number of blocks: what is left over counts for the error alone.
    let mut odd = [0; 256];
    odd[10] = 8;
    let score = Score::of(luma(&bytes, (16, 11, 16)), luma(&odd, (16, 11, 16))).unwrap();
    assert_eq!(score, Score { ssim: 1.0, mse: 64.0 / 176.0 });
}

fn sampling((segment_frames, part_frames): (u32, u32), sample_percent: u8) -> Sampling {
    let plan = Plan {
        rate: FrameRate::new(30, 1).unwrap(),
        segment_frames,
        part_frames,
        target_duration_s: 2,
        part_target: Duration::from_millis(334),
        renditions: Vec::new(),
        thumbnails: None,
    };
    Sampling::new(&plan, &Quality { sample_percent, pausing: None })
}

#[test]
fn the_share_of_segments_is_as_configured_and_even() {
    for percent in 0..=100 {
        let sampling = sampling((60, 10), percent);
        let taken: Vec<i64> = (0..1000).filter(|segment| sampling.takes_segment(*segment)).collect();
        assert_eq!(taken.len(), 10 * usize::from(percent));
        assert_eq!(taken.first().copied(), (percent > 0).then_some(0));
        let distances: Vec<i64> = taken.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let (least, most) = (distances.iter().min(), distances.iter().max());
        assert!(most.zip(least).is_none_or(|(most, least)| most - least <= 1), "{percent}: {distances:?}");
    }
}

#[test]
fn pictures_are_where_parts_begin_first_middle_and_last() {
    let taken = |grid| {
        let sampling = sampling(grid, 100);
        let taken: Vec<i64> = (0..60).filter(|index| sampling.takes_picture(60 + index)).collect();
        let after_last = (0..60).filter(|index| sampling.is_last(60 + index)).count();
        (taken, after_last, sampling.pictures(), sampling.segment(119))
    };
    assert_eq!(taken((60, 10)), (vec![0, 30, 50], 10, 3, 1));
    assert_eq!(taken((60, 30)), (vec![0, 30], 30, 2, 1));
    assert_eq!(taken((60, 60)), (vec![0], 60, 1, 1));
}
