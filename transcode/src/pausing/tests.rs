//! The rule over segments that nobody encoded.

use super::*;
use crate::{Encoding, Make, Rendition};
use media::FrameRate;

const PICTURES: usize = 3;
/// SSIM of rungs from the tallest on, and of each scaled up to any above it.
type Scene = (f64, f64);
const SLIDE: Scene = (0.996, 0.995);
const SPORT: Scene = (0.96, 0.90);
/// So busy that the bits do not suffice for the size.
const NOISE: Scene = (0.70, 0.69);

fn pausing() -> Pausing {
    Pausing { loss_mdb: 500, return_mdb: 1000, segments: 3, run: Duration::from_secs(20) }
}

fn plan(rungs: &[(u32, VideoCodec, u32)]) -> Plan {
    let rung = |&(height, codec, every): &(u32, VideoCodec, u32)| {
        let (width, preset) = (height * 16 / 9, String::new());
        let encoding = Encoding { codec, width, height, every, bitrate: 1, quality: None, preset };
        Rendition { name: format!("{height}p"), make: Make::Video(encoding) }
    };
    let source = Rendition { name: "source".to_owned(), make: Make::Passthrough };
    Plan {
        rate: FrameRate::new(30, 1).unwrap(),
        segment_frames: 60,
        part_frames: 10,
        target_duration_s: 2,
        part_target: Duration::from_millis(334),
        renditions: std::iter::once(source).chain(rungs.iter().map(rung)).collect(),
        thumbnails: None,
    }
}

struct World {
    pauser: Pauser,
    segment: i64,
    /// Which places were away in each segment.
    away: Vec<Vec<usize>>,
}

impl World {
    fn new(rungs: &[(u32, VideoCodec, u32)]) -> Self {
        Self { pauser: Pauser::new(&plan(rungs), &pausing(), PICTURES), segment: 0, away: Vec::new() }
    }

    fn h264(heights: &[u32]) -> Self {
        Self::new(&heights.iter().map(|&height| (height, VideoCodec::H264, 1)).collect::<Vec<_>>())
    }

    fn away(&self) -> Vec<usize> {
        (0..self.pauser.rungs.len()).filter(|&place| self.pauser.paused().away.holds(place)).collect()
    }

    /// A segment: what is away at its beginning is away for all of it.
    fn show(&mut self, (own, below): Scene) {
        let away = self.pauser.paused().away;
        self.away.push(self.away());
        for _ in 0..PICTURES {
            for place in 0..self.pauser.rungs.len() {
                let own = Some(own).filter(|_| !away.holds(place));
                self.pauser.saw(place, self.segment, Compared { own, below });
                let Paused { away, leaned } = self.pauser.paused();
                assert_eq!(away.0 & leaned.0, 0, "what others lean on is there");
            }
        }
        self.segment += 1;
    }

    fn show_for(&mut self, segments: usize, scene: Scene) {
        (0..segments).for_each(|_| self.show(scene));
    }
}

#[test]
fn a_rung_goes_after_some_segments_in_which_it_shows_no_more_and_is_back_with_the_first_picture_that_does() {
    let mut world = World::h264(&[720, 360]);
    world.show_for(2, SLIDE);
    world.show(SPORT);
    world.show_for(3, SLIDE);
    assert_eq!(world.away(), [0], "three in a row");
    assert!(world.away.iter().all(Vec::is_empty));
    world.show_for(100, SLIDE);
    assert_eq!(world.away(), [0]);
    world.pauser.saw(0, world.segment, Compared { own: None, below: SPORT.1 });
    assert!(world.away().is_empty());
}

#[test]
fn a_rung_that_has_too_few_bits_for_its_size_goes_and_comes_back_when_it_could_show_more() {
    let mut world = World::h264(&[720, 360]);
    world.show_for(3, NOISE);
    assert_eq!(world.away(), [0]);
    // About as busy.
    world.show_for(20, (0.74, 0.73));
    assert_eq!(world.away(), [0]);
    world.show(SPORT);
    assert!(world.away().is_empty(), "the one below has become better: it would have as well");
}

#[test]
fn the_smallest_of_each_kind_stays_and_kinds_do_not_stand_in_for_each_other() {
    let mut world = World::h264(&[1080, 720, 360]);
    world.show_for(30, SLIDE);
    assert_eq!(world.away(), [0, 1]);
    let leaned = world.pauser.paused().leaned;
    assert!(leaned.holds(2) && !leaned.holds(1), "{leaned:?}");
    let (h264, av1) = (VideoCodec::H264, VideoCodec::Av1);
    let mut world = World::new(&[(1080, h264, 1), (1080, h264, 2), (720, h264, 1), (720, av1, 1), (360, av1, 1)]);
    world.show_for(30, SLIDE);
    assert_eq!(world.away(), [0, 3]);
    assert_eq!(world.pauser.below(1), None);
    for rungs in [&[][..], &[(360, h264, 1)]] {
        let mut world = World::new(rungs);
        world.show_for(30, SLIDE);
        assert!(world.away().is_empty());
        assert_eq!(world.pauser.below(0), None);
    }
}

#[test]
fn one_that_another_leans_on_stays() {
    let mut world = World::h264(&[1080, 720, 360]);
    for _ in 0..3 * PICTURES {
        assert_eq!(world.pauser.below(0), Some(1));
        world.pauser.saw(0, 0, Compared { own: Some(SLIDE.0), below: SLIDE.1 });
    }
    assert_eq!(world.away(), [0]);
    world.show_for(30, SLIDE);
    assert_eq!(world.away(), [0]);
    world.show(SPORT);
    world.show_for(8, SLIDE);
    assert_eq!(world.away(), [1], "both ran for a time, and the lower one was alike first");
}

#[test]
fn pauses_that_are_too_short_become_rarer() {
    let mut world = World::h264(&[720, 360]);
    // A slide for 10 s, then 10 s of sport, for six hours.
    for _ in 0..1080 {
        world.show_for(5, SLIDE);
        world.show_for(5, SPORT);
    }
    let goes: Vec<usize> =
        (1..world.away.len()).filter(|&at| world.away[at].len() > world.away[at - 1].len()).collect();
    let distances: Vec<usize> = goes.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(distances[0] >= 10, "{distances:?}");
    assert!(distances.is_sorted(), "{distances:?}");
    assert!(distances.last() >= Some(&160), "{distances:?}");
    // One that lasts is worth it, and the next may come sooner again.
    world.show_for(400, SLIDE);
    assert_eq!(world.away(), [0]);
    world.show(SPORT);
    world.show_for(400, SLIDE);
    world.show(SPORT);
    world.show_for(14, SLIDE);
    assert_eq!(world.away(), [0]);
}

#[test]
fn a_rung_that_nobody_has_the_time_to_look_for_is_back() {
    let mut world = World::h264(&[720, 360]);
    world.show_for(3, SLIDE);
    assert_eq!(world.away(), [0]);
    assert_eq!(world.pauser.overlooked(2 + UNSEEN_MAX), None);
    assert_eq!(world.pauser.overlooked(3 + UNSEEN_MAX), Some(0));
    assert_eq!((world.away(), world.pauser.overlooked(100)), (Vec::new(), None));
    assert!(world.pauser.rungs[0].runs_until > 3 + UNSEEN_MAX);
}

/// xorshift64*, in [0, 1).
fn random(seed: &mut u64) -> f64 {
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    (seed.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1_u64 << 53) as f64
}

#[test]
fn whatever_is_shown_the_smallest_is_there_and_no_rung_flaps() {
    for seed in 1..100_u64 {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut world = World::h264(&[1080, 720, 480, 360]);
        for _ in 0..2000 {
            let own = 0.6 + 0.4 * random(&mut state);
            world.show((own, own - 0.2 * random(&mut state).powi(4)));
        }
        assert!(world.away.iter().all(|away| !away.contains(&3)), "seed {seed}");
        for place in 0..3 {
            let is_away = |at: usize| world.away[at].contains(&place);
            let goes = (1..2000).filter(|&at| is_away(at) && !is_away(at - 1)).count();
            assert!(goes <= 40, "seed {seed}: {goes} times in 2000 segments");
        }
    }
}

#[test]
fn so_many_decibels_are_enough() {
    assert_eq!(decibels(1.0), ENOUGH_DB);
    assert_eq!(decibels(1.1), ENOUGH_DB);
    assert_eq!(decibels(0.995), ENOUGH_DB);
    assert!((decibels(0.9) - 10.0).abs() < 1e-9);
    assert_eq!(decibels(0.0), 0.0);
    assert!(decibels(-1.0) < 0.0);
}

#[test]
fn places_past_the_last_are_nowhere() {
    let mut places = Places::default();
    [0, 63, 64, usize::MAX].into_iter().for_each(|place| places.insert(place));
    let held: Vec<usize> = (0..200).filter(|&place| places.holds(place)).collect();
    assert_eq!(held, [0, 63]);
}
