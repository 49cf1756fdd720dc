//! Watches a live presentation for a while, as players ask for it, and holds all it sees against the rules.

use super::rates::{Rates, of_variants};
use super::rules::{self, Checks};
use super::text::{self, Media};
use super::{
    BLOCKING, CADENCE, DASH_RULES, DELTA, DIRECTIVES, Finding, GZIP, REPORTS, RULES, Rule, SAME_BYTES, TARGET_CONSTANT,
    TOO_FAR, codecs, dash, keys, segments,
};
use crate::http::{Answer, get, get_with};
use anyhow::{Context, ensure};
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// What was seen.
#[derive(Debug, Default)]
pub struct Report {
    pub playlists: u64,
    pub reloads: u64,
    pub segments: u64,
    /// How often each rule was checked.
    pub checked: BTreeMap<Rule, u64>,
    /// The first of each rule's findings, and how many there were.
    pub found: BTreeMap<Rule, (u64, String)>,
    /// Time between two parts as they could be had, at most.
    pub slowest_part: Duration,
}

impl Report {
    /// Rules of a MUST that were broken.
    pub fn broken(&self) -> Vec<&Rule> {
        self.found.keys().filter(|rule| rule.must).collect()
    }

    pub(super) fn is_of_dash(&self) -> bool {
        self.checked.keys().any(|rule| DASH_RULES.contains(rule))
    }

    pub(super) fn add(&mut self, url: &str, checks: Checks) {
        for rule in checks.made {
            *self.checked.entry(rule).or_default() += 1;
        }
        for Finding { rule, detail } in checks.found {
            self.found.entry(rule).or_insert_with(|| (0, format!("{url}: {detail}"))).0 += 1;
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.playlists += other.playlists;
        self.reloads += other.reloads;
        self.segments += other.segments;
        self.slowest_part = self.slowest_part.max(other.slowest_part);
        for (rule, count) in other.checked {
            *self.checked.entry(rule).or_default() += count;
        }
        for (rule, (count, first)) in other.found {
            self.found.entry(rule).or_insert((0, first)).0 += count;
        }
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { playlists, reloads, segments, slowest_part, .. } = self;
        writeln!(
            f,
            "{playlists} playlists, {reloads} reloads, {segments} segments read; slowest part {slowest_part:?}\n"
        )?;
        writeln!(f, "| rule | section | level | checked | broken | first |\n|---|---|---|---:|---:|---|")?;
        for rule in if self.is_of_dash() { DASH_RULES } else { RULES } {
            let level = if rule.must { "MUST" } else { "SHOULD" };
            let checked = self.checked.get(rule).copied().unwrap_or(0);
            let (broken, first) = self.found.get(rule).cloned().unwrap_or_default();
            writeln!(f, "| {} | {} | {level} | {checked} | {broken} | {first} |", rule.says, rule.section)?;
        }
        Ok(())
    }
}

/// Every so many reloads a delta update is asked for, and a segment is compared with its parts.
const DEEP_EVERY: u64 = 4;
const REDIRECTS_NONE: &str = "no redirects are followed: give the URL that answers";

/// Watches for `length` of time what the multivariant playlist or the MPD at `url` names. What has ended is read once.
///
/// # Errors
/// The presentation cannot be read at all. What breaks a rule is in the report.
pub async fn watch(url: &str, length: Duration) -> anyhow::Result<Report> {
    let answer = answered(url).await?;
    let said = answer.text();
    if said.trim_start().starts_with('<') {
        return dash::watch(url, length).await;
    }
    let mut report = Report { playlists: 1, ..Report::default() };
    ensure!(text::is_multivariant(&said), "{url} is no multivariant playlist and no MPD; give one");
    let said = text::multivariant(&said);
    let mut checks = Checks::default();
    rules::of_multivariant(&said, &mut checks);
    compressed(url, &mut checks).await?;
    report.add(url, checks);
    let renditions = said.renditions.iter().filter_map(|rendition| rendition.get("URI"));
    let mut playlists: Vec<String> = said.variants.iter().map(|(_, uri)| uri).chain(renditions).cloned().collect();
    playlists.sort();
    playlists.dedup();
    let urls: Vec<String> = playlists.iter().map(|uri| resolve(url, uri)).collect();
    let mut watched = JoinSet::new();
    for url in urls
        .iter()
        .cloned()
        .chain(said.iframes.iter().chain(&said.images).filter_map(|list| Some(resolve(url, list.get("URI")?))))
    {
        watched.spawn(async move { one(&url, length).await.with_context(|| url.clone()).map(|seen| (url, seen)) });
    }
    let mut last: BTreeMap<String, Media> = BTreeMap::new();
    let mut rates = BTreeMap::new();
    while let Some(seen) = watched.join_next().await {
        let (url, (of_one, media, weighs)) = seen??;
        report.merge(of_one);
        rates.extend(weighs.map(|weighs| (url.clone(), weighs)));
        last.insert(url, media);
    }
    let mut checks = Checks::default();
    of_all(&urls, &last, &mut checks);
    keys::of_session((url, &said), last.iter(), resolve, &mut checks);
    let is_variant = |playlist: &str| said.variants.iter().any(|(_, uri)| resolve(url, uri) == playlist);
    subtitles(&last, is_variant, &mut checks).await?;
    let held = held(&last).await?;
    codecs::of_variants(&said, |uri| held.get(&resolve(url, uri)).cloned(), &mut checks);
    let ended = last.values().all(|media| media.ended);
    of_variants(&said, |uri| rates.get(&resolve(url, uri)).copied(), ended, &mut checks);
    report.add(url, checks);
    Ok(report)
}

/// The rules between the playlists of a presentation.
fn of_all(urls: &[String], last: &BTreeMap<String, Media>, checks: &mut Checks) {
    let targets = |media: &Media| media.target_durations.clone();
    let first = last.values().next().map(targets);
    for (url, media) in last {
        checks.check(TARGET_CONSTANT, first == Some(targets(media)), || format!("{url}: {:?}", targets(media)));
        if media.part_target.is_none() || media.ended {
            continue;
        }
        for other in urls.iter().filter(|other| *other != url) {
            let reported = media.reports.iter().any(|report| {
                report.get("URI").is_some_and(|uri| resolve(url, uri) == *other) && report.contains_key("LAST-MSN")
            });
            checks.check(REPORTS, reported, || format!("{url} does not report {other}"));
        }
    }
}

/// Holds subtitles against the media beside them: sound if there is some, since it weighs less.
async fn subtitles(
    last: &BTreeMap<String, Media>,
    is_variant: impl Fn(&str) -> bool,
    checks: &mut Checks,
) -> anyhow::Result<()> {
    let lists = |media: &Media, kind: &str| media.segments.iter().any(|segment| segment.uri.contains(kind));
    let timed =
        last.iter().filter(|(_, media)| !media.iframes_only && media.segments.iter().any(|one| one.map.is_some()));
    let others = timed.min_by_key(|(url, _)| is_variant(url)).map(|(url, media)| (url.as_str(), media));
    for (url, media) in last.iter().filter(|(_, media)| lists(media, ".vtt")) {
        segments::subtitles((url, media), others, checks).await?;
    }
    Ok(())
}

/// What the newest init section of each playlist holds; nothing of those that are encrypted as a whole.
async fn held(last: &BTreeMap<String, Media>) -> anyhow::Result<BTreeMap<String, String>> {
    let mut held = BTreeMap::new();
    for (url, media) in last {
        let map = media.segments.iter().rev().find_map(|segment| segment.map.as_deref()).map(text::attributes);
        let Some(uri) = map.as_ref().and_then(|map| map.get("URI")) else { continue };
        let init = get(&resolve(url, uri)).await?;
        held.extend(codecs::of_init(&init.body).map(|codec| (url.clone(), codec)));
    }
    Ok(held)
}

async fn one(url: &str, length: Duration) -> anyhow::Result<(Report, Media, Option<Rates>)> {
    let mut report = Report { playlists: 1, ..Report::default() };
    let mut before = text::media(&answered(url).await?.text());
    let mut checks = Checks::default();
    rules::of_one(&before, &mut checks);
    compressed(url, &mut checks).await?;
    if before.can_block() && !before.ended {
        directives(url, &before, &mut checks).await?;
    }
    let target = Duration::try_from_secs_f64(before.target_durations.first().copied().unwrap_or(1.0))?;
    let mut poll = interval(target / 2);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (until, mut came) = (Instant::now() + length, None::<Instant>);
    while Instant::now() < until && !before.ended {
        let blocking = before.can_block();
        if !blocking {
            poll.tick().await;
        }
        let asked = if blocking { directed(url, &next_query(&before)) } else { url.to_owned() };
        let answer = get(&asked).await?;
        ensure!(answer.status == 200, "{asked}: {} {}", answer.status, answer.text());
        let after = text::media(&answer.text());
        report.reloads += 1;
        rules::of_one(&after, &mut checks);
        rules::of_two(&before, &after, &mut checks);
        if blocking {
            let brought = after.ended || after.next() > before.next();
            checks.check(BLOCKING, brought, || format!("{asked} brought {:?}", after.next()));
        }
        if let Some(part_target) = after.part_target.filter(|_| blocking && after.next().1 > 1) {
            let took = came.replace(Instant::now()).map(|came| came.elapsed());
            // Two parts at once are no slow one.
            if let Some(took) = took.filter(|_| after.next() == (before.next().0, before.next().1 + 1)) {
                report.slowest_part = report.slowest_part.max(took);
                checks
                    .check(CADENCE, took.as_secs_f64() <= 1.5 * part_target, || format!("{took:?} of {part_target} s"));
            }
        } else {
            came = Some(Instant::now());
        }
        if report.reloads % DEEP_EVERY == 1 {
            delta(url, &after, &mut checks).await?;
            report.segments += same_bytes(url, &after, &mut checks).await?;
        }
        before = after;
    }
    if before.ended {
        let after = text::media(&answered(url).await?.text());
        rules::of_two(&before, &after, &mut checks);
    }
    let (segments, rates) = segments::fetch(url, &before, &mut checks).await?;
    report.segments += segments;
    report.add(url, checks);
    Ok((report, before, rates))
}

/// What a player asks for next.
fn next_query(media: &Media) -> String {
    let (msn, part) = media.next();
    match media.part_target {
        Some(_) => format!("_HLS_msn={msn}&_HLS_part={part}"),
        None => format!("_HLS_msn={msn}"),
    }
}

async fn directives(url: &str, media: &Media, checks: &mut Checks) -> anyhow::Result<()> {
    let (msn, _) = media.next();
    let alone = get(&directed(url, "_HLS_part=0")).await?;
    checks.check(DIRECTIVES, alone.status == 400, || format!("_HLS_part alone: {}", alone.status));
    let old = get(&directed(url, &format!("_HLS_msn={}", media.first_msn))).await?;
    let there = old.status == 200 && text::media(&old.text()).next() >= media.next();
    checks.check(DIRECTIVES, there, || format!("_HLS_msn of the first segment: {}", old.status));
    let far = get(&directed(url, &format!("_HLS_msn={}", msn + 4))).await?;
    checks.check(TOO_FAR, far.status == 400, || format!("four segments ahead: {}", far.status));
    Ok(())
}

/// A delta update, against the whole playlist if that has not moved meanwhile.
async fn delta(url: &str, known: &Media, checks: &mut Checks) -> anyhow::Result<()> {
    if known.control_s("CAN-SKIP-UNTIL").is_none() || known.ended {
        return Ok(());
    }
    let of_dates = known.control.as_ref().is_some_and(|control| control.contains_key("CAN-SKIP-DATERANGES"));
    for (skip, rule) in [("YES", rules::of_delta as fn(&_, &_, &mut _)), ("v2", rules::of_delta_of_dates)] {
        if skip == "v2" && !of_dates {
            continue;
        }
        let delta = text::media(&answered(&directed(url, &format!("_HLS_skip={skip}"))).await?.text());
        let whole = text::media(&answered(url).await?.text());
        if delta.first_msn == whole.first_msn && delta.next() == whole.next() {
            rule(&delta, &whole, checks);
        } else {
            let late = || "the delta is newer than the playlist after it".to_owned();
            checks.check(DELTA, delta.next() <= whole.next(), late);
        }
    }
    Ok(())
}

/// The newest whole segment that has its parts listed; how many there were.
async fn same_bytes(url: &str, media: &Media, checks: &mut Checks) -> anyhow::Result<u64> {
    let listed = media.segments.iter().rev().find(|segment| !segment.parts.is_empty() && segment.range.is_none());
    let Some(segment) = listed.filter(|segment| segment.parts.iter().all(|part| part.range.is_none() && !part.gap))
    else {
        return Ok(0);
    };
    let whole = answered(&resolve(url, &segment.uri)).await?.body;
    let mut parts = Vec::with_capacity(whole.len());
    for part in &segment.parts {
        parts.extend_from_slice(&answered(&resolve(url, &part.uri)).await?.body);
    }
    checks.check(SAME_BYTES, whole == parts, || {
        format!("{}: {} bytes, {} in parts", segment.uri, whole.len(), parts.len())
    });
    Ok(1)
}

async fn compressed(url: &str, checks: &mut Checks) -> anyhow::Result<()> {
    let answer = get_with(url, &[("accept-encoding", "gzip")]).await?;
    let coding = answer.header("content-encoding").to_owned();
    checks.check(GZIP, coding == "gzip", || format!("{url} is sent as {coding:?}"));
    Ok(())
}

pub(super) async fn answered(url: &str) -> anyhow::Result<Answer> {
    let answer = get(url).await.with_context(|| format!("{url} cannot be asked"))?;
    ensure!(!answer.status.is_redirection(), "{url}: {}; {REDIRECTS_NONE}", answer.status);
    ensure!(answer.status == 200, "{url}: {} {}", answer.status, answer.text());
    Ok(answer)
}

fn directed(url: &str, query: &str) -> String {
    let joint = if url.contains('?') { '&' } else { '?' };
    format!("{url}{joint}{query}")
}

/// A reference, seen from a playlist (RFC 3986, 5.3, as far as playlists go).
pub(super) fn resolve(base: &str, reference: &str) -> String {
    if reference.contains("://") {
        return reference.to_owned();
    }
    let path_begins = base.find("://").map_or(0, |scheme| scheme + 3);
    let authority_ends = base[path_begins..].find('/').map_or(base.len(), |slash| path_begins + slash);
    let (origin, path) = base.split_at(authority_ends);
    if reference.starts_with('/') {
        return format!("{origin}{reference}");
    }
    let path = path.split('?').next().unwrap_or_default();
    let mut steps: Vec<&str> = path.split('/').collect();
    steps.pop();
    for step in reference.split('/') {
        match step {
            ".." => drop(steps.pop()),
            "." => {}
            _ => steps.push(step),
        }
    }
    format!("{origin}{}", steps.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_seen_from_their_playlist() {
        for (reference, expected) in [
            ("e/1.m4s", "http://h:1/a/b/e/1.m4s"),
            ("../c/index.m3u8?x=1", "http://h:1/a/c/index.m3u8?x=1"),
            ("/z", "http://h:1/z"),
            ("http://i/z", "http://i/z"),
        ] {
            assert_eq!(resolve("http://h:1/a/b/index.m3u8?t=/../", reference), expected);
        }
    }
}
