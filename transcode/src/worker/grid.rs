//! Puts decoded pictures on the frame grid: every index once, whatever the source left out or sent twice. Pure.

/// The next index that every rendition is to have.
#[derive(Debug, Default)]
pub(super) struct Grid {
    next: i64,
}

/// What to do with a decoded picture.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Its index is taken.
    Drop,
    /// Show it at its index, after `repeats` copies of the picture before it (or of itself, if it is the first).
    Show { first: i64, repeats: u32 },
    /// So many frames are missing that copies would be a frozen picture.
    Jump { frames: i64 },
}

impl Grid {
    pub(super) fn place(&mut self, index: i64, gap_max: u32) -> Place {
        let gap = index.saturating_sub(self.next);
        if gap < 0 {
            return Place::Drop;
        }
        if gap > i64::from(gap_max) {
            return Place::Jump { frames: gap };
        }
        let first = self.next;
        self.next = index + 1;
        Place::Show { first, repeats: gap as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_is_shown_once() {
        let mut grid = Grid::default();
        let show = |first, repeats| Place::Show { first, repeats };
        assert_eq!(grid.place(0, 10), show(0, 0));
        assert_eq!(grid.place(1, 10), show(1, 0));
        assert_eq!(grid.place(1, 10), Place::Drop);
        assert_eq!(grid.place(4, 10), show(2, 2));
        assert_eq!(grid.place(-1, 10), Place::Drop);
        assert_eq!(grid.place(5, 10), show(5, 0));
    }

    #[test]
    fn a_late_start_is_filled_from_zero_and_a_jump_is_not() {
        assert_eq!(Grid::default().place(3, 10), Place::Show { first: 0, repeats: 3 });
        assert_eq!(Grid::default().place(10, 10), Place::Show { first: 0, repeats: 10 });
        assert_eq!(Grid::default().place(11, 10), Place::Jump { frames: 11 });
        assert_eq!(Grid::default().place(i64::MAX - 1, 10), Place::Jump { frames: i64::MAX - 1 });
    }
}
