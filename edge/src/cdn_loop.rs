//! `CDN-Loop` (RFC 8586): finds requests that come round, and lets no viewer's list reach what viewers share.
//!
//! A request upstream is made for many, and what is passed on with it can make upstream refuse all of them. So only
//! what nodes like this one wrote is passed on, and of it no more than half of what a node takes. Such a node calls itself
//! by a random id: a loop is found by it, and nobody outside can write it to make a node believe in a loop.

use crate::refusal::Refusal;
use std::hash::{BuildHasher, Hasher, RandomState};

/// This node in lists of who has had a request.
#[derive(Debug)]
pub struct CdnLoop {
    name: String,
    id: String,
}

/// Longest list that is read. Foreign networks write some tens of bytes each.
const BYTES_MAX: usize = 2048;
/// Most nodes in a list that is read: RFC 8586 lets a network refuse what has gone through too many.
const NODES_MAX: usize = 32;
/// Nodes passed on, this one among them. Tiers are two or three; a loop through more nodes than this is nobody's mistake.
const PASSED_MAX: usize = 16;

const ID_PREFIX: &str = "vivid-";
const ID_DIGITS: usize = 16;

impl CdnLoop {
    pub fn new(name: &str) -> Self {
        // The standard library seeds it from the system's random source.
        let random = RandomState::new().build_hasher().finish();
        Self { name: name.to_owned(), id: format!("{ID_PREFIX}{random:016x}") }
    }

    /// Judges a request by its list, before anything is done for it.
    ///
    /// # Errors
    /// `Loop` if this node, by name or id, has had the request, `TooManyNodes` if too many others had, `HeaderTooLarge` if
    /// the list is too long to be read.
    pub fn judge(&self, list: &[u8]) -> Result<(), Refusal> {
        if list.len() > BYTES_MAX {
            return Err(Refusal::HeaderTooLarge);
        }
        let own = |node: &[u8]| node == self.id.as_bytes() || node == self.name.as_bytes();
        if nodes(list).any(own) {
            return Err(Refusal::Loop);
        }
        if nodes(list).count() > NODES_MAX { Err(Refusal::TooManyNodes) } else { Ok(()) }
    }

    /// The list to send on: the last nodes that have had the request, and this one.
    pub fn onward(&self, list: &[u8]) -> String {
        let known: Vec<&str> = nodes(list).filter_map(id).collect();
        let last = known.len().saturating_sub(PASSED_MAX - 1);
        let mut onward = String::with_capacity(PASSED_MAX * (ID_PREFIX.len() + ID_DIGITS + 2));
        for node in &known[last..] {
            onward.push_str(node);
            onward.push_str(", ");
        }
        onward.push_str(&self.id);
        onward
    }
}

fn nodes(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',')
        .map(|node| node.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii())
}

fn id(node: &[u8]) -> Option<&str> {
    let node = std::str::from_utf8(node).ok()?;
    let digits = node.strip_prefix(ID_PREFIX)?;
    (digits.len() == ID_DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_nodes_that_ask_each_other_are_found_out() {
        let (a, b) = (CdnLoop::new("a"), CdnLoop::new("b"));
        let at_b = a.onward(b"");
        assert_eq!(b.judge(at_b.as_bytes()), Ok(()));
        let at_a = b.onward(at_b.as_bytes());
        assert_eq!(a.judge(at_a.as_bytes()), Err(Refusal::Loop));
        assert_eq!(a.judge(format!("other; v=1, {at_a}; x").as_bytes()), Err(Refusal::Loop));
    }

    #[test]
    fn a_loop_through_many_nodes_is_found_when_it_comes_round() {
        let nodes: Vec<_> = (0..PASSED_MAX).map(|number| CdnLoop::new(&format!("n{number}"))).collect();
        let list = nodes.iter().fold(String::new(), |list, node| {
            assert_eq!(node.judge(list.as_bytes()), Ok(()));
            node.onward(list.as_bytes())
        });
        assert_eq!(nodes[0].judge(list.as_bytes()), Err(Refusal::Loop));
    }

    #[test]
    fn nothing_that_a_viewer_can_write_offends_upstream() {
        let (edge, shield) = (CdnLoop::new("edge"), CdnLoop::new("shield"));
        let forged = format!("{ID_PREFIX}0123456789abcdef");
        let longest = [forged.as_str(); NODES_MAX].join(",");
        let padding = "x".repeat(BYTES_MAX);
        for list in ["", "shield", "Fastly; v=1", ", ,;", &longest, &padding, "vivid-0123456789abcdeg"] {
            assert_eq!(edge.judge(list.as_bytes()), Ok(()), "{list}");
            let onward = edge.onward(list.as_bytes());
            assert_eq!(shield.judge(onward.as_bytes()), Ok(()), "{list}");
            assert!(onward.split(", ").all(|node| id(node.as_bytes()).is_some()), "{onward}");
            assert!(shield.onward(onward.as_bytes()).split(", ").count() <= PASSED_MAX);
        }
    }

    #[test]
    fn a_list_that_names_this_node_or_is_too_long_is_refused() {
        let edge = CdnLoop::new("edge");
        assert_eq!(edge.judge(b"other, edge; v=1"), Err(Refusal::Loop));
        assert_eq!(edge.judge(["x"; NODES_MAX + 1].join(",").as_bytes()), Err(Refusal::TooManyNodes));
        assert_eq!(edge.judge("x".repeat(BYTES_MAX + 1).as_bytes()), Err(Refusal::HeaderTooLarge));
    }
}
