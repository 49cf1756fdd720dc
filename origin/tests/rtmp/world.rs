//! A listener on a free port, and a table of streams that keeps what was published.

use config::{Config, Ingest, PublishRule};
use origin::rtmp::Listener;
use origin::{Ingested, PublishRequest, Publisher, Publishing, Refusal};
use prometheus::Registry;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Long enough for a loaded machine, short enough for a test that hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) addr: SocketAddr,
    table: Arc<Table>,
    registry: Registry,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

/// Names that are live, each with the stream's end of its channel until a test takes it.
#[derive(Default)]
struct Table {
    live: Mutex<HashMap<String, Option<mpsc::Receiver<Ingested>>>>,
    changed: Notify,
}

impl Publishing for Table {
    fn publish(&self, request: &PublishRequest, _: Option<&str>) -> Result<Publisher, Refusal> {
        assert_ne!(request.stream, "fault", "a fault, as this stream is for");
        let mut live = self.live.lock().unwrap();
        if live.contains_key(&request.stream) {
            return Err(Refusal::NameTaken);
        }
        let (publisher, received) = Publisher::channel(16);
        live.insert(request.stream.clone(), Some(received));
        self.changed.notify_waiters();
        Ok(publisher)
    }
}

impl World {
    /// Key `k` opens every stream; deadlines are short, messages at most 256 KiB.
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Ingest)) -> Self {
        let mut ingest = Config::parse("[origin]\n", []).unwrap().origin.unwrap().ingest;
        ingest.publishers = vec![PublishRule { stream: "*".into(), key: "k".into(), name: None }];
        ingest.message_bytes_max = 256 << 10;
        change(&mut ingest);
        let table = Arc::new(Table::default());
        let registry = Registry::new();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::bind(any, ingest, Arc::clone(&table) as _, &registry).unwrap();
        let stop = CancellationToken::new();
        let addr = listener.addr();
        let running = tokio::spawn(listener.run(stop.clone()));
        Self { addr, table, registry, stop, running }
    }

    /// What was published under this name; each name once.
    pub(crate) fn take(&self, stream: &str) -> mpsc::Receiver<Ingested> {
        self.table.live.lock().unwrap().get_mut(stream).unwrap().take().unwrap()
    }

    /// As [`World::take`], once it is published.
    pub(crate) async fn published(&self, stream: &str) -> mpsc::Receiver<Ingested> {
        loop {
            let changed = self.table.changed.notified();
            if self.table.live.lock().unwrap().contains_key(stream) {
                return self.take(stream);
            }
            changed.await;
        }
    }

    /// A metric's value: the one with this label value, or without labels for an empty one.
    pub(crate) fn metric(&self, name: &str, label: &str) -> f64 {
        let families = self.registry.gather();
        let metrics = families.iter().filter(|family| family.name() == name).flat_map(|family| family.get_metric());
        let labelled = |metric: &&prometheus::proto::Metric| {
            label.is_empty() || metric.get_label().iter().any(|pair| pair.value() == label)
        };
        metrics.filter(labelled).map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value()).sum()
    }

    pub(crate) fn closed(&self, reason: &str) -> f64 {
        self.metric("vivid_origin_rtmp_connections_closed_total", reason)
    }

    pub(crate) fn dropped(&self, reason: &str) -> f64 {
        self.metric("vivid_origin_rtmp_messages_dropped_total", reason)
    }

    /// Ends the listener and checks that no connection is left.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, &mut self.running).await.unwrap().unwrap();
        assert_eq!(self.metric("vivid_origin_rtmp_connections", ""), 0.0);
    }
}

/// The next item; a test that waits in vain fails.
pub(crate) async fn next(received: &mut mpsc::Receiver<Ingested>) -> Option<Ingested> {
    tokio::time::timeout(PATIENCE, received.recv()).await.expect("an item or the end")
}
