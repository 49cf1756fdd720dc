//! What a coded picture looks like beside what it was made from, and of which segments that is asked. Pure.

use crate::{Pausing, Plan};

/// Of which segments a worker measures quality, and whether it leaves rungs out that have none of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quality {
    /// Of a hundred segments, so many are decoded again and compared.
    pub sample_percent: u8,
    pub pausing: Option<Pausing>,
}

/// The luma of a picture, 8 bits each.
#[derive(Clone, Copy)]
pub(crate) struct Luma<'a> {
    pub(crate) samples: &'a [u8],
    /// From one line to the next.
    pub(crate) stride: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
}

/// How alike two pictures are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Score {
    /// Structural similarity of luma, at most 1: the mean of windows of 8x8 at every fourth place, as FFmpeg's filter has it.
    pub(crate) ssim: f64,
    /// The mean squared error of luma.
    pub(crate) mse: f64,
}

/// Which pictures of which segments are compared.
#[derive(Clone, Debug)]
pub(crate) struct Sampling {
    percent: u64,
    segment_frames: i64,
    /// Within a segment, where parts begin: every rung has those, whatever it leaves out.
    offsets: Vec<i64>,
}

impl Quality {
    /// What a configuration says of the stream of this name.
    pub fn of(quality: &config::Quality, stream: &str) -> Self {
        let mdb = |db: f64| (db * 1000.0).round() as u32;
        let pausing = quality.pausing(stream).map(|pausing| Pausing {
            loss_mdb: mdb(pausing.loss_db),
            return_mdb: mdb(pausing.return_db),
            segments: pausing.after_segments,
            run: pausing.run,
        });
        Self { sample_percent: quality.sample_percent, pausing }
    }
}

impl Score {
    /// `None` of pictures that differ in size, or are smaller than a window.
    pub(crate) fn of(one: Luma<'_>, other: Luma<'_>) -> Option<Self> {
        let Luma { width, height, .. } = one;
        let fits = one.is_whole() && other.is_whole() && (other.width, other.height) == (width, height);
        (fits && width >= WINDOW && height >= WINDOW).then(|| Self { ssim: ssim(one, other), mse: mse(one, other) })
    }

    /// That of several pictures of one size.
    pub(crate) fn mean(scores: &[Self]) -> Option<Self> {
        let count = scores.len() as f64;
        let mean = |of: fn(&Self) -> f64| scores.iter().map(of).sum::<f64>() / count;
        (!scores.is_empty()).then(|| Self { ssim: mean(|score| score.ssim), mse: mean(|score| score.mse) })
    }

    /// Peak signal to noise of luma, in decibels: no more than [`PSNR_MAX`], where pictures are the same.
    pub(crate) fn psnr_db(self) -> f64 {
        (10.0 * (255.0 * 255.0 / self.mse).log10()).min(PSNR_MAX)
    }
}

impl<'a> Luma<'a> {
    fn is_whole(&self) -> bool {
        self.stride >= self.width
            && self.height.checked_sub(1).is_some_and(|last| self.samples.len() >= last * self.stride + self.width)
    }

    fn lines(self) -> impl Iterator<Item = &'a [u8]> {
        self.samples.chunks(self.stride).take(self.height).map(move |line| &line[..self.width])
    }
}

impl Sampling {
    pub(crate) fn new(plan: &Plan, quality: &Quality) -> Self {
        let parts = (plan.segment_frames / plan.part_frames).max(1);
        let mut offsets: Vec<i64> = [0, parts / 2, parts - 1].map(|part| i64::from(part * plan.part_frames)).to_vec();
        offsets.dedup();
        Self {
            percent: u64::from(quality.sample_percent.min(100)),
            segment_frames: i64::from(plan.segment_frames),
            offsets,
        }
    }

    /// How many pictures of a segment are compared.
    pub(crate) fn pictures(&self) -> usize {
        self.offsets.len()
    }

    /// The segment that a picture of the grid is in, counted from the epoch's first.
    pub(crate) fn segment(&self, index: i64) -> i64 {
        index.div_euclid(self.segment_frames)
    }

    /// Whether this segment is one of the share, of which the epoch's first is one and whose others follow at even distances.
    pub(crate) fn takes_segment(&self, segment: i64) -> bool {
        segment.unsigned_abs().wrapping_mul(self.percent) % 100 < self.percent
    }

    /// Whether a picture of the grid is compared, if its segment is.
    pub(crate) fn takes_picture(&self, index: i64) -> bool {
        self.offsets.contains(&index.rem_euclid(self.segment_frames))
    }

    /// Whether no picture that is compared comes after it in its segment.
    pub(crate) fn is_last(&self, index: i64) -> bool {
        self.offsets.last().is_some_and(|last| index.rem_euclid(self.segment_frames) >= *last)
    }

    /// Far enough back that nobody measures there any more.
    pub(crate) fn forgotten_before(&self, index: i64) -> i64 {
        index - 2 * self.segment_frames
    }
}

/// Of a block of 4x4 in both pictures.
#[derive(Clone, Copy, Default)]
struct Sums {
    one: u32,
    other: u32,
    squares: u32,
    products: u32,
}

fn ssim(one: Luma<'_>, other: Luma<'_>) -> f64 {
    let (columns, rows) = (one.width / BLOCK, one.height / BLOCK);
    let mut above = vec![Sums::default(); columns];
    let mut here = above.clone();
    let mut total = 0.0;
    for row in 0..rows {
        here.fill(Sums::default());
        for line in row * BLOCK..(row + 1) * BLOCK {
            let of = |luma: Luma<'_>| line * luma.stride..line * luma.stride + columns * BLOCK;
            add(&mut here, &one.samples[of(one)], &other.samples[of(other)]);
        }
        if row > 0 {
            let pairs = above.windows(2).zip(here.windows(2));
            total += pairs.map(|(above, here)| similarity([above[0], above[1], here[0], here[1]])).sum::<f64>();
        }
        std::mem::swap(&mut above, &mut here);
    }
    total / ((columns - 1) * (rows - 1)) as f64
}

/// A line of both pictures.
fn add(blocks: &mut [Sums], one: &[u8], other: &[u8]) {
    let (one, other) = (one.chunks_exact(BLOCK), other.chunks_exact(BLOCK));
    for (sums, (one, other)) in blocks.iter_mut().zip(one.zip(other)) {
        for (&one, &other) in one.iter().zip(other) {
            let (one, other) = (u32::from(one), u32::from(other));
            sums.one += one;
            sums.other += other;
            sums.squares += one * one + other * other;
            sums.products += one * other;
        }
    }
}

/// Of one window (Wang and others, 2004, equation 13), with variances that are not biased by its size.
fn similarity(blocks: [Sums; 4]) -> f64 {
    let sum = |of: fn(&Sums) -> u32| f64::from(blocks.iter().map(of).sum::<u32>());
    let (one, other) = (sum(|block| block.one), sum(|block| block.other));
    let (squares, products) = (sum(|block| block.squares), sum(|block| block.products));
    let variances = squares * SAMPLES - one * one - other * other;
    let covariance = products * SAMPLES - one * other;
    let luminance = (2.0 * one * other + C1) / (one * one + other * other + C1);
    luminance * (2.0 * covariance + C2) / (variances + C2)
}

fn mse(one: Luma<'_>, other: Luma<'_>) -> f64 {
    let line = |(one, other): (&[u8], &[u8])| {
        let squares = one.iter().zip(other).map(|(one, other)| u32::from(one.abs_diff(*other)).pow(2));
        u64::from(squares.sum::<u32>())
    };
    let total: u64 = one.lines().zip(other.lines()).map(line).sum();
    total as f64 / (one.width * one.height) as f64
}

const BLOCK: usize = 4;
const WINDOW: usize = 2 * BLOCK;
/// Of a window.
const SAMPLES: f64 = (WINDOW * WINDOW) as f64;
/// (0.01 * 255)² and (0.03 * 255)², for sums over a window in place of means.
const C1: f64 = 6.5025 * SAMPLES;
const C2: f64 = 58.5225 * SAMPLES * (SAMPLES - 1.0);
/// Of pictures that are the same, of which the ratio is infinite.
const PSNR_MAX: f64 = 100.0;

#[cfg(test)]
mod tests;
