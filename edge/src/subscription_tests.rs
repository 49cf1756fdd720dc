//! The rules of following, step by step and against a seeded model.

use super::*;
use manifest::follow::{Class, Object};

fn at(msn: u64, part: u32) -> Position {
    Position { msn, part }
}

fn media(next: Position) -> Media {
    Media {
        head: Head { next, last_parts: 8, ended: false },
        first_msn: next.msn.saturating_sub(5),
        target_duration_s: 2,
        part_target_s: Some(0.25),
        can_block_reload: true,
        can_skip_until_s: None,
        skipped: 0,
        edge_unix_ms: None,
        objects: Vec::new(),
    }
}

fn list(media: &Media) -> Heard<'_> {
    from(media, A)
}

const A: PeerId = PeerId::of(0);
const B: PeerId = PeerId::of(1);
const IDLE: Duration = Duration::from_secs(10);
const FAILED: Heard<'static> = Heard::Failed { retry_after: None };

struct Bench {
    rules: Subscription,
    now: Instant,
    viewers: Viewers,
}

impl Bench {
    fn new(media: &Media) -> Self {
        let now = Instant::now();
        Self { rules: Subscription::new(media, None, A, IDLE, now), now, viewers: Viewers { last_asked: now, held: 1 } }
    }

    fn ask(&self) -> Ask {
        match self.rules.step(self.viewers, self.now) {
            Step::Ask(ask) => ask,
            other => panic!("asks nothing: {other:?}"),
        }
    }

    fn after(&mut self, ms: u64) -> &mut Self {
        self.now += Duration::from_millis(ms);
        self
    }

    fn hears(&mut self, heard: Heard<'_>) -> Effect {
        let ask = self.ask();
        self.rules.heard(ask, heard, self.now)
    }

    fn decides(&self, wait: Wait) -> Decision {
        self.rules.standing().decide(Some(wait), self.now)
    }
}

#[test]
fn it_stays_one_step_ahead() {
    let mut bench = Bench::new(&media(at(10, 3)));
    assert_eq!(bench.ask().target("/a.m3u8", false), "/a.m3u8?_HLS_msn=10&_HLS_part=3");
    assert_eq!(bench.hears(list(&media(at(10, 4)))), Effect::Publish);
    assert_eq!(bench.ask().target("/a.m3u8?x=1", false), "/a.m3u8?x=1&_HLS_msn=10&_HLS_part=4");
    assert_eq!(bench.hears(list(&media(at(11, 0)))), Effect::Publish);
    assert_eq!(bench.ask().at, Some(at(11, 0)));
}

#[test]
fn viewers_are_held_for_the_next_and_refused_beyond() {
    let bench = Bench::new(&media(at(10, 3)));
    assert_eq!(bench.decides(Wait::Part(at(10, 2))), Decision::Answer { stale: false });
    assert_eq!(bench.decides(Wait::Part(at(10, 3))), Decision::Hold);
    assert_eq!(bench.decides(Wait::Segment(10)), Decision::Hold);
    assert_eq!(bench.decides(Wait::Segment(12)), Decision::TooFar);
}

#[test]
fn a_playlist_that_cannot_block_is_polled_and_ignores_directives() {
    let plain = Media { can_block_reload: false, part_target_s: None, ..media(at(10, 0)) };
    let mut bench = Bench::new(&plain);
    assert_eq!(bench.decides(Wait::Segment(99)), Decision::Answer { stale: false });
    assert_eq!(bench.rules.step(bench.viewers, bench.now), Step::WaitUntil(bench.now + Duration::from_secs(1)));
    assert_eq!(bench.after(1000).ask().at, None);
    let later = Duration::from_secs(5);
    bench.hears(Heard::Playlist(Brought { media: &plain, lifetime: Some(later), source: A }));
    assert_eq!(bench.rules.step(bench.viewers, bench.now), Step::WaitUntil(bench.now + later));
}

#[test]
fn without_parts_it_asks_for_segments() {
    let bench = Bench::new(&Media { part_target_s: None, ..media(at(10, 0)) });
    assert_eq!(bench.ask().target("/a", false), "/a?_HLS_msn=10");
    assert_eq!(bench.ask().target("/a", true), "/a?_HLS_msn=10&_HLS_skip=YES");
    assert_eq!(Ask::default().target("/a", true), "/a", "what is asked for whole comes whole");
}

#[test]
fn it_stops_when_nobody_asks_any_more() {
    let mut bench = Bench::new(&media(at(10, 3)));
    bench.after(60_000);
    assert!(matches!(bench.rules.step(bench.viewers, bench.now), Step::Ask(_)), "a held viewer is interest");
    bench.viewers.held = 0;
    assert_eq!(bench.rules.step(bench.viewers, bench.now), Step::Stop);
    bench.viewers.last_asked = bench.now;
    assert!(matches!(bench.rules.step(bench.viewers, bench.now), Step::Ask(_)));
}

#[test]
fn an_ended_stream_answers_everything_and_asks_nothing() {
    let mut bench = Bench::new(&media(at(10, 3)));
    let mut ended = media(at(11, 0));
    ended.head.ended = true;
    assert_eq!(bench.hears(list(&ended)), Effect::Publish);
    assert_eq!(bench.rules.step(bench.viewers, bench.now), Step::Stop);
    assert_eq!(bench.decides(Wait::Segment(99)), Decision::Answer { stale: false });
}

#[test]
fn the_end_may_take_unfinished_parts_away_and_nothing_more() {
    let ended = |next: Position| {
        let media = media(next);
        Media { head: Head { ended: true, ..media.head }, ..media }
    };
    assert_eq!(Bench::new(&media(at(10, 3))).hears(list(&ended(at(9, 0)))), Effect::Backwards);
    let mut bench = Bench::new(&media(at(10, 3)));
    assert_eq!(bench.hears(list(&ended(at(10, 0)))), Effect::Publish);
    assert_eq!(bench.rules.step(bench.viewers, bench.now), Step::Stop);
}

#[test]
fn after_trouble_it_asks_plainly_and_backs_off() {
    let mut bench = Bench::new(&media(at(10, 3)));
    let mut waits = Vec::new();
    for _ in 0..8 {
        let start = bench.now;
        assert_eq!(bench.hears(FAILED), Effect::Keep);
        while let Step::WaitUntil(until) = bench.rules.step(bench.viewers, bench.now) {
            bench.now = until;
        }
        assert_eq!(bench.ask().at, None);
        waits.push((bench.now - start).as_millis());
    }
    assert_eq!(waits, [0, 100, 200, 400, 800, 1600, 2000, 2000]);
    assert_eq!(bench.hears(list(&media(at(10, 3)))), Effect::Publish);
    assert_eq!(bench.ask().at, Some(at(10, 3)), "a good answer ends the trouble");
    assert_eq!(bench.hears(FAILED), Effect::Keep);
    let Step::WaitUntil(until) = bench.rules.step(bench.viewers, bench.now) else { panic!("no pause") };
    assert_eq!(until - bench.now, BACKOFF_MAX, "only progress makes it trust again");
}

#[test]
fn an_unchanged_answer_to_a_blocking_request_does_not_start_a_storm() {
    let mut bench = Bench::new(&media(at(10, 3)));
    let mut asked = 0;
    let end = bench.now + Duration::from_secs(10);
    while bench.now < end {
        match bench.rules.step(bench.viewers, bench.now) {
            Step::Ask(_) => {
                asked += 1;
                bench.hears(list(&media(at(10, 3))));
            }
            Step::WaitUntil(until) => bench.now = until,
            Step::Stop => panic!("stopped"),
        }
    }
    assert!(asked <= 11, "{asked} requests in ten seconds");
}

#[test]
fn the_last_playlist_is_shown_for_three_target_durations() {
    let mut bench = Bench::new(&media(at(10, 3)));
    bench.hears(FAILED);
    let decide = |bench: &Bench| bench.rules.standing().decide(None, bench.now);
    assert_eq!(decide(&bench), Decision::Answer { stale: true });
    bench.after(5999);
    assert_eq!(decide(&bench), Decision::Answer { stale: true });
    bench.after(1);
    assert_eq!(decide(&bench), Decision::TooStale);
    assert_eq!(bench.decides(Wait::Segment(99)), Decision::Hold, "others may know more than this node");
}

#[test]
fn it_never_goes_backwards_while_there_is_something_to_show() {
    let mut bench = Bench::new(&media(at(10, 3)));
    assert_eq!(bench.hears(list(&media(at(10, 2)))), Effect::Backwards);
    assert_eq!(bench.rules.standing().head.next, at(10, 3));
    bench.after(6000);
    assert_eq!(bench.hears(list(&media(at(2, 0)))), Effect::Publish, "a new life of the stream");
    assert_eq!(bench.decides(Wait::Part(at(2, 0))), Decision::Hold);
}

#[test]
fn a_missing_playlist_is_a_failure_while_there_is_one_to_show() {
    let mut bench = Bench::new(&media(at(10, 3)));
    let end = bench.now + Duration::from_secs(6);
    let mut asked = 0;
    while bench.now < end {
        match bench.rules.step(bench.viewers, bench.now) {
            Step::WaitUntil(until) => bench.now = until,
            Step::Ask(ask) => {
                assert_eq!(bench.rules.heard(ask, Heard::Missing, bench.now), Effect::Keep);
                assert_eq!(bench.decides(Wait::Part(at(10, 2))), Decision::Answer { stale: true });
                assert_eq!(bench.decides(Wait::Part(at(10, 3))), Decision::Hold);
                asked += 1;
            }
            Step::Stop => panic!("stopped with a viewer held"),
        }
    }
    assert!((2..20).contains(&asked), "{asked}");
    assert_eq!(bench.now, end, "asked once more when the time is over");
    assert_eq!(bench.hears(Heard::Missing), Effect::Gone);
}

#[test]
fn an_origin_that_knows_its_stream_again_goes_on() {
    let mut bench = Bench::new(&media(at(10, 3)));
    assert_eq!(bench.hears(FAILED), Effect::Keep);
    assert_eq!(bench.hears(Heard::Missing), Effect::Keep);
    bench.after(2000);
    assert_eq!(bench.hears(list(&media(at(12, 0)))), Effect::Publish);
    bench.after(60_000);
    assert_eq!(bench.hears(Heard::Missing), Effect::Keep, "the time begins anew after progress");
}

#[test]
fn sums_of_instants_stay_in_range() {
    let mut absurd = media(at(u64::MAX, u32::MAX));
    absurd.target_duration_s = u64::MAX;
    absurd.part_target_s = Some(f64::MIN_POSITIVE);
    let mut bench = Bench::new(&absurd);
    bench.hears(Heard::Failed { retry_after: Some(Duration::MAX) });
    assert_eq!(bench.decides(Wait::Segment(u64::MAX)), Decision::Hold);
}

/// An upstream that advances, stalls, fails, restarts and repeats itself, against what any viewer must be able to rely on.
#[test]
fn random_upstreams_never_take_a_viewer_back() {
    for seed in 0..200_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut truth = at(100, 0);
        let mut bench = Bench::new(&media(truth));
        let (mut shown, mut good_until) = (truth, bench.now);
        for _ in 0..300 {
            match bench.rules.step(bench.viewers, bench.now) {
                Step::WaitUntil(until) => bench.now = until,
                Step::Stop => panic!("seed {seed}: stopped with a viewer held"),
                Step::Ask(ask) => {
                    bench.after(random.below(300));
                    let heard = random.below(10);
                    if heard < 6 {
                        truth = if truth.part == 7 { at(truth.msn + 1, 0) } else { at(truth.msn, truth.part + 1) };
                    }
                    let said = match heard {
                        0..6 => truth,
                        6 => at(truth.msn - random.below(3), 0),
                        7 => truth,
                        8 => {
                            bench.rules.heard(ask, FAILED, bench.now);
                            continue;
                        }
                        _ => {
                            truth = at(random.below(200) + 10, 0);
                            truth
                        }
                    };
                    let effect = bench.rules.heard(ask, list(&media(said)), bench.now);
                    if effect == Effect::Publish {
                        let overdue = bench.now >= good_until;
                        assert!(said >= shown || overdue, "seed {seed}: {said} after {shown}");
                        shown = said;
                        good_until = bench.now + Duration::from_secs(6);
                    }
                }
            }
            assert_eq!(bench.rules.standing().head.next, shown, "seed {seed}");
        }
    }
}

/// A playlist whose segments are called as `epoch` calls them.
fn cut(next: Position, epoch: &str) -> Media {
    let first = next.msn.saturating_sub(5);
    let uri = |msn| format!("{epoch}/{msn}.m4s?token={next}");
    let objects = (first..next.msn).map(|msn| Object { class: Class::Segment, uri: uri(msn), bytes_min: 0 }).collect();
    Media { objects, ..media(next) }
}

fn from(media: &Media, source: PeerId) -> Heard<'_> {
    Heard::Playlist(Brought { media, lifetime: None, source })
}

#[test]
fn another_upstream_that_cuts_alike_goes_on_at_any_part() {
    let mut bench = Bench::new(&cut(at(10, 3), "e1"));
    assert_eq!(bench.hears(from(&cut(at(10, 4), "e1"), B)), Effect::Publish);
    assert_eq!((bench.rules.shown(), bench.rules.hidden()), (B, None));
}

#[test]
fn another_cut_goes_on_after_the_segment_and_hides_what_players_began_with_the_first() {
    let mut bench = Bench::new(&cut(at(10, 3), "e1"));
    for next in [at(10, 3), at(10, 4), at(10, 7)] {
        assert_eq!(bench.hears(from(&cut(next, "e2"), B)), Effect::OtherCut);
        assert_eq!(bench.rules.standing().head.next, at(10, 3), "viewers go on waiting");
        let Step::WaitUntil(until) = bench.rules.step(bench.viewers, bench.now) else { continue };
        bench.now = until;
    }
    let ask = bench.ask();
    assert_eq!(
        bench.rules.ask_of(ask, A).target("/a", false),
        "/a?_HLS_msn=10&_HLS_part=3",
        "the first one may come back"
    );
    assert_eq!(bench.rules.ask_of(ask, B).target("/a", false), "/a?_HLS_msn=10", "the other is of use from the end on");
    assert_eq!(bench.hears(from(&cut(at(11, 0), "e2"), B)), Effect::Publish);
    assert_eq!((bench.rules.shown(), bench.rules.hidden()), (B, Some(10)));
    let ask = bench.ask();
    assert_eq!(bench.rules.ask_of(ask, B).target("/a", false), "/a?_HLS_msn=11&_HLS_part=0");
    bench.hears(from(&cut(at(15, 0), "e2"), B));
    assert_eq!(bench.rules.hidden(), Some(10), "as long as the playlist has it");
    bench.hears(from(&cut(at(16, 0), "e2"), B));
    assert_eq!(bench.rules.hidden(), None);
}

#[test]
fn between_two_segments_another_cut_goes_on_at_once() {
    let mut bench = Bench::new(&cut(at(10, 0), "e1"));
    assert_eq!(bench.hears(from(&cut(at(10, 1), "e2"), B)), Effect::Publish);
    assert_eq!(bench.rules.hidden(), Some(9), "players some parts behind are within the segment before");
}

#[test]
fn one_upstream_may_change_its_names_as_it_likes() {
    let mut bench = Bench::new(&cut(at(10, 3), "e1"));
    assert_eq!(bench.hears(from(&cut(at(10, 4), "e2"), A)), Effect::Publish);
    assert_eq!(bench.rules.hidden(), None);
}

#[test]
fn another_upstream_that_is_behind_is_waited_for() {
    let mut bench = Bench::new(&cut(at(10, 3), "e1"));
    bench.hears(FAILED);
    let ask = bench.ask();
    assert_eq!(ask.at, None);
    assert_eq!(bench.rules.heard(ask, from(&cut(at(10, 1), "e1"), B), bench.now), Effect::Backwards);
    bench.after(2000);
    assert_eq!(bench.ask().at, Some(at(10, 3)), "it blocks until it has come as far");
    assert_eq!(bench.hears(from(&cut(at(10, 2), "e1"), B)), Effect::Backwards);
    bench.after(2000);
    assert_eq!(bench.ask().at, None, "it does not block, so it is polled");
}

#[test]
fn a_new_life_on_another_upstream_hides_nothing() {
    let mut bench = Bench::new(&cut(at(10, 3), "e1"));
    bench.hears(FAILED);
    bench.after(6000);
    assert_eq!(bench.hears(from(&cut(at(2, 3), "e2"), B)), Effect::Publish);
    assert_eq!(bench.rules.hidden(), None);
}

#[test]
fn a_stream_goes_home_after_a_while_and_between_segments() {
    let mut bench = Bench::new(&cut(at(10, 0), "e1"));
    assert_eq!(bench.rules.source(B, bench.now), A, "it stays where it is well off");
    bench.hears(from(&cut(at(10, 1), "e1"), B));
    bench.after(29_999);
    assert_eq!(bench.rules.source(A, bench.now), B);
    bench.after(1);
    assert_eq!(bench.rules.source(A, bench.now), B, "in the middle of a segment");
    bench.hears(from(&cut(at(11, 0), "e1"), B));
    assert_eq!(bench.rules.source(A, bench.now), A);
    assert_eq!(bench.rules.source(A, bench.now), B, "asked once; the next time after twice as long");
    bench.after(60_000);
    assert_eq!(bench.rules.source(A, bench.now), A);
}

#[test]
fn what_brings_nothing_new_is_worth_a_look_elsewhere() {
    let mut bench = Bench::new(&media(at(10, 3)));
    let news = |bench: &Bench, ask: Ask, next| bench.rules.is_news(ask, &media(next), A, bench.now);
    let ask = bench.ask();
    assert!(news(&bench, ask, at(10, 4)) && !news(&bench, ask, at(10, 3)) && !news(&bench, ask, at(10, 2)));
    let plain = Ask { at: None, ..ask };
    assert!(news(&bench, plain, at(10, 3)), "nothing is due yet");
    bench.after(5000);
    assert!(!news(&bench, plain, at(10, 3)));
    assert_eq!(bench.rules.late(bench.now) - bench.now, Duration::from_secs(3), "not learnt yet");
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
