//! Fetches what a playlist lists: whether it is all there, what it weighs, and what is in images and subtitles.

use super::beside::{self, Place};
use super::dash::segment;
use super::rates::Rates;
use super::rules::Checks;
use super::text::{Attributes, Media, Segment, attributes};
use super::watch::resolve;
use super::{KEY_THERE, SEGMENTS_THERE, keys};
use crate::http::{Answer, get, get_with};
use anyhow::Context;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// Of a live playlist, so many of the newest: the rest was there when it was new.
const LIVE_MAX: usize = 30;

/// What came of it: how many segments there were, and what they weigh.
pub(super) async fn fetch(url: &str, media: &Media, checks: &mut Checks) -> anyhow::Result<(u64, Option<Rates>)> {
    let target_s = media.target_durations.first().copied().unwrap_or_default();
    let (mut runs, mut count, mut init, mut ends) = (vec![Vec::new()], 0, None, BTreeMap::new());
    let mut asked = BTreeSet::new();
    for segment in &media.segments[skipped(media)..] {
        if segment.gap {
            runs.push(Vec::new());
            continue;
        }
        if segment.map != init {
            init.clone_from(&segment.map);
            if let Some((uri, range)) = init.as_deref().map(attributes).as_ref().and_then(section) {
                let section = there(&resolve(url, uri), range, checks).await?;
                section.iter().for_each(|bytes| keys::of_init((&segment.keys, &segment.map_keys), bytes, checks));
            }
        }
        let key = keys::fetched(&segment.keys).map(|uri| resolve(url, uri));
        if let Some(uri) = key.filter(|uri| uri.starts_with("http") && !asked.contains(uri)) {
            key_there(&uri, checks).await?;
            asked.insert(uri);
        }
        let range = segment.range.as_deref().and_then(|range| following(range, &segment.uri, &mut ends));
        if let Some(bytes) = there(&resolve(url, &segment.uri), range, checks).await? {
            keys::of_segment(&segment.uri, &segment.keys, bytes.len() as u64, checks);
            runs.last_mut().expect("one at least").push((segment.duration_s, bytes.len() as u64));
            if is_plain(segment) {
                beside::of_image(&bytes, segment.tiles.as_ref(), checks);
            }
        }
        count += 1;
    }
    let rates = Rates::of(&runs.concat(), target_s).map(|all| {
        let peaks = runs.iter().filter_map(|run| Rates::of(run, target_s)).map(|rates| rates.peak);
        Rates { peak: peaks.fold(0.0, f64::max), ..all }
    });
    Ok((count, rates))
}

/// Who is to send a token is told nothing.
async fn key_there(url: &str, checks: &mut Checks) -> anyhow::Result<()> {
    let answer = get(url).await?;
    if ![401, 403].contains(&answer.status.as_u16()) {
        let holds = answer.status == 200 && answer.body.len() == 16;
        checks.check(KEY_THERE, holds, || format!("{url}: {}, {} bytes", answer.status, answer.body.len()));
    }
    Ok(())
}

/// Fetches the subtitles that `media` lists, and holds each file against the media of its number in `others`.
pub(super) async fn subtitles(
    (url, media): (&str, &Media),
    others: Option<(&str, &Media)>,
    checks: &mut Checks,
) -> anyhow::Result<()> {
    let mut timescales = BTreeMap::new();
    for (index, segment) in media.segments.iter().enumerate().skip(skipped(media)) {
        if segment.gap || !is_plain(segment) {
            continue;
        }
        let answer = get(&resolve(url, &segment.uri)).await?;
        // Whether it is there is another rule.
        if answer.status != 200 {
            continue;
        }
        let place = match others {
            Some(others) => place(others, media.first_msn + index as u64, &mut timescales).await?,
            None => None,
        };
        beside::of_subtitles(&beside::subtitles(&answer.text()), place, checks);
    }
    Ok(())
}

/// Where the segment of that number is in the media; `None` where it is not listed any more.
async fn place(
    (url, media): (&str, &Media),
    msn: u64,
    timescales: &mut BTreeMap<String, f64>,
) -> anyhow::Result<Option<Place>> {
    let index = msn.checked_sub(media.first_msn).and_then(|index| usize::try_from(index).ok());
    let Some(segment) =
        index.and_then(|index| media.segments.get(index)).filter(|segment| !segment.gap && is_plain(segment))
    else {
        return Ok(None);
    };
    let Some(init) = segment.map.as_deref().and_then(|map| attributes(map).remove("URI")) else { return Ok(None) };
    let answer = get(&resolve(url, &segment.uri)).await?;
    if answer.status != 200 || segment.range.is_some() {
        return Ok(None);
    }
    let timescale = match timescales.get(&init) {
        Some(known) => *known,
        None => *timescales
            .entry(init.clone())
            .or_insert(segment::timescale(&get(&resolve(url, &init)).await?.body).context(init)?),
    };
    let first = segment::read(&answer.body).with_context(|| segment.uri.clone())?.remove(0);
    Ok(Some((first.shown as f64 / timescale, segment.duration_s)))
}

/// Whether its bytes are those of its format: with AES-128 they are not.
fn is_plain(segment: &Segment) -> bool {
    segment.keys.iter().all(|key| key.get("METHOD").is_none_or(|method| method != "AES-128"))
}

/// Segments at the beginning that are not fetched.
fn skipped(media: &Media) -> usize {
    if media.ended { 0 } else { media.segments.len().saturating_sub(LIVE_MAX) }
}

/// What came.
async fn there(url: &str, range: Option<(u64, u64)>, checks: &mut Checks) -> anyhow::Result<Option<Bytes>> {
    let (answer, expected): (Answer, u16) = match range {
        None => (get(url).await?, 200),
        Some((from, length)) => {
            let last = (from + length).saturating_sub(1);
            (get_with(url, &[("range", &format!("bytes={from}-{last}"))]).await?, 206)
        }
    };
    let whole = range.is_none_or(|(_, length)| length == answer.body.len() as u64);
    let holds = answer.status == expected && whole;
    checks.check(SEGMENTS_THERE, holds, || format!("{url}: {}, {} bytes", answer.status, answer.body.len()));
    Ok(holds.then_some(answer.body))
}

/// EXT-X-MAP's URI and range, which begins at 0 where it does not say.
fn section(map: &Attributes) -> Option<(&str, Option<(u64, u64)>)> {
    let range = map.get("BYTERANGE").and_then(|range| following(range, "", &mut BTreeMap::new()));
    Some((map.get("URI")?, range))
}

/// `LENGTH@OFFSET`, as offset and length. Without an offset it follows the last range of the same file (4.4.4.2).
fn following(range: &str, uri: &str, ends: &mut BTreeMap<String, u64>) -> Option<(u64, u64)> {
    let (length, from) = match range.split_once('@') {
        Some((length, from)) => (length, from.parse().ok()?),
        None => (range, ends.get(uri).copied().unwrap_or_default()),
    };
    let length = length.parse().ok()?;
    ends.insert(uri.to_owned(), from + length);
    Some((from, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_each_other_within_a_file() {
        let mut ends = BTreeMap::new();
        let read = [("10@5", "a"), ("7", "a"), ("3", "b"), ("x", "a")];
        let read = read.map(|(range, uri)| following(range, uri, &mut ends));
        assert_eq!(read, [Some((5, 10)), Some((15, 7)), Some((0, 3)), None]);
    }
}
