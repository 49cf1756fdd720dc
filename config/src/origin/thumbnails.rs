//! `[origin.thumbnails]`: small pictures of a stream, for seek bars.

use crate::Problem;
use crate::bounded::within;
use serde::Deserialize;

/// One image for each segment, with pictures side by side at even distances in its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thumbnails {
    /// Of each picture, in pixels; the width follows the source's aspect.
    pub height: u32,
    /// How many pictures an image has beside, and below each other.
    pub columns: u32,
    pub rows: u32,
    /// JPEG quantizer: 2 is best and largest, 31 worst and smallest.
    pub quantizer: u32,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    enabled: bool,
    height: u32,
    columns: u32,
    rows: u32,
    quantizer: u32,
}

impl Default for Raw {
    fn default() -> Self {
        Self { enabled: true, height: 90, columns: 2, rows: 1, quantizer: 6 }
    }
}

impl Raw {
    pub(super) fn valid(&self, problems: &mut Vec<Problem>) -> Option<Thumbnails> {
        if self.height % 2 == 1 {
            problems
                .push(Problem::new("origin.thumbnails.height", "must be even: pictures of 4:2:0 have no odd sizes"));
        }
        let thumbnails = Thumbnails {
            height: within(problems, "origin.thumbnails.height", self.height, 32..=360),
            columns: within(problems, "origin.thumbnails.columns", self.columns, 1..=10),
            rows: within(problems, "origin.thumbnails.rows", self.rows, 1..=10),
            quantizer: within(problems, "origin.thumbnails.quantizer", self.quantizer, 2..=31),
        };
        self.enabled.then_some(thumbnails)
    }
}
