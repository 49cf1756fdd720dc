//! Which pictures of the grid are in the image of their segment, and where. Pure.

use crate::Thumbnails;

/// Every segment has one image, whose pictures are at even distances in the segment's time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    segment_frames: u64,
    count: u64,
}

impl Places {
    pub(super) fn new(thumbnails: &Thumbnails, segment_frames: u32) -> Self {
        let count = u64::from(thumbnails.columns) * u64::from(thumbnails.rows);
        Self { segment_frames: u64::from(segment_frames), count }
    }

    /// The segment of the picture at `index`, counted from the first, and how many of the segment's pictures were before it.
    pub(super) fn segment(self, index: u64) -> (u64, u64) {
        (index / self.segment_frames, index % self.segment_frames)
    }

    /// The places in the image that the picture at `index` takes: none most often; several where a segment has fewer
    /// pictures than its image has places.
    pub(super) fn of(self, index: u64) -> std::ops::Range<u64> {
        let (_, within) = self.segment(index);
        self.first_from(within)..self.first_from(within + 1)
    }

    /// The first place whose picture is `within` the segment or later.
    fn first_from(self, within: u64) -> u64 {
        (within * self.count).div_ceil(self.segment_frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(columns: u32, rows: u32, segment_frames: u32) -> Places {
        Places::new(&Thumbnails { width: 160, height: 90, columns, rows, quantizer: 5 }, segment_frames)
    }

    #[test]
    fn pictures_are_at_even_distances() {
        let taken = |places: Places| -> Vec<(u64, std::ops::Range<u64>)> {
            (0..60).map(|index| (index, places.of(index))).filter(|(_, places)| !places.is_empty()).collect()
        };
        assert_eq!(taken(places(1, 1, 60)), [(0, 0..1)]);
        assert_eq!(taken(places(2, 1, 60)), [(0, 0..1), (30, 1..2)]);
        assert_eq!(
            taken(places(7, 1, 60)).iter().map(|(index, _)| *index).collect::<Vec<_>>(),
            [0, 8, 17, 25, 34, 42, 51]
        );
    }

    #[test]
    fn every_place_is_taken_once_in_each_segment() {
        for (columns, rows, frames) in [(1, 1, 1), (2, 1, 60), (5, 5, 48), (10, 10, 60), (10, 10, 119), (3, 1, 2)] {
            let places = places(columns, rows, frames);
            for segment in [0, 1, 1_000_000] {
                let begin = segment * u64::from(frames);
                let all: Vec<u64> = (begin..begin + u64::from(frames)).flat_map(|index| places.of(index)).collect();
                assert_eq!(all, (0..u64::from(columns * rows)).collect::<Vec<_>>(), "{columns}x{rows} of {frames}");
                assert_eq!(places.segment(begin), (segment, 0));
            }
        }
    }
}
