//! A copy of a long playlist that Delta Updates bring up to date: what they leave out is kept in chunks that all versions
//! share, so that a version costs what is new in it. Pure.

use super::{State, is_of_playlist, media_sequence, segments};
use crate::follow::{self, Class, Media, Object};
use std::collections::{HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

/// The whole segments of a media playlist, as they were written last.
#[derive(Debug)]
pub struct Replica {
    first_msn: u64,
    /// EXT-X-KEY and EXT-X-MAP that hold where the first segment begins, and where the last settled one ends.
    front: String,
    back: String,
    /// What updates leave out by now.
    settled: Rope,
    /// Each EXT-X-MAP in there: its segment and its URI.
    maps: VecDeque<(u64, String)>,
    /// The segments behind.
    tail: Vec<String>,
}

/// A Delta Update that fits a [`Replica`], as upstream wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    pub text: String,
    /// With the objects that it lists, but for an init section that it only names again.
    pub media: Media,
    /// Up to EXT-X-SKIP.
    header: Range<usize>,
    /// What is behind that, without what was said already.
    rest: String,
    blocks: Vec<String>,
    gone: usize,
    /// How many segments of the tail settle.
    settles: usize,
}

/// What an update changed.
#[derive(Debug)]
pub struct Change {
    pub full: Full,
    /// URIs that updates do not list any more, and the whole playlist does.
    pub settled: Vec<String>,
    /// URIs that it does not list any more either.
    pub left: Vec<String>,
}

/// A whole playlist that is put together when somebody wants it.
#[derive(Clone, Debug, Default)]
pub struct Full {
    head: String,
    chunks: Vec<Arc<Chunk>>,
    /// Where the first chunk begins to be of use.
    from: usize,
    open: String,
    rest: String,
}

impl Replica {
    /// `None` of a playlist that cannot be known by what is new in it.
    pub fn of(full: &str) -> Option<Self> {
        let tail = blocks(full, false)?;
        if !stand_alone(&tail) {
            return None;
        }
        let first_msn = media_sequence(full)?;
        let (front, back) = (String::new(), String::new());
        Some(Self { first_msn, front, back, settled: Rope::default(), maps: VecDeque::new(), tail })
    }

    /// Reads a Delta Update; `None` for one of another playlist, or one that says again what an earlier one left out.
    pub fn read(&self, delta: &str) -> Option<Update> {
        // Within a line it is somebody's comment.
        let skip_at = delta.find("\n#EXT-X-SKIP:")? + 1;
        let rest_at = skip_at + delta[skip_at..].find('\n')? + 1;
        // What is removed of the metadata is not asked for, as that is `v2` (4.4.5.2.1).
        if delta[skip_at..rest_at].contains("RECENTLY-REMOVED-DATERANGES") {
            return None;
        }
        let mut media = follow::read_update(delta).ok()?;
        let gone = usize::try_from(media.first_msn.checked_sub(self.first_msn)?).ok()?;
        let boundary = gone.checked_add(usize::try_from(media.skipped).ok()?)?;
        let settles = boundary.checked_sub(self.settled.len).filter(|&settles| settles <= self.tail.len())?;
        let mut state = State::default();
        self.back.split_inclusive('\n').for_each(|line| state.see(line));
        self.tail[..settles].iter().flat_map(|block| block.split_inclusive('\n')).for_each(|line| state.see(line));
        let rest = without_known(&delta[rest_at..], &state);
        media.objects = follow::read_update(&format!("{}{rest}", &delta[..rest_at])).ok()?.objects;
        let blocks = blocks(&rest, true)?;
        // One that calls a segment otherwise is of another life of the stream; one that calls none again may be.
        let mut common = self.tail[settles..].iter().zip(&blocks).peekable();
        let same = common.peek().is_some() && common.all(|(before, now)| name(before) == name(now));
        let says_time = |blocks: &[String]| blocks.first().map(|block| says_time(block));
        let alike = stand_alone(&blocks) && says_time(&blocks) == says_time(&self.tail);
        (same && alike && media.skipped > 0).then(|| Update {
            text: delta.to_owned(),
            media,
            header: 0..skip_at,
            rest,
            blocks,
            gone,
            settles,
        })
    }

    /// How long the whole playlist is about to be, in bytes.
    pub fn length(&self, update: &Update) -> usize {
        let settling: usize = self.tail[..update.settles.min(self.tail.len())].iter().map(String::len).sum();
        self.settled.bytes + settling + update.text.len()
    }

    /// Takes in what [`Replica::read`] has read.
    pub fn apply(&mut self, update: &Update) -> Change {
        let before: Vec<String> = self.front_map().into_iter().collect();
        let (mut settled, mut left) = (Vec::new(), Vec::new());
        let mut gone_maps = before;
        for block in self.tail.drain(..update.settles) {
            let msn = self.first_msn + self.settled.len as u64;
            for Object { class, uri, .. } in objects(&block) {
                if class == Class::Init {
                    self.maps.push_back((msn, uri.clone()));
                }
                settled.push(uri);
            }
            self.back = with(&self.back, &block);
            self.settled.push(&block);
        }
        for _ in 0..update.gone {
            let Some(block) = self.settled.pop() else { break };
            let named = objects(&block).into_iter().filter(|object| object.class != Class::Init);
            left.extend(named.map(|object| object.uri));
            self.front = with(&self.front, &block);
            self.first_msn += 1;
        }
        while self.maps.front().is_some_and(|(msn, _)| *msn < self.first_msn) {
            gone_maps.extend(self.maps.pop_front().map(|(_, uri)| uri));
        }
        self.tail.clone_from(&update.blocks);
        let front = self.front_map();
        let listed: HashSet<&str> = update.media.objects.iter().map(|object| object.uri.as_str()).collect();
        let is_named = |uri: &String| {
            front.as_ref() == Some(uri) || listed.contains(uri.as_str()) || self.maps.iter().any(|(_, map)| map == uri)
        };
        left.extend(gone_maps.into_iter().filter(|uri| !is_named(uri)));
        Change { full: self.full(update), settled, left }
    }

    fn full(&self, update: &Update) -> Full {
        let mut head = update.text[update.header.clone()].to_owned();
        if self.says_map_first() {
            let mut state = State::default();
            self.front.split_inclusive('\n').for_each(|line| state.see(line));
            state.keys.iter().for_each(|key| head.push_str(key));
        } else {
            head.push_str(&self.front);
        }
        let (chunks, from, open) = self.settled.pieces();
        Full { head, chunks, from, open, rest: update.rest.clone() }
    }

    /// The init section that has to be named before the first segment.
    fn front_map(&self) -> Option<String> {
        if self.says_map_first() {
            return None;
        }
        objects(&self.front).into_iter().next().map(|object| object.uri)
    }

    fn says_map_first(&self) -> bool {
        self.settled
            .first()
            .is_some_and(|block| block.split_inclusive('\n').any(|line| line.starts_with("#EXT-X-MAP:")))
    }
}

impl Full {
    pub fn text(&self) -> String {
        let chunks: usize = self.chunks.iter().map(|chunk| chunk.text.len()).sum();
        let mut text = String::with_capacity(self.head.len() + chunks + self.open.len() + self.rest.len());
        text.push_str(&self.head);
        for (index, chunk) in self.chunks.iter().enumerate() {
            text.push_str(&chunk.text[if index == 0 { self.from } else { 0 }..]);
        }
        text.push_str(&self.open);
        text.push_str(&self.rest);
        text
    }
}

/// The lines of each whole segment, as they are once its parts are listed no more. `begun`: the text is behind EXT-X-SKIP.
fn blocks(text: &str, begun: bool) -> Option<Vec<String>> {
    let kept = |line: &&str| !line.starts_with("#EXT-X-PART:") && !is_of_playlist(line);
    let segments = segments(text, begun)?.into_iter();
    Some(
        segments.map(|segment| text[segment.start..segment.end].split_inclusive('\n').filter(kept).collect()).collect(),
    )
}

/// Whether each can be the first of a playlist: a range that continues another, a bit rate and a time that are said once hold
/// for segments behind that do not say them.
fn stand_alone(blocks: &[String]) -> bool {
    let first_says_time = blocks.first().is_some_and(|block| says_time(block));
    blocks.iter().all(|block| {
        let leans = |line: &str| {
            line.starts_with("#EXT-X-BITRATE:") || (line.starts_with("#EXT-X-BYTERANGE:") && !line.contains('@'))
        };
        says_time(block) == first_says_time && !block.lines().any(leans)
    })
}

fn says_time(block: &str) -> bool {
    block.lines().any(|line| line.starts_with("#EXT-X-PROGRAM-DATE-TIME:"))
}

/// What a block names.
fn objects(block: &str) -> Vec<Object> {
    let text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n{block}");
    follow::read_update(&text).map(|media| media.objects).unwrap_or_default()
}

/// The lines that hold behind a block, where `before` hold before it.
fn with(before: &str, block: &str) -> String {
    let says = |line: &str| line.starts_with("#EXT-X-MAP:") || line.starts_with("#EXT-X-KEY:");
    if !block.split_inclusive('\n').any(says) {
        return before.to_owned();
    }
    let mut state = State::default();
    before.split_inclusive('\n').chain(block.split_inclusive('\n')).for_each(|line| state.see(line));
    state.lines().collect()
}

/// What is behind EXT-X-SKIP, without the lines that only say again what holds there.
fn without_known(rest: &str, state: &State<'_>) -> String {
    let all: Vec<&str> = state.lines().collect();
    let begins: Vec<&str> = rest.split_inclusive('\n').filter(|line| !is_of_playlist(line)).take(all.len()).collect();
    // Whoever says less than all says what holds now.
    let (known, mut left) = if begins == all { (all.clone(), all.len()) } else { (state.now(), usize::MAX) };
    let is_news = |line: &&str| {
        if left == 0 || is_of_playlist(line) {
            return true;
        }
        let is_known = known.contains(line);
        left = if is_known { left - 1 } else { 0 };
        !is_known
    };
    rest.split_inclusive('\n').filter(is_news).collect()
}

/// What a segment is called. Tokens in the query may differ from one text to the next.
fn name(block: &str) -> Option<&str> {
    block.lines().last()?.split('?').next()
}

/// Blocks of text, added at the end and taken off the beginning.
#[derive(Debug, Default)]
struct Rope {
    /// Full ones.
    chunks: VecDeque<Arc<Chunk>>,
    open: Chunk,
    /// Blocks that are taken off the first chunk.
    gone: usize,
    /// In blocks.
    len: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Chunk {
    text: String,
    /// Where each block ends.
    ends: Vec<usize>,
}

/// Blocks of a chunk. What each version copies is less than one; two hours are some sixty.
const BLOCKS: usize = 64;

impl Rope {
    fn push(&mut self, block: &str) {
        self.open.text.push_str(block);
        self.open.ends.push(self.open.text.len());
        self.len += 1;
        self.bytes += block.len();
        if self.open.ends.len() == BLOCKS {
            self.chunks.push_back(Arc::new(std::mem::take(&mut self.open)));
        }
    }

    fn pop(&mut self) -> Option<String> {
        let block = self.first()?.to_owned();
        self.gone += 1;
        self.len -= 1;
        self.bytes -= block.len();
        match self.chunks.front() {
            Some(first) if first.ends.len() == self.gone => {
                self.chunks.pop_front();
                self.gone = 0;
            }
            None if self.open.ends.len() == self.gone => *self = Self::default(),
            _ => {}
        }
        Some(block)
    }

    fn first(&self) -> Option<&str> {
        let chunk = self.chunks.front().map_or(&self.open, |first| first);
        Some(&chunk.text[chunk.start(self.gone)..*chunk.ends.get(self.gone)?])
    }

    /// Its chunks, where the first of them begins, and what is behind them.
    fn pieces(&self) -> (Vec<Arc<Chunk>>, usize, String) {
        let start = self.chunks.front().map_or(&self.open, |first| first).start(self.gone);
        let (from, open) = if self.chunks.is_empty() { (0, start) } else { (start, 0) };
        (self.chunks.iter().cloned().collect(), from, self.open.text[open..].to_owned())
    }
}

impl Chunk {
    fn start(&self, block: usize) -> usize {
        block.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |&end| end)
    }
}

#[cfg(test)]
mod tests {
    use super::super::delta_update;
    use super::super::tests::{moving, moving_within};
    use super::*;

    fn names(text: &str) -> HashSet<String> {
        let media = follow::read_update(text).unwrap();
        media.objects.into_iter().map(|object| object.uri).collect()
    }

    /// Brings a copy up to date from one text to the next; how many steps were taken by an update.
    fn follow(texts: impl Iterator<Item = String>) -> usize {
        follow_as(texts, str::to_owned)
    }

    /// The same where texts may say what they mean in several ways.
    fn follow_as<T: PartialEq + std::fmt::Debug>(
        mut texts: impl Iterator<Item = String>,
        meaning: impl Fn(&str) -> T,
    ) -> usize {
        let before = texts.next().unwrap();
        let mut replica = Replica::of(&before).unwrap();
        let (mut named, mut listed, mut steps) = (names(&before), names(&before), 0);
        for after in texts {
            let delta = delta_update(&after, 12.0).unwrap();
            let update = replica.read(&delta).unwrap();
            let length = replica.length(&update);
            let change = replica.apply(&update);
            assert_eq!(meaning(&change.full.text()), meaning(&after));
            assert!((after.len()..after.len() + 4096).contains(&length), "{length} for {}", after.len());
            let now: HashSet<String> = update.media.objects.iter().map(|object| object.uri.clone()).collect();
            listed.retain(|uri| !now.contains(uri) && !change.settled.contains(uri));
            named.retain(|uri| !listed.contains(uri) && !change.left.contains(uri));
            named.extend(now.iter().cloned());
            assert_eq!(named, names(&after));
            let media = match follow::read(&after).unwrap() {
                follow::Followed::Media(media) => media,
                follow::Followed::Multivariant(_) => unreachable!(),
            };
            assert_eq!((update.media.head, update.media.first_msn), (media.head, media.first_msn));
            (listed, steps) = (now, steps + 1);
        }
        steps
    }

    #[test]
    fn a_copy_that_is_brought_up_to_date_is_the_playlist_and_knows_its_names() {
        for first in [0, 3, 8] {
            assert_eq!(follow((0..400).map(|step| moving(first + step, first + 40 + step / 3 * 3))), 399);
        }
        // A window that grows beyond some chunks, moves, and shrinks.
        let first = |step: u64| step.saturating_sub(250) + step.saturating_sub(500) * 3 / 2;
        assert_eq!(follow((0..580).map(|step| moving(first(step), 20 + step))), 579);
    }

    #[test]
    fn an_init_section_that_comes_again_stays_named() {
        let texts = (0..200).map(|step| moving_within(step, 40 + step, |msn| msn / 9 % 2));
        assert_eq!(follow(texts), 199);
    }

    #[test]
    fn an_update_that_does_not_fit_is_none() {
        let mut replica = Replica::of(&moving(0, 60)).unwrap();
        let update = |first: u64, end: u64| delta_update(&moving(first, end), 12.0).unwrap();
        let next = replica.read(&update(1, 61)).unwrap();
        replica.apply(&next);
        for (first, end) in [(0, 61), (1, 58), (80, 140), (62, 122)] {
            assert_eq!(replica.read(&update(first, end)), None, "{first} to {end}");
        }
        let other = update(2, 62).replace("60.m4s", "other.m4s");
        assert_eq!(replica.read(&other), None, "it calls a segment otherwise");
        assert_eq!(replica.read(&update(30, 67)), None, "it calls no segment again");
        let removed =
            update(2, 62).replace("SKIPPED-SEGMENTS=54", "SKIPPED-SEGMENTS=54,RECENTLY-REMOVED-DATERANGES=\"\"");
        assert!(removed.contains("RECENTLY") && replica.read(&removed).is_none());
        for text in ["", "#EXT-X-SKIP:", "#EXTM3U\n#EXT-X-SKIP:SKIPPED-SEGMENTS=1\n", &moving(2, 62)] {
            assert_eq!(replica.read(text), None, "{text}");
        }
        assert!(replica.read(&update(2, 62)).is_some());
    }

    #[test]
    fn keys_and_cues_stay_where_they_hold() {
        let text = |first: u64| {
            let mut text = format!(
                "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n#EXT-X-SERVER-CONTROL:CAN-SKIP-UNTIL=12.0\n\
                 #EXT-X-MEDIA-SEQUENCE:{first}\n"
            );
            for msn in first..first + 40 {
                if msn % 5 == 0 || msn == first {
                    text.push_str(&format!("#EXT-X-KEY:METHOD=AES-128,URI=\"{}\"\n", msn / 5));
                }
                if msn % 7 == 0 || msn == first {
                    text.push_str(&format!("#EXT-X-MAP:URI=\"{}.mp4\"\n", msn / 7));
                }
                text.push_str(&format!("#X-CUE:{msn}\n#EXTINF:2.0,\n{msn}.m4s\n"));
            }
            text
        };
        // Of each segment: its key, its init section, and its own lines.
        let meaning = |text: &str| {
            let (mut key, mut map, mut segments, mut own) = ("", "", Vec::new(), Vec::new());
            for line in text.lines().skip_while(|line| !line.starts_with("#EXT-X-MEDIA-SEQUENCE")).skip(1) {
                match line.split_once(':').map_or(line, |(tag, _)| tag) {
                    "#EXT-X-KEY" => key = line,
                    "#EXT-X-MAP" => map = line,
                    _ if line.starts_with('#') => own.push(line.to_owned()),
                    _ => segments.push([key, map, line].map(str::to_owned).into_iter().chain(own.drain(..)).collect()),
                }
            }
            let segments: Vec<Vec<String>> = segments;
            segments
        };
        assert_eq!(
            meaning(&text(3))[3],
            ["#EXT-X-KEY:METHOD=AES-128,URI=\"1\"", "#EXT-X-MAP:URI=\"0.mp4\"", "6.m4s", "#X-CUE:6", "#EXTINF:2.0,"]
        );
        assert_eq!(follow_as((0..150).map(text), meaning), 149);
    }

    #[test]
    fn what_leans_on_segments_before_it_is_not_followed_by_updates() {
        let full = moving(0, 60);
        assert!(Replica::of(&full).is_some());
        for line in ["#EXT-X-BYTERANGE:10\n", "#EXT-X-BITRATE:800\n", "#EXT-X-PROGRAM-DATE-TIME:2026-11-21T00:00:00Z\n"]
        {
            let leaning = full.replacen("#EXTINF:2.0,\n30.m4s", &format!("{line}#EXTINF:2.0,\n30.m4s"), 1);
            assert!(Replica::of(&leaning).is_none(), "{line}");
            let mut delta = delta_update(&moving(1, 61), 12.0).unwrap();
            delta = delta.replacen("#EXTINF:2.0,\n60.m4s", &format!("{line}#EXTINF:2.0,\n60.m4s"), 1);
            assert_eq!(Replica::of(&full).unwrap().read(&delta), None, "{line}");
        }
    }
}
