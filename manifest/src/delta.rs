//! Playlist Delta Updates (RFC 8216bis, 6.2.5.1), made from anyone's full playlist, and what they stand for.

mod date_ranges;
mod replica;

pub use date_ranges::{DateRanges, Recent};
pub use replica::{Change, Full, Replica, Update};

/// The Delta Update of a media playlist whose EXT-X-SERVER-CONTROL says `CAN-SKIP-UNTIL=skip_until_s`; `None` where there
/// is nothing to skip. Every byte that it keeps is as the packager wrote it.
///
/// Where the draft leaves a choice, the one that needs least of the player is taken: the Skip Boundary is measured from
/// the end of the last whole segment, and the EXT-X-MAP and EXT-X-KEY that still apply are said again. No EXT-X-DATERANGE is
/// left out, as `_HLS_skip=YES` wants it: see [`Recent::update`] for `v2`.
pub fn delta_update(full: &str, skip_until_s: f64) -> Option<String> {
    let segments = segments(full, false)?;
    let skipped = skippable(&segments, skip_until_s)?;
    let (first, next) = (segments.first()?, segments.get(skipped)?);
    let mut out = String::with_capacity(full.len() - (next.start - first.start) + 256);
    let line_end = if full.contains("\r\n") { "\r\n" } else { "\n" };
    push_header(&mut out, &full[..first.start], line_end);
    out.push_str(&format!("#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}{line_end}"));
    let mut state = State::default();
    for line in full[first.start..next.start].split_inclusive('\n') {
        state.see(line);
        if is_of_playlist(line) {
            out.push_str(line);
        }
    }
    state.lines().for_each(|line| out.push_str(line));
    out.push_str(&full[next.start..]);
    Some(out)
}

fn media_sequence(text: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:"));
    value.map_or(Some(0), |value| value.trim().parse().ok())
}

/// EXT-X-SKIP needs version 9 (RFC 8216bis, 8).
const VERSION: u64 = 9;

/// A whole segment, from the first of its tags to its URI.
#[derive(Debug, Default)]
struct Segment {
    /// Where its first tag begins, and its URI's line ends.
    start: usize,
    end: usize,
    duration_s: f64,
    has_parts: bool,
    /// Its EXT-X-BYTERANGE begins where that of the segment before ends.
    continues: bool,
}

/// `begun`: the text begins behind EXT-X-SKIP.
fn segments(full: &str, begun: bool) -> Option<Vec<Segment>> {
    let mut segments = Vec::new();
    let (mut at, mut open) = (0, None::<Segment>);
    for line in full.split_inclusive('\n') {
        let (start, text) = (at, line.trim_end());
        at += line.len();
        // What has left something out itself cannot be left out of twice (RFC 8216bis, 4.4.5.2).
        if text.starts_with("#EXT-X-ENDLIST") || text.starts_with("#EXT-X-SKIP") {
            return None;
        }
        let is_uri = !text.is_empty() && !text.starts_with('#');
        // An unknown tag before the first segment is about the playlist, behind it about a segment.
        let begins = is_uri || is_of_segment(text);
        if open.is_none() && (begins || ((begun || !segments.is_empty()) && !is_of_playlist(text))) {
            open = Some(Segment { start, ..Segment::default() });
        }
        let Some(segment) = open.as_mut() else { continue };
        if is_uri {
            segment.end = at;
            segments.extend(open.take());
        } else if let Some(duration) = text.strip_prefix("#EXTINF:") {
            segment.duration_s = duration.split(',').next()?.trim().parse().ok().filter(|s: &f64| s.is_finite())?;
        } else if let Some(range) = text.strip_prefix("#EXT-X-BYTERANGE:") {
            segment.continues = !range.contains('@');
        } else if text.starts_with("#EXT-X-PART:") {
            segment.has_parts = true;
        }
    }
    Some(segments)
}

/// How many segments may be skipped: those that end further from the end of the last one than the Skip Boundary.
fn skippable(segments: &[Segment], skip_until_s: f64) -> Option<usize> {
    let mut behind_s = 0.0;
    let mut count = segments.len();
    while count > 0 && behind_s < skip_until_s {
        count -= 1;
        behind_s += segments[count].duration_s;
    }
    // Parts are listed only near the end, and a range that continues another one needs that one.
    count = segments[..count].iter().position(|segment| segment.has_parts).unwrap_or(count);
    while count > 0 && segments.get(count).is_some_and(|next| next.continues) {
        count -= 1;
    }
    (count > 0).then_some(count)
}

/// What comes before the first segment, with a version that knows EXT-X-SKIP.
fn push_header(out: &mut String, header: &str, line_end: &str) {
    let version = |line: &str| line.trim_end().strip_prefix("#EXT-X-VERSION:")?.trim().parse::<u64>().ok();
    let said = header.lines().find_map(version);
    for line in header.split_inclusive('\n') {
        match version(line) {
            Some(older) if older < VERSION => out.push_str(&format!("#EXT-X-VERSION:{VERSION}{line_end}")),
            _ => out.push_str(line),
        }
        if said.is_none() && line.trim_start_matches('\u{feff}').starts_with("#EXTM3U") {
            out.push_str(&format!("#EXT-X-VERSION:{VERSION}{line_end}"));
        }
    }
}

/// Tags that EXT-X-SKIP stands for, since they are about one segment or about those from there on (4.4.4).
fn is_of_segment(line: &str) -> bool {
    const TAGS: [&str; 9] = [
        "#EXTINF:",
        "#EXT-X-BYTERANGE:",
        "#EXT-X-DISCONTINUITY",
        "#EXT-X-KEY:",
        "#EXT-X-MAP:",
        "#EXT-X-PROGRAM-DATE-TIME:",
        "#EXT-X-GAP",
        "#EXT-X-BITRATE:",
        "#EXT-X-PART:",
    ];
    !line.starts_with("#EXT-X-DISCONTINUITY-SEQUENCE:") && TAGS.iter().any(|tag| line.starts_with(tag))
}

/// Tags that stay wherever they are: those of the playlist, and of its metadata (4.4.2, 4.4.3, 4.4.5).
fn is_of_playlist(line: &str) -> bool {
    const TAGS: [&str; 15] = [
        "#EXTM3U",
        "#EXT-X-VERSION:",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        "#EXT-X-START:",
        "#EXT-X-DEFINE:",
        "#EXT-X-TARGETDURATION:",
        "#EXT-X-MEDIA-SEQUENCE:",
        "#EXT-X-DISCONTINUITY-SEQUENCE:",
        "#EXT-X-PLAYLIST-TYPE:",
        "#EXT-X-I-FRAMES-ONLY",
        "#EXT-X-PART-INF:",
        "#EXT-X-SERVER-CONTROL:",
        "#EXT-X-DATERANGE:",
        "#EXT-X-PRELOAD-HINT:",
        "#EXT-X-RENDITION-REPORT:",
    ];
    TAGS.iter().any(|tag| line.starts_with(tag))
}

/// What skipped tags say of the segments behind them.
#[derive(Default)]
struct State<'a> {
    /// By KEYFORMAT, in order.
    keys: Vec<&'a str>,
    map: Option<&'a str>,
    /// The keys where the map was, which it is encrypted with.
    map_keys: Vec<&'a str>,
}

impl<'a> State<'a> {
    fn see(&mut self, line: &'a str) {
        if line.starts_with("#EXT-X-KEY:") {
            if line.contains("METHOD=NONE") {
                self.keys.clear();
            }
            self.keys.retain(|key| format_of(key) != format_of(line) && !key.contains("METHOD=NONE"));
            self.keys.push(line);
        } else if line.starts_with("#EXT-X-MAP:") {
            self.map = Some(line);
            self.map_keys.clone_from(&self.keys);
        }
    }

    /// What holds, and nothing of what the map was said with.
    fn now(&self) -> Vec<&'a str> {
        self.keys.iter().copied().chain(self.map).collect()
    }

    fn lines(&self) -> impl Iterator<Item = &'a str> {
        let again = self.map.is_none() || self.keys != self.map_keys;
        let keys = if again { self.keys.as_slice() } else { &[] };
        self.map_keys.iter().copied().chain(self.map).chain(keys.iter().copied())
    }
}

fn format_of(key: &str) -> &str {
    key.split_once("KEYFORMAT=\"").and_then(|(_, rest)| rest.split('"').next()).unwrap_or("identity")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:2\n\
        #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=12.0\n#EXT-X-MEDIA-SEQUENCE:7\n";

    /// Segments of two seconds, each with what is written before it.
    fn playlist(before: &[&str]) -> String {
        let mut text = HEAD.to_owned();
        for (msn, tags) in before.iter().enumerate() {
            text.push_str(&format!("{tags}#EXTINF:2.0,\n{msn}.m4s\n"));
        }
        text + "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"x\"\n"
    }

    fn delta(before: &[&str]) -> Option<String> {
        delta_update(&playlist(before), 12.0)
    }

    #[test]
    fn what_lies_behind_the_boundary_is_skipped() {
        let expected = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n\
            #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=12.0\n#EXT-X-MEDIA-SEQUENCE:7\n\
            #EXT-X-SKIP:SKIPPED-SEGMENTS=2\n";
        let text = delta(&[""; 8]).unwrap();
        let (header, rest) = text.split_at(expected.len());
        assert_eq!(header, expected);
        assert!(
            rest.starts_with("#EXTINF:2.0,\n2.m4s\n")
                && rest.ends_with("7.m4s\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"x\"\n")
        );
    }

    #[test]
    fn with_nothing_to_skip_there_is_no_delta() {
        assert_eq!(delta(&[""; 6]), None);
        assert_eq!(delta_update(&(playlist(&[""; 8]) + "#EXT-X-ENDLIST\n"), 12.0), None);
        assert_eq!(delta_update(&playlist(&[""; 8]), f64::NAN), None);
        assert_eq!(delta_update("", 12.0), None);
        assert_eq!(delta(&["#EXT-X-PART:DURATION=1,URI=\"p\"\n", "", "", "", "", "", "", ""]), None);
    }

    #[test]
    fn what_still_applies_is_said_again_and_metadata_stay() {
        let key = |n: u8| format!("#EXT-X-KEY:METHOD=AES-128,URI=\"k{n}\"\n");
        let first = format!("{}#EXT-X-MAP:URI=\"old\"\n", key(0));
        let second = format!(
            "#EXT-X-DATERANGE:ID=\"a\"\n#CUE\n{}#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"new\"\n{}",
            key(1),
            key(2)
        );
        let text = delta(&[&first, &second, "", "", "", "", "", ""]).unwrap();
        let (_, rest) = text.split_once("SKIPPED-SEGMENTS=2\n").unwrap();
        let expected =
            format!("#EXT-X-DATERANGE:ID=\"a\"\n{}#EXT-X-MAP:URI=\"new\"\n{}#EXTINF:2.0,\n2.m4s\n", key(1), key(2));
        assert!(rest.starts_with(&expected), "{rest}");
        let text = delta(&[&first, "#EXT-X-KEY:METHOD=NONE\n", "", "", "", "", "", ""]).unwrap();
        assert!(text.contains(&format!("=2\n{first}#EXT-X-KEY:METHOD=NONE\n#EXTINF")), "{text}");
    }

    #[test]
    fn a_range_that_continues_a_skipped_one_moves_the_boundary() {
        let (whole, more) = ("#EXT-X-BYTERANGE:10@0\n", "#EXT-X-BYTERANGE:10\n");
        let text = delta(&[whole, whole, more, more, more, more, more, more, more]).unwrap();
        assert!(text.contains("SKIPPED-SEGMENTS=1\n#EXT-X-BYTERANGE:10@0\n"), "{text}");
        assert_eq!(delta(&[more; 8]), None);
    }

    /// A window that moves: segments `first` to `end`, a new init section every nine.
    pub(super) fn moving(first: u64, end: u64) -> String {
        moving_within(first, end, |msn| msn / 9)
    }

    /// The same with init sections by the number of the segment.
    pub(super) fn moving_within(first: u64, end: u64, init: impl Fn(u64) -> u64) -> String {
        let mut text = format!(
            "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n#EXT-X-SERVER-CONTROL:CAN-SKIP-UNTIL=12.0\n\
             #EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-DATERANGE:ID=\"a\"\n"
        );
        for msn in first..end {
            if msn % 9 == 0 {
                text.push_str("#EXT-X-DISCONTINUITY\n");
            }
            if msn % 9 == 0 || msn == first {
                text.push_str(&format!("#EXT-X-MAP:URI=\"{}.mp4\"\n", init(msn)));
            }
            if msn + 3 > end {
                text.push_str(&format!("#EXT-X-PART:DURATION=2.0,URI=\"{msn}.0.m4s\"\n"));
            }
            text.push_str(&format!("#EXTINF:2.0,\n{msn}.m4s\n"));
        }
        text + "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"x\"\n"
    }

    #[test]
    fn line_ends_stay_and_a_missing_version_is_added() {
        let full = playlist(&[""; 8]).replace("#EXT-X-VERSION:6\n", "").replace('\n', "\r\n");
        let text = delta_update(&full, 12.0).unwrap();
        assert!(text.starts_with("#EXTM3U\r\n#EXT-X-VERSION:9\r\n"), "{text}");
        assert!(text.contains("SKIPPED-SEGMENTS=2\r\n") && !text.replace("\r\n", "").contains('\n'), "{text}");
    }
}
