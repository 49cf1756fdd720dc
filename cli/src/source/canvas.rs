//! Three planes of 4:2:0 samples, and the few shapes that are drawn on them. Pure.

use super::font;

/// Limited-range BT.709 values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Colour(pub(crate) u8, pub(crate) u8, pub(crate) u8);

impl Colour {
    pub(crate) const WHITE: Self = Self(235, 128, 128);
    pub(crate) const BLACK: Self = Self(16, 128, 128);
}

/// In luma samples; cut to the canvas where it reaches over the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rect {
    pub(crate) x: u32,
    pub(crate) y: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// A picture. Luma rows are `width` long, chroma rows half of that, rounded up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Canvas {
    width: u32,
    height: u32,
    planes: [Vec<u8>; 3],
}

impl Canvas {
    pub(crate) fn new(width: u32, height: u32, colour: Colour) -> Self {
        let luma = (width * height) as usize;
        let chroma = (width.div_ceil(2) * height.div_ceil(2)) as usize;
        Self { width, height, planes: [vec![colour.0; luma], vec![colour.1; chroma], vec![colour.2; chroma]] }
    }

    pub(crate) fn fill(&mut self, rect: Rect, colour: Colour) {
        for (plane, value) in [colour.0, colour.1, colour.2].into_iter().enumerate() {
            for row in self.rows(plane, rect) {
                row.fill(value);
            }
        }
    }

    /// Takes a rectangle from a canvas of the same size.
    pub(crate) fn copy(&mut self, from: &Self, rect: Rect) {
        for plane in 0..3 {
            let (stride, columns, rows) = self.span(plane, rect);
            for row in rows {
                let range = row * stride + columns.start..row * stride + columns.end;
                self.planes[plane][range.clone()].copy_from_slice(&from.planes[plane][range]);
            }
        }
    }

    /// Luma alone: on a neutral ground, white text stays white.
    pub(crate) fn text(&mut self, text: &str, (x, y): (u32, u32), dot: u32) {
        for (place, character) in (0..).zip(text.chars()) {
            let left = x + place * (font::WIDTH + 1) * dot;
            for (row, bits) in (0..).zip(font::glyph(character)) {
                for column in (0..font::WIDTH).filter(|column| bits >> (font::WIDTH - 1 - column) & 1 == 1) {
                    let rect = Rect { x: left + column * dot, y: y + row * dot, width: dot, height: dot };
                    self.rows(0, rect).for_each(|row| row.fill(Colour::WHITE.0));
                }
            }
        }
    }

    pub(crate) fn disc(&mut self, (x, y): (u32, u32), radius: u32, colour: Colour) {
        for row in 0..2 * radius {
            let above = f64::from(row) + 0.5 - f64::from(radius);
            let half = (f64::from(radius).powi(2) - above.powi(2)).max(0.0).sqrt() as u32;
            let line = Rect { x: x.saturating_sub(half), y: y + row - radius.min(y + row), width: 2 * half, height: 1 };
            self.fill(line, colour);
        }
    }

    /// Rows of one plane from the top, without padding.
    pub(crate) fn plane(&self, plane: usize) -> impl Iterator<Item = &[u8]> {
        let (stride, ..) = self.span(plane, Rect { x: 0, y: 0, width: 0, height: 0 });
        self.planes[plane].chunks_exact(stride)
    }

    fn rows(&mut self, plane: usize, rect: Rect) -> impl Iterator<Item = &mut [u8]> {
        let (stride, columns, rows) = self.span(plane, rect);
        let lines = self.planes[plane].chunks_exact_mut(stride).skip(rows.start).take(rows.len());
        lines.map(move |line| &mut line[columns.clone()])
    }

    /// Stride of a plane, and the columns and rows of it that a rectangle touches.
    fn span(&self, plane: usize, rect: Rect) -> (usize, std::ops::Range<usize>, std::ops::Range<usize>) {
        let (left, right) = (rect.x.min(self.width), rect.x.saturating_add(rect.width).min(self.width));
        let (top, bottom) = (rect.y.min(self.height), rect.y.saturating_add(rect.height).min(self.height));
        if plane == 0 {
            return (self.width as usize, left as usize..right as usize, top as usize..bottom as usize);
        }
        let half = |from: u32, to: u32| (from / 2) as usize..to.div_ceil(2) as usize;
        (self.width.div_ceil(2) as usize, half(left, right), half(top, bottom))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INK: Colour = Colour(200, 90, 160);

    fn inked(canvas: &Canvas, plane: usize) -> usize {
        let value = [INK.0, INK.1, INK.2][plane];
        canvas.plane(plane).flatten().filter(|&&sample| sample == value).count()
    }

    #[test]
    fn shapes_are_cut_at_the_edges() {
        let mut canvas = Canvas::new(20, 10, Colour::BLACK);
        canvas.fill(Rect { x: 16, y: 8, width: 100, height: u32::MAX }, INK);
        assert_eq!([0, 1, 2].map(|plane| inked(&canvas, plane)), [8, 2, 2]);
        canvas.fill(Rect { x: 400, y: 0, width: 1, height: 1 }, INK);
        canvas.disc((0, 0), 300, INK);
        assert_eq!(inked(&canvas, 0), 200, "a disc around the corner covers everything");
        canvas.text("8", (18, 6), 3);
    }

    #[test]
    fn a_disc_is_round() {
        let mut canvas = Canvas::new(100, 100, Colour::BLACK);
        canvas.disc((50, 50), 30, INK);
        let area = std::f64::consts::PI * 900.0;
        assert!((inked(&canvas, 0) as f64 - area).abs() < 100.0, "{}", inked(&canvas, 0));
    }

    #[test]
    fn a_copied_rectangle_is_restored_in_all_planes() {
        let clean = Canvas::new(32, 32, Colour(40, 150, 110));
        let mut canvas = clean.clone();
        let rect = Rect { x: 5, y: 7, width: 11, height: 9 };
        canvas.fill(rect, INK);
        assert_ne!(canvas, clean);
        canvas.copy(&clean, rect);
        assert_eq!(canvas, clean);
    }
}
