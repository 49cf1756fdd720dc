//! What viewers see while a publisher is away, where there is a slate for that.

use crate::clip::Recipe;
use crate::follower::Follower;
use crate::returns::told;
use crate::world::{World, config, send, worker};
use origin::{PublishRequest, Server};
use prometheus::Registry;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;

const RENDITIONS: [&str; 3] = ["180p", "90p", "audio"];

fn slated(path: &Path, linger: Duration) -> config::Origin {
    config(|config| {
        config.ingest.linger = linger;
        config.ingest.while_away = config::WhileAway::Slate;
        config.ingest.slate = Some(path.to_owned());
    })
}

/// Those of each number that follows a discontinuity.
fn breaks(text: &str) -> Vec<u64> {
    told(text).iter().filter(|(_, _, broken)| *broken).map(|(msn, ..)| *msn).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slate_goes_on_in_all_renditions_until_the_publisher_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slate.flv");
    // Two GOPs, and half of one that is left out.
    Recipe::regular(5).write(&path);
    let world = World::start(slated(&path, Duration::from_secs(120)));
    let clip = Recipe::regular(5).clip();
    let publisher = world.play("a", clip.clone(), 2.0).await.unwrap();
    let mut followers = Vec::new();
    for rendition in RENDITIONS {
        followers.push(Follower::join(&world.client, "a", rendition).await);
    }
    drop(publisher);
    for follower in &mut followers {
        // It goes round twice.
        while breaks(&follower.text).first().is_none_or(|first| follower.media.head.next.msn < first + 5) {
            assert!(follower.step().await, "the stream ended");
        }
    }
    assert_eq!(world.metric("vivid_origin_epochs_total{reason=\"slate\"}").await, 1.0);
    let publisher = world.publish_again("a").await;
    let sending = tokio::spawn(async move {
        send(&publisher, clip.later(60_000), 2.0).await;
        publisher
    });
    let mut all = Vec::new();
    for follower in &mut followers {
        while breaks(&follower.text).len() < 2 {
            assert!(follower.step().await, "the stream ended");
        }
        assert!(!follower.text.contains("EXT-X-GAP"), "{}", follower.text);
        all.push(breaks(&follower.text));
    }
    assert!(all.iter().all(|breaks| *breaks == all[0]), "{all:?}");
    assert_eq!(world.metric("vivid_origin_epochs_total{reason=\"slate\"}").await, 1.0);
    assert_eq!(world.metric("vivid_origin_epochs_total{reason=\"publisher_back\"}").await, 1.0);
    drop(sending.await.unwrap());
}

/// Epochs that began for this reason.
fn epochs(registry: &Registry, reason: &str) -> f64 {
    let families = registry.gather();
    let family = families.iter().find(|family| family.name() == "vivid_origin_epochs_total").unwrap();
    let of_reason = family.get_metric().iter().find(|one| one.get_label()[0].value() == reason);
    of_reason.map_or(0.0, |one| one.get_counter().get_value())
}

/// With a jump of dates before it Shaka fails. What is passed through alone needs no worker, so nothing takes time but what the
/// paused clock counts.
#[tokio::test(start_paused = true)]
async fn a_slate_begins_in_the_moment_in_which_its_publisher_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slate.flv");
    let clip = Recipe { silent: true, ..Recipe::regular(5) }.clip();
    Recipe::regular(5).write(&path);
    let mut config = slated(&path, Duration::from_secs(60));
    (config.ladder.rungs, config.ladder.thumbnails) = (Vec::new(), None);
    let registry = Registry::new();
    let server = Server::bind(config, worker(), &registry).unwrap();
    let (publishing, stop) = (server.publishing(), CancellationToken::new());
    let running = tokio::spawn(server.run(stop.clone()));
    let request = PublishRequest { app: "live".into(), stream: "a".into(), key: None };
    let publisher = publishing.publish(&request, None).unwrap();
    send(&publisher, clip, 1.0).await;
    assert_eq!((epochs(&registry, "first"), epochs(&registry, "slate")), (1.0, 0.0));
    drop(publisher);
    let (gone, mut clock) = (Instant::now(), interval(Duration::from_millis(1)));
    while epochs(&registry, "slate") == 0.0 && gone.elapsed() < Duration::from_secs(10) {
        clock.tick().await;
    }
    assert!(gone.elapsed() < Duration::from_millis(50), "{:?}", gone.elapsed());
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slate_ends_with_the_stream() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slate.flv");
    Recipe::regular(2).write(&path);
    let world = World::start(slated(&path, Duration::from_secs(6)));
    // Its publisher sends no sound, and nobody was told of any.
    let clip = Recipe { silent: true, ..Recipe::regular(5) }.clip();
    drop(world.play("a", clip, 2.0).await.unwrap());
    let mut follower = Follower::join(&world.client, "a", "180p").await;
    follower.follow_to_end().await;
    assert_eq!(breaks(&follower.text).len(), 1, "{}", follower.text);
    assert!(follower.text.ends_with("#EXT-X-ENDLIST\n"), "{}", follower.text);
    assert!(!world.client.get("/live/a/index.m3u8").await.text().contains("audio"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slate_that_cannot_be_shown_is_gaps_once_the_publisher_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slate.flv");
    std::fs::write(&path, "no slate").unwrap();
    let world = World::start(slated(&path, Duration::from_secs(60)));
    let clip = Recipe::regular(5).clip();
    let publisher = world.play("a", clip.clone(), 2.0).await.unwrap();
    let mut follower = Follower::join(&world.client, "a", "180p").await;
    drop(publisher);
    // What waits for a slate is told in the end that there is none.
    while let Some(next) = Some(follower.media.head.next)
        && let path = format!("/live/a/180p/index.m3u8?_HLS_msn={}&_HLS_part={}", next.msn, next.part)
        && world.client.get(&path).await.status == 200
    {
        assert!(follower.step().await);
    }
    let publisher = world.publish_again("a").await;
    let sending = tokio::spawn(async move {
        send(&publisher, clip.later(60_000), 2.0).await;
        publisher
    });
    while !follower.text.contains("#EXT-X-GAP\n") {
        assert!(follower.step().await);
    }
    drop(sending.await.unwrap());
    assert_eq!(world.metric("vivid_origin_epochs_total{reason=\"slate\"}").await, 0.0);
}
