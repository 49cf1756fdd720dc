//! Fills from disk: what lies there is read as if upstream sent it. Where it cannot be had, upstream is asked; what readers
//! have by then has to agree with what comes from there.

use super::{Broken, Job};
use crate::fill::Filler;
use crate::key::Class;
use crate::metrics::FillEnd;
use crate::moment::Moment;
use crate::object::{Head, Object};
use crate::refusal::Refusal;
use crate::store::disk::{Disk, File};
use crate::store::pieces::Cut;
use crate::store::{After, Start};
use crate::upstream::Joint;
use std::sync::Arc;
use std::time::Instant;

impl Job {
    /// The disk, if the object may lie there.
    pub(super) fn disk_asked(&self, after: &After) -> Option<Arc<Disk>> {
        let kind = !self.class.is_manifest() && self.class != Class::Part && matches!(after, After::Keep);
        let shared = kind && !self.alone && !matches!(self.start, Start::Renewal(_));
        self.store.disk.clone().filter(|_| shared)
    }

    /// Fills from disk. Gives the filler back where upstream has to be asked.
    pub(super) async fn fill_from_disk(&mut self, disk: &Arc<Disk>, filler: Filler) -> Option<Filler> {
        let Some(file) = disk.open(&self.key).await else { return Some(filler) };
        if let Start::Cut(cut) = &self.start {
            return self.piece_from_disk(cut, file, filler).await;
        }
        let now = Moment::now();
        let (head, now) = (file.head(&now), now.instant);
        if head.lease.is_err() {
            file.discard();
            return Some(filler);
        }
        match (&file.header.layout, head.lifetime()) {
            (None, Some(_)) => self.whole_from_disk(Arc::new(head), file, filler, now).await,
            (Some(layout), fresh) => {
                let object = Arc::new(Object::in_pieces(Arc::new(head), layout.clone(), now));
                if fresh.is_some() {
                    self.found(object, filler).await;
                    return None;
                }
                self.start = Start::Renewal(object);
                Some(filler)
            }
            (None, None) => self.stale_from_disk(head, file, filler, now).await,
        }
    }

    async fn whole_from_disk(&self, head: Arc<Head>, mut file: File, filler: Filler, now: Instant) -> Option<Filler> {
        filler.open(head.clone());
        if file.pour(|bytes| filler.push(bytes)).await.is_err() {
            let broken = Broken { refusal: Refusal::UpstreamBroken, peer: None, length: head.length };
            if let Err(refusal) = self.pour_rest(broken, &head, &filler).await {
                tracing::warn!(key = %self.key, %refusal, bytes = filler.bytes(), "fill aborted");
                self.refuse(filler, FillEnd::Aborted, refusal);
                return None;
            }
        }
        let object = Arc::new(Object::new(head, filler.chunks(), now));
        self.found(object, filler).await;
        None
    }

    /// What is stale is what memory would have had: upstream may confirm it, and it may stand in for one that fails.
    async fn stale_from_disk(&mut self, head: Head, mut file: File, filler: Filler, now: Instant) -> Option<Filler> {
        let mut chunks = Vec::new();
        if file.pour(|bytes| chunks.push(bytes)).await.is_ok() {
            self.start = Start::Renewal(Arc::new(Object::new(Arc::new(head), chunks, now)));
        }
        Some(filler)
    }

    async fn piece_from_disk(&self, cut: &Cut, mut file: File, filler: Filler) -> Option<Filler> {
        if file.header.length != cut.piece.length() {
            file.discard();
            return Some(filler);
        }
        let mut head = self.head_of(cut);
        head.disk = true;
        let head = Arc::new(head);
        filler.open(head.clone());
        if file.pour(|bytes| filler.push(bytes)).await.is_err() {
            self.piece_again(cut, filler).await;
            return None;
        }
        self.found(Arc::new(Object::new(head, filler.chunks(), Instant::now())), filler).await;
        None
    }

    /// Readers have the beginning: it has to be the same in what upstream gives.
    async fn piece_again(&self, cut: &Cut, filler: Filler) {
        match self.store.upstreams.get(&self.errand(&cut.conditions())).await {
            Ok(answer) => {
                let mut joint = Joint::again(filler.chunks(), cut.piece.length());
                self.piece(cut, answer, filler, &mut joint).await;
            }
            Err(refusal) => self.refuse(filler, FillEnd::Aborted, refusal),
        }
    }

    async fn found(&self, object: Arc<Object>, filler: Filler) {
        self.store.metrics.filled(FillEnd::Disk);
        self.keep(&object, false).await;
        self.leave();
        filler.finish(object);
    }
}
