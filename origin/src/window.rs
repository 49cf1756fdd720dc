//! The live window of one rendition: what its playlist shows, and the bytes behind every URL that still answers.
//!
//! Pure: `now` is passed in.

mod gaps;
mod memory;
mod playlist;
mod rendition;
mod rope;
mod segment;
mod sprites;
mod text;

pub(crate) use gaps::{Gaps, PartLength};
pub(crate) use memory::Memory;
pub(crate) use playlist::report;
pub(crate) use rendition::Rendition;
pub(crate) use segment::OnDisk;
pub(crate) use text::Text;

use crate::epoch::EpochId;
use crate::keys::{KeyName, Told, unhex};
use crate::medium::Medium;
use crate::segmenter::Part;
use bytes::Bytes;
use manifest::media::Tiles;
use manifest::{Head, Position};
use media::fmp4::protected_init;
use rope::Rope;
use segment::{Kept, Segment};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};
use transcode::Plan;

/// What never changes in the life of a stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shape {
    pub(crate) medium: Medium,
    /// How much media the playlist shows, in seconds.
    pub(crate) length_s: f64,
    /// How much of that stays in memory though it is on disk.
    pub(crate) memory_s: f64,
    pub(crate) target_duration_s: u64,
    pub(crate) part_target_s: f64,
}

/// Apple's authoring rules, 8.11: in target durations. Less than three would break RFC 8216bis, 6.2.2.
const LENGTH_TARGETS_MIN: u64 = 6;

impl Shape {
    pub(crate) fn of(plan: &Plan, medium: Medium, (length, memory): (Duration, Duration)) -> Self {
        let target_duration_s = plan.target_duration_s;
        let least_s = (LENGTH_TARGETS_MIN * target_duration_s) as f64;
        let [length_s, memory_s] = [length, memory].map(|length| length.as_secs_f64().max(least_s));
        let part_target_s = plan.part_target.as_secs_f64();
        Self { medium, length_s, memory_s, target_duration_s, part_target_s }
    }

    /// No window is shorter for want of memory, in seconds.
    fn least_s(&self) -> f64 {
        (LENGTH_TARGETS_MIN * self.target_duration_s) as f64
    }
}

/// What all segments of an epoch share.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EpochStart {
    pub(crate) id: EpochId,
    /// Discontinuities of the stream up to here: the same in every rendition, whenever that joined (RFC 8216bis, 6.2.1).
    pub(crate) discontinuities: u64,
    pub(crate) first_msn: u64,
    /// The first segment that is made here: `first_msn`, but where another origin made some of the epoch before.
    pub(crate) joined_msn: u64,
    /// Wall clock of the epoch's zero, in Unix milliseconds.
    pub(crate) zero_unix_ms: i64,
    pub(crate) segment_s: f64,
    /// In the clear.
    pub(crate) init: Bytes,
    /// What is in its images, where those are what segments are.
    pub(crate) tiles: Option<Tiles>,
    /// What players are told of keys, where segments are encrypted.
    pub(crate) told: Option<Arc<Told>>,
}

#[derive(Debug)]
pub(crate) struct Window {
    shape: Shape,
    /// Whole segments, oldest first; their numbers have no holes.
    segments: VecDeque<Segment>,
    /// The first of them are out of the playlist, but still answered until then: a client may just have read the last
    /// playlist with them.
    leaving: VecDeque<Instant>,
    /// The lines of those that are listed, but for the last, which still change.
    lines: Rope,
    /// The same of the I-frame playlist, all of them; `None` for a rendition without pictures.
    frames: Option<Rope>,
    /// The segment that is being made; absent between two epochs.
    open: Option<Segment>,
    /// What would have been a segment when its epoch broke off without a part: a gap, if other renditions have one there.
    vacant: Option<Segment>,
    /// How long the playlist is without the open segment, and how long the longest was, in seconds.
    listed_s: f64,
    longest_s: f64,
    /// The number of the open segment, or of the next one.
    next_msn: u64,
    memory: Memory,
    /// Of media held.
    bytes: usize,
    /// Segments before this one leave the memory once they are on disk; the others last so long.
    memory_from: u64,
    memory_s: f64,
    /// Nothing comes for now; see [`Window::pause`].
    is_paused: bool,
    /// It was shortened for want of memory, and has not grown to its length since.
    is_short: bool,
    ended: bool,
    news: Vec<News>,
}

/// What the disk is to know.
#[derive(Debug)]
pub(crate) enum News {
    /// A segment that will not change.
    Whole {
        epoch: EpochId,
        msn: u64,
        pieces: Vec<Bytes>,
        duration_s: f64,
        picture_end: Option<u64>,
        key: Option<KeyName>,
    },
    /// A segment that is answered no more, though it is on disk, and when it began.
    Gone { epoch: EpochId, msn: u64, unix_ms: i64 },
}

/// A resource of a rendition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// For media in the clear, or under the key of this id.
    Init(Option<[u8; 16]>),
    Segment(u64),
    Part(Position),
}

/// What is known of a resource now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Lookup {
    /// Its bytes, in pieces.
    Found(Vec<Bytes>),
    /// It is in the file of this segment, here, and so many parts make that.
    OnDisk {
        msn: u64,
        range: Range<u64>,
        parts: usize,
    },
    /// The part that the playlist hints at: it will come.
    Hinted,
    /// The pieces so far of the segment that is being made, or of the one after it: more will come.
    Growing(Vec<Bytes>),
    /// It would be behind the last segment of an epoch that has just ended: who has an MPD of before asks for it.
    Over,
    Unknown,
}

impl Name {
    /// The last step of a URL: `{msn}.{extension}` with the medium's extension, and where it is fragmented `init.mp4` and
    /// `{msn}.{part}.m4s`. Numbers have one spelling.
    pub(crate) fn from_file(file: &str, medium: Medium) -> Option<Self> {
        if let Some(of) = file.strip_prefix("init").and_then(|rest| rest.strip_suffix(".mp4")) {
            let key = if of.is_empty() { None } else { Some(unhex(of.strip_prefix('.')?)?) };
            return medium.has_init().then_some(Self::Init(key));
        }
        let stem = file.strip_suffix(medium.extension())?.strip_suffix('.')?;
        match stem.split_once('.') {
            None => Some(Self::Segment(number(stem)?)),
            Some(_) if !medium.has_parts() => None,
            Some((msn, part)) => Some(Self::Part(Position { msn: number(msn)?, part: number(part)?.try_into().ok()? })),
        }
    }
}

impl Window {
    pub(crate) fn new(shape: Shape, memory: Memory) -> Self {
        Self {
            shape,
            segments: VecDeque::new(),
            leaving: VecDeque::new(),
            lines: Rope::default(),
            frames: shape.medium.has_parts().then(Rope::default),
            open: None,
            vacant: None,
            listed_s: 0.0,
            longest_s: 0.0,
            next_msn: 0,
            memory,
            bytes: 0,
            memory_from: 0,
            memory_s: 0.0,
            is_paused: false,
            is_short: false,
            ended: false,
            news: Vec::new(),
        }
    }

    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    pub(crate) fn head(&self) -> Head {
        let parts = Segment::count;
        Head {
            next: Position { msn: self.next_msn, part: self.open.as_ref().map_or(0, parts) },
            last_parts: self.segments.back().map_or(0, parts),
            ended: self.ended,
        }
    }

    /// Whether there has ever been a part.
    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.open.as_ref().is_none_or(|open| open.parts.is_empty())
    }

    pub(crate) fn has_segment(&self) -> bool {
        !self.segments.is_empty()
    }

    /// The first segment that is listed, or will be.
    pub(crate) fn first_msn(&self) -> u64 {
        self.listed().next().map_or(self.next_msn, |first| first.msn)
    }

    /// When that begins, in Unix milliseconds; zero before there is any.
    pub(crate) fn first_unix_ms(&self) -> i64 {
        self.listed().next().or(self.open.as_ref()).map_or(0, Segment::unix_ms)
    }

    /// How much media of an epoch there was, up to the last whole segment; zero if that is of another.
    pub(crate) fn length(&self, epoch: EpochId) -> Duration {
        let last = self.segments.back().filter(|last| last.epoch.id == epoch);
        let seconds = last
            .map_or(0.0, |last| (last.msn - last.epoch.first_msn) as f64 * last.epoch.segment_s + last.duration_s());
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }

    /// How long the playlist is without the open segment, in seconds.
    pub(crate) fn listed_s(&self) -> f64 {
        self.listed_s
    }

    /// Bytes of media held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How far back viewers can seek, in seconds.
    pub(crate) fn depth_s(&self) -> f64 {
        if self.is_short { self.listed_s } else { self.shape.length_s }
    }

    /// What the disk is to know since it was asked last.
    pub(crate) fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// Begins an epoch, or goes on with it where another origin has it by now. A rendition that is behind the first number
    /// lists what it lacks as gaps.
    pub(crate) fn begin(&mut self, epoch: EpochStart, now: Instant) {
        match self.open.take_if(|open| open.epoch.id == epoch.id || open.msn + 1 < epoch.first_msn) {
            // The rest of it was made elsewhere: under its name there are other bytes than these.
            Some(open) => {
                self.free(open.weight());
                self.vacant = Some(Segment { parts: Vec::new(), missed: Vec::new(), ..open });
            }
            None => self.break_off(now),
        }
        if self.segments.is_empty() {
            self.next_msn = epoch.joined_msn;
        }
        let (first_msn, joined_msn) = (epoch.first_msn, epoch.joined_msn);
        let same = self
            .segments
            .back()
            .map(|last| &last.epoch)
            .filter(|last| last.id == epoch.id && last.discontinuities == epoch.discontinuities)
            // A rendition may have joined it later.
            .filter(|last| last.init == epoch.init)
            // Gaps keep another time than the epoch they are of.
            .filter(|last| (last.first_msn, last.zero_unix_ms) == (epoch.first_msn, epoch.zero_unix_ms));
        let epoch = same.map_or_else(|| Arc::new(epoch), Arc::clone);
        while self.next_msn < joined_msn {
            let gap = self.vacant.take().unwrap_or_else(|| self.gap(&epoch, first_msn));
            self.append(gap, now);
        }
        (self.vacant, self.is_paused) = (None, false);
        self.open = Some(Segment { discontinuity: self.breaks(&epoch), ..Segment::new(self.next_msn, epoch) });
    }

    /// Whether a segment of this epoch would follow one of another.
    fn breaks(&self, epoch: &EpochStart) -> bool {
        self.segments.back().is_some_and(|last| last.epoch.discontinuities != epoch.discontinuities)
    }

    /// Takes a segment of the open epoch that is on disk. Those before it that are not are gaps. False if it is of
    /// another epoch, or older than what is there.
    pub(crate) fn restore(
        &mut self,
        (epoch, msn): (EpochId, u64),
        (disk, key): (OnDisk, Option<KeyName>),
        now: Instant,
    ) -> bool {
        let Some(mut segment) = self.open.take_if(|open| open.epoch.id == epoch && open.msn <= msn) else {
            return false;
        };
        let epoch = Arc::clone(&segment.epoch);
        if self.segments.is_empty() {
            segment = Segment::new(msn, Arc::clone(&epoch));
        }
        while segment.msn < msn {
            let next = Segment::new(segment.msn + 1, Arc::clone(&epoch));
            self.append(std::mem::replace(&mut segment, next), now);
        }
        (segment.kept, segment.key) = (Kept::Disk(disk), key);
        self.append(segment, now);
        self.open = Some(Segment::new(msn + 1, epoch));
        true
    }

    /// A segment is on disk.
    pub(crate) fn stored(&mut self, epoch: EpochId, msn: u64) {
        let (from, ended) = (self.memory_from, self.ended);
        match self.index(epoch, msn) {
            Some(index) => {
                let segment = &mut self.segments[index];
                if matches!(segment.kept, Kept::Memory) {
                    segment.kept = Kept::Both;
                }
                if ended || msn < from {
                    let bytes = segment.leave_memory();
                    self.free(bytes);
                }
            }
            None => {
                // It began before all that is shown.
                let unix_ms = self.first_unix_ms();
                self.news.push(News::Gone { epoch, msn, unix_ms });
            }
        }
    }

    /// Adds the next part. One that is not next is not added: its URL would name other bytes than the playlist says.
    pub(crate) fn push(&mut self, part: Part, now: Instant) -> bool {
        let (next, follows_key) = (self.head().next, self.has_key_before());
        let Some(open) = self.open.as_mut().filter(|_| part.at == next) else { return false };
        let whole = part.ends_segment;
        self.bytes += part.bytes.len();
        self.memory.hold(part.bytes.len());
        (open.key, open.follows_key) = (part.key, follows_key);
        open.parts.push(part);
        if whole {
            let following = Segment::new(open.msn + 1, Arc::clone(&open.epoch));
            if let Some(segment) = self.open.replace(following) {
                self.append(segment, now);
            }
        }
        true
    }

    /// Adds a segment that comes whole. What should have come before it is listed as gaps.
    pub(crate) fn push_whole(&mut self, part: Part, now: Instant) -> bool {
        self.lack(Position { part: 0, ..part.at }, PartLength { s: part.duration_s, per_segment: 1 }, now);
        self.push(part, now)
    }

    /// Ends an epoch: what is open becomes a segment, whatever its length.
    pub(crate) fn break_off(&mut self, now: Instant) {
        match self.open.take() {
            Some(open) if open.parts.is_empty() => self.vacant = Some(Segment { missed: Vec::new(), ..open }),
            Some(open) => self.append(open, now),
            None => {}
        }
    }

    /// The end of the rendition: EXT-X-ENDLIST.
    pub(crate) fn end(&mut self, now: Instant) {
        self.break_off(now);
        self.ended = true;
        let bytes = self.segments.iter_mut().map(Segment::leave_memory).sum();
        self.free(bytes);
    }

    pub(crate) fn lookup(&self, epoch: EpochId, name: Name) -> Lookup {
        match name {
            Name::Init(key) => self.init(epoch, key).map_or(Lookup::Unknown, |init| Lookup::Found(vec![init])),
            Name::Segment(msn) => match self.whole(epoch, msn) {
                Some(segment) => match &segment.kept {
                    Kept::Disk(disk) => disk.found(msn, 0..disk.length()),
                    _ if segment.is_gap() => self.over(epoch, msn),
                    _ => Lookup::Found(segment.bytes()),
                },
                None => self.growing(epoch, msn),
            },
            Name::Part(at) => self.part(epoch, at),
        }
    }

    /// DASH clients ask for a segment when its first part should be there, by a clock that may be ahead of the source's.
    fn growing(&self, epoch: EpochId, msn: u64) -> Lookup {
        match self.open.as_ref().filter(|open| open.epoch.id == epoch && !self.is_paused) {
            Some(open) if open.msn == msn => Lookup::Growing(open.bytes()),
            Some(open) if open.msn + 1 == msn => Lookup::Growing(Vec::new()),
            Some(_) => Lookup::Unknown,
            None => self.over(epoch, msn),
        }
    }

    fn part(&self, epoch: EpochId, at: Position) -> Lookup {
        let open = self.open.as_ref().filter(|open| open.is(epoch, at.msn));
        if open.is_some() && !self.is_paused && at == self.head().next {
            return Lookup::Hinted;
        }
        let Some(segment) = open.or_else(|| self.whole(epoch, at.msn)) else { return Lookup::Unknown };
        if let Kept::Disk(disk) = &segment.kept {
            return disk.part(at.part).map_or(Lookup::Unknown, |range| disk.found(at.msn, range));
        }
        let part = segment.parts.get(at.part as usize);
        part.map_or(Lookup::Unknown, |part| Lookup::Found(vec![part.bytes.clone()]))
    }

    fn init(&self, epoch: EpochId, key: Option<[u8; 16]>) -> Option<Bytes> {
        let mut segments = self.open.iter().chain(self.segments.iter().rev());
        let of_key = |segment: &Segment| key.is_none() || segment.key.map(|key| key.id) == key;
        let segment = segments.find(|segment| segment.epoch.id == epoch && of_key(segment))?;
        let clear = Some(&segment.epoch.init).filter(|init| !init.is_empty())?;
        match segment.key.filter(|_| key.is_some()) {
            Some(KeyName { id, iv }) => protected_init(clear, id, iv).ok(),
            None => Some(clear.clone()),
        }
    }

    fn whole(&self, epoch: EpochId, msn: u64) -> Option<&Segment> {
        self.index(epoch, msn).map(|index| &self.segments[index])
    }

    fn index(&self, epoch: EpochId, msn: u64) -> Option<usize> {
        let index = usize::try_from(msn.checked_sub(self.segments.front()?.msn)?).ok()?;
        self.segments.get(index).filter(|segment| segment.is(epoch, msn)).map(|_| index)
    }

    /// Those that the playlist shows.
    fn listed(&self) -> impl DoubleEndedIterator<Item = &Segment> {
        self.segments.range(self.leaving.len()..)
    }

    /// Of the first segment that is listed, without its own EXT-X-DISCONTINUITY.
    fn discontinuity_sequence(&self) -> u64 {
        let first = self.listed().next().or(self.open.as_ref()).or(self.vacant.as_ref());
        first.map_or(0, |first| first.epoch.discontinuities.saturating_sub(u64::from(first.discontinuity)))
    }

    fn append(&mut self, mut segment: Segment, now: Instant) {
        segment.moved_ms = self.late_ms(&segment);
        if segment.is_gap() {
            // It has none of its own, and what comes after it is to say as little as can be.
            let last = self.segments.back().filter(|last| last.epoch.id == segment.epoch.id);
            segment.key = last.and_then(|last| last.key);
        }
        (segment.says_init, segment.follows_key) = (self.is_of_new_init(&segment), self.has_key_before());
        self.next_msn = segment.msn + 1;
        self.listed_s += segment.duration_s();
        self.memory_s += segment.duration_s();
        if self.segments.is_empty() {
            self.memory_from = segment.msn;
        }
        self.add_frame(&segment);
        if !segment.parts.is_empty() {
            let (epoch, msn, pieces) = (segment.epoch.id, segment.msn, segment.bytes());
            let (duration_s, picture_end, key) = (segment.duration_s(), segment.picture_end(), segment.key);
            self.news.push(News::Whole { epoch, msn, pieces, duration_s, picture_end, key });
        }
        self.segments.push_back(segment);
        self.settle_lines();
        // The new segment was in the playlist as parts while the oldest was still there.
        self.longest_s = self.longest_s.max(self.listed_s);
        while let Some(oldest) = self.segments.get(self.leaving.len()).map(Segment::duration_s)
            && self.listed_s - oldest >= self.shape.length_s - ROUNDING_S
        {
            self.is_short = false;
            self.unlist(oldest, now);
        }
        while self.leaving.front().is_some_and(|until| *until <= now) {
            self.drop_oldest(now);
        }
        self.leave_memory();
        self.relieve_memory(now);
    }

    /// Takes the oldest segment, of so many seconds, out of the playlist.
    fn unlist(&mut self, duration_s: f64, now: Instant) {
        self.listed_s -= duration_s;
        self.lines.pop();
        self.frames.iter_mut().for_each(Rope::pop);
        // 6.2.2: what has left the playlist is answered for its own length and that of the longest playlist it was
        // in. A part is asked for by its own name as long as its segment, which is more than its three targets.
        let kept = Duration::try_from_secs_f64(duration_s + self.longest_s).unwrap_or_default();
        self.leaving.push_back(now + kept);
    }

    fn drop_oldest(&mut self, now: Instant) {
        let Some(duration_s) = self.segments.front().map(Segment::duration_s) else { return };
        if self.leaving.is_empty() {
            self.unlist(duration_s, now);
        }
        self.leaving.pop_front();
        let Some(gone) = self.segments.pop_front() else { return };
        if gone.msn >= self.memory_from {
            self.memory_from = gone.msn + 1;
            self.memory_s -= duration_s;
        }
        if !matches!(gone.kept, Kept::Memory) {
            let (epoch, msn, unix_ms) = (gone.epoch.id, gone.msn, gone.unix_ms());
            self.news.push(News::Gone { epoch, msn, unix_ms });
        }
        self.free(gone.weight());
    }

    /// What is far enough behind the live edge is read from disk, once it is there.
    fn leave_memory(&mut self) {
        let Some(first) = self.segments.front().map(|first| first.msn) else { return };
        while let Some(segment) = self.segments.get_mut((self.memory_from - first) as usize)
            && self.memory_s - segment.duration_s() >= self.shape.memory_s - ROUNDING_S
        {
            self.memory_s -= segment.duration_s();
            self.memory_from += 1;
            let bytes = segment.leave_memory();
            self.free(bytes);
        }
    }

    /// Where the memory of all windows is full, this one gives up what it can: first what is on disk as well, then its
    /// oldest segments, as many as it takes to reach those that are in memory alone.
    fn relieve_memory(&mut self, now: Instant) {
        for index in 0..self.segments.len() {
            if !self.memory.is_over() {
                return;
            }
            let bytes = self.segments[index].leave_memory();
            self.free(bytes);
        }
        let mut behind_s = 0.0;
        let mut spare = self.segments.iter().rev().skip_while(|segment| {
            behind_s += segment.duration_s();
            behind_s < self.shape.least_s() + ROUNDING_S
        });
        let Some(newest) = spare.find(|segment| !segment.parts.is_empty()).map(|segment| segment.msn) else { return };
        while self.memory.is_over() && self.segments.front().is_some_and(|first| first.msn <= newest) {
            self.memory.shortened.inc();
            self.is_short = true;
            self.drop_oldest(now);
        }
    }

    fn free(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.memory.free(bytes);
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.memory.free(self.bytes);
    }
}

/// Durations are sums of thirds and the like; this is far below a frame.
const ROUNDING_S: f64 = 1e-6;

fn number(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = text.len() > 1 && text.starts_with('0');
    (plain && !leading_zero).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests;
