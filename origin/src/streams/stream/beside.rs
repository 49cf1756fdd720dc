//! Renditions beside those of the plan, which no other and no player waits for: thumbnails and subtitles.

use super::{Room, Shelf, Stream};
use crate::medium::Medium;
use crate::segmenter::Part;
use crate::window::{EpochStart, Rendition, Shape, Text, Window};
use bytes::Bytes;
use manifest::Position;
use manifest::media::Tiles;
use manifest::multivariant::{Images, MultivariantPlaylist, SubtitleRendition};
use media::{Timescale, fmp4};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use transcode::{Plan, Thumbnails};

/// The rendition of thumbnails.
pub(crate) const THUMBNAILS: &str = "thumbs";

/// Text of one language or purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TextTrack {
    /// Of its rendition.
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) language: Option<String>,
    /// There is a rendition of the same cues in MP4.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) has_fragments: bool,
}

impl TextTrack {
    pub(crate) fn new(name: String, language: Option<String>) -> Self {
        Self { name, language, has_fragments: true }
    }

    /// The rendition of its cues in MP4, if there is one: `cues-en` beside `text-en`.
    pub(crate) fn fragments(&self) -> Option<String> {
        let of = self.name.strip_prefix("text").unwrap_or(&self.name);
        self.has_fragments.then(|| format!("cues{of}"))
    }

    /// The init section of that rendition in an epoch of this timescale.
    pub(in crate::streams) fn init(&self, timescale: Timescale) -> Bytes {
        // Nothing of ours is too large for it.
        fmp4::text_init(timescale, self.language.as_deref()).unwrap_or_default()
    }

    /// Whether it can be named in paths and playlists.
    pub(crate) fn is_sane(&self) -> bool {
        let language = self.language.as_deref().is_none_or(config::is_stream_name);
        language && config::is_stream_name(&self.name)
    }
}

/// A segment that is published at once.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) msn: u64,
    pub(crate) bytes: Bytes,
    pub(crate) duration_s: f64,
}

#[derive(Debug, Default)]
pub(super) struct Beside {
    renditions: Vec<Arc<Rendition>>,
    texts: Vec<TextTrack>,
    /// The epoch that began last, what holds for all windows of the stream, and the timescale of its pictures.
    began: Option<(EpochStart, Shape, Timescale)>,
    /// Of the thumbnails that are made now.
    thumbnails: Option<Thumbnails>,
    /// The most that an image took, in bits per second.
    image_peak: u64,
}

impl Beside {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Rendition>> {
        self.renditions.iter()
    }

    pub(super) fn find(&self, name: &str) -> Option<&Arc<Rendition>> {
        self.renditions.iter().find(|rendition| rendition.name == name)
    }

    pub(super) fn texts(&self) -> &[TextTrack] {
        &self.texts
    }

    /// Tracks that are there from the beginning of the epoch that begins next.
    pub(super) fn expect(&mut self, texts: &[TextTrack], with: (&Room, Shape)) {
        for track in texts {
            if self.find(&track.name).is_none() {
                let renditions = text_renditions(track, with);
                self.renditions.extend(renditions);
                self.texts.push(track.clone());
            }
        }
    }

    /// Begins an epoch in all of them. Those that have nothing in it pause.
    pub(super) fn begin(&mut self, start: EpochStart, plan: &Plan, (room, shape): (&Room, Shape), now: Instant) {
        if plan.thumbnails.is_some() && self.find(THUMBNAILS).is_none() {
            self.renditions.push(Arc::new(rendition(THUMBNAILS, Medium::Images, (room, shape))));
        }
        self.thumbnails.clone_from(&plan.thumbnails);
        self.image_peak =
            plan.thumbnails.as_ref().map_or(0, |thumbnails| expected_bitrate(thumbnails, start.segment_s));
        let tiles = plan.thumbnails.as_ref().map(|thumbnails| tiles(thumbnails, start.segment_s));
        let timescale = plan.rate.timescale();
        for rendition in &self.renditions {
            let tiles = tiles.filter(|_| rendition.medium == Medium::Images);
            let init = self.init(rendition, timescale);
            rendition.begin(EpochStart { tiles, init, ..start.clone() }, now);
        }
        self.began = Some((start, shape, timescale));
    }

    fn init(&self, rendition: &Rendition, timescale: Timescale) -> Bytes {
        let is_of = |track: &&TextTrack| track.fragments().as_ref() == Some(&rendition.name);
        let track = self.texts.iter().filter(|_| rendition.medium == Medium::Cues).find(is_of);
        track.map_or_else(Bytes::new, |track| track.init(timescale))
    }

    /// A track that is new, in the middle of an epoch: its first segment is `msn`. Whether the epoch has none before that.
    pub(super) fn add(&mut self, track: TextTrack, (room, msn): (&Room, u64), now: Instant) -> bool {
        let Some((start, shape, timescale)) = self.began.clone() else { return false };
        let joined_msn = msn.max(start.joined_msn);
        let renditions = text_renditions(&track, (room, shape));
        self.texts.push(track);
        for rendition in renditions {
            let init = self.init(&rendition, timescale);
            rendition.begin(EpochStart { joined_msn, init, ..start.clone() }, now);
            self.renditions.push(rendition);
        }
        joined_msn == start.joined_msn
    }

    /// Whether it was the first segment of its rendition; `None` where it is not taken. What comes between it and the last
    /// is listed as gaps.
    pub(super) fn publish(&mut self, name: &str, whole: Whole, now: Instant) -> Option<bool> {
        let Whole { msn, bytes, duration_s } = whole;
        let rendition = Arc::clone(self.find(name)?);
        let first = !rendition.has_segment();
        let bits = (8.0 * bytes.len() as f64 / duration_s.max(0.1)) as u64;
        let at = Position { msn, part: 0 };
        let part =
            Part { at, bytes, duration_s, independent: true, first_picture_end: None, ends_segment: true, key: None };
        if !rendition.push_whole(part, now) {
            return None;
        }
        if rendition.medium == Medium::Images {
            self.image_peak = self.image_peak.max(bits);
        }
        rendition.announce();
        Some(first)
    }

    /// Says which of them there are: those that have a segment.
    pub(super) fn tell(&self, playlist: &mut MultivariantPlaylist) {
        let uri = |name: &str| format!("{name}/index.m3u8");
        let is_there = |name: &str| self.find(name).is_some_and(|rendition| rendition.has_segment());
        let texts = self.texts.iter().filter(|track| is_there(&track.name));
        playlist.subtitles = texts
            .map(|TextTrack { name, language, .. }| SubtitleRendition {
                name: language.clone().unwrap_or_else(|| name.clone()),
                language: language.clone(),
                uri: uri(name),
            })
            .collect();
        playlist.images = self.thumbnails.as_ref().filter(|_| is_there(THUMBNAILS)).map(|thumbnails| Images {
            peak_bitrate: self.image_peak.div_ceil(1000) * 1000,
            width: thumbnails.width,
            height: thumbnails.height,
            uri: uri(THUMBNAILS),
        });
    }
}

impl Stream {
    /// Publishes a segment of thumbnails or subtitles. False if it is none that comes next there.
    pub(crate) fn publish_beside(&self, name: &str, whole: Whole, now: Instant) -> bool {
        let mut shelf = self.shelf.write();
        let Some(first) = shelf.beside.publish(name, whole, now) else { return false };
        if first {
            self.tell_multivariant(&mut shelf);
        }
        self.generation.fetch_add(1, Ordering::AcqRel);
        true
    }

    /// Subtitles that begin in the middle of an epoch, with the segment that is being made.
    pub(crate) fn add_text(&self, track: TextTrack, now: Instant) {
        let mut shelf = self.shelf.write();
        let Some(msn) = shelf.renditions.first().map(|first| first.next().msn) else { return };
        if shelf.beside.find(&track.name).is_some() {
            return;
        }
        self.life().text(track.clone());
        let from_first = shelf.beside.add(track.clone(), (&self.room, msn), now);
        // Once players know a period, what is in it stays.
        if from_first && !shelf.visible {
            shelf.epochs.text(&track);
        }
    }

    pub(crate) fn texts(&self) -> Vec<TextTrack> {
        self.shelf.read().beside.texts().to_vec()
    }

    /// Says what there is by now.
    pub(in crate::streams) fn tell(&self) {
        self.tell_multivariant(&mut self.shelf.write());
    }

    /// Nothing more comes, and nothing more is measured.
    pub(super) fn end_renditions(&self, now: Instant) {
        self.shelf.read().all().for_each(|rendition| rendition.end(now));
        self.measured.lock().end();
        self.tell();
    }

    /// Says in the multivariant playlist what there is, and what segments have taken so far.
    pub(super) fn tell_multivariant(&self, shelf: &mut Shelf) {
        let Some(mut playlist) = shelf.expected.clone() else { return };
        playlist.key = shelf.epochs.session_key();
        self.measured.lock().tell(&mut playlist);
        playlist.variants.retain(|variant| !shelf.is_away(&variant.uri));
        shelf.beside.tell(&mut playlist);
        shelf.multivariant = Some(Arc::new(Text::new(playlist.render())));
    }
}

/// The renditions of a track.
fn text_renditions(track: &TextTrack, with: (&Room, Shape)) -> Vec<Arc<Rendition>> {
    let names = [Some((track.name.clone(), Medium::Text)), track.fragments().map(|name| (name, Medium::Cues))];
    names.into_iter().flatten().map(|(name, medium)| Arc::new(rendition(&name, medium, with))).collect()
}

fn rendition(name: &str, medium: Medium, (room, shape): (&Room, Shape)) -> Rendition {
    let window = Window::new(Shape { medium, ..shape }, room.memory.clone());
    Rendition::new(name.to_owned(), window, Arc::clone(&room.life))
}

fn tiles(thumbnails: &Thumbnails, segment_s: f64) -> Tiles {
    let Thumbnails { width, height, columns, rows, .. } = *thumbnails;
    Tiles { width, height, columns, rows, duration_s: segment_s / f64::from(columns * rows) }
}

/// Two bits for each pixel: what JPEG takes at a middling quality, before any image is there.
pub(in crate::streams) fn expected_bitrate(thumbnails: &Thumbnails, segment_s: f64) -> u64 {
    let (width, height) = thumbnails.image_size();
    (2.0 * f64::from(width) * f64::from(height) / segment_s).ceil() as u64
}
