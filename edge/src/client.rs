//! Who asks, as far as the transport knows.

use core::net::IpAddr;

/// A viewer, or an edge that asks this node as its shield.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The other end of the connection. IPv4 is never written as IPv6, so that one rule fits one address.
    pub address: IpAddr,
    /// Whether the connection is TLS.
    pub secure: bool,
    /// Whether it came by the address of `edge.admin`: somebody who runs the node.
    pub admin: bool,
}

impl Client {
    pub fn new(address: IpAddr, secure: bool) -> Self {
        Self { address: address.to_canonical(), secure, admin: false }
    }

    pub fn admin(address: IpAddr) -> Self {
        Self { admin: true, ..Self::new(address, false) }
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
