//! Advertisements and events in the time of a stream: said over HTTP and by the publisher, told in every playlist and MPD.

use crate::clip::Recipe;
use crate::follower::Follower;
use crate::http::Answer;
use crate::world::{World, config};
use http::Method;
use media::TrackKind;
use origin::{Cue, Ingested};

const TOKEN: &str = "0123456789abcdef";

fn world() -> World {
    World::start(config(|config| config.markers.token = Some(TOKEN.into())))
}

async fn mark(world: &World, token: &str, body: &str) -> Answer {
    let field = format!("Bearer {token}");
    world.client.send_body(Method::POST, "/_vivid/markers/a", (&[("authorization", &field)], body)).await
}

fn ranges(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.starts_with("#EXT-X-DATERANGE:")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_marked_over_http_is_in_every_playlist_and_in_the_mpd() {
    let world = world();
    let playing = world.play("a", Recipe::regular(14).clip(), 2.0);
    let mut follower = Follower::join(&world.client, "a", "180p").await;
    assert_eq!(mark(&world, "wrong", "{}").await.status, 401);
    let out = r#"{"id":"ad-1","planned_duration_s":30,"scte35_out":"0xFC30","attributes":{"X-SPOT":"shoes"}}"#;
    assert_eq!(mark(&world, TOKEN, out).await.status, 200);
    assert!(follower.step().await && follower.step().await);
    let said = ranges(&follower.text);
    assert_eq!(said.len(), 1, "{}", follower.text);
    assert!(said[0].starts_with("#EXT-X-DATERANGE:ID=\"ad-1\",START-DATE=\"20"), "{}", said[0]);
    assert!(said[0].ends_with(",PLANNED-DURATION=30.000,SCTE35-OUT=0xFC30,X-SPOT=\"shoes\""), "{}", said[0]);
    // What closes it adds to it, and takes nothing back.
    assert_eq!(mark(&world, TOKEN, r#"{"id":"ad-1","duration_s":29.5,"scte35_in":"fc31"}"#).await.status, 200);
    for (body, told) in [
        (r#"{"id":"ad-1","duration_s":29}"#, "says otherwise of its duration"),
        (r#"{"id":"a\"b"}"#, "id must be"),
        (r#"{"id":"x","duration_s":-1}"#, "out of range"),
        (r#"{"id":"x","start":"now"}"#, "unknown field"),
        ("", "no JSON object"),
        ("[]", "no JSON object"),
    ] {
        let refused = mark(&world, TOKEN, body).await;
        assert_eq!(refused.status, 400);
        assert!(refused.text().contains(told), "{}", refused.text());
    }
    for path in ["180p/index.m3u8", "90p/index.m3u8", "audio/index.m3u8", "180p/iframes.m3u8"] {
        let text = world.client.get(&format!("/live/a/{path}")).await.text().to_owned();
        let said = ranges(&text);
        assert!(said.len() == 1 && said[0].contains(",SCTE35-OUT=0xFC30,SCTE35-IN=0xFC31"), "{path}: {text}");
    }
    let mpd = world.client.get("/live/a/index.mpd").await.text().to_owned();
    assert!(mpd.contains("<EventStream schemeIdUri=\"urn:scte:scte35:2014:xml+bin\""), "{mpd}");
    assert!(mpd.contains("duration=\"29500\"><Signal") && mpd.contains("<Binary>/DA=</Binary>"), "{mpd}");
    assert_eq!(world.metric("vivid_origin_markers_total{result=\"added\",source=\"http\"}").await, 2.0);
    playing.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cue_point_of_the_publisher_is_told_where_it_belongs() {
    let world = World::start(config(|_| {}));
    let mut clip = Recipe::regular(9).clip();
    let picture = |item: &Ingested| match item {
        Ingested::Frame(frame) if frame.kind == TrackKind::Video => Some(frame.pts),
        _ => None,
    };
    // Encoders count from their own beginning, which need not be the first picture's.
    let at_ms = clip.items.iter().find_map(picture).unwrap() + 4_000;
    let at = clip.items.iter().position(|item| picture(item).is_some_and(|pts| pts >= at_ms)).unwrap();
    let parameters = vec![("duration".to_owned(), "3.5".to_owned()), ("team".to_owned(), "red".to_owned())];
    clip.items.insert(at, Ingested::Cue(Cue { at_ms, name: "goal".into(), parameters }));
    let publisher = world.play("a", clip, 3.0).await.unwrap();
    let text = world.client.get("/live/a/audio/index.m3u8").await.text().to_owned();
    let said = ranges(&text);
    assert_eq!(said.len(), 1, "{text}");
    assert!(said[0].ends_with(",DURATION=3.500,X-TEAM=\"red\"") && said[0].contains("CLASS=\"goal\""), "{}", said[0]);
    // The third segment begins four seconds after the first picture.
    let third = text.split("#EXT-X-PROGRAM-DATE-TIME:").nth(3).unwrap().lines().next().unwrap();
    assert!(said[0].contains(&format!("START-DATE=\"{third}\"")), "{} at {third}", said[0]);
    assert_eq!(mark(&world, TOKEN, "{}").await.status, 404, "nobody may mark over HTTP here");
    drop(publisher);
}
