//! What each client takes of the node: connections, requests that wait, requests per second.

use super::bucket::{Bucket, Pace};
use crate::metrics::{Bound, Metrics};
use config::Limits;
use core::net::IpAddr;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The clients that a node counts.
pub struct Clients {
    limits: Limits,
    pace: Pace,
    /// Each with its own lock, so that requests of different clients seldom meet.
    shards: Vec<Mutex<HashMap<Household, Usage>>>,
    shard_max: usize,
    start: Instant,
    metrics: Arc<Metrics>,
}

/// Something that a client has, for as long as this lives.
pub struct Taken<'a> {
    /// `None` where the client is not counted.
    of: Option<(&'a Clients, Household)>,
    what: What,
}

/// Which limit bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Limited {
    #[error("this address has as many connections as one may have here; close some, or use HTTP/2")]
    Connections,
    #[error("as many requests of this address wait as may here; ask again")]
    Holds,
    #[error("requests come faster from this address than they may; ask again more slowly")]
    Requests,
}

/// One /64 of IPv6, the least that a network gives a household, in which a client can take any address; or one IPv4
/// address, which stands where RFC 4291 has no network (2.5.5).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Household(u64);

#[derive(Default)]
struct Usage {
    connections: u32,
    holds: u32,
    requests: Bucket,
}

#[derive(Clone, Copy)]
enum What {
    Connection,
    Hold,
}

const SHARDS: usize = 16;

impl Clients {
    /// `None` where nothing is limited.
    pub fn new(limits: &Limits, metrics: Arc<Metrics>, now: Instant) -> Option<Self> {
        if limits.connections_max == 0 && limits.holds_max == 0 && limits.requests_per_s == 0 {
            return None;
        }
        Some(Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            shard_max: limits.clients_max.div_ceil(SHARDS),
            pace: Pace::new(limits.requests_per_s, limits.requests_burst),
            limits: limits.clone(),
            start: now,
            metrics,
        })
    }

    /// # Errors
    /// `Connections`.
    pub fn connect(&self, address: IpAddr, now: Instant) -> Result<Taken<'_>, Limited> {
        self.take(address, now, What::Connection)
    }

    /// A request that may have to wait.
    ///
    /// # Errors
    /// `Requests` or `Holds`.
    pub fn ask(&self, address: IpAddr, now: Instant) -> Result<Taken<'_>, Limited> {
        self.take(address, now, What::Hold)
    }

    /// Forgets clients that have nothing and owe nothing.
    pub fn sweep(&self, now: Instant) {
        let now = now - self.start;
        for shard in &self.shards {
            shard.lock().retain(|_, usage| !usage.is_idle(now));
        }
    }

    fn take(&self, address: IpAddr, now: Instant, what: What) -> Result<Taken<'_>, Limited> {
        if self.limits.exempt.iter().any(|prefix| prefix.contains(&address)) {
            return Ok(Taken { of: None, what });
        }
        let (household, now) = (Household::of(address), now - self.start);
        let mut shard = self.shard(household).lock();
        if shard.len() >= self.shard_max && !shard.contains_key(&household) {
            shard.retain(|_, usage| !usage.is_idle(now));
            if shard.len() >= self.shard_max {
                self.metrics.bit(Bound::Clients);
                return Ok(Taken { of: None, what });
            }
        }
        let usage = shard.entry(household).or_default();
        let taken = match what {
            What::Connection => take_one(&mut usage.connections, self.limits.connections_max, Limited::Connections),
            What::Hold if self.limits.requests_per_s > 0 && !usage.requests.take(self.pace, now) => {
                Err(Limited::Requests)
            }
            What::Hold => take_one(&mut usage.holds, self.limits.holds_max, Limited::Holds),
        };
        match taken {
            Ok(()) => Ok(Taken { of: Some((self, household)), what }),
            Err(limited) => {
                self.metrics.bit(limited.bound());
                Err(limited)
            }
        }
    }

    fn shard(&self, household: Household) -> &Mutex<HashMap<Household, Usage>> {
        // Addresses of one network differ in their last bits; multiplying carries these to the top (Knuth, 6.4).
        &self.shards[(household.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60) as usize]
    }

    #[cfg(test)]
    fn count(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let Some((clients, household)) = self.of else { return };
        if let Some(usage) = clients.shard(household).lock().get_mut(&household) {
            match self.what {
                What::Connection => usage.connections -= 1,
                What::Hold => usage.holds -= 1,
            }
        }
    }
}

impl Limited {
    fn bound(self) -> Bound {
        match self {
            Self::Connections => Bound::ClientConnections,
            Self::Holds => Bound::ClientHolds,
            Self::Requests => Bound::ClientRequests,
        }
    }
}

impl Household {
    fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self(0xffff_0000_0000 | u64::from(address.to_bits())),
            IpAddr::V6(address) => Self((address.to_bits() >> 64) as u64),
        }
    }
}

impl Usage {
    fn is_idle(&self, now: Duration) -> bool {
        self.connections == 0 && self.holds == 0 && self.requests.is_full(now)
    }
}

fn take_one(count: &mut u32, max: u32, limited: Limited) -> Result<(), Limited> {
    if max > 0 && *count >= max {
        return Err(limited);
    }
    *count += 1;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::Registry;

    fn clients(text: &str, now: Instant) -> Clients {
        let text = format!("[edge]\n[edge.access.limits]\n{text}\n");
        let limits = config::Config::parse(&text, []).unwrap().edge.unwrap().access.limits;
        Clients::new(&limits, Arc::new(Metrics::new(&Registry::new()).unwrap()), now).unwrap()
    }

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn nothing_is_counted_where_nothing_is_limited() {
        let limits = config::Config::parse("[edge]\n", []).unwrap().edge.unwrap().access.limits;
        let metrics = Arc::new(Metrics::new(&Registry::new()).unwrap());
        assert!(Clients::new(&limits, metrics, Instant::now()).is_none());
    }

    #[test]
    fn a_place_is_free_again_once_it_is_given_back() {
        let now = Instant::now();
        let clients = clients("connections_max = 2\nholds_max = 1", now);
        let connect = |address| clients.connect(at(address), now);
        let (_one, two) = (connect("192.0.2.1").ok(), connect("192.0.2.1").ok());
        assert_eq!(connect("192.0.2.1").err(), Some(Limited::Connections));
        assert!(connect("192.0.2.2").is_ok(), "another client");
        drop(two);
        let again = connect("192.0.2.1");
        assert!(again.is_ok());
        let hold = clients.ask(at("192.0.2.1"), now);
        assert_eq!(clients.ask(at("192.0.2.1"), now).err(), Some(Limited::Holds));
        drop(hold);
        assert!(clients.ask(at("192.0.2.1"), now).is_ok());
        assert_eq!(clients.metrics.bound_count(Bound::ClientConnections), 1);
        assert_eq!(clients.metrics.bound_count(Bound::ClientHolds), 1);
    }

    #[test]
    fn a_client_of_ipv6_is_its_network() {
        let now = Instant::now();
        let clients = clients("connections_max = 1", now);
        let _one = clients.connect(at("2001:db8:0:1::1"), now);
        assert!(clients.connect(at("2001:db8:0:1:ffff::2"), now).is_err());
        assert!(clients.connect(at("2001:db8:0:2::1"), now).is_ok());
    }

    #[test]
    fn requests_come_at_a_pace_with_a_burst() {
        let start = Instant::now();
        let clients = clients("requests_per_s = 10\nrequests_burst = 5", start);
        let burst = |now| (0..100).filter(|_| clients.ask(at("192.0.2.1"), now).is_ok()).count();
        assert_eq!(burst(start), 5);
        assert_eq!(burst(start + Duration::from_millis(99)), 0);
        assert_eq!(burst(start + Duration::from_millis(100)), 1);
        assert_eq!(burst(start + Duration::from_millis(400)), 3);
        assert_eq!(burst(start + Duration::from_secs(100)), 5, "a pause saves no more than a burst");
        assert_eq!(clients.metrics.bound_count(Bound::ClientRequests), 500 - 14);
    }

    #[test]
    fn whoever_is_exempt_is_not_counted() {
        let now = Instant::now();
        let clients = clients("connections_max = 1\nexempt = [\"10.0.0.0/8\"]", now);
        let all: Vec<_> = (0..10).map(|_| clients.connect(at("10.1.2.3"), now).unwrap()).collect();
        assert_eq!((all.len(), clients.count()), (10, 0));
    }

    #[test]
    fn the_map_is_bounded_and_forgets_who_left() {
        let start = Instant::now();
        let clients = clients("connections_max = 1\nrequests_per_s = 1\nclients_max = 32", start);
        let address = |last: u32| IpAddr::V4(last.into());
        let held: Vec<_> = (0..1000).map(|last| clients.connect(address(last), start).unwrap()).collect();
        assert!(clients.count() <= 32);
        assert!(clients.metrics.bound_count(Bound::Clients) >= 968, "one more is served uncounted");
        drop(held);
        assert!(clients.ask(address(1), start).is_ok());
        clients.sweep(start);
        assert_eq!(clients.count(), 1, "whoever has not paid yet is remembered");
        clients.sweep(start + Duration::from_secs(1));
        assert_eq!(clients.count(), 0);
    }
}
