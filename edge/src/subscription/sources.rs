//! Whose playlists a rendition is shown from, and when it may be continued from another's.
//!
//! Two upstreams that cut the same segments may name them differently, as two origins with an epoch each do. **Players
//! never get parts of one segment from both**: such a change waits for the end of the segment, and parts of segments
//! that players may have begun are not shown from the new one. Pure: `now` is passed in.

use crate::upstream::{Away, PeerId};
use manifest::Position;
use manifest::follow::{Class, Media};
use std::time::Instant;

/// What is known of one rendition's sources.
#[derive(Debug)]
pub(super) struct Sources {
    /// Whose playlist is shown.
    away: Away,
    /// The newest whole segment shown: its number and what it is called.
    newest: Option<(u64, String)>,
    first_msn: u64,
    lives: u32,
    /// Parts up to the end of this segment stay hidden.
    hidden: Option<u64>,
}

impl Sources {
    pub(super) fn new(media: &Media, source: PeerId, now: Instant) -> Self {
        Self { away: Away::new(source, now), newest: newest(media), first_msn: media.first_msn, lives: 0, hidden: None }
    }

    pub(super) fn shown(&self) -> PeerId {
        self.away.shown()
    }

    /// Whom to ask next, where `home` is the first choice: whoever is shown, and now and then, between two segments,
    /// whether home is as good.
    pub(super) fn next(&mut self, home: PeerId, at: Position, now: Instant) -> PeerId {
        if at.part > 0 { self.shown() } else { self.away.next(home, now) }
    }

    /// Whether a playlist of `source` can be shown after what is shown, which ends before `at`.
    pub(super) fn continues(&self, media: &Media, source: PeerId, at: Position) -> bool {
        source == self.shown() || at.part == 0 || media.head.next.msn > at.msn || self.is_same_cut(media)
    }

    /// A playlist of `source` is shown after what was shown until `at`.
    pub(super) fn show(&mut self, media: &Media, source: PeerId, at: Position, now: Instant) {
        self.lives += u32::from(self.is_another_life(media, source, at));
        if source != self.shown() {
            let goes_on = media.head.next >= at && media.part_target_s.is_some();
            if goes_on && !self.is_same_cut(media) {
                // Players may have begun this segment, or the one before if none of its parts is there yet.
                self.hidden = if at.part > 0 { Some(at.msn) } else { at.msn.checked_sub(1) };
            }
        }
        self.away.show(source, now);
        self.newest = newest(media);
        self.first_msn = media.first_msn;
        self.hidden = self.hidden.filter(|hidden| media.first_msn <= *hidden);
    }

    /// How often the playlist began anew, by all that can be seen of it.
    pub(super) fn lives(&self) -> u32 {
        self.lives
    }

    /// Whether a playlist that is to be shown does not go on where the last one was: then its names may stand for other
    /// bytes. RFC 8216bis, 6.2.2 lets numbers only grow, and a segment keep its name.
    fn is_another_life(&self, media: &Media, source: PeerId, at: Position) -> bool {
        let slid_back = source == self.shown() && media.first_msn < self.first_msn;
        let goes_on = match &self.newest {
            Some(_) => self.is_same_cut(media),
            None => media.head.next >= at,
        };
        slid_back || !goes_on
    }

    pub(super) fn hidden(&self) -> Option<u64> {
        self.hidden
    }

    /// Whether it calls the newest segment shown by the same name.
    fn is_same_cut(&self, media: &Media) -> bool {
        let Some((msn, name)) = &self.newest else { return false };
        let Some(index) = msn.checked_sub(media.first_msn) else { return false };
        // What an update leaves out is as it was: else it would not have fitted.
        let Some(listed) = index.checked_sub(media.skipped) else { return true };
        usize::try_from(listed)
            .ok()
            .and_then(|index| segments(media).nth(index))
            .is_some_and(|uri| self::name(uri) == name)
    }
}

/// Leaves out the parts of all segments up to `hidden`.
pub(crate) fn without_parts(text: &str, first_msn: u64, hidden: u64) -> String {
    let mut msn = first_msn;
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        if msn <= hidden && line.starts_with("#EXT-X-PART:") {
            continue;
        }
        let is_uri = !line.starts_with('#') && !line.trim().is_empty();
        msn = msn.saturating_add(u64::from(is_uri));
        out.push_str(line);
    }
    out
}

fn newest(media: &Media) -> Option<(u64, String)> {
    let uri = segments(media).last()?;
    Some((media.head.next.msn.checked_sub(1)?, name(uri).to_owned()))
}

fn segments(media: &Media) -> impl Iterator<Item = &str> {
    media.objects.iter().filter(|object| object.class == Class::Segment).map(|object| object.uri.as_str())
}

/// Tokens in the query may differ from one answer to the next.
fn name(uri: &str) -> &str {
    uri.split('?').next().unwrap_or(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_left_out_up_to_the_end_of_a_segment_and_nothing_else_is_touched() {
        let text = "#EXTM3U\n#EXT-X-PART-INF:PART-TARGET=1\n#EXTINF:2,\n7.m4s\n#EXT-X-PART:DURATION=1,URI=\"8.0\"\r\n\
            #EXTINF:2,\n8.m4s\n\n#EXT-X-PART:DURATION=1,URI=\"9.0\"\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"9.1\"";
        for (hidden, gone) in [(7, ""), (8, "#EXT-X-PART:DURATION=1,URI=\"8.0\"\r\n")] {
            assert_eq!(without_parts(text, 7, hidden), text.replace(gone, ""), "{hidden}");
        }
        let none = without_parts(text, 7, 9);
        assert!(!none.contains("#EXT-X-PART:") && none.contains("PRELOAD-HINT") && none.contains("PART-INF"));
        assert_eq!(without_parts(text, u64::MAX, u64::MAX).matches("#EXT-X-PART:").count(), 0);
    }
}
