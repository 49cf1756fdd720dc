//! The life of a stream: publishers that come, go, come back, quarrel, and leave their grid.

use crate::clip::Recipe;
use crate::follower::Follower;
use crate::world::{World, config, worker};
use media::{Frame, TrackKind};
use origin::{Ingested, Refusal, StreamClosed};
use std::time::Duration;
use tokio::time::timeout;
use transcode::WorkerProgram;

#[tokio::test(flavor = "multi_thread")]
async fn every_rendition_is_whole_from_the_first_playlist_follow_to_end() {
    let world = World::start(config(|_| {}));
    let playing = world.play("a", Recipe::regular(10).clip(), 2.0);
    let (client, mut following) = (world.client.clone(), Vec::new());
    for rendition in ["180p", "90p", "audio"] {
        let client = client.clone();
        following.push(tokio::spawn(async move {
            let mut follower = Follower::join(&client, "a", rendition).await;
            let first = follower.media.head.next;
            follower.follow_to_end().await;
            (first, follower)
        }));
    }
    drop(playing.await.unwrap());
    let mut ends = Vec::new();
    for following in following {
        let (first, follower) = following.await.unwrap();
        assert!(follower.segments_checked >= 4 && follower.parts_seen >= 24, "from {first}");
        assert!(follower.text.ends_with("#EXT-X-ENDLIST\n"));
        assert!(!follower.text.contains("#EXT-X-DISCONTINUITY\n") && !follower.text.contains("PRELOAD-HINT"));
        ends.push(follower.media.head.next);
    }
    assert!(ends.iter().all(|end| end == &ends[0]), "all renditions end in one segment: {ends:?}");

    let multivariant = client.get("/live/a/index.m3u8").await;
    assert_eq!(multivariant.text().matches("#EXT-X-STREAM-INF").count(), 2);
    assert!(multivariant.text().contains("RESOLUTION=160x90,FRAME-RATE=30.000,AUDIO=\"audio\"\n90p/index.m3u8"));
    assert_eq!(world.metric("vivid_origin_epochs_total{reason=\"first\"}").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_playlist_reports_where_the_others_are() {
    let world = World::start(config(|_| {}));
    let playing = world.play("a", Recipe::regular(6).clip(), 2.0);
    let mut audio = Follower::join(&world.client, "a", "audio").await;
    for _ in 0..6 {
        assert!(audio.step().await);
        for other in ["180p", "90p"] {
            let uri = format!("#EXT-X-RENDITION-REPORT:URI=\"../{other}/index.m3u8\",LAST-MSN=");
            assert!(audio.text.contains(&uri), "{}", audio.text);
        }
        assert!(!audio.text.contains("URI=\"../audio/"));
    }
    playing.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_has_one_publisher_at_a_time() {
    let world = World::start(config(|_| {}));
    let first = world.publish("a").unwrap();
    assert_eq!(world.publish("a").unwrap_err(), Refusal::NameTaken);
    world.publish("b").unwrap();
    drop(first);
    let back = timeout(Duration::from_secs(5), async {
        loop {
            match world.publish("a") {
                Ok(publisher) => break publisher,
                Err(refusal) => assert_eq!(refusal, Refusal::NameTaken),
            }
            tokio::task::yield_now().await;
        }
    });
    assert!(back.await.is_ok(), "the name is free once its publisher has gone");
}

/// The configuration of an origin whose publishers have keys.
fn keyed(takeover: bool) -> config::Origin {
    config(|config| {
        config.ingest.open = false;
        config.ingest.takeover = takeover;
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_with_a_key_takes_its_name_over_from_a_dead_connection() {
    let world = World::start(keyed(true));
    let clip = Recipe::regular(5).clip();
    // It stays connected and sends nothing more, as one does whose network is gone.
    let dead = world.play("a", clip.clone(), 4.0).await.unwrap();
    let mut follower = Follower::join(&world.client, "a", "180p").await;
    let publisher = world.publish("a").unwrap();
    let sending = tokio::spawn(async move {
        crate::world::send(&publisher, clip.later(60_000), 2.0).await;
        publisher
    });
    let closed = timeout(Duration::from_secs(5), dead.closed()).await;
    assert_eq!(closed, Ok(StreamClosed::TakenOver));
    while !follower.text.contains("#EXT-X-DISCONTINUITY\n") {
        assert!(follower.step().await, "the stream ended");
    }
    let publisher = sending.await.unwrap();
    drop(dead);
    let next = world.publish("a").unwrap();
    assert_eq!(timeout(Duration::from_secs(5), publisher.closed()).await, Ok(StreamClosed::TakenOver));
    assert_eq!(world.metric("vivid_origin_epochs_total{reason=\"publisher_back\"}").await, 1.0);
    drop(next);
    assert_eq!(world.metric("vivid_origin_streams").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_not_taken_over_without_a_key_or_against_the_configuration() {
    for config in [keyed(false), config(|config| assert!(config.ingest.open && config.ingest.takeover))] {
        let world = World::start(config);
        let _first = world.publish("a").unwrap();
        assert_eq!(world.publish("a").unwrap_err(), Refusal::NameTaken);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_comes_back_goes_on_after_a_discontinuity() {
    let world = World::start(config(|config| config.ingest.linger = Duration::from_secs(20)));
    let clip = Recipe::regular(5).clip();
    let mut publisher = world.play("a", clip.until(4_500), 3.0).await.unwrap();
    let mut followers = Vec::new();
    for rendition in ["180p", "90p", "audio"] {
        followers.push(Follower::join(&world.client, "a", rendition).await);
    }
    let before = followers[0].media.head.next.msn;
    drop(publisher);
    // The same encoder an hour later.
    publisher = world.publish_again("a").await;
    let again = clip.later(3_600_000);
    let sending = tokio::spawn(async move {
        crate::world::send(&publisher, again, 3.0).await;
        publisher
    });
    for follower in &mut followers {
        while follower.text.matches("#EXT-X-DISCONTINUITY\n").count() == 0 {
            assert!(follower.step().await, "the stream ended");
        }
        assert_eq!(follower.text.matches("#EXT-X-MAP").count(), 2, "{}", follower.text);
        assert_eq!(follower.text.matches("#EXT-X-DISCONTINUITY\n").count(), 1);
        assert!(follower.media.head.next.msn > before);
    }
    let breaks: Vec<_> = followers.iter().map(|follower| breaks(&follower.text)).collect();
    assert!(breaks.iter().all(|at| at == &breaks[0]), "the break is at one number in all renditions: {breaks:?}");
    assert_eq!(world.metric("vivid_origin_epochs_total{reason=\"publisher_back\"}").await, 1.0);
    drop(sending.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_leaves_its_grid_is_encoded_under_the_same_name() {
    let world = World::start(config(|_| {}));
    let regular = Recipe::regular(5).clip();
    // From the fifth second on it has no key frame where a segment should begin.
    const IRREGULAR: &[&str] = &["-g", "600", "-bf", "0", "-force_key_frames", "expr:eq(n,0)+eq(n,77)+eq(n,150)"];
    let irregular = Recipe { video: IRREGULAR, ..Recipe::regular(8) };
    let mut clip = regular.clone();
    let later = irregular.clip().later(5_000);
    clip.items.extend(later.items.into_iter().filter(|item| matches!(item, Ingested::Frame(_))));
    let playing = world.play("a", clip, 2.0);
    let mut follower = Follower::join(&world.client, "a", "180p").await;
    while !follower.text.contains("#EXT-X-DISCONTINUITY\n") {
        assert!(follower.step().await, "the stream ended:\n{}", follower.text);
    }
    let first = follower.media.head.next;
    follower.until(manifest::Position { msn: first.msn + 1, part: 0 }).await;
    assert_eq!(world.metric("vivid_origin_epochs_total{reason=\"off_grid\"}").await, 1.0);
    for (tag, count) in [("#EXT-X-TARGETDURATION:2\n", 1), ("PART-TARGET=0.34200\n", 1), ("DURATION=0.26667", 0)] {
        assert_eq!(follower.text.matches(tag).count(), count, "{tag} of {}", follower.text);
    }
    drop(playing.await.unwrap());
    follower.follow_to_end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_costs_a_discontinuity_and_no_viewer() {
    // The first worker is killed in the middle of its work; those after it are left alone.
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        "mkdir '{0}/first' 2>/dev/null && exec timeout -s KILL 2 '{1}'; exec '{1}'",
        folder.path().display(),
        worker().path.display()
    );
    let program = WorkerProgram { path: "/bin/sh".into(), args: vec!["-c".into(), script.into()] };
    let world = World::start_with(config(|_| {}), program);
    let playing = world.play("a", Recipe::regular(14).clip(), 2.0);
    let mut followers = Vec::new();
    for rendition in ["180p", "90p", "audio"] {
        let client = world.client.clone();
        followers.push(tokio::spawn(async move {
            let mut follower = Follower::join(&client, "a", rendition).await;
            follower.follow_to_end().await;
            follower
        }));
    }
    drop(playing.await.unwrap());
    for (place, follower) in followers.into_iter().enumerate() {
        let text = follower.await.unwrap().text;
        assert_eq!(text.matches("#EXT-X-DISCONTINUITY\n").count(), 1, "{text}");
        let lasted =
            text.lines().filter_map(|line| line.strip_prefix("#EXTINF:")?.strip_suffix(',')?.parse::<f64>().ok());
        let lasted_s: f64 = lasted.sum();
        assert!(place > 0 || (lasted_s - 14.0).abs() < 0.01, "of what is passed through nothing is lost: {lasted_s}");
        assert_eq!(text.split("#EXT-X-DISCONTINUITY\n").nth(1).unwrap().matches("#EXT-X-MAP").count(), 1);
    }
    assert_eq!(world.metric("vivid_origin_epochs_total{reason=\"worker_ended\"}").await, 1.0);
    assert_eq!(world.metric("vivid_origin_frames_skipped_total").await, 0.0);
    let heads = [world.client.get("/live/a/180p/index.m3u8").await, world.client.get("/live/a/audio/index.m3u8").await];
    let listed = heads.map(|head| head.text().matches("#EXTINF").count());
    assert_eq!(listed[0], listed[1], "segments that one rendition lacks are gaps");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_never_lives_leaves_what_is_passed_through() {
    let program = WorkerProgram { path: "/bin/false".into(), args: Vec::new() };
    let world = World::start_with(config(|_| {}), program);
    let playing = world.play("a", Recipe::regular(12).clip(), 2.0);
    let mut follower = Follower::join(&world.client, "a", "180p").await;
    let first = follower.media.head.next;
    follower.until(manifest::Position { msn: first.msn + 1, part: 0 }).await;
    let multivariant = world.client.get("/live/a/index.m3u8").await;
    assert_eq!(multivariant.text().matches("#EXT-X-STREAM-INF").count(), 1, "{}", multivariant.text());
    drop(playing.await.unwrap());
    assert!(world.metric("vivid_origin_epochs_total{reason=\"worker_ended\"}").await >= 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_makes_pauses_until_one_lives_again() {
    // The first worker is killed in the middle of its work, the second dies at once, those after it are left alone.
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        "mkdir '{0}/first' 2>/dev/null && exec timeout -s KILL 2 '{1}'; mkdir '{0}/second' 2>/dev/null && exit 1; \
        exec '{1}'",
        folder.path().display(),
        worker().path.display()
    );
    let program = WorkerProgram { path: "/bin/sh".into(), args: vec!["-c".into(), script.into()] };
    let world = World::start_with(config(|_| {}), program);
    let playing = world.play("a", Recipe::regular(20).clip(), 2.0);
    let mut following = Vec::new();
    for rendition in ["180p", "90p", "audio"] {
        let client = world.client.clone();
        following.push(tokio::spawn(async move {
            let mut follower = Follower::join(&client, "a", rendition).await;
            follower.follow_to_end().await;
            follower
        }));
    }
    drop(playing.await.unwrap());
    let mut told = Vec::new();
    for follower in following {
        let text = follower.await.unwrap().text;
        told.push((breaks(&text), text.contains("#EXT-X-GAP\n")));
    }
    let at = told[0].0.clone();
    assert_eq!(at.len(), 2);
    assert_eq!(told, [(at.clone(), false), (at.clone(), true), (at, true)], "breaks are at one number everywhere");
}

/// The numbers of the segments that a discontinuity precedes.
fn breaks(text: &str) -> Vec<u64> {
    let mut msn: u64 = text.split("MEDIA-SEQUENCE:").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
    let mut breaks = Vec::new();
    for line in text.lines() {
        match line {
            "#EXT-X-DISCONTINUITY" => breaks.push(msn),
            line => msn += u64::from(line.starts_with("#EXTINF")),
        }
    }
    breaks
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_falls_no_further_behind_than_the_configuration_allows() {
    // It reads nothing. The frames of two seconds are more than may wait, in a shorter time than it may hang.
    let program = WorkerProgram { path: "/bin/sleep".into(), args: vec!["60".into()] };
    let world = World::start_with(config(|config| config.worker.queue_frames = 16), program);
    drop(world.play("a", Recipe::regular(7).clip(), 2.0).await.unwrap());
    assert!(world.metric("vivid_origin_epochs_total{reason=\"worker_ended\"}").await >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_that_falls_silent_holds_nobody_up() {
    let world = World::start(config(|_| {}));
    // Sound is announced; its frames stop after three seconds, or never come.
    for (stream, heard_ms) in [("stops", 3_000), ("never", 0)] {
        let clip = Recipe::regular(9).clip().only(|frame| frame.kind == TrackKind::Video || frame.dts < heard_ms);
        let playing = world.play(stream, clip, 2.0);
        let mut follower = Follower::join(&world.client, stream, "audio").await;
        let first = follower.media.head.next;
        follower.until(manifest::Position { msn: first.msn + 2, part: 0 }).await;
        playing.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_frame_rate_is_encoded_on_a_steady_grid() {
    let world = World::start(config(|_| {}));
    // Every third frame or so is missing, as screen recorders do it.
    let kept = |frame: &Frame| frame.keyframe || frame.kind == TrackKind::Audio || frame.dts * 7 % 11 < 7;
    let video = &["-g", "600", "-bf", "0", "-sc_threshold", "0", "-x264-params", "keyint=600:ref=1:intra-refresh=0"];
    let clip = Recipe { video, ..Recipe::regular(12) }.clip().only(kept);
    let playing = world.play("a", clip, 2.0);
    let mut follower = Follower::join(&world.client, "a", "180p").await;
    let first = follower.media.head.next;
    follower.until(manifest::Position { msn: first.msn + 2, part: 0 }).await;
    assert!(!follower.text.contains("#EXT-X-DISCONTINUITY\n"), "{}", follower.text);
    playing.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_sound_has_no_audio_rendition() {
    let world = World::start(config(|_| {}));
    let clip = Recipe { silent: true, ..Recipe::regular(5) }.clip();
    let playing = world.play("a", clip, 2.0);
    Follower::join(&world.client, "a", "90p").await;
    let multivariant = world.client.get("/live/a/index.m3u8").await;
    assert!(!multivariant.text().contains("audio"), "{}", multivariant.text());
    playing.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_without_key_frames_is_sent_away_and_told_why() {
    let world = World::start(config(|config| config.segment.analysis_max = Duration::from_millis(200)));
    let no_key = |frame: &Frame| frame.kind == TrackKind::Audio || !frame.keyframe;
    let clip = Recipe::regular(3).clip().only(no_key);
    let publisher = world.publish("a").unwrap();
    for item in clip.items {
        if publisher.send(item).await.is_err() {
            break;
        }
    }
    let closed = timeout(Duration::from_secs(10), publisher.closed()).await;
    assert_eq!(closed, Ok(StreamClosed::NoKeyFrame));
    assert!(timeout(Duration::from_secs(10), world.publish_again("a")).await.is_ok(), "the name is free");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_of_sound_alone_is_told_what_is_missing() {
    let world = World::start(config(|config| config.segment.analysis_max = Duration::from_millis(200)));
    let sound = Recipe::regular(3).clip().only(|frame| frame.kind == TrackKind::Audio);
    let publisher = world.publish("a").unwrap();
    for item in sound.items.into_iter().filter(|item| !matches!(item, Ingested::Video(_))) {
        if publisher.send(item).await.is_err() {
            break;
        }
    }
    assert_eq!(timeout(Duration::from_secs(10), publisher.closed()).await, Ok(StreamClosed::NoVideo));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_comes_back_with_another_gop_is_passed_through_again() {
    let world = World::start(config(|config| config.ingest.linger = Duration::from_secs(20)));
    drop(world.play("a", Recipe::regular(5).clip(), 4.0).await.unwrap());
    const SHORTER: &[&str] = &["-g", "45", "-sc_threshold", "0", "-bf", "0"];
    let publisher = world.publish_again("a").await;
    let shorter = Recipe { video: SHORTER, ..Recipe::regular(12) }.clip();
    let sending = tokio::spawn(async move {
        crate::world::send(&publisher, shorter, 3.0).await;
        publisher
    });
    let mut follower = Follower::join(&world.client, "a", "180p").await;
    while follower.text.matches("#EXTINF:1.50000").count() < 2 {
        assert!(follower.step().await, "no segment was cut on the source's own key frames:\n{}", follower.text);
    }
    assert_eq!(world.metric("vivid_origin_epochs_total{reason=\"publisher_back\"}").await, 1.0);
    assert_eq!(world.metric("vivid_origin_epochs_total{reason=\"off_grid\"}").await, 1.0);
    drop(sending.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_comes_back_without_its_sound_has_none() {
    let world = World::start(config(|config| config.ingest.linger = Duration::from_secs(20)));
    drop(world.play("a", Recipe::regular(5).clip(), 4.0).await.unwrap());
    // Reordered pictures: it is another set-up as well.
    const OTHER: &[&str] = &["-g", "60", "-sc_threshold", "0", "-bf", "2"];
    let silent = Recipe { video: OTHER, silent: true, ..Recipe::regular(5) }.clip();
    let publisher = world.publish_again("a").await;
    crate::world::send(&publisher, silent, 4.0).await;
    let silence = async {
        let mut clock = tokio::time::interval(Duration::from_millis(20));
        while world.client.get("/live/a/index.m3u8").await.text().contains("audio") {
            clock.tick().await;
        }
    };
    assert!(timeout(Duration::from_secs(10), silence).await.is_ok(), "there is a rendition of sound that nobody sends");
    assert_eq!(world.metric("vivid_origin_epochs_total{reason=\"source_changed\"}").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_stream_is_forgotten_and_its_name_free() {
    let world = World::start(config(|config| {
        config.ingest.linger = Duration::ZERO;
        config.window.length = Duration::from_secs(12);
    }));
    let clip = Recipe::regular(5).clip();
    drop(world.play("a", clip.clone(), 4.0).await.unwrap());
    let mut follower = Follower::join(&world.client, "a", "180p").await;
    follower.follow_to_end().await;
    assert_eq!(world.metric("vivid_origin_streams").await, 0.0);
    // Another one under the same name is a fresh stream.
    drop(world.play("a", clip, 4.0).await.unwrap());
    let again = Follower::join(&world.client, "a", "180p").await;
    assert!(!again.text.contains("#EXT-X-DISCONTINUITY\n"));
}
