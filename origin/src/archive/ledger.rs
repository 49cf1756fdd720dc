//! What there is of recordings, and what becomes one: shared by streams, which tell when they end, by the keeper, and by HTTP.

use super::metrics::ArchiveMetrics;
use super::recording::{FILE, Id, Recording};
use crate::store::regular;
use crate::streams::Markers;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use tokio::sync::Notify;

#[derive(Debug)]
pub(crate) struct Ledger {
    /// Of the origin, where recordings begin.
    root: PathBuf,
    state: Mutex<State>,
    metrics: ArchiveMetrics,
    /// A life has ended.
    pub(super) ended: Notify,
    /// A recording came, or is to go.
    pub(super) changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    recordings: BTreeMap<Id, Recording>,
    /// Lives that are answered from their folders.
    lives: HashMap<Id, Life>,
    /// Lives that are over and not recordings yet.
    unfinished: BTreeSet<Id>,
}

#[derive(Debug, Default)]
struct Life {
    /// What was said of its time, once it has ended.
    ended: Option<Markers>,
}

impl Ledger {
    /// With the recordings that are told of in the folder.
    pub(crate) fn open(root: &Path, metrics: ArchiveMetrics) -> Self {
        let mut state = State::default();
        let names = |folder: &Path| {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect::<Vec<_>>()
        };
        for stream in names(root) {
            for started in names(&root.join(&stream)) {
                let Some(id) = Id::parse(&stream, &started) else { continue };
                let text = regular::read(&root.join(id.to_string()).join(FILE));
                let recording = text.ok().and_then(|text| Recording::read(&text, &id));
                state.recordings.extend(recording.map(|recording| (id, recording)));
            }
        }
        let ledger = Self {
            root: root.to_owned(),
            state: Mutex::new(state),
            metrics,
            ended: Notify::new(),
            changed: Notify::new(),
        };
        ledger.weigh();
        ledger
    }

    pub(crate) fn folder(&self, id: &Id) -> PathBuf {
        self.root.join(id.to_string())
    }

    /// A life begins, or goes on.
    pub(crate) fn began(&self, id: &Id) {
        self.state.lock().lives.insert(id.clone(), Life::default());
    }

    /// A life has ended: its journal will not grow.
    pub(crate) fn ended(&self, id: &Id, markers: Markers) {
        let mut state = self.state.lock();
        if let Some(life) = state.lives.get_mut(id) {
            life.ended = Some(markers);
        }
        if !state.recordings.contains_key(id) {
            state.unfinished.insert(id.clone());
        }
        drop(state);
        self.ended.notify_one();
    }

    /// Nobody reads a life's folder any more but as a recording.
    pub(crate) fn released(&self, id: &Id) {
        let mut state = self.state.lock();
        state.lives.remove(id);
        if !state.recordings.contains_key(id) {
            state.unfinished.insert(id.clone());
        }
        drop(state);
        self.ended.notify_one();
    }

    /// A folder that an earlier process left, and nobody goes on with.
    pub(crate) fn left(&self, folder: &Path) {
        let name = |path: Option<&Path>| path.and_then(Path::file_name)?.to_str().map(str::to_owned);
        let id =
            name(folder.parent()).zip(name(Some(folder))).and_then(|(stream, started)| Id::parse(&stream, &started));
        id.iter().for_each(|id| self.released(id));
    }

    /// Lives that are to become recordings.
    pub(super) fn unfinished(&self) -> Vec<(Id, Markers)> {
        let state = self.state.lock();
        let markers = |id: &Id| state.lives.get(id).and_then(|life| life.ended.clone()).unwrap_or_default();
        state.unfinished.iter().map(|id| (id.clone(), markers(id))).collect()
    }

    pub(super) fn finished(&self, id: &Id, recording: Option<Recording>) {
        {
            let mut state = self.state.lock();
            state.unfinished.remove(id);
            state.recordings.extend(recording.map(|recording| (id.clone(), recording)));
        }
        self.weigh();
        self.changed.notify_one();
    }

    /// A recording as it is from now on.
    pub(super) fn set(&self, recording: Recording) {
        self.state.lock().recordings.insert(recording.id.clone(), recording);
        self.weigh();
    }

    pub(super) fn remove(&self, id: &Id) {
        self.state.lock().recordings.remove(id);
        self.weigh();
    }

    pub(super) fn is_live(&self, id: &Id) -> bool {
        self.state.lock().lives.contains_key(id)
    }

    /// Whether there is such a recording, shown or not.
    pub(crate) fn knows(&self, id: &Id) -> bool {
        self.state.lock().recordings.contains_key(id)
    }

    /// One that is shown.
    pub(crate) fn find(&self, id: &Id) -> Option<Recording> {
        self.state.lock().recordings.get(id).filter(|recording| !recording.removing).cloned()
    }

    /// Whether a recording of this stream that is shown has a segment under this key.
    pub(crate) fn has_key(&self, stream: &str, key: &[u8; 16]) -> bool {
        let state = self.state.lock();
        let mut shown = state.recordings.values().filter(|recording| !recording.removing);
        shown.any(|recording| recording.id.stream == stream && recording.keys.contains(key))
    }

    /// One that is to go as well.
    pub(crate) fn any(&self, id: &Id) -> Option<Recording> {
        self.state.lock().recordings.get(id).cloned()
    }

    pub(super) fn all(&self) -> Vec<Recording> {
        self.state.lock().recordings.values().cloned().collect()
    }

    /// Those that are shown, of all streams or one, that come before `before`, newest first.
    pub(crate) fn list(&self, stream: Option<&str>, before: Option<&Id>, max: usize) -> Vec<Recording> {
        let state = self.state.lock();
        let of = |recording: &&Recording| stream.is_none_or(|stream| recording.id.stream == stream);
        let earlier = |recording: &&Recording| before.is_none_or(|before| recording.id < *before);
        let shown = state.recordings.values().rev().filter(|recording| !recording.removing);
        shown.filter(of).filter(earlier).take(max).cloned().collect()
    }

    fn weigh(&self) {
        let state = self.state.lock();
        self.metrics.recordings.set(state.recordings.values().filter(|one| !one.removing).count() as i64);
        let mut bytes: BTreeMap<&str, i64> = BTreeMap::new();
        for recording in state.recordings.values() {
            let of = bytes.entry(&recording.tier).or_default();
            *of = of.saturating_add_unsigned(recording.bytes);
        }
        self.metrics.bytes.reset();
        for (tier, bytes) in bytes {
            self.metrics.bytes.with_label_values(&[tier]).set(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_no_recording_and_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (pipe, link) = (folder.path().join("a/1"), folder.path().join("a/2"));
        for at in [&pipe, &link] {
            std::fs::create_dir_all(at).unwrap();
        }
        assert!(std::process::Command::new("mkfifo").arg(pipe.join(FILE)).status().unwrap().success());
        std::os::unix::fs::symlink("/dev/zero", link.join(FILE)).unwrap();
        let (opened, told) = std::sync::mpsc::channel();
        let root = folder.path().to_owned();
        std::thread::spawn(move || {
            let metrics = ArchiveMetrics::register(&prometheus::Registry::new()).unwrap();
            opened.send(Ledger::open(&root, metrics).state.lock().recordings.len())
        });
        assert_eq!(told.recv_timeout(std::time::Duration::from_secs(10)), Ok(0));
    }
}
