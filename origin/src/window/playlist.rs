//! What the media playlist of a window says.

use super::segment::Segment;
use super::text::Piece;
use super::{ROUNDING_S, Text, Window};
use crate::medium::Medium;
use config::EncryptionMethod;
use manifest::Head;
use manifest::iframes::{IFrame, IFramePlaylist};
use manifest::media::{self, Content, MediaPlaylist, OpenSegment, RenditionReport, SegmentStart};
use manifest::protection::Key;
use std::sync::Arc;

impl Window {
    /// The playlist as of now. `reports` tells where the other renditions are. Only what may still change is rendered: the
    /// rest was when it was settled.
    /// `dates` are lines about the playlist's time, which Delta Updates keep.
    pub(crate) fn full(&self, reports: Vec<RenditionReport>, dates: &str) -> Text {
        let settled = self.lines.len();
        let playlist = self.playlist(settled, reports);
        // Where nothing is settled, the first segment is rendered now, with its init section.
        let map = if settled > 0 { self.map_before(0) } else { String::new() };
        let head = Piece::new(playlist.render_head() + dates + &map);
        let rest = Piece::new(playlist.render_rest());
        Text::of([head].into_iter().chain(self.lines.pieces()).chain([rest]))
    }

    /// What is not settled (RFC 8216bis, 6.2.5.1); `None` where everything has to be said.
    pub(crate) fn delta(&self, reports: Vec<RenditionReport>, dates: &str) -> Option<Text> {
        let settled = Some(self.lines.len()).filter(|&settled| settled > 0 && !self.ended)?;
        let playlist = self.playlist(settled, reports);
        let skip = media::skip(settled) + &self.map_before(settled);
        Some(Text::new(playlist.render_head() + dates + &skip + &playlist.render_rest()))
    }

    /// The playlist from the listed segment `from` on.
    pub(super) fn playlist(&self, from: usize, reports: Vec<RenditionReport>) -> MediaPlaylist {
        let from = self.leaving.len() + from;
        let medium = self.shape.medium;
        let has_parts = medium.has_parts();
        let with_parts = if has_parts { self.segments_with_parts() } else { usize::MAX };
        let mut segments = Vec::with_capacity(self.segments.len() - from);
        for (index, segment) in self.segments.iter().enumerate().skip(from) {
            let parts = if index >= with_parts { segment.said_parts() } else { Vec::new() };
            let says_init = segment.says_init || index == self.leaving.len();
            segments.push(segment.said(medium, says_init, parts));
        }
        // No rendition of the stream has parts then.
        let is_whole = self.open.as_ref().or_else(|| self.segments.back()).is_some_and(Segment::is_whole);
        let open = (!self.ended).then(|| match &self.open {
            Some(open) if has_parts => OpenSegment {
                start: Some(open.said_start(medium, self.is_of_new_init(open))),
                parts: open.said_parts(),
                hint: Some(open.part_uri(open.parts.len())).filter(|_| !self.is_paused && !open.begins_key()),
            },
            _ => OpenSegment { start: None, parts: Vec::new(), hint: None },
        });
        MediaPlaylist {
            target_duration_s: self.shape.target_duration_s,
            content: match medium {
                Medium::Fragments => Content::Parts,
                Medium::Whole | Medium::Text | Medium::Cues => Content::Files,
                Medium::Images => Content::Images,
            },
            part_target_s: Some(self.shape.part_target_s).filter(|_| !is_whole),
            skip_until_s: Some(self.skip_until_s()),
            first_msn: self.first_msn(),
            discontinuity_sequence: self.discontinuity_sequence(),
            segments,
            open,
            reports,
        }
    }

    /// The key frames of the whole segments; `None` for a rendition without pictures.
    pub(crate) fn iframes(&self, dates: &str) -> Option<Text> {
        let frames = self.frames.as_ref()?;
        let playlist = IFramePlaylist {
            target_duration_s: self.shape.target_duration_s,
            first_msn: self.first_msn(),
            discontinuity_sequence: self.discontinuity_sequence(),
            frames: Vec::new(),
            ended: self.ended,
        };
        let head = Piece::new(playlist.render_head() + dates + &self.map_before(0));
        let end = Piece::new(playlist.render_end());
        Some(Text::of([head].into_iter().chain(frames.pieces()).chain([end])))
    }

    /// Settles the lines of segments that every Delta Update leaves out from now on.
    pub(super) fn settle_lines(&mut self) {
        let unsettled = self.segments.range(self.leaving.len() + self.lines.len()..);
        let mut behind_s: f64 = unsettled.map(Segment::duration_s).sum();
        loop {
            let index = self.leaving.len() + self.lines.len();
            let Some(segment) = self.segments.get(index) else { break };
            behind_s -= segment.duration_s();
            if behind_s < self.skip_until_s() - ROUNDING_S {
                break;
            }
            let lines = segment.said(self.shape.medium, segment.says_init, Vec::new()).render();
            self.lines.push(&lines);
        }
    }

    /// Adds the line of a segment that is about to be appended.
    pub(super) fn add_frame(&mut self, segment: &Segment) {
        let medium = self.shape.medium;
        let bytes = segment.picture_end();
        if bytes.is_none() && !segment.is_gap() {
            self.frames = None;
            return;
        }
        let start = segment.said_start(medium, segment.says_init);
        let frame = IFrame { start, duration_s: segment.duration_s(), uri: segment.uri(medium), bytes };
        self.frames.iter_mut().for_each(|frames| frames.push(&frame.render()));
    }

    /// 4.4.3.8: at least six target durations.
    pub(super) fn skip_until_s(&self) -> f64 {
        6.0 * self.shape.target_duration_s as f64
    }

    /// What needs to be said before the listed segment `index`, where it does not say so itself.
    fn map_before(&self, index: usize) -> String {
        let segment = self.segments.get(self.leaving.len() + index).filter(|segment| !segment.says_init);
        let segment = segment.filter(|_| self.shape.medium.has_init());
        segment.map_or_else(String::new, |segment| match segment.said_key(true) {
            key if segment.lacks_init() => media::state(key.as_ref(), None),
            Some(_) if segment.is_whole() => media::clear_map(&segment.init_uri()),
            None if segment.ends_key() => media::clear_map(&segment.init_uri()),
            key => media::state(key.as_ref(), Some(&segment.init_uri())),
        })
    }

    /// Whether a segment that comes next has another init section than the last.
    pub(super) fn is_of_new_init(&self, segment: &Segment) -> bool {
        // Whole segments are encrypted with their key each, and have one init section that is not.
        let same_key = |last: &Segment| segment.is_whole() || last.key == segment.key;
        self.segments.back().is_none_or(|last| !Arc::ptr_eq(&last.epoch, &segment.epoch) || !same_key(last))
    }

    /// Whether a segment that comes next is behind one that is encrypted.
    pub(super) fn has_key_before(&self) -> bool {
        self.segments.back().is_some_and(|last| last.key.is_some() || last.follows_key)
    }

    /// The first segment whose parts are listed. 6.2.2: parts more than three target durations from the end SHOULD go.
    fn segments_with_parts(&self) -> usize {
        let reach_s = 3.0 * self.shape.target_duration_s as f64 - ROUNDING_S;
        let mut after_s = self.open.as_ref().map_or(0.0, |open| open.parts.iter().map(|part| part.duration_s).sum());
        let mut first = self.segments.len();
        while first > self.leaving.len() && after_s < reach_s {
            first -= 1;
            after_s += self.segments[first].duration_s();
        }
        first
    }
}

impl Segment {
    fn said(&self, medium: Medium, says_init: bool, parts: Vec<media::Part>) -> media::Segment {
        media::Segment {
            start: self.said_start(medium, says_init),
            parts,
            duration_s: self.duration_s(),
            uri: self.uri(medium),
            gap: self.is_gap(),
            tiles: self.epoch.tiles.filter(|_| !self.is_gap()),
        }
    }

    fn said_start(&self, medium: Medium, says_init: bool) -> SegmentStart {
        SegmentStart {
            discontinuity: self.discontinuity,
            key: self.said_key(says_init),
            ends_key: says_init && self.ends_key(),
            map: (says_init && medium.has_init() && !self.lacks_init()).then(|| self.init_uri()),
            program_date_time_ms: self.unix_ms(),
        }
    }

    fn said_parts(&self) -> Vec<media::Part> {
        let there = self.parts.iter().map(|part| (part.duration_s, part.independent, false));
        let missed = self.missed.iter().map(|duration_s| (*duration_s, false, true));
        let said = |(index, (duration_s, independent, gap))| {
            let uri = self.part_uri(index);
            media::Part { duration_s, independent, gap, uri }
        };
        there.chain(missed).enumerate().map(said).collect()
    }

    /// With the init section that is for its key, or with every segment where each has its own.
    fn said_key(&self, says_init: bool) -> Option<Key> {
        let (told, name) = (self.epoch.told.as_ref()?, self.key?);
        (says_init || self.is_whole()).then(|| told.key(name, self.msn))
    }

    /// Whether a key that was said before it holds no longer.
    fn ends_key(&self) -> bool {
        self.key.is_none() && self.follows_key
    }

    /// Whether its next part is the first under another key.
    fn begins_key(&self) -> bool {
        self.count() == 0 && self.epoch.told.as_ref().is_some_and(|told| told.changes_at(self.msn))
    }

    /// Whether it is encrypted as a whole.
    fn is_whole(&self) -> bool {
        self.epoch.told.as_ref().is_some_and(|told| told.method == EncryptionMethod::Aes128)
    }

    /// A gap in an epoch that does not have the rendition: what was said of init sections before it still holds.
    fn lacks_init(&self) -> bool {
        self.is_gap() && self.epoch.init.is_empty()
    }

    fn init_uri(&self) -> String {
        let init = self.epoch.told.as_ref().zip(self.key).map(|(told, name)| told.init(name));
        format!("{}/{}", self.epoch.id, init.as_deref().unwrap_or("init.mp4"))
    }

    pub(super) fn uri(&self, medium: Medium) -> String {
        format!("{}/{}.{}", self.epoch.id, self.msn, medium.extension())
    }

    fn part_uri(&self, index: usize) -> String {
        format!("{}/{}.{index}.m4s", self.epoch.id, self.msn)
    }
}

/// What other playlists say of a rendition that has come as far as `head`; nothing before its first part.
pub(crate) fn report(rendition: &str, medium: Medium, head: Head) -> Option<RenditionReport> {
    let (last_msn, last_part) = match head.next.part {
        // A gap has no parts; what is asked for after its first is the segment after it.
        0 => (head.next.msn.checked_sub(1)?, head.last_parts.saturating_sub(1)),
        parts => (head.next.msn, parts - 1),
    };
    let last_part = medium.has_parts().then_some(last_part);
    Some(RenditionReport { uri: format!("../{rendition}/index.m3u8"), last_msn, last_part })
}
