//! An origin on loopback, and publishers that send recorded clips to it.

use crate::clip::Clip;
use crate::http::Client;
use config::{Config, Origin};
use origin::{Ingested, PublishRequest, Publisher, Refusal, Server};
use prometheus::Registry;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use transcode::WorkerProgram;

pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) addr: std::net::SocketAddr,
    pub(crate) rtmp_addr: std::net::SocketAddr,
    pub(crate) workers_addr: Option<std::net::SocketAddr>,
    publishing: Arc<dyn origin::Publishing>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

/// What tests change of the default configuration.
pub(crate) fn config(change: impl FnOnce(&mut Origin)) -> Origin {
    let text = "[origin]\nhttp_listen = \"127.0.0.1:0\"\nrtmp_listen = \"127.0.0.1:0\"\n\
        [origin.ingest]\nopen = true\nlinger_ms = 500\n\
        [origin.ladder]\npreset = \"ultrafast\"\n\
        [[origin.ladder.rungs]]\nheight = 90\nbitrate = 100000\n";
    let mut origin = Config::parse(text, []).unwrap().origin.unwrap();
    change(&mut origin);
    origin
}

impl World {
    pub(crate) fn start(config: Origin) -> Self {
        Self::start_with(config, worker())
    }

    pub(crate) fn start_with(config: Origin, program: WorkerProgram) -> Self {
        let server = Server::bind(config, program, &Registry::new()).unwrap();
        let (addr, rtmp_addr, publishing) = (server.http_addr(), server.rtmp_addr(), server.publishing());
        let workers_addr = server.workers_addr();
        let stop = CancellationToken::new();
        let running = tokio::spawn(server.run(stop.clone()));
        Self { client: Client::new(addr), addr, rtmp_addr, workers_addr, publishing, stop, running }
    }

    pub(crate) fn publish(&self, stream: &str) -> Result<Publisher, Refusal> {
        self.publishing.publish(&PublishRequest { app: "live".into(), stream: stream.into(), key: None }, None)
    }

    /// Takes a name whose publisher has just gone: until the stream has noticed that, it is taken.
    pub(crate) async fn publish_again(&self, stream: &str) -> Publisher {
        loop {
            match self.publish(stream) {
                Ok(publisher) => break publisher,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }

    /// Publishes a clip, so many times faster than it was recorded; the publisher leaves at its end.
    pub(crate) fn play(&self, stream: &str, clip: Clip, speed: f64) -> JoinHandle<Publisher> {
        let publisher = self.publish(stream).unwrap();
        tokio::spawn(async move {
            send(&publisher, clip, speed).await;
            publisher
        })
    }

    /// Stops the origin; how long that took.
    pub(crate) async fn stop(self) -> Duration {
        let began = Instant::now();
        self.stop.cancel();
        self.running.await.unwrap();
        began.elapsed()
    }

    /// A metric's value: the whole line up to the value must be given.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let page = self.client.get("/_vivid/metrics").await;
        let line = page.text().lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }
}

/// Sends at the pace of the clip's own time.
pub(crate) async fn send(publisher: &Publisher, clip: Clip, speed: f64) {
    let mut clock = interval(Duration::from_millis(5));
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut now_ms, mut zero_ms) = (0.0, None);
    for item in clip.items {
        if let Ingested::Frame(frame) = &item {
            let due_ms = (frame.dts - *zero_ms.get_or_insert(frame.dts)) as f64;
            while now_ms < due_ms {
                clock.tick().await;
                now_ms += 5.0 * speed;
            }
        }
        publisher.send(item).await.unwrap();
    }
}

/// The worker that this crate's tests run.
pub(crate) fn worker() -> WorkerProgram {
    WorkerProgram { path: env!("CARGO_BIN_EXE_origin-test-worker").into(), args: Vec::new() }
}
