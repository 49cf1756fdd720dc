//! Who asks: an opaque token that keeps a viewer's choice stable, and the fixed hash that the choice rests on.

use manifest::steering::PathwayId;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::net::IpAddr;

/// A viewer's session. As a token it is nothing but its own name: no state, no address, nothing learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Session(u64);

/// Makes new sessions.
#[derive(Debug, Default)]
pub struct Sessions {
    keys: RandomState,
    made: std::sync::atomic::AtomicU64,
}

impl Sessions {
    /// A session that none will guess and none shares: a keyed hash of a counter.
    pub fn fresh(&self) -> Session {
        Session(self.keys.hash_one(self.made.fetch_add(1, std::sync::atomic::Ordering::Relaxed)))
    }
}

impl Session {
    /// Reads a token as [`Session`] displays it.
    pub fn parse(token: &str) -> Option<Self> {
        let digits = token.len() == 16 && token.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits.then(|| u64::from_str_radix(token, 16).ok()).flatten().map(Self)
    }

    /// For a viewer without a token: all behind one address are alike. Never said in a URL.
    pub fn of_address(address: IpAddr) -> Self {
        Self(match address {
            IpAddr::V4(address) => hash(0, &address.octets()),
            IpAddr::V6(address) => hash(0, &address.octets()),
        })
    }

    /// This session's lot for a CDN: uniform in (0, 1), the same on every router and in every version.
    pub(crate) fn lot(self, cdn: &PathwayId) -> f64 {
        // 53 bits fill a double; the half keeps both ends out.
        ((hash(self.0, cdn.as_str().as_bytes()) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// FNV-1a over the bytes, finished as SplitMix64 finishes: short inputs that differ in one bit come out unrelated.
fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ mix(seed);
    mix(bytes.iter().fold(start, |state, &byte| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
}

fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip_and_nothing_else_is_one() {
        let session = Sessions::default().fresh();
        assert_eq!(Session::parse(&session.to_string()), Some(session));
        for bad in ["", "0", "00000000000000000", "000000000000000g", "+000000000000000", "%30"] {
            assert_eq!(Session::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn fresh_sessions_differ() {
        let sessions = Sessions::default();
        let made: std::collections::HashSet<_> = (0..10_000).map(|_| sessions.fresh()).collect();
        assert_eq!(made.len(), 10_000);
    }

    #[test]
    fn the_lot_is_fixed_for_ever() {
        // Another router, or the next version, must choose the same CDN for the same session.
        let lot = Session(0x0123_4567_89ab_cdef).lot(&PathwayId::new("cdn-a").unwrap());
        assert!((lot - LOT).abs() < 1e-15, "{lot}");
    }

    /// Computed once by another program.
    const LOT: f64 = 0.5573136734123201;
}
