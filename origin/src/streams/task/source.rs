//! What a source sends, and what that means in each phase: it is learnt, waited for, or passed on.

use super::Task;
use crate::clock::unix_ms;
use crate::epoch::{Analysis, Found, Patience};
use crate::ingest::Ingested;
use crate::streams::phase::{Phase, Reason};
use crate::streams::{Context, Stream};
use config::Ladder;
use media::{Frame, TrackKind};
use std::sync::Arc;
use tokio::time::Instant;

/// How long a key frame may be away at first, as multiples of the longest analysis: more than any interval that can be
/// cut into segments, even where the publisher began just after one.
const KEY_FRAME_PATIENCE: u32 = 3;
/// Key frames that an analysis may hold, as multiples of the largest message.
const ANALYSIS_MESSAGES: usize = 8;

impl Task {
    pub(super) async fn item(&mut self, item: Ingested) {
        if let Ingested::Announced(announced) = &item {
            self.announced = announced.clone();
        }
        if let Ingested::Cue(cue) = &item {
            return self.cue(cue);
        }
        if let Ingested::Text(said) = &item {
            return self.text(said);
        }
        if self.is_to_change_at(&item) {
            return self.change_at(item).await;
        }
        match &mut self.phase {
            Phase::Analysing { .. } => self.analyse(item).await,
            Phase::Waiting { .. } => self.waiting(item).await,
            Phase::Live(live) => {
                let known = &live.known.source;
                let other = match &item {
                    Ingested::Video(config) => known.video != *config,
                    Ingested::Audio(config) => known.audio.as_ref() != Some(config),
                    Ingested::Announced(_) | Ingested::Cue(_) | Ingested::Text(_) => false,
                    Ingested::Frame(frame) => {
                        let received = std::time::Instant::now();
                        let picture = frame.kind == TrackKind::Video;
                        if let Err(broken) = live.source(&self.directory.0.context, frame, Some(received)) {
                            self.broken(&broken).await;
                            // The frame that broke one epoch may be the key frame of the next.
                            match self.phase {
                                Phase::Analysing { .. } => self.analyse(item).await,
                                _ => self.waiting(item).await,
                            }
                        } else if picture {
                            self.pictured();
                        }
                        return;
                    }
                };
                if other {
                    self.source_changed(item).await;
                }
            }
            Phase::Lingering { .. } | Phase::Agreeing(_) | Phase::Ended { .. } => {}
        }
    }

    async fn analyse(&mut self, item: Ingested) {
        let Phase::Analysing { analysis, until } = &mut self.phase else { return };
        let had_begun = analysis.has_begun();
        let found = analysis.push(item, unix_ms());
        if had_begun != analysis.has_begun() {
            *until = analysed_until(&self.directory.0.context, analysis);
        }
        if let Some(found) = found {
            self.start(found).await;
        }
    }

    /// Whether the epoch is to end before this: it has lost its worker, one may be tried again, or an operator wants
    /// another ladder.
    fn is_to_change_at(&self, item: &Ingested) -> bool {
        let Phase::Live(live) = &self.phase else { return false };
        let wanted = || is_other(self.ladder.as_ref(), &self.stream);
        let tried = || live.is_alone() && Instant::now() >= self.ladder_from;
        let ends = || live.has_lost_worker() || tried() || wanted();
        is_key(item) && live.can_end_before(pts(item)) && ends()
    }

    async fn change_at(&mut self, item: Ingested) {
        let Phase::Live(live) = &mut self.phase else { return };
        let ahead = live.end_before(pts(&item));
        self.end_epoch().await;
        if is_other(self.ladder.as_ref(), &self.stream) {
            self.reason = Reason::LadderChanged;
        }
        self.begin_at(item, ahead).await;
    }

    async fn waiting(&mut self, item: Ingested) {
        self.begin_at(item, Vec::new()).await;
    }

    /// Begins an epoch with this, if that can be; `ahead` is sound that came before the picture which it goes with.
    async fn begin_at(&mut self, item: Ingested, ahead: Vec<Frame>) {
        let Phase::Waiting { known, said, not_before } = &mut self.phase else { return };
        match &item {
            Ingested::Announced(_) | Ingested::Cue(_) | Ingested::Text(_) => {}
            Ingested::Video(config) if known.source.video == *config => said.video = true,
            Ingested::Audio(config) if known.source.audio.as_ref() == Some(config) => said.audio = true,
            Ingested::Video(_) | Ingested::Audio(_) => self.source_changed(item).await,
            Ingested::Frame(frame) => {
                let same = said.video && (said.audio || known.source.audio.is_none());
                if !is_key(&item) || Instant::now() < *not_before {
                    self.context().metrics.frames_skipped.inc();
                } else if same {
                    let known = (**known).clone();
                    let frames = std::iter::once(frame.clone()).chain(ahead).collect();
                    self.start(Found { known, frames, zero_unix_ms: unix_ms() }).await;
                } else {
                    // The publisher that came back sends picture only, where there was sound before.
                    let video = Ingested::Video(known.source.video.clone());
                    self.phase = self.analysing([video, item]);
                }
            }
        }
    }

    /// The set-up is not what the epoch was planned for. What stays the same is not sent again.
    async fn source_changed(&mut self, item: Ingested) {
        self.end_epoch().await;
        let Phase::Waiting { known, said, .. } = &self.phase else { return };
        let mut items = vec![Ingested::Video(known.source.video.clone())];
        // A publisher that came back may have left its sound behind.
        items.extend(known.source.audio.clone().filter(|_| said.audio).map(Ingested::Audio));
        items.push(item);
        self.reason = Reason::SourceChanged;
        self.phase = self.analysing(items);
    }

    pub(super) fn analysing(&self, items: impl IntoIterator<Item = Ingested>) -> Phase {
        let config = &self.context().config;
        let mut analysis = Analysis::new(Patience {
            ms: i64::try_from(config.segment.analysis_max.as_millis()).unwrap_or(i64::MAX),
            bytes: ANALYSIS_MESSAGES * config.ingest.message_bytes_max,
        });
        analysis.push(Ingested::Announced(self.announced.clone()), unix_ms());
        for item in items {
            // A single key frame is never enough to find anything.
            analysis.push(item, unix_ms());
        }
        let until = analysed_until(self.context(), &analysis);
        Phase::Analysing { analysis: Box::new(analysis), until }
    }
}

/// By when an analysis ends: with what it has, or with nothing if no key frame has come.
fn analysed_until(context: &Context, analysis: &Analysis) -> Instant {
    let max = context.config.segment.analysis_max;
    Instant::now() + if analysis.has_begun() { max } else { KEY_FRAME_PATIENCE * max }
}

fn is_key(item: &Ingested) -> bool {
    matches!(item, Ingested::Frame(frame) if frame.kind == TrackKind::Video && frame.keyframe)
}

fn pts(item: &Ingested) -> i64 {
    if let Ingested::Frame(frame) = item { frame.pts } else { 0 }
}

/// Whether an operator wants another ladder than the epoch has.
fn is_other(ladder: Option<&Arc<Ladder>>, stream: &Stream) -> bool {
    let wanted = stream.edited_ladder();
    ladder.map(Arc::as_ptr) != wanted.as_ref().map(Arc::as_ptr)
}
