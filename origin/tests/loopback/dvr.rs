//! What is on disk: read back as it was served, found again after a process was killed, and done without where it fails.

use crate::clip::Recipe;
use crate::follower::Follower;
use crate::http::Client;
use crate::process::{self, Process};
use crate::world::{World, config, send};
use bytes::Bytes;
use http::Method;
use manifest::follow::{self, Class, Followed, Media};
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;
use tokio::time::{interval, timeout};

fn on_disk(path: &Path, linger: Duration) -> config::Origin {
    config(|config| {
        config.disk.path = Some(path.to_owned());
        config.disk.retry = Duration::from_millis(100);
        config.window.memory = Duration::from_secs(6);
        config.window.length = Duration::from_secs(300);
        config.ingest.linger = linger;
    })
}

async fn media(client: &Client, path: &str) -> (String, Media) {
    let answer = client.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    match follow::read(answer.text()) {
        Ok(Followed::Media(media)) => (answer.text().to_owned(), media),
        other => panic!("{other:?}"),
    }
}

fn segments(media: &Media) -> impl Iterator<Item = &str> {
    media.objects.iter().filter(|object| object.class == Class::Segment).map(|object| object.uri.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_left_the_memory_is_read_from_disk_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::start(on_disk(folder.path(), Duration::from_millis(500)));
    let playing = world.play("a", Recipe::regular(40).clip(), 5.0);
    tokio::spawn(async { drop(playing.await) });
    let mut follower = Follower::join(&world.client, "a", "180p").await;
    let mut seen: HashMap<String, Bytes> = HashMap::new();
    while follower.step().await {
        for object in
            follower.media.objects.iter().filter(|object| matches!(object.class, Class::Part | Class::Segment))
        {
            if !seen.contains_key(&object.uri) {
                seen.insert(object.uri.clone(), follower.bytes(&object.uri).await);
            }
        }
    }
    assert!(seen.len() > 130, "{}", seen.len());
    for (uri, bytes) in &seen {
        assert_eq!(&follower.bytes(uri).await, bytes, "{uri}");
    }
    // Once the stream has ended, nothing of it is in memory.
    assert!(world.metric("vivid_origin_disk_reads_total{outcome=\"found\"}").await >= seen.len() as f64);
    let (uri, bytes) = seen.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let path = format!("/live/a/180p/{uri}");
    let middle = bytes.len() / 2;
    let ranged = world.client.send(Method::GET, &path, &[("range", &format!("bytes={middle}-"))]).await;
    assert_eq!((ranged.status.as_u16(), &ranged.body[..]), (206, &bytes[middle..]));
    let head = world.client.send(Method::HEAD, &path, &[]).await;
    assert_eq!((head.header("content-length"), head.body.len()), (bytes.len().to_string().as_str(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_origin_is_stopped_goes_on_in_the_next_one_without_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let clip = Recipe::regular(12).clip();
    let world = World::start(on_disk(folder.path(), Duration::from_secs(30)));
    drop(world.play("a", clip.clone(), 5.0).await.unwrap());
    let before = media(&world.client, "/live/a/180p/index.m3u8").await.1;
    world.stop().await;

    let world = World::start(on_disk(folder.path(), Duration::from_secs(30)));
    let (text, again) = media(&world.client, "/live/a/180p/index.m3u8").await;
    assert_eq!(segments(&again).take(5).collect::<Vec<_>>(), segments(&before).take(5).collect::<Vec<_>>());
    assert!(!text.contains("EXT-X-GAP") && again.head.next >= before.head.next, "{text}");
    let publisher = world.publish("a").unwrap();
    send(&publisher, clip.later(60_000), 5.0).await;
    let (text, after) = media(&world.client, "/live/a/180p/index.m3u8").await;
    assert!(text.contains("#EXT-X-DISCONTINUITY\n") && !text.contains("EXT-X-GAP"), "{text}");
    assert!(after.head.next > again.head.next);
    assert_eq!(world.metric("vivid_origin_epochs_total{reason=\"publisher_back\"}").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_disk_that_works_windows_live_in_memory_and_no_part_is_late() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("origin");
    std::fs::write(&path, "no folder").unwrap();
    let world = World::start(on_disk(&path, Duration::from_millis(500)));
    let playing = world.play("a", Recipe::regular(30).clip(), 5.0);
    tokio::spawn(async { drop(playing.await) });
    let mut follower = Follower::join(&world.client, "a", "180p").await;
    assert_eq!(world.metric("vivid_origin_disk_failing").await, 1.0);
    for _ in 0..30 {
        assert!(follower.step().await);
    }
    assert!(world.metric("vivid_origin_disk_segments_total{outcome=\"failed\"}").await > 2.0);
    // It is mended: from the next try on segments are kept.
    std::fs::remove_file(&path).unwrap();
    follower.follow_to_end().await;
    assert_eq!(world.metric("vivid_origin_disk_failing").await, 0.0);
    assert!(world.metric("vivid_origin_disk_segments_total{outcome=\"written\"}").await > 2.0);
    for uri in segments(&follower.media) {
        follower.bytes(uri).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_listed_is_there_where_the_folder_is_removed_under_a_running_origin() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::start(on_disk(folder.path(), Duration::from_millis(500)));
    let playing = world.play("a", Recipe::regular(60).clip(), 5.0);
    tokio::spawn(async { drop(playing.await) });
    let mut follower = Follower::join(&world.client, "a", "180p").await;
    while segments(&follower.media).count() < 12 {
        assert!(follower.step().await);
    }
    let oldest = segments(&follower.media).next().unwrap().to_owned();
    // At once, while files are written there.
    std::fs::rename(folder.path().join("a"), folder.path().join("gone")).unwrap();
    while world.metric("vivid_origin_disk_lost_total").await < 1.0 {
        assert!(follower.step().await);
    }
    assert!(follower.step().await);
    for uri in segments(&follower.media) {
        follower.bytes(uri).await;
    }
    assert!(segments(&follower.media).all(|uri| uri != oldest), "it was on disk alone");
    let written = world.metric("vivid_origin_disk_segments_total{outcome=\"written\"}").await;
    follower.follow_to_end().await;
    assert_eq!(world.metric("vivid_origin_disk_failing").await, 0.0);
    assert!(world.metric("vivid_origin_disk_segments_total{outcome=\"written\"}").await > written);
    for uri in segments(&follower.media) {
        follower.bytes(uri).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_is_as_long_as_the_memory_allows_and_says_so() {
    let world = World::start(config(|config| {
        config.window.memory_bytes_max = 1 << 20;
        config.window.memory = Duration::from_secs(6);
    }));
    let clip = Recipe { size: (640, 360), ..Recipe::regular(60) }.clip();
    drop(world.play("a", clip, 8.0).await.unwrap());
    let mut follower = Follower::join(&world.client, "a", "360p").await;
    assert!(world.metric("vivid_origin_window_shortened_total").await > 5.0);
    let listed = segments(&follower.media).count();
    assert!((6..25).contains(&listed), "{listed}");
    for uri in segments(&follower.media) {
        follower.bytes(uri).await;
    }
    let mpd = world.client.get("/live/a/index.mpd").await;
    assert!(!mpd.text().contains("timeShiftBufferDepth=\"PT7200"), "{}", mpd.text());
    follower.follow_to_end().await;
}

/// What a client read before: the bytes of every URL, the highest position, the epochs.
#[derive(Default)]
struct Memory {
    bytes: HashMap<String, Bytes>,
    next_msn: u64,
    first_msn: u64,
    epochs: Vec<String>,
}

impl Memory {
    /// Reads a playlist and everything in it that is new.
    async fn look(&mut self, client: &Client) -> Option<String> {
        let answer = client.get("/live/a/180p/index.m3u8").await;
        if answer.status != 200 {
            return None;
        }
        let Ok(Followed::Media(media)) = follow::read(answer.text()) else { panic!("{}", answer.text()) };
        assert!(media.head.next.msn >= self.next_msn, "{} after {}", media.head.next, self.next_msn);
        assert!(media.first_msn >= self.first_msn, "{} after {}", media.first_msn, self.first_msn);
        (self.next_msn, self.first_msn) = (media.head.next.msn, media.first_msn);
        for object in
            media.objects.iter().filter(|object| matches!(object.class, Class::Part | Class::Segment | Class::Init))
        {
            let epoch = object.uri.split('/').next().unwrap();
            if self.epochs.last().is_none_or(|last| last != epoch) && !self.epochs.iter().any(|known| known == epoch) {
                self.epochs.push(epoch.to_owned());
            }
            let lines: Vec<&str> = answer.text().lines().collect();
            let gap = lines.windows(3).any(|lines| lines[0] == "#EXT-X-GAP" && lines[2] == object.uri);
            if !gap && !self.bytes.contains_key(&object.uri) {
                let answer = client.get(&format!("/live/a/180p/{}", object.uri)).await;
                assert_eq!(answer.status, 200, "{}", object.uri);
                self.bytes.insert(object.uri.clone(), answer.body);
            }
        }
        Some(answer.text().to_owned())
    }

    /// Everything that is given again is what it was; how much that is.
    async fn compare(&self, client: &Client) -> usize {
        let mut same = 0;
        for (uri, bytes) in &self.bytes {
            let answer = client.get(&format!("/live/a/180p/{uri}")).await;
            if answer.status == 200 {
                assert!(answer.body == bytes, "{uri} has other bytes than it had");
                same += 1;
            } else {
                assert_eq!(answer.status, 404, "{uri}");
            }
        }
        same
    }
}

/// Only as a process of [`a_killed_origin_shows_its_window_again`].
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed() {
    process::live(|folder| on_disk(folder, Duration::from_secs(3))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_origin_shows_its_window_again() {
    let folder = tempfile::tempdir().unwrap();
    let start = |publishes| Process::start("dvr::a_process_that_is_killed", folder.path(), publishes);
    let mut memory = Memory::default();
    let mut seed = 11_u64;
    for life in 1..=4 {
        let process = start(true);
        let epochs = memory.epochs.len();
        if life > 1 {
            let text = memory.look(&process.client).await.expect("the stream is not there again");
            assert!(text.contains("#EXT-X-GAP"), "what was cut off is not told:\n{text}");
            let same = memory.compare(&process.client).await;
            assert!(same * 2 > memory.bytes.len(), "{same} of {} are there", memory.bytes.len());
        }
        let mut clock = interval(Duration::from_millis(20));
        let looked = async {
            while memory.epochs.len() == epochs {
                memory.look(&process.client).await;
                clock.tick().await;
            }
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            for _ in 0..20 + (seed >> 33) % 90 {
                memory.look(&process.client).await;
                clock.tick().await;
            }
        };
        timeout(Duration::from_secs(60), looked).await.expect("no new epoch came");
    }
    let numbers = memory.epochs.iter().map(|epoch| u64::from_str_radix(epoch, 36).unwrap());
    assert!(numbers.is_sorted_by(|before, after| before < after), "{:?}", memory.epochs);

    // Nobody publishes: it is there for as long as it waits for its publisher, then it ends.
    let process = start(false);
    let text = memory.look(&process.client).await.expect("the stream is not there again");
    assert!(text.contains("#EXT-X-DISCONTINUITY\n") && !text.contains("#EXT-X-ENDLIST"), "{text}");
    let mut clock = interval(Duration::from_millis(20));
    let ends = async {
        while !memory.look(&process.client).await.unwrap().ends_with("#EXT-X-ENDLIST\n") {
            clock.tick().await;
        }
    };
    timeout(Duration::from_secs(20), ends).await.expect("it does not end");
    assert!(memory.compare(&process.client).await * 2 > memory.bytes.len());
}
