//! Tells a source whose clock is a little off from one whose frame rate was taken for another. Pure.

use media::FrameRate;

/// Measures, from key frame to key frame, how many frames a source really sends in a second of its own time.
#[derive(Debug)]
pub(crate) struct Pace {
    hz: f64,
    /// Where the measurement that runs began: milliseconds, frame.
    since: (i64, i64),
    /// What the last one gave, if that was another rate.
    other_hz: Option<f64>,
}

/// The jitter of an encoder that stamps frames on arrival, some 20 ms, must be less than [`OTHER`] of this.
const MEASURED_MS: i64 = 60_000;
/// Quartz clocks differ by less than this; 30 and 29.97 by more.
const OTHER: f64 = 0.0007;
/// Two measurements of one rate agree so far.
const AGREEMENT: f64 = 0.0003;

impl Pace {
    /// For a source that is taken to send frames at `rate`; `since` is one of them: milliseconds, index.
    pub(crate) fn new(rate: FrameRate, since: (i64, i64)) -> Self {
        Self { hz: rate.hz(), since, other_hz: None }
    }

    /// A key frame is the one with this index. The true rate, once two measurements say that it is another.
    pub(crate) fn key_frame(&mut self, ms: i64, index: i64) -> Option<f64> {
        let (since_ms, since_index) = self.since;
        if ms - since_ms < MEASURED_MS {
            return None;
        }
        self.since = (ms, index);
        let hz = (index - since_index) as f64 * 1000.0 / (ms - since_ms) as f64;
        let differs = (hz / self.hz - 1.0).abs() > OTHER;
        let before = std::mem::replace(&mut self.other_hz, differs.then_some(hz))?;
        (differs && (hz / before - 1.0).abs() < AGREEMENT).then_some((hz + before) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of a source with a key frame every 60 frames, `jitter_ms` off now and then.
    fn told(hz: f64, jitter_ms: i64) -> Option<f64> {
        let mut pace = Pace::new(FrameRate::new(30, 1).unwrap(), (500, 0));
        let ms =
            |index: i64| 500 + (index as f64 * 1000.0 / hz).round() as i64 + [0, jitter_ms][(index / 60 % 2) as usize];
        (1..3600).find_map(|key| pace.key_frame(ms(60 * key), 60 * key))
    }

    #[test]
    fn a_clock_that_is_off_is_no_other_rate() {
        for ppm in [-600.0, -200.0, 0.0, 200.0, 600.0] {
            assert_eq!(told(30.0 * (1.0 + ppm / 1e6), 0), None, "{ppm}");
            assert_eq!(told(30.0 * (1.0 + ppm / 1e6), 3), None, "{ppm}");
        }
        assert_eq!(told(30.0, 30), None, "jitter");
    }

    #[test]
    fn another_rate_is_told_within_two_minutes_or_so() {
        for hz in [29.97, 29.8, 30.3] {
            let told = told(hz, 0).unwrap();
            assert!((told / hz - 1.0).abs() < 0.0001, "{told} for {hz}");
        }
    }
}
