//! The router as an HTTP server: protocols, methods, pages, ports and its end.

use crate::fakes::Mode;
use crate::world::{PATIENCE, World, metric};
use axum::routing::get;
use geo::fixture::Value;
use prometheus::Registry;
use reqwest::Method;
use router::{RouterError, Server};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(flavor = "multi_thread")]
async fn it_speaks_http_1_and_h2c() {
    let world = World::start().await;
    let url = format!("http://{}/live/x/index.m3u8", world.router);
    let h2c = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let response = h2c.get(&url).send().await.unwrap();
    assert_eq!((response.version(), response.status().as_u16()), (reqwest::Version::HTTP_2, 200));
    let playlist = response.text().await.unwrap();
    assert!(playlist.contains(&format!("SERVER-URI=\"http://{}/steer/x?s=", world.router)), "{playlist}");
    assert_eq!(world.get("/live/x/index.m3u8").await.version(), reqwest::Version::HTTP_11);
    world.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn head_has_no_body_and_options_is_a_preflight() {
    let world = World::start().await;
    for path in ["/live/x/index.m3u8", "/steer/x", "/_vivid/router"] {
        let url = format!("http://{}{path}", world.router);
        let head = world.client.head(&url).send().await.unwrap();
        assert_eq!((head.status().as_u16(), head.headers().contains_key("content-type")), (200, true), "{path}");
        assert!(head.bytes().await.unwrap().is_empty(), "{path}");
        let preflight = world.client.request(Method::OPTIONS, &url).header("origin", "https://player.example");
        let preflight = preflight.header("access-control-request-method", "GET").send().await.unwrap();
        assert_eq!(preflight.status(), 200, "{path}");
        assert_eq!(preflight.headers()["access-control-allow-origin"], "*");
        let post = world.client.post(&url).send().await.unwrap();
        assert_eq!((post.status().as_u16(), post.headers()["allow"].to_str().unwrap()), (405, "GET,HEAD"), "{path}");
        assert!(post.text().await.unwrap().starts_with("GET and HEAD"), "{path}");
    }
    world.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_a_sentence_says_where_to_go() {
    let world = World::start().await;
    for path in ["/nothing", "/live/x", "/live/x/720p/index.m3u8", "/live/x/720p/e/1.m4s"] {
        let response = world.get(path).await;
        assert_eq!(response.status(), 404, "{path}");
        assert!(response.text().await.unwrap().contains("/live/STREAM/index.m3u8"), "{path}");
    }
    world.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_find_their_pages() {
    let world = World::start().await;
    world.get("/live/x/index.m3u8").await;
    for path in ["/_vivid/livez", "/_vivid/readyz"] {
        assert_eq!(world.get(path).await.status(), 200);
    }
    let metrics = world.text("/_vivid/metrics").await;
    for name in [
        "decisions_total{",
        "rewrite_seconds_count 1",
        "snapshot_age_seconds ",
        "origin_fetches_total{outcome=\"ok\"} 1",
    ] {
        assert!(metrics.contains(&format!("vivid_router_{name}")), "{name} is missing in\n{metrics}");
    }
    let report = world.json("/_vivid/router").await;
    assert_eq!(report["streams"][0], "x", "{report}");
    assert_eq!(report["geo"]["country"], "off");
    world.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn other_pages_are_served_beside_and_are_not_opened_to_other_sites() {
    let extra = axum::Router::new().route("/", get(async || "the player page"));
    let world = World::build("", extra).await;
    let response = world.get("/").await;
    assert!(!response.headers().contains_key("access-control-allow-origin"));
    assert_eq!(response.text().await.unwrap(), "the player page");
    world.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_port_is_named() {
    let world = World::start().await;
    let text = format!("[router]\nlisten = '{}'", world.router);
    let config = config::Config::parse(&text, []).unwrap().router.unwrap();
    let Err(error) = Server::bind(config, axum::Router::new(), &Registry::new()) else { panic!("bound twice") };
    assert!(matches!(error, RouterError::Listen { .. }));
    let sentence = error.to_string();
    assert!(sentence.contains(&world.router.to_string()) && sentence.contains("router.listen"), "{sentence}");
    world.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_too_many_is_closed_and_counted_and_the_others_live() {
    let world = World::with("connections_max = 2").await;
    let mut sockets = Vec::new();
    for _ in 0..3 {
        sockets.push(tokio::net::TcpStream::connect(world.router).await.unwrap());
    }
    let mut answer = String::new();
    let closed = tokio::time::timeout(PATIENCE, sockets[2].read_to_string(&mut answer)).await.unwrap();
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
    let request = b"GET /_vivid/metrics HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n";
    sockets[0].write_all(request).await.unwrap();
    tokio::time::timeout(PATIENCE, sockets[0].read_to_string(&mut answer)).await.unwrap().unwrap();
    assert_eq!(metric(&answer, "vivid_router_refused_connections_total"), 1.0);
    assert_eq!(metric(&answer, "vivid_router_connections"), 2.0);
    world.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stops_in_time_with_clients_connected_and_an_origin_that_hangs() {
    let world = World::with("manifest = { timeout_ms = 30000 }").await;
    world.get("/steer/x").await;
    world.origin.set(Mode::Hang);
    let (client, url) = (world.client.clone(), format!("http://{}/live/x/index.m3u8", world.router));
    let hanging = tokio::spawn(async move { client.get(url).send().await });
    let asked = async {
        while world.origin.hits() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap();
    world.stop.cancel();
    // `vivid dev` kills after four seconds.
    let stopped = tokio::time::timeout(Duration::from_millis(3500), world.running).await;
    stopped.unwrap().unwrap().unwrap();
    assert!(tokio::time::timeout(PATIENCE, hanging).await.unwrap().unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_geo_database_is_used_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("asn.mmdb");
    let network = Value::map([("autonomous_system_number", Value::U32(3320))]);
    let good = geo::fixture::database(6, &[("8.0.0.0", 8, network)]);
    let more = format!("geo = {{ asn_database = '{}', check_interval_ms = 100 }}", path.display());
    let world = World::with(&more).await;
    for (bytes, loaded, stale, state) in [
        (None, 0, 0, "absent"),
        (Some(good.clone()), 1, 0, "current"),
        (Some(b"garbage".to_vec()), 1, 1, "stale"),
        (Some(good), 1, 0, "current"),
    ] {
        if let Some(bytes) = bytes {
            std::fs::write(path.with_extension("new"), bytes).unwrap();
            std::fs::rename(path.with_extension("new"), &path).unwrap();
        }
        let wanted = [("loaded", loaded), ("stale", stale)]
            .map(|(name, value)| format!("vivid_router_geo_database_{name}{{database=\"asn\"}} {value}\n"));
        let seen = async {
            loop {
                let metrics = world.text("/_vivid/metrics").await;
                if wanted.iter().all(|line| metrics.contains(line)) {
                    break;
                }
            }
        };
        assert!(tokio::time::timeout(PATIENCE, seen).await.is_ok(), "never came: {wanted:?}");
        assert_eq!(world.json("/_vivid/router").await["geo"]["asn"], state);
    }
    world.stop.cancel();
}
