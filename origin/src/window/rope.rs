//! Lines of a playlist that no longer change: added at the end, taken off the beginning, never copied in between. Pure.

use super::text::Piece;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// A text of blocks, one for each segment.
#[derive(Debug, Default)]
pub(crate) struct Rope {
    /// Full ones.
    chunks: VecDeque<Chunk>,
    /// The last, which still grows.
    open: String,
    open_ends: Vec<u32>,
    /// Blocks that are taken off the first chunk.
    gone: usize,
    blocks: usize,
}

#[derive(Debug)]
struct Chunk {
    text: Bytes,
    piece: Arc<Piece>,
    /// Where each block ends.
    ends: Box<[u32]>,
}

/// Blocks of a chunk. What changes with every version is less than two of them; two hours are some sixty pieces.
const BLOCKS: usize = 64;

impl Rope {
    /// In blocks.
    pub(crate) fn len(&self) -> usize {
        self.blocks
    }

    pub(crate) fn push(&mut self, block: &str) {
        self.open.push_str(block);
        self.open_ends.push(self.open.len() as u32);
        self.blocks += 1;
        if self.open_ends.len() == BLOCKS {
            let text = Bytes::from(std::mem::take(&mut self.open).into_boxed_str().into_string());
            let ends = std::mem::take(&mut self.open_ends).into_boxed_slice();
            self.chunks.push_back(Chunk { piece: Piece::new(text.clone()), text, ends });
        }
    }

    /// Takes the oldest block off.
    pub(crate) fn pop(&mut self) {
        if self.blocks == 0 {
            return;
        }
        self.blocks -= 1;
        self.gone += 1;
        match self.chunks.front() {
            Some(first) if first.ends.len() == self.gone => {
                self.chunks.pop_front();
                self.gone = 0;
            }
            None if self.open_ends.len() == self.gone => *self = Self::default(),
            _ => {}
        }
    }

    /// All blocks that are left, in order.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = Arc<Piece>> {
        let first = self.chunks.front().map(|first| {
            let from = start(&first.ends, self.gone);
            if from == 0 { first.piece.clone() } else { Piece::new(first.text.slice(from..)) }
        });
        let from = if first.is_some() { 0 } else { start(&self.open_ends, self.gone) };
        let open = Piece::new(Bytes::copy_from_slice(&self.open.as_bytes()[from..]));
        first.into_iter().chain(self.chunks.iter().skip(1).map(|chunk| chunk.piece.clone())).chain([open])
    }
}

fn start(ends: &[u32], block: usize) -> usize {
    block.checked_sub(1).and_then(|before| ends.get(before)).map_or(0, |&end| end as usize)
}

#[cfg(test)]
mod tests {
    use super::super::text::Text;
    use super::*;
    use crate::testing::Rng;

    #[test]
    fn blocks_come_and_go_in_order() {
        let mut rng = Rng::new(3);
        for bound in [1, 3, 70, 300] {
            let (mut rope, mut expected) = (Rope::default(), VecDeque::new());
            for block in 0..2000_u64 {
                let text = format!("{block}{}\n", "x".repeat(rng.below(5) as usize));
                rope.push(&text);
                expected.push_back(text);
                while expected.len() > bound || rng.below(9) == 0 {
                    rope.pop();
                    expected.pop_front();
                }
                assert_eq!(rope.len(), expected.len());
                if block.is_multiple_of(7) {
                    let text = Text::of(rope.pieces()).identity();
                    assert_eq!(text, expected.iter().map(String::as_str).collect::<String>());
                }
            }
        }
    }
}
