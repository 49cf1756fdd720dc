//! Who gets in, and what of their tokens anyone else gets to see.

use crate::http2::Http2;
use crate::support::{Asked, Fake, Node, Origin, RENDITION, Viewer, config, whole};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use config::{CatKey, Edge, Secret, UnknownCountry, UrlKey, Verifier};
use coset::cbor::value::Value;
use coset::iana::Algorithm;
use coset::{CoseMac0Builder, HeaderBuilder, TaggedCborSerializable};
use edge::access::keys::url_key;
use edge::access::signed_url::Claims;
use ring::hmac;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::net::TcpStream;

pub(crate) fn key() -> UrlKey {
    UrlKey { id: "k".to_owned(), secret: Secret::new(&[7; 32]) }
}

fn keyed(upstream: SocketAddr) -> Edge {
    let mut config = config("edge", upstream);
    config.access.url_keys = vec![key()];
    config
}

/// A token of the viewer `name` for `path` that lasts as long as any test.
pub(crate) fn token(path: &str, name: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = Claims {
        key: key().id,
        expires: now + 1000 + name,
        path: path.to_owned(),
        address: None,
        countries: Vec::new(),
    };
    claims.sign(&url_key(&key()))
}

/// A Common Access Token of another hand, for paths that begin so.
fn common_access_token(secret: &[u8], prefix: &str) -> String {
    let map = |pairs: Vec<(i64, Value)>| {
        Value::Map(pairs.into_iter().map(|(name, value)| (Value::from(name), value)).collect())
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = map(vec![(4, Value::from(now + 1000)), (312, map(vec![(3, map(vec![(1, Value::from(prefix))]))]))]);
    let mut payload = Vec::new();
    coset::cbor::ser::into_writer(&claims, &mut payload).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let token = CoseMac0Builder::new()
        .protected(HeaderBuilder::new().algorithm(Algorithm::HMAC_256_256).key_id(b"cat".to_vec()).build())
        .payload(payload)
        .create_tag(&[], |data| hmac::sign(&key, data).as_ref().to_vec())
        .build();
    URL_SAFE_NO_PAD.encode(token.to_tagged_vec().unwrap())
}

/// Whether anything that upstream was told has to do with a token.
fn is_told(asked: &[Asked], token: &str) -> bool {
    asked.iter().any(|asked| {
        let head = asked.head.to_lowercase();
        asked.head.contains(token) || head.contains("cookie") || head.contains("cta-common") || head.contains("token")
    })
}

#[tokio::test]
async fn a_whole_tree_is_opened_by_one_token_in_the_path() {
    let origin = Origin::at(100, 1);
    let fake = origin.start().await;
    let edge = Node::with(keyed(fake.addr));
    let (one, two) = (token("/live/test/", 1), token("/live/test/", 2));
    let mut viewer = Viewer::connect(edge.addr).await;
    let playlist = viewer.get(&format!("/~{one}{RENDITION}")).await;
    assert_eq!((playlist.status, playlist.text()), (200, origin.playlist()));
    // What a player asks for next, resolved against the playlist's URL as it knows it.
    let part = viewer.get(&format!("/~{one}/live/test/720p/e1/100.0.m4s")).await;
    assert_eq!(part.status, 200);
    let again = viewer.get(&format!("/~{two}{RENDITION}")).await;
    assert_eq!(again.field("cache-status"), "edge; hit", "another viewer's token is no other object");
    assert!(!is_told(&fake.asked(), &one) && !is_told(&fake.asked(), &two), "{:?}", fake.asked());
    assert_eq!(edge.metric("vivid_edge_tokens_total", &["now"]), 2.0);
    assert_eq!(edge.metric("vivid_edge_tokens_total", &["known"]), 1.0);
}

#[tokio::test]
async fn tokens_split_no_object_and_go_no_further_than_this_node() {
    let fake = Fake::start(|_| Box::pin(std::future::ready(whole("text/plain", "film")))).await;
    let edge = Node::with(keyed(fake.addr));
    let mut viewer = Viewer::connect(edge.addr).await;
    let path = "/vod/film.mp4";
    for (name, (target, fields)) in [
        (format!("/~{}{path}?a=1", token("/vod", 1)), String::new()),
        (format!("{path}?token={}&a=1", token("/vod", 2)), String::new()),
        (format!("{path}?a=1&CAT={}", token("/vod", 3)), String::new()),
        (format!("{path}?a=1"), format!("Cookie: x=y; token={}\r\n", token("/vod", 4))),
        (format!("{path}?a=1"), format!("CTA-Common-Access-Token: {}\r\n", token("/vod", 5))),
    ]
    .into_iter()
    .enumerate()
    {
        let got = viewer.get_with(&target, &fields).await;
        assert_eq!((got.status, got.text().as_str()), (200, "film"), "{name}: {target}");
    }
    let asked: Vec<_> = fake.asked().iter().map(|asked| asked.target.clone()).collect();
    assert_eq!(asked, ["/vod/film.mp4?a=1"], "one object, asked for once");
    assert!(!is_told(&fake.asked(), "token"), "{:?}", fake.asked());
}

#[tokio::test]
async fn whoever_has_no_right_gets_a_clear_403_and_upstream_hears_nothing() {
    let fake = Fake::start(|_| Box::pin(std::future::ready(whole("text/plain", "film")))).await;
    let mut config = keyed(fake.addr);
    config.access.addresses.deny = vec!["127.0.0.2/32".parse().unwrap()];
    let edge = Node::with(config);
    let elsewhere = token("/live/", 1);
    for (target, said, reason) in [
        ("/vod/a.mp4".to_owned(), "a token is needed here", "no_token"),
        (format!("/~{elsewhere}/vod/a.mp4"), "not for this URL", "elsewhere"),
        (format!("/~{elsewhere}/live/..%2Fvod/a.mp4"), "encoded slash", "ambiguous"),
        ("/vod/a.mp4?token=x.y".to_owned(), "cannot be read", "unreadable"),
        ("/vod/a.mp4?CAT=2D3RhEOh".to_owned(), "cannot be read", "unreadable"),
    ] {
        let got = edge.get(&target).await;
        assert_eq!((got.status, got.field("cache-control")), (403, "no-store"), "{target}");
        assert!(got.text().contains(said) && !got.text().contains(&elsewhere), "{target}: {}", got.text());
        assert!(edge.metric("vivid_edge_denied_total", &[reason]) >= 1.0, "{reason}");
    }
    assert_eq!(fake.asked().len(), 0);
    assert_eq!(edge.get("/_vivid/livez").await.status, 200);
    assert_eq!(edge.get(&format!("/~{elsewhere}/_vivid/livez")).await.status, 200, "never upstream's page");
    let mut preflight = Viewer::connect(edge.addr).await;
    preflight.send(b"OPTIONS /vod/a.mp4 HTTP/1.1\r\nHost: edge\r\n\r\n").await;
    assert_eq!(preflight.read().await.unwrap().status, 204);
}

#[tokio::test]
async fn requests_that_wait_are_counted_for_each_client() {
    let fake = Origin::at(100, 1).start().await;
    let mut config = config("edge", fake.addr);
    config.access.limits.holds_max = 2;
    let edge = Node::with(config);
    let target = format!("{RENDITION}?_HLS_msn=100&_HLS_part=1");
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut viewer = Viewer::connect(edge.addr).await;
        viewer.ask(&target, "").await;
        held.push(viewer);
    }
    edge.until("vivid_edge_holds", &[], 2.0).await;
    let got = edge.get(&target).await;
    assert_eq!((got.status, got.field("retry-after")), (429, "1"));
    assert_eq!(edge.metric("vivid_edge_bounds_total", &["client_holds_max"]), 1.0);
    drop(held);
    crate::support::until(|| edge.metric("vivid_edge_holds", &[]) == 0.0, "viewers that leave free their places").await;
    assert_eq!(edge.get(RENDITION).await.status, 200);
}

#[tokio::test]
async fn requests_that_come_too_fast_are_told_when_to_come_again() {
    let fake = Fake::start(|_| Box::pin(std::future::ready(whole("text/plain", "film")))).await;
    let mut config = config("edge", fake.addr);
    config.access.limits.requests_per_s = 1;
    config.access.limits.requests_burst = 3;
    let edge = Node::with(config);
    let mut viewer = Viewer::connect(edge.addr).await;
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(viewer.get("/a").await.status);
    }
    assert_eq!(statuses[..3], [200, 200, 200]);
    assert!(statuses.contains(&429), "{statuses:?}");
    assert!(edge.metric("vivid_edge_bounds_total", &["client_requests_per_s"]) >= 1.0);
}

#[tokio::test]
async fn a_common_access_token_is_taken_over_http2_too() {
    let fake = Fake::start(|_| Box::pin(std::future::ready(whole("text/plain", "film")))).await;
    let mut config = config("edge", fake.addr);
    config.access.cat_keys = vec![CatKey { id: "cat".to_owned(), verifier: Verifier::Hs256(Secret::new(&[9; 32])) }];
    let edge = Node::with(config);
    let viewer = Http2::over(TcpStream::connect(edge.addr).await.unwrap()).await;
    let token = common_access_token(&[9; 32], "/vod/");
    let field = format!("cta-common-access-token: {token}");
    assert_eq!(viewer.get_with("/vod/a", &field).await.unwrap().text(), "film");
    assert_eq!(
        viewer.get_with("/vod/a", &format!("cookie: CTA-Common-Access-Token={token}")).await.unwrap().status,
        200
    );
    assert_eq!(viewer.get(&format!("/~{token}/vod/a")).await.unwrap().status, 200);
    let elsewhere = viewer.get_with("/live/a", &field).await.unwrap();
    assert_eq!((elsewhere.status, elsewhere.text().contains("not for this URL")), (403, true));
    let forged = common_access_token(&[8; 32], "/vod/");
    assert!(viewer.get(&format!("/vod/a?CAT={forged}")).await.unwrap().text().contains("signature is wrong"));
    assert!(!is_told(&fake.asked(), &token), "{:?}", fake.asked());
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn a_viewer_whose_country_nobody_knows_is_served_only_where_that_was_said() {
    let fake = Fake::start(|_| Box::pin(std::future::ready(whole("text/plain", "film")))).await;
    let folder = tempfile::tempdir().unwrap();
    for (unknown, status) in [(UnknownCountry::Deny, 403), (UnknownCountry::Allow, 200)] {
        let mut config = config("edge", fake.addr);
        config.access.countries.allow = vec!["DE".to_owned()];
        config.access.countries.unknown = unknown;
        // A database that is not there: everyone on loopback is unknown anyway.
        config.geo.country_database = Some(folder.path().join("none.mmdb"));
        let edge = Node::with(config);
        assert_eq!(edge.get("/a").await.status, status);
    }
}
