//! Which addresses can be somewhere at all.

use core::net::{IpAddr, Ipv4Addr};

/// Private, local and shared addresses are nowhere, whatever a database says.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let carrier_grade_nat = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            let nowhere = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified();
            !(nowhere || carrier_grade_nat || v4 == Ipv4Addr::BROADCAST || v4.is_multicast())
        }
        IpAddr::V6(v6) => {
            let local = v6.is_unique_local() || v6.is_unicast_link_local();
            !(v6.is_loopback() || v6.is_unspecified() || local || v6.is_multicast())
        }
    }
}
