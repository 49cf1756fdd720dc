//! The live window of one rendition: what its playlist shows, and the bytes behind every URL that still answers.
//!
//! Pure: `now` is passed in.

mod playlist;
mod rendition;
mod rope;
mod text;

pub(crate) use playlist::{Said, report};
pub(crate) use rendition::Rendition;
pub(crate) use text::Text;

use crate::epoch::EpochId;
use crate::segmenter::Part;
use bytes::Bytes;
use manifest::{Head, Position};
use rope::Rope;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use transcode::Plan;

/// What never changes in the life of a stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shape {
    /// How much media the playlist shows, in seconds.
    pub(crate) length_s: f64,
    pub(crate) target_duration_s: u64,
    pub(crate) part_target_s: f64,
}

/// Apple's authoring rules, 8.11: in target durations. Less than three would break RFC 8216bis, 6.2.2.
const LENGTH_TARGETS_MIN: u64 = 6;

impl Shape {
    pub(crate) fn of(plan: &Plan, length: Duration) -> Self {
        let target_duration_s = plan.target_duration_s;
        let length_s = length.as_secs_f64().max((LENGTH_TARGETS_MIN * target_duration_s) as f64);
        Self { length_s, target_duration_s, part_target_s: plan.part_target.as_secs_f64() }
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
    pub(crate) init: Bytes,
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
    /// Of media held.
    bytes: usize,
    ended: bool,
}

#[derive(Debug)]
struct Segment {
    msn: u64,
    epoch: Arc<EpochStart>,
    /// The first of its epoch, and not the first of the rendition.
    discontinuity: bool,
    /// Empty for a gap.
    parts: Vec<Part>,
}

/// A resource of a rendition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Init,
    Segment(u64),
    Part(Position),
}

/// What is known of a resource now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Lookup {
    /// Its bytes, in pieces.
    Found(Vec<Bytes>),
    /// The part that the playlist hints at: it will come.
    Hinted,
    /// The pieces so far of the segment that is being made, or of the one after it: more will come.
    Growing(Vec<Bytes>),
    Unknown,
}

impl Name {
    /// The last step of a URL: `init.mp4`, `{msn}.m4s` or `{msn}.{part}.m4s`, numbers in their only spelling.
    pub(crate) fn from_file(file: &str) -> Option<Self> {
        if file == "init.mp4" {
            return Some(Self::Init);
        }
        let stem = file.strip_suffix(".m4s")?;
        match stem.split_once('.') {
            None => Some(Self::Segment(number(stem)?)),
            Some((msn, part)) => Some(Self::Part(Position { msn: number(msn)?, part: number(part)?.try_into().ok()? })),
        }
    }
}

impl Window {
    pub(crate) fn new(shape: Shape) -> Self {
        Self {
            shape,
            segments: VecDeque::new(),
            leaving: VecDeque::new(),
            lines: Rope::default(),
            frames: Some(Rope::default()),
            open: None,
            vacant: None,
            listed_s: 0.0,
            longest_s: 0.0,
            next_msn: 0,
            bytes: 0,
            ended: false,
        }
    }

    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    pub(crate) fn head(&self) -> Head {
        let parts = |segment: &Segment| segment.parts.len() as u32;
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

    /// How much media of an epoch there was, up to the last whole segment; zero if that is of another.
    pub(crate) fn length(&self, epoch: EpochId) -> Duration {
        let last = self.segments.back().filter(|last| last.epoch.id == epoch);
        let seconds = last
            .map_or(0.0, |last| (last.msn - last.epoch.first_msn) as f64 * last.epoch.segment_s + last.duration_s());
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }

    /// Bytes of media held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Begins an epoch, or goes on with it where another origin has it by now. A rendition that is behind the first number
    /// lists what it lacks as gaps.
    pub(crate) fn begin(&mut self, epoch: EpochStart, now: Instant) {
        match self.open.take_if(|open| open.epoch.id == epoch.id) {
            // The rest of it was made elsewhere: under its name there are other bytes than these.
            Some(open) => {
                self.bytes -= open.length();
                self.vacant = Some(Segment { parts: Vec::new(), ..open });
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
            .filter(|last| last.id == epoch.id && last.discontinuities == epoch.discontinuities);
        let epoch = same.map_or_else(|| Arc::new(epoch), Arc::clone);
        while self.next_msn < joined_msn {
            let gap = self.vacant.take().unwrap_or_else(|| self.gap(&epoch, first_msn));
            self.append(gap, now);
        }
        self.vacant = None;
        self.open = Some(Segment { discontinuity: self.breaks(&epoch), ..Segment::new(self.next_msn, epoch) });
    }

    /// The next segment, which is not here: of the last epoch up to where this one begins. Of epochs that were made
    /// elsewhere and are not here at all, each has one, so that discontinuities are counted alike everywhere.
    fn gap(&self, epoch: &Arc<EpochStart>, first_msn: u64) -> Segment {
        let last = self.segments.back().map_or(epoch, |last| &last.epoch);
        let epoch = match epoch.discontinuities.saturating_sub(last.discontinuities) {
            0 | 1 if self.next_msn < first_msn => last,
            0 | 1 => epoch,
            _ => &Arc::new(EpochStart { discontinuities: last.discontinuities + 1, ..EpochStart::clone(epoch) }),
        };
        Segment { discontinuity: self.breaks(epoch), ..Segment::new(self.next_msn, Arc::clone(epoch)) }
    }

    /// Whether a segment of this epoch would follow one of another.
    fn breaks(&self, epoch: &EpochStart) -> bool {
        self.segments.back().is_some_and(|last| last.epoch.discontinuities != epoch.discontinuities)
    }

    /// Adds the next part. One that is not next is not added: its URL would name other bytes than the playlist says.
    pub(crate) fn push(&mut self, part: Part, now: Instant) -> bool {
        let next = self.head().next;
        let Some(open) = self.open.as_mut().filter(|_| part.at == next) else { return false };
        let whole = part.ends_segment;
        self.bytes += part.bytes.len();
        open.parts.push(part);
        if whole {
            let following = Segment::new(open.msn + 1, Arc::clone(&open.epoch));
            if let Some(segment) = self.open.replace(following) {
                self.append(segment, now);
            }
        }
        true
    }

    /// Ends an epoch: what is open becomes a segment, whatever its length.
    pub(crate) fn break_off(&mut self, now: Instant) {
        match self.open.take() {
            Some(open) if open.parts.is_empty() => self.vacant = Some(open),
            Some(open) => self.append(open, now),
            None => {}
        }
    }

    /// Lists what should come up to this segment as gaps, after an epoch that has broken off.
    pub(crate) fn gap_through(&mut self, msn: u64, now: Instant) {
        let Some(epoch) = self.segments.back().map(|last| Arc::clone(&last.epoch)).filter(|_| !self.ended) else {
            return;
        };
        while self.open.is_none() && self.next_msn <= msn {
            let gap = self.vacant.take().unwrap_or_else(|| Segment::new(self.next_msn, Arc::clone(&epoch)));
            self.append(gap, now);
        }
    }

    /// The end of the rendition: EXT-X-ENDLIST.
    pub(crate) fn end(&mut self, now: Instant) {
        self.break_off(now);
        self.ended = true;
    }

    pub(crate) fn lookup(&self, epoch: EpochId, name: Name) -> Lookup {
        match name {
            Name::Init => self.init(epoch).map_or(Lookup::Unknown, |init| Lookup::Found(vec![init])),
            Name::Segment(msn) => match self.whole(epoch, msn) {
                Some(segment) if !segment.parts.is_empty() => Lookup::Found(segment.bytes()),
                Some(_) => Lookup::Unknown,
                None => self.growing(epoch, msn),
            },
            Name::Part(at) => self.part(epoch, at),
        }
    }

    /// DASH clients ask for a segment when its first part should be there, by a clock that may be ahead of the source's.
    fn growing(&self, epoch: EpochId, msn: u64) -> Lookup {
        match self.open.as_ref().filter(|open| open.epoch.id == epoch) {
            Some(open) if open.msn == msn => Lookup::Growing(open.bytes()),
            Some(open) if open.msn + 1 == msn => Lookup::Growing(Vec::new()),
            _ => Lookup::Unknown,
        }
    }

    fn part(&self, epoch: EpochId, at: Position) -> Lookup {
        let open = self.open.as_ref().filter(|open| open.is(epoch, at.msn));
        if open.is_some() && at == self.head().next {
            return Lookup::Hinted;
        }
        let part = open.or_else(|| self.whole(epoch, at.msn)).and_then(|segment| segment.parts.get(at.part as usize));
        part.map_or(Lookup::Unknown, |part| Lookup::Found(vec![part.bytes.clone()]))
    }

    fn init(&self, epoch: EpochId) -> Option<Bytes> {
        let mut segments = self.open.iter().chain(self.segments.iter().rev());
        segments.find(|segment| segment.epoch.id == epoch).map(|segment| segment.epoch.init.clone())
    }

    fn whole(&self, epoch: EpochId, msn: u64) -> Option<&Segment> {
        let index = msn.checked_sub(self.segments.front()?.msn)?;
        self.segments.get(usize::try_from(index).ok()?).filter(|segment| segment.is(epoch, msn))
    }

    /// Those that the playlist shows.
    fn listed(&self) -> impl DoubleEndedIterator<Item = &Segment> {
        self.segments.range(self.leaving.len()..)
    }

    /// Of the first segment that is listed, without its own EXT-X-DISCONTINUITY.
    fn discontinuity_sequence(&self) -> u64 {
        let first = self.listed().next().or(self.open.as_ref()).or(self.vacant.as_ref());
        first.map_or(0, |first| first.epoch.discontinuities - u64::from(first.discontinuity))
    }

    fn append(&mut self, segment: Segment, now: Instant) {
        self.next_msn = segment.msn + 1;
        self.listed_s += segment.duration_s();
        self.add_frame(&segment);
        self.segments.push_back(segment);
        self.settle_lines();
        // The new segment was in the playlist as parts while the oldest was still there.
        self.longest_s = self.longest_s.max(self.listed_s);
        while let Some(oldest) = self.segments.get(self.leaving.len()).map(Segment::duration_s)
            && self.listed_s - oldest >= self.shape.length_s - ROUNDING_S
        {
            self.unlist(oldest, now);
        }
        while self.leaving.front().is_some_and(|until| *until <= now) {
            self.leaving.pop_front();
            let gone = self.segments.pop_front();
            self.bytes -= gone.map_or(0, |gone| gone.length());
        }
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
}

/// Durations are sums of thirds and the like; this is far below a frame.
const ROUNDING_S: f64 = 1e-6;

impl Segment {
    fn new(msn: u64, epoch: Arc<EpochStart>) -> Self {
        Self { msn, epoch, discontinuity: false, parts: Vec::new() }
    }

    fn is(&self, epoch: EpochId, msn: u64) -> bool {
        self.msn == msn && self.epoch.id == epoch
    }

    fn bytes(&self) -> Vec<Bytes> {
        self.parts.iter().map(|part| part.bytes.clone()).collect()
    }

    /// In bytes.
    fn length(&self) -> usize {
        self.parts.iter().map(|part| part.bytes.len()).sum()
    }

    fn duration_s(&self) -> f64 {
        // A gap stands for a whole segment that others have.
        if self.parts.is_empty() { self.epoch.segment_s } else { self.parts.iter().map(|part| part.duration_s).sum() }
    }

    fn unix_ms(&self) -> i64 {
        let since_zero = self.msn.saturating_sub(self.epoch.first_msn) as f64 * self.epoch.segment_s;
        self.epoch.zero_unix_ms + (since_zero * 1000.0).round() as i64
    }
}

fn number(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = text.len() > 1 && text.starts_with('0');
    (plain && !leading_zero).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests;
