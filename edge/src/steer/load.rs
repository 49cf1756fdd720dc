//! What an edge says of itself to the others: `/_vivid/load`.

use serde::{Deserialize, Serialize};

/// How much an edge has to do. Keys that another release adds are passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Its `edge.name`.
    pub name: String,
    /// Connections of viewers.
    pub viewers: u64,
    /// At how many it is full; none without a fleet file.
    #[serde(default)]
    pub viewers_max: Option<u64>,
    pub full: bool,
    /// It is about to stop, or is to take no new viewers.
    pub draining: bool,
}

/// A page of this length is none.
pub const PAGE_BYTES_MAX: usize = 4096;

impl Load {
    /// Reads the page; `None` if it is none.
    pub fn read(page: &[u8]) -> Option<Self> {
        if page.len() > PAGE_BYTES_MAX {
            return None;
        }
        serde_json::from_slice(page).ok()
    }
}

/// Whether an edge is full: from `viewers_max` on, and then until a twentieth of it is free again, or each viewer who
/// leaves would open the door for one.
pub fn is_full(was_full: bool, viewers: u64, viewers_max: u64) -> bool {
    let enough = viewers_max - viewers_max / 20;
    viewers >= if was_full { enough } else { viewers_max }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_whatever_else_it_says() {
        let page = r#"{"name":"a","viewers":3,"full":false,"draining":true,"weather":"fine"}"#;
        let load = Load { name: "a".to_owned(), viewers: 3, viewers_max: None, full: false, draining: true };
        assert_eq!(Load::read(page.as_bytes()), Some(load.clone()));
        assert_eq!(Load::read(&serde_json::to_vec(&load).unwrap()), Some(load));
        let long = format!("{page}{}", " ".repeat(PAGE_BYTES_MAX));
        for none in ["", "{}", "[]", "<html>", r#"{"name":"a","viewers":-1,"full":false,"draining":false}"#, &long] {
            assert_eq!(Load::read(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn a_full_edge_stays_full_until_a_twentieth_is_free() {
        let full = |was, viewers| is_full(was, viewers, 100);
        assert!(!full(false, 99) && full(false, 100) && full(false, 101));
        assert!(full(true, 95) && !full(true, 94));
        assert!(is_full(false, 1, 1) && !is_full(true, 0, 1), "the smallest edge fills and empties");
    }
}
