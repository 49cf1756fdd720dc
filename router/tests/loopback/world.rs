//! A router with two CDNs and an origin, and what a viewer's player does with it.

use crate::fakes::Server as Fake;
use prometheus::Registry;
use reqwest::{Client, Response};
use router::Server;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// No wait of a test is longer; a busy machine needs most of it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) origin: Fake,
    pub(crate) cdns: Vec<Option<Fake>>,
    pub(crate) live: Arc<AtomicU64>,
    pub(crate) router: SocketAddr,
    pub(crate) snapshots: watch::Receiver<u64>,
    pub(crate) client: Client,
    pub(crate) stop: CancellationToken,
    pub(crate) running: JoinHandle<Result<(), router::RouterError>>,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with("").await
    }

    /// `more` is added to the router's section of the configuration.
    pub(crate) async fn with(more: &str) -> Self {
        Self::build(more, axum::Router::new()).await
    }

    pub(crate) async fn build(more: &str, extra: axum::Router) -> Self {
        let live = Arc::new(AtomicU64::new(1000));
        let origin = Fake::start(&live).await;
        let (a, b) = (Fake::start(&live).await, Fake::start(&live).await);
        let text = format!(
            "[router]\nlisten = '127.0.0.1:0'\norigin_url = '{}'\n\
            cdns = [{{ id = 'cdn-a', url = '{}' }}, {{ id = 'cdn-b', url = '{}' }}]\n\
            probe = {{ interval_ms = 400, timeout_ms = 350, half_life_ms = 2000 }}\n{more}\n",
            origin.url(),
            a.url(),
            b.url()
        );
        let config = config::Config::parse(&text, []).unwrap().router.unwrap();
        let server = Server::bind(config, extra, &Registry::new()).unwrap();
        let (router, snapshots, stop) = (server.addr(), server.snapshots(), CancellationToken::new());
        let running = tokio::spawn(server.run(stop.clone()));
        let client = Client::builder().no_proxy().build().unwrap();
        Self { origin, cdns: vec![Some(a), Some(b)], live, router, snapshots, client, stop, running }
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        let request = self.client.get(format!("http://{}{path}", self.router)).send();
        tokio::time::timeout(PATIENCE, request).await.unwrap().unwrap()
    }

    pub(crate) async fn text(&self, path: &str) -> String {
        self.get(path).await.text().await.unwrap()
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path).await).unwrap()
    }

    /// A stream's playlist and the steering path in it, for a viewer whose first CDN is this.
    pub(crate) async fn viewer_of(&self, cdn: &str) -> (String, String) {
        for _ in 0..200 {
            let playlist = self.text("/live/x/index.m3u8").await;
            if first_pathway(&playlist) == cdn {
                let uri = quoted(&playlist, "SERVER-URI=\"");
                let path = uri.strip_prefix(&format!("http://{}", self.router)).unwrap().to_owned();
                return (playlist, path);
            }
        }
        panic!("none of 200 viewers was sent to {cdn}");
    }

    /// The pathways of a steering answer, best first.
    pub(crate) async fn priority(&self, steer: &str) -> Vec<String> {
        let document = self.json(steer).await;
        document["PATHWAY-PRIORITY"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
    }

    /// Waits for the next round of probes, and the one after that if `rounds` says so.
    pub(crate) async fn rounds(&mut self, rounds: usize) {
        for _ in 0..rounds {
            tokio::time::timeout(PATIENCE, self.snapshots.changed()).await.unwrap().unwrap();
        }
    }

    /// Rounds until the first pathway of `steer` is `cdn`; fails when it takes more than `most`.
    pub(crate) async fn rounds_until(&mut self, steer: &str, cdn: &str, most: usize) -> usize {
        self.snapshots.mark_unchanged();
        for rounds in 0..=most {
            if self.priority(steer).await[0] == cdn {
                return rounds;
            }
            self.rounds(1).await;
        }
        panic!("{cdn} is not first after {most} rounds: {}", self.text("/_vivid/router").await);
    }

    pub(crate) async fn metric(&self, name: &str) -> f64 {
        metric(&self.text("/_vivid/metrics").await, name)
    }
}

/// The value of a sample in a page of metrics, 0 when there is none.
pub(crate) fn metric(page: &str, name: &str) -> f64 {
    let line = page.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    line.and_then(|line| line.rsplit(' ').next()).map_or(0.0, |value| value.parse().unwrap())
}

/// The pathway that a playlist starts on.
pub(crate) fn first_pathway(playlist: &str) -> &str {
    let tag = playlist.lines().nth(1).unwrap();
    assert!(tag.starts_with("#EXT-X-CONTENT-STEERING:"), "{playlist}");
    quoted(tag, ",PATHWAY-ID=\"")
}

pub(crate) fn quoted<'a>(text: &'a str, before: &str) -> &'a str {
    let start = text.find(before).unwrap() + before.len();
    &text[start..start + text[start..].find('"').unwrap()]
}
