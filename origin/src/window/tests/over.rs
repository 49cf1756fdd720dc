//! Segments that would follow on an epoch that has ended.

use super::*;

#[test]
fn what_would_follow_on_an_epoch_is_over_until_players_of_an_mpd_know() {
    let mut life = Life::new();
    life.begin(1, 100);
    life.parts(8);
    let over = |life: &Life, epoch, msn| life.window.lookup(EpochId(epoch), Name::Segment(msn)) == Lookup::Over;
    assert!(!over(&life, 1, 103), "it goes on");
    life.window.break_off(life.now);
    assert_eq!([101, 102, 105].map(|msn| over(&life, 1, msn)), [false, true, true]);
    assert!(!over(&life, 2, 102), "of an epoch that nobody was told of");
    life.begin(2, 104);
    assert_eq!([102, 103, 104].map(|msn| over(&life, 1, msn)), [true; 3], "listed as gaps, or not at all");
    assert!(!over(&life, 2, 106));
    while life.window.head().next.msn < 106 {
        life.parts(1);
    }
    assert!(!over(&life, 1, 102), "everybody knows");
    life.window.break_off(life.now);
    life.window.end(life.now);
    assert!(!over(&life, 2, 110), "there is no more to wait for");
}
