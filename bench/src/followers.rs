//! `bench followers`: viewers that follow a live stream as LL-HLS clients do, each answer compared to the byte.

use crate::link::Link;
use crate::origin::site;
use crate::stats::percentile;
use crate::stream;
use anyhow::{Context, bail, ensure};
use manifest::Position;
use manifest::follow::{self, Class, Followed, Media};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

/// A viewer who comes later, or goes back, takes all segments of the window; so often.
const REWIND: Duration = Duration::from_secs(1);
/// Parts that are remembered to compare with: a window of three renditions.
const EXPECTED_MAX: usize = 256;

#[derive(Clone, Debug)]
pub(crate) struct Followers {
    /// Viewers are spread over them.
    pub(crate) servers: Vec<SocketAddr>,
    pub(crate) origin: SocketAddr,
    pub(crate) renditions: Vec<String>,
    pub(crate) viewers: usize,
    pub(crate) rewinders: usize,
    pub(crate) length: Duration,
}

/// What they saw.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) playlists: u64,
    /// Parts and segments asked for.
    pub(crate) media: u64,
    /// From the publication of a part to its last byte at a viewer, in microseconds.
    pub(crate) part_p50_us: u64,
    pub(crate) part_p99_us: u64,
    pub(crate) part_max_us: u64,
    /// As above, for the playlist that shows it.
    pub(crate) playlist_p99_us: u64,
    /// Parts that took longer than a part lasts.
    pub(crate) late_parts: u64,
    /// What ended a viewer, and how many of them.
    pub(crate) failures: BTreeMap<String, usize>,
}

#[derive(Default)]
struct Notes {
    seen: Seen,
    playlists_ns: Vec<(Position, u64)>,
    parts_ns: Vec<(Position, u64)>,
    expected: HashMap<String, Rc<Vec<u8>>>,
}

type Shared = Rc<RefCell<Notes>>;

/// Follows for the given time, then reduces what was noted.
pub(crate) async fn run(followers: &Followers) -> anyhow::Result<Seen> {
    let (notes, local) = (Shared::default(), LocalSet::new());
    let until = Instant::now() + followers.length;
    let mut tasks = Vec::new();
    for number in 0..followers.viewers + followers.rewinders {
        let server = followers.servers[number % followers.servers.len()];
        let rendition = &followers.renditions[number / followers.servers.len() % followers.renditions.len()];
        let (notes, rendition) = (notes.clone(), rendition.clone());
        let rewinds = number >= followers.viewers;
        tasks.push(local.spawn_local(async move {
            let followed = match rewinds {
                true => rewind(server, &rendition, &notes, until).await,
                false => follow(server, &rendition, &notes, (number % 2 == 0, until)).await,
            };
            if let Err(error) = followed {
                *notes.borrow_mut().seen.failures.entry(format!("{error:#}")).or_default() += 1;
            }
        }));
    }
    local
        .run_until(async {
            for task in tasks {
                task.await?;
            }
            anyhow::Ok(())
        })
        .await?;
    let mut origin = Link::open(followers.origin).await?;
    let published_ns: Vec<u64> = serde_json::from_slice(origin.get(site::PUBLISHED).await?.body)?;
    Ok(notes.take().reduced(&published_ns))
}

/// Every second viewer asks for the part that is hinted at while its playlist is on the way, as Apple's player does; the
/// others, as hls.js, once it is listed.
async fn follow(
    server: SocketAddr,
    rendition: &str,
    notes: &Shared,
    (ahead, until): (bool, Instant),
) -> anyhow::Result<()> {
    let (mut playlists, mut media) = (Link::open(server).await?, Link::open(server).await?);
    let playlist = stream::rendition(rendition);
    let mut next = reload(&mut playlists, &playlist, None, notes).await?.head.next;
    while Instant::now() < until {
        let target = format!("{playlist}?{}", stream::directives(next));
        let reload = reload(&mut playlists, &target, Some(next), notes);
        let shown = if ahead {
            let (shown, part) = tokio::join!(reload, part(&mut media, rendition, next, notes));
            part?;
            shown?
        } else {
            let shown = reload.await?;
            part(&mut media, rendition, next, notes).await?;
            shown
        };
        ensure!(shown.head.next > next, "a blocking request was answered before its time");
        next = stream::after(next);
        // Whoever fell behind has more than one to fetch.
        while next < shown.head.next {
            part(&mut media, rendition, next, notes).await?;
            next = stream::after(next);
        }
    }
    Ok(())
}

async fn rewind(server: SocketAddr, rendition: &str, notes: &Shared, until: Instant) -> anyhow::Result<()> {
    let mut link = Link::open(server).await?;
    let playlist = stream::rendition(rendition);
    while Instant::now() < until {
        let shown = reload(&mut link, &playlist, None, notes).await?;
        let folder = playlist.strip_suffix("index.m3u8").unwrap_or_default();
        for object in shown.objects.iter().filter(|object| object.class == Class::Segment) {
            media(&mut link, &format!("{folder}{}", object.uri), notes).await?;
        }
        sleep(REWIND).await;
    }
    Ok(())
}

async fn reload(link: &mut Link, target: &str, at: Option<Position>, notes: &Shared) -> anyhow::Result<Media> {
    let got = link.get(target).await.context("playlist")?;
    let (text, done_ns) = (std::str::from_utf8(got.body)?, got.done_ns);
    let Ok(Followed::Media(media)) = follow::read(text) else { bail!("no media playlist") };
    ensure!(text == stream::playlist(media.head.next), "a playlist that the origin never gave");
    let mut notes = notes.borrow_mut();
    notes.seen.playlists += 1;
    notes.playlists_ns.extend(at.map(|at| (at, done_ns)));
    Ok(media)
}

async fn part(link: &mut Link, rendition: &str, at: Position, notes: &Shared) -> anyhow::Result<()> {
    let done_ns = media(link, &stream::part_target(rendition, at), notes).await?;
    notes.borrow_mut().parts_ns.push((at, done_ns));
    Ok(())
}

async fn media(link: &mut Link, target: &str, notes: &Shared) -> anyhow::Result<u64> {
    let got = link.get(target).await.context("media")?;
    let mut notes = notes.borrow_mut();
    ensure!(got.body == notes.expected(target).as_slice(), "wrong bytes of media");
    notes.seen.media += 1;
    Ok(got.done_ns)
}

impl Notes {
    fn expected(&mut self, target: &str) -> Rc<Vec<u8>> {
        if self.expected.len() >= EXPECTED_MAX {
            self.expected.clear();
        }
        let made = || Rc::new(stream::media(target).unwrap_or_default());
        self.expected.entry(target.to_owned()).or_insert_with(made).clone()
    }

    fn reduced(self, published_ns: &[u64]) -> Seen {
        let after_us = |times: &[(Position, u64)]| {
            let after = |(at, done_ns): &(Position, u64)| {
                let published_ns = published_ns.get(stream::parts_after_first(*at)?)?;
                Some(done_ns.saturating_sub(*published_ns) / 1000)
            };
            let mut us: Vec<u64> = times.iter().filter_map(after).collect();
            us.sort_unstable();
            us
        };
        let (parts, playlists) = (after_us(&self.parts_ns), after_us(&self.playlists_ns));
        let longest_us = stream::PART.as_micros() as u64;
        Seen {
            part_p50_us: percentile(&parts, 50.0),
            part_p99_us: percentile(&parts, 99.0),
            part_max_us: percentile(&parts, 100.0),
            playlist_p99_us: percentile(&playlists, 99.0),
            late_parts: parts.iter().filter(|us| **us > longest_us).count() as u64,
            ..self.seen
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_late_when_it_takes_longer_than_it_lasts() {
        let second = stream::after(stream::FIRST);
        let parts_ns = vec![(stream::FIRST, 1_500_000), (second, 400_000_000), (stream::after(second), 1)];
        let seen = Notes { parts_ns, ..Notes::default() }.reduced(&[1_000_000, 2_000_000]);
        assert_eq!((seen.part_p50_us, seen.part_max_us, seen.late_parts), (500, 398_000, 1));
    }
}
