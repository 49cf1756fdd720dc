//! Rungs that go in the middle of an epoch and come back, for want of time or for what there is to see.

use crate::clip::Recipe;
use crate::follower::Follower;
use crate::world::{World, config, worker};
use config::{Pausing, Rung, Streams};
use std::time::Duration;

/// The source is passed through, and two rungs are below it.
fn two_rungs(config: &mut config::Origin) {
    let smaller = &mut config.ladder.rungs[0];
    (smaller.bitrate, smaller.coding.quality) = (200_000, None);
    let taller = Rung { name: "120p".to_owned(), height: 120, bitrate: 300_000, ..smaller.clone() };
    config.ladder.rungs.insert(0, taller);
}

struct Watching {
    world: World,
    /// The rung that goes: its playlist goes on all the time.
    rung: Follower,
}

impl Watching {
    async fn multivariant(&self) -> String {
        self.world.client.get("/live/a/index.m3u8").await.text().to_owned()
    }

    /// Follows the rung until who is new hears of it, or does not.
    async fn until(&mut self, is_there: bool) {
        while self.multivariant().await.contains("120p/index.m3u8") != is_there {
            assert!(self.rung.step().await, "the stream ended before: {}", self.rung.text);
        }
    }

    /// Whether the last period of the MPD has the rung; how many periods there are, and that the smaller one is in each.
    async fn periods(&self) -> (bool, usize) {
        let mpd = self.world.client.get("/live/a/index.mpd").await.text().to_owned();
        let periods: Vec<&str> = mpd.split("<Period ").skip(1).collect();
        assert!(periods.iter().all(|period| period.contains("id=\"90p\"")), "{mpd}");
        (periods.last().unwrap().contains("id=\"120p\""), periods.len())
    }

    /// What the source's playlist says of the rungs beside it.
    async fn reported(&self) -> [bool; 2] {
        let text = self.world.client.get("/live/a/180p/index.m3u8").await.text().to_owned();
        assert!(!text.contains("GAP"), "{text}");
        ["../120p/index.m3u8", "../90p/index.m3u8"].map(|uri| text.contains(uri))
    }

    /// From where the rung is there to where it is there again: what is told at each step.
    async fn sees_it_go_and_come_back(&mut self) {
        self.until(true).await;
        assert_eq!((self.periods().await, self.reported().await), ((true, 1), [true, true]));
        assert!(!self.rung.text.contains("GAP"), "{}", self.rung.text);

        self.until(false).await;
        assert_eq!((self.periods().await, self.reported().await), ((false, 2), [false, true]));
        for tag in ["GAP=YES", "#EXT-X-GAP\n"] {
            while !self.rung.text.contains(tag) {
                assert!(self.rung.step().await);
            }
        }

        self.until(true).await;
        assert_eq!((self.periods().await, self.reported().await), ((true, 3), [true, true]));
        let (parts, checked) = (self.rung.parts_seen, self.rung.segments_checked);
        while self.rung.parts_seen < parts + 10 || self.rung.segments_checked == checked {
            assert!(self.rung.step().await, "nothing comes after it is back: {}", self.rung.text);
        }
        self.assert_one_absence();
    }

    /// Its playlist has gaps in one place, and nothing else is to be noticed.
    fn assert_one_absence(&self) {
        let text = &self.rung.text;
        assert!(!text.contains("DISCONTINUITY\n"), "{text}");
        let gaps = gaps(text);
        let (first, last) = (gaps.iter().position(|gap| *gap).unwrap(), gaps.iter().rposition(|gap| *gap).unwrap());
        assert!(first > 0 && last + 1 < gaps.len() && gaps[first..=last].iter().all(|gap| *gap), "{gaps:?}");
        let durations: Vec<&str> = text.lines().filter(|line| line.starts_with("#EXTINF:")).collect();
        assert!(durations.iter().all(|duration| *duration == durations[0]), "{durations:?}");
    }
}

/// Of each segment that is listed, whether it is a gap.
fn gaps(playlist: &str) -> Vec<bool> {
    let mut gaps = Vec::new();
    let mut gap = false;
    for line in playlist.lines() {
        gap |= line == "#EXT-X-GAP";
        if !line.starts_with('#') {
            gaps.push(std::mem::take(&mut gap));
        }
    }
    gaps
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rung_that_there_is_no_time_for_is_gaps_and_nothing_to_who_is_new_until_it_is_back() {
    let mut program = worker();
    // The source is 0.
    program.args = ["--without", "1", "3", "6"].map(Into::into).to_vec();
    let world = World::start_with(config(two_rungs), program);
    let playing = world.play("a", Recipe::regular(24).clip(), 2.0);
    let rung = Follower::join(&world.client, "a", "120p").await;
    let mut watching = Watching { world, rung };
    watching.sees_it_go_and_come_back().await;
    assert_eq!(gaps(&watching.rung.text)[..6], [false, false, false, true, true, true]);
    drop(playing.await.unwrap());
    watching.world.stop().await;
}

/// A soft still for 12 s, then what moves and has edges.
const STILL: &[&str] = &[
    "-vf",
    "loop=loop=360:size=1:start=0,gblur=sigma=8:steps=2:enable='lt(t,12)'",
    "-g",
    "60",
    "-sc_threshold",
    "0",
    "-bf",
    "0",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_rung_that_shows_no_more_than_the_next_is_away_until_there_is_more_to_see() {
    let world = World::start(config(|config| {
        two_rungs(config);
        config.quality.sample_percent = 100;
        config.quality.pause = vec![Streams::of("a")];
        let run = Duration::from_secs(60);
        config.quality.pausing = Pausing { after_segments: 2, run, ..config.quality.pausing.clone() };
    }));
    let playing = world.play("a", Recipe { video: STILL, ..Recipe::regular(16) }.clip(), 2.0);
    let rung = Follower::join(&world.client, "a", "120p").await;
    let mut watching = Watching { world, rung };
    watching.sees_it_go_and_come_back().await;
    let world = &watching.world;
    assert_eq!(world.metric("vivid_transcode_pauses_total").await, 1.0);
    assert_eq!(world.metric("vivid_transcode_paused_rungs").await, 0.0);
    for rung in ["120p", "90p"] {
        let figure = async |name: &str| {
            let sum = world.metric(&format!("{name}_sum{{rung=\"{rung}\"}}")).await;
            let count = world.metric(&format!("{name}_count{{rung=\"{rung}\"}}")).await;
            assert!(count >= 2.0, "{count}");
            sum / count
        };
        let (ssim, psnr) = (figure("vivid_transcode_ssim").await, figure("vivid_transcode_psnr_db").await);
        assert!((0.8..1.0).contains(&ssim) && (22.0..60.0).contains(&psnr), "{rung}: {ssim}, {psnr} dB");
    }
    drop(playing.await.unwrap());
    watching.world.stop().await;
}
