//! Frame rates and timescales: exact rationals, so that a grid of frames never drifts.

/// Ticks per second of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timescale(pub u32);

impl Timescale {
    /// RTMP and FLV count milliseconds.
    pub const MILLISECONDS: Self = Self(1000);

    /// Milliseconds as ticks, rounded to the nearest.
    pub fn ticks_of_ms(self, ms: i64) -> i64 {
        ((i128::from(ms) * i128::from(self.0) + 500).div_euclid(1000)) as i64
    }

    /// Ticks as seconds, for playlists and logs only: arithmetic stays in ticks.
    pub fn seconds(self, ticks: i64) -> f64 {
        ticks as f64 / f64::from(self.0)
    }
}

/// A frame rate as a fraction of frames per second, in lowest terms: 30/1, 30000/1001.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameRate {
    num: u32,
    den: u32,
}

impl FrameRate {
    /// The rates that encoders produce, slowest first.
    pub const STANDARD: [Self; 15] = [
        Self { num: 10, den: 1 },
        Self { num: 25, den: 2 },
        Self { num: 15000, den: 1001 },
        Self { num: 15, den: 1 },
        Self { num: 20, den: 1 },
        Self { num: 24000, den: 1001 },
        Self { num: 24, den: 1 },
        Self { num: 25, den: 1 },
        Self { num: 30000, den: 1001 },
        Self { num: 30, den: 1 },
        Self { num: 50, den: 1 },
        Self { num: 60000, den: 1001 },
        Self { num: 60, den: 1 },
        Self { num: 120000, den: 1001 },
        Self { num: 120, den: 1 },
    ];

    /// What most encoders send.
    pub const USUAL: Self = Self { num: 30, den: 1 };

    /// `None` unless both are positive.
    pub fn new(num: u32, den: u32) -> Option<Self> {
        if num == 0 || den == 0 {
            return None;
        }
        Some(Self::reduced(num, den))
    }

    fn reduced(num: u32, den: u32) -> Self {
        let divisor = gcd(num, den);
        Self { num: num / divisor, den: den / divisor }
    }

    /// The standard rate nearest to a measured one, if within `tolerance` (a fraction: 0.01 is one per cent).
    pub fn nearest_standard(measured_hz: f64, tolerance: f64) -> Option<Self> {
        let error = |rate: &Self| (rate.hz() - measured_hz).abs() / rate.hz();
        Self::STANDARD.into_iter().min_by(|a, b| error(a).total_cmp(&error(b))).filter(|rate| error(rate) <= tolerance)
    }

    /// The rate that a measurement means: the standard one nearest to it, if any is within `tolerance` (as in
    /// [`FrameRate::nearest_standard`]), and else the fraction with the least denominator that is. `measured_hz` and
    /// `tolerance` are held to between 0.01 and 1000 Hz and between a millionth and a tenth.
    pub fn nearest(measured_hz: f64, tolerance: f64) -> Self {
        let (hz, tolerance) = (measured_hz.clamp(0.01, 1000.0), tolerance.clamp(1e-6, 0.1));
        Self::nearest_standard(hz, tolerance).unwrap_or_else(|| simplest(hz, tolerance))
    }

    pub fn num(self) -> u32 {
        self.num
    }

    pub fn den(self) -> u32 {
        self.den
    }

    /// Frames per second, for display and comparison.
    pub fn hz(self) -> f64 {
        f64::from(self.num) / f64::from(self.den)
    }

    /// A timescale in which every frame lasts a whole number of ticks: 30 fps counts 30000, 29.97 fps counts 30000.
    pub fn timescale(self) -> Timescale {
        Timescale(self.num * self.scale())
    }

    /// Ticks of [`FrameRate::timescale`] that one frame lasts.
    pub fn frame_ticks(self) -> u32 {
        self.den * self.scale()
    }

    /// The frame index nearest to a time in milliseconds: RTMP rounds 33.3 ms to 33, 33, 34.
    pub fn index_of_ms(self, ms: i64) -> i64 {
        let num = i128::from(ms) * i128::from(self.num);
        let den = 1000 * i128::from(self.den);
        (2 * num + den).div_euclid(2 * den) as i64
    }

    /// The start of a frame in ticks of `timescale`, rounded to the nearest tick.
    pub fn ticks_of_index(self, index: i64, timescale: Timescale) -> i64 {
        let num = i128::from(index) * i128::from(self.den) * i128::from(timescale.0);
        let den = i128::from(self.num);
        (2 * num + den).div_euclid(2 * den) as i64
    }

    /// Whole-number rates are counted in thousandths of a frame, so that players see a usual timescale.
    fn scale(self) -> u32 {
        if self.num < 1000 { 1000 } else { 1 }
    }
}

/// The fraction with the least denominator within `tolerance` of `hz`.
fn simplest(hz: f64, tolerance: f64) -> FrameRate {
    let (low, high) = (hz * (1.0 - tolerance), hz * (1.0 + tolerance));
    for den in 1..=DENOMINATOR_MAX {
        let num = (high * f64::from(den)).floor();
        if num >= 1.0 && num >= low * f64::from(den) {
            return FrameRate::reduced(num as u32, den);
        }
    }
    FrameRate::reduced((hz * f64::from(DENOMINATOR_MAX)).round().max(1.0) as u32, DENOMINATOR_MAX)
}

/// Terms stay below a million: so far products of frames and ticks are far inside 64 bits.
const DENOMINATOR_MAX: u32 = 1000;

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn millisecond_rounding_never_moves_a_frame() {
        for rate in FrameRate::STANDARD {
            for index in [0, 1, 2, 59, 60, 1_000_000] {
                let ms = rate.ticks_of_index(index, Timescale::MILLISECONDS);
                assert_eq!(rate.index_of_ms(ms), index, "{rate:?}");
            }
        }
    }

    #[test]
    fn measured_rates_snap_to_standard_ones() {
        assert_eq!(FrameRate::nearest_standard(29.95, 0.01), FrameRate::new(30000, 1001));
        assert_eq!(FrameRate::nearest_standard(30.01, 0.01), FrameRate::new(30, 1));
        assert_eq!(FrameRate::nearest_standard(17.0, 0.01), None);
    }

    #[test]
    fn any_rate_is_learnt_as_a_fraction() {
        for (measured, tolerance, num, den) in [
            (29.985, 0.001, 30000, 1001),
            (12.5, 0.001, 25, 2),
            (12.503, 0.001, 25, 2),
            (7.5004, 0.001, 15, 2),
            (100.0 / 3.0, 0.0005, 100, 3),
            (14.986, 0.0002, 15000, 1001),
            (47.99, 0.001, 48, 1),
            (29.8, 0.0002, 149, 5),
            (0.0, 0.01, 1, 100),
            (f64::INFINITY, 0.0, 1000, 1),
        ] {
            let rate = FrameRate::nearest(measured, tolerance);
            assert_eq!(Some(rate), FrameRate::new(num, den), "{measured}");
            assert!(rate.num() <= 1_000_000 && rate.timescale().0 <= 1_000_000);
        }
    }

    #[test]
    fn a_frame_is_a_whole_number_of_ticks() {
        for rate in FrameRate::STANDARD {
            let frames = i64::from(rate.num());
            assert_eq!(rate.ticks_of_index(frames, rate.timescale()), frames * i64::from(rate.frame_ticks()));
        }
    }
}
