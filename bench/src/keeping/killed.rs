//! Workers that are killed and that hang: what is passed through meanwhile, and when the ladder is back.

use super::site::{Follower, Site, Told};
use crate::procfs;
use crate::sys::{self, Signal};
use anyhow::{Context, ensure};
use serde::Serialize;
use std::path::Path;
use std::time::{Duration, Instant};

/// After this without a sign a worker counts as hung.
pub(super) const HANG: Duration = Duration::from_secs(1);
/// A worker that lived for ten seconds is started anew at once.
const APART: Duration = Duration::from_secs(11);
const BACK_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, Default, Serialize)]
pub(crate) struct Found {
    /// From the kill to the first part of the smallest rung's next epoch, in seconds.
    pub(crate) killed_s: Vec<f64>,
    /// The same from when the worker was stopped.
    pub(crate) hung_s: Vec<f64>,
    pub(crate) pictures_sent: u64,
    pub(crate) pictures_listed: u64,
    pub(crate) gaps: u64,
    /// How late any part of what is passed through was told, in milliseconds.
    pub(crate) late_max_ms: i64,
}

pub(super) fn measure(path: &Path, times: u16) -> anyhow::Result<Found> {
    let text = format!(
        "[origin.worker]\nhang_ms = {}\n[origin.ladder]\npreset = \"ultrafast\"\n\
        [[origin.ladder.rungs]]\nheight = 360\nbitrate = 800000\n",
        HANG.as_millis()
    );
    let site = Site::start(&text, path)?;
    let names = site.renditions()?;
    let (top, smallest) = names.first().zip(names.last()).context("the ladder has rungs")?;
    let (top, smallest) = (site.follow(top), site.follow(smallest));
    let mut found = Found::default();
    for turn in 0..times {
        // At another place of its segment each time.
        std::thread::sleep(APART + Duration::from_millis(u64::from(turn) * 370 % 2000));
        let hangs = turn % 2 == 1;
        let back = strike(&site, &smallest, hangs)?;
        eprintln!("{} {} of {times}: back after {back:.2} s", if hangs { "stop" } else { "kill" }, turn + 1);
        if hangs { &mut found.hung_s } else { &mut found.killed_s }.push(back);
    }
    std::thread::sleep(Duration::from_secs(3));
    let late = top.told().into_iter().map(|told| told.late_ms);
    found.late_max_ms = late.max().unwrap_or(0);
    let (playlist, sent) = site.end(&top.rendition)?;
    found.pictures_sent = sent;
    let lasted =
        playlist.lines().filter_map(|line| line.strip_prefix("#EXTINF:")?.strip_suffix(',')?.parse::<f64>().ok());
    found.pictures_listed = (lasted.sum::<f64>() * f64::from(crate::ladder::clip::FPS)).round() as u64;
    found.gaps = playlist.lines().filter(|line| *line == "#EXT-X-GAP").count() as u64;
    Ok(found)
}

/// Ends the worker; seconds until the rung has a part of another epoch.
fn strike(site: &Site, rung: &Follower, hangs: bool) -> anyhow::Result<f64> {
    let us = std::process::id();
    let worker = procfs::tree(us).into_iter().find(|pid| *pid != us && is_worker(*pid)).context("no worker runs")?;
    let epoch = rung.told().last().map(|told| told.epoch.clone()).context("the rung has no part")?;
    sys::signal(worker, if hangs { Signal::Stop } else { Signal::Kill });
    let (struck, until) = (site.now(), Instant::now() + BACK_MAX);
    let is_back = |told: &Told| told.at > struck && !told.gap && told.epoch != epoch;
    loop {
        if let Some(back) = rung.told().iter().find(|told| is_back(told)) {
            return Ok((back.at - struck).as_secs_f64());
        }
        ensure!(Instant::now() < until, "the ladder does not come back");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_worker(pid: u32) -> bool {
    let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.contains("transcode-worker")
}
