//! A rendition that gets nothing for some of an epoch.

use super::*;

const LENGTH: PartLength = PartLength { s: 1.0 / 3.0, per_segment: PARTS };

#[test]
fn what_a_paused_rendition_lacks_is_told_as_it_is_missed_and_it_goes_on_without_a_break() {
    let mut life = Life::new();
    life.begin(1, 100);
    life.parts(2 * PARTS);
    life.window.pause(true);
    let hinted = Name::Part(Position { msn: 102, part: 0 });
    assert_eq!(life.window.lookup(EpochId(1), hinted), Lookup::Unknown, "nothing is promised");
    assert_eq!(life.window.lookup(EpochId(1), Name::Segment(102)), Lookup::Unknown);
    assert_eq!(life.said().open.and_then(|open| open.hint), None);
    let others =
        (0..2 * PARTS).map(|part| Position { msn: 102 + u64::from((part + 1) / PARTS), part: (part + 1) % PARTS });
    for next in others {
        for _ in 0..2 {
            life.window.lack(next, LENGTH, life.now);
            life.check();
            assert_eq!(life.window.head().next, next);
            let said = life.said().render();
            let part = format!("#EXT-X-PART:DURATION=0.33333,URI=\"1/{}.m4s\",GAP=YES\n", Position { part: 0, ..next });
            assert_eq!(said.contains(&part), next.part > 0, "{said}");
            assert!(!life.window.waits_behind_gap(), "who waits is told");
        }
    }
    life.window.pause(false);
    assert!(life.window.waits_behind_gap(), "who hears of it hears of what is behind it");
    life.parts(PARTS + 1);
    let said = life.said();
    let gaps: Vec<_> = said.segments.iter().map(|segment| segment.gap).collect();
    assert_eq!(gaps, [false, false, true, true, false]);
    let text = said.render();
    assert!(!text.contains("DISCONTINUITY\n") && text.matches("#EXT-X-MAP").count() == 1, "{text}");
    let dates: Vec<_> = said.segments.iter().map(|segment| segment.start.program_date_time_ms).collect();
    assert!(dates.windows(2).all(|pair| pair[1] - pair[0] == 2000), "{dates:?}");
}

#[test]
fn an_epoch_that_begins_is_not_paused() {
    let mut life = Life::new();
    life.begin(1, 100);
    life.parts(PARTS);
    life.window.pause(true);
    life.window.lack(Position { msn: 102, part: 2 }, LENGTH, life.now);
    life.window.break_off(life.now);
    life.begin(2, 103);
    life.parts(1);
    assert!(!life.window.is_paused());
    assert_eq!(life.window.head().next, Position { msn: 103, part: 1 });
}

#[test]
fn an_epoch_without_the_rendition_has_no_init_section_until_it_joins() {
    let mut life = Life::new();
    life.begin(1, 100);
    life.parts(PARTS);
    life.window.break_off(life.now);
    life.begin_with((2, 101), Bytes::new());
    life.window.pause(true);
    life.window.lack(Position { msn: 103, part: 0 }, LENGTH, life.now);
    assert_eq!(life.window.lookup(EpochId(2), Name::Init(None)), Lookup::Unknown);
    let maps = |life: &Life| life.said().render().matches("#EXT-X-MAP:URI=").count();
    assert_eq!(maps(&life), 1, "{}", life.said().render());
    life.begin(2, 101);
    life.parts(PARTS);
    let init = Lookup::Found(vec![Bytes::from_static(b"init 2")]);
    assert_eq!(life.window.lookup(EpochId(2), Name::Init(None)), init);
    assert_eq!(maps(&life), 2, "{}", life.said().render());
}
