//! What must hold of any cut: no frame lost, no time lost, boundaries where the grid says.

use super::*;
use crate::testing::{Rng, aac, avc, plan};
use mp4_atom::{Any, Decode, Moof, Prft};

const TICKS: i64 = 1000;
const ZERO_MS: i64 = 1_795_226_400_500;
/// Of video at 30 frames a second.
const ZERO_TICKS: i64 = ZERO_MS * 30;

fn video_segmenter() -> Segmenter {
    let grid = Grid::new(&plan(30, 60, 10));
    Segmenter::new(grid, &avc(grid.rate.timescale()), (100, ZERO_MS))
}

fn picture(decode: i64, show: i64, keyframe: bool) -> Frame {
    let data = Bytes::from(format!("[{show}]"));
    Frame { kind: TrackKind::Video, dts: decode * TICKS, pts: show * TICKS, keyframe, data }
}

/// Display indices in decode order of closed GOPs `I P B B P B B …`, decoded two frame times before they are shown.
fn reordered(gop: i64, gops: i64) -> Vec<Frame> {
    let mut frames = Vec::new();
    for start in (0..gops).map(|index| index * gop) {
        let mut order = vec![0];
        for anchor in (1..gop).step_by(3) {
            let last = (anchor + 2).min(gop - 1);
            order.push(last);
            order.extend(anchor..last);
        }
        frames.extend(order.iter().enumerate().map(|(place, show)| {
            let decode = start + place as i64 - 2;
            picture(decode, start + show, *show == 0)
        }));
    }
    frames
}

fn plain(gop: i64, count: i64) -> Vec<Frame> {
    (0..count).map(|index| picture(index, index, index % gop == 0)).collect()
}

fn cut(segmenter: &mut Segmenter, frames: impl IntoIterator<Item = Frame>) -> Result<Vec<Part>, Violation> {
    let mut parts = Vec::new();
    for frame in frames {
        parts.extend(segmenter.push(frame)?);
    }
    Ok(parts)
}

#[test]
fn a_rendition_of_half_the_frames_is_cut_where_the_others_are() {
    let half = plain(60, 120).into_iter().step_by(2);
    let mut segmenter = video_segmenter().every(2);
    let mut parts = Vec::new();
    for frame in half {
        let last_of_part = frame.pts / TICKS % 10 == 8;
        let whole = segmenter.push(frame).unwrap();
        assert_eq!(whole.len(), usize::from(last_of_part), "a part is whole with its last frame, not with the next");
        parts.extend(whole);
    }
    let all = cut(&mut video_segmenter(), plain(60, 120)).unwrap();
    let places = |parts: &[Part]| parts.iter().map(|part| (part.at, part.duration_s)).collect::<Vec<_>>();
    assert_eq!(places(&parts), places(&all));
    let samples = read(&parts);
    assert_no_holes(&samples);
    assert!(samples.iter().all(|sample| sample.2 == 2 * TICKS));
}

#[test]
fn a_rendition_that_goes_and_comes_back_has_its_parts_where_the_others_have_them() {
    let frames = || plain(60, 300);
    let all = cut(&mut video_segmenter(), frames()).unwrap();
    let mut segmenter = video_segmenter();
    let mut parts = Vec::new();
    for frame in frames() {
        let index = frame.pts / TICKS;
        // Half of the second segment's pictures, none of the third and fourth.
        match index {
            60 => parts.extend(segmenter.turn(1, 2).unwrap()),
            120 => parts.extend(segmenter.turn(2, 0).unwrap()),
            240 => parts.extend(segmenter.turn(4, 1).unwrap()),
            _ => {}
        }
        let every = [1, 2, 0, 0, 1][(index / 60) as usize];
        if every > 0 && index % every == 0 {
            parts.extend(segmenter.push(frame).unwrap());
        }
    }
    let places = |parts: &[Part]| parts.iter().map(|part| (part.at, part.duration_s)).collect::<Vec<_>>();
    let there: Vec<_> = places(&all).into_iter().filter(|(at, _)| !matches!(at.msn, 102 | 103)).collect();
    assert_eq!(places(&parts), there);
    let (of_all, last) = (read(&all), read(&parts[12..]));
    assert_eq!(last, of_all[240..], "it goes on at its own time");
}

#[test]
fn a_turn_ends_a_part_whose_last_frames_were_left_out_and_leaves_out_what_comes_too_early() {
    let mut segmenter = video_segmenter();
    cut(&mut segmenter, plain(60, 55)).unwrap();
    let whole = segmenter.turn(1, 0).unwrap();
    assert_eq!(whole.len(), 1);
    assert!(whole[0].ends_segment && (whole[0].duration_s - 1.0 / 3.0).abs() < 1e-9);
    segmenter.turn(3, 1).unwrap();
    let parts = cut(&mut segmenter, plain(60, 190).into_iter().skip(120)).unwrap();
    assert_eq!(parts[0].at, Position { msn: 103, part: 0 }, "another than was told was missed");
}

/// (decode time, presentation time, duration) of every sample, as a reader of the bytes gets them.
fn read(parts: &[Part]) -> Vec<(i64, i64, i64)> {
    let mut samples = Vec::new();
    for part in parts {
        let mut rest: &[u8] = &part.bytes;
        let clock = Prft::decode(&mut rest).unwrap();
        let moof = Moof::decode(&mut rest).unwrap();
        assert!(matches!(Any::decode(&mut rest).unwrap(), Any::Mdat(_)));
        let traf = &moof.traf[0];
        let mut decode = traf.tfdt.as_ref().unwrap().base_media_decode_time as i64;
        let first = traf.trun[0].samples.get(0).unwrap();
        assert_eq!(clock.media_time as i64, decode + first.cts.unwrap(), "the wall clock is that of the first sample");
        for entry in traf.trun[0].samples.iter() {
            let duration = i64::from(entry.duration.unwrap());
            samples.push((decode, decode + entry.cts.unwrap(), duration));
            decode += duration;
        }
    }
    samples
}

fn assert_no_holes(samples: &[(i64, i64, i64)]) {
    for pair in samples.windows(2) {
        assert_eq!(pair[0].0 + pair[0].2, pair[1].0, "a hole in decode time");
    }
    assert!(samples.iter().all(|(decode, shown, _)| shown >= decode), "a negative composition offset");
}

#[test]
fn a_part_is_whole_with_its_own_last_frame() {
    let mut segmenter = video_segmenter();
    for (index, frame) in plain(60, 120).into_iter().enumerate() {
        let parts = segmenter.push(frame).unwrap();
        assert_eq!(parts.len(), usize::from(index % 10 == 9), "after frame {index}");
        for part in parts {
            let msn = 100 + index as u64 / 60;
            assert_eq!(part.at, Position { msn, part: (index as u32 % 60) / 10 });
            assert_eq!(part.independent, part.at.part == 0);
            assert_eq!(part.ends_segment, part.at.part == 5);
            assert!((part.duration_s - 1.0 / 3.0).abs() < 1e-9);
        }
    }
    assert!(segmenter.flush().unwrap().is_none());
}

#[test]
fn media_time_begins_with_the_wall_clock_of_the_epoch() {
    let parts = cut(&mut video_segmenter(), plain(60, 60)).unwrap();
    assert_eq!(read(&parts)[0], (ZERO_TICKS, ZERO_TICKS, TICKS));
}

#[test]
fn reordered_frames_are_shown_on_the_grid_and_decoded_before() {
    let parts = cut(&mut video_segmenter(), reordered(60, 3)).unwrap();
    assert_eq!(parts.len(), 18);
    let samples = read(&parts);
    assert_no_holes(&samples);
    assert_eq!(samples[0].1, ZERO_TICKS, "the first picture is shown where its segment begins");
    let mut shown: Vec<_> = samples.iter().map(|sample| sample.1).collect();
    shown.sort_unstable();
    assert!(shown.iter().enumerate().all(|(index, &at)| at == ZERO_TICKS + index as i64 * TICKS));
}

#[test]
fn a_dropped_frame_lengthens_the_one_before() {
    for missing in [5, 9, 10, 59] {
        let frames = plain(60, 120).into_iter().filter(|frame| frame.pts != missing * TICKS);
        let parts = cut(&mut video_segmenter(), frames).unwrap();
        assert_eq!(parts.len(), 12, "without frame {missing}");
        let samples = read(&parts);
        assert_no_holes(&samples);
        assert!(parts.iter().all(|part| part.duration_s < 1.0 / 3.0 + 1e-9));
        let shown: Vec<_> = samples.iter().map(|sample| (sample.1 - ZERO_TICKS) / TICKS).collect();
        assert_eq!(shown, (0..120).filter(|index| *index != missing).collect::<Vec<_>>());
    }
}

#[test]
fn random_losses_move_no_frame_and_leave_no_hole() {
    for seed in 0..50 {
        let mut rng = Rng::new(seed);
        let kept: Vec<_> = reordered(60, 4)
            .into_iter()
            .filter(|frame| frame.keyframe || frame.pts / TICKS % 10 == 9 || rng.below(4) > 0)
            .collect();
        let parts = match cut(&mut video_segmenter(), kept.clone()) {
            Ok(parts) => parts,
            Err(Violation::Gap { .. }) => continue,
            Err(other) => panic!("seed {seed}: {other}"),
        };
        let samples = read(&parts);
        assert_no_holes(&samples);
        let shown: Vec<_> = samples.iter().map(|sample| sample.1 - ZERO_TICKS).collect();
        assert_eq!(shown, kept[..shown.len()].iter().map(|frame| frame.pts).collect::<Vec<_>>(), "seed {seed}");
    }
}

#[test]
fn a_part_without_frames_is_a_violation() {
    let frames = plain(60, 60).into_iter().filter(|frame| !(9..=20).contains(&(frame.pts / TICKS)));
    let violation = cut(&mut video_segmenter(), frames).unwrap_err();
    assert!(matches!(violation, Violation::Gap { at: Position { msn: 100, part: 2 } }), "{violation}");
}

#[test]
fn a_segment_without_its_key_frame_is_a_violation() {
    let violation = cut(&mut video_segmenter(), plain(50, 120)).unwrap_err();
    assert!(matches!(violation, Violation::NoKeyFrame { msn: 101 }), "{violation}");
    let late = plain(60, 120).into_iter().filter(|frame| frame.pts != 60 * TICKS);
    assert!(matches!(cut(&mut video_segmenter(), late), Err(Violation::NoKeyFrame { msn: 101 })));
}

#[test]
fn time_that_runs_backwards_is_a_violation() {
    let frames = [picture(0, 0, true), picture(5, 5, false), picture(4, 4, false)];
    assert!(matches!(cut(&mut video_segmenter(), frames), Err(Violation::Order { .. })));
}

#[test]
fn what_is_open_at_the_end_becomes_a_short_part() {
    let mut segmenter = video_segmenter();
    assert_eq!(cut(&mut segmenter, plain(60, 13)).unwrap().len(), 1);
    let last = segmenter.flush().unwrap().unwrap();
    assert_eq!((last.at, last.ends_segment), (Position { msn: 100, part: 1 }, false));
    assert!((last.duration_s - 0.1).abs() < 1e-9);
}

#[test]
fn audio_is_cut_by_the_start_of_its_access_units() {
    for (fps_num, segment, part) in [(30, 60, 10), (25, 48, 8), (30, 64, 8), (60, 120, 16)] {
        let plan = plan(fps_num, segment, part);
        let grid = Grid::new(&plan);
        let mut segmenter = Segmenter::new(grid, &aac(), (7, ZERO_MS));
        // The source's audio started 300 samples after its video; one unit lies before zero and one across it.
        let mut parts = Vec::new();
        for start in (0..2000).map(|unit| unit * 1024 - 1748) {
            let frame = Frame {
                kind: TrackKind::Audio,
                dts: start,
                pts: start,
                keyframe: true,
                data: Bytes::from_static(b"a"),
            };
            let end = start + 1024;
            for whole in segmenter.push(frame).unwrap() {
                let boundary = grid.part_start(parts.len() as u64 + 1, 48_000);
                assert!(end >= boundary && start < boundary, "a part waits for no later unit");
                parts.push(whole);
            }
        }
        let samples = read(&parts);
        assert_no_holes(&samples);
        let target = plan.part_target.as_secs_f64();
        for part in &parts {
            assert!(part.independent && part.duration_s <= target + 1e-9, "{part:?}");
            assert!(part.at == Position { msn: 7, part: 0 } || part.duration_s >= 0.85 * target, "{part:?}");
        }
        assert_eq!(parts[0].at, Position { msn: 7, part: 0 });
        assert_eq!(samples[0].0, 48 * ZERO_MS + 300);
    }
}
