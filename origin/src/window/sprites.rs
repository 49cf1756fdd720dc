//! A WebVTT file of thumbnails: a cue for each picture, whose text says which part of which image it is. Pure.

use super::segment::Segment;
use super::{Text, Window};
use crate::medium::Medium;
use manifest::Rfc3339;
use manifest::media::Tiles;
use std::fmt::Write;

impl Window {
    /// Of what is listed now; `None` for a rendition without images. Times count from the beginning of the first segment that
    /// is listed, which a line behind the header says in wall clock.
    pub(crate) fn sprites(&self) -> Option<Text> {
        (self.shape.medium == Medium::Images).then(|| {
            let mut out = format!("WEBVTT\n\nNOTE 00:00:00.000 is {}\n", Rfc3339(self.first_unix_ms()));
            let mut at_s = 0.0;
            for segment in self.listed() {
                // A String takes whatever it is given.
                let _ = segment.sprites_into(&mut out, at_s);
                at_s += segment.duration_s();
            }
            Text::new(out)
        })
    }
}

impl Segment {
    fn sprites_into(&self, out: &mut String, at_s: f64) -> std::fmt::Result {
        let Some(tiles) = self.epoch.tiles.filter(|_| !self.is_gap()) else { return Ok(()) };
        let Tiles { width, height, columns, rows, duration_s } = tiles;
        for place in 0..columns * rows {
            let begin_s = f64::from(place) * duration_s;
            let end_s = (begin_s + duration_s).min(self.duration_s());
            // The last segment of an epoch may be shorter than its image.
            if begin_s >= self.duration_s() - super::ROUNDING_S {
                break;
            }
            let (x, y) = (place % columns * width, place / columns * height);
            let (begin, end, uri) = (Clock(at_s + begin_s), Clock(at_s + end_s), self.uri(Medium::Images));
            write!(out, "\n{begin} --> {end}\n{uri}#xywh={x},{y},{width},{height}\n")?;
        }
        Ok(())
    }
}

/// Seconds as WebVTT writes them (4.3).
struct Clock(f64);

impl std::fmt::Display for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = (self.0 * 1000.0).round() as u64;
        let (h, m, s) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
        write!(f, "{h:02}:{m:02}:{s:02}.{:03}", ms % 1000)
    }
}
