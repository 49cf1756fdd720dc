//! The rules themselves: of one MPD, of two versions of it, of a segment. Pure.

use super::cues;
use super::mpd::{Mpd, Period, Representation, Set, Template};
use super::segment::Fragment;
use crate::conformance::beside::{jpeg_size, size};
use crate::conformance::codecs;
use crate::conformance::keys::{self, Scheme};
use crate::conformance::rules::Checks;
use crate::conformance::text::{Attributes, unix_s};
use crate::conformance::{
    MPD_DYNAMIC, MPD_EARLY, MPD_KEYS, MPD_LATENCY, MPD_ORDER, MPD_PERIODS, MPD_PUBLISHED, MPD_REPRESENTATIONS,
    MPD_ROOT, MPD_SETS, MPD_START, MPD_STATIC, MPD_STAYS, MPD_TEMPLATE, SEG_CLOCK, SEG_CODEC, SEG_CUES, SEG_IMAGE,
    SEG_KEYS, SEG_LENGTH, SEG_SAP, SEG_TEXT, SEG_TILES, SEG_TIME, SEG_WHOLE,
};
use std::collections::BTreeSet;

/// How far the wall clocks of MPD and segments may be apart.
const CLOCK_S: f64 = 0.1;

/// The rules of one version of an MPD.
pub(super) fn of_one(mpd: &Mpd, checks: &mut Checks) {
    let said = |name: &str| mpd.attributes.contains_key(name);
    checks.check(MPD_ROOT, mpd.named && said("profiles") && said("minBufferTime"), || format!("{:?}", mpd.attributes));
    if mpd.dynamic {
        let whole = mpd.start_unix_s.is_some() && mpd.published_unix_s.is_some() && mpd.update_s.is_some();
        checks.check(MPD_DYNAMIC, whole, || format!("{:?}", mpd.attributes));
    } else {
        let long = said("mediaPresentationDuration");
        checks.check(MPD_STATIC, long, || "no mediaPresentationDuration".to_owned());
    }
    checks.check(MPD_ORDER, mpd.misplaced.is_empty(), || mpd.misplaced.join(", "));
    let ids: BTreeSet<_> = mpd.periods.iter().filter_map(|period| period.id.as_ref()).collect();
    let starts: Vec<f64> = mpd.periods.iter().filter_map(|period| period.start_s).collect();
    let named = ids.len() == mpd.periods.len() || !mpd.dynamic;
    let in_order = !mpd.periods.is_empty() && starts.windows(2).all(|pair| pair[0] < pair[1]);
    checks.check(MPD_PERIODS, named && in_order, || format!("{ids:?} at {starts:?}"));
    mpd.periods.iter().for_each(|period| of_period(mpd, period, checks));
}

fn of_period(mpd: &Mpd, period: &Period, checks: &mut Checks) {
    let mut ids = BTreeSet::new();
    for set in &period.sets {
        let told = !set.kind.is_empty() && (set.aligned || set.representations.len() < 2);
        checks.check(MPD_SETS, told, || format!("{:?}, aligned: {}", set.kind, set.aligned));
        let codecs = set.representations.iter().filter_map(|one| one.attributes.get("codecs"));
        let codecs: BTreeSet<String> = codecs.map(|codec| codecs::family(codec)).collect();
        checks.check(MPD_SETS, codecs.len() < 2, || format!("{:?} in {codecs:?}", set.kind));
        for representation in &set.representations {
            protected(representation, checks);
            let said = |name: &str| representation.attributes.contains_key(name);
            let of_its_own = !representation.id.is_empty() && ids.insert(&representation.id);
            let sized = set.kind != "video" || (said("width") && said("height"));
            let whole =
                of_its_own && sized && said("bandwidth") && (set.is_image() || said("codecs")) && said("mimeType");
            checks.check(MPD_REPRESENTATIONS, whole, || format!("{:?}", representation.attributes));
        }
    }
    for (set, representation, template) in period.templates() {
        let apart = template.media.contains("$Number") || template.media.contains("$Time");
        let long = template.duration.is_some() != template.has_timeline;
        let whole = apart && long && (set.is_image() || template.initialization.is_some());
        checks.check(MPD_TEMPLATE, whole, || format!("{}: {template:?}", representation.id));
        let Some(early_s) = template.early_s else { continue };
        let shorter = template.length_s().is_none_or(|length_s| early_s < length_s);
        let honest = template.complete == Some(false) && shorter;
        checks.check(MPD_EARLY, honest, || format!("{}: {template:?}", representation.id));
        if mpd.dynamic {
            let told = mpd.has_latency && !set.references.is_empty();
            checks.check(MPD_LATENCY, told, || format!("{}: {:?}", representation.id, set.references));
        }
    }
}

fn protected(representation: &Representation, checks: &mut Checks) {
    let said = &representation.protection;
    if said.is_empty() {
        return;
    }
    let scheme = told(representation);
    let ids: BTreeSet<_> = said.iter().filter_map(|one| one.get("default_KID")).map(|id| digits(id)).collect();
    let holds = scheme.is_some() && ids.len() == 1 && ids.iter().all(|id| id.len() == 32);
    checks.check(MPD_KEYS, holds, || format!("{}: {said:?}", representation.id));
}

/// What the generic ContentProtection tells of scheme and key.
fn told(representation: &Representation) -> Option<Scheme> {
    let is_generic = |one: &&Attributes| {
        one.get("schemeIdUri").is_some_and(|uri| uri.eq_ignore_ascii_case("urn:mpeg:dash:mp4protection:2011"))
    };
    let generic = representation.protection.iter().find(is_generic)?;
    Some(Scheme { name: generic.get("value")?.clone(), key_id: digits(generic.get("default_KID")?) })
}

/// Of a UUID.
fn digits(uuid: &str) -> String {
    uuid.chars().filter(char::is_ascii_hexdigit).map(|digit| digit.to_ascii_lowercase()).collect()
}

/// Of an init section of this representation.
pub(super) fn of_init((set, representation): (&Set, &Representation), init: &[u8], checks: &mut Checks) {
    if set.is_text() {
        let said = |name: &str| representation.attributes.get(name).map_or("", |said| said);
        let (kind, codec) = (said("mimeType"), said("codecs"));
        let told = kind == "application/mp4" && (codec != "wvtt" || cues::is_told(init));
        checks.check(SEG_TEXT, told, || format!("{}: {kind}, {codec}", representation.id));
    }
    let (named, held) = (representation.attributes.get("codecs"), codecs::of_init(init));
    if let Some((named, held)) = named.zip(held) {
        let agrees = codecs::family(named) == codecs::family(&held);
        checks.check(SEG_CODEC, agrees, || format!("{} holds {held}, told is {named}", representation.id));
    }
    let (told, is) = (told(representation), keys::scheme(init));
    if told.is_some() || is.is_some() {
        checks.check(SEG_KEYS, told == is, || format!("{}: {is:?}, {told:?} is told", representation.id));
    }
}

/// The rules of an image, by what its representation says of it.
pub(super) fn of_image(bytes: &[u8], representation: &Representation, checks: &mut Checks) {
    // ITU-T T.81: from start of image to end of image.
    let whole = bytes.starts_with(&[0xff, 0xd8, 0xff]) && bytes.ends_with(&[0xff, 0xd9]);
    checks.check(SEG_IMAGE, whole, || format!("{} bytes begin with {:x?}", bytes.len(), bytes.get(..4)));
    if !whole {
        return;
    }
    let number = |name: &str| representation.attributes.get(name).and_then(|number| number.parse::<u32>().ok());
    let (is, told) = (jpeg_size(bytes), number("width").zip(number("height")));
    // One picture where no tiles are told.
    let tiles = size(representation.tiles.as_deref().unwrap_or("1x1"));
    let divides = |(width, height): (u32, u32), (columns, rows): (u32, u32)| {
        columns > 0 && rows > 0 && width.is_multiple_of(columns) && height.is_multiple_of(rows)
    };
    let fits = is.is_some() && is == told && told.zip(tiles).is_some_and(|(size, tiles)| divides(size, tiles));
    checks.check(SEG_TILES, fits, || {
        format!("{}: {is:?}, told {told:?} of {:?}", representation.id, representation.tiles)
    });
}

/// The rules of a segment of WebVTT in MP4, besides those that all have.
pub(super) fn of_cues(bytes: &[u8], checks: &mut Checks) {
    let read = cues::read(bytes);
    checks.check(SEG_CUES, read.is_ok(), || format!("{:#}", read.err().unwrap_or_else(|| anyhow::anyhow!("nothing"))));
}

/// The rules of a version and a later one.
pub(super) fn of_two(before: &Mpd, after: &Mpd, checks: &mut Checks) {
    checks.check(MPD_START, before.start_unix_s == after.start_unix_s, || {
        format!("{:?}, then {:?}", before.start_unix_s, after.start_unix_s)
    });
    let (was, is) = (before.published_unix_s, after.published_unix_s);
    let news = before.text != after.text;
    checks
        .check(MPD_PUBLISHED, if news { is > was } else { is == was }, || format!("{was:?}, then {is:?}, new: {news}"));
    for was in &before.periods {
        let Some(is) = after.periods.iter().find(|period| period.id == was.id) else { continue };
        // 5.3.2.1: an end may be told later, where a key changes or an epoch ends.
        let duration_s = was.duration_s.and(is.duration_s);
        let stays = *was == Period { duration_s, ..is.clone() };
        checks.check(MPD_STAYS, stays, || format!("period {:?}", was.id));
    }
}

/// The rules of a segment, by what its set and template say of its number, and whether it is the last of its period.
pub(super) fn of_segment(
    (set, template, number, last): (&Set, &Template, u64, bool),
    fragments: &[Fragment],
    checks: &mut Checks,
) {
    let (Some(first), Some(length)) = (fragments.first(), template.duration) else { return };
    let expected = template.offset + (number.saturating_sub(template.start_number)) as f64 * length;
    let shown = fragments.iter().map(|fragment| fragment.shown).min().unwrap_or(first.shown) as f64;
    checks.check(SEG_TIME, (shown - expected).abs() <= length / 2.0, || {
        format!("{number} begins at {shown}, not {expected}")
    });
    let ticks: u64 = fragments.iter().map(|fragment| fragment.ticks).sum();
    let fits = ticks as f64 <= 1.5 * length && (last || ticks as f64 >= length / 2.0);
    checks.check(SEG_LENGTH, fits, || format!("{number} lasts {ticks} ticks of {length}"));
    let hole = fragments.windows(2).find(|pair| pair[0].decode + pair[0].ticks != pair[1].decode);
    checks.check(SEG_WHOLE, hole.is_none(), || format!("{number}: {hole:?}"));
    if set.sap.is_some_and(|sap| (1..=3).contains(&sap)) {
        checks.check(SEG_SAP, first.sync != Some(false), || format!("{number} begins with another"));
    }
    let inband = set.references.iter().find(|one| one.get("inband").is_some_and(|inband| inband == "true"));
    if let Some(reference) = inband {
        let told = apart_s(reference, first, template.timescale);
        checks.check(SEG_CLOCK, told.is_some_and(|apart| apart.abs() <= CLOCK_S), || {
            format!("{number}: {:?} is {told:?} s from {reference:?}", first.clock)
        });
    }
}

/// How far the wall clock in a fragment is ahead of what the MPD's reference says for that media time.
fn apart_s(reference: &Attributes, fragment: &Fragment, timescale: f64) -> Option<f64> {
    let (media_time, unix_s_inband) = fragment.clock?;
    let said = unix_s(reference.get("wallClockTime")?)?;
    let since = (media_time as f64 - reference.get("presentationTime")?.parse::<f64>().ok()?) / timescale;
    Some(unix_s_inband - (said + since))
}

#[cfg(test)]
mod canaries;
