//! Small databases for tests: networks in, the bytes of a `.mmdb` file out.

use std::net::{IpAddr, Ipv6Addr};

/// What a record holds.
#[derive(Clone, Debug)]
pub enum Value {
    Text(&'static str),
    U16(u16),
    U32(u32),
    U64(u64),
    F32(f32),
    F64(f64),
    Map(Vec<(&'static str, Self)>),
    List(Vec<Self>),
}

impl Value {
    pub fn map<const N: usize>(entries: [(&'static str, Self); N]) -> Self {
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
            Self::F32(value) => {
                bytes.extend([4, 8]);
                bytes.extend(value.to_be_bytes());
            }
            Self::F64(value) => {
                bytes.push(3 << 5 | 8);
                bytes.extend(value.to_be_bytes());
            }
            Self::Text(text) => {
                // From 29 on, the rest of the size is in a byte of its own.
                let size = u8::try_from(text.len()).expect("a text of up to 255 bytes");
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
pub fn database(ip_version: u16, networks: &[(&str, u32, Value)]) -> Vec<u8> {
    let mut nodes = vec![[Record::Empty; 2]];
    let mut data = Vec::new();
    for (network, prefix, value) in networks {
        let (bits, length) = match (network.parse().expect("an address"), ip_version) {
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
