//! Fills of large objects: what is known of the whole, and one piece after the other.

use super::{Job, RESUMES_MAX};
use crate::fill::Filler;
use crate::key::Class;
use crate::metrics::{Bound, FillEnd};
use crate::object::{Head, Object};
use crate::refusal::Refusal;
use crate::store::After;
use crate::store::layout::{Layout, Piece};
use crate::store::pieces::Cut;
use crate::upstream::{Answer, Joint, PeerId};
use http::{HeaderMap, StatusCode};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A piece is found only by what is known of the whole, which has a lifetime.
const PIECE_LIFE: Duration = Duration::from_secs(31_536_000);

impl Job {
    /// How the object is to be kept, if in pieces: what is live, private or not to be stored never is.
    pub(super) fn layout(&self, head: &Head, headers: &HeaderMap, after: &After) -> Option<Layout> {
        let slices = self.store.slices;
        let length = head.length.filter(|length| *length > slices.above_bytes)?;
        let ordinary = matches!(after, After::Keep) && head.lease.is_ok() && !self.alone;
        if !ordinary || self.class == Class::Mpd || self.store.is_live(&self.key) {
            return None;
        }
        Layout::of(headers, length, self.store.next_version(), slices.bytes)
    }

    /// Keeps what is known of the whole; its readers ask for pieces.
    pub(super) async fn in_pieces(&self, head: Head, layout: Layout, arrived: Instant, filler: Filler) {
        self.store.metrics.filled(FillEnd::Pieces);
        let object = Arc::new(Object::in_pieces(Arc::new(head), layout, arrived));
        self.keep(&object, true).await;
        self.leave();
        filler.finish(object);
    }

    /// `joint`: what readers have of it already.
    pub(super) async fn piece(&self, cut: &Cut, mut answer: Answer, filler: Filler, joint: &mut Joint) {
        if !cut.is_answer(answer.status, &answer.headers) {
            return self.no_piece(cut, answer.status, filler).await;
        }
        let head = Arc::new(self.head_of(cut));
        filler.open(head.clone());
        let mut resumes = 0..RESUMES_MAX;
        while let Err(refusal) = fill(&mut answer, &filler, joint, cut.piece.length()).await {
            // What readers have of it must have been found to agree before anything is put behind it.
            let rest = cut.piece.after(filler.bytes()).filter(|_| joint.is_compared());
            let resumed = match rest {
                Some(rest) => self.rest(cut, rest, answer.peer, &mut resumes).await,
                None => None,
            };
            let Some(rest) = resumed else {
                tracing::warn!(key = %cut.key, %refusal, first = cut.piece.first, "piece aborted");
                return self.refuse(filler, FillEnd::Aborted, refusal);
            };
            answer = rest;
        }
        self.store.metrics.filled(FillEnd::Whole);
        let object = Arc::new(Object::new(head, filler.chunks(), Instant::now()));
        self.keep(&object, true).await;
        self.leave();
        filler.finish(object);
    }

    /// Asks for the rest of a piece. Its version is bound by a strong validator, so there is nothing to compare.
    async fn rest(&self, cut: &Cut, rest: Piece, broke_off: PeerId, resumes: &mut Range<usize>) -> Option<Answer> {
        let fields = cut.layout.conditions(rest);
        for attempt in resumes {
            let asked = self.store.upstreams.ask_for_rest(&self.errand(&fields), Some(broke_off), attempt).await;
            match asked {
                Ok(answer) if cut.layout.is_answer(rest, answer.status, &answer.headers) => {
                    tracing::info!(key = %cut.key, first = rest.first, "piece resumed");
                    return Some(answer);
                }
                Ok(answer) if !answer.status.is_server_error() => {
                    self.store.forget_version(&cut.key, &cut.whole).await;
                    return None;
                }
                Ok(_) | Err(_) => {}
            }
        }
        self.store.metrics.bit(Bound::Resumes);
        None
    }

    pub(super) fn head_of(&self, cut: &Cut) -> Head {
        let mut head = Head::own(self.class, cut.whole.head.born, PIECE_LIFE, &[]);
        head.length = Some(cut.piece.length());
        head.tags = cut.whole.head.tags.clone();
        head
    }

    /// Upstream has another version now, or nothing: bytes of two versions are never mixed, so whoever reads the old one
    /// is cut off, and whoever comes begins with the new one. An upstream that only fails changes nothing.
    async fn no_piece(&self, cut: &Cut, status: StatusCode, filler: Filler) {
        if !status.is_server_error() {
            tracing::warn!(key = %cut.key, %status, "upstream has another version of an object that is being read");
            self.store.forget_version(&cut.key, &cut.whole).await;
        }
        self.refuse(filler, FillEnd::Refused, Refusal::UpstreamBroken);
    }
}

/// Passes on a body that must have exactly so many bytes.
async fn fill(answer: &mut Answer, filler: &Filler, joint: &mut Joint, length: u64) -> Result<(), Refusal> {
    while let Some(bytes) = answer.chunk().await? {
        let bytes = joint.take(bytes).map_err(|_| Refusal::UpstreamBroken)?;
        if filler.bytes() + bytes.len() as u64 > length {
            return Err(Refusal::UpstreamBroken);
        }
        filler.push(bytes);
    }
    if filler.bytes() == length && joint.is_whole(length) { Ok(()) } else { Err(Refusal::UpstreamBroken) }
}
