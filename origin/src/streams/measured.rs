//! What segments really take, for BANDWIDTH and AVERAGE-BANDWIDTH of the multivariant playlist (RFC 8216bis, 4.4.6.2). Pure.

use crate::segmenter::Part;
use manifest::multivariant::MultivariantPlaylist;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// The bit rates of a stream's renditions, by their names.
#[derive(Debug, Default)]
pub(super) struct Measured {
    rates: BTreeMap<String, Rates>,
    updated: Option<Instant>,
    /// How many were begun; only the last one is measured.
    epochs: u32,
    ended: bool,
}

/// Of one rendition: seconds and bytes.
#[derive(Debug, Default)]
struct Rates {
    open: (f64, u64),
    segments: VecDeque<(f64, u64)>,
    sum: (f64, u64),
    /// The largest that there was, in bits per second. It never falls: what came once may come again.
    peak: u64,
}

/// Players that compare bit rates between reloads must not see them wobble.
const UPDATE: Duration = Duration::from_secs(10);
/// So much media tells the truth. Before it, what the encoder was told, or the first seconds promised, is a bound.
const SETTLED_S: f64 = 30.0;
/// An hour of segments of 2 s, which Apple's authoring rules (1.28) ask for.
const SEGMENTS_MAX: usize = 1800;
/// Bit rates are said in steps of this, rounded up.
const GRAIN: u64 = 1000;

impl Measured {
    /// An epoch begins: what another source took says nothing of this one. Only these renditions are measured.
    pub(super) fn begin<'a>(&mut self, renditions: impl Iterator<Item = &'a str>) {
        self.rates = renditions.map(|name| (name.to_owned(), Rates::default())).collect();
        self.updated = None;
        self.epochs += 1;
    }

    /// The stream has ended: what was measured is all that there is, however short it was. Apple's rules (1.27) ask for a
    /// BANDWIDTH within a tenth of that.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Takes note of a part; whether it is time to say anew what was measured.
    pub(super) fn part(&mut self, rendition: &str, part: &Part, (target_s, now): (f64, Instant)) -> bool {
        let Some(rates) = self.rates.get_mut(rendition) else { return false };
        rates.part(part, target_s);
        let all = self.rates.values().all(|rates| !rates.segments.is_empty());
        let due = self.updated.is_none_or(|updated| now.saturating_duration_since(updated) >= UPDATE);
        let update = part.ends_segment && all && due;
        if update {
            self.updated = Some(now);
        }
        update
    }

    /// Takes note of a whole segment: how long it is, and its bytes.
    pub(super) fn segment(&mut self, rendition: &str, segment: (f64, u64), target_s: f64) {
        self.rates.entry(rendition.to_owned()).or_default().segment(segment, target_s);
    }

    /// Puts what was measured in the place of what was expected.
    pub(super) fn tell(&self, playlist: &mut MultivariantPlaylist) {
        let sounds: BTreeMap<String, (u64, u64)> = playlist
            .audio
            .iter()
            .filter_map(|audio| self.of(&audio.uri).map(|rates| (audio.group.clone(), (rates.peak, rates.average()))))
            .collect();
        // Of what has ended, a bound is as wrong above as below.
        let is_all = self.ended && self.epochs <= 1;
        // By picture's codec, without its profile, and sound: the bit rates of different ones cannot be compared.
        let mut below: BTreeMap<(String, Option<String>), u64> = BTreeMap::new();
        // From the smallest up: who sorts by bit rate is to find the taller picture above the smaller.
        for variant in playlist.variants.iter_mut().rev() {
            let codec = variant.codecs.first().and_then(|codec| codec.split('.').next()).unwrap_or_default();
            let below = below.entry((codec.to_owned(), variant.audio.clone())).or_default();
            if let Some(rates) = self.of(&variant.uri) {
                let sound = variant.audio.as_ref().and_then(|group| sounds.get(group)).copied().unwrap_or_default();
                let peak = rates.peak + sound.0;
                let expected = if is_all || rates.sum.0 >= SETTLED_S { 0 } else { variant.peak_bitrate };
                let above = if is_all { 0 } else { *below + GRAIN };
                variant.average_bitrate = rounded(rates.average() + sound.1);
                variant.peak_bitrate = rounded(peak).max(expected).max(variant.average_bitrate).max(above);
            }
            *below = variant.peak_bitrate;
        }
    }

    fn of(&self, uri: &str) -> Option<&Rates> {
        self.rates.get(uri.split('/').next()?).filter(|rates| !rates.segments.is_empty())
    }
}

impl Rates {
    fn part(&mut self, part: &Part, target_s: f64) {
        self.open = (self.open.0 + part.duration_s, self.open.1 + part.bytes.len() as u64);
        if !part.ends_segment {
            return;
        }
        let segment = std::mem::take(&mut self.open);
        self.segment(segment, target_s);
    }

    fn segment(&mut self, segment: (f64, u64), target_s: f64) {
        self.segments.push_back(segment);
        self.sum = (self.sum.0 + segment.0, self.sum.1 + segment.1);
        if self.segments.len() > SEGMENTS_MAX
            && let Some((s, bytes)) = self.segments.pop_front()
        {
            self.sum = (self.sum.0 - s, self.sum.1 - bytes);
        }
        // The bit rate of any contiguous segments that together last between 0.5 and 1.5 target durations.
        let (mut s, mut bytes) = (0.0, 0);
        for (segment_s, segment_bytes) in self.segments.iter().rev() {
            (s, bytes) = (s + segment_s, bytes + segment_bytes);
            if s > 1.5 * target_s {
                break;
            }
            if s >= 0.5 * target_s {
                self.peak = self.peak.max(bits_per_second((s, bytes)));
            }
        }
    }

    fn average(&self) -> u64 {
        bits_per_second(self.sum)
    }
}

fn bits_per_second((s, bytes): (f64, u64)) -> u64 {
    if s > 0.0 { (8.0 * bytes as f64 / s).ceil() as u64 } else { 0 }
}

fn rounded(bits: u64) -> u64 {
    bits.div_ceil(GRAIN) * GRAIN
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use manifest::Position;
    use manifest::multivariant::{AudioRendition, Variant};

    fn segment(bytes: usize, duration_s: f64) -> Part {
        let at = Position { msn: 1, part: 0 };
        let bytes = Bytes::from(vec![0; bytes]);
        Part { at, bytes, duration_s, independent: true, first_picture_end: None, ends_segment: true, key: None }
    }

    fn playlist() -> MultivariantPlaylist {
        let variant = |height: u32| Variant {
            peak_bitrate: 1_000_000 * u64::from(height),
            average_bitrate: 900_000,
            codecs: Vec::new(),
            width: 1,
            height,
            frame_rate_hz: 30.0,
            audio: Some("audio".to_owned()),
            uri: format!("{height}p/index.m3u8"),
            trick_play: None,
        };
        let audio = AudioRendition { group: "audio".into(), channels: 2, uri: "audio/index.m3u8".into() };
        let variants = vec![variant(720), variant(360)];
        MultivariantPlaylist {
            audio: vec![audio],
            captions: vec![],
            subtitles: vec![],
            images: None,
            key: None,
            variants,
        }
    }

    /// Segments of these lengths in bytes, each of two seconds, in every rendition.
    fn measured(bytes: &[usize], now: Instant) -> (Measured, usize) {
        let mut measured = Measured::default();
        measured.begin(["720p", "360p", "audio"].into_iter());
        let mut updates = 0;
        for (index, bytes) in bytes.iter().enumerate() {
            for (name, share) in [("720p", 4), ("360p", 2), ("audio", 1)] {
                let now = now + Duration::from_secs(2 * index as u64);
                updates += usize::from(measured.part(name, &segment(bytes * share / 4, 2.0), (2.0, now)));
            }
        }
        (measured, updates)
    }

    #[test]
    fn what_segments_took_is_said_with_its_sound() {
        let mut bytes = vec![100_000; 19];
        bytes.push(200_000);
        let (measured, updates) = measured(&bytes, Instant::now());
        let mut said = playlist();
        measured.tell(&mut said);
        // Segments of 400 kbit/s, one of twice that; a half and a quarter of it in the others.
        let rates: Vec<_> = said.variants.iter().map(|v| (v.peak_bitrate, v.average_bitrate)).collect();
        assert_eq!(rates, [(1_000_000, 525_000), (600_000, 315_000)]);
        assert_eq!(updates, 4, "at first, and every ten seconds");
    }

    #[test]
    fn pictures_of_another_codec_are_not_made_to_look_larger() {
        let (measured, _) = measured(&[100_000; 30], Instant::now());
        let mut said = playlist();
        for (variant, codec) in said.variants.iter_mut().zip(["av01.0.08M.08", "avc1.640028"]) {
            variant.codecs = vec![codec.to_owned()];
        }
        said.variants.reverse();
        measured.tell(&mut said);
        let rates: Vec<_> = said.variants.iter().map(|variant| variant.peak_bitrate).collect();
        assert_eq!(rates, [300_000, 500_000], "though the smaller picture comes first");
    }

    #[test]
    fn a_few_segments_do_not_lower_what_was_promised() {
        let (mut measured, updates) = measured(&[100_000, 90_000], Instant::now());
        let mut said = playlist();
        measured.tell(&mut said);
        assert_eq!((said.variants[0].peak_bitrate, updates), (720_000_000, 1));
        assert_eq!(said.variants[0].average_bitrate, 475_000);
        measured.end();
        let mut said = playlist();
        measured.tell(&mut said);
        assert_eq!(said.variants[0].peak_bitrate, 500_000, "but the end tells all");
        // What another epoch took is not known any more, and may still be in the window.
        measured.epochs = 2;
        let mut said = playlist();
        measured.tell(&mut said);
        assert_eq!(said.variants[0].peak_bitrate, 720_000_000);
    }

    #[test]
    fn short_segments_count_together_and_the_taller_picture_stays_above() {
        let mut measured = Measured::default();
        measured.begin(["720p", "360p"].into_iter());
        for index in 0..60 {
            // One of a tenth of a second is no segment bit rate of its own.
            let short = index == 30;
            let (bytes, s) = if short { (50_000, 0.1) } else { (100_000, 2.0) };
            measured.part("720p", &segment(bytes, s), (2.0, Instant::now()));
            measured.part("360p", &segment(bytes, s), (2.0, Instant::now()));
        }
        let mut said = MultivariantPlaylist { audio: vec![], ..playlist() };
        measured.tell(&mut said);
        assert_eq!(said.variants[1].peak_bitrate, 572_000, "150,000 bytes in 2.1 s");
        assert_eq!(said.variants[0].peak_bitrate, 573_000);
        measured.end();
        let mut said = MultivariantPlaylist { audio: vec![], ..playlist() };
        measured.tell(&mut said);
        assert_eq!(said.variants[0].peak_bitrate, 572_000, "what has ended is as it was");
    }
}
