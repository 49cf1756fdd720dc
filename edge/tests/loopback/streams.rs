//! The pages that explain what a node follows.

use crate::support::{Node, Origin, RENDITION, Viewer, nobody};
use serde_json::Value;

async fn page(edge: &Node, path: &str) -> Value {
    let got = edge.get(path).await;
    assert_eq!((got.status, got.field("content-type")), (200, "application/json"), "{}", got.text());
    serde_json::from_slice(&got.body).unwrap()
}

#[tokio::test]
async fn a_stream_is_explained_while_it_is_watched() {
    let origin = Origin::at(100, 1);
    let fake = origin.start().await;
    let edge = Node::start("edge", fake.addr);
    let mut player = Viewer::connect(edge.addr).await;
    player.get(RENDITION).await;
    for part in 1..4 {
        player.ask(&format!("{RENDITION}?_HLS_msn=100&_HLS_part={part}"), "").await;
        edge.until("vivid_edge_holds", &[], 1.0).await;
        let told = page(&edge, "/_vivid/streams/test").await;
        assert_eq!(told["renditions"][0]["viewers_held"], 1);
        origin.advance();
        assert_eq!(player.read().await.unwrap().status, 200);
        assert_eq!(player.get(&format!("/live/test/720p/e1/100.{part}.m4s")).await.status, 200);
    }
    edge.until("vivid_edge_followed_playlists_total", &["newer"], 3.0).await;
    let told = page(&edge, "/_vivid/streams/live/test").await;
    assert_eq!((&told["stream"], &told["left_out"]), (&Value::from("/live/test"), &Value::from(0)));
    let rendition = &told["renditions"][0];
    for (key, expected) in [
        ("playlist", Value::from(RENDITION)),
        ("state", "following".into()),
        ("upstream", format!("http://{}", fake.addr).into()),
        ("last_error", Value::Null),
        ("viewers_held", 0.into()),
        ("next_msn", 101.into()),
        ("next_part", 0.into()),
        ("epoch", "e1".into()),
        ("target_duration_s", 2.into()),
        ("part_target_s", 0.5.into()),
        ("playlist_versions", 4.into()),
        ("playlist_requests_per_version", 1.0.into()),
        ("media_requests_per_object", 1.0.into()),
    ] {
        assert_eq!(rendition[key], expected, "{key} in {rendition}");
    }
    let released = &rendition["publish_to_release"];
    assert_eq!(released["releases"], 3);
    let ms = |name: &str| released[name].as_f64().unwrap();
    assert!(0.0 < ms("p50_ms") && ms("p50_ms") <= ms("p99_ms") && ms("p99_ms") <= ms("max_ms"), "{released}");
    let kept = |name: &str| rendition[name].as_u64().unwrap();
    assert!(kept("objects_kept") >= 3 && kept("objects_kept") <= kept("objects_named"), "{rendition}");
    assert!(kept("bytes_kept") >= 3 * 16_000, "{rendition}");
}

#[tokio::test]
async fn an_upstream_that_fails_is_named_with_what_it_did() {
    let origin = Origin::at(100, 1);
    let fake = origin.start().await;
    let edge = Node::start("edge", fake.addr);
    let mut player = Viewer::connect(edge.addr).await;
    player.get(RENDITION).await;
    player.ask(&format!("{RENDITION}?_HLS_msn=100&_HLS_part=1"), "").await;
    edge.until("vivid_edge_holds", &[], 1.0).await;
    let upstream = format!("http://{}", fake.addr);
    fake.die().await;
    edge.until("vivid_edge_upstream_requests_total", &["playlist", "unreachable"], 1.0).await;
    let told = page(&edge, "/_vivid/streams/test").await;
    let rendition = &told["renditions"][0];
    assert_eq!(rendition["state"], "failing");
    assert_eq!(rendition["last_error"]["upstream"], upstream);
    let text = rendition["last_error"]["text"].as_str().unwrap();
    assert!(text.contains("upstream cannot be reached") || text.contains("broke off"), "{text}");
}

#[tokio::test]
async fn streams_are_listed_page_by_page() {
    let origin = Origin::at(100, 1);
    let fake = origin.start().await;
    let edge = Node::start("edge", fake.addr);
    for stream in ["/live/a/720p", "/live/a/360p", "/live/b/720p", "/hls/c"] {
        assert_eq!(edge.get(&format!("{stream}/index.m3u8")).await.status, 200);
    }
    let told = page(&edge, "/_vivid/streams?limit=2").await;
    let names = |told: &Value| -> Vec<String> {
        told["streams"].as_array().unwrap().iter().map(|row| row["stream"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((names(&told), &told["total"]), (vec!["/hls/c".to_owned(), "/live/a".to_owned()], &Value::from(3)));
    assert_eq!(told["streams"][1]["renditions"], 2);
    let page_of_one = told["streams"][0]["page"].as_str().unwrap();
    assert_eq!(page(&edge, page_of_one).await["renditions"][0]["epoch"], Value::Null, "anyone's stream is explained");
    let rest = page(&edge, told["next"].as_str().unwrap()).await;
    assert_eq!((names(&rest), &rest["next"]), (vec!["/live/b".to_owned()], &Value::Null));
    assert_eq!(names(&page(&edge, "/_vivid/streams?limit=1000&x=y").await).len(), 3);
    for query in ["limit=0", "limit=1001", "limit=", "limit=x", "from=-1"] {
        let got = edge.get(&format!("/_vivid/streams?{query}")).await;
        assert_eq!((got.status, got.text().contains("`limit` from 1 to 1000")), (400, true), "{query}: {}", got.text());
    }
}

#[tokio::test]
async fn a_stream_that_nobody_watches_is_not_explained() {
    let edge = Node::start("edge", nobody());
    for path in ["/_vivid/streams/none", "/_vivid/streams/", "/_vivid/streams/live/none/720p"] {
        let got = edge.get(path).await;
        assert_eq!(got.status, 404, "{path}");
        assert!(got.text().ends_with("/_vivid/streams lists those that are followed\n"), "{}", got.text());
    }
}
