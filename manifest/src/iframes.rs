//! An I-frame playlist as a value, and its text (RFC 8216bis, 4.4.3.6): one key frame of each segment, for trick play.

use crate::media::{SegmentStart, text};
use std::fmt::Write;

/// Everything an I-frame playlist says. It has no parts (4.4.4.9) and the segments of the rendition that it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct IFramePlaylist {
    pub target_duration_s: u64,
    /// EXT-X-MEDIA-SEQUENCE.
    pub first_msn: u64,
    pub discontinuity_sequence: u64,
    /// Oldest first.
    pub frames: Vec<IFrame>,
    /// EXT-X-ENDLIST.
    pub ended: bool,
}

/// The key frame that a segment begins with.
#[derive(Clone, Debug, PartialEq)]
pub struct IFrame {
    pub start: SegmentStart,
    /// EXTINF: until the next key frame, in seconds.
    pub duration_s: f64,
    /// The segment, and how many of its first bytes are needed: boxes and frame. `None` for a gap.
    pub uri: String,
    pub bytes: Option<u64>,
}

impl IFramePlaylist {
    pub fn render(&self) -> String {
        let frames: String = self.frames.iter().map(IFrame::render).collect();
        self.render_head() + &frames + self.render_end()
    }

    /// What comes before the first frame.
    pub fn render_head(&self) -> String {
        text(256, |out| self.render_head_into(out))
    }

    /// What comes after the last frame.
    pub fn render_end(&self) -> &'static str {
        if self.ended { "#EXT-X-ENDLIST\n" } else { "" }
    }

    fn render_head_into(&self, out: &mut String) -> std::fmt::Result {
        let target = self.target_duration_s;
        writeln!(out, "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:{target}\n#EXT-X-I-FRAMES-ONLY")?;
        // 6.2.5.2: where other playlists of the presentation block, these should.
        writeln!(out, "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,HOLD-BACK={:.3}", 3.0 * target as f64)?;
        writeln!(out, "#EXT-X-MEDIA-SEQUENCE:{}", self.first_msn)?;
        writeln!(out, "#EXT-X-DISCONTINUITY-SEQUENCE:{}", self.discontinuity_sequence)
    }
}

impl IFrame {
    /// Its lines: what comes before it, its bytes, its URI.
    pub fn render(&self) -> String {
        text(160, |out| self.render_into(out))
    }

    fn render_into(&self, out: &mut String) -> std::fmt::Result {
        self.start.render_into(out)?;
        writeln!(out, "#EXTINF:{:.5},", self.duration_s)?;
        match self.bytes {
            Some(bytes) => writeln!(out, "#EXT-X-BYTERANGE:{bytes}@0")?,
            None => writeln!(out, "#EXT-X-GAP")?,
        }
        writeln!(out, "{}", self.uri)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::follow::{self, Followed};
    use crate::{Head, Position};

    fn playlist() -> IFramePlaylist {
        let frame = |msn: u64, bytes| IFrame {
            start: SegmentStart {
                discontinuity: msn == 8,
                key: None,
                ends_key: false,
                map: (msn != 9).then(|| format!("e{msn}/init.mp4")),
                program_date_time_ms: 1_795_226_400_500 + 2000 * msn as i64,
            },
            duration_s: 2.0,
            uri: format!("e/{msn}.m4s"),
            bytes,
        };
        IFramePlaylist {
            target_duration_s: 2,
            first_msn: 7,
            discontinuity_sequence: 3,
            frames: vec![frame(7, Some(4096)), frame(8, Some(5000)), frame(9, None)],
            ended: false,
        }
    }

    #[test]
    fn each_segment_is_told_by_the_bytes_of_its_key_frame() {
        let expected = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n#EXT-X-I-FRAMES-ONLY\n\
            #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,HOLD-BACK=6.000\n#EXT-X-MEDIA-SEQUENCE:7\n\
            #EXT-X-DISCONTINUITY-SEQUENCE:3\n#EXT-X-MAP:URI=\"e7/init.mp4\"\n\
            #EXT-X-PROGRAM-DATE-TIME:2026-11-21T02:00:14.500Z\n#EXTINF:2.00000,\n#EXT-X-BYTERANGE:4096@0\ne/7.m4s\n\
            #EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"e8/init.mp4\"\n#EXT-X-PROGRAM-DATE-TIME:2026-11-21T02:00:16.500Z\n\
            #EXTINF:2.00000,\n#EXT-X-BYTERANGE:5000@0\ne/8.m4s\n\
            #EXT-X-PROGRAM-DATE-TIME:2026-11-21T02:00:18.500Z\n#EXTINF:2.00000,\n#EXT-X-GAP\ne/9.m4s\n";
        assert_eq!(playlist().render(), expected);
        let ended = IFramePlaylist { ended: true, ..playlist() }.render();
        assert_eq!(ended, format!("{expected}#EXT-X-ENDLIST\n"));
    }

    #[test]
    fn what_is_rendered_is_followed() {
        let Ok(Followed::Media(media)) = follow::read(&playlist().render()) else { panic!("not a media playlist") };
        let next = Position { msn: 10, part: 0 };
        assert_eq!(media.head, Head { next, last_parts: 0, ended: false });
        assert!(media.can_block_reload && media.part_target_s.is_none());
    }
}
