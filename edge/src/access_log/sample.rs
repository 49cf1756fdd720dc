//! Which requests are written down: a share of them, of sessions, or of streams, the same on every node. Pure.

use config::SampleBy;
use core::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug)]
pub struct Sample {
    /// Between 0 and 1.
    share: f64,
    by: SampleBy,
    requests: AtomicU64,
}

impl Sample {
    pub fn new(config: &config::AccessLog) -> Self {
        Self { share: config.sample_percent / 100.0, by: config.sample_by, requests: AtomicU64::new(0) }
    }

    /// A session is what a player calls one, or else an address. It is in the sample of each edge that it comes to, or
    /// of none, so that its whole way can be read.
    pub fn keeps<'a>(&self, session: impl FnOnce() -> Option<&'a str>, address: IpAddr, stream: &str) -> bool {
        if self.share >= 1.0 {
            return true;
        }
        let hash = match self.by {
            SampleBy::Request => self.requests.fetch_add(1, Ordering::Relaxed),
            SampleBy::Session => session().map_or_else(|| fnv(address.to_string().as_bytes()), |id| fnv(id.as_bytes())),
            SampleBy::Stream => fnv(stream.as_bytes()),
        };
        // The upper 53 bits, as a number from 0 up to 1.
        ((mix(hash) >> 11) as f64) / ((1_u64 << 53) as f64) < self.share
    }
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// SplitMix64: neighbouring numbers come out far apart.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(percent: f64, by: &str) -> Sample {
        let text = format!("[edge]\n[edge.access_log]\nsample_percent = {percent:.1}\nsample_by = \"{by}\"\n");
        Sample::new(&config::Config::parse(&text, []).unwrap().edge.unwrap().access_log)
    }

    const ADDRESS: IpAddr = IpAddr::V4(core::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn a_share_is_what_it_says() {
        for by in ["request", "session", "stream"] {
            for percent in [0.0, 1.0, 10.0, 50.0, 100.0] {
                let sample = sample(percent, by);
                let kept = (0..20_000).filter(|at| {
                    let id = format!("session-{at}");
                    sample.keeps(|| Some(&id), ADDRESS, &format!("/live/{at}"))
                });
                let (kept, expected) = (kept.count() as f64, 200.0 * percent);
                assert!((kept - expected).abs() <= 0.1 * expected, "{percent} % by {by}: {kept}");
            }
        }
    }

    #[test]
    fn a_session_is_in_as_a_whole_or_out() {
        let (one, other) = (sample(50.0, "session"), sample(50.0, "session"));
        let mut kept = 0;
        for at in 0..1000 {
            let id = format!("{at}");
            let first = one.keeps(|| Some(&id), ADDRESS, "/live/a");
            assert_eq!(
                other.keeps(|| Some(&id), "192.0.2.1".parse().unwrap(), "/live/b"),
                first,
                "on any edge, for any stream"
            );
            kept += usize::from(first);
        }
        assert!((400..600).contains(&kept), "{kept}");
        let by_address = |last: u8| one.keeps(|| None, IpAddr::from([192, 0, 2, last]), "/live/a");
        let kept = (0..=255).filter(|last| by_address(*last)).count();
        assert!((80..180).contains(&kept), "{kept}");
        assert!((0..=255).all(|last| by_address(last) == by_address(last)));
    }
}
