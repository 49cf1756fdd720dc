//! The rules in virtual time: seeded CDNs fail, lag and recover, and every decision on the way is checked.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use geo::Country;
use manifest::steering::PathwayId;
use router::evidence::Evidence;
use router::rank::{Ranking, Reason, Rules, Viewer, rank};
use router::sample::{Delivery, Failure, Kind, Sample, Scope};
use router::session::{Session, Sessions};
use router::snapshot::{Snapshot, Standing};
use std::collections::HashMap;
use std::time::Duration;

const ROUND: Duration = Duration::from_secs(2);

struct World {
    rules: Rules,
    evidence: Evidence,
    snapshot: Snapshot,
    now: Duration,
    random: Random,
}

impl World {
    fn new(seed: u64, weights: &[f64]) -> Self {
        let cdn = |(index, &weight)| config::Cdn { id: format!("cdn-{index}"), url: String::new(), weight };
        let mut config = config::Config::parse("[router]", []).unwrap().router.unwrap();
        config.cdns = weights.iter().enumerate().map(cdn).collect();
        let rules = Rules::new(&config).unwrap();
        let snapshot = Snapshot::empty(&rules);
        let evidence = Evidence::new(config.probe.half_life);
        Self { rules, evidence, snapshot, now: Duration::ZERO, random: Random(seed) }
    }

    /// One round of probes; `probe` says how each CDN answers.
    fn round(&mut self, mut probe: impl FnMut(usize, &mut Random) -> Result<Delivery, Failure>) {
        self.now += ROUND;
        for (index, cdn) in self.rules.ids().enumerate() {
            let kind = Kind::Probe(probe(index, &mut self.random));
            // As the prober does: a failure is repeated at once.
            let repeated = if kind.failure().is_some() { 2 } else { 1 };
            for _ in 0..repeated {
                let sample = Sample { cdn: cdn.clone(), scope: Scope::EVERYWHERE, kind: kind.clone(), weight: 1.0 };
                self.evidence.absorb(&sample, self.now);
            }
        }
        self.pause();
    }

    fn pause(&mut self) {
        self.snapshot = Snapshot::take(&self.evidence, &self.rules, &self.snapshot, self.now);
    }

    fn rank(&self, session: Session) -> Ranking {
        let ranking = rank(&self.snapshot, &Viewer { session, scope: Scope::EVERYWHERE }, &self.rules);
        let mut ids: Vec<_> = ranking.ids();
        ids.sort();
        assert!(ids.iter().eq(self.rules.ids()), "every CDN, once: {ranking:?}");
        ranking
    }

    fn standing(&self, index: usize) -> Standing {
        self.snapshot.healths(Scope::EVERYWHERE)[index].standing
    }

    /// How many of the sessions each CDN is first for.
    fn shares(&self, sessions: &[Session]) -> HashMap<usize, usize> {
        let mut shares = HashMap::new();
        for &session in sessions {
            *shares.entry(self.rank(session).order()[0].index).or_default() += 1;
        }
        shares
    }
}

fn sessions(count: usize) -> Vec<Session> {
    let made = (0..count as u64).map(|n| Session::parse(&format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))));
    made.map(Option::unwrap).collect()
}

fn healthy(random: &mut Random) -> Result<Delivery, Failure> {
    let ttfb = Duration::from_millis(random.below(200));
    Ok(Delivery { ttfb, lag: Some(Duration::from_millis(random.below(2000))), headroom: None })
}

#[test]
fn without_samples_the_weights_serve() {
    let world = World::new(1, &[3.0, 1.0, 0.0]);
    let sessions = sessions(20_000);
    let shares = world.shares(&sessions);
    assert!((14_700..15_300).contains(&shares[&0]) && shares[&0] + shares[&1] == 20_000, "{shares:?}");
    for session in &sessions[..100] {
        let ranking = world.rank(*session);
        assert!(ranking.order().iter().all(|ranked| ranked.reason == Reason::Weights));
        assert_eq!(ranking.order()[2].index, 2, "a CDN of weight 0 comes after those with a share");
    }
}

#[test]
fn noise_among_healthy_cdns_moves_nobody() {
    for seed in 0..20 {
        let mut world = World::new(seed, &[1.0, 1.0, 1.0]);
        let viewer = sessions(1)[0];
        let first = world.rank(viewer).ids();
        for _ in 0..500 {
            world.round(|_, random| healthy(random));
            assert_eq!(world.rank(viewer).ids(), first, "seed {seed}");
        }
    }
}

#[test]
fn a_dead_cdn_is_last_after_one_round_and_back_after_five_good_ones() {
    for seed in 0..20 {
        let mut world = World::new(seed, &[1.0, 1.0]);
        let sessions = sessions(200);
        for _ in 0..10 {
            world.round(|_, random| healthy(random));
        }
        let before = world.shares(&sessions);
        for _ in 0..5 {
            world.round(|index, random| if index == 0 { Err(Failure::Timeout) } else { healthy(random) });
            let all_on_the_other = sessions.iter().all(|&session| {
                let ranking = world.rank(session);
                ranking.order()[0].index == 1 && ranking.order()[1].reason == Reason::Down
            });
            assert!(all_on_the_other, "seed {seed}");
        }
        for round in 0..5 {
            assert_eq!(world.standing(0), Standing::Down, "seed {seed}, round {round}");
            world.round(|_, random| healthy(random));
        }
        assert_eq!(world.shares(&sessions), before, "seed {seed}: everyone goes home");
    }
}

#[test]
fn when_all_are_down_the_weights_serve() {
    let mut world = World::new(3, &[1.0, 1.0]);
    let sessions = sessions(1000);
    let before = world.shares(&sessions);
    world.round(|_, _| Err(Failure::Unreachable));
    assert_eq!(world.shares(&sessions), before);
    assert!(world.rank(sessions[0]).order().iter().all(|ranked| ranked.reason == Reason::FailOpen));
}

#[test]
fn a_stale_edge_loses_its_viewers_though_it_answers() {
    let mut world = World::new(4, &[1.0, 1.0]);
    world.round(|_, random| healthy(random));
    let mut frozen = Duration::ZERO;
    let mut rounds = 0;
    while world.standing(1) == Standing::Good {
        rounds += 1;
        frozen += ROUND;
        world.round(|index, random| {
            let lag = Some(if index == 1 { frozen } else { Duration::ZERO });
            healthy(random).map(|delivery| Delivery { lag, ..delivery })
        });
        assert!(rounds <= 3, "a frozen playlist took more than 3 rounds to see");
    }
    let ranking = world.rank(sessions(1)[0]);
    assert_eq!(ranking.order()[0].index, 0);
    assert!(matches!(ranking.order()[1].reason, Reason::Worse(loss) if loss > 0.05));
}

#[test]
fn between_the_two_bounds_a_cdn_stays_where_it_is() {
    let slow_at = |ms| Ok(Delivery { ttfb: Duration::from_millis(ms), lag: None, headroom: None });
    let settle = |world: &mut World, ms| {
        for _ in 0..60 {
            world.round(|index, _| slow_at(if index == 0 { ms } else { 0 }));
        }
        world.standing(0)
    };
    // A first byte after 200 ms costs nothing, after 2 s everything: 263 ms is 3.5 points of watch time.
    let mut world = World::new(5, &[1.0, 1.0]);
    assert_eq!(settle(&mut world, 263), Standing::Good);
    assert_eq!(settle(&mut world, 400), Standing::Worse);
    assert_eq!(settle(&mut world, 263), Standing::Worse);
    assert_eq!(settle(&mut world, 210), Standing::Good);
    assert_eq!(settle(&mut world, 263), Standing::Good);
}

#[test]
fn losing_one_cdn_moves_only_its_own_viewers() {
    let mut world = World::new(6, &[1.0, 2.0, 1.0]);
    let sessions = sessions(2000);
    world.round(|_, random| healthy(random));
    let before: Vec<_> = sessions.iter().map(|&session| world.rank(session).order()[0].index).collect();
    world.round(|index, random| if index == 1 { Err(Failure::Status(503)) } else { healthy(random) });
    for (&session, &was) in sessions.iter().zip(&before) {
        let is = world.rank(session).order()[0].index;
        assert!(if was == 1 { is != 1 } else { is == was });
    }
}

#[test]
fn silence_ends_in_ignorance_not_in_blame() {
    let mut world = World::new(7, &[1.0, 1.0]);
    world.round(|index, random| if index == 0 { Err(Failure::Timeout) } else { healthy(random) });
    assert_eq!(world.standing(0), Standing::Down);
    world.now += Duration::from_secs(120);
    world.pause();
    assert_eq!((world.standing(0), world.standing(1)), (Standing::Unknown, Standing::Unknown));
}

#[test]
fn a_viewers_own_network_counts_before_the_world() {
    let mut world = World::new(8, &[1.0, 1.0]);
    world.round(|_, random| healthy(random));
    let country = Country::new("DE");
    let scope = Scope { country, asn: Some(3320) };
    let kind = Kind::Probe(Err(Failure::Timeout));
    for _ in 0..2 {
        let cdn = PathwayId::new("cdn-1").unwrap();
        world.evidence.absorb(&Sample { cdn, scope, kind: kind.clone(), weight: 1.0 }, world.now);
    }
    world.pause();
    let first = |scope| {
        let viewers = sessions(200).into_iter().map(move |session| Viewer { session, scope });
        viewers.map(|viewer| rank(&world.snapshot, &viewer, &world.rules).order()[0].index).collect::<Vec<_>>()
    };
    assert!(first(scope).iter().all(|&index| index == 0));
    assert!(first(Scope { country, asn: Some(1) }).contains(&1));
    assert!(first(Scope::EVERYWHERE).contains(&1));
}

/// Whatever happens, in whatever order: all CDNs are ranked, and none that is down stands before one that is not.
#[test]
fn any_history_gives_a_whole_ranking() {
    for seed in 0..40 {
        let mut world = World::new(seed, &[1.0, 0.0, 5.0, 0.1]);
        let fresh = Sessions::default();
        for _ in 0..100 {
            let mode = world.random.below(5);
            world.round(|_, random| match (mode, random.below(4)) {
                (0, _) | (1, 0) => Err(Failure::Unreachable),
                (2, 1) => Err(Failure::Status(404)),
                (3, _) => Ok(Delivery { ttfb: Duration::MAX, lag: Some(Duration::MAX), headroom: Some(f64::NAN) }),
                _ => healthy(random),
            });
            world.now += Duration::from_secs(world.random.below(30));
            let ranking = world.rank(fresh.fresh());
            let down: Vec<_> = ranking.order().iter().map(|ranked| ranked.reason == Reason::Down).collect();
            assert!(down.is_sorted() && !down[0], "seed {seed}: {ranking:?}");
        }
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}
