//! The rules of what a presentation's segments weigh: bit rates as they are announced, and as they are. Pure.

use super::rules::Checks;
use super::text::{Attributes, Multivariant};
use super::{AVERAGE_RATE, PEAK_RATE};

/// What the segments of one playlist weigh, in bits per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Of any segments one after the other that last half a target duration to one and a half (RFC 8216bis, 4.4.6.2).
    pub peak: f64,
    pub average: f64,
}

/// Apple 1.29: of a live stream.
const LIVE_PEAK: f64 = 1.25;
/// Apple 1.26, 1.27: of what has ended, either way. And 1.28: of a live stream, over an hour.
const NEAR: f64 = 0.10;

impl Rates {
    /// `segments` follow each other, each with its duration in seconds and its bytes; `None` of none.
    pub fn of(segments: &[(f64, u64)], target_s: f64) -> Option<Self> {
        let bits = |segments: &[(f64, u64)]| segments.iter().map(|(_, bytes)| *bytes as f64 * 8.0).sum::<f64>();
        let seconds = |segments: &[(f64, u64)]| segments.iter().map(|(seconds, _)| seconds).sum::<f64>();
        let all_s = seconds(segments);
        let mut peak: f64 = 0.0;
        for from in 0..segments.len() {
            for to in from + 1..=segments.len() {
                let set = &segments[from..to];
                let length_s = seconds(set);
                if length_s > 1.5 * target_s {
                    break;
                }
                if length_s >= 0.5 * target_s {
                    peak = peak.max(bits(set) / length_s);
                }
            }
        }
        (all_s > 0.0).then(|| Self { peak, average: bits(segments) / all_s })
    }
}

/// The rules of a multivariant playlist whose playlists weigh `rates`. A variant weighs as much as its own playlist and
/// the heaviest of its sounds.
pub fn of_variants(said: &Multivariant, rates: impl Fn(&str) -> Option<Rates>, ended: bool, checks: &mut Checks) {
    for (variant, uri) in &said.variants {
        let Some(own) = rates(uri) else { continue };
        let sounds = said.renditions.iter().filter(|rendition| is_sound_of(rendition, variant));
        let sounds: Vec<Rates> = sounds.filter_map(|rendition| rates(rendition.get("URI")?)).collect();
        let most = |of: fn(&Rates) -> f64| of(&own) + sounds.iter().map(of).fold(0.0, f64::max);
        let number = |name: &str| variant.get(name).and_then(|value| value.parse::<f64>().ok());
        if let Some(told) = number("BANDWIDTH") {
            let peak = most(|rates| rates.peak);
            let holds = if ended { is_near(peak, told) } else { peak < LIVE_PEAK * told };
            checks.check(PEAK_RATE, holds, || format!("{uri}: {peak:.0} bit/s at most, {told} told"));
        }
        if let Some(told) = number("AVERAGE-BANDWIDTH") {
            let average = most(|rates| rates.average);
            let holds = if ended { is_near(average, told) } else { average < (1.0 + NEAR) * told };
            checks.check(AVERAGE_RATE, holds, || format!("{uri}: {average:.0} bit/s on average, {told} told"));
        }
    }
}

fn is_sound_of(rendition: &Attributes, variant: &Attributes) -> bool {
    rendition.get("TYPE").is_some_and(|kind| kind == "AUDIO")
        && variant.contains_key("AUDIO")
        && rendition.get("GROUP-ID") == variant.get("AUDIO")
}

fn is_near(measured: f64, told: f64) -> bool {
    (measured - told).abs() <= NEAR * told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_that_of_half_a_target_duration_at_least() {
        // A short segment alone is no peak; with its neighbour it is one.
        let rates = Rates::of(&[(2.0, 250_000), (0.5, 500_000), (2.0, 250_000)], 2.0).unwrap();
        assert_eq!(rates.peak, 750_000.0 * 8.0 / 2.5);
        assert_eq!(rates.average, 8_000_000.0 / 4.5);
        assert_eq!(Rates::of(&[(2.0, 250), (2.0, 500)], 2.0), Some(Rates { peak: 2000.0, average: 1500.0 }));
        assert_eq!(Rates::of(&[], 2.0), None);
    }
}
