//! Where viewers are, and to which edge of the fleet they are sent.

use crate::access;
use crate::support::{
    Asked, Fake, Got, Node, PATIENCE, RENDITION, Said, Viewer, config, in_time, metric, text, until, whole,
};
use bytes::BytesMut;
use edge::Server;
use edge::answer::Node as Answering;
use edge::client::Client;
use edge::moment::Moment;
use edge::playlists::Line;
use edge::reply::{Aside, Body, Frame};
use edge::request::Request;
use geo::fixture::{Value, database};
use prometheus::Registry;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// In Tokyo, in Paris and nowhere, as the database of these tests has it.
const TOKYO: &str = "1.2.3.4";
const PARIS: &str = "8.8.8.8";
const NOWHERE: &str = "9.9.9.9";
const MASTER: &str = "/live/test/index.m3u8";
const MULTIVARIANT: &str = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n720p/index.m3u8\n";

/// Files of a fleet: where viewers are, and which edges there are. This node is in Tokyo, another in Paris.
struct Files {
    folder: TempDir,
    edges: Vec<String>,
}

impl Files {
    fn new() -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap(), edges: Vec::new() };
        files.place(&files.city(), &cities());
        files
    }

    fn with(paris: SocketAddr) -> Self {
        let mut files = Self::new();
        files.list("", paris, "");
        files
    }

    fn city(&self) -> PathBuf {
        self.folder.path().join("city.mmdb")
    }

    fn fleet(&self) -> PathBuf {
        self.folder.path().join("fleet.toml")
    }

    fn list(&mut self, of_tokyo: &str, paris: SocketAddr, of_paris: &str) {
        let edge = |name: &str, addr: SocketAddr, place: &str, more: &str| {
            format!("[[edges]]\nname = \"{name}\"\nurl = \"http://{addr}\"\nviewers_max = 50\n{place}\n{more}\n")
        };
        self.edges = vec![
            edge("tokyo", SocketAddr::from(([127, 0, 0, 1], 1)), "latitude = 35.7\nlongitude = 139.7", of_tokyo),
            edge("paris", paris, "latitude = 48.9\nlongitude = 2.4", of_paris),
        ];
        self.place(&self.fleet(), self.edges.concat().as_bytes());
    }

    fn place(&self, path: &Path, bytes: &[u8]) {
        std::fs::write(path.with_extension("new"), bytes).unwrap();
        std::fs::rename(path.with_extension("new"), path).unwrap();
    }
}

fn cities() -> Vec<u8> {
    let city = |latitude, longitude| {
        let place = [("latitude", Value::F64(latitude)), ("longitude", Value::F64(longitude))];
        Value::map([("city", Value::Text("a city")), place[0].clone(), place[1].clone()])
    };
    database(6, &[("1.0.0.0", 8, city(35.68, 139.69)), ("8.0.0.0", 8, city(48.86, 2.35))])
}

/// An origin that counts what it is asked.
async fn origin() -> Fake {
    Fake::start(|asked: Asked| {
        let hls = "application/vnd.apple.mpegurl";
        let said = match asked.target.as_str() {
            MASTER | "/vod/master" => whole(hls, MULTIVARIANT),
            "/vod/film.mpd" => whole("application/dash+xml", "<MPD/>"),
            RENDITION => whole(hls, "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n1.ts\n#EXT-X-ENDLIST\n"),
            path if path.ends_with(".m4s") => whole("video/mp4", "bytes"),
            _ => text(404, "nothing\n"),
        };
        Box::pin(std::future::ready(said))
    })
    .await
}

type Page = Arc<Mutex<(u16, String)>>;

/// The edge in Paris, as far as polls see it, and the page it shows them.
async fn paris() -> (Fake, Page) {
    let load = "{\"name\":\"paris\",\"viewers\":1,\"full\":false,\"draining\":false}";
    let page = Page::new(Mutex::new((200, load.to_owned())));
    let shown = page.clone();
    let fake = Fake::start(move |_: Asked| {
        let (status, body) = shown.lock().unwrap().clone();
        Box::pin(std::future::ready(Said::Whole(status, Vec::new(), body.into_bytes())))
    });
    (fake.await, page)
}

/// A node in Tokyo that is asked without a transport, so that viewers may come from anywhere.
struct Tokyo {
    node: Arc<Answering>,
    addr: SocketAddr,
    registry: Registry,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Tokyo {
    fn start(files: &Files, origin: SocketAddr, mode: config::SteerMode) -> Self {
        Self::with(files, mode, config("tokyo", origin))
    }

    fn with(files: &Files, mode: config::SteerMode, mut config: config::Edge) -> Self {
        config.geo.city_database = Some(files.city());
        config.geo.check_interval = Duration::from_millis(20);
        config.fleet.file = Some(files.fleet());
        config.fleet.mode = mode;
        config.fleet.check_interval = Duration::from_millis(20);
        config.fleet.poll_interval = Duration::from_millis(40);
        // As long as a busy machine may need.
        config.fleet.poll_timeout = Duration::from_secs(5);
        let registry = Registry::new();
        let server = Server::bind(config, &registry).unwrap();
        let (node, addr, stop) = (server.node(), server.addr(), CancellationToken::new());
        let running = tokio::spawn(server.run(stop.clone()));
        Self { node, addr, registry, stop, running }
    }

    async fn redirecting(files: &Files, origin: SocketAddr) -> Self {
        let tokyo = Self::start(files, origin, config::SteerMode::Redirect);
        tokyo.up(1.0).await;
        tokyo
    }

    async fn get(&self, from: &str, target: &str) -> Got {
        self.get_with(from, target, "").await
    }

    async fn get_with(&self, from: &str, target: &str, fields: &str) -> Got {
        let mut request = BytesMut::from(format!("GET {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n").as_bytes());
        let request = Request::take(&mut request).unwrap().unwrap();
        let reply = in_time(self.node.answer(
            &request,
            Client::new(from.parse().unwrap(), false),
            &Moment::now(),
            &Line::default(),
        ))
        .await;
        let mut head = Vec::new();
        let aside = Aside { notes: &self.node.notes, cmsd: None, now: Instant::now() };
        reply.put_head(&mut head, Frame { http10: false, keep_alive: true }, aside);
        let body = match reply.body {
            Body::Steered(steered) => steered.into_text().into_bytes(),
            _ => Vec::new(),
        };
        Got::read(String::from_utf8(head).unwrap(), body)
    }

    fn decided(&self, decision: &str) -> f64 {
        metric(&self.registry, "vivid_edge_steering_decisions_total", &[decision])
    }

    async fn until(&self, name: &str, labels: &[&str], value: f64) {
        let reached = || metric(&self.registry, name, labels) == value;
        until(reached, &format!("{name}{labels:?} = {value}")).await;
    }

    async fn up(&self, edges: f64) {
        self.until("vivid_edge_fleet_edges_up", &[], edges).await;
    }

    /// Waits until a viewer in Paris gets this status.
    async fn answers(&self, status: u16) {
        let asking = async {
            while self.get(PARIS, MASTER).await.status != status {
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, asking).await.is_ok(), "never {status}");
    }

    async fn stop(self) {
        self.stop.cancel();
        in_time(self.running).await.unwrap();
    }
}

#[tokio::test]
async fn a_far_viewer_is_redirected_once_and_a_near_one_is_served() {
    let (origin, (paris, _)) = (origin().await, paris().await);
    let files = Files::with(paris.addr);
    let tokyo = Tokyo::redirecting(&files, origin.addr).await;
    let near = tokyo.get(TOKYO, MASTER).await;
    assert_eq!((near.status, near.field("vivid-steer")), (200, ""));
    let far = tokyo.get(PARIS, &format!("{MASTER}?token=a")).await;
    assert_eq!((far.status, far.field("vivid-steer")), (302, "nearest=paris; reason=far"));
    let there = format!("http://{}{MASTER}?token=a&_vivid_steered=tokyo", paris.addr);
    assert_eq!(far.field("location"), there);
    assert_eq!((far.field("cache-control"), far.field("access-control-allow-origin")), ("no-store", "*"));
    assert_eq!(far.field("cache-status"), "tokyo; detail=steered");

    let marked = tokyo.get(PARIS, &format!("{MASTER}?token=a&_vivid_steered=london")).await;
    assert_eq!((marked.status, tokyo.decided("stay_sent_before")), (200, 1.0));
    assert_eq!(origin.count(MASTER), 1, "neither a mark nor a redirect costs upstream a request");
    assert_eq!((tokyo.decided("stay_near"), tokyo.decided("send_far")), (1.0, 1.0));
    let node = tokyo.get_with(PARIS, MASTER, "CDN-Loop: london\r\n").await;
    assert_eq!(node.status, 200, "an edge that asks this node as its shield is no viewer");
    tokyo.stop().await;
}

#[tokio::test]
async fn manifests_are_known_by_what_they_are_and_nothing_else_is_redirected() {
    let (origin, (paris, _)) = (origin().await, paris().await);
    let files = Files::with(paris.addr);
    let tokyo = Tokyo::redirecting(&files, origin.addr).await;
    // Under a name that says nothing, it is known once it is whole.
    while tokyo.get(TOKYO, "/vod/master").await.field("cache-status") != "tokyo; hit" {
        tokio::task::yield_now().await;
    }
    for (target, status) in [
        (MASTER, 302),
        ("/vod/master", 302),
        ("/vod/film.mpd", 302),
        (RENDITION, 200),
        ("/live/test/720p/e1/7.m4s", 200),
        ("/live/test/720p/e1/7.2.m4s", 200),
        ("/absent", 404),
        ("/_vivid/fleet", 200),
        ("/_vivid/load", 200),
    ] {
        assert_eq!(tokyo.get(PARIS, target).await.status, status, "{target}");
    }
    tokyo.stop().await;
}

#[tokio::test]
async fn a_rewritten_playlist_points_there() {
    let (origin, (paris, _)) = (origin().await, paris().await);
    let files = Files::with(paris.addr);
    let tokyo = Tokyo::start(&files, origin.addr, config::SteerMode::Rewrite);
    tokyo.up(1.0).await;
    let far = tokyo.get(PARIS, MASTER).await;
    assert_eq!((far.status, far.field("vivid-steer")), (200, "nearest=paris; reason=far"));
    assert_eq!(far.text(), MULTIVARIANT.replace("720p", &format!("http://{}/live/test/720p", paris.addr)));
    assert_eq!(far.field("content-length"), far.body.len().to_string());
    assert_eq!(tokyo.get(PARIS, "/vod/film.mpd").await.status, 302, "an MPD is redirected in either mode");
    tokyo.stop().await;
}

#[tokio::test]
async fn what_lets_a_viewer_in_here_goes_along() {
    let (origin, (paris, _)) = (origin().await, paris().await);
    let files = Files::with(paris.addr);
    let token = access::token("/live/test/", 1);
    for (mode, target, place) in [
        (config::SteerMode::Redirect, format!("{MASTER}?token={token}"), format!("{MASTER}?token={token}&")),
        (config::SteerMode::Redirect, format!("/~{token}{MASTER}"), format!("/~{token}{MASTER}?")),
        (config::SteerMode::Rewrite, format!("/~{token}{MASTER}"), format!("/~{token}/live/test/720p/index.m3u8")),
    ] {
        let mut config = config("tokyo", origin.addr);
        config.access.url_keys = vec![access::key()];
        let tokyo = Tokyo::with(&files, mode, config);
        tokyo.up(1.0).await;
        assert_eq!(tokyo.get(PARIS, MASTER).await.status, 403, "steering opens no door");
        let far = tokyo.get(PARIS, &target).await;
        let said = format!("{}{}", far.field("location"), far.text());
        assert!(said.contains(&format!("http://{}{place}", paris.addr)), "{said}");
        tokyo.stop().await;
    }
}

#[tokio::test]
async fn full_draining_and_silent_edges_get_nobody_until_they_are_well_again() {
    let (origin, (paris, page)) = (origin().await, paris().await);
    let files = Files::with(paris.addr);
    let tokyo = Tokyo::redirecting(&files, origin.addr).await;
    let well = page.lock().unwrap().clone();
    for bad in ["full", "draining"] {
        tokyo.answers(302).await;
        page.lock().unwrap().1 = well.1.replace(&format!("\"{bad}\":false"), &format!("\"{bad}\":true"));
        tokyo.answers(200).await;
        *page.lock().unwrap() = well.clone();
    }
    for (outcome, shown) in [
        ("refused", (503, well.1.clone())),
        ("unreadable", (200, "<html>".to_owned())),
        ("mistaken", (200, well.1.replace("paris", "rome"))),
    ] {
        *page.lock().unwrap() = shown;
        tokyo.up(0.0).await;
        assert_eq!(tokyo.get(PARIS, MASTER).await.status, 200);
        assert!(metric(&tokyo.registry, "vivid_edge_fleet_polls_total", &[outcome]) >= 2.0, "{outcome}");
        *page.lock().unwrap() = well.clone();
        tokyo.up(1.0).await;
        tokyo.answers(302).await;
    }
    paris.die().await;
    tokyo.up(0.0).await;
    tokyo.stop().await;
}

#[tokio::test]
async fn an_edge_that_is_to_drain_or_is_full_sends_its_own_viewers_away_and_says_so() {
    let (origin, (paris, _)) = (origin().await, paris().await);
    let mut files = Files::new();
    files.list("drain = true", paris.addr, "");
    let tokyo = Tokyo::redirecting(&files, origin.addr).await;
    assert_eq!(tokyo.get(TOKYO, MASTER).await.field("vivid-steer"), "nearest=paris; reason=draining");
    assert!(tokyo.node.steering.load().draining);

    files.list("", paris.addr, "");
    until(|| !tokyo.node.steering.load().draining, "the new file").await;
    let mut viewers = Vec::new();
    for _ in 0..50 {
        viewers.push(Viewer::connect(tokyo.addr).await);
    }
    until(|| tokyo.node.steering.load().full, "fifty viewers").await;
    assert_eq!(tokyo.get(TOKYO, MASTER).await.field("vivid-steer"), "nearest=paris; reason=full");
    viewers.truncate(49);
    until(|| tokyo.node.steering.load().viewers == 49, "one leaves").await;
    assert!(tokyo.node.steering.load().full, "one free place is not enough");
    drop(viewers);
    until(|| !tokyo.node.steering.load().full, "all leave").await;
    assert_eq!(tokyo.get(TOKYO, MASTER).await.status, 200);
    tokyo.stop().await;
}

#[tokio::test]
async fn whatever_is_missing_or_broken_the_viewer_is_served() {
    let (origin, (paris, _)) = (origin().await, paris().await);
    let mut files = Files::new();
    std::fs::remove_file(files.city()).unwrap();
    let tokyo = Tokyo::start(&files, origin.addr, config::SteerMode::Redirect);
    tokyo.until("vivid_edge_fleet_file_stale", &[], 1.0).await;
    assert_eq!((tokyo.get(PARIS, MASTER).await.status, tokyo.decided("stay_unplaced")), (200, 1.0));
    files.place(&files.city(), &cities());
    tokyo.until("vivid_edge_geo_database_loaded", &["city"], 1.0).await;
    assert_eq!((tokyo.get(PARIS, MASTER).await.status, tokyo.decided("stay_no_fleet")), (200, 1.0));

    files.list("", paris.addr, "");
    tokyo.up(1.0).await;
    tokyo.until("vivid_edge_fleet_file_stale", &[], 0.0).await;
    assert_eq!(tokyo.get(PARIS, MASTER).await.status, 302);
    for unknown in [NOWHERE, "10.1.2.3", "::1"] {
        assert_eq!(tokyo.get(unknown, MASTER).await.status, 200, "{unknown}");
    }

    files.place(&files.city(), b"no database");
    tokyo.until("vivid_edge_geo_database_stale", &["city"], 1.0).await;
    for broken in ["edges = 3", "[[edges]]", &files.edges[1]] {
        files.place(&files.fleet(), broken.as_bytes());
        tokyo.until("vivid_edge_fleet_file_stale", &[], 1.0).await;
        assert_eq!(tokyo.get(PARIS, MASTER).await.status, 302, "the last good ones are in use");
        files.place(&files.fleet(), files.edges.concat().as_bytes());
        tokyo.until("vivid_edge_fleet_file_stale", &[], 0.0).await;
    }
    tokyo.stop().await;
}

#[tokio::test]
async fn nodes_show_what_they_think_of_each_other() {
    let origin = origin().await;
    let paris = Node::start("paris", origin.addr);
    let mut files = Files::new();
    files.list("", paris.addr, "countries = [\"FR\"]");
    let tokyo = Tokyo::redirecting(&files, origin.addr).await;
    let load = paris.get("/_vivid/load").await;
    assert_eq!((load.status, load.field("content-type")), (200, "application/json"));
    assert!(load.text().contains("\"name\": \"paris\"") && load.text().contains("\"viewers_max\": null"));
    let page = Viewer::connect(tokyo.addr).await.get("/_vivid/fleet").await.text();
    for said in ["\"standing\": \"this\"", "\"standing\": \"up\"", "\"last_poll\": \"ok\"", "\"FR\""] {
        assert!(page.contains(said), "{said} is missing in {page}");
    }
    tokyo.stop().await;
    paris.stop().await;
}

#[tokio::test]
async fn a_geo_database_is_followed_and_a_broken_one_leaves_the_last_in_use() {
    let files = Files::new();
    std::fs::remove_file(files.city()).unwrap();
    let fake = origin().await;
    let mut config = config("edge", fake.addr);
    config.geo.city_database = Some(files.city());
    config.geo.check_interval = Duration::from_millis(20);
    let edge = Node::with(config);
    let shown = |name: &str| edge.metric(&format!("vivid_edge_geo_database_{name}"), &["city"]);
    assert_eq!((shown("loaded"), shown("stale")), (0.0, 0.0), "it serves without");

    files.place(&files.city(), &database(6, &[]));
    edge.until("vivid_edge_geo_database_loaded", &["city"], 1.0).await;
    assert!(shown("built_seconds") > 0.0);
    files.place(&files.city(), b"no database");
    edge.until("vivid_edge_geo_database_stale", &["city"], 1.0).await;
    assert_eq!(shown("loaded"), 1.0);
    edge.stop().await;
}
