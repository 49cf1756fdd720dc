//! The table of live streams: who publishes under which name, and where requests find it.

mod arrivals;
mod dash;
mod ladder;
mod live;
mod markers;
mod measured;
mod phase;
mod replay;
mod stream;
mod subtitles;
mod task;

pub(crate) use markers::{Bounds, DURATION_MAX_S, MarkError, Marked, Markers};
pub(crate) use phase::Reason;
pub(crate) use stream::{Recorded, Room, Stream, TextTrack, Unreadable};
pub(crate) use subtitles::{Span, Subtitles, Taken};
pub(crate) use task::marker_of_cue;

use crate::clock::unix_ms;
use crate::ingest::{Ending, Ingested, PublishRequest, Publisher, Publishing, Refusal};
use crate::keys::{Keys, Told};
use crate::metrics::Metrics;
use crate::slate::Slate;
use crate::store::{Keeping, Life, Recovered, Store};
use crate::twin;
use crate::window::Memory;
use config::{Hardware, Ladder, Origin};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use transcode::{Remote, Trial, WorkerProgram};

/// Shared by ingest, which fills it, and HTTP, which reads it.
#[derive(Clone)]
pub(crate) struct Directory(Arc<Inner>);

struct Inner {
    context: Context,
    entries: Mutex<HashMap<String, Entry>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What every stream's task works with.
pub(crate) struct Context {
    pub(crate) config: Origin,
    pub(crate) program: WorkerProgram,
    /// What trials of this machine's devices came to, once they have been made.
    pub(crate) trials: OnceLock<Vec<Trial>>,
    /// Workers of other machines.
    pub(crate) remote: Option<Remote>,
    pub(crate) metrics: Metrics,
    pub(crate) transcode_metrics: transcode::Metrics,
    /// The other of two origins that are fed alike.
    pub(crate) twin: Option<twin::Client>,
    /// What is shown while a publisher is away.
    pub(crate) slate: Option<Arc<Slate>>,
    pub(crate) store: Store,
    pub(crate) memory: Memory,
    pub(crate) keys: Keys,
}

impl Context {
    /// And what an earlier process left.
    pub(crate) fn new(
        config: Origin,
        (program, remote): (WorkerProgram, Option<Remote>),
        (metrics, transcode_metrics): (Metrics, transcode::Metrics),
        keeping: Option<Keeping>,
    ) -> (Self, Vec<Recovered>) {
        let (store, left) = Store::open(&config.disk, &metrics.disk, keeping);
        let twin = config.twin.as_ref().map(twin::Client::new);
        let slate = config.ingest.slate.as_ref().and_then(|path| {
            let loaded = Slate::load(path);
            let path = path.display();
            loaded
                .inspect_err(|error| tracing::error!(%path, %error, "origin.ingest.slate cannot be shown; there are gaps instead"))
                .ok()
        });
        let memory = Memory::new(config.window.memory_bytes_max, metrics.disk.shortened.clone());
        let keys = Keys::new(&config, &metrics.keys);
        let slate = slate.map(Arc::new);
        let trials = OnceLock::new();
        (Self { config, program, trials, remote, metrics, transcode_metrics, twin, slate, store, memory, keys }, left)
    }
}

struct Entry {
    stream: Arc<Stream>,
    intake: mpsc::Sender<Incoming>,
    /// A publisher has the name.
    busy: bool,
}

/// A publisher that took the name: what it sends, and where to leave the reason if it is sent away.
type Incoming = (mpsc::Receiver<Ingested>, Ending);

/// Items between a publisher and its stream: some three seconds of picture and sound at 30 fps. When it is full, reading
/// from the publisher waits.
const PUBLISHER_QUEUE: usize = 256;
/// Longer than any window.
const FOR_EVER: Duration = Duration::from_secs(1 << 40);
/// For what waits to be written once all streams have stopped.
const FLUSH_MAX: Duration = Duration::from_secs(1);

impl Directory {
    pub(crate) fn new(context: Context) -> Self {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        Self(Arc::new(Inner { context, entries: Mutex::default(), stop, tasks }))
    }

    /// Learns which devices of this machine encode. Returns at once where none is there.
    pub(crate) async fn try_devices(&self) {
        let Context { config, program, trials, .. } = &self.0.context;
        if config.twin.is_some() && config.worker.hardware == Hardware::Off {
            tracing::info!("no device encodes here: those of two origins do not make the same bytes");
        }
        let tried = transcode::trials(program, config.worker.hardware).await;
        // Nobody else sets it.
        let _ = trials.set(tried);
    }

    pub(crate) fn find(&self, name: &str) -> Option<Arc<Stream>> {
        self.0.entries.lock().get(name).map(|entry| Arc::clone(&entry.stream))
    }

    /// What is to be made of a stream, from the next segment on.
    pub(crate) fn ladder(&self, stream: &Stream) -> Arc<Ladder> {
        stream.edited_ladder().unwrap_or_else(|| {
            Arc::new(self.0.context.config.ladder(&stream.name, stream.publisher().as_deref()).clone())
        })
    }

    /// Whether this origin can make a ladder of a stream, and why not.
    pub(crate) fn check_ladder(&self, stream: &Stream, ladder: &Ladder) -> Result<(), String> {
        transcode::check_encoders(ladder).map_err(|error| error.to_string())?;
        let refusal = self.0.context.config.encryption.refusal(&stream.name, ladder);
        refusal.map_or(Ok(()), Err)
    }

    pub(crate) fn has_twin(&self) -> bool {
        self.0.context.twin.is_some()
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.0.context.keys
    }

    /// Ends every stream's task, and with it the workers. Playlists stay as they are: the stream may go on elsewhere.
    pub(crate) async fn stop(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
        self.0.context.store.flush(FLUSH_MAX).await;
    }

    /// Returns once the disk has taken what it was to take, or `patience` is over.
    pub(crate) async fn flush(&self, patience: Duration) {
        self.0.context.store.flush(patience).await;
    }

    /// Of a stream of this name that is read to be recorded: nothing leaves its playlists.
    pub(crate) fn room_of_recording(&self, name: &str) -> Room {
        let memory = self.0.context.memory.apart();
        Room { length: FOR_EVER, in_memory: Duration::ZERO, memory, life: Arc::default(), told: self.told(name) }
    }

    fn told(&self, name: &str) -> Option<Arc<Told>> {
        self.0.context.keys.told(name).map(Arc::new)
    }

    /// The publisher of this stream is gone; another one may take the name.
    fn release(&self, stream: &Arc<Stream>) {
        // A publisher that takes the name over may be on its way in.
        self.with_entry(stream, |entry| entry.busy = entry.intake.capacity() < entry.intake.max_capacity());
    }

    /// Ends the stream, unless a publisher took the name in this moment.
    fn retire(&self, stream: &Arc<Stream>) -> bool {
        let idle = |entry: &mut Entry| {
            if !entry.busy {
                entry.stream.set_ended();
            }
            !entry.busy
        };
        self.with_entry(stream, idle).unwrap_or(true)
    }

    /// Forgets the stream, unless another one has its name by now.
    fn remove(&self, stream: &Arc<Stream>) {
        let mut entries = self.0.entries.lock();
        if entries.get(&stream.name).is_some_and(|entry| Arc::ptr_eq(&entry.stream, stream)) {
            entries.remove(&stream.name);
        }
    }

    fn with_entry<T>(&self, stream: &Arc<Stream>, act: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let mut entries = self.0.entries.lock();
        entries.get_mut(&stream.name).filter(|entry| Arc::ptr_eq(&entry.stream, stream)).map(act)
    }

    /// Shows streams again that an earlier process left on disk, and waits for their publishers as for any other's.
    pub(crate) fn recover(&self, left: Vec<Recovered>) {
        for life in left {
            let room = self.room(&life.name, self.0.context.store.resume(&life));
            let stream = Arc::new(Stream::new(life.name.clone(), room));
            let (now, now_unix_ms) = (std::time::Instant::now(), unix_ms());
            let resumed = stream.replay(&life.records, now, now_unix_ms);
            let window_ms = stream.window().as_millis() as i64;
            let Some(resumed) = resumed.filter(|resumed| now_unix_ms - resumed.last_unix_ms < window_ms) else {
                stream.life().forget();
                continue;
            };
            tracing::info!(stream = %life.name, records = life.records.len(), ended = resumed.ended, "stream is on disk, and shown again");
            let (intake, publishers) = mpsc::channel(1);
            let task = task::Task::new(self.clone(), Arc::clone(&stream), publishers).resume(resumed);
            self.spawn(&stream, task.run());
            self.0.entries.lock().insert(life.name, Entry { stream, intake, busy: false });
        }
    }

    fn room(&self, name: &str, life: Life) -> Room {
        let Context { config, memory, .. } = &self.0.context;
        let (length, in_memory) = (config.window.length, config.window.memory);
        Room { length, in_memory, memory: memory.clone(), life: Arc::new(life), told: self.told(name) }
    }

    fn start(&self, name: &str) -> Entry {
        let room = self.room(name, self.0.context.store.begin(name));
        let stream = Arc::new(Stream::new(name.to_owned(), room));
        let (intake, publishers) = mpsc::channel(1);
        let task = task::Task::new(self.clone(), Arc::clone(&stream), publishers);
        self.spawn(&stream, task.run());
        Entry { stream, intake, busy: false }
    }

    fn spawn(&self, stream: &Arc<Stream>, run: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let name = FreeOnPanic { directory: self.clone(), stream: Arc::clone(stream) };
        self.0.tasks.spawn(async move {
            let _name = name;
            run.await;
        })
    }
}

/// Frees the name of a stream whose task panics; else nobody could publish under it before the origin starts anew.
struct FreeOnPanic {
    directory: Directory,
    stream: Arc<Stream>,
}

impl Drop for FreeOnPanic {
    fn drop(&mut self) {
        // A task that returns has removed its stream itself. One that is dropped with the runtime may be so while the
        // table is locked.
        if std::thread::panicking() {
            tracing::error!(stream = %self.stream.name, "the stream's task panicked; its name is free again");
            self.directory.remove(&self.stream);
        }
    }
}

impl Publishing for Directory {
    fn publish(&self, request: &PublishRequest, who: Option<&str>) -> Result<Publisher, Refusal> {
        let mut entries = self.0.entries.lock();
        let known = entries.get(&request.stream).is_some_and(|entry| !entry.stream.has_ended());
        if !known {
            // There cannot be more live streams than connections that publish; this bounds those that end as well.
            if entries.len() >= self.0.context.config.ingest.connections_max {
                return Err(Refusal::Full);
            }
            entries.insert(request.stream.clone(), self.start(&request.stream));
        }
        let entry = entries.get_mut(&request.stream).ok_or(Refusal::NameTaken)?;
        let ingest = &self.0.context.config.ingest;
        // Without keys anyone could take any stream away.
        if entry.busy && (ingest.open || !ingest.takeover) {
            return Err(Refusal::NameTaken);
        }
        let (publisher, items) = Publisher::channel(PUBLISHER_QUEUE);
        entry.intake.try_send((items, publisher.ending())).map_err(|_| Refusal::NameTaken)?;
        entry.busy = true;
        entry.stream.set_publisher(who);
        tracing::info!(stream = %request.stream, publisher = who, "publisher took the name");
        Ok(publisher)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::Registry;

    fn directory() -> Directory {
        directory_of("[origin]\n")
    }

    fn directory_of(text: &str) -> Directory {
        let registry = Registry::new();
        let config = config::Config::parse(text, []).unwrap().origin.unwrap();
        let metrics = Metrics::register(&registry).unwrap();
        let program = WorkerProgram { path: "none".into(), args: Vec::new() };
        let transcode_metrics = transcode::Metrics::register(&registry).unwrap();
        Directory::new(Context::new(config, (program, None), (metrics, transcode_metrics), None).0)
    }

    #[tokio::test]
    async fn who_publishes_decides_on_the_ladder_too() {
        let text = r#"
            [origin]
            ladders = [{ publisher = "studio", stream = "a*", rungs = [] }, { publisher = "studio", stream = "c", rungs = [] }, { stream = "b", rungs = "mobile" }]
            [origin.ingest]
            publishers = [
                { stream = "c", key = "s3cret" }, { stream = "*", key = "s3cret", name = "studio" }, { stream = "*", key = "other" },
            ]
        "#;
        let directory = directory_of(text);
        let request = |stream: &str, key: &str| {
            let request =
                PublishRequest { app: "live".to_owned(), stream: stream.to_owned(), key: Some(key.to_owned()) };
            let who = crate::admit(&directory.0.context.config.ingest, &request).unwrap();
            let publisher = directory.publish(&request, who).unwrap();
            let rungs = directory.ladder(&directory.find(stream).unwrap()).rungs.len();
            (publisher, rungs)
        };
        let usual = directory.0.context.config.ladder.rungs.len();
        let mut publishers = Vec::new();
        for (stream, key, rungs) in
            [("a", "s3cret", 0), ("a2", "other", usual), ("c", "s3cret", 0), ("a3", "other", usual)]
        {
            let (publisher, found) = request(stream, key);
            assert_eq!(found, rungs, "{stream} with {key}");
            publishers.push(publisher);
        }
        assert!(request("b", "s3cret").1 > 1);
        directory.stop().await;
    }

    #[tokio::test]
    async fn a_task_that_panics_leaves_no_gauge_behind() {
        let directory = directory();
        let stream = Arc::new(Stream::new("a".to_owned(), Room::for_tests(Duration::from_secs(12))));
        let (_intake, publishers) = mpsc::channel(1);
        let task = task::Task::new(directory.clone(), Arc::clone(&stream), publishers);
        let metrics = &directory.0.context.metrics;
        assert_eq!(metrics.streams.get(), 1);
        let panics = async move {
            let _task = task;
            panic!("as a test wants it")
        };
        assert!(directory.spawn(&stream, panics).await.unwrap_err().is_panic());
        assert_eq!((metrics.streams.get(), metrics.window_bytes.get()), (0, 0));
    }

    #[tokio::test]
    async fn a_task_that_panics_frees_its_name() {
        let directory = directory();
        let request = PublishRequest { app: "live".to_owned(), stream: "a".to_owned(), key: None };
        let _publisher = directory.publish(&request, None).unwrap();
        assert_eq!(directory.publish(&request, None).unwrap_err(), Refusal::NameTaken);
        let before = directory.find("a").unwrap();
        assert!(directory.spawn(&before, async { panic!("as a test wants it") }).await.unwrap_err().is_panic());
        assert!(directory.find("a").is_none());
        let _publisher = directory.publish(&request, None).unwrap();
        // Another stream has the name: it is not that one's to free.
        assert!(directory.spawn(&before, async { panic!("as a test wants it") }).await.unwrap_err().is_panic());
        assert!(!Arc::ptr_eq(&directory.find("a").unwrap(), &before));
        directory.stop().await;
    }
}
