//! Watches a live MPD and its segments for a while, as players ask for them, and holds all it sees against the rules.

mod cues;
mod mpd;
mod rules;
pub(super) mod segment;

use super::rules::Checks;
use super::text::unix_s;
use super::watch::{Report, answered, resolve};
use super::{MPD_CLOCK, MPD_TYPE, SEG_BOXES, SEG_GROWS, SEG_NOT_YET, SEG_THERE};
use crate::http::{get, open};
use anyhow::Context;
use mpd::{Mpd, Period, Representation, Set, Template};
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// How far this machine's clock and the stream's may be apart; what is younger than that may not be there yet.
const CLOCKS_APART_S: f64 = 1.0;
/// Longer than any segment.
const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// Of a count of segments: durations are told in milliseconds.
const ROUNDING: f64 = 0.01;
/// Segments ahead that nobody can have.
const FAR: u64 = 10;

/// A representation's next segment, with what is said of it.
struct Asked {
    url: String,
    number: u64,
    period: Period,
    set: Set,
    representation: Representation,
    template: Template,
    ast: f64,
    /// Of its period: it may be shorter than the others.
    last: bool,
}

pub(super) async fn watch(url: &str, length: Duration) -> anyhow::Result<Report> {
    let mut report = Report { playlists: 1, ..Report::default() };
    let mut before: Option<Mpd> = None;
    let (until, mut ahead) = (Instant::now() + length, None);
    let mut poll = interval(Duration::from_millis(500));
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next_reload = Instant::now();
    let mut segments: JoinSet<anyhow::Result<Checks>> = JoinSet::new();
    let (mut asked, mut told) = (BTreeSet::new(), BTreeSet::new());
    while Instant::now() < until && before.as_ref().is_none_or(|mpd| mpd.dynamic) {
        poll.tick().await;
        if Instant::now() >= next_reload {
            let mut checks = Checks::default();
            let after = fetch(url, &mut checks).await?;
            rules::of_one(&after, &mut checks);
            match &before {
                Some(before) => rules::of_two(before, &after, &mut checks),
                None => {
                    ahead = clock(url, &after, &mut checks).await;
                    bounds(url, &after, ahead.unwrap_or(0.0), &mut checks).await?;
                }
            }
            inits(url, &after, &mut told, &mut checks).await?;
            report.reloads += 1;
            report.add(url, checks);
            next_reload = Instant::now() + Duration::from_secs_f64(after.update_s.unwrap_or(1.0).clamp(0.5, 30.0));
            before = Some(after);
        }
        for one in before.iter().filter(|mpd| mpd.dynamic).flat_map(|mpd| edge(url, mpd, ahead.unwrap_or(0.0))) {
            if asked.insert(one.url.clone()) {
                report.segments += 1;
                segments.spawn(async move { follow(&one).await.with_context(|| one.url.clone()) });
            }
        }
        while let Some(done) = segments.try_join_next() {
            report.add(url, done??);
        }
    }
    while let Some(done) = segments.join_next().await {
        report.add(url, done??);
    }
    for one in before.iter().filter(|mpd| !mpd.dynamic).flat_map(|mpd| all(url, mpd)) {
        report.segments += 1;
        report.add(url, follow(&one).await.with_context(|| one.url.clone())?);
    }
    Ok(report)
}

async fn fetch(url: &str, checks: &mut Checks) -> anyhow::Result<Mpd> {
    let answer = answered(url).await?;
    let kind = answer.header("content-type").to_owned();
    checks.check(MPD_TYPE, kind.starts_with("application/dash+xml"), || format!("sent as {kind:?}"));
    mpd::read(&answer.text()).with_context(|| format!("{url} cannot be read"))
}

/// How far the stream's clock is ahead of this machine's, in seconds.
async fn clock(url: &str, mpd: &Mpd, checks: &mut Checks) -> Option<f64> {
    if !mpd.dynamic {
        return None;
    }
    let of_http = |(scheme, _): &&(String, String)| scheme.contains(":http-iso:") || scheme.contains(":http-xsdate:");
    let mut ahead = None;
    if let Some((_, value)) = mpd.clocks.iter().find(of_http) {
        let reference = value.split_whitespace().next().unwrap_or_default();
        let answer = get(&resolve(url, reference)).await.ok()?;
        ahead = unix_s(answer.text().trim()).map(|said| said - now_s());
        let told = || format!("{reference} says {:?}, {ahead:?} s ahead", answer.text().trim());
        checks.check(MPD_CLOCK, ahead.is_some_and(|ahead: f64| ahead.abs() <= CLOCKS_APART_S), told);
    } else {
        checks.check(MPD_CLOCK, !mpd.clocks.is_empty(), || "there is none".to_owned());
    }
    ahead
}

/// The init sections that are told for the first time.
async fn inits(url: &str, mpd: &Mpd, seen: &mut BTreeSet<String>, checks: &mut Checks) -> anyhow::Result<()> {
    for (set, representation, template) in mpd.periods.iter().flat_map(Period::templates) {
        let Some(name) = &template.initialization else { continue };
        let init = located(url, mpd, (set, representation), &template.name(name, representation, 0));
        if seen.contains(&init) {
            continue;
        }
        let answer = get(&init).await?;
        let holds = answer.status == 200 && answer.body.get(4..8) == Some(b"ftyp");
        checks.check(SEG_BOXES, holds, || format!("{init}, an init section: {}", answer.status));
        if holds {
            rules::of_init((set, representation), &answer.body, checks);
        }
        seen.insert(init);
    }
    Ok(())
}

/// The oldest segments that are promised, and some that cannot be there yet.
async fn bounds(url: &str, mpd: &Mpd, ahead: f64, checks: &mut Checks) -> anyhow::Result<()> {
    let (Some(ast), Some(period)) = (mpd.start_unix_s.filter(|_| mpd.dynamic), mpd.periods.last()) else {
        return Ok(());
    };
    for (set, representation, template) in period.templates() {
        let Some(length_s) = template.length_s() else { continue };
        let newest = template.newest(now_s() + ahead - ast - period.start_s.unwrap_or(0.0), length_s, 0.0);
        let Some(newest) = newest else { continue };
        let name = |number| template.name(&template.media, representation, number);
        let segment = |number| located(url, mpd, (set, representation), &name(number));
        if let Some(depth_s) = mpd.depth_s {
            // One that leaves this very moment is nobody's.
            let oldest = (newest + 2).saturating_sub((depth_s / length_s) as u64).max(template.start_number);
            let status = get(&segment(oldest)).await?.status;
            checks.check(SEG_THERE, status == 200, || {
                format!("{} of {}, the oldest: {status}", oldest, representation.id)
            });
        }
        let far = get(&segment(newest + FAR)).await?.status;
        checks.check(SEG_NOT_YET, far == 404, || format!("{FAR} ahead of {}: {far}", representation.id));
    }
    Ok(())
}

/// Every segment of what has ended.
fn all(url: &str, mpd: &Mpd) -> Vec<Asked> {
    let mut all = Vec::new();
    for (index, period) in mpd.periods.iter().enumerate() {
        for (set, representation, template) in period.templates() {
            let (Some(length_s), Some(all_s)) = (template.length_s(), mpd.length_s(index)) else { continue };
            let end = template.start_number + (all_s / length_s - ROUNDING).ceil().max(0.0) as u64;
            for number in template.start_number..end {
                let url =
                    located(url, mpd, (set, representation), &template.name(&template.media, representation, number));
                let (period, set, representation) = (period.clone(), set.clone(), representation.clone());
                let (template, last) = (template.clone(), number + 1 == end);
                all.push(Asked { url, number, period, set, representation, template, ast: 0.0, last });
            }
        }
    }
    all
}

/// The newest segment of each representation that its availability time has come for.
fn edge(url: &str, mpd: &Mpd, ahead: f64) -> Vec<Asked> {
    let (Some(ast), Some(period)) = (mpd.start_unix_s, mpd.periods.last()) else { return Vec::new() };
    let since_start = now_s() + ahead - ast - period.start_s.unwrap_or(0.0);
    let newest = period.templates().filter_map(|(set, representation, template)| {
        let number = template.newest(since_start, template.length_s()?, template.early_s.unwrap_or(0.0))?;
        let name = template.name(&template.media, representation, number);
        let url = located(url, mpd, (set, representation), &name);
        let (period, set, representation) = (period.clone(), set.clone(), representation.clone());
        Some(Asked { url, number, period, set, representation, template: template.clone(), ast, last: false })
    });
    newest.collect()
}

async fn follow(asked: &Asked) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let Asked { number, set, representation, template, .. } = asked;
    let begun = now_s();
    let mut answer = open(&asked.url).await?;
    let status = answer.status();
    checks.check(SEG_THERE, status == 200, || format!("{}: {status}", asked.url));
    if status != 200 {
        return Ok(checks);
    }
    let (mut bytes, mut first) = (Vec::new(), None);
    let whole = async {
        while let Some(chunk) = answer.chunk().await? {
            first.get_or_insert_with(now_s);
            bytes.extend_from_slice(&chunk);
        }
        anyhow::Ok(())
    };
    timeout(BODY_DEADLINE, whole).await??;
    if let (Some(length_s), Some(first), Some(early_s)) = (template.length_s(), first, template.early_s) {
        let since = (number + 1 - template.start_number) as f64 * length_s;
        let end = asked.ast + asked.period.start_s.unwrap_or(0.0) + since;
        // Who comes as it ends learns nothing.
        if begun < end - early_s / 2.0 {
            checks.check(SEG_GROWS, first < end, || format!("its first byte came {:.3} s after its end", first - end));
        }
    }
    if set.is_image() {
        rules::of_image(&bytes, representation, &mut checks);
        return Ok(checks);
    }
    match segment::read(&bytes) {
        Ok(fragments) => {
            checks.check(SEG_BOXES, true, String::new);
            rules::of_segment((set, template, *number, asked.last), &fragments, &mut checks);
            if set.is_text() {
                rules::of_cues(&bytes, &mut checks);
            }
        }
        Err(error) => checks.check(SEG_BOXES, false, || format!("{}: {error:#}", asked.url)),
    }
    Ok(checks)
}

fn located(url: &str, mpd: &Mpd, (set, representation): (&Set, &Representation), name: &str) -> String {
    let bases = mpd.base.iter().chain(&set.base).chain(&representation.base);
    let base = bases.fold(url.to_owned(), |base, next| resolve(&base, next));
    resolve(&base, name)
}

fn now_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
