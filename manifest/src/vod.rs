//! A live playlist that has ended, as one of video on demand: it says the same of its segments and nothing of a server that
//! waits (RFC 8216bis, 4.4.3.5 and 4.4.3.8). Pure.

/// Tags of a playlist that grows.
const LIVE: [&str; 6] = [
    "#EXT-X-SERVER-CONTROL:",
    "#EXT-X-PART-INF:",
    "#EXT-X-PART:",
    "#EXT-X-PRELOAD-HINT:",
    "#EXT-X-RENDITION-REPORT:",
    "#EXT-X-SKIP:",
];

/// The text of a media or I-frame playlist, with EXT-X-PLAYLIST-TYPE:VOD and EXT-X-ENDLIST.
pub fn of(live: &str) -> String {
    let mut out = String::with_capacity(live.len() + 32);
    for line in live.lines().filter(|line| !LIVE.iter().any(|tag| line.starts_with(tag))) {
        out.push_str(line);
        out.push('\n');
        if line.starts_with("#EXT-X-TARGETDURATION:") {
            out.push_str("#EXT-X-PLAYLIST-TYPE:VOD\n");
        }
    }
    if !out.ends_with("#EXT-X-ENDLIST\n") {
        out.push_str("#EXT-X-ENDLIST\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::follow::{self, Followed};
    use crate::media::{Content, MediaPlaylist, OpenSegment, Part, RenditionReport, Segment, SegmentStart};

    #[test]
    fn what_was_live_says_the_same_of_its_segments_and_nothing_of_parts() {
        let map = Some("e/init.mp4".into());
        let start = SegmentStart { discontinuity: true, key: None, ends_key: false, map, program_date_time_ms: 1000 };
        let part = Part { duration_s: 1.0, independent: true, gap: false, uri: "e/7.0.m4s".into() };
        let segment = Segment {
            start,
            parts: vec![part.clone()],
            duration_s: 2.0,
            uri: "e/7.m4s".into(),
            gap: false,
            tiles: None,
        };
        let live = MediaPlaylist {
            target_duration_s: 2,
            content: Content::Parts,
            part_target_s: Some(1.0),
            skip_until_s: Some(12.0),
            first_msn: 7,
            discontinuity_sequence: 3,
            segments: vec![segment.clone(), Segment { gap: true, parts: vec![], uri: "e/8.m4s".into(), ..segment }],
            open: Some(OpenSegment { start: None, parts: vec![part], hint: Some("e/9.1.m4s".into()) }),
            reports: vec![RenditionReport { uri: "../a/index.m3u8".into(), last_msn: 9, last_part: Some(0) }],
        };
        let text = of(&live.render());
        let expected = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n#EXT-X-PLAYLIST-TYPE:VOD\n\
            #EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-DISCONTINUITY-SEQUENCE:3\n#EXT-X-INDEPENDENT-SEGMENTS\n\
            #EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"e/init.mp4\"\n#EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:00:01.000Z\n\
            #EXTINF:2.00000,\ne/7.m4s\n\
            #EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"e/init.mp4\"\n#EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:00:01.000Z\n\
            #EXT-X-GAP\n#EXTINF:2.00000,\ne/8.m4s\n#EXT-X-ENDLIST\n";
        assert_eq!(text, expected);
        assert_eq!(of(&text.replace("#EXT-X-PLAYLIST-TYPE:VOD\n", "")), text, "one that has ended already");
        let Ok(Followed::Media(media)) = follow::read(&text) else { panic!("no media playlist") };
        assert!(media.head.ended && media.part_target_s.is_none() && !media.can_block_reload);
    }
}
