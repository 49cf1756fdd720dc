//! How fast a viewer is sent media: enough for its player with a margin, and no burst that fills its network's queues.
//!
//! What a player needs it says itself (CMCD): `rtp`, the throughput that is enough, or `tb` and `br`, the bitrates of its
//! highest rendition and of this one. A multiple of the highest leaves it room to climb.

use cmcd::Cmcd;

/// How fast one answer may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    Free,
    /// Bytes per second.
    At(u64),
}

/// What all answers that are under way on one connection may take together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Open {
    free: u32,
    /// Bytes per second, of those that are paced.
    sum: u64,
}

/// The pace of an answer with media, on a connection that has carried `sent` bytes.
pub fn pace(rules: &config::Pacing, said: Option<&Cmcd>, sent: u64) -> Pace {
    if sent < rules.burst_bytes || said.is_some_and(|said| said.startup) {
        return Pace::Free;
    }
    let bitrate = said.and_then(|said| said.top_kbps.max(said.bitrate_kbps));
    let wanted = bitrate.map(|kbps| (f64::from(kbps) * 1000.0 * rules.bitrate_ratio) as u64);
    let enough = said.and_then(|said| said.requested_kbps).map(|kbps| u64::from(kbps) * 1000);
    let most = Some(rules.rate_max).filter(|rate| *rate > 0);
    match [wanted, enough, most].into_iter().flatten().min() {
        Some(rate) => Pace::At(rate.max(rules.rate_min) / 8),
        None => Pace::Free,
    }
}

impl Open {
    pub fn begin(&mut self, pace: Pace) {
        match pace {
            Pace::Free => self.free += 1,
            Pace::At(rate) => self.sum = self.sum.saturating_add(rate),
        }
    }

    pub fn end(&mut self, pace: Pace) {
        match pace {
            Pace::Free => self.free -= 1,
            Pace::At(rate) => self.sum = self.sum.saturating_sub(rate),
        }
    }

    /// One that may go as fast as it can takes the others along.
    pub fn pace(&self) -> Pace {
        if self.free > 0 { Pace::Free } else { Pace::At(self.sum) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: config::Pacing =
        config::Pacing { enabled: true, bitrate_ratio: 2.0, rate_min: 800_000, rate_max: 0, burst_bytes: 1000 };

    fn kbps(rules: config::Pacing, said: &str) -> Option<u64> {
        match pace(&rules, Some(&Cmcd::from_headers([said])), 1000) {
            Pace::Free => None,
            Pace::At(rate) => Some(rate * 8 / 1000),
        }
    }

    #[test]
    fn a_player_gets_what_it_says_it_needs_with_a_margin() {
        let capped = config::Pacing { rate_max: 4_000_000, ..RULES };
        for (rules, said, expected) in [
            (RULES, "br=1000", Some(2000)),
            (RULES, "br=1000,tb=3500", Some(7000)),
            (RULES, "br=1000,tb=3500,rtp=2500", Some(2500)),
            (RULES, "br=100", Some(800)),
            (RULES, "rtp=1", Some(800)),
            (RULES, "bl=200", None),
            (RULES, "br=1000,su", None),
            (capped, "br=3500", Some(4000)),
            (capped, "br=1000", Some(2000)),
            (capped, "bl=200", Some(4000)),
        ] {
            assert_eq!(kbps(rules, said), expected, "{said}");
        }
        assert_eq!(pace(&capped, None, 1000), Pace::At(500_000));
        assert_eq!(pace(&RULES, None, 1000), Pace::Free);
        assert_eq!(pace(&capped, None, 999), Pace::Free, "what a player begins with is not held back");
    }

    #[test]
    fn answers_under_way_together_have_the_sum_of_their_paces() {
        let mut open = Open::default();
        open.begin(Pace::At(100));
        open.begin(Pace::At(20));
        assert_eq!(open.pace(), Pace::At(120));
        open.begin(Pace::Free);
        assert_eq!(open.pace(), Pace::Free);
        open.end(Pace::Free);
        open.end(Pace::At(100));
        assert_eq!(open.pace(), Pace::At(20));
    }
}
