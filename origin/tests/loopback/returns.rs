//! Publishers that leave and come back: what viewers are told meanwhile, and what stays as it was.

use crate::clip::Recipe;
use crate::follower::Follower;
use crate::http::Answer;
use crate::world::{World, config};
use std::time::Duration;
use tokio::time::Instant;

/// The request that a player waits with for what comes next.
async fn next(world: &World, follower: &Follower, rendition: &str) -> Answer {
    let next = follower.media.head.next;
    let path = format!("/live/a/{rendition}/index.m3u8?_HLS_msn={}&_HLS_part={}", next.msn, next.part);
    world.client.get(&path).await
}

/// Follows as a player does, which asks again after a 503, until a playlist shows a break.
async fn until_break(world: &World, follower: &mut Follower, rendition: &str) {
    let mut clock = tokio::time::interval(Duration::from_millis(50));
    while !follower.text.contains("#EXT-X-DISCONTINUITY\n") {
        if next(world, follower, rendition).await.status == 503 {
            clock.tick().await;
        } else {
            assert!(follower.step().await, "the stream ended");
        }
    }
}

/// Not at once, where there is no other origin to go to: Shaka would ask for each playlist ten times a second.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_publisher_that_is_gone_is_told_so_in_time() {
    let world = World::start(config(|config| {
        config.ingest.linger = Duration::from_secs(60);
        config.window.hold_target_durations = 1;
    }));
    let clip = Recipe::regular(5).clip();
    let publisher = world.play("a", clip.clone(), 4.0).await.unwrap();
    let mut follower = Follower::join(&world.client, "a", "180p").await;
    drop(publisher);
    // What the worker still holds comes first.
    let answer = loop {
        let answer = next(&world, &follower, "180p").await;
        if answer.status == 503 {
            break answer;
        }
        follower.step().await;
    };
    assert!(answer.text().contains("did not come in time"), "{}", answer.text());
    assert_eq!(answer.header("cache-control"), "no-store");
    let began = Instant::now();
    assert_eq!(next(&world, &follower, "180p").await.status, 503);
    assert!(began.elapsed() > Duration::from_millis(1500), "a target duration is two seconds: {:?}", began.elapsed());
    assert_eq!(world.metric("vivid_origin_holds_ended_total{outcome=\"no_publisher\"}").await, 0.0);
    let plain = world.client.get("/live/a/180p/index.m3u8").await;
    assert!(plain.status == 200 && !plain.text().contains("ENDLIST"), "what there is, is still given");

    let publisher = world.publish_again("a").await;
    let sending = tokio::spawn(async move {
        crate::world::send(&publisher, clip.later(60_000), 2.0).await;
        publisher
    });
    until_break(&world, &mut follower, "180p").await;
    assert!(follower.step().await, "requests wait again");
    drop(sending.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_over_a_short_absence_is_not_disturbed() {
    let world = World::start(config(|config| config.ingest.linger = Duration::from_secs(60)));
    let clip = Recipe::regular(5).clip();
    drop(world.play("a", clip.clone(), 4.0).await.unwrap());
    let publisher = world.publish_again("a").await;
    let mut follower = Follower::join(&world.client, "a", "180p").await;
    let sending = tokio::spawn(async move {
        crate::world::send(&publisher, clip.later(60_000), 2.0).await;
        publisher
    });
    while !follower.text.contains("#EXT-X-DISCONTINUITY\n") {
        assert!(follower.step().await, "the stream ended");
    }
    assert_eq!(world.metric("vivid_origin_holds_ended_total{outcome=\"no_publisher\"}").await, 0.0);
    drop(sending.await.unwrap());
}

/// What a media playlist says of its lengths.
fn lengths(text: &str) -> Vec<&str> {
    let told = ["#EXT-X-TARGETDURATION:", "#EXT-X-PART-INF:", "#EXT-X-SERVER-CONTROL:"];
    text.lines().filter(|line| told.iter().any(|tag| line.starts_with(tag))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_longer_gop_changes_nothing_that_players_were_told() {
    let world = World::start(config(|config| config.ingest.linger = Duration::from_secs(60)));
    drop(world.play("a", Recipe::regular(5).clip(), 4.0).await.unwrap());
    let publisher = world.publish_again("a").await;
    let mut follower = Follower::join(&world.client, "a", "180p").await;
    let before = follower.text.clone();
    const LONGER: &[&str] = &["-g", "120", "-sc_threshold", "0", "-bf", "0"];
    let longer = Recipe { video: LONGER, ..Recipe::regular(20) }.clip();
    let sending = tokio::spawn(async move {
        crate::world::send(&publisher, longer, 3.0).await;
        publisher
    });
    // It is taken for what it was first, and then encoded.
    while world.metric("vivid_origin_epochs_total{reason=\"off_grid\"}").await < 1.0 {
        assert!(follower.step().await);
    }
    let at = follower.media.head.next;
    follower.until(manifest::Position { msn: at.msn + 2, part: 0 }).await;
    assert_eq!(lengths(&follower.text), lengths(&before));
    let segment = follower.text.lines().rfind(|line| line.starts_with("#EXTINF:")).unwrap();
    assert_eq!(segment, "#EXTINF:2.00000,");
    drop(sending.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_height_is_the_same_rendition_to_its_viewers() {
    let world = World::start(config(|config| config.ingest.linger = Duration::from_secs(60)));
    drop(world.play("a", Recipe::regular(5).clip(), 4.0).await.unwrap());
    let publisher = world.publish_again("a").await;
    let mut followers = Vec::new();
    for rendition in ["180p", "90p", "audio"] {
        followers.push(Follower::join(&world.client, "a", rendition).await);
    }
    let taller = Recipe { size: (480, 270), ..Recipe::regular(8) }.clip();
    let sending = tokio::spawn(async move {
        crate::world::send(&publisher, taller, 3.0).await;
        publisher
    });
    for (follower, rendition) in followers.iter_mut().zip(["180p", "90p", "audio"]) {
        until_break(&world, follower, rendition).await;
        assert!(follower.step().await, "{rendition} has ended");
    }
    let multivariant = world.client.get("/live/a/index.m3u8").await;
    let text = multivariant.text();
    assert!(text.contains("RESOLUTION=480x270,FRAME-RATE=30.000,AUDIO=\"audio\"\n180p/index.m3u8"), "{text}");
    assert_eq!(world.client.get("/live/a/270p/index.m3u8").await.status, 404);
    drop(sending.await.unwrap());
}

/// What a media playlist lists of each number: a gap, a segment behind a discontinuity, or neither.
pub(crate) fn told(text: &str) -> Vec<(u64, bool, bool)> {
    let mut msn: u64 = text.split("MEDIA-SEQUENCE:").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
    let (mut told, mut gap, mut broken) = (Vec::new(), false, false);
    for line in text.lines() {
        gap |= line == "#EXT-X-GAP";
        broken |= line == "#EXT-X-DISCONTINUITY";
        if line.starts_with("#EXTINF") {
            told.push((msn, gap, broken));
            (msn, gap, broken) = (msn + 1, false, false);
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absence_is_gaps_where_that_is_wanted_once_there_is_something_behind_them() {
    let world = World::start(config(|config| {
        config.ingest.linger = Duration::from_secs(60);
        config.ingest.while_away = config::WhileAway::Gap;
    }));
    let clip = Recipe::regular(5).clip();
    let publisher = world.play("a", clip.clone(), 4.0).await.unwrap();
    let mut followers = Vec::new();
    for rendition in ["180p", "90p", "audio"] {
        followers.push(Follower::join(&world.client, "a", rendition).await);
    }
    drop(publisher);
    // Who waits over it is let wait for as long as for any part.
    let mut late = next(&world, &followers[0], "180p").await;
    while late.status == 200 {
        assert!(followers[0].step().await);
        late = next(&world, &followers[0], "180p").await;
    }
    assert!(late.status == 503 && late.text().contains("did not come in time"), "{}", late.text());
    let publisher = world.publish_again("a").await;
    let sending = tokio::spawn(async move {
        crate::world::send(&publisher, clip.later(60_000), 2.0).await;
        publisher
    });
    let mut all = Vec::new();
    for mut follower in followers {
        while !follower.text.contains("DISCONTINUITY\n") || told(&follower.text).last().is_none_or(|last| last.1) {
            // Never is a gap the last that there is: Shaka does not go on behind it.
            let is_last = follower.text.contains("EXT-X-GAP") && !follower.text.contains("DISCONTINUITY\n");
            assert!(!is_last, "{}", follower.text);
            assert!(follower.step().await);
        }
        let dates: Vec<_> = follower.text.lines().filter(|line| line.starts_with("#EXT-X-PROGRAM-DATE-TIME")).collect();
        assert!(dates.is_sorted(), "{dates:?}");
        let told = told(&follower.text);
        let gaps = told.iter().filter(|(_, gap, _)| *gap).count();
        assert!((1..8).contains(&gaps), "{gaps} gaps: {}", follower.text);
        let first_gap = told.iter().position(|(_, gap, _)| *gap).unwrap();
        let broken: Vec<_> = told.iter().filter(|(_, _, broken)| *broken).map(|(msn, ..)| *msn).collect();
        assert_eq!(broken.len(), 1, "{}", follower.text);
        assert!(told[first_gap..].iter().all(|(msn, gap, _)| *gap == (*msn < broken[0])), "{}", follower.text);
        all.push((told[first_gap].0, broken));
    }
    assert!(all.iter().all(|other| *other == all[0]), "{all:?}");
    drop(sending.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_publisher_changes_while_it_sends_is_one_discontinuity_and_no_end() {
    let world = World::start(config(|config| config.ingest.linger = Duration::from_secs(60)));
    const BASELINE: &[&str] =
        &["-g", "60", "-sc_threshold", "0", "-bf", "0", "-profile:v", "baseline", "-level", "4.0"];
    let changes = [
        ("size", Recipe { size: (480, 270), ..Recipe::regular(7) }.clip().later(5_000)),
        ("codec", Recipe { video: BASELINE, ..Recipe::regular(7) }.clip().later(5_000)),
        ("clock", Recipe::regular(7).clip().later(7_200_000)),
    ];
    let before = Recipe::regular(5).clip();
    let mut sending = Vec::new();
    for (stream, after) in &changes {
        let (publisher, before, after) = (world.publish(stream).unwrap(), before.clone(), after.clone());
        sending.push(tokio::spawn(async move {
            crate::world::send(&publisher, before, 2.0).await;
            crate::world::send(&publisher, after, 2.0).await;
            publisher
        }));
    }
    for (sending, (stream, _)) in sending.into_iter().zip(&changes) {
        let _publisher = sending.await.unwrap();
        for rendition in ["180p", "90p", "audio"] {
            let text = world.client.get(&format!("/live/{stream}/{rendition}/index.m3u8")).await.text().to_owned();
            assert_eq!(text.matches("#EXT-X-DISCONTINUITY\n").count(), 1, "{stream} {rendition}: {text}");
            assert!(!text.contains("#EXT-X-ENDLIST"), "{stream} {rendition}: {text}");
        }
    }
}
