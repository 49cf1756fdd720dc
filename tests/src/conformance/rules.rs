//! The rules themselves: of one playlist, of two versions of it, of a presentation. Pure.

use super::beside;
use super::keys;
use super::text::{self, Attributes, Media, Multivariant, Part, Segment};
use super::{
    BEFORE_PARTS, DATE_RANGES, DATES, DELTA, DISCONTINUITIES, END, FIRST_LINE, Finding, HINT, HOLD_BACK, I_FRAMES,
    INDEPENDENT, MAP, NEVER_BACK, PART_HOLD_BACK, PART_HOLD_BACK_3, PART_INF, PART_LONG, PART_SHORT, PART_SUM,
    PARTS_LEAVE, Rule, SKIP_UNTIL, TARGET_CONSTANT, TARGET_DURATION, VARIANTS, VERSION,
};
use std::collections::{BTreeMap, BTreeSet};

/// Rounding of decimals in playlists.
const EPSILON_S: f64 = 1e-4;
/// A frame of the slowest usual rate: sums and dates may be off by one (Apple 8.1).
const FRAME_S: f64 = 0.042;

/// What has been checked, and what was found.
#[derive(Debug, Default)]
pub struct Checks {
    pub made: Vec<Rule>,
    pub found: Vec<Finding>,
}

impl Checks {
    pub(super) fn check(&mut self, rule: Rule, holds: bool, detail: impl FnOnce() -> String) {
        self.made.push(rule);
        if !holds {
            self.found.push(Finding { rule, detail: detail() });
        }
    }
}

/// The rules of one version of a media playlist.
pub fn of_one(media: &Media, checks: &mut Checks) {
    checks.check(FIRST_LINE, media.begins, || "it does not".to_owned());
    let version = media.versions.first().copied().unwrap_or(1);
    let enough = media.versions.len() <= 1 && (media.skipped.is_none() || version >= 9);
    checks.check(VERSION, enough, || format!("{:?}", media.versions));
    let [target] = media.target_durations[..] else {
        return checks.check(TARGET_DURATION, false, || format!("{:?}", media.target_durations));
    };
    for segment in &media.segments {
        let fits = segment.duration_s.round() <= target;
        checks.check(TARGET_DURATION, fits, || format!("{} s in {}", segment.duration_s, segment.uri));
    }
    control(media, target, checks);
    if let Some(part_target) = media.part_target {
        parts(media, (target, part_target), checks);
    }
    dates(media, checks);
    date_ranges(media, checks);
    beside::of_images(media, checks);
    keys::of_one(media, checks);
    let is_fragment =
        |segment: &&Segment| [".ts", ".aac", ".vtt", ".jpg"].iter().all(|kind| !segment.uri.contains(kind));
    for segment in media.segments.iter().filter(is_fragment) {
        checks.check(MAP, segment.map.is_some(), || segment.uri.clone());
    }
    let parts_of_hints = media.hints.iter().filter(|hint| hint.get("TYPE").is_some_and(|kind| kind == "PART")).count();
    let maps_of_hints = media.hints.len() - parts_of_hints;
    let hints_fit = parts_of_hints <= 1 && maps_of_hints <= 1 && (!media.ended || media.hints.is_empty());
    checks.check(HINT, hints_fit, || format!("{:?}", media.hints));
}

fn control(media: &Media, target: f64, checks: &mut Checks) {
    let has_parts = !media.open.parts.is_empty() || media.segments.iter().any(|segment| !segment.parts.is_empty());
    checks.check(PART_INF, media.part_target.is_some() || !has_parts, || "parts without EXT-X-PART-INF".to_owned());
    if let Some(hold_back) = media.control_s("HOLD-BACK") {
        checks.check(HOLD_BACK, hold_back + EPSILON_S >= 3.0 * target, || format!("{hold_back} s"));
    }
    if let Some(part_target) = media.part_target {
        let part_hold_back = media.control_s("PART-HOLD-BACK").unwrap_or(0.0);
        let told = || format!("{part_hold_back} s with parts of {part_target} s");
        checks.check(PART_HOLD_BACK, part_hold_back + EPSILON_S >= 2.0 * part_target, told);
        checks.check(PART_HOLD_BACK_3, part_hold_back + EPSILON_S >= 3.0 * part_target, told);
    }
    if let Some(skip) = media.control_s("CAN-SKIP-UNTIL") {
        checks.check(SKIP_UNTIL, skip + EPSILON_S >= 6.0 * target, || format!("{skip} s"));
    }
}

fn parts(media: &Media, (target, part_target): (f64, f64), checks: &mut Checks) {
    let whole = media.segments.iter().map(|segment| (segment, true)).chain([(&media.open, false)]);
    for (segment, is_whole) in whole {
        checks.check(BEFORE_PARTS, segment.late.is_empty(), || format!("{:?} in {}", segment.late, segment.uri));
        for (index, part) in segment.parts.iter().enumerate() {
            let told = || format!("{} lasts {} s of {part_target}", part.uri, part.duration_s);
            checks.check(PART_LONG, part.duration_s <= part_target + EPSILON_S, told);
            let last = is_whole && index + 1 == segment.parts.len();
            let at_gap = part.gap || segment.parts.get(index + 1).is_some_and(|next| next.gap);
            let short = part.duration_s + EPSILON_S < 0.85 * part_target;
            checks.check(PART_SHORT, !short || last || at_gap || part.independent, told);
        }
        if is_whole && !segment.parts.is_empty() {
            let sum: f64 = segment.parts.iter().map(|part| part.duration_s).sum();
            let told = || format!("{} s of parts, {} s in {}", sum, segment.duration_s, segment.uri);
            checks.check(PART_SUM, (sum - segment.duration_s).abs() < FRAME_S, told);
        }
    }
    let mut after: f64 = media.open.parts.iter().map(|part| part.duration_s).sum();
    for segment in media.segments.iter().rev() {
        let leave = after <= 3.0 * target + EPSILON_S || segment.parts.is_empty();
        checks.check(PARTS_LEAVE, leave, || format!("parts of {} are {after} s from the end", segment.uri));
        after += segment.duration_s;
    }
}

fn dates(media: &Media, checks: &mut Checks) {
    let dated = media.segments.iter().chain([&media.open]).any(|segment| segment.unix_s.is_some());
    checks.check(DATES, dated || media.segments.is_empty(), || "no EXT-X-PROGRAM-DATE-TIME".to_owned());
    let mut expected = None;
    for segment in &media.segments {
        if let (Some(expected), Some(told), false) = (expected, segment.unix_s, segment.discontinuity) {
            let apart: f64 = told - expected;
            checks.check(DATES, apart.abs() < FRAME_S, || format!("{} is {apart} s off", segment.uri));
        }
        expected = segment.unix_s.or(expected).map(|began| began + segment.duration_s);
    }
}

fn date_ranges(media: &Media, checks: &mut Checks) {
    for range in &media.date_ranges {
        let has = |name: &str| range.contains_key(name);
        let starts = range.get("START-DATE").is_some_and(|date| text::unix_s(date).is_some());
        let lasts = |name: &str| range.get(name).is_none_or(|s| s.parse::<f64>().is_ok_and(|s| s >= 0.0));
        let open_ended = !has("END-ON-NEXT") || (has("CLASS") && !has("DURATION") && !has("END-DATE"));
        let holds = has("ID") && starts && lasts("DURATION") && lasts("PLANNED-DURATION") && open_ended;
        checks.check(DATE_RANGES, holds, || format!("{range:?}"));
    }
    let pairs = media
        .date_ranges
        .iter()
        .enumerate()
        .flat_map(|(at, one)| media.date_ranges[at + 1..].iter().map(move |other| (one, other)));
    for (one, other) in pairs.filter(|(one, other)| one.get("ID") == other.get("ID")) {
        checks.check(DATE_RANGES, agree(one, other), || format!("{one:?} and {other:?}"));
    }
}

/// Whether no attribute that both have differs.
fn agree(one: &Attributes, other: &Attributes) -> bool {
    one.iter().all(|(name, value)| other.get(name).is_none_or(|told| told == value))
}

/// The rules of a reload: `after` came later than `before`; both are whole.
pub fn of_two(before: &Media, after: &Media, checks: &mut Checks) {
    let targets = |media: &Media| (media.target_durations.clone(), media.part_target);
    checks.check(TARGET_CONSTANT, targets(before) == targets(after), || {
        format!("{:?}, then {:?}", targets(before), targets(after))
    });
    for range in &before.date_ranges {
        if let Some(later) = after.date_ranges.iter().find(|later| later.get("ID") == range.get("ID")) {
            // 4.4.5.1: attributes may be added, and no more.
            let kept = agree(range, later) && range.keys().all(|name| later.contains_key(name));
            checks.check(DATE_RANGES, kept, || format!("{range:?}, then {later:?}"));
        }
    }
    let forwards = after.first_msn >= before.first_msn && after.next() >= before.next();
    checks.check(NEVER_BACK, forwards, || {
        format!("{} to {:?}, then {} to {:?}", before.first_msn, before.next(), after.first_msn, after.next())
    });
    if !forwards {
        return;
    }
    let gone = (after.first_msn - before.first_msn) as usize;
    for (was, is) in before.segments.iter().skip(gone).zip(&after.segments) {
        checks.check(NEVER_BACK, same(was, is) && was.keys == is.keys, || format!("{was:?} became {is:?}"));
    }
    // The open segment keeps its parts, also when it becomes whole.
    let index = (before.next().0 - after.first_msn) as usize;
    let grown = after.segments.get(index).unwrap_or(&after.open);
    let kept = grown.parts.is_empty() || before.open.parts.iter().zip(&grown.parts).all(|(was, is)| was == is);
    checks.check(NEVER_BACK, kept, || format!("{:?} became {:?}", before.open.parts, grown.parts));
    // Segments that left and were never seen whole are not counted.
    if gone <= before.segments.len() {
        let left = before.segments[..gone].iter().filter(|segment| segment.discontinuity).count() as u64;
        let counted = before.discontinuity_sequence + left == after.discontinuity_sequence;
        checks.check(DISCONTINUITIES, counted, || {
            format!("{left} left, from {} to {}", before.discontinuity_sequence, after.discontinuity_sequence)
        });
    }
    hinted(before, after, checks);
    if before.ended {
        checks.check(END, before == after, || "it changed".to_owned());
    }
}

fn hinted(before: &Media, after: &Media, checks: &mut Checks) {
    let hint = before.hints.iter().find(|hint| hint.get("TYPE").is_some_and(|kind| kind == "PART"));
    let Some(uri) = hint.and_then(|hint| hint.get("URI")) else { return };
    let (msn, part) = before.next();
    let segment = msn.checked_sub(after.first_msn).and_then(|index| after.segments.get(index as usize));
    let came: Option<&Part> = segment.unwrap_or(&after.open).parts.get(part);
    let cancelled = after.ended || after.next() == before.next();
    let broken = segment.is_some_and(|segment| segment.parts.len() <= part);
    let started = if segment.is_none() && after.next().0 > msn { None } else { came };
    if let Some(came) = started.filter(|_| !cancelled && !broken) {
        checks.check(HINT, came.uri == *uri, || format!("{uri} was hinted at, {} came", came.uri));
    }
}

/// Whether a segment is as it was; its parts may have left.
fn same(was: &Segment, is: &Segment) -> bool {
    let plain = |segment: &Segment| (segment.uri.clone(), segment.range.clone(), segment.gap, segment.discontinuity);
    let parts = is.parts.is_empty() || is.parts == was.parts;
    plain(was) == plain(is) && (was.duration_s - is.duration_s).abs() < EPSILON_S && parts
}

/// A delta update against the whole playlist of the same version.
pub fn of_delta(delta: &Media, whole: &Media, checks: &mut Checks) {
    let skipped = delta.skipped.unwrap_or(0) as usize;
    let rest = whole.segments.get(skipped..).unwrap_or_default();
    let agree = delta.segments.len() == rest.len() && delta.segments.iter().zip(rest).all(|(said, is)| same(is, said));
    let tail = delta.open.parts == whole.open.parts && delta.next() == whole.next();
    checks.check(DELTA, agree && tail, || format!("{skipped} skipped of {}", whole.segments.len()));
    let until = delta.control_s("CAN-SKIP-UNTIL").unwrap_or(0.0);
    let after: f64 = rest.iter().map(|segment| segment.duration_s).sum();
    checks.check(DELTA, skipped == 0 || after + EPSILON_S >= until, || format!("{after} s are left of {until}"));
}

/// The same of one that was asked for with `_HLS_skip=v2`.
pub fn of_delta_of_dates(delta: &Media, whole: &Media, checks: &mut Checks) {
    of_delta(delta, whole, checks);
    let listed = |id: &str| whole.date_ranges.iter().any(|range| range.get("ID").is_some_and(|is| is == id));
    let removed = delta.removed.as_deref().map(|ids| ids.split('\t').filter(|id| !id.is_empty()).all(|id| !listed(id)));
    let said = delta.date_ranges.iter().all(|range| whole.date_ranges.contains(range));
    let version = delta.versions.iter().all(|&version| version >= 10) && !delta.versions.is_empty();
    let holds = delta.skipped.is_none() || (removed == Some(true) && said && version);
    checks.check(DELTA, holds, || format!("{:?} are removed, version {:?}", delta.removed, delta.versions));
}

/// The rules of a multivariant playlist.
pub fn of_multivariant(said: &Multivariant, checks: &mut Checks) {
    checks.check(INDEPENDENT, said.independent, || "not in the multivariant playlist".to_owned());
    checks.check(I_FRAMES, !said.iframes.is_empty(), || "none".to_owned());
    for (variant, uri) in &said.variants {
        let number = |name: &str| variant.get(name).and_then(|value| value.parse::<f64>().ok());
        for name in ["BANDWIDTH", "AVERAGE-BANDWIDTH", "CODECS", "RESOLUTION", "FRAME-RATE"] {
            checks.check(VARIANTS, variant.contains_key(name), || format!("{uri} has no {name}"));
        }
        let (peak, average) = (number("BANDWIDTH"), number("AVERAGE-BANDWIDTH"));
        checks.check(VARIANTS, average <= peak, || format!("{uri}: {average:?} on average, {peak:?} at most"));
        for kind in ["AUDIO", "SUBTITLES", "VIDEO", "CLOSED-CAPTIONS"] {
            let of = |rendition: &Attributes, id: &String| {
                rendition.get("TYPE").is_some_and(|is| is == kind) && rendition.get("GROUP-ID") == Some(id)
            };
            // CLOSED-CAPTIONS=NONE says that there are none.
            if let Some(id) = variant.get(kind).filter(|id| *id != "NONE") {
                let known = said.renditions.iter().any(|rendition| of(rendition, id));
                checks.check(VARIANTS, known, || format!("{uri} names the group {id}, which is not there"));
            }
        }
    }
    for kind in ["AUDIO", "SUBTITLES", "VIDEO", "CLOSED-CAPTIONS"] {
        let groups = groups(said, kind);
        let alike = groups.values().all(|members| Some(members) == groups.values().next());
        checks.check(VARIANTS, alike, || format!("the groups of {kind} are no encodings of one thing: {groups:?}"));
    }
}

/// The members of each group of a type, without what may differ from group to group (4.4.6.1.1).
fn groups<'a>(said: &'a Multivariant, kind: &str) -> BTreeMap<&'a str, BTreeSet<BTreeMap<&'a str, &'a str>>> {
    const OWN: [&str; 6] = ["GROUP-ID", "URI", "CHANNELS", "BIT-DEPTH", "SAMPLE-RATE", "STABLE-RENDITION-ID"];
    let mut groups: BTreeMap<&str, BTreeSet<_>> = BTreeMap::new();
    for rendition in said.renditions.iter().filter(|rendition| rendition.get("TYPE").is_some_and(|is| is == kind)) {
        let attributes = rendition.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let member = attributes.filter(|(name, _)| !OWN.contains(name)).collect();
        groups.entry(rendition.get("GROUP-ID").map_or("", String::as_str)).or_default().insert(member);
    }
    groups
}
