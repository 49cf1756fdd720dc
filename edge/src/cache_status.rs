//! `Cache-Status` (RFC 9211): what this hop did for an answer, appended to what the hops before it said.

use crate::object::put_decimal;
use bytes::BufMut;

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    Hit,
    /// Read from this node's disk.
    Disk,
    /// Served although upstream has not confirmed it lately.
    Stale,
    /// What was stored was too old to be shown: upstream confirmed it or gave a new one.
    Expired,
    /// Fetched for this viewer, and kept for the next.
    Stored,
    /// Fetched for this viewer alone.
    Miss,
    Collapsed,
    /// Waited for the version that upstream was already asked for.
    Held,
    /// Not answered: upstream failed, or the request was refused here.
    Refused,
    /// Another edge is to serve this viewer.
    Steered,
    /// A page of the node itself.
    Own,
}

impl Note {
    /// Whether upstream was asked, and this is what it said.
    pub fn is_fetched(self) -> bool {
        matches!(self, Self::Stored | Self::Miss | Self::Collapsed | Self::Expired)
    }

    /// For logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Disk => "disk",
            Self::Stale => "stale",
            Self::Expired => "expired",
            Self::Stored => "stored",
            Self::Miss => "miss",
            Self::Collapsed => "collapsed",
            Self::Held => "held",
            Self::Refused => "refused",
            Self::Steered => "steered",
            Self::Own => "own",
        }
    }
}

/// The field lines of this node, made once as far as they are the same for all.
pub struct Notes {
    lines: [Vec<u8>; 11],
}

impl Notes {
    pub fn new(name: &str) -> Self {
        // RFC 8941, 3.3.4: a token begins with a letter; what does not is a string.
        let token = name.starts_with(|first: char| first.is_ascii_alphabetic());
        let name = if token { name.to_owned() } else { format!("\"{name}\"") };
        let line = |said: &str| format!("Cache-Status: {name}{said}").into_bytes();
        Self {
            lines: [
                line("; hit"),
                line("; hit; detail=disk"),
                line("; hit; detail=stale"),
                line("; fwd=stale"),
                line("; fwd=miss; stored"),
                line("; fwd=miss"),
                line("; fwd=miss; collapsed"),
                line("; fwd=miss; collapsed; detail=held"),
                line(""),
                line("; detail=steered"),
                line("; detail=own"),
            ],
        }
    }

    /// Appends the whole line. `detail` is a token, of those notes that have none by themselves; `ttl` in seconds.
    pub fn put(&self, out: &mut Vec<u8>, note: Note, detail: Option<&str>, ttl: Option<i64>) {
        out.put_slice(&self.lines[note as usize]);
        if let Some(ttl) = ttl {
            out.put_slice(if ttl < 0 { b"; ttl=-" } else { b"; ttl=" });
            put_decimal(out, ttl.unsigned_abs());
        }
        if let Some(detail) = detail {
            out.put_slice(b"; detail=");
            out.put_slice(detail.as_bytes());
        }
        out.put_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_note_is_a_structured_field() {
        for (name, note, detail, ttl, expected) in [
            ("edge", Note::Hit, None, Some(12), "edge; hit; ttl=12"),
            ("edge", Note::Disk, None, Some(12), "edge; hit; detail=disk; ttl=12"),
            ("edge", Note::Stale, None, Some(-3), "edge; hit; detail=stale; ttl=-3"),
            ("edge", Note::Held, None, Some(0), "edge; fwd=miss; collapsed; detail=held; ttl=0"),
            ("edge", Note::Refused, Some("hold-late"), None, "edge; detail=hold-late"),
            ("edge", Note::Steered, None, None, "edge; detail=steered"),
            ("edge", Note::Own, None, None, "edge; detail=own"),
            ("1.fra", Note::Stored, None, Some(i64::MIN), "\"1.fra\"; fwd=miss; stored; ttl=-9223372036854775808"),
        ] {
            let mut out = Vec::new();
            Notes::new(name).put(&mut out, note, detail, ttl);
            assert_eq!(String::from_utf8(out).unwrap(), format!("Cache-Status: {expected}\r\n"));
        }
    }
}
