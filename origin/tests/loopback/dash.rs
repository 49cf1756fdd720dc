//! The same stream by its MPD: growing segments, numbers that players compute, what is left when it ends.

use crate::clip::Recipe;
use crate::follower::Follower;
use crate::players::decode;
use crate::world::{World, config, send};
use bytes::BytesMut;
use http::Method;
use manifest::mpd;
use std::time::Duration;

/// The value of the first attribute of that name.
fn attribute<'a>(text: &'a str, name: &str) -> &'a str {
    let begins = [format!(" {name}=\""), format!("<{name}=\"")];
    let rest = begins.iter().find_map(|begins| text.split_once(begins)).unwrap_or_else(|| panic!("no {name}: {text}"));
    rest.1.split('"').next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_is_sent_part_by_part_while_it_is_made() {
    let world = World::start(config(|_| {}));
    let playing = world.play("a", Recipe::regular(10).clip(), 2.0);
    let mut follower = Follower::join(&world.client, "a", "180p").await;
    for ahead in [0, 1] {
        let msn = follower.media.head.next.msn + ahead;
        let text = world.client.get("/live/a/index.mpd").await.text().to_owned();
        let path = format!("/live/a/180p/{}/{msn}.m4s", attribute(&text, "Period id"));
        let mut growing = world.client.open(&path).await;
        assert_eq!((growing.status.as_u16(), growing.header("content-length")), (200, ""));
        let mut whole = BytesMut::new();
        let mut frames = 0;
        while let Some(bytes) = growing.next().await {
            frames += 1;
            whole.extend_from_slice(&bytes.unwrap());
            if frames == 1 {
                let moofs = whole.windows(4).filter(|name| name == b"moof").count();
                assert!(moofs < 6, "all {moofs} parts at once");
            }
        }
        while follower.media.head.next.msn <= msn {
            assert!(follower.step().await);
        }
        assert_eq!(world.client.get(&path).await.body, whole, "what grew is what stays");
        assert!(frames > 1, "it came in one piece");
    }
    playing.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_its_publisher_leaves_is_cut_off_or_whole_but_never_silent() {
    let world = World::start(config(|config| config.ingest.linger = Duration::from_secs(20)));
    let publisher = world.play("a", Recipe::regular(5).clip(), 2.0).await.unwrap();
    let follower = Follower::join(&world.client, "a", "180p").await;
    let text = world.client.get("/live/a/index.mpd").await.text().to_owned();
    let path = format!("/live/a/180p/{}/{}.m4s", attribute(&text, "Period id"), follower.media.head.next.msn);
    let mut growing = world.client.open(&path).await;
    assert_eq!(growing.status, 200);
    drop(publisher);
    let mut grown = BytesMut::new();
    let complete = loop {
        match growing.next().await {
            Some(Ok(bytes)) => grown.extend_from_slice(&bytes),
            Some(Err(_)) => break false,
            None => break true,
        }
    };
    // The epoch ends with its publisher: what was made of the segment is all of it from then on.
    let after = world.client.get(&path).await;
    assert!(complete && after.body == grown, "{} bytes of {}", grown.len(), after.body.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_that_a_player_computes_is_the_one_that_is_made() {
    let world = World::start(config(|_| {}));
    let playing = world.play("a", Recipe::regular(8).clip(), 1.0);
    let mut follower = Follower::join(&world.client, "a", "180p").await;
    for _ in 0..6 {
        assert!(follower.step().await);
        let text = world.client.get("/live/a/index.mpd").await;
        assert_eq!(text.header("content-type"), "application/dash+xml");
        let text = text.text();
        let number = |name| -> f64 { attribute(text, name).parse().unwrap() };
        let start: f64 =
            attribute(text, "start").strip_prefix("PT").unwrap().strip_suffix('S').unwrap().parse().unwrap();
        let time = world.client.get("/_vivid/time").await;
        let now = mpd::read(&format!("<MPD publishTime=\"{}\"/>", time.text())).unwrap();
        let now_s = now.published_unix_ms.unwrap() as f64 / 1000.0;
        // ISO/IEC 23009-1, 5.3.9.5.3, with the offset of A.3.2: the newest segment that can be asked for.
        let segment_s = number("duration") / number("timescale");
        let newest = number("startNumber") + (now_s - start + number("availabilityTimeOffset")) / segment_s - 1.0;
        let made = follower.media.head.next.msn as f64;
        assert!((newest.floor() - made).abs() <= 1.0, "{newest} computed, {made} is being made");
    }
    playing.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn ffmpeg_plays_an_ended_stream_by_its_mpd() {
    let world = World::start(config(|_| {}));
    drop(world.play("a", Recipe::regular(6).clip(), 3.0).await.unwrap());
    Follower::join(&world.client, "a", "180p").await.follow_to_end().await;
    let text = world.client.get("/live/a/index.mpd").await.text().to_owned();
    assert!(!mpd::read(&text).unwrap().dynamic, "{text}");
    assert_eq!(attribute(&text, "mediaPresentationDuration"), "PT6.000S");
    let told = decode(world.addr, "a/index.mpd").await;
    // FFmpeg 5.1 finds out where a template of numbers ends by asking for one more.
    let complaints: Vec<&str> = told.complaints.lines().filter_map(|line| Some(line.split_once("] ")?.1)).collect();
    let beyond = [
        "HTTP error 404 Not Found",
        "Failed to open fragment of playlist",
        "Error when loading first fragment of playlist",
    ];
    assert_eq!(complaints, beyond);
    // Two renditions of the picture and the sound.
    let count = 180 + 180 + 281;
    assert!((count - 4..=count + 4).contains(&told.frames), "{} of {count}", told.frames);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_comes_back_begins_a_period() {
    let world = World::start(config(|config| config.ingest.linger = Duration::from_secs(20)));
    let clip = Recipe::regular(5).clip();
    let publisher = world.play("a", clip.until(4_500), 1.0).await.unwrap();
    let mut follower = Follower::join(&world.client, "a", "180p").await;
    drop(publisher);
    let again = world.publish_again("a").await;
    let sending = tokio::spawn(async move {
        send(&again, clip.later(3_600_000), 3.0).await;
        again
    });
    while !follower.text.contains("#EXT-X-DISCONTINUITY\n") {
        assert!(follower.step().await);
    }
    let text = world.client.get("/live/a/index.mpd").await.text().to_owned();
    let periods: Vec<String> = text.split("<Period ").skip(1).map(|period| format!(" {period}")).collect();
    // What is cut short ends in a period of its own where the publisher is away for long, as on a machine with much to do.
    let (next, ended) = periods.split_last().unwrap();
    assert!((1..=2).contains(&ended.len()), "{text}");
    let seconds = |period: &str, name| -> f64 {
        attribute(period, name).trim_start_matches("PT").trim_end_matches('S').parse().unwrap()
    };
    let last = ended.last().unwrap();
    assert!(seconds(last, "start") + seconds(last, "duration") <= seconds(next, "start") + 1e-6, "{text}");
    let lasted: f64 = ended.iter().map(|period| seconds(period, "duration")).sum();
    assert!((lasted - 4.4).abs() < 0.2, "{text}");
    drop(sending.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_its_epoch_never_has_is_not_refused_before_an_mpd_says_so() {
    for while_away in [config::WhileAway::Wait, config::WhileAway::Gap] {
        let world = World::start(config(|config| {
            config.ingest.linger = Duration::from_secs(60);
            config.ingest.while_away = while_away;
            config.window.hold_target_durations = 30;
        }));
        let clip = Recipe::regular(5).clip();
        drop(world.play("a", clip.clone(), 2.0).await.unwrap());
        let mut follower = Follower::join(&world.client, "a", "180p").await;
        let text = world.client.get("/live/a/index.mpd").await.text().to_owned();
        let path = format!("/live/a/180p/{}/{}.m4s", attribute(&text, "Period id"), follower.media.head.next.msn + 1);
        let (client, asked) = (world.client.clone(), path.clone());
        let asking = tokio::spawn(async move { client.get(&asked).await.status });
        let publisher = world.publish_again("a").await;
        let sending = tokio::spawn(async move {
            send(&publisher, clip.later(60_000), 2.0).await;
            publisher
        });
        while !follower.text.contains("#EXT-X-DISCONTINUITY\n") {
            follower.step().await;
        }
        let text = world.client.get("/live/a/index.mpd").await.text().to_owned();
        assert_eq!(text.matches("<Period ").count(), 2, "{text}");
        assert!(!asking.is_finished(), "{while_away:?}: who has an MPD of before asks still");
        // Once nobody has.
        let publisher = sending.await.unwrap();
        assert_eq!(asking.await.unwrap(), 404, "{while_away:?}");
        drop(publisher);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_a_growing_segment_waits_for_no_body() {
    let world = World::start(config(|_| {}));
    let playing = world.play("a", Recipe::regular(6).clip(), 2.0);
    let follower = Follower::join(&world.client, "a", "180p").await;
    let text = world.client.get("/live/a/index.mpd").await.text().to_owned();
    let path = format!("/live/a/180p/{}/{}.m4s", attribute(&text, "Period id"), follower.media.head.next.msn);
    let head = world.client.send(Method::HEAD, &path, &[]).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    playing.abort();
}
