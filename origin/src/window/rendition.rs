//! A window that many requests share: who waits for it, and its playlist rendered once per change.

use super::{EpochStart, Lookup, Name, Window};
use crate::epoch::EpochId;
use crate::segmenter::Part;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use manifest::media::RenditionReport;
use manifest::{Head, advance_part_limit};
use parking_lot::Mutex;
use std::io::Write;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// One rendition of a stream. The stream's task writes it; requests read it and wait for its head to move.
#[derive(Debug)]
pub(crate) struct Rendition {
    pub(crate) name: String,
    window: Mutex<Window>,
    head: watch::Sender<Head>,
    said: Mutex<Option<Said>>,
}

/// A playlist, and the generation of the stream that it tells of.
#[derive(Debug)]
struct Said {
    generation: u64,
    text: Arc<Text>,
}

/// A text that is sent often: both encodings are made once.
#[derive(Debug)]
pub(crate) struct Text {
    identity: Bytes,
    gzip: OnceLock<Bytes>,
}

impl Rendition {
    pub(crate) fn new(name: String, window: Window) -> Self {
        let (head, _) = watch::channel(window.head());
        Self { name, window: Mutex::new(window), head, said: Mutex::new(None) }
    }

    /// How far the rendition has come.
    pub(crate) fn head(&self) -> Head {
        *self.head.borrow()
    }

    /// A view of the head that can wait for it to move.
    pub(crate) fn watch(&self) -> watch::Receiver<Head> {
        self.head.subscribe()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.window.lock().is_empty()
    }

    /// Whether there has ever been a whole segment.
    pub(crate) fn has_segment(&self) -> bool {
        self.window.lock().has_segment()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.window.lock().bytes()
    }

    /// The first segment in the window.
    pub(crate) fn first_msn(&self) -> u64 {
        self.window.lock().first_msn()
    }

    /// How much media of an epoch there was, up to the last whole segment; zero if that is of another.
    pub(crate) fn length(&self, epoch: EpochId) -> Duration {
        self.window.lock().length(epoch)
    }

    pub(crate) fn target_duration_s(&self) -> u64 {
        self.window.lock().shape().target_duration_s
    }

    pub(crate) fn advance_limit(&self) -> u32 {
        advance_part_limit(self.window.lock().shape().part_target_s)
    }

    pub(crate) fn lookup(&self, epoch: EpochId, name: Name) -> Lookup {
        self.window.lock().lookup(epoch, name)
    }

    /// Changes the window. What changed is not seen by requests that wait before [`Rendition::announce`].
    pub(crate) fn push(&self, part: Part, now: Instant) -> bool {
        self.window.lock().push(part, now)
    }

    pub(crate) fn begin(&self, epoch: EpochStart, now: Instant) {
        self.window.lock().begin(epoch, now);
    }

    pub(crate) fn break_off(&self, now: Instant) {
        self.window.lock().break_off(now);
    }

    pub(crate) fn end(&self, now: Instant) {
        self.window.lock().end(now);
    }

    /// Wakes every request that waits for this rendition, once.
    pub(crate) fn announce(&self) {
        let head = self.window.lock().head();
        self.head.send_replace(head);
    }

    /// The I-frame playlist as of now; `None` for a rendition without pictures.
    pub(crate) fn iframes(&self) -> Option<Text> {
        let playlist = self.window.lock().iframes()?;
        Some(Text::new(playlist.render()))
    }

    /// The playlist as of `generation`, rendered by the first who asks. `reports` are those of the other renditions.
    pub(crate) fn playlist(&self, generation: u64, reports: impl FnOnce() -> Vec<RenditionReport>) -> Arc<Text> {
        let mut said = self.said.lock();
        if let Some(said) = said.as_ref().filter(|said| said.generation == generation) {
            return Arc::clone(&said.text);
        }
        // Before the window is locked: reports look at the other renditions.
        let reports = reports();
        let playlist = self.window.lock().playlist(reports);
        let text = Arc::new(Text::new(playlist.render()));
        *said = Some(Said { generation, text: Arc::clone(&text) });
        text
    }
}

impl Text {
    pub(crate) fn new(text: String) -> Self {
        Self { identity: text.into(), gzip: OnceLock::new() }
    }

    pub(crate) fn identity(&self) -> Bytes {
        self.identity.clone()
    }

    /// `None` if it cannot be compressed, which writing to memory does not let happen.
    pub(crate) fn gzip(&self) -> Option<Bytes> {
        if self.gzip.get().is_none() {
            let mut encoder = GzEncoder::new(Vec::with_capacity(self.identity.len() / 4), Compression::default());
            encoder.write_all(&self.identity).ok()?;
            let bytes = encoder.finish().ok()?;
            return Some(self.gzip.get_or_init(|| bytes.into()).clone());
        }
        self.gzip.get().cloned()
    }
}
