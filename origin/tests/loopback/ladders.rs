//! Ladders that are changed while their stream runs.

use crate::clip::Recipe;
use crate::follower::Follower;
use crate::http::Answer;
use crate::world::{World, config};
use http::Method;

const TOKEN: &str = "0123456789abcdef";

fn world() -> World {
    World::start(config(|config| config.admin.token = Some(TOKEN.into())))
}

async fn ask(world: &World, method: Method, (token, body): (&str, &str)) -> Answer {
    let field = format!("Bearer {token}");
    world.client.send_body(method, "/_vivid/ladders/a", (&[("authorization", &field)], body)).await
}

/// Follows the source until the multivariant playlist is as it should be.
async fn until(follower: &mut Follower, world: &World, is_so: impl Fn(&str) -> bool) -> String {
    loop {
        let text = world.client.get("/live/a/index.m3u8").await.text().to_owned();
        if is_so(&text) {
            return text;
        }
        assert!(follower.step().await, "the stream ended before: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rungs_come_and_go_while_whoever_watches_the_source_stays() {
    let world = world();
    let playing = world.play("a", Recipe::regular(40).clip(), 2.0);
    let mut follower = Follower::join(&world.client, "a", "180p").await;
    until(&mut follower, &world, |text| text.contains("90p/index.m3u8")).await;
    let before = follower.media.head.next;

    let wanted = r#"{"rungs": [{"height": 120, "bitrate": 150000}, {"height": 90, "bitrate": 100000}]}"#;
    let told = ask(&world, Method::PUT, (TOKEN, wanted)).await;
    assert_eq!(told.status, 200, "{}", told.text());
    assert!(told.text().contains("\"edited\": true") && told.text().contains("\"height\": 120"), "{}", told.text());
    until(&mut follower, &world, |text| text.contains("120p/index.m3u8")).await;
    let mut rung = Follower::join(&world.client, "a", "120p").await;
    assert!(rung.step().await);

    assert_eq!(ask(&world, Method::DELETE, (TOKEN, "")).await.status, 200);
    let text = until(&mut follower, &world, |text| !text.contains("120p/index.m3u8")).await;
    // Whoever watches it goes over to another, and does not take its end for that of the stream.
    while !rung.text.contains("#EXT-X-GAP") {
        assert!(rung.step().await, "{}", rung.text);
    }
    assert!(!rung.text.contains("#EXT-X-ENDLIST"), "{}", rung.text);
    assert!(text.contains("90p/index.m3u8"), "{text}");
    assert!(follower.media.head.next > before);
    // Both changes are where a segment begins, and the source lost nothing by them.
    assert_eq!(follower.text.matches("#EXT-X-DISCONTINUITY\n").count(), 2, "{}", follower.text);
    assert!(!follower.text.contains("EXT-X-GAP"), "{}", follower.text);
    let durations: Vec<&str> = follower.text.lines().filter(|line| line.starts_with("#EXTINF:")).collect();
    assert!(durations.iter().all(|duration| *duration == durations[0]), "{durations:?}");
    assert_eq!(world.metric("vivid_origin_epochs_total{reason=\"ladder_changed\"}").await, 2.0);
    drop(playing.await.unwrap());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_ladder_is_refused_with_a_reason_and_changes_nothing() {
    let world = world();
    assert_eq!(ask(&world, Method::GET, (TOKEN, "")).await.status, 404, "nobody publishes it");
    let _publisher = world.publish("a").unwrap();
    let before = ask(&world, Method::GET, (TOKEN, "")).await.text().to_owned();
    assert!(before.contains("\"edited\": false"), "{before}");
    for (body, told) in [
        (r#"{"rungs": "huge"}"#, "\"mobile\", \"standard\", \"uhd\""),
        (r#"{"preset": "swift"}"#, "ladder.preset: \"swift\" is no preset of x264"),
        (r#"{"rungs": [{"height": 91, "bitrate": 100000}]}"#, "must be even"),
        (r#"{"rung": []}"#, "unknown field"),
        ("[]", "it is no JSON object"),
        ("", "it is no JSON object"),
    ] {
        let refused = ask(&world, Method::PUT, (TOKEN, body)).await;
        assert_eq!(refused.status, 400);
        assert!(refused.text().contains(told), "{}", refused.text());
    }
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        assert_eq!(ask(&world, method, ("wrong", "{}")).await.status, 401);
    }
    assert_eq!(ask(&world, Method::GET, (TOKEN, "")).await.text(), before);
    world.stop().await;
}
