//! What the media playlist of a window says.

use super::{Segment, Window};
use crate::segmenter::Part;
use manifest::Head;
use manifest::iframes::{IFrame, IFramePlaylist};
use manifest::media::{self, MediaPlaylist, OpenSegment, RenditionReport, SegmentStart};
use std::sync::Arc;

impl Window {
    /// The playlist as of now. `reports` tells where the other renditions are.
    pub(crate) fn playlist(&self, reports: Vec<RenditionReport>) -> MediaPlaylist {
        let with_parts = self.segments_with_parts();
        let mut segments = Vec::with_capacity(self.segments.len());
        let mut before: Option<&Segment> = None;
        for (index, segment) in self.segments.iter().enumerate() {
            let parts = if index >= with_parts { segment.said_parts() } else { Vec::new() };
            segments.push(media::Segment {
                start: segment.said_start(before),
                parts,
                duration_s: segment.duration_s(),
                uri: segment.uri(),
                gap: segment.parts.is_empty(),
            });
            before = Some(segment);
        }
        let open = (!self.ended).then(|| match &self.open {
            Some(open) => OpenSegment {
                start: Some(open.said_start(before)),
                parts: open.said_parts(),
                hint: Some(open.part_uri(open.parts.len())),
            },
            None => OpenSegment { start: None, parts: Vec::new(), hint: None },
        });
        MediaPlaylist {
            target_duration_s: self.shape.target_duration_s,
            part_target_s: self.shape.part_target_s,
            first_msn: self.first_msn(),
            discontinuity_sequence: self.discontinuity_sequence(),
            segments,
            open,
            reports,
        }
    }

    /// The key frames of the whole segments; `None` for a rendition without pictures.
    pub(crate) fn iframes(&self) -> Option<IFramePlaylist> {
        let mut frames = Vec::with_capacity(self.segments.len());
        let mut before: Option<&Segment> = None;
        for segment in &self.segments {
            let bytes = match segment.parts.first() {
                Some(first) => Some(first.first_picture_end?),
                None => None,
            };
            let (start, duration_s, uri) = (segment.said_start(before), segment.duration_s(), segment.uri());
            frames.push(IFrame { start, duration_s, uri, bytes });
            before = Some(segment);
        }
        Some(IFramePlaylist {
            target_duration_s: self.shape.target_duration_s,
            first_msn: self.first_msn(),
            discontinuity_sequence: self.discontinuity_sequence(),
            frames,
            ended: self.ended,
        })
    }

    /// The first segment whose parts are listed. 6.2.2: parts more than three target durations from the end SHOULD go.
    fn segments_with_parts(&self) -> usize {
        // Durations are sums of thirds and the like; the margin is far below a frame.
        let reach_s = 3.0 * self.shape.target_duration_s as f64 - 1e-6;
        let mut after_s = self.open.as_ref().map_or(0.0, |open| open.parts.iter().map(|part| part.duration_s).sum());
        let mut first = self.segments.len();
        while first > 0 && after_s < reach_s {
            first -= 1;
            after_s += self.segments[first].duration_s();
        }
        first
    }
}

impl Segment {
    fn said_start(&self, before: Option<&Self>) -> SegmentStart {
        let same_init = before.is_some_and(|before| Arc::ptr_eq(&before.epoch, &self.epoch));
        SegmentStart {
            discontinuity: self.discontinuity,
            map: (!same_init).then(|| format!("{}/init.mp4", self.epoch.id)),
            program_date_time_ms: self.unix_ms(),
        }
    }

    fn said_parts(&self) -> Vec<media::Part> {
        let said = |(index, part): (usize, &Part)| media::Part {
            duration_s: part.duration_s,
            independent: part.independent,
            uri: self.part_uri(index),
        };
        self.parts.iter().enumerate().map(said).collect()
    }

    fn uri(&self) -> String {
        format!("{}/{}.m4s", self.epoch.id, self.msn)
    }

    fn part_uri(&self, index: usize) -> String {
        format!("{}/{}.{index}.m4s", self.epoch.id, self.msn)
    }
}

/// What other playlists say of a rendition that has come as far as `head`; nothing before its first part.
pub(crate) fn report(rendition: &str, head: Head) -> Option<RenditionReport> {
    let (last_msn, last_part) = match head.next.part {
        0 => (head.next.msn.checked_sub(1)?, head.last_parts.checked_sub(1)?),
        parts => (head.next.msn, parts - 1),
    };
    Some(RenditionReport { uri: format!("../{rendition}/index.m3u8"), last_msn, last_part })
}
