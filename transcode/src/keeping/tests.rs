//! The rule on a virtual clock, before machines of every speed.

use super::*;
use crate::{Encoding, Make, Rendition};
use config::VideoCodec;
use media::FrameRate;

const SEGMENT_S: f64 = 2.0;

fn keeping() -> Keeping {
    Keeping { behind: Duration::from_millis(300), recover: Duration::from_secs(20), preset_steps: 2, fps_min: 12 }
}

fn plan(heights: &[u32]) -> Plan {
    let rung = |&height: &u32| {
        let (width, preset) = (height * 16 / 9, "veryfast".to_owned());
        let codec = VideoCodec::H264;
        let encoding = Encoding { codec, width, height, every: 1, bitrate: 1, quality: None, preset };
        Rendition { name: format!("{height}p"), make: Make::Video(encoding) }
    };
    Plan {
        rate: FrameRate::new(30, 1).unwrap(),
        segment_frames: 60,
        part_frames: 10,
        target_duration_s: 2,
        part_target: Duration::from_millis(334),
        renditions: heights.iter().map(rung).collect(),
        thumbnails: None,
    }
}

/// A machine that takes `cost[level]` of real time for what a level asks of it.
struct Machine {
    keeper: Keeper,
    cost: Vec<f64>,
    segment: u32,
    /// When the work on the segment before was done, in seconds.
    done: f64,
    lag_max: f64,
    levels: Vec<usize>,
}

impl Machine {
    /// `whole` is what the whole ladder costs.
    fn new(whole: f64, wrong: impl Fn(usize) -> f64) -> Self {
        let keeper = Keeper::new(&plan(&[720, 480, 360]), &keeping());
        let first = keeper.levels[0].cost;
        let cost = keeper.levels.iter().enumerate().map(|(place, level)| whole * wrong(place) * level.cost / first);
        Self { cost: cost.collect(), keeper, segment: 0, done: 0.0, lag_max: 0.0, levels: Vec::new() }
    }

    fn run(&mut self, segments: u32) {
        for _ in 0..segments {
            let came = f64::from(self.segment) * SEGMENT_S;
            let begins = self.done.max(came);
            let lag = begins - came;
            let busy = self.cost[self.keeper.level].min(1.0);
            self.keeper.at_boundary(Seen { lag: Duration::from_secs_f64(lag), busy }, Duration::from_secs_f64(begins));
            self.done = begins + self.cost[self.keeper.level] * SEGMENT_S;
            self.lag_max = self.lag_max.max(lag);
            self.levels.push(self.keeper.level);
            self.segment += 1;
        }
    }

    fn lag(&self) -> f64 {
        self.done - f64::from(self.segment) * SEGMENT_S
    }

    fn changes(&self, last: usize) -> usize {
        self.levels[self.levels.len() - last..].windows(2).filter(|pair| pair[0] != pair[1]).count()
    }
}

/// xorshift64*, in [0, 1).
fn random(seed: &mut u64) -> f64 {
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    (seed.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1_u64 << 53) as f64
}

#[test]
fn presets_go_first_then_pictures_then_rungs_from_the_tallest_and_one_stays() {
    let sheds = |plan: &Plan, keeping: &Keeping| -> Vec<_> {
        let levels = levels::of(plan, keeping);
        assert!(levels.windows(2).all(|pair| pair[0].cost > pair[1].cost), "{levels:?}");
        levels.iter().map(|level| (level.shed.faster, level.shed.thinned, level.shed.away)).collect()
    };
    let whole = [(0, false, 0), (1, false, 0), (2, false, 0), (2, true, 0), (2, true, 1), (2, true, 2)];
    assert_eq!(sheds(&plan(&[720, 480, 360]), &keeping()), whole);
    let patient = Keeping { preset_steps: 4, ..keeping() };
    assert_eq!(sheds(&plan(&[720, 480, 360]), &patient), whole, "there is none faster than ultrafast");
    let fluent = Keeping { fps_min: 30, preset_steps: 0, ..keeping() };
    assert_eq!(sheds(&plan(&[720, 480]), &fluent), [(0, false, 0), (0, false, 1)]);
    assert_eq!(sheds(&plan(&[]), &keeping()), [(0, false, 0)]);
}

#[test]
fn a_machine_that_is_fast_enough_does_all() {
    let mut machine = Machine::new(0.95, |_| 1.0);
    machine.run(1000);
    assert!(machine.levels.iter().all(|&level| level == 0));
}

#[test]
fn frames_that_were_held_before_the_start_are_not_a_delay_of_the_encoders() {
    let mut keeper = Keeper::new(&plan(&[720, 480, 360]), &keeping());
    // Four seconds came at once, and are worked on at twice the speed of live.
    for segment in 0..4 {
        let now = Duration::from_secs(segment);
        assert_eq!(keeper.at_boundary(Seen { lag: now, busy: 1.0 }, now), Shed::default());
    }
}

#[test]
fn twice_the_work_is_never_later_than_a_segment_and_goes_down_in_order() {
    let mut machine = Machine::new(2.0, |_| 1.0);
    machine.run(20);
    assert!(machine.lag_max <= SEGMENT_S, "{} s", machine.lag_max);
    assert!(machine.levels.is_sorted() && machine.lag() < 0.0, "{:?}", machine.levels);
    // The work becomes less.
    machine.cost.iter_mut().for_each(|cost| *cost /= 3.0);
    let deepest = machine.levels.len();
    machine.run(200);
    let up = &machine.levels[deepest..];
    assert!(up.windows(2).all(|pair| pair[0] == pair[1] || pair[0] == pair[1] + 1), "{up:?}");
    assert_eq!(up.last(), Some(&0));
    let first = up.windows(2).position(|pair| pair[0] != pair[1]).unwrap();
    assert!(first as f64 * SEGMENT_S >= 18.0, "slowly: {up:?}");
}

#[test]
fn under_a_load_that_stays_the_level_stays() {
    for seed in 1..500_u64 {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let whole = 0.5 + 3.5 * random(&mut state);
        // What steps save is not what they are taken for.
        let wrong: Vec<_> = (0..6).map(|_| 0.8 + 0.4 * random(&mut state)).collect();
        let mut machine = Machine::new(whole, |level| wrong[level]);
        machine.run(1000);
        assert_eq!(machine.changes(500), 0, "seed {seed}: {:?}", machine.levels);
        let last = machine.cost.len() - 1;
        let in_time = machine.lag() <= 0.3 || machine.levels.ends_with(&[last]);
        assert!(in_time, "seed {seed}: {} s behind at {:?}", machine.lag(), machine.levels.last());
    }
}

#[test]
fn a_load_that_changes_never_stalls_all_and_is_followed() {
    for seed in 1..200_u64 {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut machine = Machine::new(1.0, |_| 1.0);
        let whole = machine.cost.clone();
        for _ in 0..20 {
            let load = 0.3 + 3.0 * random(&mut state);
            machine.cost = whole.iter().map(|cost| cost * load).collect();
            let before = machine.keeper.level;
            let first = machine.levels.len();
            machine.run(150);
            let levels = &machine.levels[first..];
            if load < 0.7 {
                assert!(levels.last() <= Some(&before), "seed {seed}: {load} {levels:?}");
            }
            assert!(machine.lag() <= 0.3, "seed {seed}: load {load}, {} s behind", machine.lag());
        }
    }
}

#[test]
fn the_brake_is_for_what_is_late_and_gets_later() {
    let (plan, ms) = (plan(&[720, 360]), Duration::from_millis);
    let bearable = bearable(&plan, &keeping());
    assert_eq!(bearable, ms(500));
    assert!(brakes((ms(501), bearable), (ms(1100), ms(1000))));
    assert!(!brakes((ms(500), bearable), (ms(1100), ms(1000))), "not late");
    assert!(!brakes((ms(2000), bearable), (ms(900), ms(1000))), "frames that were held, worked off faster than live");
}
