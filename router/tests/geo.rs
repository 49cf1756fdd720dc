//! Geo databases in both layouts, private addresses, and files that are no databases.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use router::geo::{Geo, Lookup};
use router::sample::{Country, Scope};
use std::net::{IpAddr, Ipv6Addr};

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn germany_nested() -> Value {
    Value::map([("country", Value::map([("iso_code", Value::Text("DE"))])), ("continent", Value::map([]))])
}

fn flat(code: &'static str) -> Value {
    Value::map([("country_code", Value::Text(code)), ("city", Value::Text("x"))])
}

fn network(asn: u32) -> Value {
    Value::map([
        ("autonomous_system_number", Value::U32(asn)),
        ("autonomous_system_organization", Value::Text("An AS")),
    ])
}

#[test]
fn both_layouts_give_the_country() {
    for value in [germany_nested(), flat("DE")] {
        let geo = Geo::from_bytes(Some(database(6, &[("203.0.113.0", 24, value)])), None);
        assert_eq!(geo.country(address("203.0.113.77")).found(), Country::new("DE"));
        assert_eq!(geo.country(address("::ffff:203.0.113.77")).found(), Country::new("DE"));
        assert_eq!(geo.country(address("203.0.114.1")), Lookup::Unknown);
        assert_eq!(geo.asn(address("203.0.113.77")), Lookup::Off);
        assert_eq!(geo.loaded(), (true, false));
    }
}

#[test]
fn scope_is_country_and_network() {
    let country = database(6, &[("8.8.0.0", 16, flat("us")), ("2001:db8::", 32, flat("FR"))]);
    let asn = database(6, &[("8.8.8.0", 24, network(15_169)), ("2001:db8::", 33, network(3215))]);
    let geo = Geo::from_bytes(Some(country), Some(asn));
    let scope = |country: &str, asn| Scope { country: Country::new(country), asn };
    assert_eq!(geo.scope(address("8.8.8.8")), scope("US", Some(15_169)));
    assert_eq!(geo.scope(address("8.8.9.8")), scope("US", None));
    assert_eq!(geo.scope(address("2001:db8::1")), scope("FR", Some(3215)));
    assert_eq!(geo.scope(address("2001:db8:8000::1")), scope("FR", None));
}

#[test]
fn private_addresses_are_nowhere_whatever_a_database_says() {
    let everywhere = database(6, &[("::", 0, flat("US"))]);
    let geo = Geo::from_bytes(Some(everywhere), None);
    assert_eq!(geo.country(address("1.2.3.4")).found(), Country::new("US"));
    for private in [
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "127.0.0.1",
        "169.254.1.1",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "fe80::1",
        "fd00::1",
        "::",
        "ff02::1",
        "::ffff:10.0.0.1",
    ] {
        assert_eq!(geo.country(address(private)), Lookup::Unknown, "{private}");
    }
}

#[test]
fn an_ipv4_database_does_not_know_ipv6() {
    let geo = Geo::from_bytes(Some(database(4, &[("9.0.0.0", 8, flat("US"))])), None);
    assert_eq!(geo.country(address("9.9.9.9")).found(), Country::new("US"));
    assert_eq!(geo.country(address("2001:db8::1")), Lookup::Unknown);
}

#[test]
fn a_missing_or_broken_database_leaves_viewers_unplaced() {
    let folder = tempfile::tempdir().unwrap();
    let garbage = folder.path().join("garbage.mmdb");
    std::fs::write(&garbage, b"\xab\xcd\xefMaxMind.com garbage").unwrap();
    let missing = folder.path().join("missing.mmdb");
    let geo = Geo::load(&config::Geo { country_database: Some(missing), asn_database: Some(garbage) });
    assert_eq!(geo.loaded(), (false, false));
    assert_eq!(geo.scope(address("8.8.8.8")), Scope::EVERYWHERE);
    let good = folder.path().join("good.mmdb");
    std::fs::write(&good, database(6, &[("8.8.8.0", 24, network(15_169))])).unwrap();
    let geo = Geo::load(&config::Geo { country_database: None, asn_database: Some(good) });
    assert_eq!(geo.scope(address("8.8.8.8")).asn, Some(15_169));
}

#[test]
fn damaged_databases_never_panic() {
    let whole = database(6, &[("8.8.0.0", 16, germany_nested()), ("2001:db8::", 32, flat("FR"))]);
    let mut state = 5_u64;
    let mut below = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    let mut opened = 0;
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..=below(3) {
            let at = below(bytes.len());
            bytes[at] = below(256) as u8;
        }
        if below(10) == 0 {
            bytes.truncate(below(bytes.len()));
        }
        let geo = Geo::from_bytes(Some(bytes.clone()), Some(bytes));
        opened += u32::from(geo.loaded().0);
        for viewer in ["8.8.8.8", "9.9.9.9", "2001:db8::1"] {
            geo.scope(address(viewer));
        }
    }
    assert!(opened > 1000, "only {opened} damaged databases could be opened");
}

/// What a record holds.
#[derive(Clone)]
enum Value {
    Text(&'static str),
    U16(u16),
    U32(u32),
    U64(u64),
    Map(Vec<(&'static str, Self)>),
    List(Vec<Self>),
}

impl Value {
    fn map<const N: usize>(entries: [(&'static str, Self); N]) -> Self {
        Self::Map(entries.into())
    }

    /// As the format has it (MaxMind DB 2.0, "Output Data Section"): type and size in a control byte, then the content.
    fn encode(&self, bytes: &mut Vec<u8>) {
        let mut number = |kind: u8, extended: Option<u8>, value: u64| {
            let digits = value.to_be_bytes();
            let digits = &digits[value.leading_zeros() as usize / 8..];
            bytes.push(kind << 5 | digits.len() as u8);
            bytes.extend(extended);
            bytes.extend(digits);
        };
        match self {
            Self::U16(value) => number(5, None, u64::from(*value)),
            Self::U32(value) => number(6, None, u64::from(*value)),
            Self::U64(value) => number(0, Some(2), *value),
            Self::Text(text) => {
                // From 29 on, the rest of the size is in a byte of its own.
                let size = u8::try_from(text.len()).unwrap();
                bytes.push(2 << 5 | size.min(29));
                bytes.extend(size.checked_sub(29));
                bytes.extend(text.as_bytes());
            }
            Self::Map(entries) => {
                bytes.push(7 << 5 | entries.len() as u8);
                for (key, value) in entries {
                    Self::Text(key).encode(bytes);
                    value.encode(bytes);
                }
            }
            Self::List(values) => {
                bytes.extend([values.len() as u8, 4]);
                values.iter().for_each(|value| value.encode(bytes));
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Record {
    Empty,
    Node(u32),
    Data(u32),
}

/// A database that knows these networks; a later one overrides what it lies in.
fn database(ip_version: u16, networks: &[(&str, u32, Value)]) -> Vec<u8> {
    let mut nodes = vec![[Record::Empty; 2]];
    let mut data = Vec::new();
    for (network, prefix, value) in networks {
        let (bits, length) = match (address(network), ip_version) {
            (IpAddr::V4(v4), 4) => (u128::from(v4.to_bits()) << 96, *prefix),
            // IPv4 lies in the first 2^32 addresses.
            (IpAddr::V4(v4), _) => (u128::from(v4.to_bits()), prefix + 96),
            (IpAddr::V6(v6), _) => (Ipv6Addr::to_bits(v6), *prefix),
        };
        let record = Record::Data(data.len() as u32);
        value.encode(&mut data);
        insert(&mut nodes, bits, length, record);
    }
    let node_count = nodes.len() as u32;
    let mut bytes = Vec::new();
    for record in nodes.iter().flatten() {
        let value = match record {
            Record::Empty => node_count,
            Record::Node(node) => *node,
            Record::Data(offset) => node_count + 16 + offset,
        };
        bytes.extend(&value.to_be_bytes()[1..]);
    }
    bytes.extend([0; 16]);
    bytes.extend(data);
    bytes.extend(b"\xab\xcd\xefMaxMind.com");
    let metadata = Value::map([
        ("node_count", Value::U32(node_count)),
        ("record_size", Value::U16(24)),
        ("ip_version", Value::U16(ip_version)),
        ("database_type", Value::Text("Test")),
        ("languages", Value::List(vec![Value::Text("en")])),
        ("binary_format_major_version", Value::U16(2)),
        ("binary_format_minor_version", Value::U16(0)),
        ("build_epoch", Value::U64(1_795_000_000)),
        ("description", Value::map([("en", Value::Text("made by a test"))])),
    ]);
    metadata.encode(&mut bytes);
    bytes
}

fn insert(nodes: &mut Vec<[Record; 2]>, bits: u128, length: u32, record: Record) {
    if length == 0 {
        nodes[0] = [record; 2];
        return;
    }
    let mut at = 0;
    for depth in 0..length {
        let side = (bits >> (127 - depth) & 1) as usize;
        if depth == length - 1 {
            nodes[at][side] = record;
            return;
        }
        at = match nodes[at][side] {
            Record::Node(next) => next as usize,
            other => {
                nodes.push([other; 2]);
                let next = nodes.len() - 1;
                nodes[at][side] = Record::Node(next as u32);
                next
            }
        };
    }
}
