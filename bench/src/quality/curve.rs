//! How good pictures are at a bit rate, and which bit rate they need to be as good.

use serde::Serialize;

/// One encoding of a scene.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Point {
    pub(crate) bits_per_s: f64,
    /// -10 log10(1 - SSIM), over all planes.
    pub(crate) ssim_db: f64,
    pub(crate) psnr_db: f64,
}

/// Of the range that two curves share.
const STEPS: u32 = 200;

/// Encodings of one scene that differ in their rate alone, from the least bits to the most.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Curve(Vec<Point>);

impl Curve {
    pub(crate) fn new(mut points: Vec<Point>) -> Self {
        points.sort_by(|a, b| a.bits_per_s.total_cmp(&b.bits_per_s));
        Self(points)
    }

    pub(crate) fn points(&self) -> &[Point] {
        &self.0
    }

    /// The bits that are needed for so many decibels; `None` where no encoding is so bad, or so good.
    pub(crate) fn bits_at(&self, db: f64, of: impl Fn(&Point) -> f64) -> Option<f64> {
        let along = |point: &Point| (of(point), point.bits_per_s.ln());
        self.between(db, along).map(f64::exp)
    }

    /// The decibels that so many bits give.
    pub(crate) fn db_at(&self, bits_per_s: f64, of: impl Fn(&Point) -> f64) -> Option<f64> {
        self.between(bits_per_s.ln(), |point| (point.bits_per_s.ln(), of(point)))
    }

    /// How many more bits this one takes than `other`, as a share of the other's, on average over what both come up to
    /// (Bjøntegaard's delta rate, between points on straight lines). `None` where they have nothing in common.
    pub(crate) fn delta_rate(&self, other: &Self, of: impl Fn(&Point) -> f64) -> Option<f64> {
        let ends = |curve: &Self| {
            let all = || curve.0.iter().map(&of);
            (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max))
        };
        let ((low, high), (other_low, other_high)) = (ends(self), ends(other));
        let (low, high) = (low.max(other_low), high.min(other_high));
        if low >= high {
            return None;
        }
        let steps = (0..STEPS).map(|step| low + (high - low) * (f64::from(step) + 0.5) / f64::from(STEPS));
        let mut sum = 0.0;
        for db in steps {
            sum += (self.bits_at(db, &of)? / other.bits_at(db, &of)?).ln();
        }
        Some((sum / f64::from(STEPS)).exp() - 1.0)
    }

    /// On the straight line between the first two neighbours that have `x` between them.
    fn between(&self, x: f64, along: impl Fn(&Point) -> (f64, f64)) -> Option<f64> {
        let points: Vec<_> = self.0.iter().map(along).collect();
        points.windows(2).find_map(|pair| {
            let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
            let inside = x0 <= x && x <= x1 && x0 < x1;
            inside.then(|| y0 + (y1 - y0) * (x - x0) / (x1 - x0))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(points: &[(f64, f64)]) -> Curve {
        let point = |&(bits_per_s, ssim_db)| Point { bits_per_s, ssim_db, psnr_db: 2.0 * ssim_db };
        Curve::new(points.iter().map(point).collect())
    }

    #[test]
    fn a_curve_is_read_in_both_directions() {
        let curve = curve(&[(4000.0, 12.0), (1000.0, 10.0)]);
        let bits = curve.bits_at(11.0, |point| point.ssim_db).unwrap();
        assert!((bits - 2000.0).abs() < 1e-6, "{bits}");
        let db = curve.db_at(2000.0, |point| point.psnr_db).unwrap();
        assert!((db - 22.0).abs() < 1e-9, "{db}");
    }

    #[test]
    fn half_the_bits_for_the_same_pictures_are_half_the_bits() {
        let half = curve(&[(500.0, 10.0), (2000.0, 12.0)]);
        let whole = curve(&[(1000.0, 10.0), (4000.0, 12.0), (16_000.0, 14.0)]);
        let delta = half.delta_rate(&whole, |point| point.ssim_db).unwrap();
        assert!((delta + 0.5).abs() < 1e-9, "{delta}");
        assert_eq!(half.delta_rate(&curve(&[(1000.0, 13.0), (2000.0, 14.0)]), |point| point.ssim_db), None);
    }

    #[test]
    fn beyond_its_ends_it_says_nothing() {
        let curve = curve(&[(1000.0, 10.0), (4000.0, 12.0)]);
        assert_eq!(curve.bits_at(9.9, |point| point.ssim_db), None);
        assert_eq!(curve.db_at(4001.0, |point| point.ssim_db), None);
    }
}
