//! A beep of 1 kHz at the start of each second of the wall clock, and quiet otherwise. Pure.

pub(crate) const RATE: u32 = 48_000;

/// The sample at a time of the wall clock, given in samples since the Unix epoch.
pub(crate) fn sample(position: u64) -> f32 {
    let within = (position % u64::from(RATE)) as u32;
    if within >= BEEP {
        return 0.0;
    }
    let phase = within % PERIOD;
    LOUDNESS * (std::f32::consts::TAU * phase as f32 / PERIOD as f32).sin()
}

/// A tenth of a second, as long as the picture's flash.
const BEEP: u32 = RATE / 10;
const PERIOD: u32 = RATE / 1000;
const LOUDNESS: f32 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_beeps_at_each_full_second() {
        let second = 1_790_000_000 * u64::from(RATE);
        let loud = |from: u64, to: u64| (from..to).map(sample).fold(0.0_f32, |max, s| max.max(s.abs()));
        assert!(loud(second, second + 48) > 0.49);
        assert!(loud(second + 4752, second + 4800) > 0.49);
        assert_eq!(loud(second + 4800, second + 48_000), 0.0);
        assert!(loud(second + 48_000, second + 48_048) > 0.49);
    }

    #[test]
    fn it_is_one_kilohertz() {
        let rising = (1..4800).filter(|&n| sample(n - 1) < 0.0 && sample(n) >= 0.0).count();
        assert_eq!(rising, 99, "100 periods, of which the first begins at zero");
    }
}
