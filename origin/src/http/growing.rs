//! A segment that is sent while it is made.

use super::App;
use super::refusal::Refusal;
use crate::epoch::EpochId;
use crate::medium::Medium;
use crate::streams::Stream;
use crate::window::{Lookup, Name, Rendition};
use bytes::Bytes;
use futures_util::stream::{self, TryStream};
use std::sync::Arc;

pub(super) struct Growing {
    app: App,
    stream: Arc<Stream>,
    rendition: Arc<Rendition>,
    epoch: EpochId,
    name: Name,
    /// Parts that were sent.
    sent: usize,
}

/// What there is of the segment.
enum Step {
    Next(Bytes),
    Whole,
    Wait,
    Gone,
}

impl Growing {
    pub(super) fn new(
        app: App,
        stream: Arc<Stream>,
        rendition: Arc<Rendition>,
        (epoch, name): (EpochId, Name),
    ) -> Self {
        Self { app, stream, rendition, epoch, name, sent: 0 }
    }

    pub(super) fn medium(&self) -> Medium {
        self.rendition.medium
    }

    /// Its parts in order, each whole when it is sent. An error where no more come although it is not whole: who reads
    /// it must not take it for the segment.
    pub(super) fn parts(self) -> impl TryStream<Ok = Bytes, Error = Refusal> {
        stream::try_unfold(self, async |mut segment| Ok(segment.next().await?.map(|part| (part, segment))))
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        let mut head = self.rendition.watch();
        let mut step = self.step();
        if matches!(step, Step::Wait) {
            let come = head.wait_for(|_| !matches!(self.step(), Step::Wait));
            let come = async { come.await.is_ok() };
            let patience = self.app.patience(&self.rendition);
            self.app.0.holds.wait(patience, self.stream.abandoned(), come).await?;
            step = self.step();
        }
        match step {
            Step::Next(part) => {
                self.sent += 1;
                Ok(Some(part))
            }
            Step::Whole => Ok(None),
            Step::Wait | Step::Gone => Err(Refusal::NoSuchObject),
        }
    }

    fn step(&self) -> Step {
        match self.rendition.lookup(self.epoch, self.name) {
            Lookup::Found(pieces) => pieces.into_iter().nth(self.sent).map_or(Step::Whole, Step::Next),
            Lookup::Growing(pieces) => pieces.into_iter().nth(self.sent).map_or(Step::Wait, Step::Next),
            // Whoever is so slow that it has left the memory may fetch it anew.
            Lookup::OnDisk { parts, .. } if parts == self.sent => Step::Whole,
            Lookup::OnDisk { .. } | Lookup::Hinted | Lookup::Over | Lookup::Unknown => Step::Gone,
        }
    }
}
