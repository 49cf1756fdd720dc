//! Common Media Server Data (CTA-5006): what an answer says of the path to its viewer, in `CMSD-Dynamic`.
//!
//! Its keys hold for one hop and one moment, so none of it is ever kept with an object. What the nodes before this one
//! said of the same answer goes before this one's entry, in the order of the list that the standard makes of it.

use crate::object::put_decimal;
use bytes::{BufMut, Bytes};
use http::HeaderMap;
use sfv::{List, ListEntry, Parser};

/// The path to a viewer, as its transport sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Smoothed round trip time, in microseconds.
    pub rtt_us: u32,
    /// What it would carry now, in kbit/s; 0 if nothing is known.
    pub throughput_kbps: u32,
    /// It was measured while there was enough to send.
    pub measured: bool,
}

/// What a transport has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    pub rtt_us: u32,
    /// The rate at which bytes arrived last, in bytes per second; 0 before any has.
    pub delivered_per_s: u64,
    /// Whether there was less to send then than the path would have taken.
    pub idle: bool,
    /// What may be on its way at once, in bytes: the smaller one of both ends' windows.
    pub window: u64,
}

/// This node's part of the entry, made once.
pub struct Identity {
    /// `"name"`, as a structured field's string.
    name: Vec<u8>,
    /// `;mb=` and its value, or nothing.
    suggested: Vec<u8>,
}

/// One answer's entry.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    pub identity: &'a Identity,
    pub path: Path,
    pub duress: bool,
}

/// The field, in lower case as HTTP/2 wants it.
pub const DYNAMIC: &str = "cmsd-dynamic";
/// A handful of nodes.
const BEFORE_BYTES_MAX: usize = 512;

impl Path {
    /// A rate that was measured while there was enough to send is the path's. One that was measured while there was not
    /// is only the least that it takes: then the window of a round trip says more (CTA-5006, `etp`). Before anything was
    /// sent nothing is known: a handshake's round trip knows no queue.
    pub fn of(sample: Sample) -> Self {
        let window = (u128::from(sample.window) * 8000).checked_div(u128::from(sample.rtt_us)).unwrap_or(0);
        let measured = u128::from(sample.delivered_per_s) * 8;
        // To the nearest number of kbit/s; a window in bytes and microseconds gives kbit/s by itself.
        let measured_kbps = (measured + 500) / 1000;
        let kbps = match (sample.idle, measured) {
            (_, 0) => 0,
            (true, _) => measured_kbps.max(window),
            (false, _) => measured_kbps,
        };
        Self {
            rtt_us: sample.rtt_us,
            throughput_kbps: u32::try_from(kbps).unwrap_or(u32::MAX),
            measured: measured > 0 && !sample.idle,
        }
    }

    /// The same, said after `before`: a single packet that was lost and sent again makes a measurement of a hundredth, so
    /// one measurement says no less than half of the last.
    pub fn after(self, before: Self) -> Self {
        let held = self.measured && before.measured;
        let least = if held { before.throughput_kbps / 2 } else { 0 };
        Self { throughput_kbps: self.throughput_kbps.max(least), ..self }
    }
}

impl Identity {
    /// `suggested_bitrate_max` in bits per second; 0 suggests nothing.
    pub fn new(name: &str, suggested_bitrate_max: u64) -> Self {
        let kbps = suggested_bitrate_max / 1000;
        let suggested = if kbps > 0 { format!(";mb={kbps}").into_bytes() } else { Vec::new() };
        Self { name: format!("\"{name}\"").into_bytes(), suggested }
    }
}

impl Entry<'_> {
    /// Appends the whole line; `before` is what the nodes before this one said of the same answer.
    pub fn put(&self, out: &mut Vec<u8>, before: Option<&[u8]>) {
        out.put_slice(b"CMSD-Dynamic: ");
        if let Some(before) = before {
            out.put_slice(before);
            out.put_slice(b", ");
        }
        out.put_slice(&self.identity.name);
        if self.path.throughput_kbps > 0 {
            out.put_slice(b";etp=");
            put_decimal(out, self.path.throughput_kbps.into());
        }
        out.put_slice(b";rtt=");
        put_decimal(out, (u64::from(self.path.rtt_us) + 500) / 1000);
        out.put_slice(&self.identity.suggested);
        if self.duress {
            out.put_slice(b";du");
        }
        out.put_slice(b"\r\n");
    }
}

/// What upstream said of its answer, as one list (RFC 9651, 3.1) whose entries are named by strings; `None` where it said
/// nothing, or too much, or what would spoil the list for whoever reads on.
pub fn before(headers: &HeaderMap) -> Option<Bytes> {
    let mut list = Vec::new();
    for value in headers.get_all(DYNAMIC) {
        if !list.is_empty() {
            list.put_slice(b", ");
        }
        list.put_slice(value.as_bytes());
    }
    if list.is_empty() || list.len() > BEFORE_BYTES_MAX {
        return None;
    }
    let entries = Parser::new(&list).parse::<List>().ok()?;
    let named = |entry: &ListEntry| matches!(entry, ListEntry::Item(item) if item.bare_item.as_string().is_some());
    (!entries.is_empty() && entries.iter().all(named)).then(|| Bytes::from(list))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: Sample = Sample { rtt_us: 20_000, delivered_per_s: 600_000, idle: false, window: 25_000 };

    #[test]
    fn a_path_is_estimated_by_what_it_carried_or_could() {
        let kbps = |sample| Path::of(sample).throughput_kbps;
        assert_eq!(kbps(LINK), 4800, "a full pipe is its own measure, whatever the window");
        assert_eq!(kbps(Sample { idle: true, ..LINK }), 10_000, "an idle one would take a window each round trip");
        assert_eq!(kbps(Sample { idle: true, window: 10, ..LINK }), 4800, "and never less than it took");
        assert_eq!(kbps(Sample { idle: true, delivered_per_s: 0, ..LINK }), 0, "before anything arrived");
        assert_eq!(kbps(Sample { idle: true, rtt_us: 0, ..LINK }), 4800, "no round trip is known");
        assert_eq!(kbps(Sample { delivered_per_s: u64::MAX, ..LINK }), u32::MAX);
        assert_eq!(kbps(Sample { delivered_per_s: 187, ..LINK }), 1, "1.496 kbit/s");
        assert_eq!(kbps(Sample { delivered_per_s: 188, ..LINK }), 2, "1.504 kbit/s");
    }

    #[test]
    fn one_measurement_does_not_bring_the_estimate_to_its_knees() {
        let said = |sample, before| Path::of(sample).after(Path::of(before)).throughput_kbps;
        let retransmitted = Sample { delivered_per_s: 3750, ..LINK };
        assert_eq!(said(retransmitted, LINK), 2400);
        assert_eq!(said(LINK, retransmitted), 4800);
        assert_eq!(said(LINK, Sample { idle: true, window: 10_000_000, ..LINK }), 4800, "a guess holds nothing up");
    }

    fn line(entry: Entry<'_>, before: Option<&[u8]>) -> String {
        let mut out = Vec::new();
        entry.put(&mut out, before);
        let line = String::from_utf8(out).unwrap();
        let value = line.strip_prefix("CMSD-Dynamic: ").and_then(|line| line.strip_suffix("\r\n")).unwrap();
        assert!(Parser::new(value).parse::<List>().is_ok(), "{value}");
        value.to_owned()
    }

    #[test]
    fn an_entry_is_a_string_with_parameters() {
        let (plain, capped) = (Identity::new("par1", 0), Identity::new("1.par", 2_500_000));
        let path = Path { rtt_us: 5499, throughput_kbps: 4800, measured: true };
        assert_eq!(line(Entry { identity: &plain, path, duress: false }, None), r#""par1";etp=4800;rtt=5"#);
        assert_eq!(line(Entry { identity: &capped, path, duress: true }, None), r#""1.par";etp=4800;rtt=5;mb=2500;du"#);
        let unknown = Path { rtt_us: 5500, throughput_kbps: 0, measured: false };
        let entry = Entry { identity: &plain, path: unknown, duress: false };
        assert_eq!(line(entry, Some(br#""shield";etp=9"#)), r#""shield";etp=9, "par1";rtt=6"#);
    }

    #[test]
    fn what_upstream_said_is_passed_on_if_it_is_a_list_of_names() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            values.iter().for_each(|value| {
                headers.append(DYNAMIC, value.parse().unwrap());
            });
            before(&headers).map(|list| String::from_utf8(list.to_vec()).unwrap())
        };
        let two = [r#""a";etp=76;rtt=32"#, r#""b";du;com.example-x=1.5"#];
        assert_eq!(of(&two), Some(two.join(", ")));
        let long = format!("\"{}\"", "x".repeat(BEFORE_BYTES_MAX));
        for bad in ["", "etp=4", "etp=4,rtt=3", "a;etp=1", "\"a", "\"a\",", "(\"a\")", "\"a\";etp=", &long] {
            assert_eq!(of(&[bad]), None, "{bad}");
        }
        assert_eq!(of(&[two[0], "etp=4"]), None, "one bad entry spoils the list");
    }
}
