//! Whether an upstream is well: probes and requests are evidence, and a trial ends a bad time. Pure: `now` is passed in.
//!
//! A failed request trips sooner than a failed probe, since a viewer paid for it. Once down, an upstream is left alone for
//! a pause; then either probes lift it, or a single request is let through as a trial. A bad trial doubles the pause.

use std::time::{Duration, Instant};

/// What is known of one upstream.
#[derive(Clone, Debug)]
pub struct Health {
    rules: Rules,
    state: State,
    /// Failed requests in a row, weighed.
    strikes: u32,
    failed_probes: u32,
    pause: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Good probes in a row that end a bad time.
    pub rise: u32,
    /// Failures in a row that begin one.
    pub fall: u32,
}

/// What a request or probe showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    Good,
    /// An answer of 500 and above.
    Failing,
    /// No answer at all: nobody there, silence, or a connection that breaks.
    Dead,
}

/// Whether requests may go there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Well,
    /// Down, but one request may find out whether it still is.
    OnTrial,
    Down,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Up,
    Down {
        until: Instant,
        good_probes: u32,
    },
    /// A request is on its way; one that never tells is forgotten at `until`.
    Trial {
        until: Instant,
    },
}

const PAUSE_MIN: Duration = Duration::from_secs(2);
/// A shield that is back is wanted again within a minute, with or without probes.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A dead upstream costs each viewer who finds it so a time-out, a failing one only a round trip.
const DEAD_STRIKES: u32 = 2;

impl Health {
    /// Nothing is known: it counts as well.
    pub fn new(rules: Rules) -> Self {
        Self { rules, state: State::Up, strikes: 0, failed_probes: 0, pause: PAUSE_MIN }
    }

    pub fn standing(&self, now: Instant) -> Standing {
        match self.state {
            State::Up => Standing::Well,
            State::Down { until, .. } | State::Trial { until } if now >= until => Standing::OnTrial,
            State::Down { .. } | State::Trial { .. } => Standing::Down,
        }
    }

    pub fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// Takes the trial: nobody else is let through before it has told.
    pub fn try_once(&mut self, now: Instant) {
        if self.standing(now) == Standing::OnTrial {
            self.state = State::Trial { until: now + self.pause };
        }
    }

    /// What a request on behalf of viewers showed.
    pub fn requested(&mut self, sign: Sign, now: Instant) {
        let strikes = match sign {
            Sign::Good => {
                // Asked because all are down, or as a trial: either way it works.
                *self = Self { failed_probes: self.failed_probes, ..Self::new(self.rules) };
                return;
            }
            Sign::Failing => 1,
            Sign::Dead => DEAD_STRIKES,
        };
        self.strikes = self.strikes.saturating_add(strikes);
        match self.state {
            State::Up if self.strikes >= self.rules.fall => self.fall(now),
            State::Trial { .. } => {
                self.pause = (self.pause * 2).min(PAUSE_MAX);
                self.fall(now);
            }
            State::Up | State::Down { .. } => {}
        }
    }

    /// What a probe showed.
    pub fn probed(&mut self, sign: Sign, now: Instant) {
        if sign == Sign::Good {
            self.failed_probes = 0;
            if let State::Down { until, good_probes } = &mut self.state {
                *good_probes += 1;
                if *good_probes >= self.rules.rise && now >= *until {
                    // The pause stays doubled until a request has gone well: what probes cannot see may still be wrong.
                    self.state = State::Up;
                    self.strikes = 0;
                }
            }
            return;
        }
        self.failed_probes = self.failed_probes.saturating_add(1);
        match &mut self.state {
            State::Up if self.failed_probes >= self.rules.fall => self.fall(now),
            State::Down { good_probes, .. } => *good_probes = 0,
            State::Up | State::Trial { .. } => {}
        }
    }

    fn fall(&mut self, now: Instant) {
        self.state = State::Down { until: now + self.pause, good_probes: 0 };
        self.strikes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench {
        health: Health,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            Self { health: Health::new(Rules { rise: 2, fall: 3 }), now: Instant::now() }
        }

        fn requests(&mut self, signs: &[Sign]) -> Standing {
            signs.iter().for_each(|sign| self.health.requested(*sign, self.now));
            self.health.standing(self.now)
        }

        fn probes(&mut self, signs: &[Sign]) -> Standing {
            signs.iter().for_each(|sign| self.health.probed(*sign, self.now));
            self.health.standing(self.now)
        }

        fn after(&mut self, pause: Duration) -> &mut Self {
            self.now += pause;
            self
        }

        /// One request is let through, and only one.
        fn tries(&mut self) {
            assert_eq!(self.health.standing(self.now), Standing::OnTrial);
            self.health.try_once(self.now);
            assert_eq!(self.health.standing(self.now), Down);
        }
    }

    use Sign::{Dead, Failing, Good};
    use Standing::{Down, Well};

    #[test]
    fn failures_in_a_row_trip_and_dead_ones_sooner() {
        assert_eq!(Bench::new().requests(&[Failing, Failing, Good, Failing, Failing]), Well);
        assert_eq!(Bench::new().requests(&[Failing, Failing, Failing]), Down);
        assert_eq!(Bench::new().requests(&[Dead]), Well, "one broken connection is no news");
        assert_eq!(Bench::new().requests(&[Dead, Dead]), Down);
        assert_eq!(Bench::new().probes(&[Dead, Dead, Good, Dead, Dead]), Well);
        assert_eq!(Bench::new().probes(&[Dead, Failing, Dead]), Down);
    }

    #[test]
    fn good_probes_do_not_hide_failing_requests() {
        let mut bench = Bench::new();
        bench.requests(&[Failing, Failing]);
        bench.probes(&[Good, Good]);
        assert_eq!(bench.requests(&[Failing]), Down);
    }

    #[test]
    fn good_probes_end_a_bad_time_but_not_its_pause() {
        let mut bench = Bench::new();
        bench.requests(&[Dead, Dead]);
        assert_eq!(bench.probes(&[Good, Good, Good]), Down, "it would go up and down with every request");
        bench.after(PAUSE_MIN);
        assert_eq!(bench.probes(&[Good]), Well);
        bench.probes(&[Dead, Dead, Dead]);
        assert_eq!(bench.after(PAUSE_MIN).probes(&[Good, Dead, Good]), Standing::OnTrial, "two in a row are asked for");
        assert_eq!(bench.probes(&[Good]), Well);
    }

    #[test]
    fn a_trial_is_one_request_and_a_bad_one_doubles_the_pause() {
        let mut bench = Bench::new();
        bench.requests(&[Dead, Dead]);
        let mut pause = PAUSE_MIN;
        for _ in 0..8 {
            bench.after(pause - Duration::from_millis(1));
            assert_eq!(bench.health.standing(bench.now), Down);
            bench.after(Duration::from_millis(1)).tries();
            assert_eq!(bench.requests(&[Failing]), Down);
            pause = (pause * 2).min(PAUSE_MAX);
        }
        assert_eq!(pause, PAUSE_MAX);
        bench.after(pause).tries();
        assert_eq!(bench.requests(&[Good]), Well);
        bench.requests(&[Dead, Dead]);
        bench.after(PAUSE_MIN).tries();
    }

    #[test]
    fn a_trial_that_never_tells_is_forgotten() {
        let mut bench = Bench::new();
        bench.requests(&[Dead, Dead]);
        bench.after(PAUSE_MIN).tries();
        bench.after(PAUSE_MIN).tries();
    }

    #[test]
    fn a_request_that_goes_well_although_all_are_down_is_believed() {
        let mut bench = Bench::new();
        bench.probes(&[Dead, Dead, Dead]);
        assert_eq!(bench.requests(&[Good]), Well);
    }
}
