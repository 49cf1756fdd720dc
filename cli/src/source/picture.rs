//! The test picture: a clock for people, a bar code for programs, something that moves for encoders. Pure.
//!
//! What stands still is drawn once. Each frame restores the few places that move and draws them anew, so that most of
//! the picture costs neither the drawing nor the encoder anything.

use super::barcode;
use super::canvas::{Canvas, Colour, Rect};
use super::font;

pub(crate) struct Picture {
    still: Canvas,
    frame: Canvas,
    layout: Layout,
    /// Where the disc was drawn last.
    disc: Option<Rect>,
}

struct Layout {
    width: u32,
    height: u32,
    bar: u32,
    clock: Text,
    counter: Text,
    /// Shines for a tenth of each second, with the beep.
    flash: Rect,
    /// A pattern that scrolls, so that there is something to encode.
    ribbon: Rect,
    /// Where the disc moves.
    playground: Rect,
    radius: u32,
}

struct Text {
    x: u32,
    y: u32,
    dot: u32,
    area: Rect,
}

impl Picture {
    /// For sizes from 160 by 90; both even.
    pub(crate) fn new(width: u32, height: u32) -> Self {
        let layout = Layout::new(width, height);
        let still = layout.still();
        Self { frame: still.clone(), still, layout, disc: None }
    }

    /// The picture of frame `index`, generated at `unix_ms`.
    pub(crate) fn draw(&mut self, index: u64, unix_ms: u64) -> &Canvas {
        let Self { still, frame, layout, disc } = self;
        if let Some(rect) = disc.take() {
            frame.copy(still, rect);
        }
        frame.copy(still, layout.ribbon);
        layout.draw_ribbon(frame, index);
        let (centre, radius) = (layout.disc_at(index), layout.radius);
        frame.disc(centre, radius, Colour(170, 60, 180));
        *disc = Some(Rect { x: centre.0 - radius, y: centre.1 - radius, width: 2 * radius, height: 2 * radius });
        frame.copy(still, layout.clock.area);
        frame.text(&clock(unix_ms), (layout.clock.x, layout.clock.y), layout.clock.dot);
        frame.copy(still, layout.counter.area);
        let counter = format!("FRAME {:07}", index % 10_000_000);
        frame.text(&counter, (layout.counter.x, layout.counter.y), layout.counter.dot);
        frame.copy(still, layout.flash);
        if unix_ms % 1000 < 100 {
            frame.fill(layout.flash, Colour::WHITE);
        }
        layout.draw_bars(frame, unix_ms as u32);
        frame
    }
}

impl Layout {
    fn new(width: u32, height: u32) -> Self {
        let bar = height / 20;
        let clock = Text::centred(CLOCK.len() as u32, width, height * 5 / 20, width * 7 / 10);
        let below = clock.area.y + clock.area.height;
        let counter = Text::centred(COUNTER.len() as u32, width, below + height / 20, width / 4);
        let side = clock.area.height;
        let flash = Rect { x: (width - width / 20 - side / 2) & !1, y: clock.area.y, width: side / 2, height: side };
        let top = (counter.area.y + counter.area.height + height / 20) & !1;
        let ribbon = Rect { x: 0, y: (height - bar - height / 8) & !1, width, height: height / 10 };
        let playground = Rect { x: 0, y: top, width, height: ribbon.y.saturating_sub(top) };
        let radius = (playground.height / 4).max(2);
        Self { width, height, bar, clock, counter, flash, ribbon, playground, radius }
    }

    fn still(&self) -> Canvas {
        let mut canvas = Canvas::new(self.width, self.height, Colour(36, 140, 122));
        // A calm gradient: eight steps from dark to less dark, each one row of the encoder's blocks or more.
        for step in 0..8 {
            let (y, height) = (self.height * step / 8, self.height.div_ceil(8));
            canvas.fill(Rect { x: 0, y, width: self.width, height }, Colour(30 + 4 * step as u8, 142, 120));
        }
        for text in [&self.clock, &self.counter] {
            canvas.fill(text.area, Colour(24, 128, 128));
        }
        canvas.fill(self.flash, Colour(24, 128, 128));
        let dot = (self.width / 320).max(1);
        let label = Rect { x: self.width / 20, y: self.height * 2 / 20, width: 13 * 6 * dot, height: 9 * dot };
        canvas.fill(Rect { x: label.x & !1, y: label.y & !1, ..label }, Colour(24, 128, 128));
        canvas.text("VIVID    UTC", (label.x + dot, label.y + dot), dot);
        canvas
    }

    fn draw_bars(&self, canvas: &mut Canvas, ms: u32) {
        let cells = barcode::cells(ms);
        let edge = |cell: usize| cell as u32 * self.width / barcode::CELLS as u32;
        for (cell, white) in cells.into_iter().enumerate() {
            let colour = if white { Colour::WHITE } else { Colour::BLACK };
            for y in [0, self.height - self.bar] {
                let (x, width) = (edge(cell), edge(cell + 1) - edge(cell));
                canvas.fill(Rect { x, y, width, height: self.bar }, colour);
            }
        }
    }

    /// Blocks of changing brightness, as if a wall went by.
    fn draw_ribbon(&self, canvas: &mut Canvas, index: u64) {
        let side = (self.ribbon.height / 2).max(2) & !1;
        // Four samples a frame keep the colour samples in step.
        let shift = (index * 4 % u64::from(side * 16)) as u32;
        for row in 0..2 {
            for column in 0..self.width / side + 2 {
                let number = (column + shift / side + row * 5) % 16;
                let colour = Colour(50 + (number * 7 % 16) as u8 * 9, 100 + number as u8 * 4, 160 - number as u8 * 4);
                let left = column * side;
                let (offset, y) = (shift % side, self.ribbon.y + row * side);
                let (x, width) = (left.saturating_sub(offset), if left == 0 { side - offset } else { side });
                canvas.fill(Rect { x, y, width, height: side }, colour);
            }
        }
    }

    /// The centre of the disc: to and fro across the playground, down and up twice as fast.
    fn disc_at(&self, index: u64) -> (u32, u32) {
        let sway = |period: u64, room: u32| {
            let phase = index % (2 * period);
            let forth = if phase < period { phase } else { 2 * period - phase };
            (u64::from(room) * forth / period) as u32
        };
        let Rect { x, y, width, height } = self.playground;
        let room = |length: u32| length.saturating_sub(2 * self.radius);
        (x + self.radius + sway(120, room(width)), y + self.radius + sway(45, room(height)))
    }
}

impl Text {
    /// The largest size in which so many characters fit into `width_max`.
    fn centred(characters: u32, width: u32, y: u32, width_max: u32) -> Self {
        let columns = characters * (font::WIDTH + 1) - 1;
        let dot = (width_max / columns).max(1);
        let (text_width, text_height) = (columns * dot, font::HEIGHT * dot);
        let x = (width.saturating_sub(text_width)) / 2;
        let even = |value: u32| value & !1;
        let area = Rect {
            x: even(x.saturating_sub(dot)),
            y: even(y),
            width: even(text_width + 2 * dot + 1),
            height: even(text_height + 2 * dot + 1),
        };
        Self { x, y: area.y + dot, dot, area }
    }
}

/// The time of day in UTC.
fn clock(unix_ms: u64) -> String {
    let (ms, seconds) = (unix_ms % 1000, unix_ms / 1000);
    format!("{:02}:{:02}:{:02}.{ms:03}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

const CLOCK: &str = "00:00:00.000";
const COUNTER: &str = "FRAME 0000000";

#[cfg(test)]
mod tests {
    use super::super::barcode::tests::read;
    use super::*;

    const MS: u64 = 1_790_000_123_456;

    fn row(canvas: &Canvas, y: u32) -> Vec<u8> {
        canvas.plane(0).nth(y as usize).unwrap().to_vec()
    }

    #[test]
    fn both_bars_tell_the_time_in_every_size() {
        for (width, height) in [(160, 90), (426, 240), (640, 360), (1280, 720), (1920, 1080), (960, 540), (720, 1280)] {
            let mut picture = Picture::new(width, height);
            for index in 0..200 {
                let ms = MS + index * 33;
                let canvas = picture.draw(index, ms);
                for y in [0, height / 20 - 1, height - height / 20, height - 1] {
                    assert_eq!(read(&row(canvas, y)), Some(ms as u32), "{width}x{height} row {y}");
                }
            }
        }
    }

    #[test]
    fn a_frame_does_not_depend_on_those_before() {
        let mut busy = Picture::new(640, 360);
        for index in 0..500 {
            busy.draw(index, MS + index * 100);
        }
        let mut fresh = Picture::new(640, 360);
        assert_eq!(busy.draw(500, MS), fresh.draw(500, MS));
    }

    #[test]
    fn the_clock_shows_utc() {
        assert_eq!(clock(0), "00:00:00.000");
        assert_eq!(clock(86_399_999), "23:59:59.999");
        assert_eq!(clock(MS), "14:15:23.456");
    }

    #[test]
    fn a_second_begins_with_a_flash() {
        let mut picture = Picture::new(640, 360);
        let Rect { x, y, .. } = picture.layout.flash;
        let mut lit = |ms| row(picture.draw(1, ms), y)[x as usize] > 200;
        assert_eq!([0, 99, 100, 999].map(|ms| lit(1000 + ms)), [true, true, false, false]);
    }

    #[test]
    fn nothing_hides_the_clock() {
        let Layout { clock, counter, flash, ribbon, playground, .. } = Layout::new(1280, 720);
        assert!(clock.area.x + clock.area.width <= flash.x);
        assert!(clock.area.y + clock.area.height <= counter.area.y);
        assert!(counter.area.y + counter.area.height <= playground.y);
        assert!(playground.y + playground.height <= ribbon.y);
        assert!(ribbon.y + ribbon.height <= 720 - 36);
    }
}
