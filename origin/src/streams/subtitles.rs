//! Text of a publisher as WebVTT: of each track one file for each segment (RFC 8216bis, 3.1.4), and the same cues in MP4. Pure.

use super::stream::TextTrack;
use crate::ingest::Said;
use bytes::Bytes;
use media::Timescale;
use media::fmp4;
use std::collections::VecDeque;
use std::fmt::Write;
use std::ops::Range;
use std::time::Duration;

/// The text of an epoch. Times are milliseconds from its zero.
#[derive(Debug)]
pub(crate) struct Subtitles {
    tracks: Vec<Track>,
    tracks_max: usize,
    shown_max_ms: i64,
    /// The epoch's zero in the media's own time.
    zero_unix_ms: u64,
    /// Of the pictures, which these go with.
    timescale: Timescale,
    /// Up to where segments have been cut.
    cut_ms: i64,
}

#[derive(Debug)]
struct Track {
    track: TextTrack,
    cues: VecDeque<Cue>,
}

#[derive(Debug)]
struct Cue {
    start_ms: i64,
    end_ms: i64,
    /// Escaped; never an empty line.
    text: String,
}

/// A segment: its number, and where it is, in ticks of the pictures from the epoch's zero.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) msn: u64,
    pub(crate) ticks: Range<u64>,
}

/// A segment of a track.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) track: TextTrack,
    pub(crate) file: String,
    /// Where the track has a rendition of that.
    pub(crate) fragment: Option<Bytes>,
}

/// What became of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// As one of a track that is known, where it is not empty.
    Known,
    /// Of a track that nothing was said in before.
    New(TextTrack),
    /// There are as many tracks as there may be, or as many texts that wait.
    TooMany,
}

/// Texts of a track that are not over. More would not be read in a segment.
const CUES_MAX: usize = 64;

impl Subtitles {
    /// Of a stream of this name; `known` tracks are those of earlier epochs.
    pub(crate) fn new(
        config: &config::Subtitles,
        (stream, known): (&str, &[TextTrack]),
        (zero_unix_ms, timescale): (i64, Timescale),
    ) -> Self {
        let shown_max_ms = i64::try_from(config.shown_max.as_millis()).unwrap_or(i64::MAX);
        let track = |track: &TextTrack| Track { track: track.clone(), cues: VecDeque::new() };
        let mut known = known.to_vec();
        for expected in config.expected.iter().filter(|expected| expected.streams.cover(stream)) {
            let name = name(expected.language.as_deref(), expected.track);
            if known.len() < config.tracks_max && known.iter().all(|track| track.name != name) {
                known.push(TextTrack::new(name, expected.language.clone()));
            }
        }
        Self {
            tracks: known.iter().map(track).collect(),
            tracks_max: config.tracks_max,
            shown_max_ms,
            zero_unix_ms: zero_unix_ms.max(0) as u64,
            timescale,
            cut_ms: 0,
        }
    }

    /// Takes a text that is said at `at_ms`: it is shown until the next of its track, or as long as is configured. An empty
    /// one ends what is shown.
    pub(crate) fn said(&mut self, said: &Said, at_ms: i64) -> Taken {
        let name = name(said.language.as_deref(), said.track);
        let known = self.tracks.iter().position(|track| track.track.name == name);
        let text = escaped(&said.text);
        let (index, shown) = match known {
            Some(index) => (index, Taken::Known),
            None if self.tracks.len() >= self.tracks_max => return Taken::TooMany,
            None => {
                let track = TextTrack::new(name, said.language.clone());
                self.tracks.push(Track { track: track.clone(), cues: VecDeque::new() });
                (self.tracks.len() - 1, Taken::New(track))
            }
        };
        let start_ms = at_ms.max(self.cut_ms);
        let cues = &mut self.tracks[index].cues;
        // What would have come after it comes no more: an encoder that sets its clock back says everything anew.
        cues.retain(|cue| cue.start_ms < start_ms);
        cues.iter_mut().for_each(|cue| cue.end_ms = cue.end_ms.min(start_ms));
        if cues.len() >= CUES_MAX {
            return Taken::TooMany;
        }
        if !text.is_empty() {
            cues.push_back(Cue { start_ms, end_ms: at_ms.saturating_add(self.shown_max_ms), text });
        }
        shown
    }

    pub(crate) fn tracks(&self) -> impl Iterator<Item = &TextTrack> {
        self.tracks.iter().map(|track| &track.track)
    }

    /// Cuts the next segment. What lasts longer than it is in the one after it again.
    pub(crate) fn segment(&mut self, span: &Span) -> Vec<Cut> {
        let end_ms = (self.timescale.seconds(span.ticks.end as i64) * 1000.0).round() as i64;
        let begin_ms = std::mem::replace(&mut self.cut_ms, end_ms);
        // Ticks of 90 kHz as far as 33 bits go. They begin anew every day and a bit: each segment says where it is.
        let mpegts = ((self.zero_unix_ms + begin_ms.max(0) as u64) * 90) & MPEGTS_MASK;
        let head = format!("WEBVTT\nX-TIMESTAMP-MAP=LOCAL:{},MPEGTS:{mpegts}\n", clock(begin_ms));
        let (timescale, zero) = (self.timescale, self.timescale.ticks_of_ms(self.zero_unix_ms as i64).max(0) as u64);
        let cuts = self.tracks.iter_mut().map(|Track { track, cues }| {
            let mut file = head.clone();
            for cue in cues.iter() {
                let (start_ms, end_ms) = (cue.start_ms.max(begin_ms), cue.end_ms.min(end_ms));
                if start_ms < end_ms {
                    let (start, end) = (clock(start_ms), clock(end_ms));
                    // A String takes whatever it is given.
                    let _ = write!(file, "\n{start} --> {end}\n{}\n", cue.text);
                }
            }
            let ticks = |ms: i64| zero + timescale.ticks_of_ms(ms.max(0)) as u64;
            let said = cues.iter().map(|cue| fmp4::Cue {
                shown: ticks(cue.start_ms)..ticks(cue.end_ms),
                text: cue.text.as_str(),
                // Anything will do that no other cue has nearby.
                source_id: (cue.start_ms < begin_ms || cue.end_ms > end_ms).then_some(cue.start_ms as u32),
            });
            let said: Vec<_> = said.collect();
            let whole = zero + span.ticks.start..zero + span.ticks.end;
            // Its ticks fit, as segments last seconds.
            let fragment = || fmp4::text_fragment(span.msn as u32, whole, &said).ok();
            let fragment = if track.has_fragments { fragment() } else { None };
            cues.retain(|cue| cue.end_ms > end_ms);
            Cut { track: track.clone(), file, fragment }
        });
        cuts.collect()
    }

    /// Begins at another segment than the first, which another origin has made.
    pub(crate) fn join(&mut self, at: Duration) {
        self.cut_ms = i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
    }
}

/// 33 bits, as PES time stamps have.
const MPEGTS_MASK: u64 = (1 << 33) - 1;

/// `text`, `text-eng`, `text-99` or `text-eng-99`: a step of a path.
fn name(language: Option<&str>, track: Option<u32>) -> String {
    let mut name = "text".to_owned();
    if let Some(language) = language {
        name = format!("{name}-{}", language.to_ascii_lowercase());
    }
    if let Some(track) = track {
        name = format!("{name}-{track}");
    }
    name
}

/// WebVTT, 4.2.2: no tags, no arrow, no empty line, nothing that is not shown.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split(['\r', '\n', '\u{2028}', '\u{2029}']).map(str::trim).filter(|line| !line.is_empty()) {
        if !out.is_empty() {
            out.push('\n');
        }
        for c in line.chars() {
            match c {
                '&' => out.push_str("&amp;"),
                '<' => out.push_str("&lt;"),
                '>' => out.push_str("&gt;"),
                '\t' => out.push(' '),
                c if c.is_control() || c == '\u{feff}' => {}
                c => out.push(c),
            }
        }
    }
    // A line of characters that are not shown is empty by now.
    if out.split('\n').any(|line| line.trim().is_empty()) {
        out = out.split('\n').filter(|line| !line.trim().is_empty()).collect::<Vec<_>>().join("\n");
    }
    out
}

fn clock(ms: i64) -> String {
    let ms = ms.max(0);
    let (h, m, s) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{h:02}:{m:02}:{s:02}.{:03}", ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZERO_MS: i64 = 1_795_226_400_500;

    const TIMESCALE: Timescale = Timescale(30_000);

    fn subtitles() -> Subtitles {
        let config = config::Subtitles { tracks_max: 2, shown_max: Duration::from_secs(5), expected: Vec::new() };
        Subtitles::new(&config, ("a", &[]), (ZERO_MS, TIMESCALE))
    }

    /// The next segment, up to `end_ms`.
    fn cut(subtitles: &mut Subtitles, end_ms: i64) -> Vec<Cut> {
        let [begin, end] = [subtitles.cut_ms, end_ms].map(|ms| TIMESCALE.ticks_of_ms(ms) as u64);
        subtitles.segment(&Span { msn: 7, ticks: begin..end })
    }

    fn said(text: &str) -> Said {
        Said { at_ms: 0, track: None, language: None, text: text.to_owned() }
    }

    /// The cues of the only track's next segment.
    fn cues(subtitles: &mut Subtitles, end_ms: i64) -> String {
        let begin_ms = subtitles.cut_ms;
        let cuts = cut(subtitles, end_ms);
        let file = &cuts[0].file;
        let (head, cues) = file.split_once("\n\n").unwrap_or_else(|| (file.trim_end(), ""));
        let mpegts = ((ZERO_MS + begin_ms) as u64 * 90) % (1 << 33);
        assert_eq!(head, format!("WEBVTT\nX-TIMESTAMP-MAP=LOCAL:{},MPEGTS:{mpegts}", clock(begin_ms)));
        cues.to_owned()
    }

    #[test]
    fn a_text_is_shown_until_the_next_or_as_long_as_is_configured() {
        let mut subtitles = subtitles();
        let track = TextTrack::new("text".to_owned(), None);
        assert_eq!(subtitles.said(&said("one"), 500), Taken::New(track));
        assert_eq!(subtitles.said(&said("two"), 1500), Taken::Known);
        let first = "00:00:00.500 --> 00:00:01.500\none\n\n00:00:01.500 --> 00:00:02.000\ntwo\n";
        assert_eq!(cues(&mut subtitles, 2000), first);
        assert_eq!(cues(&mut subtitles, 4000), "00:00:02.000 --> 00:00:04.000\ntwo\n");
        assert_eq!(cues(&mut subtitles, 6000), "00:00:04.000 --> 00:00:06.000\ntwo\n");
        assert_eq!(cues(&mut subtitles, 8000), "00:00:06.000 --> 00:00:06.500\ntwo\n");
        assert_eq!(cues(&mut subtitles, 10_000), "");
    }

    #[test]
    fn an_empty_text_ends_what_is_shown() {
        let mut subtitles = subtitles();
        subtitles.said(&said("one"), 0);
        subtitles.said(&said(" \r\n "), 1000);
        assert_eq!(cues(&mut subtitles, 2000), "00:00:00.000 --> 00:00:01.000\none\n");
        assert_eq!(cues(&mut subtitles, 4000), "");
    }

    #[test]
    fn what_comes_late_or_twice_is_shown_in_what_is_still_to_be_cut() {
        let mut subtitles = subtitles();
        subtitles.said(&said("a"), 100);
        subtitles.said(&said("b"), 100);
        assert_eq!(cues(&mut subtitles, 2000), "00:00:00.100 --> 00:00:02.000\nb\n");
        subtitles.said(&said("late"), 1500);
        assert_eq!(cues(&mut subtitles, 4000), "00:00:02.000 --> 00:00:04.000\nlate\n");
    }

    #[test]
    fn a_text_cannot_break_out_of_its_cue() {
        for (text, expected) in [
            ("a --> b", "a --&gt; b"),
            ("<c>&amp;", "&lt;c&gt;&amp;amp;"),
            ("one\n\n\n00:00 --> 99:99\ntwo", "one\n00:00 --&gt; 99:99\ntwo"),
            ("NOTE\u{0}\u{7}x\u{2028}y", "NOTEx\ny"),
            ("a\n\u{1}\nb", "a\nb"),
            ("\u{feff}WEBVTT", "WEBVTT"),
        ] {
            assert_eq!(escaped(text), expected, "{text:?}");
        }
    }

    #[test]
    fn tracks_and_texts_are_bounded() {
        let mut subtitles = subtitles();
        let of = |language: &str| Said { language: Some(language.to_owned()), ..said("x") };
        assert!(matches!(subtitles.said(&of("en"), 0), Taken::New(track) if track.name == "text-en"));
        assert!(
            matches!(subtitles.said(&Said { track: Some(7), ..of("de") }, 0), Taken::New(track) if track.name == "text-de-7")
        );
        assert_eq!(subtitles.said(&of("fr"), 0), Taken::TooMany);
        for ms in 1..10_000 {
            subtitles.said(&of("en"), ms);
        }
        assert_eq!(subtitles.said(&of("en"), 10_000), Taken::TooMany);
        assert_eq!(cut(&mut subtitles, 2000)[0].file.matches(" --> ").count(), CUES_MAX);
        assert_eq!(subtitles.said(&of("en"), 10_000), Taken::Known, "there is room again");
    }

    #[test]
    fn the_same_cues_are_in_fragments_for_as_long() {
        let mut subtitles = subtitles();
        subtitles.said(&said("a < b"), 500);
        subtitles.said(&said(""), 2500);
        for (begin_ms, end_ms, shown) in [(0, 2000, 500..2000), (2000, 4000, 2000..2500), (4000, 6000, 0..0)] {
            let cuts = cut(&mut subtitles, end_ms);
            let ticks = |ms: i64| TIMESCALE.ticks_of_ms(ZERO_MS + ms) as u64;
            let cue = fmp4::Cue { shown: ticks(shown.start)..ticks(shown.end), text: "a &lt; b", source_id: Some(500) };
            let expected = fmp4::text_fragment(7, ticks(begin_ms)..ticks(end_ms), &[cue]).unwrap();
            assert_eq!(cuts[0].fragment.as_ref(), Some(&expected), "{begin_ms}");
        }
        let old = TextTrack { has_fragments: false, ..TextTrack::new("text".to_owned(), None) };
        let config = config::Subtitles { tracks_max: 2, shown_max: Duration::from_secs(5), expected: Vec::new() };
        let mut subtitles = Subtitles::new(&config, ("a", &[old]), (ZERO_MS, TIMESCALE));
        assert_eq!(cut(&mut subtitles, 2000)[0].fragment, None, "a journal of before knows no such rendition");
    }

    #[test]
    fn hours_have_as_many_digits_as_they_need() {
        assert_eq!(clock(3_723_004), "01:02:03.004");
        assert_eq!(clock(360_000_000), "100:00:00.000");
    }
}
