//! Who asks, as far as the transport knows.

use core::net::IpAddr;

/// A viewer, or an edge that asks this node as its shield.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The other end of the connection. IPv4 is never written as IPv6, so that one rule fits one address.
    pub address: IpAddr,
    /// Whether the connection is TLS.
    pub secure: bool,
}

impl Client {
    pub fn new(address: IpAddr, secure: bool) -> Self {
        Self { address: address.to_canonical(), secure }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_spelling() {
        for (address, expected) in
            [("::ffff:192.0.2.1", "192.0.2.1"), ("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "2001:db8::1")]
        {
            let client = Client::new(address.parse().unwrap(), false);
            assert_eq!(client.address, expected.parse::<IpAddr>().unwrap(), "{address}");
        }
    }
}
